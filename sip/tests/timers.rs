//! Every timer of the transaction layer by its letter, as times on the wire: RFC 3261 section 17 and table 4 (A to K),
//! and the Accepted states of RFC 6026 (L, M). Each row says when something is sent and when the transaction is forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{Message, Method};
use offhook_sip::{Command, EndCause, EndpointConfig, Event, Input, Moment, SessionTimer, Timings, Transport};
use support::peer::{Peer, Remote, accepted, request, response};
use support::{call, ms, sdp};

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;
const BOTH: [Transport; 2] = [UDP, TCP];

fn peer(transport: Transport, timings: Timings) -> Peer {
    let session_timer = SessionTimer { enabled: false, ..SessionTimer::default() };
    let config =
        EndpointConfig { timings, session_timer, ring_limit: Moment::from_secs(3000), ..EndpointConfig::default() };
    let mut peer = Peer::with(config);
    peer.flow.transport = transport;
    peer.flow.connection = transport.is_reliable().then_some(1);
    peer
}

fn usual(transport: Transport) -> Peer {
    peer(transport, Timings::default())
}

/// What happened until nothing more did, or until the limit.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    /// When something was sent, in ms, as it began with.
    sent: Vec<(u128, String)>,
    /// When the last transaction was forgotten.
    forgotten: Option<u128>,
}

fn run(peer: &mut Peer, until: Moment) -> Trace {
    let mut trace = Trace { sent: Vec::new(), forgotten: None };
    while let Some(at) = peer.endpoint.poll_timeout().filter(|at| *at <= until) {
        peer.now = at;
        let busy = peer.endpoint.transactions() > 0;
        for message in peer.feed(Input::Timeout) {
            trace.sent.push((at.as_millis(), name(&message)));
        }
        if busy && peer.endpoint.transactions() == 0 {
            trace.forgotten = Some(at.as_millis());
        }
    }
    peer.now = until;
    trace
}

fn name(message: &Message) -> String {
    message.method().map_or_else(|| message.status().unwrap().to_string(), Method::to_string)
}

fn times(sent: &[(u128, String)], wanted: &str) -> Vec<u128> {
    sent.iter().filter(|(_, name)| name == wanted).map(|(at, _)| *at).collect()
}

/// A call that was answered by us and acknowledged; its far end.
fn talking(peer: &mut Peer) -> Remote {
    peer.send(&request("INVITE", &[], "v=0"));
    let Event::Incoming { call, .. } = peer.events[0].clone() else { panic!() };
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let remote = Remote::caller(&ok);
    peer.send(&remote.ack(1, ""));
    peer.now = ms(100_000);
    peer.feed(Input::Timeout);
    assert_eq!(peer.endpoint.transactions(), 0);
    remote
}

