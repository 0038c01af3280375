//! A trial played to a whole call on virtual time: ear, floor, mouth and dialog as they are, a bot that speaks through a
//! stand-in voice, and a telephone that adds the echo of what it really received.
//!
//! Recogniser and model are deliberately absent: what is measured is what sound alone decides.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame, SILENCE};

use super::phone::Phone;
use super::score::{Act, Acts};
use super::signal::between;
use super::stage::{Due, ORIGIN, Scene, Stage, flow, setup};
use super::trial::Trial;
use crate::call::Moment;
use crate::call::core::CallOutput;
use crate::dialog::Flow;
use crate::sim::clock::{Dice, samples};
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
        Ok(Self { network, flow: flow(FLOW)? })
    }

    /// Plays one from the call's connection to the trial's last packet. Times are samples from the trial's begin.
    pub fn play(&self, trial: &Trial) -> Acts {
        let setup = setup(self.network, &self.flow, false);
        Stage::new(setup, Watched::new(trial), Due::default()).play().0.acts
    }
}

/// When a trial's first sample is spoken: at no fixed place between two ticks of the call.
pub fn begins(trial: &Trial) -> Moment {
    let phase = between(&mut Dice::new(trial.id, 2, 2), 0.0, FRAME as f32);
    ORIGIN + samples(FRAME + phase as usize)
}

/// One call, one telephone, and what the bot is seen to do.
struct Watched {
    bot: Arc<[i16]>,
    intro: usize,
    phone: Phone,
    begins: Moment,
    /// What was sent, from [`ORIGIN`] on.
    sent: Vec<i16>,
    acts: Acts,
    holding: bool,
    silent: bool,
    /// One past the last sample of ours that was loud enough to be heard, of `sent`.
    voiced: usize,
}

impl Watched {
    fn new(trial: &Trial) -> Self {
        let begins = begins(trial);
        Self {
            bot: Arc::clone(&trial.bot),
            intro: trial.intro,
            phone: Phone::new(trial, begins),
            begins,
            sent: Vec::new(),
            acts: Acts::default(),
            holding: false,
            silent: true,
            voiced: 0,
        }
    }

    fn act(&mut self, act: Act, now: Moment) {
        let at = self.sample_of(now);
        if at > self.intro {
            self.acts.push(at, act);
        }
    }

    /// The trial's sample that is spoken at a moment.
    fn sample_of(&self, moment: Moment) -> usize {
        (moment.saturating_sub(self.begins).as_micros() / 125) as usize
    }
}

impl Scene for Watched {
    fn is_on(&self) -> bool {
        self.phone.is_on()
    }

    fn next(&mut self, now: Moment) -> Option<(Frame, Moment)> {
        self.phone.next(&self.sent, now)
    }

    /// Keeps what was sent, and when the bot fell silent and went on.
    fn sent(&mut self, frame: &Frame, _: bool, floor: Holder, now: Moment) {
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
        if self.holding && floor == Holder::Bot {
            self.holding = false;
            self.act(Act::Resumed, now);
        }
    }

    fn asked(&mut self, output: &CallOutput, due: &mut Due, now: Moment) {
        match output {
            // The voice says what the trial's bot says at that time.
            CallOutput::Speak { turn, wanted, .. } => {
                let from = self.sample_of(now + FIRST_AUDIO).min(self.bot.len());
                let rest = self.bot.get(from..).filter(|rest| !rest.is_empty()).unwrap_or(&SILENCE);
                due.speech(*turn, wanted.sentence, rest, now + FIRST_AUDIO);
            }
            CallOutput::Clear if !self.holding => {
                (self.holding, self.silent) = (true, false);
                self.act(Act::Held, now);
            }
            CallOutput::Event(event) if event.kind == "barge_in" => self.act(Act::Committed, now),
            _ => {}
        }
    }
}

const FIRST_AUDIO: Duration = Duration::from_millis(20);
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
