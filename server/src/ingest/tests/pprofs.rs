//! Splitting, summing, relabeling and refusing of one pprof.

use super::*;

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
              a 4
              @123456789abcdef;a 2
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

/// Every sample may name the same text, so that its length must be held before texts are compared.
#[test]
fn long_labels_of_samples_are_refused() {
    let long = "x".repeat(100_000);
    let labels: &[(&str, &str)] = &[("k", &long)];
    let profile = pprof_of(&["a:b"], "c:d", &[("f", &[1], labels), ("f", &[2], labels)]);
    let error =
        normalize(&profile, &super::labels(&[("__name__", "x")]), None, &Config::default(), NOW_NS)
            .unwrap_err();
    assert_eq!(error.reason().as_str(), "label_value_too_long");
}
