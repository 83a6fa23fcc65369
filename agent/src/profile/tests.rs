//! Profiles as text, and the rules that every pprof message has to keep.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use agent_common::frame::FrameKind;
use agent_common::outcome::UnwindOutcome;
use expect_test::expect;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::{collection, sample};
use protocol::profile::Profile;

use crate::label::{LabeledStack, Labels};
use crate::stack::SampleType;
use crate::symbolize::{Function, Module, SymbolizedFrame, SymbolizedStack};

use super::{Metrics, Quality, Window, build, build_merged};

const WINDOW: Window = Window {
    start_unix_ns: 1_700_000_000_000_000_000,
    duration_ns: 10_000_000_000,
    period_ns: 10_309_278,
};

fn frame(
    kind: FrameKind,
    module: (&str, &str),
    address: u64,
    functions: &[&str],
) -> Arc<SymbolizedFrame> {
    let function = |text: &&str| {
        let mut parts = text.split(' ');
        Function {
            name: parts.next().unwrap_or_default().into(),
            file: parts.next().map(Arc::from),
            line: parts.next().map_or(0, |line| line.parse().unwrap()),
        }
    };
    Arc::new(SymbolizedFrame {
        kind,
        module: Arc::new(Module { path: module.0.into(), build_id: module.1.into() }),
        address,
        functions: functions.iter().map(function).collect(),
        miss: functions[0].contains('+').then_some("no_symbol"),
    })
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

fn stack(labels: &Labels, frames: Vec<Arc<SymbolizedFrame>>, n_samples: u64) -> LabeledStack {
    LabeledStack {
        labels: labels.clone(),
        sample_type: SampleType::OnCpu,
        stack: Arc::new(SymbolizedStack { id: 0, frames }),
        outcome: UnwindOutcome::Complete,
        n_samples,
        value: n_samples * WINDOW.period_ns,
    }
}

fn read_stack(labels: &Labels, n_samples: u64) -> LabeledStack {
    let frames = vec![
        frame(FrameKind::Kernel, ("[kernel.kallsyms]", ""), 0xffff_ffff_8100_1000, &["vfs_read"]),
        frame(FrameKind::Native, ("/lib/libc.so.6", "c0ffee"), 0x11_b0, &["libc.so.6+0x11b0"]),
        frame(
            FrameKind::Native,
            ("/bin/app", "abcd"),
            0x1234,
            &["inner /src/a.c 7", "main /src/a.c 20"],
        ),
    ];
    stack(labels, frames, n_samples)
}

/// The message as text, its references followed.
fn show(profile: &Profile) -> String {
    let string = |index: i64| &profile.string_table[usize::try_from(index).unwrap()];
    let mut text = String::new();
    for kind in &profile.sample_type {
        writeln!(text, "type {}/{}", string(kind.r#type), string(kind.unit)).unwrap();
    }
    let period = profile.period_type.as_ref().unwrap();
    writeln!(text, "period {} {}/{}", profile.period, string(period.r#type), string(period.unit))
        .unwrap();
    writeln!(text, "time {} for {}", profile.time_nanos, profile.duration_nanos).unwrap();
    for mapping in &profile.mapping {
        let known = [
            (mapping.has_functions, "functions"),
            (mapping.has_filenames, "files"),
            (mapping.has_line_numbers, "lines"),
            (mapping.has_inline_frames, "inlined"),
        ];
        let known: Vec<_> = known.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        let (name, build_id) = (string(mapping.filename), string(mapping.build_id));
        writeln!(text, "mapping {} {name} id={build_id:?} {known:?}", mapping.id).unwrap();
    }
    for sample in &profile.sample {
        let label = sample
            .label
            .iter()
            .map(|label| format!(" {}={}", string(label.key), string(label.str)));
        writeln!(text, "sample {:?}{}", sample.value, label.collect::<String>()).unwrap();
        for id in &sample.location_id {
            let location = profile.location.iter().find(|location| location.id == *id).unwrap();
            write!(text, "  {id} m{} {:#x}", location.mapping_id, location.address).unwrap();
            for line in &location.line {
                let function =
                    profile.function.iter().find(|it| it.id == line.function_id).unwrap();
                write!(
                    text,
                    " {}@{}:{}",
                    string(function.name),
                    string(function.filename),
                    line.line
                )
                .unwrap();
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn one_profile_per_series() {
    let app = labels(&[("service_name", "app"), ("exe", "/bin/app")]);
    let other = labels(&[("service_name", "aaa")]);
    let jit = frame(FrameKind::Jit, ("[jit]", ""), 0x7f00, &["jit:f"]);
    let stacks = [read_stack(&app, 2), stack(&other, vec![jit], 1), read_stack(&app, 3)];
    let series = build(WINDOW, &stacks);
    let mut text = String::new();
    for series in &series {
        writeln!(text, "{} {:?} samples={}", series.name, series.labels, series.n_samples).unwrap();
        text += &show(&series.profile);
    }
    expect![[r#"
        process_cpu {"exe": "/bin/app", "service_name": "app"} samples=5
        type cpu/nanoseconds
        period 10309278 cpu/nanoseconds
        time 1700000000000000000 for 10000000000
        mapping 1 /bin/app id="abcd" ["functions", "files", "lines", "inlined"]
        mapping 2 [kernel.kallsyms] id="" ["functions"]
        mapping 3 /lib/libc.so.6 id="c0ffee" []
        sample [51546390]
          1 m2 0xffffffff81001000 vfs_read@:0
          2 m3 0x11b0 libc.so.6+0x11b0@:0
          3 m1 0x1234 inner@/src/a.c:7 main@/src/a.c:20
        process_cpu {"service_name": "aaa"} samples=1
        type cpu/nanoseconds
        period 10309278 cpu/nanoseconds
        time 1700000000000000000 for 10000000000
        mapping 1 [jit] id="" ["functions"]
        sample [10309278]
          1 m1 0x7f00 jit:f@:0
    "#]]
    .assert_eq(&text);
}

#[test]
fn merged_has_the_types_of_go_and_keeps_thread_names() {
    let web = labels(&[("service_name", "app"), ("comm", "web")]);
    let db = labels(&[("service_name", "app"), ("comm", "db")]);
    let merged =
        build_merged(WINDOW, &[read_stack(&web, 2), read_stack(&db, 1), read_stack(&web, 1)]);
    expect![[r#"
        type samples/count
        type cpu/nanoseconds
        period 10309278 cpu/nanoseconds
        time 1700000000000000000 for 10000000000
        mapping 1 [kernel.kallsyms] id="" ["functions"]
        mapping 2 /lib/libc.so.6 id="c0ffee" []
        mapping 3 /bin/app id="abcd" ["functions", "files", "lines", "inlined"]
        sample [1, 10309278] comm=db
          1 m1 0xffffffff81001000 vfs_read@:0
          2 m2 0x11b0 libc.so.6+0x11b0@:0
          3 m3 0x1234 inner@/src/a.c:7 main@/src/a.c:20
        sample [3, 30927834] comm=web
          1 m1 0xffffffff81001000 vfs_read@:0
          2 m2 0x11b0 libc.so.6+0x11b0@:0
          3 m3 0x1234 inner@/src/a.c:7 main@/src/a.c:20
    "#]]
    .assert_eq(&show(&merged));
}

#[test]
fn a_stack_without_frames_keeps_its_time() {
    let series = build(WINDOW, &[stack(&labels(&[("service_name", "a")]), Vec::new(), 1)]);
    expect![[r#"
        type cpu/nanoseconds
        period 10309278 cpu/nanoseconds
        time 1700000000000000000 for 10000000000
        mapping 1 [unknown] id="" []
        sample [10309278]
          1 m1 0x0 [no stack]@:0
    "#]]
    .assert_eq(&show(&series[0].profile));
}

#[test]
fn nothing_gives_no_series_and_an_empty_merged_profile() {
    assert!(build(WINDOW, &[]).is_empty());
    assert!(build_merged(WINDOW, &[]).sample.is_empty());
}

#[test]
fn values_do_not_wrap() {
    let mut huge = read_stack(&labels(&[("service_name", "a")]), 1);
    huge.value = u64::MAX;
    let series = build(WINDOW, &[huge.clone(), huge]);
    assert_eq!(series[0].profile.sample[0].value, [i64::MAX]);
}

fn any_frame() -> impl Strategy<Value = Arc<SymbolizedFrame>> {
    let module = sample::select(vec![("/bin/a", "1"), ("/bin/b", ""), ("[kernel.kallsyms]", "")]);
    let names = sample::select(vec!["f", "g /a.c 1", "h /a.c 2", "a+0x1", "g /b.c 1"]);
    (module, 0_u64..4, collection::vec(names, 1..3))
        .prop_map(|(module, address, names)| frame(FrameKind::Native, module, address, &names))
}

fn any_stacks() -> impl Strategy<Value = Vec<LabeledStack>> {
    let one = (collection::vec(any_frame(), 0..6), 1_u64..5, any::<bool>());
    collection::vec(one, 0..20).prop_map(|stacks| {
        let series = [labels(&[("service_name", "a")]), labels(&[("service_name", "b")])];
        stacks
            .into_iter()
            .map(|(frames, n_samples, which)| stack(&series[usize::from(which)], frames, n_samples))
            .collect()
    })
}

/// What pprof's own check demands, and that nothing is there twice.
fn assert_valid(profile: &Profile) {
    assert_eq!(profile.string_table[0], "");
    let is_string =
        |index: i64| usize::try_from(index).is_ok_and(|index| index < profile.string_table.len());
    let strings: HashSet<_> = profile.string_table.iter().collect();
    assert_eq!(strings.len(), profile.string_table.len());
    for (position, mapping) in profile.mapping.iter().enumerate() {
        assert_eq!(mapping.id, position as u64 + 1);
        assert!(is_string(mapping.filename) && is_string(mapping.build_id));
    }
    for (position, function) in profile.function.iter().enumerate() {
        assert_eq!(function.id, position as u64 + 1);
        assert!(is_string(function.name) && is_string(function.filename));
        assert_ne!(function.system_name, function.name);
    }
    let functions: HashSet<_> = profile.function.iter().map(|it| (it.name, it.filename)).collect();
    assert_eq!(functions.len(), profile.function.len());
    let mut locations = HashSet::new();
    for (position, location) in profile.location.iter().enumerate() {
        assert_eq!(location.id, position as u64 + 1);
        assert!((1..=profile.mapping.len() as u64).contains(&location.mapping_id));
        assert!(!location.line.is_empty());
        for line in &location.line {
            assert!((1..=profile.function.len() as u64).contains(&line.function_id));
        }
        let lines: Vec<_> =
            location.line.iter().map(|line| (line.function_id, line.line)).collect();
        assert!(
            locations.insert((location.mapping_id, location.address, lines)),
            "a location twice"
        );
    }
    let mut samples = HashSet::new();
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        assert!(!sample.location_id.is_empty());
        assert!(
            sample.location_id.iter().all(|id| (1..=profile.location.len() as u64).contains(id))
        );
        let labels: Vec<_> = sample.label.iter().map(|label| (label.key, label.str)).collect();
        assert!(samples.insert((sample.location_id.clone(), labels)), "a sample twice");
    }
}

proptest! {
    #[test]
    fn references_hold_and_totals_are_kept(stacks in any_stacks()) {
        let expected: u64 = stacks.iter().map(|stack| stack.value).sum();
        let n_samples: u64 = stacks.iter().map(|stack| stack.n_samples).sum();
        let series = build(WINDOW, &stacks);
        prop_assert_eq!(series.iter().map(|series| series.n_samples).sum::<u64>(), n_samples);
        let mut total = 0;
        for series in &series {
            assert_valid(&series.profile);
            total += series.profile.sample.iter().map(|sample| sample.value[0].cast_unsigned()).sum::<u64>();
        }
        prop_assert_eq!(total, expected);
        let merged = build_merged(WINDOW, &stacks);
        assert_valid(&merged);
        let sum = |column: usize| merged.sample.iter().map(|sample| sample.value[column].cast_unsigned()).sum::<u64>();
        prop_assert_eq!((sum(0), sum(1)), (n_samples, expected));
        prop_assert!(series.windows(2).all(|pair| pair[0].labels < pair[1].labels));
    }
}

#[test]
fn the_quality_of_stacks_is_told() {
    let labels = labels(&[("service_name", "app")]);
    let mut cut = read_stack(&labels, 3);
    cut.outcome = UnwindOutcome::StackFault;
    let stacks = [read_stack(&labels, 7), cut];
    let quality = Quality::of(&stacks);
    assert_eq!((quality.n_samples, quality.n_complete), (10, 7));
    assert_eq!((quality.n_frames, quality.n_named), (30, 20));
    let [profile] = &build(WINDOW, &stacks)[..] else { panic!("one series") };
    let comments: Vec<&str> = profile
        .profile
        .comment
        .iter()
        .map(|index| &*profile.profile.string_table[*index as usize])
        .collect();
    assert_eq!(
        comments,
        [
            "pilotlight.stacks samples=10 complete=7",
            "pilotlight.frames frames=30 named=20",
            "pilotlight.missing reason=no_symbol n=10 build_id=c0ffee module=/lib/libc.so.6",
            "pilotlight.missing reason=stack_fault n=3 build_id=abcd module=/bin/app",
        ]
    );
}

#[test]
fn quality_is_counted_by_service() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    for service in 0..600 {
        let labels = labels(&[("service_name", &format!("app{service}"))]);
        metrics.count(&[read_stack(&labels, 2)]);
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("pilotlight_agent_profile_samples_total{service_name=\"app7\"} 2"),
        "{text}"
    );
    assert!(text.contains("pilotlight_agent_profile_samples_total{service_name=\"other\"} 200"));
    assert!(
        text.contains("pilotlight_agent_profile_named_frames_total{service_name=\"other\"} 400")
    );
}
