//! An application that does anything a user or a flow could do, at any time, and keeps count of what it hears.

use super::network::Dice;
use super::{Command, Event, Flow, Moment};
use bytes::Bytes;
use offhook_sip::message::{ExtraHeader, UriBuf};
use offhook_sip::{CallHandle, EndCause, OutboundInvite, Replaces};
use std::collections::BTreeMap;

/// Something to do at some time.
pub enum Deed {
    Tell(Command),
    Place {
        call: u64,
        /// The call at the other side that it takes over; then it is the other side of the network that places it.
        replaces: Option<Replaces>,
    },
    /// Nothing of this call passes any more, or nothing from one side.
    Vanish(String, Option<usize>),
    LoseStream,
    /// The network says that the other side cannot be reached, and is wrong.
    Unreachable,
}

/// How the applications of one run behave.
#[derive(Clone, Copy)]
pub struct Habits {
    pub session_timers: bool,
    /// Percent of calls that are placed without an offer.
    delayed: u64,
    /// Percent of calls whose other side vanishes.
    vanish: u64,
    /// Percent of provisional answers that ask for an acknowledgement.
    reliable: u64,
    /// Percent of events an application leaves unanswered.
    forgetful: u64,
}

impl Habits {
    pub fn new(dice: &mut Dice) -> Self {
        Self {
            session_timers: dice.percent(60),
            delayed: [0, 20, 60][usize::try_from(dice.below(3)).unwrap()],
            vanish: 6,
            reliable: [0, 50, 100][usize::try_from(dice.below(3)).unwrap()],
            forgetful: 5,
        }
    }
}

pub struct Application {
    side: u64,
    habits: Habits,
    calls: BTreeMap<CallHandle, Known>,
    /// Numbers of calls that transfers make.
    next: u64,
}

/// What is known of one call.
#[derive(Default)]
struct Known {
    ends: Vec<EndCause>,
    delayed: bool,
    vanishes: bool,
    talks: bool,
}

impl Application {
    pub fn new(side: usize, habits: Habits) -> Self {
        Self { side: u64::try_from(side).unwrap(), habits, calls: BTreeMap::new(), next: 1_000_000 }
    }

    pub fn ends(&self) -> impl Iterator<Item = (CallHandle, &[EndCause])> {
        self.calls.iter().map(|(call, known)| (*call, known.ends.as_slice()))
    }

    pub fn placed(&mut self, invite: &OutboundInvite) {
        let known = self.calls.entry(invite.call).or_default();
        known.delayed = invite.sdp.is_empty();
    }

    pub fn invite(
        &mut self,
        number: u64,
        flow: Flow,
        replaces: Option<Replaces>,
        dice: &mut Dice,
    ) -> (OutboundInvite, Vec<(Moment, Deed)>) {
        let call = CallHandle::outbound(number);
        let delayed = dice.percent(self.habits.delayed);
        let invite = OutboundInvite {
            call,
            flow,
            target: UriBuf::parse("sip:1000@10.0.0.9").unwrap(),
            from: UriBuf::parse(format!("sip:side{}@10.0.0.8", self.side)).unwrap(),
            from_display: None,
            sdp: if delayed { Bytes::new() } else { sdp("offer") },
            headers: Vec::new(),
            replaces,
            credentials: None,
        };
        let mut deeds = Vec::new();
        if dice.percent(25) {
            deeds.push((some_time(dice), Deed::Tell(Command::Cancel { call })));
        }
        (invite, deeds)
    }

    /// Takes an event and says what it will do about it, and when.
    pub fn hear(&mut self, event: Event, dice: &mut Dice) -> Vec<(Moment, Deed)> {
        let call = event.call().expect("nobody registers or asks here");
        let known = self.calls.entry(call).or_default();
        assert!(known.ends.is_empty(), "side {}: {event:?} after {:?}", self.side, known.ends);
        let delayed = known.delayed;
        match event {
            Event::Ended { cause, .. } => {
                known.ends.push(cause);
                Vec::new()
            }
            Event::Incoming { invite, .. } => self.ring(call, invite.call_id, dice),
            Event::Answered { sdp: answer, .. } => {
                assert!(answer.is_some(), "an answered call has media");
                let mut deeds = self.talk(call, dice);
                if delayed && !dice.percent(self.habits.forgetful) {
                    let late = if dice.percent(70) { Moment::ZERO } else { some_time(dice) };
                    deeds.push((late, Deed::Tell(Command::Acknowledge { call, sdp: sdp("answer in ACK") })));
                }
                deeds
            }
            Event::Confirmed { .. } => self.talk(call, dice),
            Event::Reinvite { offer, .. } => {
                let answer =
                    if dice.percent(85) { Ok(sdp(if offer.is_some() { "answer" } else { "offer" })) } else { Err(488) };
                self.reply(dice, Command::AnswerReinvite { call, answer })
            }
            Event::ReinviteAnswered { answer: Ok(Some(_)), .. } => {
                // Only an empty re-INVITE of ours needs this; for any other it does nothing.
                self.reply(dice, Command::Acknowledge { call, sdp: sdp("answer") })
            }
            Event::Referred { replaces, .. } => self.referred(call, replaces, dice),
            Event::ReferProgress { done: true, .. } if dice.percent(60) => {
                self.reply(dice, Command::Bye { call, reason: None })
            }
            _ => Vec::new(),
        }
    }

