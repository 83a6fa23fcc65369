//! Requests of people and Prometheus in; the agent's metrics and health out.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// More than people and scrapers need; strangers cannot use up the agent's file descriptors.
const MAX_CONNECTIONS: usize = 16;
/// From the connection to the end of its one answer.
const CONNECTION_TIME: Duration = Duration::from_secs(20);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct Admin {
    registry: Arc<Registry>,
    /// Set once samples are taken.
    is_ready: Arc<AtomicBool>,
}

impl Admin {
    /// Serves these metrics.
    pub fn new(registry: Arc<Registry>, is_ready: Arc<AtomicBool>) -> Self {
        Self { registry, is_ready }
    }

    /// Serves on `address` (127.0.0.1 means `::1` too) as tasks of `runtime`. A port that is taken is a warning: metrics are
    /// not worth an agent that does not profile. Gives the addresses that are served.
    pub fn serve(&self, address: SocketAddr, runtime: &runtime::Handle) -> Vec<SocketAddr> {
        let listeners = match bind(address) {
            Ok(listeners) => listeners,
            Err(err) => {
                warn!(
                    "cannot serve metrics on {address}: {err}; profiling goes on without them \
                     (set metrics.listen to another address, or to \"\" to turn them off)"
                );
                return Vec::new();
            }
        };
        let addresses =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        for listener in listeners {
            runtime.spawn(accept(listener, self.router(address.ip().is_loopback())));
        }
        info!("metrics at http://{address}/metrics");
        addresses
    }

    fn router(&self, is_loopback: bool) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/ready", get(ready))
            .layer(from_fn_with_state(is_loopback, refuse_foreign_hosts))
            .with_state(self.clone())
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(err) => return warn!(error = %err, "cannot serve metrics"),
    };
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = free.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answered = timeout(CONNECTION_TIME, answer(stream, router.clone()));
                tokio::spawn(async move {
                    if answered.await.is_err() {
                        debug!("closed a connection to the metrics that took too long");
                    }
                    drop(permit);
                });
            }
            Err(err) => {
                // Out of file descriptors, mostly: trying again at once would only use up the CPU.
                debug!(error = %err, "cannot accept a connection to the metrics");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, router: Router) {
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).keep_alive(false);
    let served =
        server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
    if let Err(err) = served {
        debug!(error = err, "a connection to the metrics broke");
    }
}

fn bind(address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![listen(address)?];
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let port = listeners
            .iter()
            .find_map(|listener| listener.local_addr().ok())
            .map_or(0, |local| local.port());
        // Hosts without IPv6 have no ::1, and another program may have its port: 127.0.0.1 is what counts.
        listeners.extend(listen((Ipv6Addr::LOCALHOST, port).into()));
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A page from elsewhere can make a browser on this host resolve its own name to 127.0.0.1 and read what is served there.
async fn refuse_foreign_hosts(
    State(is_loopback): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if is_loopback && !host.is_some_and(is_own_name) {
        return (StatusCode::FORBIDDEN, "this address serves requests to localhost only\n")
            .into_response();
    }
    next.run(request).await
}

fn is_own_name(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.is_ready.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not sampling yet\n").into_response()
}
