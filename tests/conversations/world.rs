//! The world around one call: its clock, and everybody who has something to do with it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use offhook::call::core::{Call, CallInput, CallOutput, CallSetup, Opening};
use offhook::call::hearing::Hearing;
use offhook::call::{Moment, TurnId};
use offhook::dialog::{CallFacts, Dialog, Flow};
use offhook::providers::{ReplyRequest, Role, SttEvent};
use offhook::sim::clock::Dice;
use offhook::telemetry::pii::Pii;
use offhook::turn::TurnConfig;
use offhook::turn::floor::Holder;
use offhook_media::playout::SentenceId;
use offhook_media::silero::Network;
use offhook_media::speech::{SpeechConfig, SpeechDetector};
use offhook_media::vad::Vad;
use offhook_media::{FRAME, Frame};

use super::Came;
use super::caller::{Act, Caller, Sound, echoed};
use super::faults::differs;
use super::line::{Down, TICK, Up};
use super::vendors::{Due, Vendors, transfer};
use super::words::Ledger;

pub struct World {
    dice: Dice,
    call: Call,
    down: Down,
    up: Up,
    vendors: Vendors,
    /// From here on the recogniser hears nothing.
    deaf_from: Moment,
    ledger: Ledger,
    sounds: Vec<Sound>,
    pending: BTreeMap<(Moment, u64), Act>,
    order: u64,
    next_tick: Moment,
    ends: Moment,
    /// The last sign of either side.
    sign: Moment,
    /// How long nobody was to speak but the caller since then.
    waited: Duration,
    /// By them, by us.
    held: [bool; 2],
    /// What a voice was asked for last.
    said: String,
    floor: Holder,
    /// When something was dropped last.
    cut: Option<Moment>,
    came: Came,
}

