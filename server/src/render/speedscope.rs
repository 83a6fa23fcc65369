//! A tree -> the file format of speedscope, sampled.

use crate::query::profile_type::ProfileType;
use crate::query::tree::{Node, Tree};
use serde_json::{Value, json};
use std::collections::HashMap;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

pub fn render(tree: &Tree, profile_type: &ProfileType) -> Value {
    let mut frames: Vec<Value> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut samples: Vec<Vec<usize>> = Vec::new();
    let mut weights: Vec<i64> = Vec::new();
    for node in tree.nodes().iter().filter(|node: &&Node| node.own != 0) {
        let mut names = tree.ancestors(node);
        names.reverse();
        names.push(tree.name(node));
        let stack = names.into_iter().map(|name| {
            *by_name.entry(name).or_insert_with(|| {
                frames.push(json!({ "name": name }));
                frames.len() - 1
            })
        });
        samples.push(stack.collect());
        weights.push(node.own);
    }
    let unit = match profile_type.sample_unit.as_str() {
        unit @ ("nanoseconds" | "microseconds" | "milliseconds" | "seconds" | "bytes") => unit,
        _ => "none",
    };
    json!({
        "$schema": SCHEMA,
        "name": profile_type.id,
        "exporter": "pilotlight",
        "shared": { "frames": frames },
        "profiles": [{
            "type": "sampled",
            "name": profile_type.sample_type,
            "unit": unit,
            "startValue": 0,
            "endValue": tree.total(),
            "samples": samples,
            "weights": weights,
        }],
    })
}
