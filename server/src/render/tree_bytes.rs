//! A tree -> preorder of name length, name, own value, number of children; the root has no name.

use crate::query::tree::{OTHER, Tree, smallest_drawn};

#[derive(Clone, Copy)]
enum Drawn {
    Root,
    Node(u32),
    /// What is too small to be drawn, together.
    Other(i64),
}

pub fn render(tree: &Tree, max_nodes: i64) -> Vec<u8> {
    let children = tree.children();
    let nodes = tree.nodes();
    let smallest = smallest_drawn(nodes.iter().map(|node| node.total).collect(), max_nodes);
    let mut out = Vec::new();
    let mut waiting = vec![Drawn::Root];
    while let Some(drawn) = waiting.pop() {
        let (name, own, below) = match drawn {
            Drawn::Root => ("", 0, children.last()),
            Drawn::Node(index) => {
                let node = &nodes[index as usize];
                (tree.name(node), node.own, children.get(index as usize))
            }
            Drawn::Other(sum) => (OTHER, sum, None),
        };
        let below = below.map_or(&[][..], Vec::as_slice);
        let mut kept = Vec::new();
        let mut other: i64 = 0;
        for index in below {
            let node = &nodes[*index as usize];
            if node.total >= smallest && tree.name(node) != OTHER {
                kept.push(Drawn::Node(*index));
            } else {
                other = other.saturating_add(node.total);
            }
        }
        if other != 0 {
            kept.push(Drawn::Other(other));
        }
        put(&mut out, name.len() as u64);
        out.extend(name.as_bytes());
        put(&mut out, own as u64);
        put(&mut out, kept.len() as u64);
        waiting.extend(kept.into_iter().rev());
    }
    out
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
