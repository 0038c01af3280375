//! The life of one session: the only task that owns its socket. It ends when the caller's audio ends and the last words are in,
//! when nobody reads the events, or when the vendor is lost.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use offhook_media::Frame;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Raw};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::wire::{Message, audio, pcm, speech_config, wav_head};
use super::{Settings, VENDOR, locale};
use crate::providers::http::{in_time, protocol, refusal};
use crate::providers::{FrameReceiver, ListenRequest, ProviderError, SttEvent};

/// Opens the connection; the session goes on by itself from there.
pub(super) async fn open(
    settings: Settings,
    request: ListenRequest,
) -> Result<mpsc::Receiver<SttEvent>, ProviderError> {
    let (events, receiver) = mpsc::channel(EVENTS);
    let socket = connect(&settings, &locale(&request.language)).await?;
    let (outgoing, incoming) = socket.split();
    let now = Instant::now();
    let mut session = Session {
        watchdog: settings.watchdog,
        request: uuid::Uuid::now_v7().simple().to_string(),
        audio: request.audio,
        audio_over: false,
        events,
        outgoing,
        incoming,
        last_heard: now,
        unanswered: 0,
        checks: interval(CHECK_EVERY),
    };
    session.send(Raw::text(speech_config())).await?;
    session.send(Raw::binary(audio(&session.request, &wav_head()))).await?;
    tokio::spawn(session.run());
    Ok(receiver)
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(settings: &Settings, locale: &str) -> Result<Socket, ProviderError> {
    let mut url = settings.url.clone();
    url.query_pairs_mut().append_pair("language", locale).append_pair("format", "detailed");
    let mut request = url.as_str().into_client_request().map_err(|e| protocol(VENDOR, e.to_string()))?;
    let connection = HeaderValue::from_str(&uuid::Uuid::now_v7().simple().to_string());
    let connection = connection.map_err(|_| protocol(VENDOR, "a connection id"))?;
    request.headers_mut().insert("ocp-apim-subscription-key", settings.key.clone());
    request.headers_mut().insert("x-connectionid", connection);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
        .max_write_buffer_size(MOST_UNSENT);
    let connecting = Box::pin(connect_async_with_config(request, Some(limits), true));
    let connected = in_time(VENDOR, "connection", settings.connect, connecting).await?;
    connected.map(|(socket, _)| socket).map_err(failure)
}

struct Session {
    watchdog: Duration,
    request: String,
    audio: FrameReceiver,
    audio_over: bool,
    events: mpsc::Sender<SttEvent>,
    outgoing: SplitSink<Socket, Raw>,
    incoming: SplitStream<Socket>,
    /// When the vendor last told something, or what it has not answered began.
    last_heard: Instant,
    /// Loud frames sent since a phrase was settled.
    unanswered: u32,
    checks: Interval,
}

impl Session {
    async fn run(mut self) {
        if let Err(error) = self.serve().await {
            tracing::warn!(%error, "recogniser session lost");
            // Whoever listened may be gone.
            let _ = self.events.send(SttEvent::Failed(error)).await;
        }
    }

    async fn serve(&mut self) -> Result<(), ProviderError> {
        loop {
            tokio::select! {
                () = self.events.closed() => return Ok(()),
                frame = self.audio.recv(), if !self.audio_over => self.hear(frame).await?,
                raw = self.incoming.next() => {
                    if self.take(raw).await? {
                        return Ok(());
                    }
                }
                _ = self.checks.tick() => self.check()?,
            }
        }
    }

    async fn hear(&mut self, frame: Option<Frame>) -> Result<(), ProviderError> {
        let octets = match frame {
            Some(frame) => {
                if is_loud(&frame) {
                    if self.unanswered == 0 {
                        self.last_heard = Instant::now();
                    }
                    self.unanswered = self.unanswered.saturating_add(1);
                }
                pcm(&frame)
            }
            None => {
                self.audio_over = true;
                self.last_heard = Instant::now();
                Vec::new()
            }
        };
        self.send(Raw::binary(audio(&self.request, &octets))).await
    }

    /// Handles one thing from the socket; true when the session is over.
    async fn take(&mut self, raw: Option<tungstenite::Result<Raw>>) -> Result<bool, ProviderError> {
        let text = match raw {
            None | Some(Ok(Raw::Close(_))) if self.audio_over => return Ok(true),
            None => return Err(lost("closed by the vendor")),
            Some(Ok(Raw::Close(frame))) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(lost(&format!("closed with code {code}")));
            }
            Some(Err(error)) => return Err(failure(error)),
            Some(Ok(Raw::Text(text))) => text,
            Some(Ok(_)) => return Ok(false),
        };
        let message = Message::parse(&text).map_err(|what| protocol(VENDOR, what))?;
        if message != Message::Other {
            self.last_heard = Instant::now();
        }
        // Words that may change settle nothing.
        if !matches!(message, Message::Other | Message::Hypothesis(_)) {
            self.unanswered = 0;
        }
        match message {
            Message::Hypothesis(words) => {
                // Interim words give way when the reader is slow.
                let _ = self.events.try_send(SttEvent::Interim(words));
            }
            Message::Phrase(words) => {
                self.tell(SttEvent::Final(words)).await;
                self.tell(SttEvent::SpeechEnded).await;
            }
            Message::NoWords | Message::Other => {}
            Message::Error(status) => return Err(protocol(VENDOR, format!("recognition ended with {status}"))),
            Message::TurnEnd if self.audio_over => return Ok(true),
            // The vendor ends a turn after ten minutes or so.
            Message::TurnEnd => return Err(lost("the turn was ended by the vendor")),
        }
        Ok(false)
    }

    async fn tell(&mut self, event: SttEvent) {
        // A reader that has gone is noticed by the loop.
        let _ = self.events.send(event).await;
    }

    async fn send(&mut self, message: Raw) -> Result<(), ProviderError> {
        let sent = timeout(STUCK, self.outgoing.send(message)).await;
        let late = ProviderError::Timeout { vendor: VENDOR, what: "room to send", after: STUCK };
        sent.map_err(|_| late)?.map_err(failure)
    }

    /// Ends a session to which speech goes and from which nothing comes.
    fn check(&self) -> Result<(), ProviderError> {
        let silent = self.last_heard.elapsed();
        if self.audio_over && silent >= LAST_WORDS {
            return Err(ProviderError::Timeout { vendor: VENDOR, what: "last words", after: LAST_WORDS });
        }
        if self.unanswered >= FEW_FRAMES && silent >= self.watchdog {
            return Err(ProviderError::Timeout { vendor: VENDOR, what: "answer to the audio", after: self.watchdog });
        }
        Ok(())
    }
}

