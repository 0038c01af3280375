//! SIP over TCP: connections in and out, framed, bounded, cut when a message is left unfinished.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Flow, Framed, PONG, StreamFramer, Transport};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// What connections say to the driver.
pub enum FromStream {
    Message { flow: Flow, bytes: Bytes },
    Closed { connection: u64 },
}

/// The open connections. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    local: SocketAddr,
    most: usize,
    next: Arc<AtomicU64>,
    open: Arc<Mutex<HashMap<u64, Open>>>,
    inbox: mpsc::Sender<FromStream>,
}

impl Streams {
    pub fn new(local: SocketAddr, most: usize) -> (Self, mpsc::Receiver<FromStream>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        (Self { local, most, next: Arc::default(), open: Arc::default(), inbox }, messages)
    }

    /// Sends on the flow's connection, or on one to its remote address, which is made when there is none.
    /// `false`: it cannot be sent.
    pub fn send(&self, flow: &Flow, bytes: Bytes) -> bool {
        let writer = {
            let open = self.open.lock();
            match flow.connection {
                Some(connection) => open.get(&connection).map(|c| c.writer.clone()),
                None => open.values().find(|c| c.remote == flow.remote).map(|c| c.writer.clone()),
            }
        };
        match (writer, flow.connection) {
            (Some(writer), _) => writer.try_send(bytes).is_ok(),
            (None, Some(_)) => false,
            (None, None) => self.connect(flow.remote, bytes),
        }
    }

    /// Forgets a connection that has ended.
    pub fn closed(&self, connection: u64) {
        self.open.lock().remove(&connection);
    }

    fn connect(&self, remote: SocketAddr, first: Bytes) -> bool {
        let Some((connection, outbox)) = self.register(remote, Some(first)) else { return false };
        let streams = self.clone();
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(CONNECT_LIMIT, TcpStream::connect(remote)).await {
                streams.serve(stream, connection, remote, outbox).await;
            }
            let _ = streams.inbox.send(FromStream::Closed { connection }).await;
        });
        true
    }

    fn register(&self, remote: SocketAddr, first: Option<Bytes>) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        let (writer, outbox) = mpsc::channel(OUTBOX);
        if let Some(first) = first {
            writer.try_send(first).ok()?;
        }
        let mut open = self.open.lock();
        if open.len() >= self.most {
            return None;
        }
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(connection, Open { remote, writer });
        Some((connection, outbox))
    }

    async fn serve(&self, stream: TcpStream, connection: u64, remote: SocketAddr, outbox: mpsc::Receiver<Bytes>) {
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        tokio::select! {
            () = self.read(reader, connection, remote) => {}
            () = write(writer, outbox) => {}
        }
    }

    async fn read(&self, mut reader: OwnedReadHalf, connection: u64, remote: SocketAddr) {
        let flow = Flow { transport: Transport::Tcp, local: self.local, remote, connection: Some(connection) };
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ];
        let mut until = Instant::now() + IDLE_LIMIT;
        loop {
            let Ok(Ok(length @ 1..)) = timeout_at(until, reader.read(&mut buffer)).await else { return };
            let mut whole = framer.pending() == 0;
            framer.push(buffer.get(..length).unwrap_or_default());
            loop {
                match framer.next_frame() {
                    Ok(Some(Framed::Message(bytes))) => {
                        whole = true;
                        if self.inbox.send(FromStream::Message { flow, bytes }).await.is_err() {
                            return;
                        }
                    }
                    Ok(Some(Framed::Ping)) => {
                        let pong = Bytes::from_static(PONG);
                        self.send(&flow, pong);
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            if framer.pending() == 0 {
                until = Instant::now() + IDLE_LIMIT;
            } else if whole {
                // Counted from its first byte: more of it does not buy more time.
                until = Instant::now() + UNFINISHED_LIMIT;
            }
        }
    }
}

/// Takes connections for as long as the transport lives; beyond the bound they are closed at once.
pub async fn accept(listener: TcpListener, streams: Streams) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors: the next connection that ends makes room.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some((connection, outbox)) = streams.register(remote, None) else { continue };
        let streams = streams.clone();
        tokio::spawn(async move {
            streams.serve(stream, connection, remote, outbox).await;
            let _ = streams.inbox.send(FromStream::Closed { connection }).await;
        });
    }
}

/// Messages of all connections that may wait for the driver; a full inbox makes the connections wait.
const INBOX: usize = 1024;

/// Messages that may wait for one slow connection; beyond that it counts as unreachable.
const OUTBOX: usize = 64;

const READ: usize = 8192;
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const UNFINISHED_LIMIT: Duration = Duration::from_secs(30);
const IDLE_LIMIT: Duration = Duration::from_secs(600);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Open {
    remote: SocketAddr,
    writer: mpsc::Sender<Bytes>,
}

async fn write(mut writer: OwnedWriteHalf, mut outbox: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = outbox.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
