//! Calls between two endpoints: set-up, teardown, timers, races, loss. All on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::message::{ExtraHeader, HeaderName, Method};
use offhook_sip::{Command, EndCause, Event, Input, Moment, Transport};
use support::peer::{Peer, response};
use support::*;

fn bye(number: u64) -> Command {
    Command::Bye { call: call(number), reason: None }
}

#[test]
fn a_call_is_set_up_and_torn_down() {
    let mut net = Net::new(1);
    net.react(|side, event| match event {
        Event::Incoming { call, invite, .. } => {
            assert_eq!((side, invite.called.reveal().as_str()), (CALLEE, "1000"));
            assert_eq!(invite.caller.reveal(), "alice");
            assert_eq!(invite.from_display.reveal(), "Alice \"A\"");
            assert_eq!(invite.offer.as_deref(), Some(OFFER.as_bytes()));
            vec![
                Command::Ring { call: *call, early_sdp: None, reliable: false },
                Command::Answer { call: *call, sdp: sdp() },
            ]
        }
        Event::Answered { call, .. } => vec![Command::Bye { call: *call, reason: None }],
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(60_000));
    let caller: Vec<_> = net.events[CALLER].iter().map(|(at, event)| (at.as_millis(), event.clone())).collect();
    assert_eq!(caller[0], (20, Event::Progress { call: call(1), early: 1, status: 180, sdp: None }));
    let (20, Event::Answered { sdp: Some(answer), remote, .. }) = &caller[1] else { panic!("{:?}", caller[1]) };
    assert_eq!((answer, remote.early), (&sdp(), 1));
    let ended = Event::Ended { call: call(1), cause: EndCause::LocalBye, reason: None, refused: None };
    assert_eq!(caller[2], (20, ended));
    assert!(matches!(net.events[CALLEE][1], (_, Event::Confirmed { sdp: None, .. })));
    assert_eq!(net.ended(CALLEE), [(ms(30), EndCause::RemoteBye)]);
    assert!(net.is_idle(), "nothing is left over");
}

#[test]
fn calls_complete_on_a_bad_network() {
    for seed in 0..60 {
        let mut net = Net::new(seed);
        net.weather = Weather { loss: 20, duplicate: 10, jitter_ms: 300 };
        net.react(|side, event| match event {
            Event::Incoming { call, .. } => vec![Command::Answer { call: *call, sdp: sdp() }],
            Event::Confirmed { call, .. } if side == CALLEE => vec![Command::Bye { call: *call, reason: None }],
            _ => Vec::new(),
        });
        for number in 0..5 {
            net.place(number);
        }
        net.run(ms(120_000));
        let answered = net.events[CALLER].iter().filter(|(_, event)| matches!(event, Event::Answered { .. })).count();
        assert_eq!(answered, 5, "seed {seed}");
        assert_eq!(net.ended(CALLER).len(), 5, "seed {seed}");
        assert!(net.ended(CALLEE).iter().all(|(_, cause)| *cause == EndCause::LocalBye), "seed {seed}");
        assert!(net.is_idle(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let run = |seed| {
        let mut net = Net::new(seed);
        net.weather = Weather { loss: 30, duplicate: 20, jitter_ms: 700 };
        net.react(answering);
        net.place(1);
        net.run(ms(40_000));
        net.wire.iter().map(|seen| (seen.at, seen.message.as_bytes().clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

#[test]
fn an_unanswered_invite_is_repeated_by_timer_a_and_given_up_by_timer_b() {
    let mut net = Net::new(2);
    net.filter = Box::new(|_, _| false);
    net.place(1);
    net.run(ms(100_000));
    let sent: Vec<_> = net.requests(CALLER, Method::Invite).iter().map(Moment::as_millis).collect();
    assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!(net.ended(CALLER), [(ms(32_000), EndCause::TransactionTimeout)]);
    assert!(net.is_idle());
}

#[test]
fn a_reliable_transport_repeats_no_request() {
    let mut net = Net::over(Transport::Tcp, 2, |_| {});
    net.filter = Box::new(|_, _| false);
    net.place(1);
    net.run(ms(100_000));
    assert_eq!(net.requests(CALLER, Method::Invite).len(), 1);
    assert_eq!(net.ended(CALLER), [(ms(32_000), EndCause::TransactionTimeout)]);
}

#[test]
fn a_2xx_is_repeated_until_its_ack_and_the_call_ends_without_one() {
    let mut net = Net::new(3);
    net.filter = Box::new(|_, message| message.method() != Some(&Method::Ack));
    net.react(answering);
    net.place(1);
    net.run(ms(100_000));
    let sent: Vec<_> = net.responses(CALLEE, 200, Method::Invite).iter().map(|at| at.as_millis() - 10).collect();
    assert_eq!(sent, [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(net.requests(CALLER, Method::Ack).len(), sent.len(), "each repetition is acknowledged");
    assert_eq!(net.ended(CALLEE), [(ms(32_010), EndCause::NoAck)]);
    assert_eq!(net.ended(CALLER), [(ms(32_020), EndCause::RemoteBye)]);
    assert!(net.is_idle());
}

#[test]
fn bye_waits_for_the_ack() {
    let mut net = Net::new(4);
    let mut acks = 0;
    net.filter = Box::new(move |_, message| {
        acks += u64::from(message.method() == Some(&Method::Ack));
        message.method() != Some(&Method::Ack) || acks > 1
    });
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => {
            vec![Command::Answer { call: *call, sdp: sdp() }, Command::Bye { call: *call, reason: None }]
        }
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(60_000));
    assert_eq!(net.ended(CALLEE), [(ms(10), EndCause::LocalBye)], "the application need not wait");
    assert_eq!(net.requests(CALLEE, Method::Bye), [ms(530)]);
    assert!(net.is_idle());
}

#[test]
fn a_refusal_carries_its_headers_and_is_acknowledged() {
    let mut net = Net::new(5);
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => {
            let headers = vec![ExtraHeader::new("Retry-After", "30").unwrap()];
            vec![Command::Reject { call: *call, status: 486, headers }]
        }
        _ => Vec::new(),
    });
    net.weather.loss = 40;
    net.place(1);
    net.run(ms(80_000));
    assert_eq!(net.ended(CALLER)[0].1, EndCause::Rejected(486));
    let busy = net.wire.iter().find(|seen| seen.message.status() == Some(486)).unwrap();
    assert_eq!(busy.message.text(HeaderName::RetryAfter).unwrap(), "30");
    assert!(net.is_idle());
}

#[test]
fn cancel_waits_for_a_provisional_answer_and_gets_487() {
    let mut net = Net::new(6);
    net.place(1);
    net.command(CALLER, Command::Cancel { call: call(1) });
    assert_eq!(net.requests(CALLER, Method::Cancel), []);
    net.run(ms(60_000));
    assert_eq!(net.requests(CALLER, Method::Cancel), [ms(20)]);
    assert_eq!(net.responses(CALLEE, 487, Method::Invite), [ms(30)]);
    assert_eq!(net.responses(CALLEE, 200, Method::Cancel).len(), 1);
    assert_eq!(net.ended(CALLER), [(ms(0), EndCause::Cancelled)]);
    assert_eq!(net.ended(CALLEE), [(ms(30), EndCause::Cancelled)]);
    assert!(net.is_idle());
}

#[test]
fn a_200_that_crosses_a_cancel_is_acknowledged_and_ended_by_bye() {
    let mut net = Net::new(7);
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => vec![Command::Ring { call: *call, early_sdp: None, reliable: false }],
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(100));
    net.command(CALLER, Command::Cancel { call: call(1) });
    let incoming = net.incoming();
    net.command(CALLEE, Command::Answer { call: incoming, sdp: sdp() });
    net.run(ms(60_000));
    assert_eq!(net.responses(CALLEE, 200, Method::Cancel).len(), 1);
    assert_eq!(net.requests(CALLER, Method::Ack).len(), 1);
    assert_eq!(net.requests(CALLER, Method::Bye), [ms(110)]);
    assert_eq!(net.ended(CALLEE), [(ms(120), EndCause::RemoteBye)]);
    assert!(!net.answered());
    assert!(net.is_idle());
}

#[test]
fn a_cancelled_invite_that_is_never_answered_is_forgotten() {
    let mut net = Net::new(8);
    net.filter = Box::new(|from, message| from == CALLER || message.status() == Some(100));
    net.place(1);
    net.run(ms(100));
    net.command(CALLER, Command::Cancel { call: call(1) });
    net.run(ms(100_000));
    assert!(net.is_idle());
}

#[test]
fn byes_that_cross_end_both_sides() {
    let mut net = Net::new(9);
    net.react(answering);
    net.place(1);
    net.run(ms(1000));
    let incoming = net.incoming();
    net.command(CALLER, bye(1));
    net.command(CALLEE, Command::Bye { call: incoming, reason: None });
    net.run(ms(60_000));
    assert_eq!(net.ended(CALLER), [(ms(1000), EndCause::LocalBye)]);
    assert_eq!(net.ended(CALLEE), [(ms(1000), EndCause::LocalBye)]);
    let bad = net.wire.iter().filter(|seen| seen.message.status().is_some_and(|status| status >= 300)).count();
    assert!(bad <= 2, "at most 481 to the other's BYE");
    assert!(net.is_idle());
}

#[test]
fn nobody_answers_within_the_ring_limit() {
    let mut net = Net::over(Transport::Udp, 10, |config| config.ring_limit = ms(20_000));
    net.place(1);
    net.run(ms(100_000));
    assert_eq!(net.ended(CALLER)[0].1, EndCause::NoAnswer);
    assert_eq!(net.ended(CALLEE).len(), 1);
    assert!(net.is_idle());
}

#[test]
fn early_media_reaches_the_caller() {
    let mut net = Net::new(11);
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => vec![Command::Ring { call: *call, early_sdp: Some(sdp()), reliable: false }],
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(100));
    let progress = Event::Progress { call: call(1), early: 1, status: 183, sdp: Some(sdp()) };
    assert_eq!(net.events[CALLER], [(ms(20), progress)]);
}

#[test]
fn a_reinvite_is_answered_by_the_application_either_way() {
    let mut net = Net::new(12);
    let mut offers = 0;
    net.react(move |_, event| match event {
        Event::Incoming { call, .. } => vec![Command::Answer { call: *call, sdp: sdp() }],
        Event::Reinvite { call, offer } => {
            assert_eq!(offer.as_deref(), Some(b"v=0 hold".as_slice()));
            offers += 1;
            let answer = if offers == 1 { Ok(Bytes::from_static(b"v=0 held")) } else { Err(488) };
            vec![Command::AnswerReinvite { call: *call, answer }]
        }
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(1000));
    let offer = || Command::Reinvite { call: call(1), sdp: Bytes::from_static(b"v=0 hold") };
    net.command(CALLER, offer());
    net.run(ms(2000));
    net.command(CALLER, offer());
    net.run(ms(3000));
    let answers = net.events[CALLER].iter().filter_map(|(_, event)| match event {
        Event::ReinviteAnswered { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [Ok(Some(Bytes::from_static(b"v=0 held"))), Err(488)]);
    net.command(CALLER, bye(1));
    net.run(ms(60_000));
    assert!(net.is_idle());
}

#[test]
fn glare_is_answered_491_and_tried_again() {
    let mut net = Net::new(13);
    net.react(|_, event| match event {
        Event::Incoming { call, .. } => vec![Command::Answer { call: *call, sdp: sdp() }],
        Event::Reinvite { call, .. } => vec![Command::AnswerReinvite { call: *call, answer: Ok(sdp()) }],
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(1000));
    let incoming = net.incoming();
    net.command(CALLER, Command::Reinvite { call: call(1), sdp: sdp() });
    net.command(CALLEE, Command::Reinvite { call: incoming, sdp: sdp() });
    net.run(ms(20_000));
    assert_eq!(net.responses(CALLER, 491, Method::Invite).len(), 1);
    assert_eq!(net.responses(CALLEE, 491, Method::Invite).len(), 1);
    for side in [CALLER, CALLEE] {
        let done = |event: &Event| matches!(event, Event::ReinviteAnswered { answer: Ok(_), .. });
        assert_eq!(net.events[side].iter().filter(|(_, event)| done(event)).count(), 1);
    }
    assert!(net.ended(CALLER).is_empty());
}

#[test]
fn an_offer_the_application_leaves_unanswered_is_refused_in_time() {
    let mut net = Net::new(20);
    net.react(answering);
    net.place(1);
    net.run(ms(1000));
    net.command(CALLER, Command::Reinvite { call: call(1), sdp: sdp() });
    net.filter = Box::new(|_, message| message.status() != Some(100));
    net.run(ms(60_000));
    assert_eq!(net.responses(CALLEE, 500, Method::Invite)[0], ms(33_010));
    assert!(net.ended(CALLER).len() <= 1);
}

#[test]
fn a_reinvite_of_ours_that_gets_100_and_no_more_ends_the_call() {
    let mut net = Net::new(21);
    net.react(answering);
    net.place(1);
    net.run(ms(1000));
    net.filter = Box::new(|from, message| from == CALLER || message.status() == Some(100));
    net.command(CALLER, Command::Reinvite { call: call(1), sdp: sdp() });
    net.run(ms(1100));
    assert_eq!(net.responses(CALLEE, 100, Method::Invite).len(), 2);
    net.run(ms(100_000));
    assert_eq!(net.ended(CALLER), [(ms(33_000), EndCause::TransactionTimeout)]);
    assert!(!net.requests(CALLER, Method::Bye).is_empty());
    assert!(net.is_idle());
}

#[test]
fn info_is_passed_on_and_answered() {
    let mut net = Net::new(14);
    net.react(answering);
    net.place(1);
    net.run(ms(1000));
    let body = Bytes::from_static(b"Signal=5\r\nDuration=160\r\n");
    let content_type = "application/dtmf-relay".to_owned();
    net.command(CALLER, Command::Info { call: call(1), content_type, body: body.clone() });
    net.run(ms(2000));
    let Some((_, Event::Info { content_type, body: seen, .. })) = net.events[CALLEE].last() else { panic!() };
    assert_eq!((content_type.as_str(), seen.reveal()), ("application/dtmf-relay", &body));
    assert!(!format!("{:?}", net.events[CALLEE].last()).contains("Signal"), "digits stay private");
    assert_eq!(net.responses(CALLEE, 200, Method::Info).len(), 1);
}

#[test]
fn a_lost_stream_ends_what_rings_and_spares_what_talks() {
    let mut net = Net::over(Transport::Tcp, 15, |_| {});
    net.react(|side, event| match event {
        Event::Incoming { call, invite, .. } if side == CALLEE && !invite.headers.is_empty() => {
            vec![Command::Answer { call: *call, sdp: sdp() }]
        }
        _ => Vec::new(),
    });
    net.place(1);
    net.run(ms(1000));
    assert!(net.answered());
    net.react(|_, _| Vec::new());
    net.place(2);
    net.run(ms(2000));
    for side in [CALLER, CALLEE] {
        net.feed(side, Input::StreamClosed { connection: 1 });
        assert_eq!(net.ended(side), [(ms(2000), EndCause::TransportLost)]);
    }
    net.command(CALLER, bye(1));
    net.run(ms(60_000));
    assert_eq!(net.ended(CALLEE).last().unwrap().1, EndCause::RemoteBye);
    assert!(net.is_idle());
}

#[test]
fn a_call_stays_on_the_connection_its_answers_came_on() {
    let mut peer = Peer::new();
    peer.flow.transport = Transport::Tcp;
    let invite = peer.place();
    assert_eq!(peer.ways[0].connection, None, "the driver is asked to connect");
    let ok = response(&invite, "200 OK", "t", "Contact: <sip:x@10.0.0.77:5077;transport=tcp>\r\n");
    peer.flow.connection = Some(5);
    peer.send(&ok);
    peer.command(bye(1));
    assert!(peer.ways[1..].iter().all(|way| way.connection == Some(5)), "{:?}", peer.ways);
    peer.feed(Input::StreamClosed { connection: 5 });
    assert_eq!(peer.endpoint.calls(), 0, "its BYE cannot be answered any more");
}

#[test]
fn overload_and_drain_are_answered_503_with_retry_after() {
    let mut net = Net::over(Transport::Udp, 16, |config| config.max_calls_pending = 1);
    net.ends[CALLER] = offhook_sip::Endpoint::new(Default::default(), 5);
    net.place(1);
    net.run(ms(100));
    net.place(2);
    net.run(ms(200));
    assert_eq!(net.ended(CALLER), [(ms(120), EndCause::Rejected(503))]);
    net.command(CALLER, Command::Cancel { call: call(1) });
    net.run(ms(300));
    net.command(CALLEE, Command::Drain { retry_after_s: Some(120) });
    net.place(3);
    net.run(ms(400));
    let last = net.wire.iter().rev().find(|seen| seen.message.status() == Some(503)).unwrap();
    assert_eq!(last.message.text(HeaderName::RetryAfter).unwrap(), "120");
    net.command(CALLEE, Command::Drain { retry_after_s: None });
    net.place(4);
    net.run(ms(500));
    assert_eq!(net.ended(CALLER).len(), 3, "the fourth rings");
}

#[test]
fn a_handle_in_use_is_not_placed_twice() {
    let mut net = Net::new(17);
    net.place(1);
    net.place(1);
    assert_eq!(net.ended(CALLER), [(ms(0), EndCause::NotPlaced)]);
}
