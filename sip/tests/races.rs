//! What crosses on the wire: CANCEL and 200, ACK and BYE, BYE and BYE, BYE and re-INVITE, at 0, 5, 30, 100 and 500 ms from
//! each other in both orders, with the first copy of each message lost or not (RFC 3261 section 9, 13.3.1.4, 14, 15).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{CallHandle, Command, EndCause, Event, Input, Moment, Transport};
use support::peer::{Peer, Remote, request};
use support::*;

/// One way through the network of [`Net`], in ms.
const WAY: i64 = 10;

/// How much later the second side acts than the first; negative: earlier.
const OFFSETS: [i64; 9] = [0, 5, 30, 100, 500, -5, -30, -100, -500];

/// A message whose first copy is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Nothing,
    Request(&'static str),
    Answer(u16, &'static str),
}

const LOSSES: &[Lost] = &[
    Lost::Nothing,
    Lost::Request("CANCEL"),
    Lost::Answer(200, "CANCEL"),
    Lost::Answer(487, "INVITE"),
    Lost::Answer(200, "INVITE"),
    Lost::Request("ACK"),
    Lost::Request("BYE"),
    Lost::Answer(200, "BYE"),
    Lost::Request("INVITE"),
    Lost::Answer(180, "INVITE"),
];

impl Lost {
    fn is(self, message: &Message) -> bool {
        let cseq = message.cseq().unwrap().method.to_string();
        match self {
            Self::Nothing => false,
            Self::Request(method) => message.method().is_some_and(|sent| sent.to_string() == method),
            Self::Answer(status, method) => message.status() == Some(status) && cseq == method,
        }
    }
}

fn net(transport: Transport, lost: Lost) -> Net {
    let mut net = Net::over(transport, 1, |config| config.session_timer.enabled = false);
    let mut losses = 1;
    net.filter = Box::new(move |_, message| {
        let loses = losses > 0 && lost.is(message);
        losses -= usize::from(loses);
        !loses
    });
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => vec![Command::Ring { call: *call, early_sdp: None, reliable: false }],
        Event::Reinvite { call, .. } => vec![Command::AnswerReinvite { call: *call, answer: Ok(sdp()) }],
        _ => Vec::new(),
    });
    net
}

/// Runs two deeds at their times.
fn both(net: &mut Net, base: i64, offset: i64, first: (usize, Command), second: (usize, Command)) {
    let mut deeds = [(base, first), (base + offset, second)];
    deeds.sort_by_key(|(at, _)| *at);
    for (at, (side, command)) in deeds {
        net.run(Moment::from_millis(u64::try_from(at).unwrap()));
        net.command(side, command);
    }
    net.run(ms(200_000));
}

fn causes(net: &Net) -> [Vec<EndCause>; 2] {
    [CALLER, CALLEE].map(|side| net.ended(side).into_iter().map(|(_, cause)| cause).collect())
}

fn cases() -> impl Iterator<Item = (Transport, Lost, i64)> {
    let udp = LOSSES.iter().map(|lost| (Transport::Udp, *lost));
    let tcp = std::iter::once((Transport::Tcp, Lost::Nothing));
    udp.chain(tcp).flat_map(|(transport, lost)| OFFSETS.map(|offset| (transport, lost, offset)))
}

#[test]
fn cancel_meets_200() {
    for (transport, lost, offset) in cases() {
        let mut net = net(transport, lost);
        net.place(1);
        net.run(ms(2000));
        let incoming = net.incoming();
        let cancel = (CALLER, Command::Cancel { call: call(1) });
        both(&mut net, 3000, offset, cancel, (CALLEE, Command::Answer { call: incoming, sdp: sdp() }));
        let case = format!("{transport:?} {lost:?} {offset}");
        let [caller, callee] = causes(&net);
        let again = |what| if lost == what { 500 } else { 0 };
        let answered = offset + WAY + again(Lost::Answer(200, "INVITE")) <= 0;
        let accepted = offset < WAY + again(Lost::Request("CANCEL"));
        assert_eq!(net.answered(), answered, "{case}");
        if answered {
            // The caller gives up nothing any more: its call goes on until it hangs up.
            assert_eq!((caller, callee), (vec![], vec![]), "{case}");
        } else {
            let wanted = if accepted { EndCause::RemoteBye } else { EndCause::Cancelled };
            assert_eq!((caller, callee), (vec![EndCause::Cancelled], vec![wanted]), "{case}");
            assert_eq!(net.requests(CALLER, Method::Bye).is_empty(), !accepted, "{case}");
            assert_eq!(net.responses(CALLEE, 487, Method::Invite).is_empty(), accepted, "{case}");
            assert!(!net.requests(CALLER, Method::Ack).is_empty(), "{case}");
        }
        if net.answered() {
            net.command(CALLER, Command::Bye { call: call(1), reason: None });
            net.run(ms(400_000));
        }
        assert!(net.is_idle(), "{case}");
        assert_eq!(causes(&net).map(|causes| causes.len()), [1, 1], "{case}");
    }
}

