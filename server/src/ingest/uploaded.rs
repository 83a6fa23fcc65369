//! A file that somebody uploads to look at it, in any format that we know -> its profiles. The format is told from the content.

use crate::ingest::form::{self, Query};
use crate::ingest::labels::{self, Labels};
use crate::ingest::{Config, NormalizedProfile, perf_script};
use protocol::pprof;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the file is none of pprof, JFR, speedscope, folded stacks, the output of perf script, or the JSON of a flame graph: {0}"
    )]
    Form(#[from] form::Error),
    #[error("the JSON of the flame graph cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the flame graph is of two profiles; upload one of one profile")]
    Double,
    #[error("the flame graph's {0}")]
    Graph(&'static str),
    #[error("the stacks of the file are longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// What a file has: a profile for each kind of measurement in it, or more.
pub struct Uploaded {
    pub profiles: Vec<NormalizedProfile>,
}

impl Uploaded {
    /// The sample types in it, each once.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for series in self.profiles.iter().flat_map(|profile| &profile.series) {
            let name = type_of(&series.labels);
            if !types.iter().any(|known| known == name) {
                types.push(name.to_owned());
            }
        }
        types
    }

    /// The whole name of a sample type.
    pub fn profile_type(&self, sample_type: &str) -> Option<&str> {
        let mut series = self.profiles.iter().flat_map(|profile| &profile.series);
        series
            .find(|series| type_of(&series.labels) == sample_type)
            .and_then(|series| series.labels.get(labels::PROFILE_TYPE))
    }
}

pub fn type_of(labels: &Labels) -> &str {
    labels.get(labels::TYPE).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pprof,
    Jfr,
    Speedscope,
    FlameGraph,
    PerfScript,
    Folded,
}

pub fn read(bytes: &[u8], config: &Config, now_ns: i64) -> Result<Uploaded, Error> {
    let limit = config.max_profile_bytes;
    let plain = pprof::gunzip(bytes, limit).map_err(form::Error::from)?;
    // A file may be of any time.
    let config = Config { retention_ns: i64::MAX, max_ahead_ns: i64::MAX, ..config.clone() };
    let format = format(&plain);
    let body: Cow<'_, [u8]> = match format {
        Format::FlameGraph => flame_graph(&plain, limit)?.into_bytes().into(),
        Format::PerfScript => {
            let text = String::from_utf8_lossy(&plain);
            perf_script::folded(&text, limit).ok_or(Error::TooLong { limit })?.into_bytes().into()
        }
        _ => plain,
    };
    let query = Query {
        name: "uploaded".to_owned(),
        // What is counted is samples, of which nobody says how long they are.
        sample_rate: "0".to_owned(),
        format: match format {
            Format::Pprof => "pprof",
            Format::Jfr => "jfr",
            Format::Speedscope => "speedscope",
            Format::FlameGraph | Format::PerfScript | Format::Folded => "folded",
        }
        .to_owned(),
        ..Query::default()
    };
    let profiles = form::read(&query, "", &body, &config, now_ns)?;
    Ok(Uploaded { profiles })
}

fn format(plain: &[u8]) -> Format {
    if plain.starts_with(b"FLR\0") {
        return Format::Jfr;
    }
    let is_text_byte = |byte: &u8| *byte >= b' ' || matches!(*byte, b'\t' | b'\n' | b'\r');
    let start = plain.get(..4_096).unwrap_or(plain);
    // A pprof begins with the tag and the length of a message, and is full of both.
    if !start.iter().all(is_text_byte) || start.is_empty() {
        return Format::Pprof;
    }
    let text = String::from_utf8_lossy(start);
    if text.trim_start().starts_with('{') {
        let has_graph = plain.windows(13).any(|window| window == b"\"flamebearer\"");
        return if has_graph { Format::FlameGraph } else { Format::Speedscope };
    }
    if perf_script::is_one(&text) { Format::PerfScript } else { Format::Folded }
}

#[derive(Deserialize)]
struct Rendered {
    flamebearer: Graph,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Graph {
    names: Vec<String>,
    levels: Vec<Vec<i64>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    format: String,
}

struct Bar {
    start: i64,
    end: i64,
    name: usize,
    parent: Option<usize>,
}

/// The bars of a flame graph -> folded stacks. The root's bar is the sum, and no frame.
fn flame_graph(json: &[u8], limit: usize) -> Result<String, Error> {
    let rendered: Rendered = serde_json::from_slice(json).map_err(Error::Json)?;
    if rendered.metadata.format == "double" {
        return Err(Error::Double);
    }
    let graph = rendered.flamebearer;
    let mut text = String::new();
    let mut levels: Vec<Vec<Bar>> = Vec::new();
    for level in &graph.levels {
        let (mut bars, mut x, mut above) = (Vec::new(), 0_i64, 0);
        for bar in level.chunks_exact(4) {
            let &[offset, total, own, name] = bar else { continue };
            let start = x.saturating_add(offset);
            x = start.saturating_add(total);
            let parents = levels.last().map_or(&[][..], Vec::as_slice);
            while parents.get(above).is_some_and(|parent| parent.end <= start) {
                above = above.saturating_add(1);
            }
            let holds = |parent: &&Bar| parent.start <= start && start < parent.end;
            let parent = parents.get(above).filter(holds).map(|_| above);
            if parent.is_none() && !levels.is_empty() {
                return Err(Error::Graph("bars do not stand on each other"));
            }
            let name = usize::try_from(name).ok().ok_or(Error::Graph("bars have no names"))?;
            bars.push(Bar { start, end: x, name, parent });
            if own > 0 && !levels.is_empty() {
                fold(&graph.names, &levels, bars.last(), own, &mut text);
            }
            if text.len() > limit {
                return Err(Error::TooLong { limit });
            }
        }
        levels.push(bars);
    }
    Ok(text)
}

fn fold(names: &[String], levels: &[Vec<Bar>], bar: Option<&Bar>, own: i64, text: &mut String) {
    let mut stack = Vec::new();
    let mut bar = bar;
    for above in levels.iter().rev() {
        let Some(this) = bar else { break };
        let name = names.get(this.name).map(String::as_str).filter(|name| !name.is_empty());
        stack.push(name.unwrap_or("[unknown]"));
        bar = this.parent.and_then(|parent| above.get(parent));
    }
    perf_script::push_folded(stack.iter().rev().copied(), own, text);
}
