//! The API over HTTP: the protocol's table of statuses, its encodings, and bodies that mean harm.

use super::*;
use crate::store;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use prost::Message;
use protocol::{profile, push as push_wire, querier as wire, types};
use std::io::Write as _;
use std::thread;
use tempfile::TempDir;
use tower::ServiceExt as _;

const NOW_MS: i64 = 1_795_312_420_000;
const TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

struct Server {
    router: Router,
    _directory: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is text")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    fn message<T: Message + Default>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK);
        assert_eq!(self.headers["content-type"], "application/proto");
        T::decode(self.body.as_slice()).expect("the answer is the message")
    }
}

fn server() -> Server {
    let directory = TempDir::new().expect("a directory");
    let store_config = store::Config {
        memory_max_bytes: 64 << 20,
        retention_ns: i64::MAX,
        max_series: 1_000,
        ..store::Config::new(directory.path().to_owned())
    };
    let clock = || NOW_MS * 1_000_000;
    let mut registry = Registry::with_prefix("pilotlight_server");
    let store = Store::open(store_config, clock, &mut registry).expect("the store opens");
    let config = Config {
        max_body_bytes: 1 << 20,
        max_bodies_bytes: 4 << 20,
        body_timeout: Duration::from_millis(200),
        default_max_nodes: 8_192,
        max_max_nodes: 1_048_576,
    };
    let ingest =
        ingest_stage::Config { max_profile_bytes: 1 << 20, ..ingest_stage::Config::default() };
    let api = Api::new(Arc::new(store), config, ingest, clock, registry);
    Server { router: router(Arc::new(api)), _directory: directory }
}

impl Server {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the answer is whole").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn request(&self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", "").await
    }

    async fn query(&self, call: &str, body: &str) -> Answer {
        self.request(
            "POST",
            &format!("/querier.v1.QuerierService/{call}"),
            "application/json",
            body.to_owned(),
        )
        .await
    }

    async fn call<A: Message + Default>(&self, call: &str, request: &impl Message) -> A {
        let path = format!("/querier.v1.QuerierService/{call}");
        self.request("POST", &path, "application/proto", request.encode_to_vec()).await.message()
    }

    /// a;b;e = 1, a;c = 2, a;c;d = 1 of the service `api`.
    async fn push_golden(&self) {
        let answer =
            self.request("POST", PUSH, "application/proto", golden_push().encode_to_vec()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    }
}

const PUSH: &str = "/push.v1.PusherService/Push";

