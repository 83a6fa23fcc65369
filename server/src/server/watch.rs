//! What a connection waits for, and for how long: clients that are slow on purpose lose their connection, and no other.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

/// A client that takes less of an answer than this in `write` does not want it.
const MIN_TAKEN_BYTES: usize = 16 << 10;
/// Answers leave in pieces, so that it can be seen whether they do.
const PIECE_BYTES: usize = 32 << 10;
const PREFACE_OF_HTTP_2: &[u8] = b"PRI";

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the first byte of a request to the end of its headers; also for the first byte of all.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For a piece of an answer to be taken.
    pub write: Duration,
}

/// Shared by the connection's stream, its requests and its watch.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<State>>);

struct State {
    phase: Phase,
    is_http_2: bool,
    /// The socket takes nothing since then, and took so many bytes since.
    blocked: Option<(Instant, usize)>,
    /// Answers that are not sent yet, and when a piece of each last was.
    answers: HashMap<u64, Instant>,
    n_requests: u64,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Headers are being read.
    Head(Instant),
    /// So many requests are under way.
    Busy(usize),
    Idle(Instant),
}

impl Progress {
    pub(super) fn new() -> Progress {
        let state = State {
            phase: Phase::Head(Instant::now()),
            is_http_2: false,
            blocked: None,
            answers: HashMap::new(),
            n_requests: 0,
        };
        Progress(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the client has kept the server waiting for too long.
    pub(super) async fn expired(&self, limits: Limits) -> &'static str {
        let shortest = limits.head.min(limits.idle).min(limits.write);
        let tick = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            sleep(tick).await;
            if let Some(why) = self.state().overdue(limits) {
                return why;
            }
        }
    }

    fn begin(&self) -> Request {
        let mut state = self.state();
        let under_way = if let Phase::Busy(n) = state.phase { n } else { 0 };
        state.phase = Phase::Busy(under_way + 1);
        state.n_requests += 1;
        Request { progress: self.clone(), number: state.n_requests }
    }
}

impl State {
    fn overdue(&self, limits: Limits) -> Option<&'static str> {
        let late = |since: Instant, limit: Duration| since.elapsed() > limit;
        match self.phase {
            Phase::Head(since) if late(since, limits.head) => Some("its headers did not come"),
            Phase::Idle(since) if late(since, limits.idle) => Some("it was idle"),
            _ if self.blocked.is_some_and(|(since, _)| late(since, limits.write)) => {
                Some("its client does not read")
            }
            _ if self.answers.values().any(|since| late(*since, limits.write)) => {
                Some("its client does not take an answer")
            }
            _ => None,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        match self.phase {
            Phase::Head(_) if self.n_requests == 0 && bytes.starts_with(PREFACE_OF_HTTP_2) => {
                self.is_http_2 = true;
                self.phase = Phase::Idle(Instant::now());
            }
            // On HTTP/2 it may be a ping as well.
            Phase::Idle(_) if !self.is_http_2 => self.phase = Phase::Head(Instant::now()),
            _ => {}
        }
    }

    fn written(&mut self, result: &Poll<io::Result<usize>>) {
        match (result, self.blocked) {
            (Poll::Pending, None) => self.blocked = Some((Instant::now(), 0)),
            (Poll::Ready(Ok(len)), Some((since, taken))) => {
                let taken = taken.saturating_add(*len);
                self.blocked = (taken < MIN_TAKEN_BYTES).then_some((since, taken));
            }
            _ => {}
        }
    }
}

/// A request that is under way, until its answer is sent or dropped.
pub(super) struct Request {
    progress: Progress,
    number: u64,
}

impl Request {
    pub(super) fn begin(progress: &Progress) -> Request {
        progress.begin()
    }

    fn answered(&self) {
        self.progress.state().answers.insert(self.number, Instant::now());
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        state.answers.remove(&self.number);
        state.phase = match state.phase {
            Phase::Busy(n) if n > 1 => Phase::Busy(n - 1),
            _ => Phase::Idle(Instant::now()),
        };
    }
}

/// An answer's body in pieces, each of which must be taken in time.
pub(super) struct Answer<B> {
    body: B,
    rest: Bytes,
    request: Request,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, request: Request) -> Answer<B> {
        request.answered();
        Answer { body, rest: Bytes::new(), request }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.request.answered();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let len = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A stream that notes when bytes come and when none go.
pub(super) struct Watched<S> {
    pub stream: S,
    pub progress: Progress,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(new) = buffer.filled().get(before..).filter(|new| !new.is_empty()) {
            self.progress.state().received(new);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.progress.state().written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.progress.state().written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
