//! What was pushed, read back in every encoding.

use super::*;

#[tokio::test]
async fn the_golden_profile_is_read_back_everywhere() {
    let server = server();
    server.push_golden().await;
    // The same profile id again adds nothing.
    server.push_golden().await;
    let select = format!(
        r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{service_name=\"api\"}}",{}}}"#,
        times()
    );
    let graph = server.query("SelectMergeStacktraces", &select).await.json();
    let expected = serde_json::json!({"flamegraph": {
        "names": ["total", "a", "c", "d", "b", "e"],
        "levels": [
            {"values": ["0", "4", "0", "0"]},
            {"values": ["0", "4", "0", "1"]},
            {"values": ["0", "1", "0", "4", "0", "3", "2", "2"]},
            {"values": ["0", "1", "1", "5", "2", "1", "1", "3"]}
        ],
        "total": "4", "maxSelf": "2"
    }});
    assert_eq!(graph, expected);
    let request = wire::SelectMergeProfileRequest {
        profile_type_id: TYPE.to_owned(),
        label_selector: "{}".to_owned(),
        start: NOW_MS - 60_000,
        end: NOW_MS,
        ..wire::SelectMergeProfileRequest::default()
    };
    let merged: profile::Profile = server.call("SelectMergeProfile", &request).await;
    protocol::pprof::check(&merged).expect("the answer is a pprof");
    assert_eq!(merged.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 4);
    assert_eq!(
        (merged.function.len(), merged.mapping.len(), merged.location[0].line[0].line > 10),
        (5, 1, true)
    );
    let names: types::LabelNamesResponse = server
        .call(
            "LabelNames",
            &types::LabelNamesRequest { start: 1, end: NOW_MS, matchers: Vec::new() },
        )
        .await;
    let canary = [
        "__name__",
        "__period_type__",
        "__period_unit__",
        "__profile_type__",
        "__service_name__",
        "__type__",
        "__unit__",
        "service_name",
    ];
    assert_eq!(names.names, canary);
    let found: wire::ProfileTypesResponse =
        server.call("ProfileTypes", &wire::ProfileTypesRequest::default()).await;
    assert_eq!(
        (found.profile_types[0].id.as_str(), found.profile_types[0].period_unit.as_str()),
        (TYPE, "nanoseconds")
    );
    let step = format!(
        r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}",{},"step":1000,"groupBy":["service_name"]}}"#,
        times()
    );
    let points = server.query("SelectSeries", &step).await.json();
    assert_eq!(points, serde_json::json!({}));
    let start = format!(
        r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}","start":{NOW_MS},"end":{NOW_MS},"step":1000,"groupBy":["service_name"]}}"#
    );
    let points = server.query("SelectSeries", &start).await.json();
    let expected = serde_json::json!({"series": [{"labels": [{"name": "service_name", "value": "api"}], "points": [{"value": 4.0, "timestamp": NOW_MS.to_string()}]}]});
    assert_eq!(points, expected);
    let stats = server.query("GetProfileStats", "{}").await.json();
    assert_eq!(
        stats,
        serde_json::json!({"dataIngested": true, "oldestProfileTime": NOW_MS.to_string(), "newestProfileTime": NOW_MS.to_string()})
    );
}

