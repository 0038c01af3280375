//! A call on virtual time: ticks, timers and vendors in the order of their times, as its actor keeps it. What stands around
//! the call, from the telephone to the vendors, is a [`Scene`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::playout::SentenceId;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame, SILENCE};

use crate::call::core::{Call, CallInput, CallOutput, CallSetup, Counts, Opening};
use crate::call::hearing::Hearing;
use crate::call::leg::InFlight;
use crate::call::{Moment, TurnId};
use crate::dialog::flow::NoAssets;
use crate::dialog::{CallFacts, Dialog, Flow};
use crate::sim::clock::samples;
use crate::telemetry::pii::Pii;
use crate::turn::TurnConfig;
use crate::turn::floor::Holder;

/// What a call meets with.
pub trait Scene {
    /// Whether there is more to come.
    fn is_on(&self) -> bool;

    /// The next packet of the telephone that has arrived by `now`, and when it did.
    fn next(&mut self, now: Moment) -> Option<(Frame, Moment)>;

    /// 20 ms of ours leave; `audible` when there is anything to be said.
    fn sent(&mut self, frame: &Frame, audible: bool, floor: Holder, now: Moment);

    /// The call asks for something. What comes of it is expected in `due`.
    fn asked(&mut self, output: &CallOutput, due: &mut Due, now: Moment);

    /// How many frames the far side wants at this tick.
    fn wants(&self) -> usize {
        1
    }

    fn in_flight(&self) -> InFlight {
        InFlight::default()
    }

    /// What the far side has not played shall not be heard: how much that was.
    fn clear(&mut self, _now: Moment) -> Duration {
        Duration::ZERO
    }
}

/// What is going to happen.
#[derive(Debug, Default)]
pub struct Due {
    inputs: BTreeMap<(Moment, u64), CallInput>,
    order: u64,
}

impl Due {
    pub fn expect(&mut self, at: Moment, input: CallInput) {
        self.order += 1;
        self.inputs.insert((at, self.order), input);
    }

    /// A voice says `audio`: all of it in half of the time that it takes, the first of it at `at`. Gives when it has ended.
    pub fn speech(&mut self, turn: TurnId, sentence: SentenceId, audio: &[i16], mut at: Moment) -> Moment {
        for chunk in audio.chunks(CHUNK) {
            self.expect(at, CallInput::Speech { turn, sentence, samples: chunk.into() });
            at += samples(CHUNK / 2);
        }
        self.expect(at, CallInput::SpeechEnded { turn, sentence });
        at
    }

    fn next(&self) -> Option<Moment> {
        self.inputs.keys().next().map(|(at, _)| *at)
    }

    fn take(&mut self) -> Option<(Moment, CallInput)> {
        self.inputs.pop_first().map(|((at, _), input)| (at, input))
    }

    fn abandon(&mut self, stale: TurnId) {
        self.inputs.retain(|_, input| turn_of(input).is_none_or(|of| of > stale));
    }
}

/// A call with what stands around it.
pub struct Stage<S> {
    call: Call,
    scene: S,
    due: Due,
}

impl<S: Scene> Stage<S> {
    /// `due` holds what happens whatever the call does.
    pub fn new(setup: CallSetup, scene: S, due: Due) -> Self {
        Self { call: Call::new(setup), scene, due }
    }

    /// Plays from the connection, which is at [`ORIGIN`], until the scene or the call is over.
    pub fn play(mut self) -> (S, Counts) {
        self.call.handle(CallInput::Connected, ORIGIN);
        self.obey(ORIGIN);
        let mut tick = 0;
        while self.scene.is_on() && !self.call.is_over() {
            let now = ORIGIN + samples(tick * FRAME);
            self.events_until(now);
            self.tick(now);
            tick += 1;
        }
        (self.scene, self.call.counts())
    }

    fn events_until(&mut self, now: Moment) {
        loop {
            let timer = self.call.poll_timeout().map(|(at, _)| at).filter(|at| *at <= now);
            let input = self.due.next().filter(|at| *at <= now);
            match (timer, input) {
                (Some(timer), input) if input.is_none_or(|input| timer < input) => self.call.timeout(timer),
                (_, Some(_)) => {
                    let Some((at, input)) = self.due.take() else { return };
                    self.call.handle(input, at);
                }
                _ => return,
            }
            self.obey(timer.into_iter().chain(input).min().unwrap_or(now));
        }
    }

    /// As the actor does it.
    fn tick(&mut self, now: Moment) {
        while let Some((frame, arrival)) = self.scene.next(now) {
            self.call.tap(&frame, arrival, now);
        }
        self.call.timeout(now);
        self.obey(now);
        for _ in 0..self.scene.wants() {
            let mut frame = SILENCE;
            let audible = self.call.pull(&mut frame, self.scene.in_flight(), now);
            if !audible {
                frame = SILENCE;
            }
            self.obey(now);
            self.scene.sent(&frame, audible, self.call.floor(), now);
        }
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.call.poll_output() {
            match &output {
                CallOutput::Abandon(stale) => self.due.abandon(*stale),
                CallOutput::Clear => {
                    let dropped = self.scene.clear(now);
                    self.call.cleared(dropped, now);
                }
                _ => {}
            }
            self.scene.asked(&output, &mut self.due, now);
        }
    }
}

/// A call through this flow, with or without a recogniser.
pub fn setup(network: &'static Network, flow: &Arc<Flow>, has_ears: bool) -> CallSetup {
    let facts = CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears, has_model: has_ears };
    CallSetup {
        dialog: Dialog::new(Arc::clone(flow), facts),
        hearing: Hearing::neural(network),
        turn: TurnConfig::default(),
        longest: LONGEST,
        no_media: LONGEST,
        longest_hold: LONGEST,
        has_ears,
        opening: Opening::Inbound,
    }
}

/// # Errors
/// When a flow of the laboratory does not parse.
pub fn flow(yaml: &str) -> Result<Arc<Flow>, String> {
    Flow::parse("lab.yaml", yaml, &NoAssets).map(Arc::new).map_err(|error| error.to_string())
}

/// The turn that a vendor's input belongs to.
fn turn_of(input: &CallInput) -> Option<TurnId> {
    match input {
        CallInput::Speech { turn, .. }
        | CallInput::WordTimes { turn, .. }
        | CallInput::SpeechRejoined { turn, .. }
        | CallInput::SpeechEnded { turn, .. }
        | CallInput::SpeechFailed { turn, .. }
        | CallInput::AnswerBegan { turn }
        | CallInput::Answer { turn, .. }
        | CallInput::AnswerEnded { turn }
        | CallInput::AnswerFailed { turn, .. } => Some(*turn),
        _ => None,
    }
}

/// When calls are connected: far from zero, so that a time that is taken for a span shows.
pub const ORIGIN: Moment = Duration::from_secs(1000);
const LONGEST: Duration = Duration::from_secs(3600);
/// 300 ms of sound.
const CHUNK: usize = 2400;
