//! Twilio's side of a call by hand: the signed webhook, the TwiML, the media WebSocket, and the buffer that plays what
//! the server sends in real time and returns its marks. The messages and the buffer are the simulator's, which are
//! written apart from the server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offhook::sim::http::form;
use offhook::sim::playout::{Played, Playout};
use offhook::sim::twilio_wire::{CallNames, FromServer, StreamTo, Writer, read, signature, stream_to};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Host, PATIENCE, QUIET, TOKEN};

/// One call as Twilio carries it.
pub struct Edge {
    pub socket: WebSocketStream<TcpStream>,
    pub writer: Writer,
    playout: Playout,
    opened: Instant,
    /// Everything that the server has sent, and when it came.
    pub log: Vec<(Instant, FromServer)>,
    /// Marks as they were returned, and whether the audio before them was played.
    pub returned: Vec<String>,
    /// What the caller has heard.
    pub heard: Vec<u8>,
    /// Longest stretch of audio that was sent ahead of real time.
    pub lead: Duration,
    sent: Option<(Instant, Duration)>,
    /// Code of the server's close frame; 1005 for one without a code, 1006 for an end without one.
    pub closed: Option<u16>,
    pub answers_marks: bool,
}

/// Fresh names of a call.
pub fn names() -> CallNames {
    CallNames::new(rand::random)
}

/// Posts the signed webhook of a call, and gives the status and the body of the answer.
pub async fn webhook(host: &Host, names: &CallNames, called: &str) -> (u16, String) {
    let parameters = [
        ("AccountSid", names.account.as_str()),
        ("CallSid", names.call.as_str()),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", "+15550100"),
        ("To", called),
    ];
    post(host, "/webhook/call", &parameters).await
}

/// Posts a signed form.
pub async fn post(host: &Host, path: &str, parameters: &[(&str, &str)]) -> (u16, String) {
    let signed = signature(TOKEN, &format!("http://{}{path}", host.http), parameters);
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", signed.as_str())];
    host.http("POST", path, &headers, form(parameters).as_bytes()).await
}

