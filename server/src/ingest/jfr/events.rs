//! Events of a recording -> sums by kind, stack and context -> a pprof of each kind.

use crate::ingest::builder::{Bounds, Builder, Named as TypeAndUnit};
use crate::ingest::jfr::constants::{Constants, Frame};
use crate::ingest::jfr::metadata::{Class, Classes, Value};
use crate::ingest::jfr::reader::{Reader, Text};
use crate::ingest::jfr::snapshot::Snapshot;
use crate::ingest::jfr::{Error, Named, Recording};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cpu,
    Wall,
    InTlab,
    OutsideTlab,
    Allocation,
    Live,
    Malloc,
    Mutex,
    Block,
}

/// How the profiles of a kind are called.
struct Description {
    name: &'static str,
    types: &'static [TypeAndUnit<'static>],
    period_type: TypeAndUnit<'static>,
}

impl Kind {
    fn description(self) -> Description {
        let (name, types, period_type): (_, &[TypeAndUnit<'_>], _) = match self {
            Kind::Cpu => ("process_cpu", &[("cpu", "nanoseconds")], ("cpu", "nanoseconds")),
            Kind::Wall => ("wall", &[("wall", "nanoseconds")], ("wall", "nanoseconds")),
            Kind::InTlab => (
                "memory",
                &[("alloc_in_new_tlab_objects", "count"), ("alloc_in_new_tlab_bytes", "bytes")],
                ("space", "bytes"),
            ),
            Kind::OutsideTlab => (
                "memory",
                &[("alloc_outside_tlab_objects", "count"), ("alloc_outside_tlab_bytes", "bytes")],
                ("space", "bytes"),
            ),
            Kind::Allocation => (
                "memory",
                &[("alloc_sample_objects", "count"), ("alloc_sample_bytes", "bytes")],
                ("space", "bytes"),
            ),
            Kind::Live => ("memory", &[("live", "count")], ("objects", "count")),
            Kind::Malloc => (
                "memory",
                &[("malloc_objects", "count"), ("malloc_bytes", "bytes")],
                ("space", "bytes"),
            ),
            Kind::Mutex => {
                ("mutex", &[("contentions", "count"), ("delay", "nanoseconds")], ("mutex", "count"))
            }
            Kind::Block => {
                ("block", &[("contentions", "count"), ("delay", "nanoseconds")], ("block", "count"))
            }
        };
        Description { name, types, period_type }
    }
}

/// The fields of an event that matter.
#[derive(Default)]
struct Fields {
    stack: i64,
    state: i64,
    context: i64,
    duration_ticks: i64,
    allocation_bytes: i64,
    tlab_bytes: i64,
    weight: i64,
    size: i64,
    samples: Option<i64>,
    name: Option<Text>,
    value: Option<Text>,
}

/// The profile of a kind, and what was spelled out already: a long name may stand in every frame.
struct Drawing {
    builder: Builder,
    /// By method and line, of the chunk.
    locations: HashMap<(i64, i64), u64>,
    /// By key in the snapshot.
    strings: HashMap<i64, i64>,
}

impl Drawing {
    fn new(kind: Kind, bounds: Bounds) -> Drawing {
        let description = kind.description();
        let builder = Builder::new(description.types, description.period_type, bounds);
        Drawing { builder, locations: HashMap::new(), strings: HashMap::new() }
    }

    fn location(&mut self, frame: Frame, constants: &Constants) -> Result<u64, Error> {
        if let Some(&id) = self.locations.get(&(frame.method, frame.line)) {
            return Ok(id);
        }
        let id = self.builder.location(&constants.name(frame), "", frame.line.max(0))?;
        self.locations.insert((frame.method, frame.line), id);
        Ok(id)
    }

    fn string(&mut self, key: i64, snapshot: &Snapshot) -> i64 {
        let builder = &mut self.builder;
        *self.strings.entry(key).or_insert_with(|| builder.string(snapshot.text(key)))
    }
}

type Sums = BTreeMap<(Kind, i64, i64), [i64; 2]>;

pub(super) struct Events<'a> {
    snapshot: &'a Snapshot,
    period_ns: i64,
    bounds: Bounds,
    drawings: BTreeMap<Kind, Drawing>,
    event: String,
    ticks_per_second: i64,
    /// Of the chunk: keys of stacks mean nothing beyond it.
    sums: Sums,
    /// Samples of the CPU are of the wall clock too where that is what was sampled, which is known at the end.
    cpu_of_all_states: BTreeMap<(i64, i64), i64>,
}

