//! The callers' signalling, written by hand: requests of one way through a call (INVITE, 200, ACK, BYE), and the few
//! fields of an answer that matter. Deliberately independent of the stack that is measured.

use std::net::{Ipv4Addr, SocketAddrV4};

use offhook::sim::clock::{Moment, WallOffset};
use offhook::sim::stamped::StampedSocket;

/// One signalling socket for all calls.
pub struct Wire {
    socket: StampedSocket,
    contact: SocketAddrV4,
    server: SocketAddrV4,
}

impl Wire {
    /// Sends from a free port of `from`.
    pub fn new(from: Ipv4Addr, server: SocketAddrV4) -> Result<Self, String> {
        let socket = StampedSocket::bind((from, 0).into()).map_err(|e| e.to_string())?;
        let contact = SocketAddrV4::new(from, socket.local().map_err(|e| e.to_string())?.port());
        Ok(Self { socket, contact, server })
    }

    /// The next message and its arrival by the kernel's stamp.
    pub fn receive(&mut self, buffer: &mut [u8], wall: WallOffset, now: Moment) -> Option<(String, Moment)> {
        let (length, at) = self.socket.receive(buffer, wall, now)?;
        Some((String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned(), at))
    }

    /// A request of call number `index`, which its Call-ID begins with; the branch is the same for every copy of it.
    pub fn request(&self, method: &str, index: usize, cseq: u32, to_tag: &str, body: &str) {
        let (server, contact) = (self.server, self.contact);
        let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.tell(&format!(
            "{method} sip:1000@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {contact};branch=z9hG4bK{method}{index};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bench{index}@{contact}>;tag=b{index}\r\nTo: <sip:1000@{server}>{tag}\r\n\
             Call-ID: {index}-bench-{}@127.0.0.1\r\nCSeq: {cseq} {method}\r\nContact: <sip:bench@{contact}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            contact.port(),
            body.len()
        ));
    }

    /// Answers a request of the server's with 200.
    pub fn ok(&self, request: &str) {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", header(request, name).unwrap_or_default()));
        self.tell(&format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", copied.concat()));
    }

    fn tell(&self, message: &str) {
        self.socket.send(message.as_bytes(), self.server.into());
    }
}

/// What a telephone offers that takes audio at `port`.
pub fn offer(index: usize, port: u16) -> String {
    format!(
        "v=0\r\no=bench {index} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Which call a message belongs to, by the Call-ID of [`Wire::request`].
pub fn index_of(text: &str) -> Option<usize> {
    header(text, "Call-ID")?.split('-').next()?.parse().ok()
}

/// The tag that the server gave the call.
pub fn to_tag(text: &str) -> &str {
    header(text, "To").and_then(|to| to.split_once(";tag=")).map_or("", |(_, tag)| tag)
}

/// The first header field of this name.
pub fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let of = |line: &'t str| line.split_once(':').filter(|(found, _)| found.trim().eq_ignore_ascii_case(name));
    text.lines().take_while(|line| !line.is_empty()).find_map(|line| of(line).map(|(_, value)| value.trim()))
}
