//! SIP over TCP and TLS: connections in and out, framed, bounded, kept alive, cut when a message is left unfinished.
//!
//! Nobody waits for anybody: a peer that reads slowly fills its own outbox and counts as unreachable, one that never
//! finishes a message or a handshake is cut by the clock, and one source may hold a part of the connections only.

mod serve;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Flow, Transport};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::faces::Faces;
use super::tls::{Tls, ip_name};
use crate::config::SipConfig;

/// What connections say to the driver.
pub enum FromStream {
    Message {
        flow: Flow,
        bytes: Bytes,
    },
    Closed {
        connection: u64,
    },
    /// A connection that this server opened was not made, or has ended: what was sent to nowhere else than there is lost.
    Lost {
        transport: Transport,
        remote: SocketAddr,
    },
}

/// The open connections. Cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

struct Shared {
    tls: Tls,
    faces: Faces,
    most: usize,
    keep_alive: Duration,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
    /// The names that certificates of trunks must show, by the address that the name led to.
    names: Mutex<HashMap<SocketAddr, ServerName<'static>>>,
    inbox: mpsc::Sender<FromStream>,
}

impl Streams {
    pub fn new(config: &SipConfig, tls: Tls, faces: Faces) -> (Self, mpsc::Receiver<FromStream>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let shared = Shared {
            tls,
            faces,
            most: config.max_connections,
            keep_alive: Duration::from_secs(config.keep_alive_s),
            next: AtomicU64::default(),
            open: Mutex::default(),
            names: Mutex::default(),
            inbox,
        };
        (Self(Arc::new(shared)), messages)
    }

    /// Sends on the flow's connection, or on one to its remote address, which is made when there is none.
    /// `false`: it cannot be sent.
    pub fn send(&self, flow: &Flow, bytes: Bytes) -> bool {
        let writer = {
            let open = self.0.open.lock();
            let to_there = |c: &&Open| c.remote == flow.remote && c.transport == flow.transport;
            match flow.connection {
                Some(connection) => open.get(&connection).map(|c| c.writer.clone()),
                None => open.values().find(to_there).map(|c| c.writer.clone()),
            }
        };
        match (writer, flow.connection) {
            (Some(writer), _) => writer.try_send(bytes).is_ok(),
            (None, Some(_)) => false,
            (None, None) => self.connect(flow.transport, flow.remote, bytes),
        }
    }

    /// Forgets a connection that has ended.
    pub fn closed(&self, connection: u64) {
        self.0.open.lock().remove(&connection);
    }

    /// Over TLS to this address a certificate of this name is wanted. Of several names the first one counts: one
    /// address with two names is one far side, and it must show one of them for both.
    pub fn expect_name(&self, remote: SocketAddr, name: ServerName<'static>) {
        let mut names = self.0.names.lock();
        if names.len() < MOST_NAMES || names.contains_key(&remote) {
            names.entry(remote).or_insert(name);
        }
    }