fn golden() -> profile::Profile {
    let function = |id: u64| profile::Function {
        id,
        name: id as i64 + 2,
        filename: 8,
        ..profile::Function::default()
    };
    let location = |id: u64| profile::Location {
        id,
        mapping_id: 1,
        line: vec![profile::Line { function_id: id, line: 10 + id as i64, column: 0 }],
        ..profile::Location::default()
    };
    let sample = |ids: &[u64], value| profile::Sample {
        location_id: ids.to_vec(),
        value: vec![value],
        label: Vec::new(),
    };
    let value_type = profile::ValueType { r#type: 1, unit: 2 };
    profile::Profile {
        string_table: ["", "cpu", "nanoseconds", "a", "b", "c", "d", "e", "main.rs"]
            .map(str::to_owned)
            .to_vec(),
        sample_type: vec![value_type],
        period_type: Some(value_type),
        period: 1,
        time_nanos: NOW_MS * 1_000_000,
        mapping: vec![profile::Mapping {
            id: 1,
            filename: 8,
            has_functions: true,
            ..profile::Mapping::default()
        }],
        function: (1..6).map(function).collect(),
        location: (1..6).map(location).collect(),
        sample: vec![sample(&[5, 2, 1], 1), sample(&[3, 1], 2), sample(&[4, 3, 1], 1)],
        ..profile::Profile::default()
    }
}

fn golden_push() -> push_wire::PushRequest {
    push_of(golden().encode_to_vec())
}

fn push_of(raw_profile: Vec<u8>) -> push_wire::PushRequest {
    let label = |name: &str, value: &str| types::LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let labels = vec![
        label("__name__", "process_cpu"),
        label("service_name", "api"),
        label("otel.scope.name", "x"),
    ];
    let samples = vec![push_wire::RawSample {
        raw_profile: raw_profile.into(),
        id: "00000000-0000-0000-0000-000000000001".to_owned(),
    }];
    push_wire::PushRequest {
        series: vec![push_wire::RawProfileSeries { labels, samples, annotations: Vec::new() }],
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("a vector takes every byte")
}

fn times() -> String {
    format!(r#""start":{},"end":{}"#, NOW_MS - 60_000, NOW_MS)
}

#[tokio::test]
async fn statuses_of_the_querier() {
    let server = server();
    server.push_golden().await;
    let (times, select) =
        (times(), format!(r#""profile_typeID":"{TYPE}","label_selector":"{{}}""#));
    let backwards = r#""start":2,"end":1"#;
    let mut cases: Vec<(&str, String, u16)> = vec![
        ("ProfileTypes", format!("{{{times}}}"), 200),
        ("ProfileTypes", r#"{"start":0,"end":0}"#.into(), 200),
        ("ProfileTypes", "{}".into(), 200),
        ("ProfileTypes", r#"{"start":-5,"end":1}"#.into(), 200),
        ("ProfileTypes", r#"{"start":-5,"end":-1}"#.into(), 200),
        ("ProfileTypes", r#"{"start":"x","end":"y"}"#.into(), 400),
        ("LabelValues", format!(r#"{{"name":"service_name",{times}}}"#), 200),
        ("LabelValues", format!(r#"{{"name":"service_name","matchers":["{{}}"],{times}}}"#), 200),
        (
            "LabelValues",
            format!(r#"{{"name":"service_name","matchers":["{{}}","{{a=\"b\"}}"],{times}}}"#),
            200,
        ),
        ("LabelValues", format!(r#"{{"name":"service_name","matchers":["{{"],{times}}}"#), 400),
        ("LabelValues", format!(r#"{{"name":"",{times}}}"#), 400),
        ("LabelValues", format!("{{{times}}}"), 400),
        ("LabelValues", r#"{"name":"service_name"}"#.into(), 400),
        ("GetProfileStats", "{}".into(), 200),
        ("Diff", "{}".into(), 400),
    ];
    for call in ["LabelNames", "Series"] {
        cases.push((call, format!("{{{times}}}"), 200));
        cases.push((
            call,
            format!(r#"{{"matchers":["{{service_name=\"api\"}}"],"label_names":["a"],{times}}}"#),
            200,
        ));
        cases.push((call, format!(r#"{{"matchers":["nonsense"],{times}}}"#), 400));
        cases.push((call, "{}".into(), 400));
    }
    for (call, more) in [
        ("SelectMergeStacktraces", ""),
        ("SelectMergeProfile", ""),
        ("SelectSeries", r#","step":15"#),
    ] {
        let with = |fields: &str| format!("{{{fields}{more}}}");
        cases.push((call, with(&format!("{select},{times}")), 200));
        cases.push((call, with(&format!(r#"{select},{times},"max_nodes":16"#)), 200));
        cases.push((
            call,
            with(&format!(r#"{select},{times},"groupBy":["a","b"],"limit":"1""#)),
            200,
        ));
        cases.push((call, with(&format!(r#""label_selector":"{{}}",{times}"#)), 400));
        for wrong in ["", "x", "a:b:c:d", "a:b:c:d:e:f:g", "a:b:c:d:e:other"] {
            cases.push((
                call,
                with(&format!(r#""profile_typeID":"{wrong}","label_selector":"{{}}",{times}"#)),
                400,
            ));
        }
        cases.push((call, with(&format!(r#""profile_typeID":"{TYPE}",{times}"#)), 400));
        cases.push((
            call,
            with(&format!(r#""profile_typeID":"{TYPE}","label_selector":"{{a}}",{times}"#)),
            400,
        ));
        cases.push((call, with(&format!("{select},{backwards}")), 400));
        cases.push((call, with(&select), 400));
    }
    cases.push((
        "SelectMergeStacktraces",
        format!(r#"{{{select},{times},"format":"PROFILE_FORMAT_TREE"}}"#),
        200,
    ));
    for nodes in ["-1", "1048577"] {
        cases.push((
            "SelectMergeStacktraces",
            format!(r#"{{{select},{times},"max_nodes":{nodes}}}"#),
            400,
        ));
    }
    for step in ["", r#","step":0"#, r#","step":-1"#, r#","step":"NaN""#, r#","step":0.0001"#] {
        cases.push(("SelectSeries", format!("{{{select},{times}{step}}}"), 400));
    }
    let side = format!("{{{select},{times}}}");
    cases.push(("Diff", format!(r#"{{"left":{side},"right":{side}}}"#), 200));
    cases.push(("Diff", format!(r#"{{"left":{side}}}"#), 400));
    cases.push(("Diff", format!(r#"{{"left":{side},"right":{{{times}}}}}"#), 400));
    for (call, body, status) in cases {
        let answer = server.query(call, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{call} {body}: {}", answer.text());
        if status == 400 {
            assert_eq!(
                (&answer.headers["content-type"], &answer.json()["code"]),
                (&"application/json".parse().expect("a header"), &"invalid_argument".into())
            );
        }
    }
}

#[tokio::test]
async fn statuses_that_all_calls_have() {
    let server = server();
    let calls = [
        "ProfileTypes",
        "LabelValues",
        "LabelNames",
        "Series",
        "SelectMergeStacktraces",
        "SelectMergeProfile",
        "SelectSeries",
        "Diff",
    ];
    for call in calls {
        let path = format!("/querier.v1.QuerierService/{call}");
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            assert_eq!(
                server.request(method, &path, "application/json", "{}").await.status,
                StatusCode::METHOD_NOT_ALLOWED
            );
        }
        for kind in ["text/plain", "", "application/json; charset=latin1", "application/grpc"] {
            let answer = server.request("POST", &path, kind, "{}").await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(answer.headers["accept-post"], "application/json, application/proto");
        }
        for body in ["", "{", "[]", "null", "1"] {
            assert_eq!(
                server.query(call, body).await.status,
                StatusCode::BAD_REQUEST,
                "{call} {body}"
            );
        }
        assert_eq!(
            server.request("POST", &path, "application/proto", vec![0xff]).await.status,
            StatusCode::BAD_REQUEST
        );
    }
}

#[tokio::test]
async fn statuses_of_render() {
    let server = server();
    server.push_golden().await;
    let query = format!("query={TYPE}%7Bservice_name%3D%22api%22%7D");
    let range = format!("from={}&until={NOW_MS}", NOW_MS - 60_000);
    for more in [
        "",
        "&format=json",
        "&format=dot",
        "&maxNodes=5",
        "&max-nodes=5",
        "&maxNodes=0",
        "&maxNodes=invalid",
        "&groupBy=a",
        "&groupBy=a&groupBy=b",
        "&aggregation=sum",
        "&aggregation=avg",
        "&aggregation=invalid",
    ] {
        let answer = server.get(&format!("/pyroscope/render?{query}&{range}{more}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.text());
    }
    let bad = [
        format!("{query}&from=0&until={NOW_MS}"),
        format!("{query}&from=now-1h&until=0"),
        format!("{query}&from=0&until=0"),
        range.clone(),
        format!("query=&{range}"),
        format!("query={TYPE}%7B&{range}"),
        format!("query=%7B%7D&{range}"),
        format!("query=a:b%7B%7D&{range}"),
    ];
    for query in bad {
        assert_eq!(
            server.get(&format!("/pyroscope/render?{query}")).await.status,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
    let side = |side: &str, query: &str| {
        format!("{side}Query={query}%7B%7D&{side}From=now-1h&{side}Until=now")
    };
    let diff = |left: &str, right: &str| {
        format!("/pyroscope/render-diff?{}&{}", side("left", left), side("right", right))
    };
    assert_eq!(server.get(&diff(TYPE, TYPE)).await.status, StatusCode::OK);
    assert_eq!(server.get(&diff(TYPE, "a:b:c:d:e")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.get(&diff(TYPE, "")).await.status, StatusCode::BAD_REQUEST);
    for path in ["/pyroscope/render", "/pyroscope/render-diff"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert_eq!(
                server.request(method, path, "", "").await.status,
                StatusCode::METHOD_NOT_ALLOWED
            );
        }
    }
}

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
async fn pushes_in_every_encoding() {
    let server = server();
    let proto = golden_push().encode_to_vec();
    let json = protocol::json::to_vec(&golden_push()).expect("it encodes");
    let zstd = zstd::bulk::compress(&proto, 1).expect("it compresses");
    let cases = [
        ("application/proto", "gzip", gzip(&proto), 200),
        ("application/proto", "identity", proto.clone(), 200),
        ("application/proto", "zstd", zstd, 200),
        ("application/json; charset=utf-8", "gzip", gzip(&json), 200),
        ("application/json", "", json, 200),
        ("application/proto", "br", proto.clone(), 501),
        ("application/proto", "gzip", proto.clone(), 400),
        ("text/plain", "", proto.clone(), 415),
        ("application/proto", "", push_of(b"junk".to_vec()).encode_to_vec(), 400),
        ("application/proto", "", Vec::new(), 400),
    ];
    for (kind, encoding, body, status) in cases {
        let request =
            Request::post(PUSH).header("content-type", kind).header("content-encoding", encoding);
        let answer = server.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(answer.status.as_u16(), status, "{kind} {encoding}: {}", answer.text());
    }
    let metrics = server.get("/metrics").await;
    for line in [
        "pilotlight_server_store_profiles_total 1",
        "pilotlight_server_store_duplicate_profiles_total 4",
        "pilotlight_server_discarded_profiles_total{reason=\"malformed_profile\"}",
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
    assert_eq!(server.get("/ready").await.text(), "ready\n");
}

#[tokio::test]
async fn a_bad_profile_does_not_keep_the_good_ones_out() {
    let server = server();
    let mut request = golden_push();
    request.series.extend(push_of(b"junk".to_vec()).series);
    let answer = server.request("POST", PUSH, "application/proto", request.encode_to_vec()).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::BAD_REQUEST, &"invalid_argument".into())
    );
    assert!(
        answer.json()["message"]
            .as_str()
            .is_some_and(|message| message.contains("profile is not a pprof"))
    );
    assert!(
        server.get("/metrics").await.text().contains("pilotlight_server_store_profiles_total 1")
    );
}

#[tokio::test]
async fn bombs_are_refused() {
    let server = server();
    let zeros = vec![0; 64 << 20];
    let bomb = gzip(&zeros);
    let post = |path: &str, encoding: &str, body: Vec<u8>| {
        let request = Request::post(path)
            .header("content-type", "application/proto")
            .header("content-encoding", encoding);
        server.send(request.body(Body::from(body)).expect("a request"))
    };
    assert_eq!(post(PUSH, "gzip", bomb.clone()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        post("/ingest?name=a", "gzip", bomb.clone()).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let zstd = zstd::bulk::compress(&zeros, 1).expect("it compresses");
    assert_eq!(post(PUSH, "zstd", zstd).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post(PUSH, "", zeros).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let inner = post(PUSH, "", push_of(bomb.clone()).encode_to_vec()).await;
    assert_eq!(inner.status, StatusCode::BAD_REQUEST);
    assert!(inner.text().contains("larger than 1048576 bytes uncompressed"), "{}", inner.text());
    assert_eq!(
        post("/ingest?name=a&format=pprof", "", bomb).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn every_flipped_bit_of_a_push_is_answered() {
    let server = server();
    let body = golden_push().encode_to_vec();
    for bit in (0..body.len() * 8).step_by(3) {
        let mut flipped = body.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for path in [PUSH, "/ingest?name=a&format=pprof"] {
            let answer = server.request("POST", path, "application/proto", flipped.clone()).await;
            assert!(
                [200, 400, 422].contains(&answer.status.as_u16()),
                "bit {bit}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
    assert_eq!(server.query("ProfileTypes", "{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn ingest_of_older_clients() {
    let server = server();
    let answer = server
        .request(
            "POST",
            "/ingest?name=app%7Ba%3Db%7D&from=1795312410&sampleRate=100",
            "text/plain",
            "main;f 3",
        )
        .await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    let answer = server.request("POST", "/pyroscope/ingest?name=app&format=jfr", "", "x").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("format 'jfr' is not supported"));
    let mut broken = golden();
    broken.function[0].id = 0;
    let answer =
        server.request("POST", "/ingest?name=app&format=pprof", "", broken.encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    let graph = server
        .query(
            "SelectMergeStacktraces",
            &format!(r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{a=\"b\"}}",{}}}"#, times()),
        )
        .await;
    assert_eq!(graph.json()["flamegraph"]["total"], "30000000");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = server();
    let never =
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = server.request("POST", PUSH, "application/proto", never).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::GATEWAY_TIMEOUT, &"deadline_exceeded".into())
    );
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

/// Pushes from several threads at once, all of them acknowledged and there.
#[test]
fn pushes_at_once_are_all_there() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = server();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                runtime.block_on(async {
                    for _ in 0..20 {
                        let body = golden().encode_to_vec();
                        let answer =
                            server.request("POST", "/ingest?name=x&format=pprof", "", body).await;
                        assert_eq!(answer.status, StatusCode::OK);
                    }
                });
            });
        }
    });
    let body = format!(r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}",{}}}"#, times());
    let graph = runtime.block_on(server.query("SelectMergeStacktraces", &body)).json();
    assert_eq!(graph["flamegraph"]["total"], "320");
}
