//! Hostile values in every header field, after the PROTOS c07-sip suite: each request is answered in a lawful way, and
//! the endpoint goes on serving.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::message::HeaderName;
use offhook_sip::{CallHandle, Command, Event, Moment};
use std::collections::BTreeMap;
use support::peer::{Peer, request};
use support::sdp;

const FIELDS: &[&str] = &[
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Contact",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Content-Disposition",
    "Content-Language",
    "Route",
    "Record-Route",
    "Require",
    "Proxy-Require",
    "Supported",
    "Allow",
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Expires",
    "Min-Expires",
    "Reason",
    "Retry-After",
    "User-Agent",
    "Subject",
    "Event",
    "Refer-To",
    "Referred-By",
    "Replaces",
    "Session-Expires",
    "Min-SE",
    "RSeq",
    "RAck",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "P-Asserted-Identity",
    "Privacy",
    "Diversion",
    "Identity",
    "Warning",
    "Date",
    "Timestamp",
    "Priority",
    "MIME-Version",
    "Alert-Info",
    "Path",
    "X-Unheard-Of",
];

/// Values with `{}` where the number or the text goes, so that it also stands inside what the field may hold.
const FRAMES: &[&str] = &[
    "{}",
    "<sip:a@{}>",
    "<sip:{}@b>;tag=x",
    "\"{}\" <sip:a@b>",
    "sip:a@b;{}={}",
    "SIP/2.0/UDP {}",
    "SIP/2.0/UDP h:{};branch=z9hG4bK1",
    "{} INVITE",
    "1 {}",
    "Digest username=\"{}\",realm={}",
    "{};refresher={}",
];

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("1k", vec![b'a'; 1 << 10]),
        ("10k", vec![b'a'; 10 << 10]),
        ("60k", vec![b'a'; 60 << 10]),
        ("format", b"%s%n%x%d%p".repeat(20)),
        ("NUL", b"a\0b".to_vec()),
        ("UTF-8", b"\xff\xfe\xc0\xaf\xed\xa0\x80".to_vec()),
        ("quote", b"\"".to_vec()),
        ("bracket", b"<".to_vec()),
        ("separators", b";,:=@<>[]?&".to_vec()),
        ("folds", b"a\r\n \r\n\t\r\n b".to_vec()),
        ("deep", b"(".repeat(1000)),
        ("list", b"a,".repeat(500)),
        ("parameters", b";a=b".repeat(500)),
    ];
    for bits in [31, 32, 63, 64] {
        for number in [(1_i128 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1] {
            all.push(("number", number.to_string().into_bytes()));
        }
    }
    all.push(("number", b"0".repeat(200)));
    all.push(("number", b"9".repeat(200)));
    all
}

fn framed(frame: &str, payload: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = frame.split("{}").map(str::as_bytes).collect();
    parts.join(payload)
}

/// The request with one field set to these bytes, or added.
fn bent(text: &str, field: &str, value: &[u8]) -> Bytes {
    let own = format!("{field}: ");
    let mut bytes = Vec::new();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    bytes.extend_from_slice(lines.next().unwrap().as_bytes());
    bytes.extend_from_slice(format!("\r\n{own}").as_bytes());
    bytes.extend_from_slice(value);
    for line in lines.filter(|line| !line.starts_with(&own)) {
        bytes.extend_from_slice(format!("\r\n{line}").as_bytes());
    }
    bytes.extend_from_slice(format!("\r\n\r\n{body}").as_bytes());
    bytes.into()
}

/// What a request may be answered with that asks for nothing worse than what its fields say.
const LAWFUL: &[u16] = &[100, 200, 400, 405, 406, 413, 414, 415, 416, 420, 421, 422, 481, 482, 500, 501, 513];

struct Victim {
    peer: Peer,
    number: usize,
    seen: BTreeMap<u16, usize>,
}

