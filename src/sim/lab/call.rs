//! A trial played to a whole call on virtual time: ear, floor, mouth and dialog as they are, a bot that speaks through a
//! stand-in voice, and a telephone that adds the echo of what it really received.
//!
//! Recogniser and model are deliberately absent: what is measured is what sound alone decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::playout::SentenceId;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame, SILENCE};

use super::echo::LiveEcho;
use super::score::{Act, Acts};
use super::signal::{MobileCoding, RATE, between, through_mu_law, to_pcm};
use super::trial::{Arrival, Trial};
use crate::call::core::{Call, CallInput, CallOutput, CallSetup, Opening};
use crate::call::hearing::Hearing;
use crate::call::leg::InFlight;
use crate::call::{Moment, TurnId};
use crate::dialog::flow::NoAssets;
use crate::dialog::{CallFacts, Dialog, Flow};
use crate::sim::clock::{Dice, samples};
use crate::telemetry::pii::Pii;
use crate::turn::TurnConfig;
use crate::turn::floor::Holder;

/// Plays trials to calls.
#[derive(Clone)]
pub struct Calls {
    network: &'static Network,
    flow: Arc<Flow>,
}

impl Calls {
    /// # Errors
    /// When the flow that is compiled in does not parse.
    pub fn new(network: &'static Network) -> Result<Self, String> {
        let flow = Flow::parse("lab.yaml", FLOW, &NoAssets).map_err(|error| error.to_string())?;
        Ok(Self { network, flow: Arc::new(flow) })
    }

    /// Plays one from the call's connection to the trial's last packet. Times are samples from the trial's begin.
    pub fn play(&self, trial: &Trial) -> Acts {
        Stage::new(self, trial).play()
    }
}

/// One call, one telephone.
struct Stage<'a> {
    trial: &'a Trial,
    call: Call,
    phone: Phone<'a>,
    /// When the trial's first sample is spoken: at no fixed place between two ticks of the call.
    begins: Moment,
    due: VecDeque<(Moment, CallInput)>,
    /// What was sent, from [`ORIGIN`] on.
    sent: Vec<i16>,
    acts: Acts,
    holding: bool,
    silent: bool,
    /// One past the last sample of ours that was loud enough to be heard, of `sent`.
    voiced: usize,
}

impl<'a> Stage<'a> {
    fn new(calls: &Calls, trial: &'a Trial) -> Self {
        let facts = CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears: false, has_model: false };
        let call = Call::new(CallSetup {
            dialog: Dialog::new(Arc::clone(&calls.flow), facts),
            hearing: Hearing::neural(calls.network),
            turn: TurnConfig::default(),
            longest: LONGEST,
            no_media: LONGEST,
            longest_hold: LONGEST,
            has_ears: false,
            opening: Opening::Inbound,
        });
        let phase = between(&mut Dice::new(trial.id, 2, 2), 0.0, FRAME as f32);
        Self {
            trial,
            call,
            phone: Phone::new(trial),
            begins: ORIGIN + samples(FRAME + phase as usize),
            due: VecDeque::new(),
            sent: Vec::new(),
            acts: Acts::default(),
            holding: false,
            silent: true,
            voiced: 0,
        }
    }

    fn play(mut self) -> Acts {
        self.call.handle(CallInput::Connected, ORIGIN);
        self.obey(ORIGIN);
        let mut tick = 0;
        while self.phone.is_on() && !self.call.is_over() {
            let now = ORIGIN + samples(tick * FRAME);
            self.events_until(now);
            self.tick(now);
            tick += 1;
        }
        self.acts
    }

    /// Voices and timers in the order of their times.
    fn events_until(&mut self, now: Moment) {
        loop {
            let timer = self.call.poll_timeout().map(|(at, _)| at).filter(|at| *at <= now);
            let input = self.due.front().map(|(at, _)| *at).filter(|at| *at <= now);
            match (timer, input) {
                (Some(timer), input) if input.is_none_or(|input| timer < input) => self.call.timeout(timer),
                (_, Some(at)) => {
                    let Some((_, input)) = self.due.pop_front() else { return };
                    self.call.handle(input, at);
                }
                _ => return,
            }
            self.obey(timer.into_iter().chain(input).min().unwrap_or(now));
        }
    }

    /// As the actor does it.
    fn tick(&mut self, now: Moment) {
        while let Some((frame, arrival)) = self.phone.next(self.begins, &self.sent, now) {
            self.call.tap(&frame, arrival, now);
        }
        self.call.timeout(now);
        self.obey(now);
        let mut frame = SILENCE;
        if !self.call.pull(&mut frame, InFlight::default(), now) {
            frame = SILENCE;
        }
        self.obey(now);
        self.watch(&frame, now);
    }

    /// Keeps what was sent, and when the bot fell silent and went on.
    fn watch(&mut self, frame: &Frame, now: Moment) {
        if let Some(last) = frame.iter().rposition(|sample| sample.unsigned_abs() >= AUDIBLE) {
            self.voiced = self.sent.len() + last + 1;
        }
        self.sent.extend_from_slice(frame);
        let is_over = self.voiced + FRAME <= self.sent.len();
        if self.holding && !self.silent && is_over {
            self.silent = true;
            let held = self.acts.last_held().unwrap_or(0);
            self.acts.push(self.sample_of(ORIGIN + samples(self.voiced)).max(held), Act::Silent);
        }
        if self.holding && self.call.floor() == Holder::Bot {
            self.holding = false;
            self.act(Act::Resumed, now);
        }
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.call.poll_output() {
            match output {
                CallOutput::Speak { turn, wanted, .. } => self.speak(turn, wanted.sentence, now),
                CallOutput::Abandon(stale) => self.due.retain(|(_, input)| turn_of(input).is_none_or(|of| of > stale)),
                CallOutput::Clear if !self.holding => {
                    (self.holding, self.silent) = (true, false);
                    self.act(Act::Held, now);
                }
                CallOutput::Event(event) if event.kind == "barge_in" => self.act(Act::Committed, now),
                _ => {}
            }
        }
    }

    /// The voice says what the trial's bot says at that time, faster than it is played.
    fn speak(&mut self, turn: TurnId, sentence: SentenceId, now: Moment) {
        let from = self.sample_of(now + FIRST_AUDIO).min(self.trial.bot.len());
        let (_, rest) = self.trial.bot.split_at(from);
        let rest = if rest.is_empty() { &SILENCE } else { rest };
        let mut at = now + FIRST_AUDIO;
        for chunk in rest.chunks(CHUNK) {
            self.due.push_back((at, CallInput::Speech { turn, sentence, samples: chunk.into() }));
            at += samples(CHUNK / 2);
        }
        self.due.push_back((at, CallInput::SpeechEnded { turn, sentence }));
    }

    fn act(&mut self, act: Act, now: Moment) {
        let at = self.sample_of(now);
        if at > self.trial.intro {
            self.acts.push(at, act);
        }
    }

    /// The trial's sample that is spoken at a moment.
    fn sample_of(&self, moment: Moment) -> usize {
        (moment.saturating_sub(self.begins).as_micros() / 125) as usize
    }
}