/// Opens the media WebSocket; the error is the status of the refused upgrade.
pub async fn upgrade(host: &Host, url: &str, signed: Option<&str>) -> Result<WebSocketStream<TcpStream>, u16> {
    let mut request = url.into_client_request().unwrap();
    if let Some(signed) = signed {
        request.headers_mut().insert("x-twilio-signature", signed.parse().unwrap());
    }
    let stream = TcpStream::connect(host.http).await.unwrap();
    stream.set_nodelay(true).unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

impl Edge {
    /// The webhook and the WebSocket of a call, nothing said yet.
    pub async fn open(host: &Host, called: &str) -> (Self, StreamTo) {
        let names = names();
        let (status, twiml) = webhook(host, &names, called).await;
        assert_eq!(status, 200, "{twiml}");
        let stream = stream_to(&twiml).unwrap_or_else(|error| panic!("{error}: {twiml}"));
        (Self::connect(host, names, &stream.url).await, stream)
    }

    pub async fn connect(host: &Host, names: CallNames, url: &str) -> Self {
        let signed = signature(TOKEN, url, &[]);
        let socket = upgrade(host, url, Some(&signed)).await.unwrap();
        Self {
            socket,
            writer: Writer::new(names),
            playout: Playout::default(),
            opened: Instant::now(),
            log: Vec::new(),
            returned: Vec::new(),
            heard: Vec::new(),
            lead: Duration::ZERO,
            sent: None,
            closed: None,
            answers_marks: true,
        }
    }

    /// A call whose stream has begun.
    pub async fn call(host: &Host, called: &str) -> Self {
        let (mut edge, stream) = Self::open(host, called).await;
        edge.begin(&stream.parameters).await;
        edge
    }

    pub async fn begin(&mut self, parameters: &[(String, String)]) {
        let (connected, start) = (self.writer.connected(), self.writer.start(parameters));
        self.say(connected).await;
        self.say(start).await;
    }

    pub async fn say(&mut self, text: String) {
        self.send(Message::text(text)).await;
    }

    /// A socket that the server has closed takes nothing; that is seen by the next look at it.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Sends these frames of the caller, one each 20 ms, then silence; plays what comes. Ends early when the server
    /// closes the socket.
    pub async fn talk(&mut self, frames: &[[u8; 160]], span: Duration) {
        let began = Instant::now();
        for tick in 1..=(span.as_millis() / 20) as usize {
            let frame = frames.get(tick - 1).unwrap_or(&QUIET);
            let media = self.writer.media(self.now().as_millis() as u64, frame);
            self.say(media).await;
            if self.receive_until(began + Duration::from_millis(20) * tick as u32).await {
                return;
            }
        }
    }

    /// Sends silence until the server closes the socket or says what is wanted.
    pub async fn talk_until(&mut self, wanted: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(40);
        while self.closed.is_none() && !wanted(self) {
            assert!(
                Instant::now() < until,
                "it never came: {} messages, heard {} ms",
                self.log.len(),
                self.heard.len() / 8
            );
            self.talk(&[], Duration::from_millis(100)).await;
        }
    }

    pub async fn press(&mut self, key: char) {
        let dtmf = self.writer.dtmf(key);
        self.say(dtmf).await;
    }

    /// The code with which the server closes the socket.
    pub async fn close_code(&mut self) -> u16 {
        let until = Instant::now() + PATIENCE;
        while self.closed.is_none() {
            assert!(Instant::now() < until, "the socket stays open");
            self.receive_until(Instant::now() + Duration::from_millis(100)).await;
        }
        self.closed.unwrap()
    }

    /// Takes and plays what comes up to a time; whether the socket is closed.
    pub async fn receive_until(&mut self, until: Instant) -> bool {
        while let Ok(message) = timeout_at(until, self.socket.next()).await {
            match message {
                Some(Ok(Message::Text(text))) => self.take(&text),
                Some(Ok(Message::Close(frame))) => {
                    self.closed = self.closed.or(Some(frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.closed = self.closed.or(Some(1006));
                    return true;
                }
            }
            self.play().await;
        }
        sleep_until(until).await;
        self.play().await;
        self.closed.is_some()
    }

    fn take(&mut self, text: &str) {
        let (at, now) = (Instant::now(), self.now());
        let message = read(text, &self.writer.names().stream).unwrap_or_else(|error| panic!("{error}: {text}"));
        match &message {
            FromServer::Media(octets) => {
                self.playout.media(now, octets);
                let (first, sent) = self.sent.get_or_insert((at, Duration::ZERO));
                *sent += Duration::from_micros(125) * octets.len() as u32;
                let elapsed = at - *first;
                match sent.checked_sub(elapsed) {
                    Some(lead) => self.lead = self.lead.max(lead),
                    None => self.sent = Some((at, Duration::ZERO)),
                }
            }
            FromServer::Mark(name) => self.playout.mark(now, name.clone()),
            FromServer::Clear => {
                self.playout.clear(now);
                self.sent = None;
            }
        }
        self.log.push((at, message));
    }

    async fn play(&mut self) {
        self.playout.advance(self.now());
        while let Some(played) = self.playout.pop() {
            match played {
                Played::Audio { octets, .. } => self.heard.extend(octets),
                Played::Mark { name, .. } => {
                    let mark = self.writer.mark(&name);
                    self.returned.push(name);
                    if self.answers_marks {
                        self.say(mark).await;
                    }
                }
                Played::Underrun { .. } => {}
            }
        }
    }

    pub fn marks(&self) -> Vec<&str> {
        self.log
            .iter()
            .filter_map(|(_, m)| if let FromServer::Mark(name) = m { Some(name.as_str()) } else { None })
            .collect()
    }

    pub fn media_messages(&self) -> usize {
        self.log.iter().filter(|(_, message)| matches!(message, FromServer::Media(_))).count()
    }

    /// When the server told Twilio to throw away what it had not played.
    pub fn cleared_at(&self) -> Option<Instant> {
        self.log.iter().find(|(_, message)| *message == FromServer::Clear).map(|(at, _)| *at)
    }

    /// Hangs up as Twilio does: `stop`, then the socket is closed.
    pub async fn hang_up(&mut self) {
        let stop = self.writer.stop();
        self.say(stop).await;
        let _ = timeout(PATIENCE, self.socket.close(None)).await;
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }
}