impl Victim {
    fn suffer(&mut self, method: &str, field: &str, value: &[u8], what: &str) {
        self.number += 1;
        let number = self.number;
        self.peer.now += Moment::from_millis(1);
        let (via, id) = (format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK{number}"), format!("{number}@x"));
        let text = request(method, &[("Via", &via), ("Call-ID", &id)], "v=0");
        let answers = self.peer.send_bytes(bent(&text, field, value));
        let status = answers.first().and_then(|answer| answer.status());
        let status = status.unwrap_or_else(|| panic!("{method} {field} {what}: no answer"));
        assert!(LAWFUL.contains(&status), "{method} {field} {what}: {status}");
        // Only a request within a dialog may be out of order.
        assert!(status != 500 || field == "To", "{method} {field} {what}: 500");
        *self.seen.entry(status).or_default() += 1;
        for event in std::mem::take(&mut self.peer.events) {
            if let Event::Incoming { call, .. } = event {
                self.peer.command(Command::Reject { call, status: 486, headers: Vec::new() });
            }
        }
        let via = format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKafter{number}");
        assert_eq!(self.peer.status(&request("OPTIONS", &[("Via", &via)], "")), 200, "after {method} {field} {what}");
        self.forget();
    }

    /// Lets the time pass that the refused calls are remembered for.
    fn forget(&mut self) {
        if self.number.is_multiple_of(200) {
            self.peer.now += Moment::from_secs(100);
            self.peer.feed(offhook_sip::Input::Timeout);
            self.peer.events.clear();
        }
    }
}

#[test]
fn hostile_values_are_answered_and_leave_nothing_behind() {
    let mut victim = Victim { peer: Peer::new(), number: 0, seen: BTreeMap::new() };
    let payloads = payloads();
    for field in FIELDS {
        for (what, payload) in &payloads {
            for frame in FRAMES {
                if payload.len() > 2000 && *frame != "{}" {
                    continue;
                }
                let methods: &[&str] = if *frame == "{}" { &["INVITE", "OPTIONS", "REGISTER"] } else { &["INVITE"] };
                for method in methods {
                    victim.suffer(method, field, &framed(frame, payload), &format!("{what} in {frame}"));
                }
            }
        }
    }
    let Victim { mut peer, number, seen } = victim;
    for _ in 0..4 {
        peer.now += Moment::from_secs(100);
        peer.feed(offhook_sip::Input::Timeout);
    }
    assert_eq!((peer.endpoint.calls(), peer.endpoint.transactions(), peer.endpoint.poll_timeout()), (0, 0, None));
    eprintln!("{number} requests: {seen:?}");
    assert!(number > 15_000 && seen[&400] > 1000 && seen[&100] > 1000);
}

#[test]
fn hostile_values_within_a_call_do_not_end_it() {
    let mut peer = Peer::new();
    peer.status(&request("INVITE", &[], "v=0"));
    let Event::Incoming { call, .. } = peer.events[0] else { panic!() };
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let to = ok.text(HeaderName::To).unwrap().into_owned();
    peer.send(&request("ACK", &[("To", &to)], ""));
    let mut number = 1;
    for field in FIELDS {
        for (what, payload) in payloads() {
            for method in ["INFO", "UPDATE", "NOTIFY", "REFER", "PRACK"] {
                number += 1;
                let (via, cseq) =
                    (format!("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{number}"), format!("{number} {method}"));
                let text = request(method, &[("Via", &via), ("To", &to), ("CSeq", &cseq)], "v=0");
                let answers = peer.send_bytes(bent(&text, field, &payload));
                let refuses = |call: CallHandle| Command::AnswerRefer { call, answer: Err(603) };
                let answered = answers.iter().any(|answer| answer.status().is_some());
                let waits =
                    peer.events.iter().any(|event| matches!(event, Event::Referred { .. } | Event::Reinvite { .. }));
                assert!(answered || waits, "{method} {field} {what}");
                assert!(
                    !peer.events.iter().any(|event| matches!(event, Event::Ended { .. })),
                    "{method} {field} {what}"
                );
                peer.events.clear();
                peer.command(refuses(call));
                peer.command(Command::AnswerReinvite { call, answer: Err(488) });
            }
        }
        peer.now += Moment::from_secs(1);
        peer.feed(offhook_sip::Input::Timeout);
    }
    peer.command(Command::Bye { call, reason: None });
    assert!(matches!(peer.events.last(), Some(Event::Ended { .. })), "it lasted until we ended it");
}