impl World {
    pub fn new(seed: u64, flows: &[Arc<Flow>]) -> Self {
        let mut dice = Dice::new(seed, 0, 41);
        let (has_ears, has_model) = (dice.unit() < 0.85, dice.unit() < 0.9);
        let facts = CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears, has_model };
        let (hearing, ear, is_recorded) = hearing(&mut dice);
        let opening = match dice.below(20) {
            0 => Opening::Outbound { wait_for_hello: true },
            1 => Opening::Outbound { wait_for_hello: false },
            _ => Opening::Inbound,
        };
        let call = Call::new(CallSetup {
            dialog: Dialog::new(Arc::clone(&flows[dice.below(flows.len())]), facts),
            hearing,
            turn: TurnConfig { speculate: dice.below(4) > 0, ..TurnConfig::default() },
            longest: ENOUGH * 2,
            no_media: Duration::from_secs(20),
            longest_hold: Duration::from_secs(15),
            has_ears,
            opening,
        });
        let turns = dice.below(3) == 0;
        let script = Caller { dice: &mut dice, begins: ORIGIN, has_ears, turns, is_recorded }.write();
        let (down, up) = (Down::draw(&mut dice), Up::draw(&mut dice, ORIGIN, script.leaves - ORIGIN));
        let vendors = Vendors::draw(&mut dice);
        let (vendors, deaf_from) = vendors.with_outage(&mut Dice::new(seed, 0, 43), ORIGIN, script.leaves - ORIGIN);
        let mut world = Self {
            call,
            down,
            up,
            vendors,
            deaf_from: deaf_from.unwrap_or(Moment::MAX),
            ledger: Ledger::default(),
            sounds: script.sounds,
            pending: BTreeMap::new(),
            order: 0,
            next_tick: ORIGIN,
            ends: script.leaves + ENOUGH,
            sign: ORIGIN,
            waited: Duration::ZERO,
            held: [false; 2],
            said: String::new(),
            floor: Holder::Nobody,
            cut: None,
            came: Came {
                end: None,
                ledger: Ledger::default(),
                recorded: Vec::new(),
                told: String::new(),
                wrong: Vec::new(),
                interruptions: Vec::new(),
                silence: Default::default(),
                wait: Default::default(),
                quiet: Default::default(),
                lasted: Duration::ZERO,
                counts: BTreeMap::new(),
                log: VecDeque::new(),
            },
            dice,
        };
        world.expect(ORIGIN, Act::Tell(CallInput::Connected));
        script.acts.into_iter().for_each(|(at, act)| world.expect(at, act));
        if let Some(at) = deaf_from.filter(|_| has_ears) {
            world.expect(at, Act::Tell(CallInput::Heard(SttEvent::Failed(super::vendors::error("ears")))));
        }
        world.count(ear);
        if turns && has_ears {
            world.count("recogniser tells turns");
        }
        let counts = &mut world.came.counts;
        world.up.count(&mut |what| *counts.entry(what.to_owned()).or_default() += 1);
        script.names.into_iter().for_each(|name| world.count(name));
        world
    }

    pub fn run(mut self) -> Came {
        let mut now = ORIGIN;
        while !self.call.is_over() && now <= self.ends {
            let timer = self.call.poll_timeout().map(|(at, _)| at);
            let input = self.pending.keys().next().copied();
            now = [timer, input.map(|(at, _)| at), Some(self.next_tick)].into_iter().flatten().min().unwrap_or(now);
            match input.filter(|(at, _)| *at == now).and_then(|key| self.pending.remove(&key)) {
                Some(act) => self.act(act, now),
                None if timer == Some(now) => self.call.timeout(now),
                None => self.tick(now),
            }
            self.obey(now);
        }
        // Over RTP a caller who breaks in is taken to have heard what was sent; one who then hangs up at once may not have.
        if let Some(cut) = self.cut.filter(|cut| *cut < now) {
            let frames = self.down.was_on_its_way(now - cut);
            frames.for_each(|frame| self.ledger.may_have_heard(frame));
        }
        self.came.lasted = now - ORIGIN;
        self.came.ledger = self.ledger;
        self.came
    }

    fn act(&mut self, act: Act, now: Moment) {
        let is_words = matches!(&act, Act::HearsUs | Act::Tell(CallInput::Heard(_)));
        if is_words && now > self.deaf_from {
            return;
        }
        let input = match act {
            Act::Tell(input) => input,
            Act::HearsUs => {
                // For all that the call can know the caller spoke.
                self.gives_sign(now);
                CallInput::Heard(echoed(&self.said, now, ORIGIN))
            }
        };
        match &input {
            CallInput::Held(on) => self.held[0] = *on,
            CallInput::Parked(on) => self.held[1] = *on,
            CallInput::Digit(_) => self.gives_sign(now),
            // Late words of a caller who was taken to have said nothing: the wait for them begins anew.
            CallInput::Heard(SttEvent::Final(_)) if self.call.floor() == Holder::Nobody => self.gives_sign(now),
            _ => {}
        }
        if !matches!(input, CallInput::Speech { .. } | CallInput::WordTimes { .. }) {
            self.log(now, &input);
        }
        self.call.handle(input, now);
    }

    fn tick(&mut self, now: Moment) {
        self.next_tick = now + TICK;
        let heard = self.down.play(&mut self.ledger, now);
        if let Some(sound) = self.sounds.iter().find(|sound| (sound.from..sound.from + TICK).contains(&now)) {
            let text = format!("sound for {:?}", sound.to - sound.from);
            self.log(now, &text);
        }
        let mut frame: Frame = std::array::from_fn(|at| [4, -4][at / 8 % 2]);
        self.sounds.iter().filter(|sound| sound.is_on(now)).for_each(|sound| sound.add_to(&mut frame, now));
        self.up.echo(heard, &mut frame);
        if self.sounds.iter().any(|sound| sound.is_on(now)) || self.held.contains(&true) {
            self.gives_sign(now);
        }
        if !self.up.is_lost(&mut self.dice, now) {
            self.call.tap(&frame, now, now);
        }
        self.call.timeout(now);
        self.obey(now);
        for _ in 0..self.down.wants() {
            let mut frame: Frame = [0; FRAME];
            let audible = self.call.pull(&mut frame, self.down.in_flight(), now);
            if audible && frame.iter().any(|s| s.unsigned_abs() > 100) {
                self.gives_sign(now);
            }
            self.down.send(audible, &frame, now);
        }
        self.obey(now);
        self.watch(now);
    }

    fn gives_sign(&mut self, now: Moment) {
        (self.sign, self.waited) = (now, Duration::ZERO);
    }

    fn watch(&mut self, now: Moment) {
        let floor = self.call.floor();
        if floor != self.floor {
            self.floor = floor;
            self.log(now, &floor);
        }
        if self.sign < now && floor == Holder::Nobody {
            self.waited += TICK;
        }
        let quiet = now - self.sign;
        let Came { silence, wait, quiet: both, .. } = &mut self.came;
        for (longest, now) in [(silence, quiet - self.waited.min(quiet)), (wait, self.waited), (both, quiet)] {
            *longest = (*longest).max((now, self.sign - ORIGIN));
        }
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.call.poll_output() {
            self.log(now, &output);
            self.do_as_told(output, now);
        }
    }

    fn log(&mut self, now: Moment, what: &dyn Debug) {
        if self.came.log.len() == LINES {
            self.came.log.pop_front();
        }
        self.came.log.push_back(format!("{:?} {what:?}", now - ORIGIN));
    }

    fn do_as_told(&mut self, output: CallOutput, now: Moment) {
        match output {
            CallOutput::Speak { turn, wanted, .. } => {
                wanted.text.as_str().clone_into(&mut self.said);
                let (due, what) = self.vendors.speak(&mut self.ledger, &mut self.dice, turn, &wanted, now);
                self.count(what);
                self.expect_all(due);
            }
            CallOutput::Reply { turn, request, .. } => {
                self.check_history(&request);
                let (due, what) = self.vendors.answer(&mut self.dice, turn, now);
                self.count(what);
                self.expect_all(due);
            }
            CallOutput::Abandon(stale) => {
                self.ledger.drop_until(stale, now);
                // The end of the call drops everything too, at its very end.
                if !self.call.is_over() {
                    self.cut = Some(now);
                }
                self.forget(|turn, _| turn <= stale);
            }
            CallOutput::GiveUp { turn, sentence } => self.forget(|of, s| (of, s) == (turn, Some(sentence))),
            CallOutput::Transfer { order, .. } => {
                let (due, what) = transfer(&mut self.dice, &order, now);
                self.count(what);
                self.expect_all(due);
            }
            CallOutput::Clear => {
                let dropped = self.down.clear(&mut self.ledger, now);
                self.call.cleared(dropped, now);
            }
            CallOutput::Turn(turn) => self.came.recorded.extend(turn.heard.map(Pii::into_exposed)),
            CallOutput::Interruption(told) => self.came.interruptions.push(*told),
            CallOutput::Event(event) => self.count(&format!("event: {}", event.kind)),
            CallOutput::HangUp(reason) => self.came.end = Some(reason),
            _ => {}
        }
    }

    /// What a model is told was said is all that was heard, and was heard.
    fn check_history(&mut self, request: &ReplyRequest) {
        let said = request.messages.iter().filter(|message| message.role == Role::Assistant);
        let said: Vec<&str> = said.map(|message| message.content.expose().as_str()).collect();
        self.came.told = said.join(" ");
        // What is on its way to the caller will have been heard; that it was is looked at when the call is over.
        let missing = differs(&self.ledger.words, &self.came.told, "in what the model is told");
        self.came.wrong.extend(missing.filter(|what| what.contains("was played and is not")));
        self.count("question to a model");
    }

    /// Vendors that obey send no more of what is not wanted.
    fn forget(&mut self, gone: impl Fn(TurnId, Option<SentenceId>) -> bool) {
        if !self.vendors.late {
            self.pending.retain(|_, act| match act {
                Act::Tell(input) => whose(input).is_none_or(|(turn, sentence)| !gone(turn, sentence)),
                Act::HearsUs => true,
            });
        }
    }

    fn expect(&mut self, at: Moment, act: Act) {
        self.order += 1;
        self.pending.insert((at, self.order), act);
    }

    fn expect_all(&mut self, due: Due) {
        due.into_iter().for_each(|(at, input)| self.expect(at, Act::Tell(input)));
    }

    fn count(&mut self, what: &str) {
        match self.came.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.came.counts.insert(what.to_owned(), 1);
            }
        }
    }
}

