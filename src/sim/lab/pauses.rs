//! Callers who pause in the middle of what they say, for 500 to 1200 ms: how often they are cut in on, and how long those who
//! have ended wait.
//!
//! The sound is recorded speech of readers, the words are written for the purpose: what tells the end of a turn is when sound
//! falls silent and how the words end, not whether they fit each other.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::FRAME;
use offhook_media::silero::Network;

use super::condition::Condition;
use super::run::share_out;
use super::signal::{RATE, add, between, choose, seconds};
use super::stage::flow;
use super::talk::{Piece, Talk, Talked};
use super::trial::{Said, Trial, Trials, level};
use super::voices::Utterance;
use crate::dialog::Flow;
use crate::sim::clock::Dice;

/// What kind of thing is said, to what kind of step.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    flow: &'static str,
    /// Each of them is said in one call, piece by piece.
    said: &'static [&'static [&'static str]],
    sound: Sound,
    late_ms: (f32, f32),
    /// The recogniser puts marks and capitals.
    marks: bool,
    /// What the bot says when it believes that the turn is over.
    answer: &'static str,
    /// Part of what is promised.
    pub counts: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Sound {
    Prompts,
    /// A short word for each digit.
    Digits,
}

/// A turn of a caller, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub kind: &'static Kind,
    pub room: &'static Condition,
    pub number: u64,
    pub pauses: usize,
    pub met: Met,
}

/// How the end of a turn was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Met {
    /// So long after the last sound.
    Waited(f32),
    /// The bot began to answer in a pause; where it took that back, it became one turn all the same.
    CutIn { one_turn: bool },
    /// Not within 4 s.
    Missed,
}

pub static KINDS: [Kind; 8] = [
    Kind { name: "sentence in pieces", ..SENTENCE },
    Kind {
        name: "number in groups",
        flow: NUMBER,
        said: &DIGITS,
        sound: Sound::Digits,
        answer: "Thank you.",
        ..SENTENCE
    },
    Kind { name: "a choice in a word or two", flow: CHOICE, said: &CHOICES, answer: "Thank you.", ..SENTENCE },
    Kind { name: "sentence in pieces, words 400 ms late", late_ms: (350.0, 450.0), counts: false, ..SENTENCE },
    Kind { name: "sentence in pieces, recogniser without marks", marks: false, counts: false, ..SENTENCE },
    Kind {
        name: "number in groups, words 400 ms late",
        flow: NUMBER,
        said: &DIGITS,
        sound: Sound::Digits,
        answer: "Thank you.",
        late_ms: (350.0, 450.0),
        counts: false,
        ..SENTENCE
    },
    Kind {
        name: "number in groups, length unknown",
        flow: ANY_NUMBER,
        said: &DIGITS,
        sound: Sound::Digits,
        answer: "Thank you.",
        counts: false,
        ..SENTENCE
    },
    Kind { name: "pause behind a whole sentence", said: &WHOLE, counts: false, ..SENTENCE },
];

/// Has about so many turns of these kinds taken on these lines.
///
/// # Errors
/// When a flow that is compiled in does not parse.
pub fn turns(
    kinds: &'static [Kind],
    rooms: &'static [Condition],
    trials: &Trials,
    network: &'static Network,
    wanted: usize,
    threads: usize,
) -> Result<Vec<Turn>, String> {
    let flows: Vec<Arc<Flow>> = kinds.iter().map(|kind| flow(kind.flow)).collect::<Result<_, _>>()?;
    let each = wanted.div_ceil(kinds.len() * rooms.len()) as u64;
    let rooms = |kind| rooms.iter().flat_map(move |room| (0..each).map(move |number| (kind, room, number)));
    let work: Vec<_> = kinds.iter().zip(&flows).flat_map(rooms).collect();
    let taken = share_out(&work, threads, |&((kind, flow), room, number)| {
        let told = Told::new(trials, kind, room, number)?;
        let talk = Talk { trial: &told.trial, pieces: &told.pieces, prompt: PROMPT, answer: ANSWER };
        let met = told.met(&talk.hold(network, flow), kind);
        Some(Turn { kind, room, number, pauses: told.pieces.len() - 1, met })
    });
    Ok(taken.into_iter().flatten().collect())
}

/// A call in which the pieces are said.
struct Told {
    trial: Trial,
    pieces: Vec<Piece>,
}

impl Told {
    /// None where the voices have nothing to say.
    fn new(trials: &Trials, kind: &Kind, room: &'static Condition, number: u64) -> Option<Self> {
        let dice = &mut trials.dice(room, number ^ SALT);
        let level = level(dice);
        let said = kind.said.get(number as usize % kind.said.len())?;
        let (mut sounds, mut pieces, mut at) = (Vec::new(), Vec::new(), BEGINS);
        let readers = match kind.sound {
            Sound::Prompts => trials.voices.callers(trials.split),
            Sound::Digits => trials.voices.words(trials.split),
        };
        let reader = *choose(dice, &readers)?;
        for text in *said {
            let sound = kind.sound.make(reader, text, level, dice)?;
            let late = Duration::from_secs_f32(between(dice, kind.late_ms.0, kind.late_ms.1) / 1000.0);
            let text = if kind.marks { (*text).to_owned() } else { without_marks(text) };
            pieces.push(Piece { text, said: at..at + sound.end - sound.onset, late });
            let pause = seconds(between(dice, 0.5, 1.2));
            let next = at + sound.end - sound.onset + pause;
            sounds.push((at - sound.onset, sound));
            at = next;
        }
        let (first, end) = (pieces.first()?.said.start, pieces.last()?.said.end);
        let (mut wave, noise) = trials.background(room, dice, (end + AFTER).next_multiple_of(FRAME), level);
        sounds.iter().for_each(|(from, sound)| add(&mut wave[*from..], &sound.wave));
        let trial = trials.line(room, dice, wave, 0);
        Some(Self { trial: Trial { number, noise, onset: Some(first), end: Some(end), ..trial }, pieces })
    }

