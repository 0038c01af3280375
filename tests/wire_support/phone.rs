//! A telephone by hand: SIP as text over UDP or TCP, and RTP. Nothing of it is the product's own SIP, so that what one
//! side misreads the other one sees. (Its RTP packets are those of the simulator, which are written apart as well.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook::sim::rtp_wire;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Host, PATIENCE, QUIET, loudest};

/// One telephone, with at most one call.
pub struct Phone {
    line: Line,
    local: SocketAddr,
    server: SocketAddr,
    pub media: UdpSocket,
    pub sender: rtp_wire::Sender,
    pub call_id: String,
    pub from_tag: String,
    pub to_tag: Option<String>,
    number: String,
    cseq: u32,
    branch: u64,
    /// Where the answer wants our packets.
    pub far_media: Option<SocketAddr>,
}

enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    Tls(Box<TlsStream<TcpStream>>, Vec<u8>),
}

/// A SIP message that came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub text: String,
}

impl Heard {
    /// The status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        let word = self.text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.split(' ').next());
        word.map_or(0, |word| word.parse().unwrap())
    }

    pub fn is_request(&self, method: &str) -> bool {
        self.text.starts_with(&format!("{method} "))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn method(&self) -> &str {
        self.header("CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default()
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// An RTP packet that came.
#[derive(Clone, Debug)]
pub struct Packet {
    pub at: Instant,
    pub from: SocketAddr,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload_type: u8,
    pub payload: Vec<u8>,
}

/// The audio of some packets, one after the other.
pub fn audio_of(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.payload.iter().copied()).collect()
}

async fn hear_on<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>, until: Instant) -> Option<Heard> {
    loop {
        if let Some(text) = whole_message(buffer) {
            return Some(Heard { text });
        }
        let mut bytes = [0; 4096];
        match timeout_at(until, stream.read(&mut bytes)).await.ok()? {
            Ok(length @ 1..) => buffer.extend_from_slice(&bytes[..length]),
            _ => return None,
        }
    }
}

/// An offer of mu-law and keys, with another direction or address where told. Reports go to the discard port: the port
/// above may be some other test's.
pub fn offer(address: &str, port: u16, direction: &str) -> String {
    format!(
        "v=0\r\no=- 7 {port} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:9\r\na={direction}\r\n"
    )
}

impl Phone {
    pub async fn udp(host: &Host) -> Self {
        Self::udp_to(host.sip).await
    }

    /// Of a server in another process.
    pub async fn udp_to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        Self::new(Line::Udp(socket), local, server).await
    }

    pub async fn tcp(host: &Host) -> Self {
        let stream = TcpStream::connect(host.sip).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        Self::new(Line::Tcp(stream, Vec::new()), local, host.sip).await
    }

    /// Over TLS to `server`, whose certificate must show `name`.
    pub async fn tls(server: SocketAddr, name: &str, config: ClientConfig) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        let local = stream.local_addr()?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Self::new(Line::Tls(Box::new(stream), Vec::new()), local, server).await)
    }

    /// A telephone behind a socket that there is already.
    pub async fn on(socket: UdpSocket, host: &Host) -> Self {
        let local = socket.local_addr().unwrap();
        Self::new(Line::Udp(socket), local, host.sip).await
    }

    async fn new(line: Line, local: SocketAddr, server: SocketAddr) -> Self {
        let media = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let unique: u64 = rand::random();
        Self {
            line,
            local,
            server,
            media,
            sender: rtp_wire::Sender::new(unique),
            call_id: format!("{unique:x}@tests"),
            from_tag: format!("f{unique:x}"),
            to_tag: None,
            number: "1000".into(),
            cseq: 0,
            branch: unique,
            far_media: None,
        }
    }

    /// The head of a request in (or, without a To tag, before) the call's dialog. `extra` are whole header lines.
    pub fn request(&mut self, method: &str, extra: &[&str], body: &str) -> String {
        self.cseq += 1;
        self.branch = self.branch.wrapping_add(1);
        self.same_transaction(method, extra, body)
    }

    /// The same again: CANCEL and ACK of a refusal, and retransmissions.
    pub fn same_transaction(&self, method: &str, extra: &[&str], body: &str) -> String {
        let Self { local, server, number, call_id, from_tag, cseq, branch, .. } = self;
        let transport = match self.line {
            Line::Udp(_) => "UDP",
            Line::Tcp(..) => "TCP",
            Line::Tls(..) => "TLS",
        };
        let to_tag = self.to_tag.as_ref().map_or(String::new(), |tag| format!(";tag={tag}"));
        let extra: String = extra.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        format!(
            "{method} sip:{number}@{server} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch:x};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:15550123@{local}>;tag={from_tag}\r\nTo: <sip:{number}@{server}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:me@{local}>\r\n{extra}Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// An INVITE to `number` with this offer.
    pub fn invite(&mut self, number: &str, sdp: &str) -> String {
        self.number = number.to_owned();
        self.request("INVITE", &["Content-Type: application/sdp"], sdp)
    }

    /// An INVITE with further header lines.
    pub fn invite_with(&mut self, number: &str, extra: &[&str], sdp: &str) -> String {
        self.number = number.to_owned();
        let lines: Vec<&str> = extra.iter().copied().chain(["Content-Type: application/sdp"]).collect();
        self.request("INVITE", &lines, sdp)
    }

    /// An INVITE that leaves the offer to the server.
    pub fn invite_without_offer(&mut self, number: &str) -> String {
        self.number = number.to_owned();
        self.request("INVITE", &[], "")
    }

    /// The ACK of a 200, with the answer to the offer in it.
    pub async fn ack_with(&mut self, sdp: &str) {
        self.branch = self.branch.wrapping_add(1);
        let ack = self.same_transaction("ACK", &["Content-Type: application/sdp"], sdp);
        self.send(&ack).await;
    }

    /// Waits until the server calls; gives its INVITE.
    pub async fn is_called(&mut self) -> Heard {
        loop {
            let heard = self.hear().await;
            if heard.is_request("INVITE") {
                self.call_id = heard.header("Call-ID").unwrap().to_owned();
                return heard;
            }
        }
    }

    /// Answers a request of the server.
    pub async fn answer(&mut self, request: &Heard, status: &str, sdp: &str) {
        let kept: String = ["Via", "From", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", request.header(name).unwrap()))
            .concat();
        let (to, tag, local) = (request.header("To").unwrap(), &self.from_tag, self.local);
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let length = sdp.len();
        let text = format!(
            "SIP/2.0 {status}\r\n{kept}To: {to}{tag}\r\nContact: <sip:me@{local}>\r\n{kind}Content-Length: {length}\r\n\r\n{sdp}"
        );
        self.send(&text).await;
    }

    /// Answers a call of the server and waits for its ACK.
    pub async fn picks_up(&mut self, invite: &Heard) {
        self.far_media = Some(media_of(invite.body()));
        let sdp = self.own_offer();
        self.answer(invite, "200 OK", &sdp).await;
        while !self.hear().await.is_request("ACK") {}
    }

    /// Hangs up a call that the server placed.
    pub async fn bye_as_callee(&mut self, invite: &Heard) {
        let (from, to) = (invite.header("To").unwrap(), invite.header("From").unwrap());
        let Self { local, server, call_id, from_tag, .. } = self;
        let bye = format!(
            "BYE sip:offhook@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKbye{from_tag};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from};tag={from_tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.send(&bye).await;
        assert_eq!(self.answer_to("BYE").await.status(), 200);
    }

    pub fn own_offer(&self) -> String {
        offer("127.0.0.1", self.media.local_addr().unwrap().port(), "sendrecv")
    }

    pub async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.line {
            Line::Udp(socket) => drop(socket.send_to(bytes, self.server).await.unwrap()),
            Line::Tcp(stream, _) => stream.write_all(bytes).await.unwrap(),
            Line::Tls(stream, _) => stream.write_all(bytes).await.unwrap(),
        }
    }

    /// The next SIP message within `patience`.
    pub async fn hear_within(&mut self, patience: Duration) -> Option<Heard> {
        let until = Instant::now() + patience;
        match &mut self.line {
            Line::Udp(socket) => {
                let mut datagram = vec![0; 65_535];
                let (length, _) = timeout_at(until, socket.recv_from(&mut datagram)).await.ok()?.ok()?;
                Some(Heard { text: String::from_utf8(datagram[..length].to_vec()).unwrap() })
            }
            Line::Tcp(stream, buffer) => hear_on(stream, buffer, until).await,
            Line::Tls(stream, buffer) => hear_on(stream.as_mut(), buffer, until).await,
        }
    }

    pub async fn hear(&mut self) -> Heard {
        self.hear_within(PATIENCE).await.expect("the server says something")
    }

    /// The next final response to `method`; requests of the server are answered by 200 on the way.
    pub async fn answer_to(&mut self, method: &str) -> Heard {
        loop {
            let heard = self.hear().await;
            if heard.status() >= 200 && heard.method() == method {
                return heard;
            }
        }
    }

    /// The next final response to anything.
    pub async fn answer_to_any(&mut self) -> Heard {
        loop {
            let heard = self.hear().await;
            if heard.status() >= 200 {
                return heard;
            }
        }
    }

    /// Whether the server still answers: an OPTIONS of its own.
    pub async fn options(&mut self) -> Heard {
        let (tag, id) = (self.to_tag.take(), self.call_id.clone());
        self.call_id = format!("o{:x}@tests", rand::random::<u64>());
        let options = self.request("OPTIONS", &[], "");
        self.send(&options).await;
        let wanted = std::mem::replace(&mut self.call_id, id);
        self.to_tag = tag;
        loop {
            let heard = self.hear().await;
            if heard.header("Call-ID") == Some(wanted.as_str()) {
                return heard;
            }
        }
    }

    /// Calls and gives the final answer, which is acknowledged.
    pub async fn call(&mut self, number: &str) -> Heard {
        let sdp = self.own_offer();
        self.call_with(number, &sdp).await
    }

    pub async fn call_with(&mut self, number: &str, sdp: &str) -> Heard {
        let invite = self.invite(number, sdp);
        self.send(&invite).await;
        let answer = self.answer_to("INVITE").await;
        self.take_answer(&answer).await;
        answer
    }

    /// Acknowledges a reliable provisional answer and remembers what it says; gives the answer to that.
    pub async fn prack(&mut self, early: &Heard) -> Heard {
        self.remember(early);
        let rack = format!("RAck: {} {} INVITE", early.header("RSeq").unwrap(), self.cseq);
        let prack = self.request("PRACK", &[&rack], "");
        self.send(&prack).await;
        self.answer_to("PRACK").await
    }

    /// Acknowledges the answer to an INVITE and remembers what it says.
    pub async fn take_answer(&mut self, answer: &Heard) {
        if answer.status() == 200 {
            self.remember(answer);
            self.branch = self.branch.wrapping_add(1);
            // The number of its INVITE, whatever was sent since.
            let number = answer.header("CSeq").unwrap().split(' ').next().unwrap().parse().unwrap();
            let last = std::mem::replace(&mut self.cseq, number);
            let ack = self.same_transaction("ACK", &[], "");
            self.cseq = last;
            self.send(&ack).await;
        } else {
            let tag = self.to_tag.clone();
            self.to_tag = tag_of(answer);
            let ack = self.same_transaction("ACK", &[], "");
            self.send(&ack).await;
            self.to_tag = tag;
        }
    }

    /// Takes the dialog and the media address out of an answer, without an ACK.
    pub fn remember(&mut self, answer: &Heard) {
        self.to_tag = tag_of(answer);
        // What has reliably arrived while it rang is not said again.
        if !answer.body().is_empty() {
            self.far_media = Some(media_of(answer.body()));
        }
    }

    /// A call to the bench line that is going on.
    pub async fn connected(host: &Host, number: &str) -> Self {
        let mut phone = Self::udp(host).await;
        let answer = phone.call(number).await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        phone
    }

    /// A new offer in the call; gives the answer, acknowledged.
    pub async fn reinvite(&mut self, sdp: &str) -> Heard {
        let invite = self.request("INVITE", &["Content-Type: application/sdp"], sdp);
        self.send(&invite).await;
        let answer = self.answer_to("INVITE").await;
        if answer.status() == 200 {
            self.branch = self.branch.wrapping_add(1);
        }
        let ack = self.same_transaction("ACK", &[], "");
        self.send(&ack).await;
        answer
    }

    /// Hangs up; gives the status of the answer.
    pub async fn bye(&mut self) -> u16 {
        let bye = self.request("BYE", &[], "");
        self.send(&bye).await;
        self.answer_to("BYE").await.status()
    }

    /// Waits for the server's BYE and answers it.
    pub async fn is_hung_up_on(&mut self) {
        loop {
            let heard = self.hear().await;
            if heard.is_request("BYE") {
                let kept: String = ["Via", "From", "To", "Call-ID", "CSeq"]
                    .map(|name| format!("{name}: {}\r\n", heard.header(name).unwrap()))
                    .concat();
                return self.send(&format!("SIP/2.0 200 OK\r\n{kept}Content-Length: 0\r\n\r\n")).await;
            }
        }
    }

    /// Sends these frames, one each 20 ms, then silence, and gives what came meanwhile.
    pub async fn talk(&mut self, frames: &[[u8; 160]], span: Duration) -> Vec<Packet> {
        let began = Instant::now();
        let mut heard = Vec::new();
        for tick in 1..=(span.as_millis() / 20) as usize {
            for packet in self.sender.frame(frames.get(tick - 1).unwrap_or(&QUIET)) {
                self.media.send_to(&packet, self.far_media.unwrap()).await.unwrap();
            }
            heard.extend(self.listen_until(began + Duration::from_millis(20) * tick as u32).await);
        }
        heard
    }

    /// Talks silence until what came since then is what is wanted, however long the machine takes.
    pub async fn talk_until(&mut self, wanted: impl Fn(&[Packet]) -> bool) -> Vec<Packet> {
        receive_until(&self.media, Instant::now()).await;
        let until = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        while !wanted(&packets) {
            assert!(Instant::now() < until, "it never came, only {} packets", packets.len());
            packets.extend(self.talk(&[], Duration::from_millis(100)).await);
        }
        packets
    }

    /// Talks silence until so many packets have come.
    pub async fn is_sent(&mut self, packets: usize) -> Vec<Packet> {
        self.talk_until(|came| came.len() >= packets).await
    }

    /// Talks silence until a sound of at least this level has come.
    pub async fn hears(&mut self, dbfs: f64) -> Vec<Packet> {
        self.talk_until(|came| loudest(&audio_of(came)) > dbfs).await
    }

    /// Says nothing until nothing has come for a while.
    pub async fn falls_silent(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.listen(Duration::from_millis(300)).await.is_empty() {
            assert!(Instant::now() < until, "packets still come");
        }
    }

    /// Says nothing, not even silence, and gives what comes.
    pub async fn listen(&self, span: Duration) -> Vec<Packet> {
        self.listen_until(Instant::now() + span).await
    }

    async fn listen_until(&self, until: Instant) -> Vec<Packet> {
        receive_until(&self.media, until).await
    }

    /// The bytes of a TCP connection up to its end, none if it stays open longer than `patience`.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let Line::Tcp(stream, _) = &mut self.line else { panic!("a TCP line") };
        let mut rest = Vec::new();
        timeout(patience, stream.read_to_end(&mut rest)).await.is_ok()
    }

    /// The next bytes as they come.
    pub async fn raw(&mut self) -> Vec<u8> {
        let Line::Tcp(stream, _) = &mut self.line else { panic!("a TCP line") };
        let mut bytes = vec![0; 4096];
        let length = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
        bytes.truncate(length);
        bytes
    }
}

/// All RTP packets that come to a socket up to a time.
pub async fn receive_until(socket: &UdpSocket, until: Instant) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut datagram = [0; 2048];
    while let Ok(received) = timeout_at(until, socket.recv_from(&mut datagram)).await {
        let Ok((length, from)) = received else { continue };
        if (192..=223).contains(&datagram[1]) {
            continue; // RTCP
        }
        let packet = rtp_wire::read(&datagram[..length]).expect("an RTP packet");
        packets.push(Packet {
            at: Instant::now(),
            from,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            payload_type: packet.payload_type,
            payload: packet.payload.to_vec(),
        });
    }
    sleep_until(until).await;
    packets
}

fn tag_of(answer: &Heard) -> Option<String> {
    answer.header("To")?.split_once(";tag=").map(|(_, tag)| tag.split(';').next().unwrap_or_default().to_owned())
}

/// Where an answer wants packets.
pub fn media_of(sdp: &str) -> SocketAddr {
    let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{sdp}"));
    let port = line("m=audio ").split(' ').next().unwrap();
    format!("{}:{port}", line("c=IN IP4 ")).parse().unwrap()
}

fn whole_message(buffer: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8(buffer.clone()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = Heard { text: head.to_owned() }.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    if body.len() < length {
        return None;
    }
    let whole = head.len() + 4 + length;
    buffer.drain(..whole);
    Some(text[..whole].to_owned())
}
