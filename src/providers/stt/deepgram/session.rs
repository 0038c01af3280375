//! The life of one session: the only task that owns its socket, its replay buffer and its transcript. It ends when the
//! caller's audio ends and the last words are in, when nobody reads the events, or when the vendor is lost for good.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use offhook_media::Frame;
use offhook_media::g711::G711;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Raw};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::flux::Turns;
use super::replay::{Octets, Replay};
use super::transcript::Transcript;
use super::wire::{CLOSE_STREAM, KEEP_ALIVE, Message, handshake};
use super::{Protocol, Settings, VENDOR};
use crate::providers::http::{in_time, protocol, refusal};
use crate::providers::{FrameReceiver, Language, ListenRequest, ProviderError, SttEvent};

/// Opens the first connection; the session goes on by itself from there.
pub(super) async fn open(
    settings: Settings,
    request: ListenRequest,
) -> Result<mpsc::Receiver<SttEvent>, ProviderError> {
    let ListenRequest { language, hints, audio } = request;
    let (events, receiver) = mpsc::channel(MOST_EVENTS);
    let replay = Replay::new(settings.replay);
    let words = Words::new(&settings.protocol);
    let mut session = Session { settings, language, hints, audio, audio_over: false, replay, words, events };
    let socket = session.connect().await?;
    tokio::spawn(session.run(socket));
    Ok(receiver)
}

struct Session {
    settings: Settings,
    language: Language,
    hints: Vec<String>,
    audio: FrameReceiver,
    audio_over: bool,
    replay: Replay,
    words: Words,
    events: mpsc::Sender<SttEvent>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a connection is over.
enum End {
    /// The audio is over and its words are in, or nobody listens.
    Session,
    /// To be opened again.
    Lost(ProviderError),
}

impl Session {
    async fn run(mut self, mut socket: Socket) {
        let mut failures = 0;
        loop {
            let mut line = Line::new(socket);
            let lost = match self.serve(&mut line).await {
                End::Session => return,
                End::Lost(error) => error,
            };
            if line.was_useful {
                failures = 0;
            }
            drop(line);
            tracing::warn!(error = %lost, "recogniser session lost");
            socket = match self.reconnect(lost, &mut failures).await {
                Some(socket) => socket,
                None => return,
            };
        }
    }

