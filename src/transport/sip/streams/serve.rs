//! One connection's life: its messages in, its messages out, its keep-alives, and when it is cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Flow, Framed, PONG, StreamFramer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};

use super::{FromStream, Streams};

impl Streams {
    /// Until it ends. `pings`: we opened it, so we keep it alive, every so often.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
        flow: Flow,
        outbox: mpsc::Receiver<Bytes>,
        pings: Option<Duration>,
    ) {
        let (reader, writer) = tokio::io::split(stream);
        let pulse = Pulse::default();
        tokio::select! {
            () = self.read(reader, flow, &pulse, pings.is_some()) => {}
            () = write(writer, outbox, &pulse, pings) => {}
        }
    }

    async fn read<R: AsyncRead + Unpin>(&self, mut reader: R, flow: Flow, pulse: &Pulse, is_ours: bool) {
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ];
        // Whoever connects has something to say.
        let mut until = Instant::now() + if is_ours { IDLE_LIMIT } else { FIRST_LIMIT };
        loop {
            let Ok(Ok(length @ 1..)) = timeout_at(until, reader.read(&mut buffer)).await else { return };
            let read = buffer.get(..length).unwrap_or_default();
            pulse.heard.store(true, Ordering::Relaxed);
            // The answer to a ping of ours, which the framer would take for the first half of one of theirs.
            if is_ours && framer.pending() == 0 && read == PONG {
                pulse.answers.store(true, Ordering::Relaxed);
                until = Instant::now() + IDLE_LIMIT;
                continue;
            }
            let mut whole = framer.pending() == 0;
            framer.push(read);
            loop {
                match framer.next_frame() {
                    Ok(Some(Framed::Message(bytes))) => {
                        whole = true;
                        if self.0.inbox.send(FromStream::Message { flow, bytes }).await.is_err() {
                            return;
                        }
                    }
                    Ok(Some(Framed::Ping)) => {
                        self.send(&flow, Bytes::from_static(PONG));
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

/// What the far side of a connection that we keep alive was heard of.
#[derive(Default)]
struct Pulse {
    /// It has answered a ping before, so it always will (RFC 5626 section 4.4.1); others are not held to it.
    answers: AtomicBool,
    /// Something came since the last ping.
    heard: AtomicBool,
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut outbox: mpsc::Receiver<Bytes>,
    pulse: &Pulse,
    pings: Option<Duration>,
) {
    let every = pings.unwrap_or(IDLE_LIMIT);
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let bytes = tokio::select! {
            bytes = outbox.recv() => match bytes {
                Some(bytes) => bytes,
                None => return,
            },
            _ = ticks.tick(), if pings.is_some() => {
                let heard = pulse.heard.swap(false, Ordering::Relaxed);
                if !heard && pulse.answers.load(Ordering::Relaxed) {
                    return;
                }
                Bytes::from_static(PING)
            }
        };
        let sent = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if !matches!(timeout(WRITE_LIMIT, sent).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// RFC 5626 section 3.5.1.
const PING: &[u8] = b"\r\n\r\n";

const READ: usize = 8192;

/// To the first whole message of a peer that connected.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
const UNFINISHED_LIMIT: Duration = Duration::from_secs(30);
const IDLE_LIMIT: Duration = Duration::from_secs(600);
const WRITE_LIMIT: Duration = Duration::from_secs(10);
