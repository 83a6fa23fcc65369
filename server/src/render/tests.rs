//! The golden vectors of the protocol.

use crate::query::tree::Tree;
use crate::render::{diff, flame_graph, flamebearer, tree_bytes};
use proptest::prelude::{prop_assert_eq, proptest};

fn tree(stacks: &[(&str, i64)]) -> Tree {
    let split: Vec<(Vec<&str>, i64)> =
        stacks.iter().map(|(stack, value)| (stack.split(';').collect(), *value)).collect();
    Tree::from_stacks(split.iter().map(|(stack, value)| (stack.as_slice(), *value)))
}

#[test]
fn flame_graph_of_the_protocol() {
    let tree = tree(&[("a;b;e", 1), ("a;c", 2), ("a;c;d", 1)]);
    let graph = flame_graph::render(&tree, 0);
    assert_eq!(graph.names, ["total", "a", "c", "d", "b", "e"]);
    let levels = [
        vec![0, 4, 0, 0],
        vec![0, 4, 0, 1],
        vec![0, 1, 0, 4, 0, 3, 2, 2],
        vec![0, 1, 1, 5, 2, 1, 1, 3],
    ];
    assert_eq!(graph.levels, levels);
    assert_eq!((graph.total, graph.max_self), (4, 2));
    assert_eq!(flame_graph::render(&tree, 100), graph);
}

#[test]
fn small_bars_become_other() {
    let tree = tree(&[("a;b", 5), ("a;c", 3), ("a;d", 2), ("a;other", 1), ("z", 1)]);
    let graph = flame_graph::render(&tree, 2);
    assert_eq!(graph.names, ["total", "other", "a", "b"]);
    assert_eq!(
        graph.levels,
        [vec![0, 12, 0, 0], vec![0, 11, 0, 2, 0, 1, 1, 1], vec![0, 5, 5, 3, 0, 6, 6, 1]]
    );
    assert_eq!((graph.total, graph.max_self), (12, 6));
}

#[test]
fn nothing_is_a_root_alone() {
    let graph = flame_graph::render(&tree(&[]), 8_192);
    assert_eq!(
        (graph.names.as_slice(), graph.levels.as_slice()),
        (&["total".to_owned()][..], &[vec![0, 0, 0, 0]][..])
    );
}

#[test]
fn diff_of_the_protocol() {
    let left = tree(&[("a;b", 1), ("a;c", 2)]);
    let right = tree(&[("a;b", 4), ("a;c", 8)]);
    let graph = diff::render(&left, &right, 0);
    assert_eq!(graph.names, ["total", "a", "c", "b"]);
    let levels = [
        vec![0, 3, 0, 0, 12, 0, 0],
        vec![0, 3, 0, 0, 12, 0, 1],
        vec![0, 1, 1, 0, 4, 4, 3, 0, 2, 2, 0, 8, 8, 2],
    ];
    assert_eq!(graph.levels, levels);
    assert_eq!((graph.total, graph.max_self, graph.left_ticks, graph.right_ticks), (15, 8, 3, 12));
    let graph = diff::render(&left, &right, 2);
    assert_eq!(graph.names, ["total", "a", "other"]);
    assert_eq!(graph.max_self, 12);
}

#[test]
fn diff_of_different_trees_has_both() {
    let graph = diff::render(&tree(&[("a", 1), ("b;x", 2)]), &tree(&[("b;y", 3), ("c", 4)]), 0);
    assert_eq!(graph.names, ["total", "c", "b", "y", "x", "a"]);
    assert_eq!((graph.total, graph.left_ticks, graph.right_ticks), (10, 3, 7));
    assert_eq!(graph.levels[1], [0, 1, 1, 0, 0, 0, 5, 0, 2, 0, 0, 3, 0, 2, 0, 0, 0, 0, 4, 4, 1]);
}

#[test]
fn tree_bytes_are_preorder() {
    assert_eq!(
        tree_bytes::render(&tree(&[("a;b", 1), ("a", 300), ("c", 2)]), 0),
        b"\x00\x00\x02\x01a\xac\x02\x01\x01b\x01\x00\x01c\x02\x00"
    );
}

#[test]
fn steps_are_round() {
    for (range_s, step_s) in [
        (3_600, 15),
        (6 * 3_600, 15),
        (12 * 3_600, 30),
        (86_400, 60),
        (7 * 86_400, 300),
        (400 * 86_400, 21_600),
    ] {
        assert_eq!(flamebearer::step_s(range_s), step_s, "{range_s}");
    }
    let timeline = flamebearer::timeline(&[(15_000, 1.0), (45_000, 2.0)], 15, 60, 15);
    assert_eq!(timeline.samples, [1, 0, 2, 0]);
}

proptest! {
    #[test]
    fn nothing_is_lost_in_drawing(
        left in proptest::collection::vec(("[a-c](;[a-c]){0,5}", 1_i64..100), 0..40),
        right in proptest::collection::vec(("[a-c](;[a-c]){0,5}", 1_i64..100), 0..40),
        max_nodes in 0_i64..50,
    ) {
        let sides = [left, right].map(|stacks| {
            let stacks: Vec<(&str, i64)> = stacks.iter().map(|(stack, value)| (stack.as_str(), *value)).collect();
            (stacks.iter().map(|(_, value)| value).sum::<i64>(), tree(&stacks))
        });
        for (sum, tree) in &sides {
            let graph = flame_graph::render(tree, max_nodes);
            let own: i64 = graph.levels.iter().flat_map(|level| level.chunks(4)).map(|bar| bar[2]).sum();
            prop_assert_eq!((graph.total, own), (*sum, *sum));
        }
        let [(left_sum, left), (right_sum, right)] = sides;
        let graph = diff::render(&left, &right, max_nodes);
        let own = |index: usize| graph.levels.iter().flat_map(|level| level.chunks(7)).map(|bar| bar[index]).sum::<i64>();
        prop_assert_eq!((graph.total, own(2), own(5)), (left_sum + right_sum, left_sum, right_sum));
    }
}
