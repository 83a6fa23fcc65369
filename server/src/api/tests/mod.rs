//! The API over HTTP: a server in memory, a golden profile, and the tests by what they ask.

mod statuses;
mod answers;
mod writes;
mod hostile;
mod framed;
mod opentelemetry;
mod single;
mod pages;
mod canary;
mod tenants;
mod accounts;

use super::*;
use crate::access::{First, Secret};
use crate::ingest;
use crate::store;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use prost::Message;
use protocol::{profile, push as push_wire, querier as wire, types};
use std::collections::HashMap;
use std::io::Write as _;
use std::thread;
use tempfile::TempDir;
use tower::ServiceExt as _;

const NOW_MS: i64 = 1_795_312_420_000;
const TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

struct Server {
    router: Router,
    api: Arc<Api>,
    store: Arc<Store>,
    directory: TempDir,
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
    server_with(account::Config::default(), |_| {})
}

const PASSWORD: &str = "canary-first-password";

fn limits() -> Limits {
    let ingest = ingest::Config { max_profile_bytes: 1 << 20, ..ingest::Config::default() };
    Limits { ingest, max_series: 1_000, rate_bytes: 0, burst_bytes: 0, max_range_ms: 0 }
}

fn server_with(account: account::Config, change: impl FnOnce(&mut AllLimits)) -> Server {
    let directory = TempDir::new().expect("a directory");
    let store_config = store::Config {
        memory_max_bytes: 64 << 20,
        retention_ns: i64::MAX,
        max_series: 1_000,
        ..store::Config::new(directory.path().to_owned())
    };
    let clock = || NOW_MS * 1_000_000;
    let mut registry = Registry::with_prefix("pilotlight_server");
    let store = Arc::new(Store::open(store_config, clock, &mut registry).expect("the store opens"));
    let config = Config {
        max_body_bytes: 1 << 20,
        max_bodies_bytes: 4 << 20,
        body_timeout: Duration::from_millis(200),
        default_max_nodes: 8_192,
        max_max_nodes: 1_048_576,
    };
    let mut limits = AllLimits { defaults: Arc::new(limits()), overrides: HashMap::new() };
    change(&mut limits);
    let first = (account.login || account.ingestion).then(|| First {
        name: "admin".to_owned(),
        email: String::new(),
        password: Secret(PASSWORD.to_owned()),
        is_default: false,
    });
    let access = Access::open(directory.path(), first.as_ref(), NOW_MS).expect("there is none");
    let parts = Parts {
        store: Arc::clone(&store),
        config,
        limits,
        account,
        access,
        shown: Shown { config: "listen: x\n".to_owned(), ..Shown::default() },
        settings: Settings::open(directory.path()).expect("there are none"),
        uploads: Uploads::new(directory.path()),
    };
    let api = Arc::new(Api::new(parts, clock, registry));
    let check = axum::middleware::from_fn_with_state(Arc::clone(&api), account::check);
    let router = router(Arc::clone(&api)).layer(check);
    Server { router, api, store, directory }
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
