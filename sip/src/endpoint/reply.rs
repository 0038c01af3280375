//! Writes answers: what every response repeats from its request, and where it goes.

use super::io::{Flow, Transport};
use crate::message::{HeaderName, Message, Via, Writer};
use std::net::{IpAddr, SocketAddr};

/// Begins a response (RFC 3261 section 8.2.6.2). `to_tag` is added unless To has one; 100 carries none.
pub(super) fn begin(request: &Message, source: SocketAddr, status: u16, to_tag: &str) -> Writer {
    let mut writer = Writer::response(status);
    vias(request, source, &mut writer);
    if let Some(from) = request.values(HeaderName::From).next() {
        writer.copy(HeaderName::From, from);
    }
    to(request, status, to_tag, &mut writer);
    for name in [HeaderName::CallId, HeaderName::CSeq] {
        if let Some(value) = request.values(name).next() {
            writer.copy(name, value);
        }
    }
    writer
}

/// Where the answer to a request goes (RFC 3261 section 18.2.2, RFC 3581 section 4). `maddr` is not
/// followed: it would let a stranger aim our answers at somebody else.
pub(super) fn destination(flow: &Flow, via: Option<&Via<'_>>, force_rport: bool) -> Flow {
    let Some(via) = via else { return *flow };
    if flow.transport != Transport::Udp || force_rport || via.params().has("rport") {
        return *flow;
    }
    let remote = SocketAddr::new(flow.remote.ip(), via.port().unwrap_or(5060));
    Flow { remote, ..*flow }
}

fn to(request: &Message, status: u16, to_tag: &str, writer: &mut Writer) {
    let Some(value) = request.values(HeaderName::To).next() else { return };
    let tagged = request.address(HeaderName::To).is_ok_and(|to| to.tag().is_some());
    if tagged || status == 100 {
        writer.copy(HeaderName::To, value);
    } else {
        let value = [value, b";tag=", to_tag.as_bytes()].concat();
        writer.copy(HeaderName::To, &value);
    }
}

fn vias(request: &Message, source: SocketAddr, writer: &mut Writer) {
    let marked = marked_top(request, source);
    for (index, value) in request.values(HeaderName::Via).enumerate() {
        match &marked {
            Some(first) if index == 0 => writer.copy(HeaderName::Via, first),
            _ => writer.copy(HeaderName::Via, value),
        };
    }
}

/// The first Via field with the `received` and `rport` of its top value filled in; `None` where
/// nothing is to be said, or where it cannot be read.
fn marked_top(request: &Message, source: SocketAddr) -> Option<Vec<u8>> {
    let via = request.via().ok()?;
    let asked = via.params().has("rport");
    if !asked && via.host().ip() == Some(canonical(source.ip())) {
        return None;
    }
    let range = request.value_range(HeaderName::Via)?;
    let mut text = request.slice(&(range.start..via.params_at())).to_vec();
    for (name, segment) in via.params().segments() {
        if !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received") {
            text.extend_from_slice(segment);
        }
    }
    text.extend_from_slice(format!(";received={}", canonical(source.ip())).as_bytes());
    if asked {
        text.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
    }
    text.extend_from_slice(request.slice(&(via.end()..range.end)));
    Some(text)
}

/// An IPv4 address that came in over an IPv6 socket is shown as what it is.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answered(via: &str, source: &str) -> String {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:x@y>;tag=1\r\nTo: sip:a@b\r\n\r\n");
        let request = Message::parse(Bytes::from(text)).unwrap();
        let answer = begin(&request, source.parse().unwrap(), 200, "t").finish(None);
        let answer = Message::parse(answer).unwrap();
        assert_eq!(answer.text(HeaderName::To).unwrap(), "sip:a@b;tag=t");
        answer.text(HeaderName::Via).unwrap().into_owned()
    }

    #[test]
    fn rport_and_received_are_filled_in() {
        let cases = [
            (
                "SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z",
                "10.0.0.1:999",
                "SIP/2.0/UDP 10.0.0.1:5070;branch=z;received=10.0.0.1;rport=999",
            ),
            ("SIP/2.0/UDP 10.0.0.1;branch=z", "10.0.0.1:999", "SIP/2.0/UDP 10.0.0.1;branch=z"),
            (
                "SIP/2.0/UDP h.x;received=1.1.1.1;branch=z, SIP/2.0/TCP k",
                "10.0.0.2:9",
                "SIP/2.0/UDP h.x;branch=z;received=10.0.0.2, SIP/2.0/TCP k",
            ),
            (
                "SIP/2.0/UDP [2001:db8::1];rport;branch=z",
                "[2001:db8::9]:7",
                "SIP/2.0/UDP [2001:db8::1];branch=z;received=2001:db8::9;rport=7",
            ),
            ("SIP/2.0/UDP 10.0.0.1;branch=z", "[::ffff:10.0.0.1]:9", "SIP/2.0/UDP 10.0.0.1;branch=z"),
        ];
        for (via, source, wanted) in cases {
            assert_eq!(answered(via, source), wanted);
        }
    }
}
