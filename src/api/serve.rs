//! The accept loop of HTTP: slow heads are cut off, connections are counted, stopping has a deadline.
//!
//! `axum::serve` sets no timer, so its header timeout never fires; and it has no cap. A connection holds its permit
//! until its socket closes, also after it has become a WebSocket.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::config::HttpConfig;

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Longest wait for a request's head, also the first one.
    pub header_timeout: Duration,
    /// Sockets open at once, WebSockets included.
    pub max_connections: usize,
    /// How long requests in progress may go on after `stop`.
    pub stop_within: Duration,
}

impl ServeLimits {
    /// The limits of the configuration; requests in progress get [`STOP_WITHIN`].
    pub const fn new(config: &HttpConfig) -> Self {
        Self {
            header_timeout: Duration::from_millis(config.header_timeout_ms),
            max_connections: config.max_connections,
            stop_within: STOP_WITHIN,
        }
    }
}

/// What the listener did, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub accepted: u64,
    /// Closed with 503 because the cap was reached.
    pub refused: u64,
    /// Cut off at the deadline.
    pub cut_off: usize,
}

/// Serves until `stop` completes, then lets requests in progress end within the deadline. WebSockets are not waited
/// for: they belong to the calls they carry.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    stop: impl Future<Output = ()>,
) -> Served {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let (stopping, watch) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut served = Served::default();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => {
                        served.accepted += 1;
                        let socket = Socket { stream: socket, _permit: permit };
                        connections.spawn(connection(socket, peer, router.clone(), limits, watch.clone()));
                    }
                    Err(_) => {
                        served.refused += 1;
                        refuse(&socket);
                    }
                },
                // Out of descriptors, mostly; trying again at once would only burn the core that calls need.
                Err(error) => {
                    tracing::warn!(%error, "http: accept failed");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                }
            },
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.stop_within, ended).await.is_err() {
        served.cut_off = connections.len();
        connections.shutdown().await;
    }
    served
}

/// Default of [`ServeLimits::stop_within`].
pub const STOP_WITHIN: Duration = Duration::from_secs(5);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 76\r\n\r\n{\"error\":{\"code\":\"too_many_connections\",\"message\":\"Try again in a moment.\"}}";

async fn connection(
    socket: Socket,
    peer: SocketAddr,
    router: Router,
    limits: ServeLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Audio frames are small and must not wait for each other (RFC 1122 4.2.3.4).
    if let Err(error) = socket.stream.set_nodelay(true) {
        tracing::debug!(%error, "http: TCP_NODELAY refused");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move { router.oneshot(request).await.map_err(|never: Infallible| match never {}) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "http: connection ended");
    }
}

/// Says why in one write that cannot wait; a new socket has room for it.
fn refuse(socket: &TcpStream) {
    if let Err(error) = socket.try_write(REFUSAL.as_bytes()) {
        tracing::trace!(%error, "http: refusal not sent");
    }
}

/// A socket that gives its permit back when it closes, whoever owns it by then.
struct Socket {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
