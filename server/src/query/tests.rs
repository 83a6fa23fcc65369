//! What is read back is what was written, however it was split.

use crate::ingest::labels::Labels;
use crate::ingest::symbols::{Function, Line, Location, LocationHead, Symbols};
use crate::ingest::{NormalizedProfile, NormalizedSeries};
use crate::query::View;
use crate::query::profile_type::ProfileType;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::{self, Aggregation, SeriesQuery};
use crate::query::stacks;
use crate::query::tree::Tree;
use crate::query::{labels, pprof};
use crate::store::{Config, Store};
use prometheus_client::registry::Registry;
use proptest::prelude::{ProptestConfig, Strategy, prop_assert_eq, proptest};
use std::path::Path;
use tempfile::TempDir;

const BASE_MS: i64 = 1_795_312_420_000;

/// Series, milliseconds after the base, and rows of (root function, leaf function, value).
type Pushed = (u8, i64, Vec<(u8, u8, i64)>);

fn pushed() -> impl Strategy<Value = Pushed> {
    (0_u8..4, 0_i64..100_000, proptest::collection::vec((0_u8..3, 0_u8..5, 1_i64..1_000), 1..8))
}

fn store(directory: &Path) -> Store {
    let config = Config {
        // Segments of 64 KiB, so that there are several.
        memory_max_bytes: 1 << 19,
        retention_ns: i64::MAX,
        max_series: 100,
        ..Config::new(directory.to_owned())
    };
    Store::open(config, || BASE_MS * 1_000_000, &mut Registry::default()).expect("the store opens")
}

fn profile((series, offset_ms, rows): &Pushed) -> NormalizedProfile {
    let function = |name| Function { name, ..Function::default() };
    let location = |function| Location {
        head: LocationHead::default(),
        lines: vec![Line { function, line: 1, column: 0 }],
    };
    let mut by_stack = std::collections::BTreeMap::new();
    for (root, leaf, value) in rows {
        *by_stack.entry(u32::from(*root) * 5 + u32::from(*leaf)).or_insert(0) += *value;
    }
    let pairs = [
        ("__profile_type__", "a:b:c:d:e".to_owned()),
        ("pod", format!("pod-{}", series % 2)),
        ("all", format!("{series}")),
    ];
    NormalizedProfile {
        time_ns: (BASE_MS + offset_ms) * 1_000_000,
        id: None,
        symbols: Symbols {
            strings: std::iter::once(String::new())
                .chain((0..8).map(|number| format!("f{number}")))
                .collect(),
            functions: (1..9).map(function).collect(),
            mappings: Vec::new(),
            locations: (0..8).map(location).collect(),
            stacks: (0..3).flat_map(|root| (0..5).map(move |leaf| vec![3 + leaf, root])).collect(),
        },
        series: vec![NormalizedSeries {
            labels: Labels::new(pairs.map(|(name, value)| (name.to_owned(), value))),
            period: 1,
            rows: by_stack.into_iter().collect(),
        }],
    }
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).expect("the selector is right")
}

