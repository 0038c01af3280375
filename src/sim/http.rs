//! The little HTTP/1.1 that a simulated vendor and the reading of records need: one request, one answer, then closed.
//! Deliberately absent: TLS (it ends in front of the server), redirects, keep-alive.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One request to `address` (`host:port`).
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub address: &'a str,
    /// What the `Host` header says, where it differs from the address.
    pub host: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl Request<'_> {
    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// Says at which stage it failed: connecting, sending, reading or understanding.
    pub fn send(&self) -> Result<Answer, String> {
        let mut stream = connect(self.address)?;
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.host);
        for (name, value) in self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        stream.write_all(text.as_bytes()).map_err(|e| format!("sending to {}: {e}", self.address))?;
        let mut octets = Vec::new();
        stream.take(MOST_OCTETS).read_to_end(&mut octets).map_err(|e| format!("reading from {}: {e}", self.address))?;
        read_answer(&octets)
    }
}

/// A connected stream with time limits.
///
/// # Errors
/// Names the address and why it cannot be reached.
pub fn connect(address: &str) -> Result<TcpStream, String> {
    let mut last = format!("{address}: no such host");
    for socket in address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))? {
        match TcpStream::connect_timeout(&socket, LIMIT) {
            Ok(stream) => {
                let limits = stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_write_timeout(Some(LIMIT)));
                return limits.and_then(|()| stream.set_nodelay(true)).map(|()| stream).map_err(|e| e.to_string());
            }
            Err(e) => last = format!("connecting to {address}: {e}"),
        }
    }
    Err(last)
}

/// `application/x-www-form-urlencoded` of some parameters.
pub fn form(parameters: &[(&str, &str)]) -> String {
    parameters.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn read_answer(octets: &[u8]) -> Result<Answer, String> {
    let text = String::from_utf8_lossy(octets);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of headers")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("the answer has no status")?;
    let chunked =
        head.lines().any(|l| l.to_ascii_lowercase().starts_with("transfer-encoding:") && l.contains("chunked"));
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Ok(Answer { status, body })
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|c| !c.is_empty()) else { break };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

const LIMIT: Duration = Duration::from_secs(10);
const MOST_OCTETS: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_chunked_answers() {
        let plain = read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!(plain, Answer { status: 200, body: "hi".into() });
        let chunked =
            read_answer(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!(chunked, Answer { status: 503, body: "abcde".into() });
        assert!(read_answer(b"nonsense").is_err());
    }

    #[test]
    fn forms_escape_what_must_be() {
        assert_eq!(form(&[("From", "+1 2"), ("a", "é")]), "From=%2B1%202&a=%C3%A9");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read_answer(&octets);
            let _ = read_answer(&[b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(), &octets].concat());
        }
    }
}