    /// A call rings here.
    fn ring(&mut self, call: CallHandle, call_id: String, dice: &mut Dice) -> Vec<(Moment, Deed)> {
        let mut deeds = Vec::new();
        for _ in 0..dice.below(3) {
            let early_sdp = dice.percent(40).then(|| sdp("early"));
            let reliable = dice.percent(self.habits.reliable);
            let at = Moment::from_millis(dice.below(3000));
            deeds.push((at, Deed::Tell(Command::Ring { call, early_sdp, reliable })));
        }
        let at = some_time(dice);
        match dice.below(100) {
            0..76 => deeds.push((at, Deed::Tell(Command::Answer { call, sdp: sdp("answer") }))),
            76..90 => {
                let status = [302, 404, 486, 488, 500, 503, 603, 200][usize::try_from(dice.below(8)).unwrap()];
                let headers = vec![ExtraHeader::new("Retry-After", "5").unwrap()];
                deeds.push((at, Deed::Tell(Command::Reject { call, status, headers })));
            }
            90..95 => deeds.push((at, Deed::Tell(Command::Bye { call, reason: None }))),
            _ => {}
        }
        if dice.percent(self.habits.vanish) {
            self.calls.entry(call).or_default().vanishes = true;
            let from = [None, Some(0), Some(1)][usize::try_from(dice.below(3)).unwrap()];
            deeds.push((some_time(dice) * 4, Deed::Vanish(call_id, from)));
        }
        if dice.below(1000) < 5 {
            let broken = if dice.percent(50) { Deed::LoseStream } else { Deed::Unreachable };
            deeds.push((some_time(dice), broken));
        }
        deeds
    }

    /// What happens in a call that was answered.
    fn talk(&mut self, call: CallHandle, dice: &mut Dice) -> Vec<(Moment, Deed)> {
        let mut deeds = Vec::new();
        let known = self.calls.entry(call).or_default();
        assert!(!known.talks, "a call is answered once");
        known.talks = true;
        for _ in 0..dice.below(5) {
            let command = match dice.below(10) {
                0..3 => Command::Reinvite { call, sdp: sdp("hold") },
                3 => Command::Reinvite { call, sdp: Bytes::new() },
                4 | 5 => Command::Update { call, sdp: Some(sdp("moved")) },
                6 => Command::Update { call, sdp: None },
                7 => Command::Info { call, content_type: "application/dtmf".into(), body: Bytes::from_static(b"5") },
                _ => self.refer(call, dice),
            };
            // Whole seconds make both sides do it at once.
            let at = if dice.percent(50) { Moment::from_secs(1 + dice.below(10)) } else { some_time(dice) };
            deeds.push((at, Deed::Tell(command)));
        }
        let ends = !self.habits.session_timers || !self.calls.get(&call).is_some_and(|known| known.vanishes);
        if dice.percent(50) {
            deeds.push((some_time(dice) * 3, Deed::Tell(Command::Bye { call, reason: None })));
        } else if ends {
            deeds.push((Moment::from_secs(300), Deed::Tell(Command::Bye { call, reason: None })));
        }
        deeds
    }

    fn refer(&self, call: CallHandle, dice: &mut Dice) -> Command {
        let talks = |known: &Known| known.talks && known.ends.is_empty();
        let others = self.calls.iter().filter(|(other, known)| **other != call && talks(known));
        let others: Vec<CallHandle> = others.map(|(other, _)| *other).collect();
        let pick = usize::try_from(dice.below(u64::try_from(others.len()).unwrap())).unwrap();
        let replaces = others.get(pick).copied().filter(|_| dice.percent(50));
        let to = UriBuf::parse("sip:elsewhere@10.0.0.9").unwrap();
        Command::Refer { call, to, replaces, referred_by: None }
    }

    /// They send us elsewhere: sometimes we go there, to the other end of the network.
    fn referred(&mut self, call: CallHandle, replaces: Option<Replaces>, dice: &mut Dice) -> Vec<(Moment, Deed)> {
        if dice.percent(40) {
            return self.reply(dice, Command::AnswerRefer { call, answer: Err(603) });
        }
        let mut deeds = self.reply(dice, Command::AnswerRefer { call, answer: Ok(()) });
        self.next += 1;
        deeds.push((some_time(dice), Deed::Place { call: self.next, replaces }));
        for status in [180, 200] {
            if dice.percent(80) {
                deeds.push((some_time(dice), Deed::Tell(Command::NotifyRefer { call, status })));
            }
        }
        deeds
    }

    fn reply(&self, dice: &mut Dice, command: Command) -> Vec<(Moment, Deed)> {
        if dice.percent(self.habits.forgetful) {
            return Vec::new();
        }
        let after = if dice.percent(60) { Moment::ZERO } else { some_time(dice) };
        vec![(after, Deed::Tell(command))]
    }
}

/// At once, soon, or after a while.
fn some_time(dice: &mut Dice) -> Moment {
    let longest = [10, 1000, 8000, 40_000][usize::try_from(dice.below(4)).unwrap()];
    Moment::from_millis(dice.below(longest))
}

fn sdp(what: &'static str) -> Bytes {
    Bytes::from_static(what.as_bytes())
}
