//! A speedscope file -> pprofs, one for each of its profiles.

use crate::ingest::builder::{Bounds, Builder, TooMany};
use crate::ingest::suffix::{self, Kind};
use protocol::profile::Profile;
use serde::Deserialize;
use std::collections::HashMap;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body is no speedscope file: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the file's $schema is '{0}', not {SCHEMA}")]
    Schema(String),
    #[error("profile '{profile}' of the file {what}")]
    Malformed { profile: String, what: &'static str },
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "$schema", default)]
    schema: String,
    shared: Shared,
    profiles: Vec<FileProfile>,
}

#[derive(Deserialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    name: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<f64>,
}

/// Of either kind: which fields there are depends on the type.
#[derive(Deserialize)]
struct FileProfile {
    #[serde(rename = "type")]
    kind: ProfileKind,
    #[serde(default)]
    name: String,
    #[serde(default)]
    unit: String,
    #[serde(rename = "startValue", default)]
    start_value: f64,
    #[serde(default)]
    events: Vec<Event>,
    /// Root first.
    #[serde(default)]
    samples: Vec<Vec<u32>>,
    #[serde(default)]
    weights: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProfileKind {
    Evented,
    Sampled,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: EventKind,
    frame: u32,
    at: f64,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
enum EventKind {
    #[serde(rename = "O")]
    Open,
    #[serde(rename = "C")]
    Close,
}

/// A profile of the file with its name, and what kind it is.
pub(super) struct Named {
    pub name: String,
    pub kind: Kind,
    pub profile: Profile,
}

/// `app` is the kind that the app's name says, or the default; `scale` makes nanoseconds of its samples.
pub(super) fn read(
    body: &[u8],
    app: Kind,
    scale: i64,
    bounds: Bounds,
) -> Result<Vec<Named>, Error> {
    let file: File = serde_json::from_slice(body).map_err(Error::Json)?;
    if file.schema != SCHEMA {
        return Err(Error::Schema(file.schema));
    }
    let is_one = file.profiles.len() == 1;
    let mut read = Vec::new();
    for profile in file.profiles {
        let (kind, factor) = kind(&profile.unit, is_one, app, scale);
        let mut drawing =
            Drawing::new(&profile.name, factor, &file.shared.frames, kind.builder(bounds));
        match profile.kind {
            ProfileKind::Evented => drawing.evented(&profile)?,
            ProfileKind::Sampled => drawing.sampled(&profile)?,
        }
        let drawn = drawing.builder.finish();
        read.push(Named { name: profile.name, kind, profile: drawn });
    }
    Ok(read)
}

/// What the values of a unit are, and what makes them nanoseconds, bytes or counts.
fn kind(unit: &str, is_one: bool, app: Kind, scale: i64) -> (Kind, f64) {
    let time = if is_one { app } else { suffix::WALL };
    let ns = match unit {
        "nanoseconds" => 1.0,
        "microseconds" => 1e3,
        "milliseconds" => 1e6,
        "seconds" => 1e9,
        "bytes" if is_one && app != suffix::CPU => return (app, 1.0),
        "bytes" => return (suffix::BYTES, 1.0),
        _ => return (app, scale as f64),
    };
    (time, if time.is_time || time.sample_unit == "nanoseconds" { ns } else { 1.0 })
}

struct Drawing<'a> {
    name: &'a str,
    factor: f64,
    frames: &'a [Frame],
    builder: Builder,
    /// By index in `frames`.
    locations: HashMap<u32, u64>,
}

impl<'a> Drawing<'a> {
    fn new(name: &'a str, factor: f64, frames: &'a [Frame], builder: Builder) -> Drawing<'a> {
        Drawing { name, factor, frames, builder, locations: HashMap::new() }
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { profile: self.name.to_owned(), what }
    }

    fn sampled(&mut self, sampled: &FileProfile) -> Result<(), Error> {
        if sampled.samples.len() != sampled.weights.len() {
            return Err(self.malformed("has not one weight for each sample"));
        }
        for (stack, weight) in sampled.samples.iter().zip(&sampled.weights) {
            self.add(stack, *weight)?;
        }
        Ok(())
    }

    /// What lies between two events belongs to the frames that are open then.
    fn evented(&mut self, evented: &FileProfile) -> Result<(), Error> {
        let mut open: Vec<u32> = Vec::new();
        let mut last = evented.start_value;
        for event in &evented.events {
            if event.at < last {
                return Err(self.malformed("has events that go back in time"));
            }
            if event.at > last && !open.is_empty() {
                self.add(&open, event.at - last)?;
            }
            last = event.at;
            match event.kind {
                EventKind::Open => open.push(event.frame),
                EventKind::Close if open.pop() == Some(event.frame) => {}
                EventKind::Close => {
                    return Err(self.malformed("closes a frame that is not the innermost open one"));
                }
            }
        }
        Ok(())
    }

    fn location(&mut self, index: u32) -> Result<u64, Error> {
        if let Some(&id) = self.locations.get(&index) {
            return Ok(id);
        }
        let Some(frame) = self.frames.get(index as usize) else {
            return Err(self.malformed("has a frame that is not in the list of frames"));
        };
        let file = frame.file.as_deref().unwrap_or_default();
        let line = frame.line.unwrap_or_default() as i64;
        let id = self.builder.location(&frame.name, file, line.max(0))?;
        self.locations.insert(index, id);
        Ok(id)
    }

    fn add(&mut self, root_first: &[u32], value: f64) -> Result<(), Error> {
        let mut leaf_first = Vec::new();
        for index in root_first.iter().rev().take(self.builder.depth()) {
            leaf_first.push(self.location(*index)?);
        }
        // Out of range becomes the nearest number, and what is none becomes 0.
        let value = (value * self.factor).round() as i64;
        Ok(self.builder.sample(leaf_first.into_iter(), vec![value], &[])?)
    }
}
