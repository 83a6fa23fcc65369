//! Tests: an answer is the same from the head, from blocks of every level, from months, and from all of them at once.

use crate::ingest::labels::Labels;
use crate::ingest::symbols::{Function, Line, Location, LocationHead, Symbols};
use crate::ingest::{NormalizedProfile, NormalizedSeries};
use crate::query::View;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::{self, Aggregation, SeriesQuery};
use crate::query::tree::Tree;
use crate::query::{Error, labels, stacks};
use crate::store::block::Kind;
use crate::store::block::period::{DAY_NS, Period};
use crate::store::{Config, Deletion, Source, Store};
use prometheus_client::registry::Registry;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const HOUR_MS: i64 = 3_600_000;
/// Noon of the fifth day; profiles are of the days before and of this one.
const NOW_MS: i64 = 1_795_262_400_000 + 12 * HOUR_MS;
const SPAN_MS: i64 = 5 * 24 * HOUR_MS;

fn now() -> i64 {
    // Two days later, so that all days are over.
    NOW_MS * 1_000_000 + 2 * DAY_NS
}

#[derive(Debug, Clone)]
struct Pushed {
    service: u8,
    pod: u8,
    time_ms: i64,
    rows: Vec<(u8, u8, i64)>,
}

fn pushed() -> impl Strategy<Value = Pushed> {
    // Whole hours and days come often: they are the edges of windows.
    let time = (0..SPAN_MS, 0_u8..4).prop_map(|(offset, edge)| {
        let unit = [1, 1, HOUR_MS, 24 * HOUR_MS][usize::from(edge)];
        (NOW_MS - SPAN_MS + offset) / unit * unit
    });
    let rows = proptest::collection::vec((0_u8..3, 0_u8..5, 1_i64..1_000_000), 1..8);
    (0_u8..3, 0_u8..3, time, rows).prop_map(|(service, pod, time_ms, rows)| Pushed {
        service,
        pod,
        time_ms,
        rows,
    })
}

/// Functions have other numbers in each service.
fn profile(pushed: &Pushed) -> NormalizedProfile {
    let shift = u32::from(pushed.service);
    let function = |name| Function { name, filename: 9, ..Function::default() };
    let location = |function: u32| Location {
        head: LocationHead { address: u64::from(function) * 16, ..LocationHead::default() },
        lines: vec![Line { function: (function + shift) % 8, line: 7, column: 1 }],
    };
    let mut by_stack: BTreeMap<u32, i64> = BTreeMap::new();
    for (root, leaf, value) in &pushed.rows {
        *by_stack.entry(u32::from(*root) * 5 + u32::from(*leaf)).or_default() += value;
    }
    let pairs = [
        ("__profile_type__".to_owned(), "a:b:c:d:e".to_owned()),
        ("service_name".to_owned(), format!("service-{}", pushed.service)),
        ("pod".to_owned(), format!("pod-{}", pushed.pod)),
    ];
    NormalizedProfile {
        time_ns: pushed.time_ms * 1_000_000,
        id: None,
        symbols: Symbols {
            strings: (0..10).map(|index| format!("f{index}")).collect(),
            functions: (1..9).map(function).collect(),
            mappings: Vec::new(),
            locations: (0..8).map(location).collect(),
            stacks: (0..3).flat_map(|root| (0..5).map(move |leaf| vec![3 + leaf, root])).collect(),
        },
        series: vec![NormalizedSeries {
            labels: Labels::new(pairs),
            period: 1,
            rows: by_stack.into_iter().collect(),
        }],
    }
}

fn config(directory: &Path) -> Config {
    Config {
        merge_after: Duration::ZERO,
        retention_ns: i64::MAX,
        retention_hours_ns: i64::MAX,
        ..Config::new(directory.to_owned())
    }
}

fn open(config: Config) -> Store {
    Store::open(config, now, &mut Registry::default()).expect("the store opens")
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).expect("the selector is right")
}

