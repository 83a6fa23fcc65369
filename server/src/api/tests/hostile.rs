//! Bodies that mean harm.

use super::*;

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

/// Row S8 of the threats: questions that would take for ever.
#[tokio::test]
async fn questions_that_mean_harm_are_answered_soon() {
    let server = server();
    server.push_golden().await;
    let began = std::time::Instant::now();
    let decade = format!(r#""start":{},"end":{NOW_MS}"#, NOW_MS - 3_650 * 86_400_000);
    let ask = async |selector: &str, more: &str| {
        let selector = serde_json::Value::from(selector);
        let body =
            format!(r#"{{"profileTypeID":"{TYPE}","labelSelector":{selector},{decade}{more}}}"#);
        let call = if more.contains("step") { "SelectSeries" } else { "SelectMergeStacktraces" };
        server.query(call, &body).await.status.as_u16()
    };
    let deep = format!("{{a=~\"{}\"}}", "(".repeat(10_000));
    let many = format!("{{{}}}", "a=\"b\",".repeat(20_000));
    for (selector, more, status) in [
        (r#"{service_name=~".*"}"#, "", 200),
        (r#"{service_name=~".*"}"#, r#","maxNodes":1048576"#, 200),
        (r#"{service_name=~"(a*)*(a*)*(a*)*b"}"#, "", 200),
        (r#"{service_name=~"((((a{1000}){1000}){1000}){1000})"}"#, "", 400),
        (&deep, "", 400),
        (&many, "", 400),
        ("{}", r#","step":0.001"#, 400),
        ("{}", r#","step":1e300"#, 200),
    ] {
        assert_eq!(ask(selector, more).await, status, "{selector:.50} {more}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Row S11: times that cannot be.
#[tokio::test]
async fn profiles_of_impossible_times_are_refused_and_counted() {
    let server = server();
    let now_ns = NOW_MS * 1_000_000;
    for (time_ns, status) in [
        (1, 400),
        (-1, 400),
        (i64::MIN, 400),
        (i64::MAX, 400),
        (now_ns + 601_000_000_000, 400),
        (now_ns - 32 * 86_400_000_000_000, 400),
        (now_ns + 599_000_000_000, 200),
        (now_ns - 30 * 86_400_000_000_000, 200),
    ] {
        let mut profile = golden();
        (profile.time_nanos, profile.duration_nanos) = (time_ns, -1);
        let body = push_of(profile.encode_to_vec()).encode_to_vec();
        let answer = server.request("POST", PUSH, "application/proto", body).await;
        assert_eq!(answer.status.as_u16(), status, "{time_ns}: {}", answer.text());
    }
    let metrics = server.get("/metrics").await;
    let line =
        "discarded_profiles_total{reason=\"not_in_ingestion_window\",tenant=\"anonymous\"} 6";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}
