//! Random applications on a random network: whatever they do, every call ends once and nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::{CallHandle, Command, Event, Input, Transport};
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::*;

#[derive(Debug, Clone)]
enum Step {
    Place,
    Wait(u64),
    Ring,
    Answer,
    Reject,
    Cancel,
    Bye,
    Reinvite,
    AnswerReinvite(bool),
    Info,
    LoseStream,
    Weather(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Place),
        4 => prop_oneof![0_u64..40, 0_u64..3000, 0_u64..40_000].prop_map(Step::Wait),
        1 => Just(Step::Ring),
        3 => Just(Step::Answer),
        1 => Just(Step::Reject),
        1 => Just(Step::Cancel),
        1 => Just(Step::Bye),
        3 => Just(Step::Reinvite),
        3 => any::<bool>().prop_map(Step::AnswerReinvite),
        1 => Just(Step::Info),
        1 => Just(Step::LoseStream),
        1 => prop_oneof![Just(0), Just(20), Just(60), Just(100)].prop_map(Step::Weather),
    ]
}

fn command(step: &Step, call: CallHandle) -> Option<Command> {
    Some(match step {
        Step::Ring => Command::Ring { call, early_sdp: None, reliable: false },
        Step::Answer => Command::Answer { call, sdp: sdp() },
        Step::Reject => Command::Reject { call, status: 486, headers: Vec::new() },
        Step::Cancel => Command::Cancel { call },
        Step::Bye => Command::Bye { call, reason: None },
        Step::Reinvite => Command::Reinvite { call, sdp: sdp() },
        Step::AnswerReinvite(yes) => Command::AnswerReinvite { call, answer: if *yes { Ok(sdp()) } else { Err(488) } },
        Step::Info => {
            Command::Info { call, content_type: "application/dtmf-relay".into(), body: Bytes::from("Signal=1") }
        }
        _ => return None,
    })
}

/// Every call a side was told of or placed.
fn calls(net: &Net, side: usize, placed: u64) -> Vec<CallHandle> {
    if side == CALLER {
        return (0..placed).map(call).collect();
    }
    let incoming = net.events[CALLEE].iter().filter_map(|(_, event)| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    });
    incoming.collect()
}

fn storm(transport: Transport, seed: u64, steps: &[(bool, u8, Step)]) -> Result<(), TestCaseError> {
    let mut net = Net::over(transport, seed, |config| config.ring_limit = ms(60_000));
    net.weather = Weather { loss: 0, duplicate: 10, jitter_ms: 100 };
    let mut placed = 0;
    for (caller, which, step) in steps {
        let side = if *caller { CALLER } else { CALLEE };
        match step {
            Step::Place => {
                net.place(placed);
                placed += 1;
            }
            Step::Wait(time) => net.run(net.now + ms(*time)),
            Step::Weather(loss) => net.weather.loss = *loss,
            Step::LoseStream => net.feed(side, Input::StreamClosed { connection: 1 }),
            other => {
                let known = calls(&net, side, placed);
                if known.is_empty() {
                    continue;
                }
                let call = known[usize::from(*which) % known.len()];
                if let Some(command) = command(other, call) {
                    net.command(side, command);
                }
            }
        }
    }
    for side in [CALLER, CALLEE] {
        for call in calls(&net, side, placed) {
            net.command(side, Command::Bye { call, reason: None });
        }
    }
    net.run(net.now + ms(300_000));
    // A call that came in late has an application too.
    for call in calls(&net, CALLEE, placed) {
        net.command(CALLEE, Command::Bye { call, reason: None });
    }
    net.run(net.now + ms(300_000));
    for side in [CALLER, CALLEE] {
        let mut ends: BTreeMap<CallHandle, bool> = BTreeMap::new();
        for (_, event) in &net.events[side] {
            let ended = ends.entry(event.call().expect("nothing registers or pings here")).or_default();
            prop_assert!(!*ended, "{event:?} after the end of its call");
            *ended = matches!(event, Event::Ended { .. });
        }
        prop_assert!(ends.values().all(|ended| *ended), "a call never ended");
        let end = &net.ends[side];
        prop_assert_eq!(
            (end.calls(), end.transactions(), end.poll_timeout()),
            (0, 0, None),
            "left over on side {}",
            side
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_call_over_udp_ends_once(seed: u64, steps in prop::collection::vec((any::<bool>(), any::<u8>(), step()), 1..60)) {
        storm(Transport::Udp, seed, &steps)?;
    }

    #[test]
    fn every_call_over_tcp_ends_once(seed: u64, steps in prop::collection::vec((any::<bool>(), any::<u8>(), step()), 1..60)) {
        storm(Transport::Tcp, seed, &steps)?;
    }
}