    fn met(&self, talked: &Talked, kind: &Kind) -> Met {
        let ended = self.trial.end.unwrap_or(0);
        let answered = talked.asked.iter().rfind(|(_, text)| text.contains(kind.answer)).map(|(at, _)| *at);
        let early = talked.asked.iter().any(|(at, _)| (BEGINS..ended).contains(at));
        if early || talked.counts.cut_ins > 0 || talked.counts.turns > 1 {
            return Met::CutIn { one_turn: talked.counts.turns == 1 };
        }
        answered.map_or(Met::Missed, |at| Met::Waited((at - ended) as f32 * 1000.0 / RATE as f32))
    }
}

impl Sound {
    fn make(&self, reader: &[Utterance], text: &str, level: f32, dice: &mut Dice) -> Option<Said> {
        if *self == Self::Prompts {
            return Some(Said::cut(choose(dice, reader)?, level));
        }
        let mut all = Said::cut(choose(dice, reader)?, level);
        for _ in 1..digits(text) {
            let next = Said::cut(choose(dice, reader)?, level);
            let from = (all.end + seconds(between(dice, 0.05, 0.12))).saturating_sub(next.onset);
            all.wave.resize(all.wave.len().max(from + next.wave.len()), 0.0);
            add(&mut all.wave[from..], &next.wave);
            all.end = from + next.end;
        }
        Some(all)
    }
}

/// How many digits are told, as words or as figures.
fn digits(text: &str) -> usize {
    match text.chars().filter(char::is_ascii_digit).count() {
        0 => text.split_whitespace().count(),
        figures => figures,
    }
}

fn without_marks(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').flat_map(char::to_lowercase).collect()
}

const SENTENCE: Kind = Kind {
    name: "",
    flow: ASK,
    said: &SENTENCES,
    sound: Sound::Prompts,
    late_ms: (120.0, 180.0),
    marks: true,
    answer: "Certainly",
    counts: true,
};

/// Piece by piece, as a recogniser writes the pieces down.
const SENTENCES: [&[&str]; 15] = [
    &["I would like to", "book an appointment for tomorrow."],
    &["My name is", "Ada Lovelace."],
    &["Can you tell me if", "the pharmacy is open on Sunday?"],
    &["I need, um,", "a repeat prescription."],
    &["I was there last week and", "the doctor said to call."],
    &["It is about my", "blood pressure tablets."],
    &["Yes."],
    &["When are you open?"],
    &["I want to speak to", "a person, please."],
    &["My daughter has a", "high fever since", "this morning."],
    &["Well,", "I am not sure."],
    &["Is there a", "doctor on Saturday?"],
    &["I have to cancel because", "I am ill."],
    &["No, thank you."],
    &["The results of the", "test from Monday."],
];

const DIGITS: [&[&str]; 4] = [
    &["Zero seven eight.", "Three four one.", "Two two five six."],
    &["078", "341", "2256"],
    &["Zero, seven, eight, three,", "four, one, two, two,", "five, six."],
    &["Oh seven eight three four", "one two two five six."],
];

const CHOICES: [&[&str]; 4] = [&["Repairs."], &["Sales, please."], &["Repairs please."], &["Sales."]];

/// No rule over text tells these pauses from ends.
const WHOLE: [&[&str]; 3] = [
    &["I need an appointment.", "For tomorrow, please."],
    &["I have a question.", "It is about my bill."],
    &["My son is ill.", "He has a fever."],
];

const ASK: &str = "
name: pauses
steps:
  talk:
    ask:
      prompt: 'Yes?'
      system_text: Be brief.
      keys: {\"0\": hangup}
      unheard: Press zero.
      without_model: Press zero.
    goto: hangup
";

const NUMBER: &str = "
name: number
steps:
  number:
    collect: {prompt: 'Your number?', into: number, min: 10, max: 10}
    goto: thanks
  thanks: {say: Thank you., goto: hangup}
";

const ANY_NUMBER: &str = "
name: number
steps:
  number:
    collect: {prompt: 'Your number?', into: number, min: 4, max: 14}
    goto: thanks
  thanks: {say: Thank you., goto: hangup}
";

const CHOICE: &str = "
name: choice
steps:
  pick:
    menu:
      prompt: 'Sales or repairs?'
      choices:
        - {key: 1, words: [sales], goto: thanks}
        - {key: 2, words: [repairs], goto: thanks}
  thanks: {say: Thank you., goto: hangup}
";

const ANSWER: &str = "Certainly, everything is possible.";
/// The bot's question takes 400 ms, and the caller begins after 2 s.
const PROMPT: usize = 2 * RATE / 5;
const BEGINS: usize = 2 * RATE;
const AFTER: usize = 4 * RATE;
/// Other dice than those of trials with a condition of the same name.
const SALT: u64 = 0x5041_5553;
