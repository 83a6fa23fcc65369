//! The list of upstream's own canary: what it pushes, and what it must find.

use super::*;
use serde_json::{Value, json};

const CANARY: &str = "deadmans_switch:made_up:profilos:made_up:profilos";

/// func1 calls func2 = 10, func1 = 20 within a span.
fn pushed() -> push_wire::PushRequest {
    let strings = ["", "made_up", "profilos", "func1", "func2", "profile_id", "00000bac2a5ab0c7"];
    let value_type = profile::ValueType { r#type: 1, unit: 2 };
    let function = |id: u64, name| profile::Function { id, name, ..profile::Function::default() };
    let location = |id: u64| profile::Location {
        id,
        line: vec![profile::Line { function_id: id, line: 1, column: 0 }],
        ..profile::Location::default()
    };
    let sample =
        |location_id, value, label| profile::Sample { location_id, value: vec![value], label };
    let span = profile::Label { key: 5, str: 6, ..profile::Label::default() };
    let canary = profile::Profile {
        string_table: strings.map(str::to_owned).to_vec(),
        sample_type: vec![value_type],
        period_type: Some(value_type),
        time_nanos: NOW_MS * 1_000_000,
        function: vec![function(1, 3), function(2, 4)],
        location: vec![location(1), location(2)],
        sample: vec![sample(vec![2, 1], 10, Vec::new()), sample(vec![1], 20, vec![span])],
        ..profile::Profile::default()
    };
    let mut push = push_of(canary.encode_to_vec());
    push.series[0].labels = [("__name__", "deadmans_switch"), ("service_name", "canary")]
        .map(|(name, value)| types::LabelPair { name: name.to_owned(), value: value.to_owned() })
        .to_vec();
    push
}

#[tokio::test]
async fn every_probe_finds_what_was_pushed() {
    let server = server();
    let answer = server.request("POST", PUSH, "application/proto", pushed().encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let times = json!({"start": NOW_MS - 5_000, "end": NOW_MS + 5_000});
    let select = json!({"profile_typeID": CANARY, "label_selector": "{service_name=\"canary\"}"});
    let with = |parts: &[&Value]| {
        let fields = parts.iter().filter_map(|part| part.as_object()).flatten();
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let matchers = json!({"matchers": ["{service_name=\"canary\"}"]});
    let span = json!({"span_selector": ["00000bac2a5ab0c7"]});
    let series = json!({"step": 1000, "group_by": ["service_name"], "end": NOW_MS + 1_000_000});
    let exemplars = json!({"exemplar_type": "EXEMPLAR_TYPE_INDIVIDUAL"});
    let names = json!({"label_names": ["service_name", "__profile_type__"]});
    // The call, its request, and what must be where in the answer.
    let probes: &[(&str, Value, &str, Value)] = &[
        ("ProfileTypes", times.clone(), "/profileTypes/0/ID", CANARY.into()),
        (
            "Series",
            with(&[&times, &matchers, &names]),
            "/labelsSet/0/labels/0",
            json!({"name": "__profile_type__", "value": CANARY}),
        ),
        ("LabelNames", with(&[&times, &matchers]), "/names/7", "service_name".into()),
        (
            "LabelValues",
            with(&[&times, &json!({"name": "service_name"})]),
            "/names/0",
            "canary".into(),
        ),
        (
            "SelectSeries",
            with(&[&select, &times, &series]),
            "/series/0/points/0/value",
            30.0.into(),
        ),
        (
            "SelectSeries",
            with(&[&select, &times, &series, &exemplars]),
            "/series/0/points/0/exemplars/0/value",
            "30".into(),
        ),
        (
            "SelectMergeStacktraces",
            with(&[&select, &times]),
            "/flamegraph/names",
            json!(["total", "func1", "func2"]),
        ),
        (
            "SelectMergeStacktraces",
            with(&[&select, &times]),
            "/flamegraph/levels/2/values/1",
            "10".into(),
        ),
        (
            "SelectMergeSpanProfile",
            with(&[&select, &times, &span]),
            "/flamegraph/names",
            json!(["total", "func1"]),
        ),
        (
            "SelectMergeSpanProfile",
            with(&[&select, &times, &span]),
            "/flamegraph/levels/1/values/1",
            "20".into(),
        ),
        ("SelectMergeProfile", with(&[&select, &times]), "/sample/1/value/0", "20".into()),
        ("GetProfileStats", json!({}), "/dataIngested", true.into()),
    ];
    for (call, request, pointer, expected) in probes {
        let answer = server.query(call, &request.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{call} {request}: {}", answer.text());
        assert_eq!(answer.json().pointer(pointer), Some(expected), "{call}: {}", answer.text());
    }
    let query = format!("{CANARY}%7Bservice_name%3D%22canary%22%7D");
    let rendered = server.get(&format!("/pyroscope/render?query={query}&from=now-1h")).await.json();
    assert_eq!(rendered["flamebearer"]["numTicks"], 30);
    let side = |side: &str| format!("{side}Query={query}&{side}From=now-1h&{side}Until=now");
    let diff = format!("/pyroscope/render-diff?{}&{}", side("left"), side("right"));
    let diff = server.get(&diff).await.json();
    assert_eq!((&diff["leftTicks"], &diff["rightTicks"]), (&30.into(), &30.into()));
}
