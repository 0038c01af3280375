//! Voices and models that are quick, slow, broken or silent, as the dice have it.

use std::time::Duration;

use offhook::call::core::CallInput;
use offhook::call::mouth::Wanted;
use offhook::call::transfer::{Impossible, Order, TargetEvent, TransferEvent};
use offhook::call::{Moment, TurnId};
use offhook::providers::{ProviderError, WordTime};
use offhook::safety::said::clear;
use offhook::sim::clock::Dice;
use offhook::store::record::EndReason;
use offhook_media::playout::SentenceId;

use super::words::Ledger;

/// How the vendors of a call are.
pub struct Vendors {
    /// The share of what goes wrong.
    trouble: f64,
    outage: Option<Outage>,
    /// They go on after they were told to stop.
    pub late: bool,
}

/// Some of the vendors, or all of them, are down for a while, or from then on.
#[derive(Clone, Copy, Debug)]
struct Outage {
    from: Moment,
    to: Moment,
    voice: bool,
    model: bool,
    how: Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    /// Errors, at once.
    Dies,
    /// Nothing at all.
    Stalls,
    /// What looks like an answer and is none.
    Lies,
}

/// What will come, and when.
pub type Due = Vec<(Moment, CallInput)>;

impl Vendors {
    pub fn draw(dice: &mut Dice) -> Self {
        let trouble = match dice.below(20) {
            0..10 => 0.0,
            10..19 => 0.3 * dice.unit(),
            // Everything may be down.
            _ => 1.0,
        };
        Self { trouble, outage: None, late: dice.below(5) == 0 }
    }

    /// With an outage by dice of its own. Gives when the recogniser goes down with the others, if it does.
    pub fn with_outage(mut self, dice: &mut Dice, begins: Moment, lasts: Duration) -> (Self, Option<Moment>) {
        if dice.below(4) > 0 {
            return (self, None);
        }
        let from = begins + lasts.mul_f64(dice.unit());
        let to = if dice.below(2) == 0 { Moment::MAX } else { from + seconds(dice, 1.0, 20.0) };
        let which = 1 + dice.below(7);
        let how = [Down::Dies, Down::Stalls, Down::Lies][dice.below(3)];
        self.outage = Some(Outage { from, to, voice: which & 1 > 0, model: which & 2 > 0, how });
        (self, (which & 4 > 0).then_some(from))
    }

    fn down(&self, now: Moment, of: fn(&Outage) -> bool) -> Option<Down> {
        self.outage
            .as_ref()
            .filter(|outage| (outage.from..outage.to).contains(&now) && of(outage))
            .map(|outage| outage.how)
    }

    /// A voice: prompt or slow, whole, broken off, halting, mute or gone.
    pub fn speak(
        &self,
        ledger: &mut Ledger,
        dice: &mut Dice,
        turn: TurnId,
        wanted: &Wanted,
        now: Moment,
    ) -> (Due, &'static str) {
        let sentence = wanted.sentence;
        let wrong = dice.unit() < self.trouble;
        let first = now + if wrong { seconds(dice, 0.1, 3.5) } else { seconds(dice, 0.05, 0.6) };
        let failed = |at| (at, CallInput::SpeechFailed { turn, sentence, error: error("voice") });
        let way = if wrong { dice.below(8) } else { 0 };
        match self.down(now, |outage| outage.voice) {
            Some(Down::Dies) => return (vec![failed(now + TICK)], "voice is down"),
            Some(Down::Stalls) => return (Vec::new(), "voice is down"),
            Some(Down::Lies) => {
                return (vec![(now + TICK, CallInput::SpeechEnded { turn, sentence })], "voice is down");
            }
            None => {}
        }
        match way {
            1 => return (vec![failed(first)], "voice fails"),
            2 => return (Vec::new(), "voice is silent"),
            3 => return (vec![(first, CallInput::SpeechEnded { turn, sentence })], "voice is mute"),
            _ => {}
        }
        let (audio, words) = ledger.make(&wanted.text, turn);
        if way == 7 && words.len() > 2 {
            return (changes(dice, turn, sentence, &audio, words, first), "voice changes");
        }
        let whole = if matches!(way, 4 | 5) { audio.len() / 2 } else { audio.len() };
        let mut due = vec![(first, CallInput::WordTimes { turn, sentence, words })];
        // 300 ms of audio; a halting voice takes longer to make it than it plays.
        let pace = Duration::from_millis(if way == 6 { 200 + dice.below(900) as u64 } else { 60 });
        let mut at = first;
        for chunk in audio[..whole].chunks(300 * 8) {
            due.push((at, CallInput::Speech { turn, sentence, samples: chunk.into() }));
            at += pace;
        }
        let name = match way {
            4 => {
                due.push(failed(at));
                "voice breaks off"
            }
            5 => "voice falls silent",
            _ => {
                due.push((at, CallInput::SpeechEnded { turn, sentence }));
                ["voice speaks", "voice halts"][usize::from(way == 6)]
            }
        };
        (due, name)
    }

