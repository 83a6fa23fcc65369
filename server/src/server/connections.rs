//! Connections of HTTP/1.1 and HTTP/2 in the clear, with bounds on their number and patience.

use crate::config::Http;
use axum::Router;
use futures_util::future::select_all;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Requests under way have this long to end.
const DRAIN: Duration = Duration::from_secs(10);
/// After an error of accept, which is most often a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_STREAMS: u32 = 128;
const MAX_HEADER_BYTES: usize = 64 << 10;

pub(super) async fn serve(
    router: Router,
    listeners: Vec<TcpListener>,
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
    let graceful = GracefulShutdown::new();
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
        let stream = match accepted {
            Ok(stream) => stream,
            Err(err) => {
                tracing::warn!(error = %err, "cannot accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection =
            graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(error = %err, "a connection broke");
            }
            drop(slot);
        });
    }
    drop(sockets);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
}

fn builder(config: &Http) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout.duration())
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

async fn accept(sockets: &[tokio::net::TcpListener]) -> io::Result<TcpStream> {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    let accepting = sockets.iter().map(|socket| Box::pin(socket.accept()));
    let ((stream, _), _, _) = match select_all(accepting).await {
        (Ok(accepted), index, rest) => (accepted, index, rest),
        (Err(err), _, _) => return Err(err),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
