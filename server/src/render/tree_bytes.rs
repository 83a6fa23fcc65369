//! A tree -> preorder of name length, name, own value, number of children; the root has no name.

use crate::query::tree::Tree;

pub fn render(tree: &Tree) -> Vec<u8> {
    let children = tree.children();
    let mut out = Vec::new();
    let mut waiting = vec![None];
    while let Some(index) = waiting.pop() {
        let (name, own, below) = match index {
            None => ("", 0, children.last()),
            Some(index) => {
                let node = &tree.nodes()[index as usize];
                (tree.name(node), node.own, children.get(index as usize))
            }
        };
        let below = below.map_or(&[][..], Vec::as_slice);
        put(&mut out, name.len() as u64);
        out.extend(name.as_bytes());
        put(&mut out, own as u64);
        put(&mut out, below.len() as u64);
        waiting.extend(below.iter().rev().map(|index| Some(*index)));
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