/// A call that was answered at 3 s.
fn talking(transport: Transport, lost: Lost) -> (Net, CallHandle) {
    let mut net = net(transport, Lost::Nothing);
    net.place(1);
    net.run(ms(2000));
    let incoming = net.incoming();
    net.command(CALLEE, Command::Answer { call: incoming, sdp: sdp() });
    net.run(ms(2500));
    let mut losses = 1;
    net.filter = Box::new(move |_, message| {
        let loses = losses > 0 && lost.is(message);
        losses -= usize::from(loses);
        !loses
    });
    (net, incoming)
}

#[test]
fn bye_meets_bye() {
    for (transport, lost, offset) in cases() {
        let (mut net, incoming) = talking(transport, lost);
        let bye = |call| Command::Bye { call, reason: None };
        both(&mut net, 4000, offset, (CALLER, bye(call(1))), (CALLEE, bye(incoming)));
        let case = format!("{transport:?} {lost:?} {offset}");
        let ours = |first: i64| if first < WAY { EndCause::LocalBye } else { EndCause::RemoteBye };
        // With the first BYE lost both sides may still hang up by themselves before its repetition comes.
        let slack = if lost == Lost::Request("BYE") { 500 } else { 0 };
        let [caller, callee] = causes(&net);
        assert_eq!((caller.len(), callee.len()), (1, 1), "{case}");
        if slack == 0 {
            assert_eq!((caller[0], callee[0]), (ours(-offset), ours(offset)), "{case}");
        }
        assert!(net.is_idle(), "{case}");
    }
}

#[test]
fn the_callee_hangs_up_around_its_ack() {
    for (transport, lost, offset) in cases() {
        let mut net = net(transport, lost);
        net.place(1);
        net.run(ms(2000));
        let incoming = net.incoming();
        let answer = (CALLEE, Command::Answer { call: incoming, sdp: sdp() });
        // A hang-up before the answer refuses the call.
        let bye = (CALLEE, Command::Bye { call: incoming, reason: None });
        both(&mut net, 3000, offset, answer, bye);
        let case = format!("{transport:?} {lost:?} {offset}");
        let [caller, callee] = causes(&net);
        let wanted = if offset < 0 { EndCause::Rejected(480) } else { EndCause::RemoteBye };
        assert_eq!((caller, callee), (vec![wanted], vec![EndCause::LocalBye]), "{case}");
        let ack = net.requests(CALLER, Method::Ack).first().copied();
        let bye = net.requests(CALLEE, Method::Bye).first().copied();
        assert!(offset < 0 || bye > ack, "{case}: BYE waits for the ACK");
        assert!(net.is_idle(), "{case}");
    }
}

#[test]
fn the_caller_hangs_up_around_its_answer() {
    for (transport, lost, offset) in cases() {
        let mut net = net(transport, lost);
        net.place(1);
        net.run(ms(2000));
        let incoming = net.incoming();
        let answer = (CALLEE, Command::Answer { call: incoming, sdp: sdp() });
        let bye = (CALLER, Command::Bye { call: call(1), reason: None });
        both(&mut net, 3000, offset, answer, bye);
        let case = format!("{transport:?} {lost:?} {offset}");
        let [caller, callee] = causes(&net);
        assert_eq!(caller, [EndCause::LocalBye], "{case}");
        let wanted = [EndCause::RemoteBye, EndCause::Cancelled];
        assert!(callee.len() == 1 && wanted.contains(&callee[0]), "{case}: {callee:?}");
        assert!(net.is_idle(), "{case}");
    }
}

#[test]
fn bye_meets_a_reinvite() {
    for (transport, lost, offset) in cases() {
        for (offering, ending) in [(CALLER, CALLEE), (CALLEE, CALLER)] {
            let (mut net, incoming) = talking(transport, lost);
            let handle = |side| if side == CALLER { call(1) } else { incoming };
            let offer = (offering, Command::Reinvite { call: handle(offering), sdp: sdp() });
            let bye = (ending, Command::Bye { call: handle(ending), reason: None });
            both(&mut net, 4000, offset, offer, bye);
            let case = format!("{transport:?} {lost:?} {offset} {offering}");
            let ends = causes(&net);
            assert_eq!(ends[ending], [EndCause::LocalBye], "{case}");
            // A re-INVITE that a call refuses because it is over ends the other side too.
            let other = ends[offering].as_slice();
            assert!(matches!(other, [EndCause::RemoteBye | EndCause::Forgotten]), "{case}: {other:?}");
            assert!(net.is_idle(), "{case}");
        }
    }
}