    /// A model: some sentences, sooner or later, whole, broken off or never.
    pub fn answer(&self, dice: &mut Dice, turn: TurnId, now: Moment) -> (Due, &'static str) {
        let wrong = dice.unit() < self.trouble;
        match self.down(now, |outage| outage.model) {
            Some(Down::Dies) => {
                let failed = CallInput::AnswerFailed { turn, error: error("model") };
                return (vec![(now + TICK, failed)], "model is down");
            }
            Some(Down::Stalls) => return (Vec::new(), "model is down"),
            Some(Down::Lies) => return (vec![(now + TICK, CallInput::AnswerEnded { turn })], "model is down"),
            None => {}
        }
        let mut at = now + if wrong { seconds(dice, 0.3, 9.0) } else { seconds(dice, 0.1, 1.2) };
        if wrong && dice.unit() < 0.3 {
            return (Vec::new(), "model is silent");
        }
        let mut due = vec![(at, CallInput::AnswerBegan { turn })];
        for _ in 0..dice.below(if wrong { 4 } else { 3 }) + usize::from(!wrong) {
            due.push((at, CallInput::Answer { turn, sentence: clear(ANSWERS[dice.below(ANSWERS.len())]) }));
            at += if wrong { seconds(dice, 0.05, 3.0) } else { seconds(dice, 0.05, 0.5) };
        }
        match dice.below(4) {
            0 | 1 if wrong => {
                due.push((at, CallInput::AnswerFailed { turn, error: error("model") }));
                (due, "model fails")
            }
            2 if wrong => (due, "model falls silent"),
            _ => {
                due.push((at, CallInput::AnswerEnded { turn }));
                (due, "model answers")
            }
        }
    }
}

/// A voice that breaks off in a word, and another one that goes on with this word.
fn changes(
    dice: &mut Dice,
    turn: TurnId,
    sentence: SentenceId,
    audio: &[i16],
    mut words: Vec<WordTime>,
    first: Moment,
) -> Due {
    let cut = 1 + dice.below(words.len() - 1);
    let word = words[cut].samples.clone();
    let broken = word.start + (word.end - word.start) * dice.below(10) as u64 / 10;
    let rest = words.split_off(cut);
    let mut due = vec![(first, CallInput::WordTimes { turn, sentence, words })];
    let mut at = first;
    let speech = |part: &[i16]| CallInput::Speech { turn, sentence, samples: part.into() };
    for chunk in audio[..broken as usize].chunks(300 * 8) {
        due.push((at, speech(chunk)));
        at += TICK * 3;
    }
    at += seconds(dice, 0.0, 2.5);
    due.push((at, CallInput::SpeechRejoined { turn, sentence, keep: word.start }));
    due.push((at, CallInput::WordTimes { turn, sentence, words: rest }));
    for chunk in audio[word.start as usize..].chunks(300 * 8) {
        due.push((at, speech(chunk)));
        at += TICK * 3;
    }
    due.push((at, CallInput::SpeechEnded { turn, sentence }));
    due
}

/// What becomes of a transfer that is asked for.
pub fn transfer(dice: &mut Dice, order: &Order, now: Moment) -> (Due, &'static str) {
    let mut at = now;
    let mut due = Vec::new();
    let mut then = |after: Duration, event: TransferEvent| {
        at += after;
        due.push((at, CallInput::Transfer(event)));
    };
    let ringing = seconds(dice, 0.5, 9.0);
    let name = match (order, dice.below(6)) {
        (Order::Join, _) => {
            then(TICK, TransferEvent::Accepted);
            then(TICK, TransferEvent::Finished(200));
            "transfer is joined"
        }
        (Order::Leave | Order::Drop, _) => return (due, "transfer is left"),
        (_, 0) => {
            then(TICK, TransferEvent::Impossible(Impossible::NoCall));
            "transfer is impossible"
        }
        (_, 1) => "transfer is never told of",
        (Order::Refer, 2) => {
            then(TICK, TransferEvent::Refused(603));
            "transfer is refused"
        }
        (Order::Refer, way) => {
            then(TICK, TransferEvent::Accepted);
            then(TICK, TransferEvent::Progress(180));
            then(ringing, TransferEvent::Finished(if way == 3 { 200 } else { 486 }));
            "transfer is tried"
        }
        (Order::Call, way) => {
            let target = TransferEvent::Target;
            then(TICK, target(TargetEvent::Ringing));
            if way < 4 {
                then(ringing, target(TargetEvent::Answered));
                then(TICK * 100, target(TargetEvent::Briefed));
            } else {
                then(ringing, target(TargetEvent::Gone(EndReason::Busy)));
            }
            "transfer is called"
        }
    };
    (due, name)
}

pub fn seconds(dice: &mut Dice, least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(least + (most - least) * dice.unit())
}

pub fn error(vendor: &'static str) -> ProviderError {
    ProviderError::Status { vendor, status: 500 }
}

const TICK: Duration = Duration::from_millis(20);

const ANSWERS: [&str; 6] = [
    "The green lamp costs nineteen francs, and it is ready by Thursday noon.",
    "Yes.",
    "We keep chairs of oak, ash and walnut in the back room behind the stairs.",
    "Would you like me to put one aside for you?",
    "Certainly, I have written that down for our colleagues in the workshop.",
    "Deliveries leave every weekday at seven, unless snow closes the upper road.",
];
