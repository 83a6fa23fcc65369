//! Profiles of OpenTelemetry over HTTP and gRPC.

use super::*;
use protocol::otlp as wire_otlp;

const PATH: &str = "/v1development/profiles";
const GRPC: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

/// `names` and the functions that they are: 1 `main`, 2 `work`.
fn dictionary() -> wire_otlp::ProfilesDictionary {
    let strings = [
        "",
        "samples",
        "count",
        "cpu",
        "nanoseconds",
        "main",
        "work",
        "app.go",
        "thread.name",
        "w1",
        "service.name",
        "other",
        "libx.so",
        "process.executable.build_id.gnu",
        "abcd",
    ];
    let function = |name_strindex| wire_otlp::Function {
        name_strindex,
        filename_strindex: 7,
        ..wire_otlp::Function::default()
    };
    let location = |function_index| wire_otlp::Location {
        mapping_index: 1,
        lines: vec![wire_otlp::Line { function_index, line: 3, column: 0 }],
        ..wire_otlp::Location::default()
    };
    let text = |text: &str| wire_otlp::AnyValue {
        value: Some(wire_otlp::any_value::Value::StringValue(text.to_owned())),
    };
    let attribute = |key_strindex, value| wire_otlp::KeyValueAndUnit {
        key_strindex,
        value: Some(text(value)),
        unit_strindex: 0,
    };
    wire_otlp::ProfilesDictionary {
        string_table: strings.map(str::to_owned).to_vec(),
        function_table: vec![wire_otlp::Function::default(), function(5), function(6)],
        mapping_table: vec![
            wire_otlp::Mapping::default(),
            wire_otlp::Mapping {
                filename_strindex: 12,
                attribute_indices: vec![3],
                ..wire_otlp::Mapping::default()
            },
        ],
        location_table: vec![wire_otlp::Location::default(), location(1), location(2)],
        stack_table: vec![
            wire_otlp::Stack::default(),
            wire_otlp::Stack { location_indices: vec![2, 1] },
        ],
        attribute_table: vec![
            wire_otlp::KeyValueAndUnit::default(),
            attribute(8, "w1"),
            attribute(10, "other"),
            attribute(13, "abcd"),
        ],
        link_table: vec![
            wire_otlp::Link::default(),
            wire_otlp::Link { trace_id: vec![0x11; 16], span_id: vec![0xab; 8] },
        ],
    }
}

fn export(service: Option<&str>) -> wire_otlp::ExportProfilesServiceRequest {
    let sample = |values: &[i64], attribute_indices: &[i32], link_index| wire_otlp::Sample {
        stack_index: 1,
        attribute_indices: attribute_indices.to_vec(),
        link_index,
        values: values.to_vec(),
        timestamps_unix_nano: Vec::new(),
    };
    let by_count = wire_otlp::Sample {
        values: Vec::new(),
        timestamps_unix_nano: vec![1, 2],
        ..sample(&[], &[], 0)
    };
    let named =
        |type_strindex, unit_strindex| Some(wire_otlp::ValueType { type_strindex, unit_strindex });
    let profile = wire_otlp::Profile {
        sample_type: named(1, 2),
        period_type: named(3, 4),
        period: 1_000,
        time_unix_nano: (NOW_MS * 1_000_000) as u64,
        samples: vec![sample(&[5], &[1], 1), sample(&[3], &[2], 0), by_count],
        ..wire_otlp::Profile::default()
    };
    let attribute = |key: &str, value: &str| wire_otlp::KeyValue {
        key: key.to_owned(),
        value: Some(wire_otlp::AnyValue {
            value: Some(wire_otlp::any_value::Value::StringValue(value.to_owned())),
        }),
        key_strindex: 0,
    };
    // A build id of `app.go`, key and value by their places in the table.
    let by_index = wire_otlp::KeyValue {
        value: Some(wire_otlp::AnyValue {
            value: Some(wire_otlp::any_value::Value::StringValueStrindex(7)),
        }),
        key_strindex: 13,
        ..wire_otlp::KeyValue::default()
    };
    let mut attributes =
        vec![by_index, attribute("process.executable.name", "exe"), attribute("host.name", "h")];
    attributes.extend(service.map(|service| attribute("service.name", service)));
    wire_otlp::ExportProfilesServiceRequest {
        resource_profiles: vec![wire_otlp::ResourceProfiles {
            resource: Some(wire_otlp::Resource { attributes }),
            scope_profiles: vec![wire_otlp::ScopeProfiles {
                profiles: vec![profile],
                ..wire_otlp::ScopeProfiles::default()
            }],
            ..wire_otlp::ResourceProfiles::default()
        }],
        dictionary: Some(dictionary()),
    }
}

async fn total(server: &Server, selector: &str) -> i64 {
    let request = wire::SelectMergeStacktracesRequest {
        profile_type_id: TYPE.to_owned(),
        label_selector: selector.to_owned(),
        start: NOW_MS - 60_000,
        end: NOW_MS,
        ..wire::SelectMergeStacktracesRequest::default()
    };
    let answer: wire::SelectMergeStacktracesResponse =
        server.call("SelectMergeStacktraces", &request).await;
    answer.flamegraph.expect("a flame graph").total
}