    /// Opens a connection while the caller's frames are kept.
    async fn connect(&mut self) -> Result<Socket, ProviderError> {
        let request = handshake(&self.settings, &self.language, &self.hints)?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE))
            .max_write_buffer_size(MOST_UNSENT);
        let connecting = Box::pin(connect_async_with_config(request, Some(limits), true));
        let connecting = in_time(VENDOR, "connection", self.settings.connect, connecting);
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => {
                    return connected?.map(|(socket, _)| socket).map_err(failure);
                }
                frame = self.audio.recv(), if !self.audio_over => self.keep(frame),
            }
        }
    }

    /// Tries again a few times, ever later; `None` when the session is over.
    async fn reconnect(&mut self, mut error: ProviderError, failures: &mut u32) -> Option<Socket> {
        loop {
            *failures += 1;
            let hopeless = matches!(error, ProviderError::Unauthorized { .. } | ProviderError::NotConfigured { .. });
            if hopeless || *failures > MOST_FAILURES {
                let _ = self.events.send(SttEvent::Failed(error)).await;
                return None;
            }
            if self.events.send(SttEvent::Reconnecting).await.is_err() {
                return None;
            }
            self.pause(backoff(*failures, &error)).await;
            match self.connect().await {
                Ok(socket) => return Some(socket),
                Err(again) => error = again,
            }
        }
    }

    async fn pause(&mut self, length: Duration) {
        let until = Instant::now() + length;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.events.closed() => return,
                frame = self.audio.recv(), if !self.audio_over => self.keep(frame),
            }
        }
    }

    fn keep(&mut self, frame: Option<Frame>) {
        match frame {
            Some(frame) => self.replay.push(encode(&frame)),
            None => self.audio_over = true,
        }
    }

    async fn serve(&mut self, line: &mut Line) -> End {
        match self.serve_until_lost(line).await {
            Ok(()) => End::Session,
            Err(error) => End::Lost(error),
        }
    }

    async fn serve_until_lost(&mut self, line: &mut Line) -> Result<(), ProviderError> {
        let (base, frames) = self.replay.since(self.words.resume_at());
        for octets in frames {
            line.send_audio(octets).await?;
        }
        self.words.rebase(base);
        if self.audio_over {
            line.close_stream().await?;
        }
        loop {
            tokio::select! {
                () = self.events.closed() => return Ok(()),
                frame = self.audio.recv(), if !self.audio_over => {
                    self.send(line, frame).await?;
                }
                raw = line.incoming.next() => {
                    if self.take(line, raw).await? {
                        return Ok(());
                    }
                }
                _ = line.checks.tick() => {
                    if line.check(&self.settings)? {
                        self.keep_alive(line).await?;
                    }
                }
            }
        }
    }

    async fn send(&mut self, line: &mut Line, frame: Option<Frame>) -> Result<(), ProviderError> {
        match frame {
            Some(frame) => {
                let octets = encode(&frame);
                self.replay.push(octets);
                line.send_audio(&octets).await
            }
            None => {
                self.audio_over = true;
                line.close_stream().await
            }
        }
    }

    /// Handles one thing from the socket; true when the session is over.
    async fn take(&mut self, line: &mut Line, raw: Option<tungstenite::Result<Raw>>) -> Result<bool, ProviderError> {
        let text = match raw {
            None | Some(Ok(Raw::Close(_))) if line.closing => return Ok(true),
            None => return Err(lost("closed by the vendor")),
            Some(Ok(Raw::Close(frame))) => return Err(lost(&close_reason(frame.as_ref()))),
            Some(Err(error)) => return Err(failure(error)),
            Some(Ok(Raw::Text(text))) => text,
            Some(Ok(Raw::Binary(_))) => return Err(protocol(VENDOR, "a binary message")),
            Some(Ok(_)) => return Ok(false),
        };
        let message = Message::parse(&text).map_err(|what| protocol(VENDOR, what))?;
        line.heard();
        if let Message::Error(code) = message {
            return Err(lost(&format!("given up by the vendor with {code}")));
        }
        let last = line.closing && message == Message::Metadata;
        line.was_useful |= matches!(message, Message::Results(_) | Message::Turn(_));
        for event in self.words.take(message) {
            self.tell(event).await;
        }
        Ok(last)
    }

    /// Where a message would be an error, silence keeps a session alive; it counts as audio of the caller.
    async fn keep_alive(&mut self, line: &mut Line) -> Result<(), ProviderError> {
        match self.settings.protocol {
            Protocol::Results { .. } => line.send(Raw::text(KEEP_ALIVE)).await,
            Protocol::Turns { .. } => self.send(line, Some(offhook_media::SILENCE)).await,
        }
    }

    /// Interim words give way when the reader is slow; everything else waits for it.
    async fn tell(&mut self, event: SttEvent) {
        if matches!(event, SttEvent::Interim(_)) {
            let _ = self.events.try_send(event);
        } else {
            // A reader that has gone is noticed by the loop.
            let _ = self.events.send(event).await;
        }
    }
}

/// One connection and when it last gave and took.
struct Line {
    outgoing: SplitSink<Socket, Raw>,
    incoming: SplitStream<Socket>,
    last_sent: Instant,
    last_heard: Instant,
    /// Frames sent since anything was heard.
    unanswered: u32,
    /// `CloseStream` is sent; since then no more than `Settings::last_words` is waited.
    closing: bool,
    was_useful: bool,
    checks: Interval,
}

impl Line {
    fn new(socket: Socket) -> Self {
        let (outgoing, incoming) = socket.split();
        let now = Instant::now();
        Self {
            outgoing,
            incoming,
            last_sent: now,
            last_heard: now,
            unanswered: 0,
            closing: false,
            was_useful: false,
            checks: interval(CHECK_EVERY),
        }
    }

    async fn send_audio(&mut self, octets: &Octets) -> Result<(), ProviderError> {
        self.unanswered = self.unanswered.saturating_add(1);
        self.send(Raw::binary(octets.to_vec())).await
    }

    async fn close_stream(&mut self) -> Result<(), ProviderError> {
        self.closing = true;
        self.last_heard = Instant::now();
        self.send(Raw::text(CLOSE_STREAM)).await
    }

    async fn send(&mut self, message: Raw) -> Result<(), ProviderError> {
        self.last_sent = Instant::now();
        let sent = timeout(STUCK, self.outgoing.send(message)).await;
        let late = ProviderError::Timeout { vendor: VENDOR, what: "room to send", after: STUCK };
        sent.map_err(|_| late)?.map_err(failure)
    }

    fn heard(&mut self) {
        self.last_heard = Instant::now();
        self.unanswered = 0;
    }