/// The handle of the call that came in.
fn incoming(peer: &Peer) -> offhook_sip::CallHandle {
    match &peer.events[0] {
        Event::Incoming { call, .. } => *call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_and_b_an_invite_without_an_answer() {
    let slow = Timings { t1: ms(1000), t2: ms(8000), t4: ms(5000) };
    let fast = Timings { t1: ms(100), t2: ms(400), t4: ms(1000) };
    for (transport, timings, again, over) in [
        (UDP, Timings::default(), vec![500, 1500, 3500, 7500, 15_500, 31_500], 32_000),
        (TCP, Timings::default(), vec![], 32_000),
        (UDP, slow, vec![1000, 3000, 7000, 15_000, 31_000, 63_000], 64_000),
        // Timer A knows no T2: it doubles to the end.
        (UDP, fast, vec![100, 300, 700, 1500, 3100, 6300], 6400),
        (TCP, fast, vec![], 6400),
    ] {
        let mut peer = peer(transport, timings);
        peer.place();
        let trace = run(&mut peer, ms(200_000));
        assert_eq!(times(&trace.sent, "INVITE"), again);
        assert_eq!(trace.forgotten, Some(over));
        assert!(matches!(peer.events[..], [Event::Ended { cause: EndCause::TransactionTimeout, .. }]));
    }
}

#[test]
fn a_and_b_stop_at_a_provisional_answer() {
    for transport in BOTH {
        let mut peer = usual(transport);
        let invite = peer.place();
        peer.now = ms(700);
        peer.feed(Input::Timeout);
        peer.send(&response(&invite, "100 Trying", "t", ""));
        let trace = run(&mut peer, ms(2_000_000));
        assert_eq!(trace, Trace { sent: vec![], forgotten: None }, "it waits as long as it rings");
    }
}

#[test]
fn d_a_refused_invite_acknowledges_each_repetition() {
    let fast = Timings { t1: ms(100), t2: ms(400), t4: ms(1000) };
    for (transport, timings, forgotten) in
        [(UDP, Timings::default(), Some(32_000)), (UDP, fast, Some(32_000)), (TCP, Timings::default(), None)]
    {
        let mut peer = peer(transport, timings);
        let invite = peer.place();
        let busy = response(&invite, "486 Busy Here", "t", "");
        let ack = peer.send(&busy).remove(0);
        peer.now = ms(5000);
        let again = peer.send(&busy);
        let late = response(&invite, "200 OK", "t", "");
        assert!(peer.send(&late).is_empty(), "a 2xx behind a refusal means nothing");
        if transport == UDP {
            assert_eq!(again[0].as_bytes(), ack.as_bytes());
        } else {
            assert!(again.is_empty(), "over TCP nothing is repeated");
        }
        assert_eq!(run(&mut peer, ms(100_000)).forgotten, forgotten);
        assert!(peer.send(&busy).is_empty());
    }
}

#[test]
fn m_an_accepted_invite_passes_on_every_2xx_for_64_t1() {
    for transport in BOTH {
        let mut peer = usual(transport);
        let invite = peer.place();
        let ok = accepted(&invite, "t", "");
        peer.now = ms(1000);
        peer.feed(Input::Timeout);
        let ack = peer.send(&ok).remove(0);
        run(&mut peer, ms(32_999));
        assert_eq!(peer.send(&ok).remove(0).as_bytes(), ack.as_bytes());
        let trace = run(&mut peer, ms(33_000));
        assert_eq!(trace.forgotten, Some(33_000));
        assert!(peer.send(&ok).is_empty(), "a stray 2xx is not acknowledged (RFC 6026 section 8.4)");
        assert_eq!(peer.endpoint.calls(), 1);
    }
}

#[test]
fn g_and_h_a_refusal_without_its_ack() {
    let to_t2 = vec![500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    for (transport, again) in [(UDP, to_t2), (TCP, vec![])] {
        let mut peer = usual(transport);
        peer.send(&request("INVITE", &[], "v=0"));
        let call = incoming(&peer);
        peer.command(Command::Reject { call, status: 486, headers: Vec::new() });
        let trace = run(&mut peer, ms(100_000));
        assert_eq!((times(&trace.sent, "486"), trace.forgotten), (again, Some(32_000)));
    }
}

#[test]
fn i_an_acknowledged_refusal_absorbs_more_acks_for_t4() {
    for (transport, forgotten) in [(UDP, Some(5100)), (TCP, None)] {
        let mut peer = usual(transport);
        let invite = request("INVITE", &[], "v=0");
        peer.send(&invite);
        let call = incoming(&peer);
        let busy = peer.command(Command::Reject { call, status: 486, headers: Vec::new() }).remove(0);
        peer.now = ms(100);
        let to = busy.text(offhook_sip::message::HeaderName::To).unwrap().into_owned();
        let via = busy.via().unwrap().branch().unwrap().to_owned();
        let ack = request("ACK", &[("To", &to), ("Via", &format!("SIP/2.0/UDP 10.0.0.1:5070;branch={via}"))], "");
        assert!(peer.send(&ack).is_empty());
        assert!(peer.send(&ack).is_empty());
        if transport == UDP {
            assert!(peer.send(&invite).is_empty(), "the INVITE is absorbed too");
        }
        let trace = run(&mut peer, ms(100_000));
        assert_eq!(trace, Trace { sent: vec![], forgotten });
        assert_eq!(peer.endpoint.transactions(), 0);
    }
}

#[test]
fn l_an_accepted_invite_absorbs_its_repetitions_for_64_t1() {
    for transport in BOTH {
        let mut peer = usual(transport);
        let invite = request("INVITE", &[], "v=0");
        peer.send(&invite);
        let call = incoming(&peer);
        peer.now = ms(2000);
        let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
        peer.send(&Remote::caller(&ok).ack(1, ""));
        run(&mut peer, ms(33_999));
        assert!(peer.send(&invite).is_empty(), "no second call, no answer");
        assert_eq!(run(&mut peer, ms(100_000)).forgotten, Some(34_000));
        assert_eq!(peer.endpoint.calls(), 1);
    }
}

#[test]
fn a_2xx_is_repeated_by_its_user_on_every_transport() {
    for transport in BOTH {
        let mut peer = usual(transport);
        peer.send(&request("INVITE", &[], "v=0"));
        let call = incoming(&peer);
        peer.command(Command::Answer { call, sdp: sdp() });
        let trace = run(&mut peer, ms(40_000));
        let again = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(times(&trace.sent, "200"), again);
        assert_eq!(times(&trace.sent, "BYE")[0], 32_000, "section 13.3.1.4");
    }
}

#[test]
fn e_and_f_another_request_without_an_answer() {
    let slow = Timings { t1: ms(1000), t2: ms(8000), t4: ms(5000) };
    for (transport, timings, again, over) in [
        (UDP, Timings::default(), vec![500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500], 32_000),
        (UDP, slow, vec![1000, 3000, 7000, 15_000, 23_000, 31_000, 39_000, 47_000, 55_000, 63_000], 64_000),
        (TCP, Timings::default(), vec![], 32_000),
    ] {
        let mut peer = peer(transport, timings);
        talking(&mut peer);
        let start = peer.now.as_millis();
        let call = incoming(&peer);
        peer.command(Command::Bye { call, reason: None });
        let trace = run(&mut peer, ms(300_000));
        let sent: Vec<_> = times(&trace.sent, "BYE").iter().map(|at| at - start).collect();
        assert_eq!((sent, trace.forgotten), (again, Some(start + over)));
        assert_eq!(peer.endpoint.calls(), 0);
    }
}

#[test]
fn e_after_a_provisional_answer_goes_on_at_t2() {
    for (transport, again) in [(UDP, vec![500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]), (TCP, vec![])] {
        let mut peer = usual(transport);
        talking(&mut peer);
        let call = incoming(&peer);
        let start = peer.now.as_millis();
        let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
        peer.send(&response(&bye, "100 Trying", "", ""));
        let trace = run(&mut peer, ms(200_000));
        let sent: Vec<_> = times(&trace.sent, "BYE").iter().map(|at| at - start).collect();
        assert_eq!((sent, trace.forgotten), (again, Some(start + 32_000)));
    }
}

#[test]
fn k_an_answered_request_absorbs_repeated_answers_for_t4() {
    for (transport, forgotten) in [(UDP, Some(105_000)), (TCP, None)] {
        let mut peer = usual(transport);
        talking(&mut peer);
        let call = incoming(&peer);
        let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
        let ok = response(&bye, "200 OK", "", "");
        assert!(peer.send(&ok).is_empty());
        assert!(peer.send(&ok).is_empty());
        assert_eq!(run(&mut peer, ms(200_000)), Trace { sent: vec![], forgotten });
        assert_eq!(peer.endpoint.transactions(), 0);
    }
}

#[test]
fn j_an_answered_request_is_answered_again_for_64_t1() {
    for transport in BOTH {
        let mut peer = usual(transport);
        let mut remote = talking(&mut peer);
        let options = remote.request("OPTIONS", &[], "");
        let ok = peer.send(&options).remove(0);
        assert_eq!(ok.status(), Some(200));
        if transport == TCP {
            assert_eq!(peer.endpoint.transactions(), 0, "over TCP it is over at once");
            continue;
        }
        let trace = run(&mut peer, ms(131_999));
        assert_eq!(trace, Trace { sent: vec![], forgotten: None });
        assert_eq!(peer.send(&options).remove(0).as_bytes(), ok.as_bytes());
        assert_eq!(run(&mut peer, ms(200_000)).forgotten, Some(132_000));
        assert_eq!(peer.send(&options).remove(0).status(), Some(500), "its number is an old one now");
    }
}

#[test]
fn a_ringing_invite_gives_its_last_answer_to_each_repetition() {
    for transport in BOTH {
        let mut peer = usual(transport);
        let invite = request("INVITE", &[], "v=0");
        assert_eq!(peer.send(&invite)[0].status(), Some(100), "before 200 ms have passed (section 17.2.1)");
        let call = incoming(&peer);
        peer.command(Command::Ring { call, early_sdp: None, reliable: false });
        assert_eq!(peer.send(&invite)[0].status(), Some(180));
        assert_eq!(run(&mut peer, ms(1_000_000)), Trace { sent: vec![], forgotten: None });
        assert_eq!(peer.send(&invite)[0].status(), Some(180));
    }
}

#[test]
fn cancel_is_a_transaction_of_its_own() {
    let mut peer = usual(UDP);
    let invite = peer.place();
    peer.send(&response(&invite, "180 Ringing", "t", ""));
    peer.command(Command::Cancel { call: call(1) });
    let trace = run(&mut peer, ms(100_000));
    let again = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(times(&trace.sent, "CANCEL"), again);
    assert_eq!(trace.forgotten, Some(32_000), "the INVITE with it (section 9.1)");
    assert_eq!(peer.endpoint.calls(), 0);
}