#[tokio::test]
async fn render_has_a_timeline_and_groups() {
    let server = server();
    server.push_golden().await;
    let query = format!(
        "query={TYPE}%7B%7D&from={}&until={}&groupBy=service_name",
        NOW_MS / 1_000 - 60,
        NOW_MS / 1_000 + 10
    );
    let answer = server.get(&format!("/pyroscope/render?{query}")).await.json();
    assert_eq!(
        (&answer["version"], &answer["flamebearer"]["numTicks"], &answer["flamebearer"]["maxSelf"]),
        (&1.into(), &4.into(), &2.into())
    );
    let metadata = serde_json::json!({"format": "single", "spyName": "", "sampleRate": 1_000_000_000, "units": "samples", "name": "cpu"});
    assert_eq!(answer["metadata"], metadata);
    let start = (NOW_MS / 1_000 - 60) / 15 * 15;
    assert_eq!(
        (&answer["timeline"]["startTime"], &answer["timeline"]["durationDelta"]),
        (&start.into(), &15.into())
    );
    let sum = |timeline: &serde_json::Value| {
        timeline["samples"]
            .as_array()
            .expect("samples")
            .iter()
            .filter_map(serde_json::Value::as_i64)
            .sum::<i64>()
    };
    assert_eq!((sum(&answer["timeline"]), sum(&answer["groups"]["api"])), (4, 4));
    let dot = server.get(&format!("/pyroscope/render?{query}&format=dot")).await;
    assert!(
        dot.text().starts_with("digraph") && dot.text().contains(r#""a" -> "c" [label="3"]"#),
        "{}",
        dot.text()
    );
    let none = server.get("/pyroscope/render?query=a:b:c:d:e%7B%7D&format=dot&from=now-1h").await;
    assert_eq!((none.status, none.text()), (StatusCode::OK, ""));
    assert_eq!(
        server.get("/pyroscope/label-values?label=service_name").await.json(),
        serde_json::json!(["api"])
    );
    assert_eq!(
        server.get("/pyroscope/label-values?label=__name__").await.json(),
        serde_json::json!([TYPE])
    );
}

#[tokio::test]
async fn every_format_of_an_export_has_the_same_sum() {
    let server = server();
    server.push_golden().await;
    let query = format!("query={TYPE}%7B%7D&from=now-1h");
    let export = async |format: &str| {
        let answer = server.get(&format!("/pyroscope/render?{query}&format={format}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{format}");
        answer
    };
    let folded = export("collapsed").await;
    let mut lines: Vec<&str> = folded.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a;b;e 1", "a;c 2", "a;c;d 1"]);
    let speedscope = export("speedscope").await.json();
    let weights = speedscope["profiles"][0]["weights"].as_array().expect("weights").clone();
    assert_eq!(weights.iter().filter_map(serde_json::Value::as_i64).sum::<i64>(), 4);
    assert_eq!(speedscope["shared"]["frames"].as_array().expect("frames").len(), 5);
    let pprof = protocol::pprof::decode(&export("pprof").await.body, 1 << 20).expect("a pprof");
    assert_eq!(pprof.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 4);
    // What was exported can be sent again.
    let again = server
        .request("POST", "/ingest?name=again&format=speedscope", "", speedscope.to_string())
        .await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    let old = server.get("/render?query=again.cpu%7B%7D&from=now-1h&format=collapsed").await;
    assert_eq!(old.text().lines().count(), 3, "{}", old.text());
}

#[tokio::test]
async fn routes_of_the_first_servers() {
    let server = server();
    let path = "/ingest?name=my.app.cpu%7Btag%3Dv%7D";
    assert_eq!(server.request("POST", path, "", "main;f 3").await.status, StatusCode::OK);
    for query in ["query=my.app.cpu%7Btag%3D%22v%22%7D", "name=my.app.cpu", "query=my.app"] {
        let answer = server.get(&format!("/render?{query}&from=now-1h")).await;
        assert_eq!(answer.json()["flamebearer"]["numTicks"], 30_000_000, "{query}");
        let metadata = answer.json()["metadata"].clone();
        assert!(metadata["appName"].as_str().is_some_and(|name| name.starts_with("my.app")));
        assert_eq!(
            (&metadata["endTime"], &metadata["maxNodes"]),
            (&(NOW_MS / 1_000).into(), &8_192.into())
        );
    }
    for query in ["query=my.app.inuse_space", "query=my.app.cpu%7Btag%3D%22w%22%7D"] {
        let answer = server.get(&format!("/render?{query}&from=now-1h")).await;
        assert_eq!(answer.json()["flamebearer"]["numTicks"], 0, "{query}");
    }
    for query in ["", "query=%7B%7D", "query=my.app.cpu%7B"] {
        let answer = server.get(&format!("/render?{query}&from=now-1h")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let labels = server.get("/labels").await.json();
    assert!(labels.as_array().expect("names").contains(&"tag".into()), "{labels}");
    assert_eq!(server.get("/label-values?label=tag").await.json(), serde_json::json!(["v"]));
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let server = server();
    let mut profile = golden();
    for number in 0..200 {
        profile.string_table[7] = format!("e{number}");
        let answer = server
            .request("POST", "/ingest?name=x&format=pprof", "", profile.encode_to_vec())
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let body = format!(r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}",{}}}"#, times());
    let path = "/querier.v1.QuerierService/SelectMergeStacktraces";
    let plain = server.request("POST", path, "application/json", body.clone()).await;
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip");
    let packed = server.send(request.body(Body::from(body)).expect("a request")).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(
        protocol::pprof::gunzip(&packed.body, 1 << 20).expect("it is gzip").as_ref(),
        plain.body
    );
}
