//! A conversation on virtual time: a caller who says pieces of sound whose words are known, a recogniser that tells these words
//! late, a model and a voice that answer as fast as good ones do.
//!
//! What a recogniser would make of the sound is deliberately absent: words come for whatever is said, so that only what is
//! made of them is measured.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

use super::call::begins;
use super::phone::Phone;
use super::stage::{Due, ORIGIN, Scene, Stage, setup};
use super::trial::Trial;
use crate::call::core::{CallInput, CallOutput, Counts};
use crate::call::{Moment, TurnId};
use crate::dialog::Flow;
use crate::providers::{Recognised, SttEvent};
use crate::safety::said::clear;
use crate::sim::clock::samples;
use crate::telemetry::pii::Pii;
use crate::turn::floor::Holder;

/// Something that the caller says.
#[derive(Clone, Debug)]
pub struct Piece {
    pub text: String,
    /// The trial's samples in which it is said.
    pub said: Range<usize>,
    /// How long after it was said its words come.
    pub late: Duration,
}

/// What is measured of a conversation.
pub struct Talk<'a> {
    pub trial: &'a Trial,
    pub pieces: &'a [Piece],
    /// What is heard of the bot's first sentence, in samples of the trial's bot.
    pub prompt: usize,
    /// What the model says.
    pub answer: &'static str,
}

/// What became of a conversation.
#[derive(Debug, Default)]
pub struct Talked {
    /// Sentences that the voice was asked for, in samples of the trial.
    pub asked: Vec<(usize, String)>,
    /// Steps in the order in which they were entered.
    pub steps: Vec<(usize, String)>,
    pub counts: Counts,
}

impl Talk<'_> {
    /// Holds it, up to the trial's end.
    pub fn hold(&self, network: &'static Network, flow: &Arc<Flow>) -> Talked {
        let begins = begins(self.trial);
        let mut due = Due::default();
        self.pieces.iter().for_each(|piece| piece.recognised(begins, &mut due));
        let scene = Telephone {
            phone: Phone::new(self.trial, begins),
            bot: Arc::clone(&self.trial.bot),
            prompt: self.prompt,
            answer: self.answer,
            begins,
            sent: Vec::new(),
            talked: Talked::default(),
        };
        let (scene, counts) = Stage::new(setup(network, flow, true), scene, due).play();
        Talked { counts, ..scene.talked }
    }
}

impl Piece {
    /// Its words, which may still change, and then for good in a silence of 300 ms.
    fn recognised(&self, begins: Moment, due: &mut Due) {
        let (from, to) = (begins + samples(self.said.start), begins + samples(self.said.end));
        let words = Recognised {
            text: Pii::new(self.text.clone()),
            confidence: 0.9,
            start: from.saturating_sub(ORIGIN),
            end: to.saturating_sub(ORIGIN),
        };
        due.expect(to + self.late, CallInput::Heard(SttEvent::Interim(words.clone())));
        due.expect(to + SETTLES + self.late, CallInput::Heard(SttEvent::Final(words)));
    }
}

struct Telephone {
    phone: Phone,
    bot: Arc<[i16]>,
    prompt: usize,
    answer: &'static str,
    begins: Moment,
    sent: Vec<i16>,
    talked: Talked,
}

impl Telephone {
    fn sample_of(&self, moment: Moment) -> usize {
        (moment.saturating_sub(self.begins).as_micros() / 125) as usize
    }

    fn answers(&self, turn: TurnId, due: &mut Due, now: Moment) {
        let at = now + MODEL;
        due.expect(at, CallInput::AnswerBegan { turn });
        due.expect(at, CallInput::Answer { turn, sentence: clear(self.answer) });
        due.expect(at, CallInput::AnswerEnded { turn });
    }
}

impl Scene for Telephone {
    fn is_on(&self) -> bool {
        self.phone.is_on()
    }

    fn next(&mut self, now: Moment) -> Option<(Frame, Moment)> {
        self.phone.next(&self.sent, now)
    }

    fn sent(&mut self, frame: &Frame, _: bool, _: Holder, _: Moment) {
        self.sent.extend_from_slice(frame);
    }

    fn asked(&mut self, output: &CallOutput, due: &mut Due, now: Moment) {
        match output {
            CallOutput::Speak { turn, wanted, .. } => {
                let length = if self.talked.asked.is_empty() { self.prompt } else { ANSWER };
                let audio = self.bot.get(..length).unwrap_or(&self.bot);
                due.speech(*turn, wanted.sentence, audio, now + VOICE);
                self.talked.asked.push((self.sample_of(now), wanted.text.as_str().to_owned()));
            }
            CallOutput::Reply { turn, .. } => self.answers(*turn, due, now),
            CallOutput::Event(event) if event.kind == "step" => {
                let step = event.detail.as_ref().and_then(|detail| detail.expose().get("step")?.as_str());
                self.talked.steps.extend(step.map(|step| (self.sample_of(now), step.to_owned())));
            }
            _ => {}
        }
    }
}

/// A recogniser settles its words in a silence of this length.
const SETTLES: Duration = Duration::from_millis(300);
/// To the model's first and only sentence.
const MODEL: Duration = Duration::from_millis(100);
/// To a voice's first audio.
const VOICE: Duration = Duration::from_millis(60);
/// 2 s of the bot's voice.
const ANSWER: usize = 100 * FRAME;