    /// Tries a handshake with this address and hangs up.
    ///
    /// # Errors
    /// Why there is no TLS with it.
    pub async fn try_tls(&self, remote: SocketAddr) -> Result<(), String> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(remote)).await;
        let stream = stream.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
        let handshake = self.0.tls.connector().connect(self.name_of(remote), stream);
        match timeout(self.0.tls.handshake_limit(), handshake).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the handshake is not finished in time".to_owned()),
        }
    }

    fn name_of(&self, remote: SocketAddr) -> ServerName<'static> {
        self.0.names.lock().get(&remote).cloned().unwrap_or_else(|| ip_name(remote.ip()))
    }

    fn connect(&self, transport: Transport, remote: SocketAddr, first: Bytes) -> bool {
        let Some((connection, outbox)) = self.register(transport, remote, Some(first)) else { return false };
        let streams = self.clone();
        tokio::spawn(async move {
            streams.open(transport, connection, remote, outbox).await;
            let _ = streams.0.inbox.send(FromStream::Closed { connection }).await;
            let _ = streams.0.inbox.send(FromStream::Lost { transport, remote }).await;
        });
        true
    }

    async fn open(&self, transport: Transport, connection: u64, remote: SocketAddr, outbox: mpsc::Receiver<Bytes>) {
        let Ok(Ok(stream)) = timeout(CONNECT_LIMIT, TcpStream::connect(remote)).await else { return };
        let _ = stream.set_nodelay(true);
        let flow = self.flow(transport, remote, connection);
        let pings = Some(self.0.keep_alive);
        if transport != Transport::Tls {
            return self.serve(stream, flow, outbox, pings).await;
        }
        let name = self.name_of(remote);
        let shown = name.to_str().into_owned();
        let handshake = self.0.tls.connector().connect(name, stream);
        match timeout(self.0.tls.handshake_limit(), handshake).await {
            Ok(Ok(stream)) => self.serve(stream, flow, outbox, pings).await,
            Ok(Err(error)) => tracing::warn!(%remote, name = shown, %error, "sip: no TLS with this peer"),
            Err(_) => tracing::warn!(%remote, name = shown, "sip: TLS handshake not finished in time"),
        }
    }

    fn register(
        &self,
        transport: Transport,
        remote: SocketAddr,
        first: Option<Bytes>,
    ) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        let (writer, outbox) = mpsc::channel(OUTBOX);
        let is_ours = first.is_some();
        if let Some(first) = first {
            writer.try_send(first).ok()?;
        }
        let mut open = self.0.open.lock();
        let from_there = |open: &HashMap<u64, Open>| open.values().filter(|c| c.remote.ip() == remote.ip()).count();
        let is_full = open.len() >= self.0.most;
        if is_full || (!is_ours && !is_near(remote.ip()) && from_there(&open) >= self.one_source()) {
            return None;
        }
        let connection = self.0.next.fetch_add(1, Ordering::Relaxed);
        open.insert(connection, Open { transport, remote, writer });
        Some((connection, outbox))
    }

    /// Connections that one source may hold.
    fn one_source(&self) -> usize {
        (self.0.most / 4).max(8)
    }

    fn flow(&self, transport: Transport, remote: SocketAddr, connection: u64) -> Flow {
        self.0.faces.flow(transport, remote, Some(connection))
    }
}

/// Takes TCP connections for as long as the transport lives; beyond the bound they are closed at once.
pub async fn accept(listener: TcpListener, streams: Streams) {
    loop {
        let (stream, remote) = next(&listener).await;
        let Some((connection, outbox)) = streams.register(Transport::Tcp, remote, None) else { continue };
        let streams = streams.clone();
        tokio::spawn(async move {
            let flow = streams.flow(Transport::Tcp, remote, connection);
            streams.serve(stream, flow, outbox, None).await;
            let _ = streams.0.inbox.send(FromStream::Closed { connection }).await;
        });
    }
}

/// Takes TLS connections likewise; beyond the handshakes that may go on at once they are closed, too.
pub async fn accept_tls(listener: TcpListener, streams: Streams) {
    let handshakes = Arc::new(Semaphore::new(streams.0.tls.max_handshakes()));
    loop {
        let (stream, remote) = next(&listener).await;
        let Ok(place) = Arc::clone(&handshakes).try_acquire_owned() else { continue };
        let Some(acceptor) = streams.0.tls.acceptor() else { continue };
        let Some((connection, outbox)) = streams.register(Transport::Tls, remote, None) else { continue };
        let streams = streams.clone();
        tokio::spawn(async move {
            // A handshake that fails is a scanner's or an expired certificate: common, and told at debug.
            match timeout(streams.0.tls.handshake_limit(), acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    drop(place);
                    let flow = streams.flow(Transport::Tls, remote, connection);
                    streams.serve(stream, flow, outbox, None).await;
                }
                Ok(Err(error)) => tracing::debug!(%remote, %error, "sip: TLS handshake refused"),
                Err(_) => tracing::debug!(%remote, "sip: TLS handshake not finished in time"),
            }
            let _ = streams.0.inbox.send(FromStream::Closed { connection }).await;
        });
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        if let Ok((stream, remote)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return (stream, remote);
        }
        // Out of descriptors: the next connection that ends makes room.
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Whether a source is this machine, whose proxies may hold as many connections as they like.
const fn is_near(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Messages of all connections that may wait for the driver; a full inbox makes the connections wait.
const INBOX: usize = 1024;

/// Messages that may wait for one slow connection; beyond that it counts as unreachable.
const OUTBOX: usize = 64;

/// Names that are remembered; there are as many as trunks have addresses.
const MOST_NAMES: usize = 4096;

const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Open {
    transport: Transport,
    remote: SocketAddr,
    writer: mpsc::Sender<Bytes>,
}
