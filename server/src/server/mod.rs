//! Both roads on one page: requests -> ingest -> store, and store -> query -> render -> answers.

mod listen;
mod watch;
mod connections;

use crate::api::{self, Api, guard};
use crate::config::{self, Config};
use crate::shelf;
use crate::shelf::settings::Settings;
use crate::shelf::uploads::Uploads;
use crate::store::{self, Store};
use crate::ui;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::task::spawn_blocking;

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
    let parts = api::Parts {
        store: Arc::clone(&store),
        config: config.api(),
        ingest: config.ingest(),
        shown: config.shown(),
        settings: Settings::open(&config.data)?,
        uploads: Uploads::new(&config.data),
    };
    let api = Arc::new(Api::new(parts, now_ns, registry));
    let mut router = api::router(api).fallback(other).layer(map_response(with_headers));
    if is_local {
        router = router.layer(from_fn(guard::local_only));
    }
    for listener in &listeners {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, data = %config.data.display(), "listening");
        }
    }
    connections::serve(router, listeners, &config.http, stop).await.map_err(Error::Listen)?;
    let closing = spawn_blocking(move || store.close());
    closing.await.expect("closing the store does not panic");
    Ok(())
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
