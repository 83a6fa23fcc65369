//! The JSON of `/pyroscope/render`: a flame graph with its timeline.

use crate::query::profile_type::ProfileType;
use crate::render::diff::FlameGraphDiff;
use crate::render::flame_graph::FlameGraph;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
pub struct Rendered {
    pub version: u32,
    pub flamebearer: Flamebearer,
    pub metadata: Metadata,
    pub timeline: Option<Timeline>,
    pub groups: Option<BTreeMap<String, Timeline>>,
    pub heatmap: Option<()>,
    #[serde(rename = "leftTicks")]
    pub left_ticks: i64,
    #[serde(rename = "rightTicks")]
    pub right_ticks: i64,
}

#[derive(Debug, Serialize)]
pub struct Flamebearer {
    pub names: Vec<String>,
    pub levels: Vec<Vec<i64>>,
    #[serde(rename = "numTicks")]
    pub num_ticks: i64,
    #[serde(rename = "maxSelf")]
    pub max_self: i64,
}

#[derive(Debug, Serialize)]
pub struct Metadata {
    pub format: &'static str,
    #[serde(rename = "spyName")]
    pub spy_name: &'static str,
    #[serde(rename = "sampleRate")]
    pub sample_rate: u32,
    pub units: String,
    pub name: String,
    /// On the routes of the first servers.
    #[serde(flatten)]
    pub asked: Option<Asked>,
}

/// What was asked, told again.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    pub app_name: String,
    /// Seconds.
    pub start_time: i64,
    pub end_time: i64,
    pub query: String,
    pub max_nodes: i64,
}

#[derive(Debug, Serialize)]
pub struct Timeline {
    #[serde(rename = "startTime")]
    pub start_s: i64,
    pub samples: Vec<u64>,
    #[serde(rename = "durationDelta")]
    pub step_s: i64,
    pub watermarks: Option<()>,
}

pub fn single(
    graph: FlameGraph,
    profile_type: &ProfileType,
    timeline: Timeline,
    groups: BTreeMap<String, Timeline>,
) -> Rendered {
    Rendered {
        version: 1,
        flamebearer: Flamebearer {
            names: graph.names,
            levels: graph.levels,
            num_ticks: graph.total,
            max_self: graph.max_self,
        },
        metadata: metadata("single", profile_type),
        timeline: Some(timeline),
        groups: Some(groups),
        heatmap: None,
        left_ticks: 0,
        right_ticks: 0,
    }
}

/// Without a timeline.
pub fn alone(graph: FlameGraph, profile_type: &ProfileType) -> Rendered {
    let nothing = Timeline { start_s: 0, samples: Vec::new(), step_s: 0, watermarks: None };
    let rendered = single(graph, profile_type, nothing, BTreeMap::new());
    Rendered { timeline: None, groups: None, ..rendered }
}

pub fn double(graph: FlameGraphDiff, profile_type: &ProfileType) -> Rendered {
    Rendered {
        version: 1,
        flamebearer: Flamebearer {
            names: graph.names,
            levels: graph.levels,
            num_ticks: graph.total,
            max_self: graph.max_self,
        },
        metadata: metadata("double", profile_type),
        timeline: None,
        groups: None,
        heatmap: None,
        left_ticks: graph.left_ticks,
        right_ticks: graph.right_ticks,
    }
}

fn metadata(format: &'static str, profile_type: &ProfileType) -> Metadata {
    let (units, sample_rate) = match profile_type.sample_type.as_str() {
        "cpu" => ("samples", 1_000_000_000),
        "inuse_objects" | "alloc_objects" | "goroutine" | "samples" => ("objects", 100),
        _ => (profile_type.sample_unit.as_str(), 100),
    };
    Metadata {
        format,
        spy_name: "",
        sample_rate,
        units: units.to_owned(),
        name: profile_type.sample_type.clone(),
        asked: None,
    }
}

/// Longer timelines are nobody's: the steps below give 1,500 points.
const MAX_POINTS: i64 = 20_000;

/// Every step from the start, 0 where there is no point.
pub fn timeline(points: &[(i64, f64)], start_s: i64, end_s: i64, step_s: i64) -> Timeline {
    let n_points = (end_s.saturating_sub(start_s) / step_s.max(1) + 1).clamp(0, MAX_POINTS);
    let mut samples = vec![0; n_points as usize];
    for (time_ms, value) in points {
        let index = (time_ms / 1_000).saturating_sub(start_s) / step_s.max(1);
        if let Some(sample) = usize::try_from(index).ok().and_then(|index| samples.get_mut(index)) {
            *sample = *value as u64;
        }
    }
    Timeline { start_s, samples, step_s, watermarks: None }
}

/// A step of round length that makes about 1,500 of the range; not less than 15 seconds.
pub fn step_s(range_s: i64) -> i64 {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3_600.0;
    const DAY: f64 = 86_400.0;
    const STEPS: [(f64, i64); 16] = [
        (17.5, 15),
        (25.0, 20),
        (45.0, 30),
        (1.5 * MINUTE, 60),
        (3.5 * MINUTE, 120),
        (7.5 * MINUTE, 300),
        (12.5 * MINUTE, 600),
        (17.5 * MINUTE, 900),
        (25.0 * MINUTE, 1_200),
        (45.0 * MINUTE, 1_800),
        (1.5 * HOUR, 3_600),
        (2.5 * HOUR, 7_200),
        (4.5 * HOUR, 10_800),
        (9.0 * HOUR, 21_600),
        (DAY, 43_200),
        (7.0 * DAY, 86_400),
    ];
    let wanted_s = range_s as f64 / 1_500.0;
    STEPS.iter().find(|(up_to_s, _)| wanted_s <= *up_to_s).map_or(7 * 86_400, |(_, step_s)| *step_s)
}