fn is_loud(frame: &Frame) -> bool {
    frame.iter().map(|&sample| u64::from(sample.unsigned_abs()).pow(2)).sum::<u64>() > LOUD * frame.len() as u64
}

fn failure(error: tungstenite::Error) -> ProviderError {
    match error {
        tungstenite::Error::Http(response) => refusal(VENDOR, response.status(), response.headers()),
        tungstenite::Error::Io(e) => ProviderError::Connection { vendor: VENDOR, what: e.kind().to_string() },
        tungstenite::Error::Protocol(e) => lost(&e.to_string()),
        tungstenite::Error::Capacity(_) => protocol(VENDOR, format!("a message of over {LONGEST_MESSAGE} bytes")),
        tungstenite::Error::Utf8(_) => protocol(VENDOR, "text that is not UTF-8"),
        tungstenite::Error::Tls(_) => lost("TLS"),
        tungstenite::Error::WriteBufferFull(_) => lost("too much unsent audio"),
        _ => lost("closed"),
    }
}

fn lost(what: &str) -> ProviderError {
    ProviderError::Connection { vendor: VENDOR, what: what.to_owned() }
}

const EVENTS: usize = 64;
const LONGEST_MESSAGE: usize = 256 << 10;
/// Above what is heard again after a loss: 10 s (160 kB).
const MOST_UNSENT: usize = 512 << 10;
/// A socket that takes nothing for so long is lost.
const STUCK: Duration = Duration::from_secs(2);
const CHECK_EVERY: Duration = Duration::from_millis(100);
const LAST_WORDS: Duration = Duration::from_secs(3);
/// A second of speech.
const FEW_FRAMES: u32 = 50;
/// Mean square of -45 dBFS; softer than this is nobody.
const LOUD: u64 = 184 * 184;
