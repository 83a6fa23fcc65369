//! Connections of HTTP/1.1 and HTTP/2 in the clear, with bounds on their number and patience.

use crate::api::account::Peer;
use crate::config::Http;
use crate::server::watch::{Answer, Limits, Progress, Request, Watched};
use axum::Router;
use axum::body::Body;
use futures_util::future::select_all;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::{ServiceExt as _, service_fn};

/// Requests under way have this long to end.
const DRAIN: Duration = Duration::from_secs(10);
/// After an error of accept, which is most often a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_STREAMS: u32 = 128;
const MAX_HEADER_BYTES: usize = 64 << 10;

pub(super) async fn serve(
    router: Router,
    listeners: Vec<TcpListener>,
    tls: Option<TlsAcceptor>,
    config: &Http,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        sockets.push(tokio::net::TcpListener::from_std(listener)?);
    }
    let builder = builder(config);
    let slots = Arc::new(Semaphore::new(config.connections));
    let peers = Peers::new(config.connections_per_address);
    let graceful = GracefulShutdown::new();
    let limits = Limits {
        head: config.header_timeout.duration(),
        idle: config.idle_timeout.duration(),
        write: config.write_timeout.duration(),
    };
    let mut stop = pin!(stop);
    loop {
        let accepting = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, accept(&sockets).await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(error = %err, "cannot accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(seat) = peers.enter(peer.ip()) else {
            tracing::debug!(%peer, "too many connections of one address; one is closed");
            continue;
        };
        let progress = Progress::new();
        let service = service(router.clone(), progress.clone(), Peer(peer));
        let service = TowerToHyperService::new(service);
        let watched = progress.clone();
        let (builder, tls, watcher) = (builder.clone(), tls.clone(), graceful.watcher());
        let connection = async move {
            match tls {
                None => {
                    let stream = TokioIo::new(Watched { stream, progress: watched });
                    let connection = builder.serve_connection(stream, service);
                    watcher.watch(connection.into_owned()).await
                }
                Some(tls) => {
                    let stream = tls.accept(stream).await?;
                    let stream = TokioIo::new(Watched { stream, progress: watched });
                    watcher.watch(builder.serve_connection(stream, service).into_owned()).await
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                result = connection => if let Err(err) = result {
                    tracing::debug!(error = %err, "a connection broke");
                },
                why = progress.expired(limits) => {
                    tracing::debug!(%peer, why, "a connection is closed");
                }
            }
            leave(slot.ok(), seat);
        });
    }
    drop(sockets);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
}

/// Each request and its answer are seen by the connection's watch.
fn service(
    router: Router,
    progress: Progress,
    peer: Peer,
) -> impl tower::Service<
    axum::http::Request<Incoming>,
    Response = axum::http::Response<Answer<Body>>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send {
    service_fn(move |mut request: axum::http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let under_way = Request::begin(&progress);
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await?;
            Ok(response.map(|body| Answer::new(body, under_way)))
        }
    })
}

/// Places are given back together, after the connection's end.
fn leave(slot: Option<OwnedSemaphorePermit>, seat: Seat) {
    drop(slot);
    drop(seat);
}

/// How many connections each address has.
#[derive(Clone)]
struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
}

struct Seat {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    fn new(limit: usize) -> Peers {
        Peers { counts: Arc::default(), limit }
    }

    fn enter(&self, address: IpAddr) -> Option<Seat> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Seat { peers: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn builder(config: &Http) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It would hold between requests too; the watch tells the two apart.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(config.header_timeout.duration());
    builder
}

async fn accept(sockets: &[tokio::net::TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    let accepting = sockets.iter().map(|socket| Box::pin(socket.accept()));
    let ((stream, peer), _, _) = match select_all(accepting).await {
        (Ok(accepted), index, rest) => (accepted, index, rest),
        (Err(err), _, _) => return Err(err),
    };
    stream.set_nodelay(true)?;
    Ok((stream, peer))
}
