//! A server that keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use flate2::read::GzDecoder;
use prost::Message;
use protocol::push::PushRequest;

/// One request to the push API.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) n_body_bytes: usize,
    pub(super) message: PushRequest,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let samples = self.message.series.iter().flat_map(|series| &series.samples);
        samples.map(|sample| sample.id.clone()).collect()
    }
}

/// How one request is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

#[derive(Debug, Default)]
struct Script {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
}

/// A running server. Once the replies have been given, everything is accepted.
#[derive(Clone, Debug)]
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl FakeServer {
    pub(super) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), replies)
    }

    pub(super) fn listen(listener: TcpListener, replies: impl IntoIterator<Item = Reply>) -> Self {
        let script = Script { replies: replies.into_iter().collect(), ..Script::default() };
        let server =
            Self { address: listener.local_addr().unwrap(), script: Arc::new(Mutex::new(script)) };
        let router = Router::new().fallback(answer).with_state(server.clone());
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.script().received.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

async fn answer(
    State(server): State<FakeServer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET {
        return Response::new(Body::from("ready"));
    }
    let mut message = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut message).unwrap();
    let message = PushRequest::decode(&*message).unwrap();
    let received =
        Received { path: uri.path().to_owned(), headers, n_body_bytes: body.len(), message };
    let mut script = server.script();
    script.received.push(received);
    let accepted = || Reply::status(200).header("content-type", "application/proto");
    let reply = script.replies.pop_front().unwrap_or_else(accepted);
    drop(script);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
