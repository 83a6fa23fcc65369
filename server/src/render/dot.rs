//! A tree -> the call graph of its functions, as text for Graphviz.

use crate::query::tree::Tree;
use std::collections::{BTreeMap, HashSet};

#[derive(Default)]
struct Function {
    own: i64,
    total: i64,
}

/// At most `max_nodes` functions, the largest ones; empty where there is no data.
pub fn render(tree: &Tree, max_nodes: usize) -> String {
    let mut functions: BTreeMap<&str, Function> = BTreeMap::new();
    let mut edges: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for node in tree.nodes() {
        let name = tree.name(node);
        let ancestors = tree.ancestors(node);
        let function = functions.entry(name).or_default();
        function.own = function.own.saturating_add(node.own);
        // A recursive function's inner calls are in its outer call's total.
        if !ancestors.contains(&name) {
            function.total = function.total.saturating_add(node.total);
        }
        if let Some(parent) = ancestors.first() {
            let edge = edges.entry((parent, name)).or_insert(0);
            *edge = edge.saturating_add(node.total);
        }
    }
    let mut largest: Vec<(&str, &Function)> =
        functions.iter().map(|(name, function)| (*name, function)).collect();
    largest.sort_by_key(|(name, function)| (std::cmp::Reverse(function.total), *name));
    largest.truncate(max_nodes);
    draw(&largest, &edges, tree.total())
}

fn draw(
    functions: &[(&str, &Function)],
    edges: &BTreeMap<(&str, &str), i64>,
    total: i64,
) -> String {
    if functions.is_empty() {
        return String::new();
    }
    let mut lines = vec![format!("digraph \"total {total}\" {{"), "node [shape=box]".to_owned()];
    for (name, function) in functions {
        let label = quote(&format!("{name}\n{} of {}", function.own, function.total));
        lines.push(format!("{} [label={label}]", quote(name)));
    }
    let drawn: HashSet<&str> = functions.iter().map(|(name, _)| *name).collect();
    for ((from, to), value) in edges {
        if drawn.contains(from) && drawn.contains(to) {
            lines.push(format!("{} -> {} [label=\"{value}\"]", quote(from), quote(to)));
        }
    }
    lines.push("}\n".to_owned());
    lines.join("\n")
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