fn flame_graph(store: &Store, selector: &Selector, range: &Range) -> Result<Tree, Error> {
    let sources = View::from(store.select(range.start_ns(), range.end_ns()));
    Ok(Tree::new(&stacks::select(&sources, selector, range, &[])?))
}

/// Every stack of the tree, by its names.
fn folded(tree: &Tree) -> BTreeMap<String, i64> {
    let stack = |node| {
        let mut names = tree.ancestors(node);
        names.insert(0, tree.name(node));
        names.join(";")
    };
    tree.nodes().iter().filter(|node| node.own > 0).map(|node| (stack(node), node.own)).collect()
}

/// The sum of each group's points: the points of a step before the range and within it.
fn by_label(store: &Store, query: &SeriesQuery<'_>) -> BTreeMap<String, i64> {
    let reach = series::reach(&query.range, query.step_ms);
    let sources = View::from(store.select(reach.start_ns(), reach.end_ns()));
    let found = series::select(&sources, query).expect("the query is right");
    found
        .into_iter()
        .map(|one| {
            let value = one.labels.first().map_or(String::new(), |(_, value)| value.clone());
            (value, one.points.iter().map(|(_, value)| *value as i64).sum())
        })
        .collect()
}

/// Asks in several ways and compares with what was pushed.
fn check(store: &Store, all: &[Pushed], (start_ms, length_ms): (i64, i64)) {
    let range = Range { start_ms, end_ms: start_ms + length_ms };
    let in_range = |one: &&Pushed| (range.start_ms..=range.end_ms).contains(&one.time_ms);
    let sum = |wanted: &dyn Fn(&Pushed) -> bool| -> i64 {
        let wanted = all.iter().filter(in_range).filter(|one| wanted(one));
        wanted.flat_map(|one| &one.rows).map(|(_, _, value)| value).sum()
    };
    let total = |text: &str| flame_graph(store, &selector(text), &range).expect(text).total();
    assert_eq!(total("{}"), sum(&|_| true), "{range:?}");
    assert_eq!(total(r#"{service_name="service-1"}"#), sum(&|one| one.service == 1));
    assert_eq!(total(r#"{pod=~"pod-[12]"}"#), sum(&|one| one.pod > 0));
    let mut names: BTreeMap<String, i64> = BTreeMap::new();
    for one in all.iter().filter(in_range) {
        for (root, leaf, value) in &one.rows {
            let shift = one.service;
            let name = |location: u8| format!("f{}", (location + shift) % 8 + 1);
            *names.entry(format!("{};{}", name(3 + leaf), name(*root))).or_default() += value;
        }
    }
    let tree = flame_graph(store, &selector("{}"), &range).expect("it is read");
    assert_eq!(folded(&tree), names);
    // Steps of one millisecond more than the range: the first point is the start itself, and there is one for the rest.
    let group_by = ["pod".to_owned()];
    let query = SeriesQuery {
        selector: &selector("{}"),
        range: Range { start_ms, end_ms: start_ms + length_ms },
        step_ms: length_ms.max(1),
        group_by: &group_by,
        aggregation: Aggregation::Sum,
        call_site: &[],
    };
    let reach = series::reach(&query.range, query.step_ms);
    let mut pods: BTreeMap<String, i64> = BTreeMap::new();
    for one in all.iter().filter(|one| (reach.start_ms..=reach.end_ms).contains(&one.time_ms)) {
        let value: i64 = one.rows.iter().map(|(_, _, value)| value).sum();
        *pods.entry(format!("pod-{}", one.pod)).or_default() += value;
    }
    assert_eq!(by_label(store, &query), pods);
    let call_site = ["f1".to_owned()];
    let query = SeriesQuery { call_site: &call_site, ..query };
    let below: i64 = by_label(store, &query).values().sum();
    let reach_graph = {
        let sources = View::from(store.select(reach.start_ns(), reach.end_ns()));
        let selected = stacks::select(&sources, &selector("{}"), &reach, &call_site);
        Tree::new(&selected.expect("it is read")).total()
    };
    assert_eq!(below, reach_graph);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn all_levels_agree(
        batches in proptest::collection::vec((proptest::collection::vec(pushed(), 1..12), any::<bool>(), any::<bool>()), 1..8),
        ranges in proptest::collection::vec((0..SPAN_MS, 0..SPAN_MS, any::<bool>()), 4),
    ) {
        let directory = TempDir::new().expect("a directory");
        let mut store = open(config(directory.path()));
        let mut all = Vec::new();
        let ranges: Vec<(i64, i64)> = ranges
            .iter()
            .map(|(start, length, is_whole)| {
                let unit = if *is_whole { 24 * HOUR_MS } else { 1 };
                ((NOW_MS - SPAN_MS + start) / unit * unit, (length / unit * unit).max(unit) - 1)
            })
            .chain([(NOW_MS - 2 * SPAN_MS, 3 * SPAN_MS)])
            .collect();
        for (batch, is_flushed, is_merged) in batches {
            for one in &batch {
                drop(store.append(&profile(one)).expect("it is stored"));
            }
            all.extend(batch);
            if is_flushed {
                prop_assert_eq!(store.flush(Duration::from_mins(1)), true);
            }
            if is_merged {
                store.compact();
            }
            for range in &ranges {
                check(&store, &all, *range);
            }
        }
        drop(store);
        store = open(config(directory.path()));
        for range in &ranges {
            check(&store, &all, *range);
        }
        prop_assert_eq!(store.flush(Duration::from_mins(1)), true);
        store.compact();
        let has_month = store.select(i64::MIN, i64::MAX).iter().any(
            |source| matches!(source, Source::Block(block) if matches!(block.period(), Period::Month(_))),
        );
        prop_assert_eq!(has_month, true);
        for range in &ranges {
            check(&store, &all, *range);
        }
        drop(store);
        store = open(config(directory.path()));
        for range in &ranges {
            check(&store, &all, *range);
        }
    }
}

fn some_days() -> Vec<Pushed> {
    let one = |offset: i64| Pushed {
        service: (offset % 3) as u8,
        pod: (offset % 2) as u8,
        time_ms: NOW_MS - SPAN_MS + offset * 37 * 60_000,
        rows: vec![(0, 1, 10 + offset), (1, 2, 5)],
    };
    (0..150).map(one).collect()
}

fn filled(directory: &Path, all: &[Pushed]) {
    let store = open(config(directory));
    for one in all {
        drop(store.append(&profile(one)).unwrap());
    }
    assert!(store.flush(Duration::from_mins(1)));
    store.compact();
}

#[test]
fn what_fades_is_answered_by_hours_and_then_by_days_or_not_at_all() {
    let all = some_days();
    let directory = TempDir::new().unwrap();
    filled(directory.path(), &all);
    let whole = Range { start_ms: NOW_MS - 2 * SPAN_MS, end_ms: NOW_MS + 2 * SPAN_MS };
    let sum = |pod: Option<u8>| -> i64 {
        let wanted = all.iter().filter(|one| pod.is_none_or(|pod| pod == one.pod));
        wanted.flat_map(|one| &one.rows).map(|row| row.2).sum()
    };
    let kinds = |store: &Store| {
        let sources = store.select(i64::MIN, i64::MAX);
        let kinds = sources.iter().map(|source| match source {
            Source::Block(block) => block.contents().unwrap().finest().unwrap(),
            Source::Head(_) => panic!("all is flushed"),
        });
        kinds.collect::<Vec<Kind>>()
    };
    let pod = selector(r#"{pod="pod-1"}"#);
    // Hours have all labels.
    let hours = Config { retention_ns: 0, ..config(directory.path()) };
    let store = open(hours.clone());
    store.compact();
    assert!(!kinds(&store).contains(&Kind::Raw) && kinds(&store).contains(&Kind::Hours));
    assert_eq!(flame_graph(&store, &selector("{}"), &whole).unwrap().total(), sum(None));
    assert_eq!(flame_graph(&store, &pod, &whole).unwrap().total(), sum(Some(1)));
    drop(store);
    // Days have not: that is said.
    let store = open(Config { retention_hours_ns: 0, ..hours });
    store.compact();
    assert!(kinds(&store).iter().all(|kind| *kind == Kind::Days));
    assert_eq!(flame_graph(&store, &selector("{}"), &whole).unwrap().total(), sum(None));
    let error = flame_graph(&store, &pod, &whole).err().unwrap().to_string();
    assert!(error.contains("summed by day, without pod"), "{error}");
    let days_left = |is_own: bool| {
        let (names, is_own) = (["pod".to_owned()], |_: &Vec<(String, String)>| is_own);
        let deletion = Deletion { names: &names, is_meant: &|_| false, is_own: &is_own };
        store.delete(&deletion).unwrap().days_left
    };
    // Who has nothing in a month is not told of its days.
    assert!(days_left(true) > 0 && days_left(false) == 0);
    let names = labels::names(&View::from(store.select(i64::MIN, i64::MAX)), &[], &whole);
    assert!(names.contains("service_name") && !names.contains("pod"));
}

#[test]
fn too_many_bytes_fade_from_the_oldest() {
    let all = some_days();
    let directory = TempDir::new().unwrap();
    filled(directory.path(), &all);
    let bytes = |directory: &Path| -> u64 {
        let mut folders = vec![directory.join("blocks")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() { folders.push(entry.path()) } else { bytes += metadata.len() }
            }
        }
        bytes
    };
    let all_bytes = bytes(directory.path());
    let whole = Range { start_ms: NOW_MS - 2 * SPAN_MS, end_ms: NOW_MS + 2 * SPAN_MS };
    let sum: i64 = all.iter().flat_map(|one| &one.rows).map(|row| row.2).sum();
    for percent in [90, 75, 60] {
        let storage_max_bytes = all_bytes * percent / 100;
        let store = open(Config { storage_max_bytes, ..config(directory.path()) });
        store.compact();
        drop(store);
        assert!(bytes(directory.path()) <= storage_max_bytes, "{percent} %");
        let store = open(config(directory.path()));
        assert_eq!(
            flame_graph(&store, &selector("{}"), &whole).unwrap().total(),
            sum,
            "{percent} %"
        );
    }
}

#[test]
fn deleted_series_are_gone_from_every_level_and_their_bytes_free() {
    let all = some_days();
    let directory = TempDir::new().unwrap();
    filled(directory.path(), &all);
    let store = open(config(directory.path()));
    let late = Pushed { service: 1, pod: 0, time_ms: NOW_MS, rows: vec![(0, 0, 3)] };
    drop(store.append(&profile(&late)).unwrap());
    let delete = |name: &str, value: &str| {
        let pair = (name.to_owned(), value.to_owned());
        let is_meant = |labels: &Vec<(String, String)>| labels.contains(&pair);
        let deletion =
            Deletion { names: &[name.to_owned()], is_meant: &is_meant, is_own: &|_| true };
        store.delete(&deletion).unwrap()
    };
    let deleted = delete("service_name", "service-1");
    assert!(deleted.series > 0 && deleted.bytes > 0 && deleted.days_left == 0, "{deleted:?}");
    let left: Vec<Pushed> = all.iter().filter(|one| one.service != 1).cloned().collect();
    let ranges = [(NOW_MS - 2 * SPAN_MS, 3 * SPAN_MS), (NOW_MS - SPAN_MS, 30 * HOUR_MS)];
    for range in &ranges {
        check(&store, &left, *range);
    }
    // Months do not have the pods, but are made anew from the days.
    let deleted = delete("pod", "pod-1");
    assert!(deleted.series > 0 && deleted.days_left == 0, "{deleted:?}");
    let left: Vec<Pushed> = left.iter().filter(|one| one.pod != 1).cloned().collect();
    for range in &ranges {
        check(&store, &left, *range);
    }
    drop(store);
    let store = open(config(directory.path()));
    for range in &ranges {
        check(&store, &left, *range);
    }
}
