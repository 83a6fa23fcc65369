//! Write requests in every encoding.

use super::*;

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
        "pilotlight_server_discarded_profiles_total{reason=\"malformed_profile\",tenant=\"anonymous\"}",
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
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text().contains("no flight recording"));
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
