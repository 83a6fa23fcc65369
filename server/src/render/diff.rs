//! Two trees -> levels of bars, each seven numbers: offset, total and own value of the left, the same of the right, name.

use crate::query::tree::{OTHER, Tree, smallest_drawn};
use crate::render::flame_graph::{Names, ROOT};
use std::cmp::Ordering;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct FlameGraphDiff {
    pub names: Vec<String>,
    pub levels: Vec<Vec<i64>>,
    pub total: i64,
    pub max_self: i64,
    pub left_ticks: i64,
    pub right_ticks: i64,
}

/// A node of the union of both trees.
#[derive(Clone, Copy)]
struct Pair {
    left: Option<u32>,
    right: Option<u32>,
}

#[derive(Clone, Copy)]
enum Drawn {
    Root,
    Pair(Pair),
    Other([i64; 2]),
}

struct Bar {
    x: [i64; 2],
    level: usize,
    node: Drawn,
}

struct Union<'a> {
    left: &'a Tree,
    right: &'a Tree,
    left_children: Vec<Vec<u32>>,
    right_children: Vec<Vec<u32>>,
}

pub fn render(left: &Tree, right: &Tree, max_nodes: i64) -> FlameGraphDiff {
    let union =
        Union { left, right, left_children: left.children(), right_children: right.children() };
    let totals = [left.total(), right.total()];
    let smallest = smallest_drawn(union.all_totals(totals), max_nodes);
    let mut names = Names::default();
    let mut levels: Vec<Vec<[i64; 7]>> = Vec::new();
    let mut max_self = 0;
    let mut waiting = vec![Bar { x: [0, 0], level: 0, node: Drawn::Root }];
    while let Some(Bar { x, level, node }) = waiting.pop() {
        let (name, total, own, below) = match node {
            Drawn::Root => (ROOT, totals, [0, 0], union.roots()),
            Drawn::Pair(pair) => {
                (union.name(pair), union.totals(pair), union.own(pair), union.children(pair))
            }
            Drawn::Other(sum) => (OTHER, sum, sum, Vec::new()),
        };
        max_self = max_self.max(own[0]).max(own[1]);
        if levels.len() <= level {
            levels.push(Vec::new());
        }
        levels[level].push([x[0], total[0], own[0], x[1], total[1], own[1], names.number(name)]);
        union.push_children(&below, smallest, (add(x, own), level + 1), &mut waiting);
    }
    FlameGraphDiff {
        names: names.names,
        levels: levels.into_iter().map(encode).collect(),
        total: totals[0].saturating_add(totals[1]),
        max_self,
        left_ticks: totals[0],
        right_ticks: totals[1],
    }
}

impl<'a> Union<'a> {
    fn roots(&self) -> Vec<Pair> {
        self.merge(self.left_children.last(), self.right_children.last())
    }

    fn children(&self, pair: Pair) -> Vec<Pair> {
        let left = pair.left.and_then(|node| self.left_children.get(node as usize));
        let right = pair.right.and_then(|node| self.right_children.get(node as usize));
        self.merge(left, right)
    }

    /// Both lists are sorted by name.
    fn merge(&self, left: Option<&Vec<u32>>, right: Option<&Vec<u32>>) -> Vec<Pair> {
        let (mut left, mut right) =
            (left.map_or(&[][..], Vec::as_slice), right.map_or(&[][..], Vec::as_slice));
        let mut pairs = Vec::new();
        loop {
            let order = match (left.first(), right.first()) {
                (None, None) => return pairs,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(l), Some(r)) => self.left_name(*l).cmp(self.right_name(*r)),
            };
            let mut pair = Pair { left: None, right: None };
            if order != Ordering::Greater {
                pair.left = left.first().copied();
                left = &left[1..];
            }
            if order != Ordering::Less {
                pair.right = right.first().copied();
                right = &right[1..];
            }
            pairs.push(pair);
        }
    }

    fn left_name(&self, node: u32) -> &'a str {
        self.left.name(&self.left.nodes()[node as usize])
    }

    fn right_name(&self, node: u32) -> &'a str {
        self.right.name(&self.right.nodes()[node as usize])
    }

    fn name(&self, pair: Pair) -> &'a str {
        pair.left
            .map(|node| self.left_name(node))
            .or(pair.right.map(|node| self.right_name(node)))
            .unwrap_or_default()
    }

    fn totals(&self, pair: Pair) -> [i64; 2] {
        let total = |tree: &Tree, node: Option<u32>| {
            node.map_or(0, |node| tree.nodes()[node as usize].total)
        };
        [total(self.left, pair.left), total(self.right, pair.right)]
    }

    fn own(&self, pair: Pair) -> [i64; 2] {
        let own =
            |tree: &Tree, node: Option<u32>| node.map_or(0, |node| tree.nodes()[node as usize].own);
        [own(self.left, pair.left), own(self.right, pair.right)]
    }

    /// The larger side of every node, the root's too.
    fn all_totals(&self, root: [i64; 2]) -> Vec<i64> {
        let mut totals = vec![root[0].max(root[1])];
        let mut waiting = self.roots();
        while let Some(pair) = waiting.pop() {
            let [left, right] = self.totals(pair);
            totals.push(left.max(right));
            waiting.extend(self.children(pair));
        }
        totals
    }

    fn push_children(
        &self,
        children: &[Pair],
        smallest: i64,
        (mut x, level): ([i64; 2], usize),
        waiting: &mut Vec<Bar>,
    ) {
        let mut other = [0, 0];
        for pair in children {
            let total = self.totals(*pair);
            if (total[0] >= smallest || total[1] >= smallest) && self.name(*pair) != OTHER {
                waiting.push(Bar { x, level, node: Drawn::Pair(*pair) });
                x = add(x, total);
            } else {
                other = add(other, total);
            }
        }
        if other != [0, 0] {
            waiting.push(Bar { x, level, node: Drawn::Other(other) });
        }
    }
}

fn add(a: [i64; 2], b: [i64; 2]) -> [i64; 2] {
    [a[0].saturating_add(b[0]), a[1].saturating_add(b[1])]
}

/// Bars were drawn from right to left.
fn encode(mut bars: Vec<[i64; 7]>) -> Vec<i64> {
    bars.reverse();
    let mut end = [0, 0];
    for bar in &mut bars {
        let next_end = add([bar[0], bar[3]], [bar[1], bar[4]]);
        bar[0] = bar[0].saturating_sub(end[0]);
        bar[3] = bar[3].saturating_sub(end[1]);
        end = next_end;
    }
    bars.concat()
}
