//! The protocol's rules for what is written.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use super::*;
use crate::ingest::form::Query;
use crate::ingest::normalize::normalize;
use expect_test::{Expect, expect};
use proptest::prelude::proptest;
use prost::Message as _;
use protocol::profile::{self, Profile};
use protocol::{push as wire, types};

const NOW_NS: i64 = 1_795_312_420_000_000_000;

/// Stack, values, labels.
type TestSample<'a> = (&'a str, &'a [i64], &'a [(&'a str, &'a str)]);

/// A profile with these sample types and one sample for each line `root;leaf value,value {label=value,...}`.
pub(crate) fn pprof_of(
    sample_types: &[&str],
    period_type: &str,
    samples: &[TestSample<'_>],
) -> Profile {
    let mut strings = vec![String::new()];
    let mut string = |text: &str| {
        let index = strings.iter().position(|have| have == text).unwrap_or_else(|| {
            strings.push(text.to_owned());
            strings.len() - 1
        });
        index as i64
    };
    let mut value_type = |text: &str| {
        let (name, unit) = text.split_once(':').unwrap();
        profile::ValueType { r#type: string(name), unit: string(unit) }
    };
    let mut profile = Profile {
        sample_type: sample_types.iter().map(|text| value_type(text)).collect(),
        period_type: Some(value_type(period_type)),
        period: 10,
        time_nanos: NOW_NS,
        mapping: vec![profile::Mapping {
            id: 1,
            memory_start: 0x1000,
            has_functions: true,
            ..profile::Mapping::default()
        }],
        ..Profile::default()
    };
    for (stack, value, labels) in samples {
        let mut location_id = Vec::new();
        for name in stack.split(';').rev() {
            let name = string(name);
            let known = profile
                .function
                .iter()
                .find(|function| function.name == name)
                .map(|function| function.id);
            location_id.push(known.unwrap_or_else(|| {
                let id = profile.function.len() as u64 + 1;
                profile.function.push(profile::Function {
                    id,
                    name,
                    ..profile::Function::default()
                });
                let line = vec![profile::Line { function_id: id, line: 5, column: 0 }];
                profile.location.push(profile::Location {
                    id,
                    mapping_id: 1,
                    address: 0x1000 + id,
                    line,
                    ..profile::Location::default()
                });
                id
            }));
        }
        let label = labels.iter().map(|(k, v)| profile::Label {
            key: string(k),
            str: string(v),
            ..profile::Label::default()
        });
        profile.sample.push(profile::Sample {
            location_id,
            value: value.to_vec(),
            label: label.collect(),
        });
    }
    profile.string_table = strings;
    profile
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The series as text: labels that are not of the type, the type, and rows.
fn text(normalized: &NormalizedProfile) -> String {
    let mut lines = Vec::new();
    for series in &normalized.series {
        let shown = |name: &str| {
            !["__type__", "__unit__", "__period_type__", "__period_unit__", "__service_name__"]
                .contains(&name)
        };
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(name, _)| shown(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.push(labels.join(" "));
        for (stack, value) in &series.rows {
            lines.push(format!("  {} {value}", stack_text(&normalized.symbols, *stack)));
        }
    }
    lines.join("\n") + "\n"
}

fn stack_text(symbols: &Symbols, stack: u32) -> String {
    let mut names: Vec<String> = symbols.stacks[stack as usize]
        .iter()
        .map(|index| {
            let location = &symbols.locations[*index as usize];
            let lines =
                location.lines.iter().map(|line| symbols.functions[line.function as usize].name);
            let names: Vec<&str> =
                lines.map(|name| symbols.strings[name as usize].as_str()).collect();
            if location.head.address == 0 {
                names.join("<")
            } else {
                format!("{}@{:x}", names.join("<"), location.head.address)
            }
        })
        .collect();
    names.reverse();
    names.join(";")
}

fn check(profile: &Profile, client_labels: &[(&str, &str)], expected: &Expect) {
    let result = normalize(profile, &labels(client_labels), None, &Config::default(), NOW_NS);
    expected.assert_eq(
        &result
            .map_or_else(|error| format!("{}: {error}\n", error.reason().as_str()), |it| text(&it)),
    );
}

#[test]
fn duplicates_are_summed_and_samples_without_a_value_left_out() {
    let samples: &[TestSample<'_>] = &[
        ("main;a", &[1, 10], &[]),
        ("main;a", &[2, 20], &[]),
        ("main;b", &[0, 0], &[]),
        ("main;c", &[-1, 5], &[]),
        ("main", &[0, 7], &[]),
    ];
    check(
        &pprof_of(&["samples:count", "cpu:nanoseconds"], "cpu:nanoseconds", samples),
        &[("__name__", "process_cpu"), ("service_name", "api"), ("__session_id__", "x")],
        &expect![[r"
            __name__=process_cpu __profile_type__=process_cpu:samples:count:cpu:nanoseconds service_name=api
              main;a 3
            __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds service_name=api
              main;a 30
              main 7
        "]],
    );
}

#[test]
fn labels_of_samples_split_and_labels_of_the_series_win() {
    let samples: &[TestSample<'_>] = &[
        ("a", &[1], &[("thread", "1"), ("service_name", "other")]),
        ("a", &[2], &[("thread", "2"), ("span_id", "0123456789abcdef")]),
        ("a", &[4], &[("thread", "2"), ("trace_id", "x"), ("profile_id", "y")]),
        ("a", &[8], &[]),
    ];
    check(
        &pprof_of(&["cpu:nanoseconds"], "cpu:nanoseconds", samples),
        &[("__name__", "process_cpu"), ("service_name", "api")],
        &expect![[r"
            __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds service_name=api
              a 8
            __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds service_name=api thread=1
              a 1
            __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds service_name=api thread=2
              a 6
        "]],
    );
}

#[test]
fn default_relabel_rules() {
    let samples: &[TestSample<'_>] = &[("a", &[1, 2], &[])];
    check(
        &pprof_of(&["wall:nanoseconds", "cpu:nanoseconds"], "wall:nanoseconds", samples),
        &[("__name__", "wall")],
        &expect![[r"
            __name__=wall __profile_type__=wall:wall:nanoseconds:wall:nanoseconds service_name=unknown_service
              a 1
            __name__=process_cpu __name_replaced__=wall __profile_type__=process_cpu:cpu:nanoseconds:wall:nanoseconds service_name=unknown_service
              a 2
        "]],
    );
    check(
        &pprof_of(&["alloc_space:bytes"], "space:bytes", &[("a", &[1], &[])]),
        &[("__name__", "godeltaprof_memory")],
        &expect![[r"
            __delta__=false __name__=memory __name_replaced__=godeltaprof_memory __profile_type__=memory:alloc_space:bytes:space:bytes service_name=unknown_service
              a 1
        "]],
    );
}

#[test]
fn addresses_stay_where_they_are_all_there_is() {
    let mut profile = pprof_of(
        &["cpu:nanoseconds"],
        "cpu:nanoseconds",
        &[("main;libc.so.6+0x1234;x+0xyz", &[1], &[])],
    );
    profile.location.push(profile::Location {
        id: 9,
        mapping_id: 1,
        address: 0xabc,
        ..profile::Location::default()
    });
    profile.sample[0].location_id.insert(0, 9);
    let name: &[(&str, &str)] = &[("__name__", "process_cpu"), ("service_name", "x")];
    check(
        &profile,
        name,
        &expect![[r"
            __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds service_name=x
              main;libc.so.6+0x1234@1002;x+0xyz;@abc 1
        "]],
    );
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_reason() {
    let profile = pprof_of(&["cpu:nanoseconds"], "cpu:nanoseconds", &[("a", &[1], &[])]);
    let check = |labels: &[(&str, &str)], expected: Expect| check(&profile, labels, &expected);
    check(
        &[],
        expect![
            "missing_labels: labels '{}': label __name__ is missing; send the kind of profile in it, as in process_cpu\n"
        ],
    );
    check(
        &[("__name__", "1 x")],
        expect![
            "invalid_labels: labels '{__name__=\"1 x\"}': '1 x' is no valid profile name; send __name__ as letters, digits, _ and :\n"
        ],
    );
    check(
        &[("__name__", "x"), ("a", "1"), ("a", "2")],
        expect![
            "duplicate_label_names: labels '{__name__=\"x\", a=\"1\", a=\"2\"}': label 'a' is given twice\n"
        ],
    );
    let long = "x".repeat(3_000);
    let reason = |pairs: &[(&str, &str)]| {
        normalize(&profile, &labels(pairs), None, &Config::default(), NOW_NS)
            .unwrap_err()
            .reason()
            .as_str()
    };
    assert_eq!(reason(&[("__name__", "x"), (&long, "1")]), "label_name_too_long");
    assert_eq!(reason(&[("__name__", "x"), ("a", &long)]), "label_value_too_long");
    let names: Vec<String> = (0..31).map(|number| format!("l{number}")).collect();
    let mut many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    many.push(("__name__", "x"));
    assert_eq!(reason(&many), "max_label_names_per_series");
    for time_ns in
        [1, NOW_NS - 32 * 86_400_000_000_000, NOW_NS + 700_000_000_000, i64::MAX, i64::MIN]
    {
        let profile = Profile { time_nanos: time_ns, ..profile.clone() };
        let error =
            normalize(&profile, &labels(&[("__name__", "x")]), None, &Config::default(), NOW_NS)
                .unwrap_err();
        assert_eq!(error.reason().as_str(), "not_in_ingestion_window", "{time_ns}");
    }
    let mut dashed = profile.clone();
    dashed.string_table[1] = "c-p-u".to_owned();
    let error = normalize(&dashed, &labels(&[("__name__", "x")]), None, &Config::default(), NOW_NS)
        .unwrap_err();
    assert_eq!(error.reason().as_str(), "malformed_profile");
}

#[test]
fn sums_do_not_overflow_and_deep_stacks_are_cut() {
    let deep = vec!["f"; 5_000].join(";");
    let profile =
        pprof_of(&["a:b"], "c:d", &[(&deep, &[i64::MAX], &[]), (&deep, &[i64::MAX], &[])]);
    let normalized =
        normalize(&profile, &labels(&[("__name__", "x")]), None, &Config::default(), NOW_NS)
            .unwrap();
    assert_eq!(normalized.series[0].rows, [(0, i64::MAX)]);
    assert_eq!(normalized.symbols.stacks[0].len(), 1_000);
}

fn request(profiles: &[(&str, Vec<u8>)]) -> wire::PushRequest {
    let label = |name: &str, value: &str| types::LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let series = profiles.iter().map(|(id, raw)| wire::RawProfileSeries {
        labels: vec![label("__name__", "x"), label("service_name", "s")],
        samples: vec![wire::RawSample { raw_profile: raw.clone().into(), id: (*id).to_owned() }],
        annotations: Vec::new(),
    });
    wire::PushRequest { series: series.collect() }
}

#[test]
fn good_profiles_of_a_push_are_kept_beside_bad_ones() {
    let good = pprof_of(&["a:b"], "c:d", &[("f", &[1], &[])]).encode_to_vec();
    let uuid = "00000000-0000-0000-0000-0000000000ff";
    let results = push::read(
        request(&[(uuid, good.clone()), ("", b"bad".to_vec()), ("x", good)]),
        &Config::default(),
        NOW_NS,
    );
    assert_eq!(results[0].as_ref().unwrap().id, Some(255));
    assert_eq!(results[1].as_ref().unwrap_err().reason(), Reason::MalformedProfile);
    assert!(results[2].as_ref().unwrap().id.is_some_and(|id| id != 0));
    let nothing = push::read(wire::PushRequest::default(), &Config::default(), NOW_NS);
    assert_eq!(nothing[0].as_ref().unwrap_err().to_string(), "no profiles received");
}

proptest! {
    #[test]
    fn a_damaged_pprof_is_a_profile_or_an_error(bits in proptest::collection::vec(0_usize..4_000, 1..6)) {
        let labels: &[(&str, &str)] = &[("thread", "1")];
        let mut raw = pprof_of(&["a:b", "c:d"], "c:d", &[("f;g", &[1, 2], labels), ("f", &[3, 4], &[])]).encode_to_vec();
        for bit in bits {
            let len = raw.len();
            raw[bit / 8 % len] ^= 1 << (bit % 8);
        }
        let results = push::read(request(&[("", raw)]), &Config::default(), NOW_NS);
        assert_eq!(results.len(), 1);
    }

    #[test]
    fn any_body_of_ingest_is_read_or_refused(body: Vec<u8>, format in 0_usize..4, spy in 0_usize..4) {
        let query = Query {
            name: "a.b{c=d}".to_owned(),
            format: ["", "pprof", "lines", "x"][format].to_owned(),
            spy_name: ["", "pyspy", "dotnetspy", "rbspy"][spy].to_owned(),
            ..Query::default()
        };
        let kind = ["", "multipart/form-data; boundary=x"][format % 2];
        if let Err(error) = form::read(&query, kind, &body, &Config::default(), NOW_NS) {
            assert!(!error.to_string().is_empty());
        }
    }
}

fn ingest(query: &[(&str, &str)], content_type: &str, body: &[u8], expected: &Expect) {
    let mut parsed = Query::default();
    for (name, value) in query {
        let field = match *name {
            "name" => &mut parsed.name,
            "from" => &mut parsed.from,
            "sampleRate" => &mut parsed.sample_rate,
            "spyName" => &mut parsed.spy_name,
            "format" => &mut parsed.format,
            other => panic!("{other}"),
        };
        (*value).clone_into(field);
    }
    let result = form::read(&parsed, content_type, body, &Config::default(), NOW_NS);
    expected.assert_eq(&result.map_or_else(|error| format!("{error}\n"), |it| text(&it)));
}

#[test]
fn folded_stacks_have_the_type_of_their_suffix() {
    ingest(
        &[("name", "my.app{a=b=c,__x=y,d.e=f}")],
        "",
        b"main;work 3\n\nmain 1\r\n",
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds a=b=c d.e=f pyroscope_spy=unknown service_name=my.app
              main;work 30000000
              main 10000000
        "]],
    );
    ingest(
        &[("name", "app.inuse_space"), ("format", "lines"), ("spyName", "gospy")],
        "text/plain",
        b"a;b\na;b\nc",
        &expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:inuse_space:bytes:: pyroscope_spy=gospy service_name=app
              a;b 2
              c 1
        "]],
    );
    ingest(
        &[("name", "app.cpu{service_name=s}"), ("sampleRate", "0")],
        "",
        b"a 5",
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:samples:count:: app_name=app pyroscope_spy=unknown service_name=s
              a 5
        "]],
    );
}

#[test]
fn wrong_requests_of_ingest_are_named() {
    let check = |query: &[(&str, &str)], kind: &str, body: &[u8], expected: Expect| {
        ingest(query, kind, body, &expected);
    };
    check(
        &[],
        "",
        b"",
        expect!["query parameter 'name' is missing; send the name of the application in it\n"],
    );
    check(
        &[("name", "a{b=c")],
        "",
        b"",
        expect!["name 'a{b=c' is not of the form app{key=value,...}\n"],
    );
    check(
        &[("name", "a b")],
        "",
        b"",
        expect!["app name 'a b' has characters other than letters, digits, _ . - and /\n"],
    );
    check(&[("name", "a{__name__=b}")], "", b"", expect!["label __name__ is reserved\n"]);
    check(
        &[("name", "a"), ("format", "jfr")],
        "",
        b"",
        expect!["format 'jfr' is not supported; send pprof, folded or lines\n"],
    );
    check(
        &[("name", "a")],
        "binary/octet-stream+trie",
        b"",
        expect!["format 'trie' is not supported; send pprof, folded or lines\n"],
    );
    check(
        &[("name", "a")],
        "",
        b"a;b",
        expect!["line 1 of the folded stacks does not end with a count\n"],
    );
    check(&[("name", "a")], "", b"\xff 1", expect!["folded stacks are not UTF-8\n"]);
    check(
        &[("name", "a")],
        "multipart/form-data; boundary=x",
        b"--x--",
        expect!["form has no part 'profile'\n"],
    );
    check(&[("name", "a")], "multipart/form-data", b"", expect!["body is no multipart form\n"]);
}

#[test]
fn pprofs_of_old_clients_have_the_kind_of_their_sample_types() {
    let check = |types: &[&str], query: &[(&str, &str)], expected: Expect| {
        let values = vec![1; types.len()];
        let mut profile = pprof_of(types, "x:y", &[("f", &values, &[])]);
        profile.time_nanos = 1_000;
        let mut all = vec![("name", "s"), ("format", "pprof"), ("from", "1795312420")];
        all.extend(query);
        ingest(&all, "", &pprof::encode(&profile), &expected);
    };
    check(
        &["goroutine:count"],
        &[],
        expect![[r"
            __delta__=false __name__=goroutines __profile_type__=goroutines:goroutine:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
    check(
        &["contentions:count", "delay:nanoseconds"],
        &[("spyName", "gospy")],
        expect![[r"
            __delta__=false __name__=mutex __profile_type__=mutex:contentions:count:x:y pyroscope_spy=gospy service_name=s
              f 1
            __delta__=false __name__=mutex __profile_type__=mutex:delay:nanoseconds:x:y pyroscope_spy=gospy service_name=s
              f 1
        "]],
    );
    check(
        &["inuse_objects:count"],
        &[],
        expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
}

#[test]
fn a_form_has_its_profile_and_configuration() {
    let profile = pprof::encode(&pprof_of(&["contentions:count"], "x:y", &[("f", &[1], &[])]));
    let part = |name: &str, bytes: &[u8]| {
        [
            format!(
                "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n"
            )
            .as_bytes(),
            bytes,
            b"\r\n",
        ]
        .concat()
    };
    let config = br#"{"contentions":{"display-name":"block_count","units":"lock_samples"}}"#;
    let body =
        [part("profile", &profile), part("sample_type_config", config), b"--B--\r\n".to_vec()]
            .concat();
    let kind = "multipart/form-data; boundary=B";
    ingest(
        &[("name", "s")],
        kind,
        &body,
        &expect![[r"
            __delta__=false __name__=block __profile_type__=block:contentions:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
    let body =
        [part("profile", &profile), part("prev_profile", &profile), b"--B--".to_vec()].concat();
    let message = "unsupported client version. Please update github.com/grafana/pyroscope-go to the latest version";
    let error = form::read(
        &Query { name: "s".to_owned(), ..Query::default() },
        kind,
        &body,
        &Config::default(),
        NOW_NS,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), message);
}
