//! The profile type of data that names none: from the end of the app's name, `my.app.inuse_space`.

use crate::ingest::builder::{Bounds, Builder};

/// The five parts of a profile type, and whether values are samples to be scaled to nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub name: &'static str,
    pub sample_type: &'static str,
    pub sample_unit: &'static str,
    pub period_type: &'static str,
    pub period_unit: &'static str,
    pub is_time: bool,
}

const fn counted(name: &'static str, sample_type: &'static str, sample_unit: &'static str) -> Kind {
    Kind { name, sample_type, sample_unit, period_type: "", period_unit: "", is_time: false }
}

const fn timed(name: &'static str, sample_type: &'static str) -> Kind {
    Kind {
        name,
        sample_type,
        sample_unit: "nanoseconds",
        period_type: "cpu",
        period_unit: "nanoseconds",
        is_time: true,
    }
}

/// Samples that were taken at no rate cannot become time.
pub(super) const UNSCALED: Kind = counted("process_cpu", "samples", "count");
pub(super) const CPU: Kind = timed("process_cpu", "cpu");
pub(super) const WALL: Kind = timed("wall", "wall");
pub(super) const BYTES: Kind = counted("memory", "samples", "bytes");

impl Kind {
    pub(super) fn builder(self, bounds: Bounds) -> Builder {
        let types = [(self.sample_type, self.sample_unit)];
        Builder::new(&types, (self.period_type, self.period_unit), bounds)
    }
}

/// The app without its suffix, and what the suffix says. A suffix that says nothing belongs to the app's name.
pub(super) fn split(app: &str) -> (&str, Kind) {
    if let Some((front, suffix)) = app.rsplit_once('.')
        && let Some(kind) = kind(suffix)
        && !front.is_empty()
    {
        return (front, kind);
    }
    (app, CPU)
}

/// The app of an old name, and how the ids of its profile types begin: `my.app.cpu` -> `my.app`, `process_cpu:cpu:nanoseconds:`.
pub fn profile_type(app: &str) -> (&str, String) {
    let (app, kind) = split(app);
    (app, format!("{}:{}:{}:", kind.name, kind.sample_type, kind.sample_unit))
}

fn kind(suffix: &str) -> Option<Kind> {
    Some(match suffix {
        "cpu" | "itimer" => CPU,
        "wall" | "seconds" | "milliseconds" | "microseconds" | "nanoseconds" => WALL,
        "inuse_objects" => counted("memory", "inuse_objects", "count"),
        "alloc_objects" => counted("memory", "alloc_objects", "count"),
        "inuse_space" => counted("memory", "inuse_space", "bytes"),
        "alloc_space" => counted("memory", "alloc_space", "bytes"),
        "goroutines" => counted("goroutine", "goroutines", "count"),
        "mutex_count" => counted("mutex", "contentions", "count"),
        "mutex_duration" => counted("mutex", "delay", "nanoseconds"),
        "block_count" | "lock_count" => counted("block", "contentions", "count"),
        "block_duration" | "lock_duration" => counted("block", "delay", "nanoseconds"),
        "live" => counted("memory", "live", "count"),
        "alloc_in_new_tlab_objects" => counted("memory", "alloc_in_new_tlab_objects", "count"),
        "alloc_in_new_tlab_bytes" => counted("memory", "alloc_in_new_tlab_bytes", "bytes"),
        "alloc_outside_tlab_objects" => counted("memory", "alloc_outside_tlab_objects", "count"),
        "alloc_outside_tlab_bytes" => counted("memory", "alloc_outside_tlab_bytes", "bytes"),
        "exceptions" => counted("exceptions", "samples", "count"),
        "bytes" => BYTES,
        _ => return None,
    })
}