/// The sums of a flame graph, a pprof and of time series over all the pushed profiles.
fn sums(store: &Store, step_ms: i64) -> (i64, i64, i64) {
    let range = Range { start_ms: BASE_MS, end_ms: BASE_MS + 100_000 };
    let segments = View::from(store.select(range.start_ns(), range.end_ns()));
    let selected = stacks::select(&segments, &selector("{}"), &range, &[]).expect("it is read");
    let tree = Tree::new(&selected);
    assert_eq!(tree.nodes().iter().map(|node| node.own).sum::<i64>(), tree.total());
    let merged = pprof::merge(
        &selected,
        &ProfileType::parse("a:b:c:d:e").expect("it is one"),
        &range,
        pprof::Shape::default(),
    );
    protocol::pprof::check(&merged).expect("the pprof is right");
    let in_pprof = merged.sample.iter().map(|sample| sample.value[0]).sum();
    for max_nodes in [1, 2, 5] {
        let profile_type = ProfileType::parse("a:b:c:d:e").expect("it is one");
        let shape = pprof::Shape { max_nodes: Some(max_nodes), ..pprof::Shape::default() };
        let small = pprof::merge(&selected, &profile_type, &range, shape);
        protocol::pprof::check(&small).expect("the pprof is right");
        assert_eq!(small.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), in_pprof);
        assert!(small.function.len() <= merged.function.len() + 1);
    }
    let group_by = ["pod".to_owned()];
    let end_ms = BASE_MS + (100_000 + step_ms - 1) / step_ms * step_ms;
    let query = SeriesQuery {
        selector: &selector("{}"),
        range: Range { start_ms: BASE_MS, end_ms },
        step_ms,
        group_by: &group_by,
        aggregation: Aggregation::Sum,
        call_site: &[],
    };
    let series = series::select(&segments, &query).expect("the query is right");
    let in_series: f64 =
        series.iter().flat_map(|series| &series.points).map(|(_, value)| value).sum();
    (tree.total(), in_pprof, in_series as i64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_sum_is_what_was_pushed(all in proptest::collection::vec(pushed(), 1..60), step_ms in 1_i64..50_000) {
        let directory = TempDir::new().expect("a directory");
        let pushed: i64 = all.iter().flat_map(|(_, _, rows)| rows).map(|(_, _, value)| value).sum();
        let open = store(directory.path());
        for one in &all {
            drop(open.append(&profile(one)).expect("it is stored"));
        }
        prop_assert_eq!(sums(&open, step_ms), (pushed, pushed, pushed));
        drop(open);
        prop_assert_eq!(sums(&store(directory.path()), step_ms), (pushed, pushed, pushed));
        for pod in 0..2_u8 {
            let want: i64 = all.iter().filter(|one| one.0 % 2 == pod).flat_map(|one| &one.2).map(|row| row.2).sum();
            let open = store(directory.path());
            let range = Range { start_ms: BASE_MS, end_ms: BASE_MS + 100_000 };
            let segments = View::from(open.select(range.start_ns(), range.end_ns()));
            let selected = stacks::select(&segments, &selector(&format!("{{pod=\"pod-{pod}\"}}")), &range, &[]).expect("it is read");
            prop_assert_eq!(Tree::new(&selected).total(), want);
        }
    }
}

#[test]
fn buckets_are_closed_on_the_right() {
    let directory = TempDir::new().unwrap();
    let store = store(directory.path());
    for (offset_ms, value) in [
        (-10_001, 1),
        (-10_000, 2),
        (-9_999, 4),
        (0, 8),
        (1, 16),
        (10_000, 32),
        (25_000, 64),
        (30_001, 128),
    ] {
        drop(store.append(&profile(&(0, offset_ms, vec![(0, 0, value)]))).unwrap());
    }
    let query = |aggregation, end_ms| {
        let segments = View::from(store.select(i64::MIN, i64::MAX));
        let range = Range { start_ms: BASE_MS, end_ms: BASE_MS + end_ms };
        let selector = &selector("{}");
        let query = SeriesQuery {
            selector,
            range,
            step_ms: 10_000,
            group_by: &[],
            aggregation,
            call_site: &[],
        };
        let found = series::select(&segments, &query).unwrap();
        found[0]
            .points
            .iter()
            .map(|(time_ms, value)| (time_ms - BASE_MS, *value))
            .collect::<Vec<_>>()
    };
    let all = [(0, 12.0), (10_000, 48.0), (30_000, 64.0)];
    assert_eq!(query(Aggregation::Sum, 30_000), all);
    assert_eq!(query(Aggregation::Sum, 39_999), all);
    assert_eq!(query(Aggregation::Sum, 29_999), all[..2]);
    assert_eq!(query(Aggregation::Average, 30_000), [(0, 6.0), (10_000, 24.0), (30_000, 64.0)]);
}