/// What the caller holds in hand: a microphone that picks up the loudspeaker.
struct Phone<'a> {
    trial: &'a Trial,
    arrivals: Vec<Arrival>,
    echo: Option<LiveEcho>,
    coding: Option<MobileCoding>,
    packet: usize,
}

impl<'a> Phone<'a> {
    fn new(trial: &'a Trial) -> Self {
        Self {
            trial,
            arrivals: trial.arrivals(),
            echo: trial.echo.as_ref().map(super::EchoPath::live),
            coding: trial.mobile.then(MobileCoding::new),
            packet: 0,
        }
    }

    fn is_on(&self) -> bool {
        self.packet < self.arrivals.len()
    }

    /// The next packet that has arrived by `now`.
    fn next(&mut self, begins: Moment, sent: &[i16], now: Moment) -> Option<(Frame, Moment)> {
        let fate = self.arrivals.get(self.packet)?;
        let arrival = begins + samples((self.packet + 1) * FRAME + fate.late);
        if arrival > now {
            return None;
        }
        let lost = fate.lost;
        let first = self.packet * FRAME;
        let mut wave: Vec<f32> =
            self.trial.caller.iter().skip(first).take(FRAME).map(|&sample| f32::from(sample)).collect();
        if let Some(echo) = &mut self.echo {
            let from = (begins.saturating_sub(ORIGIN).as_micros() / 125) as usize + first;
            let played = (from..from + FRAME).map(|at| sent.get(at).copied().map_or(0.0, f32::from));
            let mut back = [0.0; FRAME];
            echo.block(&played.collect::<Vec<f32>>(), &mut back);
            super::signal::add(&mut wave, &back);
        }
        if let Some(coding) = &mut self.coding {
            coding.run(&mut wave);
        }
        self.packet += 1;
        let mut frame = SILENCE;
        if !lost {
            frame.iter_mut().zip(through_mu_law(&to_pcm(&wave))).for_each(|(place, sample)| *place = sample);
        }
        Some((frame, arrival))
    }
}

fn turn_of(input: &CallInput) -> Option<TurnId> {
    match input {
        CallInput::Speech { turn, .. } | CallInput::SpeechEnded { turn, .. } => Some(*turn),
        _ => None,
    }
}

/// Far from zero, so that a time that is taken for a span shows.
const ORIGIN: Moment = Duration::from_secs(1000);
const LONGEST: Duration = Duration::from_secs(3600);
const FIRST_AUDIO: Duration = Duration::from_millis(20);
/// 300 ms of sound, made in half the time.
const CHUNK: usize = 3 * RATE / 10;
/// -50 dBFS.
const AUDIBLE: u16 = 104;

/// One long sentence that may be broken into by speech, again and again.
const FLOW: &str = "
name: lab
endless: true
steps:
  talk:
    say: We would like to tell you about everything that we offer to you and to all of your friends and how you can have it
    barge_in: speech
    endpoint_ms: 300
    wait_ms: 500
    goto: self
";
