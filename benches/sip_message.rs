//! What one SIP message costs: the index, the typed headers, and a whole exchange through an endpoint.
//!
//! `cargo bench --bench sip_message`; every benchmark works on the same INVITE of about 1.5 KB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

use bytes::Bytes;
use offhook_sip::guard::GuardConfig;
use offhook_sip::message::{HeaderName, Message};
use offhook_sip::sdp::{Codec, LocalMedia, Session, SessionDescription, negotiate};
use offhook_sip::{CallHandle, Command, Endpoint, EndpointConfig, Event, Flow, Input, Moment, Output, Transport};

fn main() {
    assert!((1400..1700).contains(&invite(1).len()), "INVITE of {} bytes", invite(1).len());
    divan::main();
}

/// Start line, header index, Content-Length, body.
#[divan::bench]
fn index_invite(bencher: divan::Bencher<'_, '_>) {
    let bytes = invite(1);
    bencher.bench(|| Message::parse(divan::black_box(bytes.clone())));
}

/// The same with Request-URI, Via, From, To, Call-ID, CSeq, Max-Forwards and Contact read.
#[divan::bench]
fn index_invite_and_typed_headers(bencher: divan::Bencher<'_, '_>) {
    let bytes = invite(1);
    bencher.bench(|| {
        let message = Message::parse(divan::black_box(bytes.clone())).ok();
        message.is_some_and(|message| message.request_uri().is_ok() && message.essentials().is_ok())
    });
}

#[divan::bench]
fn parse_and_negotiate_sdp(bencher: divan::Bencher<'_, '_>) {
    let local = LocalMedia::new([10, 0, 0, 2].into(), 20_000, [Codec::Pcmu, Codec::Pcma]);
    bencher.bench(|| {
        let offer = SessionDescription::parse(divan::black_box(SDP.as_bytes())).ok()?;
        negotiate(&offer, &local, Session { id: 1, version: 1 }).ok()
    });
}

/// OPTIONS in, 200 out, nothing kept.
#[divan::bench]
fn answer_options(bencher: divan::Bencher<'_, '_>) {
    let mut endpoint = Endpoint::new(roomy(), 1);
    let bytes = Bytes::from_static(OPTIONS.as_bytes());
    bencher.bench_local(move || {
        endpoint.handle(Input::Message { flow: flow(), bytes: bytes.clone() }, Moment::ZERO);
        drain(&mut endpoint)
    });
}

/// INVITE in, 100 and an event out; then refused with 486, as a first step of a call costs.
#[divan::bench]
fn invite_trying_and_refusal(bencher: divan::Bencher<'_, '_>) {
    let mut endpoint = Endpoint::new(roomy(), 1);
    let (mut number, mut now) = (0, Moment::ZERO);
    bencher
        .with_inputs(|| {
            number += 1;
            invite(number)
        })
        .bench_local_values(move |bytes| {
            now += Moment::from_millis(20);
            endpoint.handle(Input::Timeout, now);
            endpoint.handle(Input::Message { flow: flow(), bytes }, now);
            if let Some(call) = drain(&mut endpoint) {
                endpoint.handle(Input::Command(Command::Reject { call, status: 486, headers: Vec::new() }), now);
            }
            drain(&mut endpoint)
        });
}

/// A whole call: INVITE, 100, 200, ACK, BYE, 200, its timers included, among some 1600 transactions.
#[divan::bench]
fn whole_call(bencher: divan::Bencher<'_, '_>) {
    let mut endpoint = Endpoint::new(roomy(), 1);
    let (mut number, mut now) = (0, Moment::ZERO);
    bencher
        .with_inputs(|| {
            number += 1;
            (number, invite(number))
        })
        .bench_local_values(move |(number, bytes)| {
            now += Moment::from_millis(40);
            endpoint.handle(Input::Timeout, now);
            endpoint.handle(Input::Message { flow: flow(), bytes }, now);
            let call = drain(&mut endpoint)?;
            endpoint.handle(Input::Command(Command::Answer { call, sdp: Bytes::from_static(SDP.as_bytes()) }), now);
            let tag = answered_tag(&mut endpoint)?;
            for (cseq, method) in [(1, "ACK"), (2, "BYE")] {
                let bytes = within(number, &tag, cseq, method);
                endpoint.handle(Input::Message { flow: flow(), bytes }, now);
                drain(&mut endpoint);
            }
            Some(())
        });
}