#[test]
fn acks_are_lost_one_after_the_other() {
    for lost in 0..12_usize {
        let mut net = Net::new(1);
        let mut left = lost;
        net.filter = Box::new(move |_, message| {
            let loses = left > 0 && message.method() == Some(&Method::Ack);
            left -= usize::from(loses);
            !loses
        });
        net.react(answering);
        net.place(1);
        net.run(ms(100_000));
        let confirmed = net.events[CALLEE].iter().find(|(_, event)| matches!(event, Event::Confirmed { .. }));
        if lost <= 10 {
            let at = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500][lost];
            assert_eq!(confirmed.map(|(at, _)| *at), Some(ms(30 + at)), "{lost} lost");
            net.command(CALLER, Command::Bye { call: call(1), reason: None });
            net.run(ms(200_000));
        } else {
            assert_eq!(confirmed, None);
            assert_eq!(causes(&net), [vec![EndCause::RemoteBye], vec![EndCause::NoAck]]);
        }
        assert!(net.is_idle(), "{lost} lost");
    }
}

#[test]
fn a_bye_that_nobody_hears_is_given_up() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut net, _) = talking(transport, Lost::Nothing);
        net.filter = Box::new(|_, message| message.method() != Some(&Method::Bye));
        net.command(CALLER, Command::Bye { call: call(1), reason: None });
        assert_eq!(causes(&net)[CALLER], [EndCause::LocalBye], "the application need not wait");
        net.run(ms(100_000));
        assert_eq!(net.ends[CALLER].calls(), 0);
        assert_eq!(net.ends[CALLEE].calls(), 1, "it has heard nothing; timers of media and session see to that");
    }
}

/// An ICMP answer, or a connection that cannot be made, says so at once; timers need not run out (section 8.1.3.1, 18.4).
#[test]
fn a_peer_that_cannot_be_reached_is_not_waited_for() {
    let unreachable = |net: &mut Net, side: usize| {
        let flow = net.flow(side);
        net.feed(side, Input::Unreachable { flow: &flow });
    };
    let mut net = net(Transport::Udp, Lost::Nothing);
    net.place(1);
    unreachable(&mut net, CALLER);
    assert_eq!(net.ended(CALLER), [(ms(0), EndCause::TransportLost)]);
    let (mut net, _) = talking(Transport::Udp, Lost::Nothing);
    net.filter = Box::new(|_, _| false);
    net.command(CALLER, Command::Reinvite { call: call(1), sdp: sdp() });
    unreachable(&mut net, CALLER);
    let refused = |event: &Event| matches!(event, Event::ReinviteAnswered { answer: Err(503), .. });
    assert!(refused(&net.events[CALLER].last().unwrap().1));
    assert!(net.ended(CALLER).is_empty(), "media may still flow");
    net.command(CALLER, Command::Info { call: call(1), content_type: "a/b".into(), body: sdp() });
    unreachable(&mut net, CALLER);
    assert!(net.ended(CALLER).is_empty());
    net.command(CALLER, Command::Bye { call: call(1), reason: None });
    unreachable(&mut net, CALLER);
    assert_eq!(net.ended(CALLER), [(ms(2500), EndCause::LocalBye)]);
    assert_eq!(net.ends[CALLER].calls(), 0);
}

#[test]
fn an_invite_that_came_on_two_ways_is_one_call() {
    let mut peer = Peer::new();
    let other = |number: u32| {
        let via = format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-way{number}");
        request("INVITE", &[("Via", &via)], "v=0")
    };
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 100);
    let Event::Incoming { call, .. } = peer.events[0].clone() else { panic!() };
    assert_eq!(peer.status(&other(1)), 482, "while it rings");
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    assert_eq!(peer.status(&other(2)), 482, "once it is answered");
    let to = ok.text(HeaderName::To).unwrap().into_owned();
    let ack = request("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-way1")], "");
    // The ACK of a 482 carries the tag of that answer, which belongs to no call.
    assert!(peer.send(&ack.replace(&to, "<sip:1000@10.0.0.2>;tag=other")).is_empty());
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
    peer.send(&Remote::caller(&ok).ack(1, ""));
    assert!(matches!(peer.events.last(), Some(Event::Confirmed { .. })));
    assert_eq!(peer.endpoint.calls(), 1);
}
