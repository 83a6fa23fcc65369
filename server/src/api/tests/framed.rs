//! gRPC and gRPC-web: the same calls in frames, with a status after them.

use super::*;
use axum::http::Version;

struct Framed {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Vec<u8>,
}

async fn send(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Framed {
    let mut request = Request::post(path).version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).expect("a request");
    let response = server.router.clone().oneshot(request).await.expect("the router answers");
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("the answer is whole");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes().to_vec();
    Framed { status: parts.status, headers: parts.headers, trailers, body }
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn select() -> wire::SelectMergeStacktracesRequest {
    wire::SelectMergeStacktracesRequest {
        profile_type_id: TYPE.to_owned(),
        label_selector: "{}".to_owned(),
        start: NOW_MS - 60_000,
        end: NOW_MS,
        ..wire::SelectMergeStacktracesRequest::default()
    }
}

const SELECT: &str = "/querier.v1.QuerierService/SelectMergeStacktraces";

fn total(message: &[u8]) -> i64 {
    let answer = wire::SelectMergeStacktracesResponse::decode(message).expect("it is the message");
    answer.flamegraph.expect("a flame graph").total
}

#[tokio::test]
async fn grpc_has_its_status_in_trailers() {
    let server = server();
    let push = frame(&golden_push().encode_to_vec());
    let answer = send(&server, PUSH, &[("content-type", "application/grpc")], push).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, frame(b"")));
    assert_eq!(answer.trailers["grpc-status"], "0");
    let kind = ("content-type", "application/grpc+proto");
    let answer = send(&server, SELECT, &[kind], frame(&select().encode_to_vec())).await;
    assert_eq!(
        (answer.headers["content-type"].as_bytes(), answer.body[0]),
        (&b"application/grpc+proto"[..], 0)
    );
    assert_eq!(
        (answer.trailers["grpc-status"].as_bytes(), total(&answer.body[5..])),
        (&b"0"[..], 4)
    );
    // JSON in a frame, and an error that is all headers.
    let json = protocol::json::to_vec(&select()).expect("it encodes");
    let kind = ("content-type", "application/grpc+json");
    let answer = send(&server, SELECT, &[kind], frame(&json)).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body[5..]).expect("it is JSON");
    assert_eq!(answer["flamegraph"]["total"], "4");
    let wrong = wire::SelectMergeStacktracesRequest { start: 5, end: 1, ..select() };
    let kind = ("content-type", "application/grpc");
    let answer = send(&server, SELECT, &[kind], frame(&wrong.encode_to_vec())).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers["grpc-status"], "3");
    assert_eq!(answer.headers["grpc-message"], "query start time is after end time");
}

#[tokio::test]
async fn grpc_web_has_it_in_the_body() {
    let server = server();
    server.push_golden().await;
    let kind = ("content-type", "application/grpc-web+proto");
    let answer = send(&server, SELECT, &[kind], frame(&select().encode_to_vec())).await;
    let len = u32::from_be_bytes(answer.body[1..5].try_into().expect("four bytes")) as usize;
    let (message, status) = answer.body[5..].split_at(len);
    assert_eq!(total(message), 4);
    assert_eq!((status[0], &status[5..]), (0x80, &b"grpc-status: 0\r\n"[..]));
    let answer = send(&server, SELECT, &[kind], b"\0\0\0\0\x05ab".to_vec()).await;
    let text = String::from_utf8_lossy(&answer.body[5..]).into_owned();
    assert!(text.starts_with("grpc-status: 3\r\ngrpc-message: the request is not one"), "{text}");
}

#[tokio::test]
async fn messages_in_frames_may_be_compressed() {
    let server = server();
    server.push_golden().await;
    let packed = gzip(&select().encode_to_vec());
    let body = [&[1][..], &(packed.len() as u32).to_be_bytes(), &packed].concat();
    let kind = ("content-type", "application/grpc");
    let headers = [kind, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let answer = send(&server, SELECT, &headers, body.clone()).await;
    assert_eq!(
        (answer.trailers["grpc-status"].as_bytes(), total(&answer.body[5..])),
        (&b"0"[..], 4)
    );
    let answer = send(&server, SELECT, &[kind], body).await;
    assert_eq!(answer.headers["grpc-status"], "13");
    let answer = send(&server, SELECT, &[kind, ("grpc-encoding", "br")], frame(b"")).await;
    assert_eq!(answer.headers["grpc-status"], "12");
    let bomb = gzip(&vec![0; 64 << 20]);
    let body = [&[1][..], &(bomb.len() as u32).to_be_bytes(), &bomb].concat();
    let answer = send(&server, SELECT, &headers, body).await;
    assert_eq!(answer.headers["grpc-status"], "8");
}
