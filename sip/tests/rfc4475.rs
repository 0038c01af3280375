//! The torture messages of RFC 4475, each as a datagram to a fresh endpoint, judged by `expected.json`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use bytes::Bytes;
use offhook_sip::message::{HeaderName, Message};
use offhook_sip::{Endpoint, EndpointConfig, Flow, Input, Moment, Output, Transport};
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, PartialEq)]
enum Verdict {
    Best,
    Allowed,
    Weak(String),
    Fail(String),
}

/// What we answer, beside what the RFC allows; 0 stands for silence.
const EXACT: &[(u16, &[&str])] = &[
    (0, &["unreason", "noreason", "scalarlg", "bigcode", "bcast"]),
    // No message of the RFC: without version and Via it is no request, and an answer would have no way to go by.
    (0, &["test"]),
    (100, &["esc01", "longreq", "baddate", "inv2543"]),
    (200, &["lwsdisp", "semiuri", "transports", "badbranch", "zeromf"]),
    (400, &["badinv01", "clerr", "ncl", "scalar02", "quotbal", "ltgtruri", "lwsruri", "lwsstart", "trws", "escruri"]),
    (400, &["regbadct", "badaspec", "baddn", "mismatch01", "mismatch02", "insuf", "multi01", "mcl01"]),
    (405, &["escnull", "dblreq", "mpart01", "unksm2", "regaut01", "cparam01", "cparam02", "regescrt"]),
    (406, &["sdp01"]),
    (415, &["invut"]),
    (416, &["unkscm", "novelsc"]),
    (420, &["bext01"]),
    (481, &["wsinv"]),
    (501, &["intmeth", "esc02"]),
    (505, &["badvers"]),
];

#[test]
fn every_message_is_answered_as_the_rfc_asks() {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.len(), 50);
    assert_eq!(EXACT.iter().map(|(_, names)| names.len()).sum::<usize>(), rows.len());
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let answers = answers(name);
        let verdict = judge(row, &answers);
        assert!(
            verdict == Verdict::Best || (name, &verdict) == ("test", &Verdict::Weak("no answer".into())),
            "{name}: {verdict:?}"
        );
        let (wanted, _) = EXACT.iter().find(|(_, names)| names.contains(&name)).expect(name);
        assert_eq!(answers.first().map_or(0, |answer| answer.status().unwrap()), *wanted, "{name}");
        assert!(answers.len() <= 1, "{name}: one answer at most");
    }
}

#[test]
fn torn_torture_messages_never_panic() {
    for file in std::fs::read_dir(folder()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            send(Bytes::copy_from_slice(&bytes[..end]));
        }
        for at in (0..bytes.len()).step_by(5) {
            let mut bent = bytes.clone();
            bent[at] ^= 0x80;
            send(Bytes::from(bent));
        }
    }
}

fn judge(row: &Value, answers: &[Message]) -> Verdict {
    if let Some(broken) = broken_check(row, answers) {
        return Verdict::Fail(broken);
    }
    let silence = row["silence"].as_str().unwrap();
    let Some(first) = answers.first() else {
        return match silence {
            "required" => Verdict::Best,
            "weak" => Verdict::Weak("no answer".into()),
            _ => Verdict::Fail("no answer".into()),
        };
    };
    if silence == "required" {
        return Verdict::Fail(format!("answered {:?}", first.status()));
    }
    let status = first.status().unwrap();
    let listed = |list: &str| row[list].as_array().unwrap().iter().any(|entry| covers(entry, status));
    match () {
        () if listed("best") => Verdict::Best,
        () if listed("ok") => Verdict::Allowed,
        () if listed("fail") => Verdict::Fail(format!("answered {status}")),
        () => Verdict::Weak(format!("answered {status}")),
    }
}

fn covers(entry: &Value, status: u16) -> bool {
    match entry {
        Value::Number(number) => number.as_u64() == Some(u64::from(status)),
        Value::String(class) => class.starts_with(&format!("{}xx", status / 100)),
        _ => false,
    }
}

fn broken_check(row: &Value, answers: &[Message]) -> Option<String> {
    row["checks"].as_array().unwrap().iter().find_map(|check| {
        let check = check.as_str().unwrap();
        let (kind, value) = check.split_once(':').unwrap_or((check, ""));
        let fine = answers.iter().all(|answer| match kind {
            "no_answer_for_callid" => answer.call_id().unwrap() != value,
            "if_420_unsupported" => {
                answer.status() != Some(420) || answer.tokens(HeaderName::Unsupported).any(|tag| tag == value)
            }
            "if_415_accept" => answer.status() != Some(415) || answer.has(HeaderName::Accept),
            "no_sdp_in_2xx" => answer.status().unwrap() / 100 != 2 || answer.body().is_empty(),
            other => panic!("unknown check {other}"),
        });
        (!fine).then(|| check.to_owned())
    })
}

fn answers(name: &str) -> Vec<Message> {
    let bytes = std::fs::read(folder().join(format!("{name}.dat"))).unwrap();
    let sent = send(Bytes::from(bytes));
    sent.into_iter().map(|bytes| Message::parse(bytes).expect("our own answers are well-formed")).collect()
}

fn send(bytes: Bytes) -> Vec<Bytes> {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), 7);
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.200:5090".parse().unwrap(),
        connection: None,
    };
    endpoint.handle(Input::Message { flow, bytes }, Moment::ZERO);
    let outputs = std::iter::from_fn(|| endpoint.poll_output());
    let sent: Vec<Bytes> = outputs
        .filter_map(|output| match output {
            Output::Transmit { flow: way, bytes } => {
                assert_eq!(way.remote, flow.remote, "an answer goes where the request came from");
                Some(bytes)
            }
            Output::Event(_) => None,
        })
        .collect();
    sent
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sip/rfc4475")
}
