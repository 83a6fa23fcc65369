//! protojson as the protocol's own clients read and write it.

use expect_test::{Expect, expect};
use protocol::{json, push, querier, types};

fn read(body: &str, expected: &Expect) {
    let message: querier::SelectMergeStacktracesRequest =
        json::from_slice(body.as_bytes()).expect("it reads");
    let text =
        String::from_utf8(json::to_vec(&message).expect("it writes")).expect("JSON is UTF-8");
    expected.assert_eq(&text);
}

#[test]
fn original_and_lower_camel_names_numbers_and_strings_are_read() {
    let written = expect![[
        r#"{"profileTypeID":"a:b:c:d:e","labelSelector":"{}","start":"1","end":"2","maxNodes":"8"}"#
    ]];
    read(
        r#"{"profile_typeID":"a:b:c:d:e","label_selector":"{}","start":1,"end":"2","max_nodes":8}"#,
        &written,
    );
    let written = expect![[
        r#"{"profileTypeID":"a:b:c:d:e","labelSelector":"{}","start":"-1","maxNodes":"0","format":"PROFILE_FORMAT_TREE"}"#
    ]];
    read(
        r#"{"profileTypeID":"a:b:c:d:e","labelSelector":"{}","start":"-1","end":0,"maxNodes":"0","format":2,"unknown":{"x":[1]},"async":null}"#,
        &written,
    );
}

#[test]
fn wrong_types_are_errors() {
    for body in [
        "",
        "[]",
        "{",
        r#"{"start":"x"}"#,
        r#"{"start":{}}"#,
        r#"{"start":1,"start":2}{"#,
        r#"{"profile_typeID":1}"#,
    ] {
        json::from_slice::<querier::SelectMergeStacktracesRequest>(body.as_bytes()).unwrap_err();
    }
}

#[test]
fn bytes_are_read_in_every_base64() {
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        let body = format!(r#"{{"series":[{{"samples":[{{"rawProfile":"{text}","ID":"i"}}]}}]}}"#);
        let request: push::PushRequest = json::from_slice(body.as_bytes()).unwrap();
        assert_eq!(request.series[0].samples[0].raw_profile.as_ref(), [0xfb, 0xff]);
        assert_eq!(request.series[0].samples[0].id, "i");
    }
}

#[test]
fn integers_are_written_as_strings_and_zeros_not_at_all() {
    let graph = querier::FlameGraph {
        names: vec!["total".into()],
        levels: vec![querier::Level { values: vec![0, i64::MAX, 0, 0] }],
        total: 5,
        max_self: 0,
    };
    let text = String::from_utf8(json::to_vec(&graph).unwrap()).unwrap();
    expect![[r#"{"names":["total"],"levels":[{"values":["0","9223372036854775807","0","0"]}],"total":"5"}"#]].assert_eq(&text);
    let point = types::Point { value: 1.5, timestamp: 7, ..types::Point::default() };
    expect![[r#"{"value":1.5,"timestamp":"7"}"#]]
        .assert_eq(&String::from_utf8(json::to_vec(&point).unwrap()).unwrap());
    let diff = querier::FlameGraphDiff {
        left_ticks: 1,
        right_ticks: 2,
        ..querier::FlameGraphDiff::default()
    };
    expect![[r#"{"leftTicks":"1","rightTicks":"2"}"#]]
        .assert_eq(&String::from_utf8(json::to_vec(&diff).unwrap()).unwrap());
    let profile_type = types::ProfileType { id: "i".into(), ..types::ProfileType::default() };
    expect![[r#"{"ID":"i"}"#]]
        .assert_eq(&String::from_utf8(json::to_vec(&profile_type).unwrap()).unwrap());
}