    /// Whether an idle session has to be kept alive; ends one to which audio goes and from which nothing comes.
    fn check(&self, settings: &Settings) -> Result<bool, ProviderError> {
        let silent = self.last_heard.elapsed();
        if self.closing && silent >= settings.last_words {
            return Err(ProviderError::Timeout { vendor: VENDOR, what: "last words", after: settings.last_words });
        }
        if self.unanswered >= FEW_FRAMES && silent >= settings.watchdog {
            return Err(ProviderError::Timeout {
                vendor: VENDOR,
                what: "answer to the audio",
                after: settings.watchdog,
            });
        }
        Ok(!self.closing && self.last_sent.elapsed() >= settings.keep_alive)
    }
}

/// What was recognised, as the protocol tells it.
enum Words {
    Results(Transcript),
    Turns(Turns),
}

impl Words {
    fn new(protocol: &Protocol) -> Self {
        match protocol {
            Protocol::Results { .. } => Self::Results(Transcript::default()),
            Protocol::Turns { .. } => Self::Turns(Turns::default()),
        }
    }

    fn resume_at(&self) -> Duration {
        match self {
            Self::Results(transcript) => transcript.resume_at(),
            Self::Turns(turns) => turns.resume_at(),
        }
    }

    fn rebase(&mut self, base: Duration) {
        match self {
            Self::Results(transcript) => transcript.rebase(base),
            Self::Turns(turns) => turns.rebase(base),
        }
    }

    fn take(&mut self, message: Message) -> Vec<SttEvent> {
        match (self, message) {
            (Self::Results(transcript), message) => transcript.take(message),
            (Self::Turns(turns), Message::Turn(info)) => turns.take(info),
            (Self::Turns(_), _) => Vec::new(),
        }
    }
}

fn encode(frame: &Frame) -> Octets {
    let mut octets = [0; offhook_media::FRAME];
    G711::Ulaw.encode(frame, &mut octets);
    octets
}

fn backoff(failures: u32, error: &ProviderError) -> Duration {
    let usual = FIRST_BACKOFF * 2u32.saturating_pow(failures.saturating_sub(1));
    match error {
        ProviderError::RateLimited { retry_after: Some(after), .. } => usual.max(*after).min(LONGEST_BACKOFF),
        _ if failures <= 1 => Duration::ZERO,
        _ => usual.min(LONGEST_BACKOFF),
    }
}

fn failure(error: tungstenite::Error) -> ProviderError {
    match error {
        tungstenite::Error::Http(response) => refusal(VENDOR, response.status(), response.headers()),
        tungstenite::Error::Io(e) => ProviderError::Connection { vendor: VENDOR, what: e.kind().to_string() },
        tungstenite::Error::Protocol(e) => protocol(VENDOR, e.to_string()),
        tungstenite::Error::Capacity(_) => protocol(VENDOR, format!("a message of over {LONGEST_MESSAGE} bytes")),
        tungstenite::Error::Utf8(_) => protocol(VENDOR, "text that is not UTF-8"),
        tungstenite::Error::Tls(_) => lost("TLS"),
        tungstenite::Error::WriteBufferFull(_) => lost("too much unsent audio"),
        _ => lost("closed"),
    }
}

/// The close code alone: the reason text is the vendor's and may hold anything.
fn close_reason(frame: Option<&tungstenite::protocol::CloseFrame>) -> String {
    frame.map_or_else(
        || "closed without a code".to_owned(),
        |frame| format!("closed with code {}", u16::from(frame.code)),
    )
}

fn lost(what: &str) -> ProviderError {
    ProviderError::Connection { vendor: VENDOR, what: what.to_owned() }
}

const MOST_EVENTS: usize = 64;
const MOST_FAILURES: u32 = 5;
const LONGEST_MESSAGE: usize = 256 << 10;
/// Above the replay of 10 s (80 kB).
const MOST_UNSENT: usize = 512 << 10;
const FIRST_BACKOFF: Duration = Duration::from_millis(125);
const LONGEST_BACKOFF: Duration = Duration::from_secs(4);
/// A socket that takes nothing for so long is lost.
const STUCK: Duration = Duration::from_secs(2);
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// Half a second of audio.
const FEW_FRAMES: u32 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_and_later_ones_wait_longer() {
        let error = lost("x");
        let waits: Vec<Duration> = (1..=5).map(|failures| backoff(failures, &error)).collect();
        assert!(waits[0].is_zero() && waits.is_sorted() && waits[4] == Duration::from_secs(2), "{waits:?}");
        let limited =
            |after| ProviderError::RateLimited { vendor: VENDOR, retry_after: Some(Duration::from_secs(after)) };
        assert_eq!(backoff(1, &limited(2)), Duration::from_secs(2));
        assert_eq!(backoff(1, &limited(3600)), LONGEST_BACKOFF);
    }
}