#[tokio::test]
async fn exports_are_stored_by_service() {
    let server = server();
    let body = export(Some("shop")).encode_to_vec();
    let answer = server.request("POST", PATH, "application/x-protobuf", body).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    // Samples without values count their timestamps; a sample's own service wins.
    assert_eq!(total(&server, r#"{service_name="shop"}"#).await, 7_000);
    assert_eq!(total(&server, r#"{service_name="other"}"#).await, 3_000);
    assert_eq!(
        total(
            &server,
            r#"{"thread.name"="w1","process.executable.build_id.gnu"="app.go",__otel__="true"}"#
        )
        .await,
        5_000
    );
    let json = protocol::json::to_vec(&export(None)).expect("it encodes");
    let answer = server.request("POST", PATH, "application/json", gzip(&json)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let request = Request::post(PATH)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(Body::from(gzip(&json)))
        .expect("a request");
    let answer = server.send(request).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{}"));
    assert_eq!(total(&server, r#"{service_name="unknown_service:exe"}"#).await, 7_000);
}

#[tokio::test]
async fn links_are_spans_and_traces() {
    let server = server();
    let body = export(Some("shop")).encode_to_vec();
    server.request("POST", PATH, "application/protobuf", body).await;
    let of_span = |span: &str| {
        format!(
            r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}",{},"spanSelector":["{span}"]}}"#,
            times()
        )
    };
    let graph = server.query("SelectMergeSpanProfile", &of_span("abababababababab")).await.json();
    assert_eq!(graph["flamegraph"]["total"], "5000");
    assert_eq!(graph["flamegraph"]["names"], serde_json::json!(["total", "main", "work"]));
    let none = server.query("SelectMergeSpanProfile", &of_span("0000000000000001")).await.json();
    assert_eq!(none["flamegraph"]["names"], serde_json::json!(["total"]));
    let wrong = server.query("SelectMergeSpanProfile", &of_span("x")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let select = |more: &str| {
        format!(r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}",{},{more}}}"#, times())
    };
    let trace = "1".repeat(32);
    let of_trace = format!(r#""traceIdSelector":["{trace}"]"#);
    let graph = server.query("SelectMergeStacktraces", &select(&of_trace)).await.json();
    assert_eq!(graph["flamegraph"]["total"], "5000");
    let both = format!(r#"{of_trace},"spanSelector":["abababababababab"]"#);
    let answer = server.query("SelectMergeStacktraces", &select(&both)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let by_id = r#""profileIdSelector":["7c9e6679-7425-40de-944b-e07fc1f90ae7"]"#;
    let answer = server.query("SelectMergeStacktraces", &select(by_id)).await;
    assert_eq!(answer.json()["flamegraph"]["names"], serde_json::json!(["total"]));
    // Marks of requests are no frames.
    let merged = wire::SelectMergeProfileRequest {
        profile_type_id: TYPE.to_owned(),
        label_selector: r#"{service_name="shop"}"#.to_owned(),
        start: NOW_MS - 60_000,
        end: NOW_MS,
        ..wire::SelectMergeProfileRequest::default()
    };
    let merged: profile::Profile = server.call("SelectMergeProfile", &merged).await;
    protocol::pprof::check(&merged).expect("the answer is a pprof");
    assert_eq!(
        (merged.sample.len(), merged.location.len(), merged.sample[0].value[0]),
        (1, 2, 7_000)
    );
    assert!(merged.string_table.iter().any(|string| string == "abcd"), "the build id is there");
}

#[tokio::test]
async fn grpc_exports() {
    let server = server();
    let message = export(Some("rpc")).encode_to_vec();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = Request::post(GRPC)
        .version(axum::http::Version::HTTP_2)
        .header("content-type", "application/grpc");
    let answer = server.send(request.body(Body::from(body)).expect("a request")).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, vec![0; 5]));
    assert_eq!(total(&server, r#"{service_name="rpc"}"#).await, 7_000);
}

#[tokio::test]
async fn wrong_exports_are_refused() {
    let server = server();
    let post = |kind: &'static str, body: Vec<u8>| server.request("POST", PATH, kind, body);
    let kind = "application/x-protobuf";
    assert_eq!(post("text/plain", Vec::new()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut without = export(Some("x"));
    without.dictionary = None;
    let mut dangling = export(Some("x"));
    dangling.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index = 9;
    for (body, message) in [
        (b"\xff".to_vec(), "cannot read the request"),
        (Vec::new(), "the dictionary is missing"),
        (without.encode_to_vec(), "the dictionary is missing"),
        (dangling.encode_to_vec(), "a stack is out of range"),
    ] {
        let answer = post(kind, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let status = wire_otlp::Status::decode(answer.body.as_slice()).expect("a status");
        assert!(status.code == 3 && status.message.contains(message), "{}", status.message);
    }
    let answer = post(kind, gzip(&vec![0; 4 << 20])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let empties = [0x12_u8, 0].repeat(500_000);
    let inside = [&[0x0a][..], &encoded_len(empties.len()), &empties].concat();
    assert_eq!(post(kind, inside).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let body = export(Some("x")).encode_to_vec();
    for bit in (0..body.len() * 8).step_by(5) {
        let mut flipped = body.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = post(kind, flipped).await;
        assert!([200, 400, 413].contains(&answer.status.as_u16()), "bit {bit}: {}", answer.status);
    }
}

fn encoded_len(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(len as u64, &mut bytes);
    bytes
}