impl<'a> Events<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, period_ns: i64, bounds: Bounds) -> Events<'a> {
        Events {
            snapshot,
            period_ns,
            bounds,
            drawings: BTreeMap::new(),
            event: String::new(),
            ticks_per_second: 1_000_000_000,
            sums: Sums::new(),
            cpu_of_all_states: BTreeMap::new(),
        }
    }

    pub(super) fn begin_chunk(&mut self, ticks_per_second: i64) {
        self.ticks_per_second = ticks_per_second.max(1);
        self.drawings.values_mut().for_each(|drawing| drawing.locations.clear());
    }

    pub(super) fn event(
        &mut self,
        reader: &mut Reader<'_>,
        class: &Class,
        classes: &Classes,
        constants: &Constants,
    ) -> Result<(), Error> {
        let kind = match class.name.as_str() {
            "jdk.ExecutionSample" => Kind::Cpu,
            "profiler.WallClockSample" => Kind::Wall,
            "jdk.ObjectAllocationInNewTLAB" => Kind::InTlab,
            "jdk.ObjectAllocationOutsideTLAB" => Kind::OutsideTlab,
            "jdk.ObjectAllocationSample" => Kind::Allocation,
            "profiler.LiveObject" => Kind::Live,
            "profiler.Malloc" => Kind::Malloc,
            "jdk.JavaMonitorEnter" => Kind::Mutex,
            "jdk.ThreadPark" => Kind::Block,
            "jdk.ActiveSetting" => {
                let fields = fields(reader, class, classes)?;
                let text = |text: &Option<Text>| {
                    text.as_ref().map_or("", |text| constants.text(text)).to_owned()
                };
                if text(&fields.name) == "event" {
                    self.event = text(&fields.value);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let fields = fields(reader, class, classes)?;
        self.count(kind, &fields, constants);
        Ok(())
    }

    fn count(&mut self, kind: Kind, fields: &Fields, constants: &Constants) {
        let samples = fields.samples.unwrap_or(1).max(0);
        let values = match kind {
            Kind::Cpu => {
                let ns = samples.saturating_mul(self.period_ns);
                let all = self.cpu_of_all_states.entry((fields.stack, fields.context)).or_insert(0);
                *all = all.saturating_add(ns);
                if constants.state(fields.state) == "STATE_SLEEPING" {
                    return;
                }
                [ns, 0]
            }
            Kind::Wall => [samples.saturating_mul(self.period_ns), 0],
            Kind::InTlab => [1, fields.tlab_bytes.max(0)],
            Kind::OutsideTlab => [1, fields.allocation_bytes.max(0)],
            Kind::Allocation => [1, fields.weight.max(0)],
            Kind::Live => [1, 0],
            Kind::Malloc => [1, fields.size.max(0)],
            Kind::Mutex | Kind::Block => [1, self.ns(fields.duration_ticks)],
        };
        let sums = self.sums.entry((kind, fields.stack, fields.context)).or_insert([0; 2]);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.saturating_add(value);
        }
    }

    fn ns(&self, ticks: i64) -> i64 {
        let ns = i128::from(ticks)
            .saturating_mul(1_000_000_000)
            .checked_div(i128::from(self.ticks_per_second));
        ns.and_then(|ns| i64::try_from(ns).ok()).unwrap_or(i64::MAX).max(0)
    }

    pub(super) fn end_chunk(&mut self, constants: &Constants) -> Result<(), Error> {
        let wall = std::mem::take(&mut self.cpu_of_all_states);
        if self.event == "wall" {
            for ((stack, context), ns) in wall {
                let sums = self.sums.entry((Kind::Wall, stack, context)).or_insert([0; 2]);
                if let Some(sum) = sums.first_mut() {
                    *sum = sum.saturating_add(ns);
                }
            }
        }
        for ((kind, stack, context), values) in std::mem::take(&mut self.sums) {
            self.sample(kind, stack, context, values, constants)?;
        }
        Ok(())
    }

    fn sample(
        &mut self,
        kind: Kind,
        stack: i64,
        context: i64,
        values: [i64; 2],
        constants: &Constants,
    ) -> Result<(), Error> {
        let (types, bounds) = (kind.description().types, self.bounds);
        let drawing = self.drawings.entry(kind).or_insert_with(|| {
            let mut drawing = Drawing::new(kind, bounds);
            if matches!(kind, Kind::Cpu | Kind::Wall) {
                drawing.builder.set_period(self.period_ns);
            }
            drawing
        });
        let mut leaf_first = Vec::new();
        for frame in constants.stack(stack).unwrap_or_default().iter().take(bounds.depth) {
            leaf_first.push(drawing.location(*frame, constants)?);
        }
        let labels: Vec<(i64, i64)> = self
            .snapshot
            .labels(context)
            .into_iter()
            .map(|(name, value)| {
                (drawing.string(name, self.snapshot), drawing.string(value, self.snapshot))
            })
            .collect();
        let value = values.iter().copied().take(types.len()).collect();
        Ok(drawing.builder.sample(leaf_first.into_iter(), value, &labels)?)
    }

    pub(super) fn finish(self) -> Recording {
        let named = |(kind, drawing): (Kind, Drawing)| Named {
            name: kind.description().name,
            profile: drawing.builder.finish(),
        };
        let profiles = self.drawings.into_iter().map(named).collect();
        Recording { event: self.event, profiles }
    }
}

fn fields(reader: &mut Reader<'_>, class: &Class, classes: &Classes) -> Result<Fields, Error> {
    let mut fields = Fields::default();
    classes.object(reader, class, |name, value| match (name, value) {
        ("stackTrace", Value::Number(key)) => fields.stack = key,
        ("state", Value::Number(key)) => fields.state = key,
        ("contextId", Value::Number(id)) => fields.context = id,
        ("duration", Value::Number(ticks)) => fields.duration_ticks = ticks,
        ("allocationSize", Value::Number(bytes)) => fields.allocation_bytes = bytes,
        ("tlabSize", Value::Number(bytes)) => fields.tlab_bytes = bytes,
        ("weight", Value::Number(bytes)) => fields.weight = bytes,
        ("size", Value::Number(bytes)) => fields.size = bytes,
        ("samples", Value::Number(count)) => fields.samples = Some(count),
        ("name", Value::Text(text)) => fields.name = Some(text),
        ("value", Value::Text(text)) => fields.value = Some(text),
        _ => {}
    })?;
    Ok(fields)
}