/// An ear, what it is called, and whether it needs to hear people.
fn hearing(dice: &mut Dice) -> (Hearing, &'static str, bool) {
    match dice.below(100) {
        0..2 => (Hearing::neural(Network::shared().expect("the network")), "ear: silero", true),
        2..10 => (Hearing::plain(), "ear: earshot", true),
        _ => (Hearing::by(SpeechDetector::new(Box::new(Loudness), SpeechConfig::default())), "ear: loudness", false),
    }
}

/// The turn and sentence that a vendor's input belongs to.
fn whose(input: &CallInput) -> Option<(TurnId, Option<SentenceId>)> {
    match input {
        CallInput::Speech { turn, sentence, .. }
        | CallInput::WordTimes { turn, sentence, .. }
        | CallInput::SpeechRejoined { turn, sentence, .. }
        | CallInput::SpeechEnded { turn, sentence }
        | CallInput::SpeechFailed { turn, sentence, .. } => Some((*turn, Some(*sentence))),
        CallInput::AnswerBegan { turn }
        | CallInput::Answer { turn, .. }
        | CallInput::AnswerEnded { turn }
        | CallInput::AnswerFailed { turn, .. } => Some((*turn, None)),
        _ => None,
    }
}

/// Whatever is loud is speech: what speech is has tests of its own.
struct Loudness;

impl Vad for Loudness {
    fn hop(&self) -> usize {
        FRAME
    }

    fn push(&mut self, hop: &[i16]) -> f32 {
        if hop.iter().any(|s| s.unsigned_abs() > 1000) { 0.95 } else { 0.02 }
    }

    fn reset(&mut self) {}
}

const ORIGIN: Moment = Duration::from_secs(500);
/// A call whose caller does nothing more is over by then.
const ENOUGH: Duration = Duration::from_secs(150);
/// Of a story that are kept.
const LINES: usize = 400;
