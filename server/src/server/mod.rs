//! Both roads on one page: requests -> ingest -> store, and store -> query -> render -> answers.

mod listen;
mod files;
mod tls;
mod watch;
mod connections;

use crate::access::{self, Access};
use crate::api::{self, Api, account, guard};
use crate::config::{self, Config};
use crate::server::files::Seen;
use crate::shelf;
use crate::shelf::settings::Settings;
use crate::shelf::uploads::Uploads;
use crate::store::{self, Store};
use crate::ui;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::task::{JoinSet, spawn_blocking};

pub use crate::server::listen::{BindError, bind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration: {0}")]
    Config(#[from] config::Error),
    #[error("no data directory is given; name one with --data")]
    NoDirectory,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Shelf(#[from] shelf::Error),
    #[error(transparent)]
    Access(#[from] access::Error),
    #[error("overrides_file: {0}")]
    Overrides(String),
    #[error("tls: {0}")]
    Tls(#[from] tls::Error),
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
}

/// Serves until `stop` is done, then finishes the requests under way and writes out what waits.
pub async fn run(
    config: Config,
    listeners: Vec<TcpListener>,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    config.validate()?;
    if config.data.as_os_str().is_empty() {
        return Err(Error::NoDirectory);
    }
    let mut registry = Registry::with_prefix("pilotlight_server");
    let store_config = config.store();
    let opening = spawn_blocking(move || {
        let store = Store::open(store_config, now_ns, &mut registry)?;
        Ok::<_, store::Error>((store, registry))
    });
    let (store, registry) = opening.await.expect("opening the store does not panic")?;
    let store = Arc::new(store);
    let is_local = listeners
        .iter()
        .all(|listener| listener.local_addr().is_ok_and(|address| address.ip().is_loopback()));
    let overrides_seen = files::look(std::slice::from_ref(&config.overrides_file));
    let parts = parts(&config, Arc::clone(&store))?;
    let api = Arc::new(Api::new(parts, now_ns, registry));
    let check = from_fn_with_state(Arc::clone(&api), account::check);
    let mut router = api::router(Arc::clone(&api))
        .fallback(other)
        .layer(check)
        .layer(map_response(with_headers));
    if is_local {
        router = router.layer(from_fn(guard::local_only));
    }
    announce(&config, &listeners, is_local);
    let mut beside = JoinSet::new();
    let mut acceptor = None;
    if config.tls.is_on() {
        let (made, following) = tls::acceptor(&config.tls)?;
        acceptor = Some(made);
        beside.spawn(following);
    }
    if !config.overrides_file.as_os_str().is_empty() {
        beside.spawn(follow_overrides(config.clone(), overrides_seen, api));
    }
    let serving = connections::serve(router, listeners, acceptor, &config.http, stop);
    serving.await.map_err(Error::Listen)?;
    beside.shutdown().await;
    let closing = spawn_blocking(move || store.close());
    closing.await.expect("closing the store does not panic");
    Ok(())
}

fn parts(config: &Config, store: Arc<Store>) -> Result<api::Parts, Error> {
    Ok(api::Parts {
        store,
        config: config.api(),
        limits: config.limits(&overrides(config)?).map_err(Error::Overrides)?,
        account: config.account(),
        access: Access::open(&config.data, config.auth.first().as_ref(), now_ns() / 1_000_000)?,
        shown: config.shown(),
        settings: Settings::open(&config.data)?,
        uploads: Uploads::new(&config.data),
    })
}

fn announce(config: &Config, listeners: &[TcpListener], is_local: bool) {
    for listener in listeners {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, data = %config.data.display(), "listening");
        }
    }
    let is_guarded = config.auth.internal_enabled && config.auth.ingestion_enabled;
    if !is_local && !is_guarded {
        tracing::warn!(
            "whoever reaches this address can push or see profiles; auth.internal_enabled and auth.ingestion_enabled ask for a login and keys"
        );
    }
}

/// The text of the file, which must be there when the server starts.
fn overrides(config: &Config) -> Result<String, Error> {
    if config.overrides_file.as_os_str().is_empty() {
        return Ok(String::new());
    }
    std::fs::read_to_string(&config.overrides_file)
        .map_err(|err| Error::Overrides(format!("cannot read it: {err}")))
}

/// What cannot be read later changes nothing.
async fn follow_overrides(config: Config, seen: Seen, api: Arc<Api>) {
    let paths = vec![config.overrides_file.clone()];
    let changed = || {
        let read = overrides(&config).map_err(|err| err.to_string());
        match read.and_then(|text| config.limits(&text)) {
            Ok(limits) => {
                api.set_limits(limits);
                tracing::info!("the limits of tenants are read again");
            }
            Err(error) => tracing::warn!(error, "the limits of tenants are not changed"),
        }
    };
    files::follow(paths, seen, changed).await;
}

/// What is no route of the API is a page, but for calls, whose clients expect an answer in their protocol.
async fn other(request: Request) -> Response {
    if api::is_call(request.uri().path()) {
        return api::unknown_call(&request);
    }
    ui::serve(&request)
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Answers are what they say they are.
async fn with_headers(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
