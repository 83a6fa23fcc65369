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