#[test]
fn call_sites_keep_the_stacks_below_them() {
    let directory = TempDir::new().unwrap();
    let store = store(directory.path());
    drop(store.append(&profile(&(0, 0, vec![(0, 0, 1), (0, 1, 2), (1, 0, 4)]))).unwrap());
    let range = Range { start_ms: BASE_MS, end_ms: BASE_MS };
    let segments = View::from(store.select(range.start_ns(), range.end_ns()));
    let total = |call_site: &[&str]| {
        let call_site: Vec<String> = call_site.iter().map(|name| (*name).to_owned()).collect();
        let selected = stacks::select(&segments, &selector("{}"), &range, &call_site);
        Tree::new(&selected.expect("it is read")).total()
    };
    assert_eq!(
        [
            total(&[]),
            total(&["f0"]),
            total(&["f0", "f4"]),
            total(&["f4"]),
            total(&["f0", "f4", "x"])
        ],
        [7, 3, 2, 0, 0]
    );
}

#[test]
fn labels_are_those_of_the_series_in_range() {
    let directory = TempDir::new().unwrap();
    let store = store(directory.path());
    for (series, offset_ms) in [(0, 0), (1, 0), (2, 50_000)] {
        drop(store.append(&profile(&(series, offset_ms, vec![(0, 0, 1)]))).unwrap());
    }
    let segments = View::from(store.select(i64::MIN, i64::MAX));
    let range = Range { start_ms: BASE_MS, end_ms: BASE_MS + 10 };
    let values = |selectors: &[Selector], range| {
        labels::values(&segments, "all", selectors, range).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(values(&[], &range), ["0", "1"]);
    assert_eq!(values(&[selector(r#"{all="1"}"#), selector(r#"{all="2"}"#)], &range), ["1"]);
    let all = Range { start_ms: 1, end_ms: i64::MAX / 1_000_000 };
    assert_eq!(values(&[selector(r#"{all="1"}"#), selector(r#"{all="2"}"#)], &all), ["1", "2"]);
    assert_eq!(
        labels::names(&segments, &[], &all).into_iter().collect::<Vec<_>>(),
        ["__profile_type__", "all", "pod"]
    );
    assert_eq!(labels::sets(&segments, &[], &["pod".to_owned()], &all).len(), 2);
    assert_eq!(labels::profile_types(&segments, &all)[0].id, "a:b:c:d:e");
}

#[test]
fn a_truncated_pprof_has_the_largest_nodes() {
    let directory = TempDir::new().unwrap();
    let store = store(directory.path());
    let rows = vec![(0, 0, 10), (0, 1, 2), (0, 2, 1), (1, 0, 1), (1, 1, 1)];
    drop(store.append(&profile(&(0, 0, rows))).unwrap());
    let range = Range { start_ms: BASE_MS, end_ms: BASE_MS };
    let segments = View::from(store.select(range.start_ns(), range.end_ns()));
    let selected = stacks::select(&segments, &selector("{}"), &range, &[]).unwrap();
    let shown = |max_nodes| {
        let profile_type = ProfileType::parse("a:b:c:d:e").unwrap();
        let shape = pprof::Shape { max_nodes, ..pprof::Shape::default() };
        let merged = pprof::merge(&selected, &profile_type, &range, shape);
        let name = |location: &u64| {
            let function = merged.location[*location as usize - 1].line[0].function_id;
            let name = merged.function[function as usize - 1].name;
            merged.string_table[name as usize].clone()
        };
        let mut lines: Vec<String> = merged
            .sample
            .iter()
            .map(|sample| {
                let frames: Vec<String> = sample.location_id.iter().rev().map(name).collect();
                format!("{} {}", frames.join(";"), sample.value[0])
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(shown(Some(2)), ["f0;f3 10", "f0;other 3", "other 2"]);
    assert_eq!(shown(Some(1)), ["f0;other 13", "other 2"]);
    assert_eq!(shown(Some(100)), shown(None));
    assert_eq!(shown(None).len(), 5);
}