/// Lets a benchmark run as fast as it can without meeting the limits that protect a server.
fn roomy() -> EndpointConfig {
    let guard = GuardConfig::off();
    EndpointConfig { guard, max_transactions: 1_000_000, max_calls: 1_000_000, ..EndpointConfig::default() }
}

fn drain(endpoint: &mut Endpoint) -> Option<CallHandle> {
    let mut incoming = None;
    while let Some(output) = endpoint.poll_output() {
        if let Output::Event(Event::Incoming { call, .. }) = &output {
            incoming = Some(*call);
        }
        divan::black_box_drop(output);
    }
    incoming
}

fn answered_tag(endpoint: &mut Endpoint) -> Option<String> {
    let mut tag = None;
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { bytes, .. } = output {
            let message = Message::parse(bytes).ok()?;
            tag = Some(message.address(HeaderName::To).ok()?.tag()?.to_owned());
        }
    }
    tag
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([10, 0, 0, 2], 5060).into(),
        remote: ([203, 0, 113, 7], 5060).into(),
        connection: None,
    }
}

fn within(number: u64, tag: &str, cseq: u32, method: &str) -> Bytes {
    Bytes::from(format!(
        "{method} sip:offhook@10.0.0.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK{method}{number}\r\n\
         Max-Forwards: 69\r\nFrom: \"Alice\" <sip:+493012345678@carrier.example.net;user=phone>;tag=as{number}\r\n\
         To: <sip:+4930987654@10.0.0.2;user=phone>;tag={tag}\r\nCall-ID: {number}-7f3e@203.0.113.7\r\n\
         CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn invite(number: u64) -> Bytes {
    Bytes::from(format!(
        "INVITE sip:+4930987654@10.0.0.2:5060;user=phone SIP/2.0\r\n\
         Record-Route: <sip:203.0.113.7;lr;ftag=as{number};did=3a1.b2f1>\r\n\
         Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK7c1a.3d5e{number}.0;rport\r\n\
         Via: SIP/2.0/UDP 198.51.100.14:5060;received=198.51.100.14;rport=5060;branch=z9hG4bK0a44c1f2\r\n\
         Max-Forwards: 68\r\n\
         From: \"Alice\" <sip:+493012345678@carrier.example.net;user=phone>;tag=as{number}\r\n\
         To: <sip:+4930987654@10.0.0.2;user=phone>\r\n\
         Contact: <sip:+493012345678@198.51.100.14:5060;transport=udp>\r\n\
         Call-ID: {number}-7f3e@203.0.113.7\r\n\
         CSeq: 1 INVITE\r\n\
         User-Agent: Carrier SBC 7.4.2-build1189\r\n\
         Date: Sat, 21 Nov 2026 01:38:27 GMT\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE, UPDATE\r\n\
         Supported: replaces, timer, path\r\n\
         Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n\
         P-Asserted-Identity: \"Alice\" <sip:+493012345678@carrier.example.net>\r\n\
         Privacy: none\r\n\
         Accept: application/sdp, application/dtmf-relay\r\nP-Early-Media: supported\r\n\
         Diversion: <sip:+4930111222@carrier.example.net>;reason=no-answer;counter=1\r\n\
         P-Charging-Vector: icid-value=7f3e2a90c1d4;icid-generated-at=198.51.100.14\r\n\
         X-Carrier-Trunk: de-ber-02\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    ))
}

const SDP: &str = "v=0\r\no=carrier 1732153107 1732153107 IN IP4 198.51.100.20\r\ns=session\r\n\
    c=IN IP4 198.51.100.20\r\nt=0 0\r\nm=audio 18734 RTP/AVP 0 8 18 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n";

const OPTIONS: &str = "OPTIONS sip:10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK1;rport\r\n\
    Max-Forwards: 70\r\nFrom: <sip:ping@203.0.113.7>;tag=1\r\nTo: <sip:10.0.0.2>\r\nCall-ID: ping@203.0.113.7\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
