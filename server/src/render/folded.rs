//! A tree -> a line for each stack that has a value of its own, root first: `a;b;c 12`.

use crate::query::tree::Tree;

pub fn render(tree: &Tree) -> String {
    let mut text = String::new();
    for node in tree.nodes().iter().filter(|node| node.own != 0) {
        for name in tree.ancestors(node).iter().rev() {
            push_name(&mut text, name);
            text.push(';');
        }
        push_name(&mut text, tree.name(node));
        text.push(' ');
        text.push_str(&node.own.to_string());
        text.push('\n');
    }
    text
}

/// Without what separates frames, stacks and values.
fn push_name(text: &mut String, name: &str) {
    let plain = |char: char| match char {
        ';' => ':',
        char if char.is_control() => ' ',
        char => char,
    };
    text.extend(name.chars().map(plain));
}
