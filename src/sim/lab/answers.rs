//! Short answers while a question is open: does the bot take a "yes" or a digit for one, said into the question or behind
//! it, in noise, echo and loss?

use std::sync::Arc;
use std::time::Duration;

use offhook_media::silero::Network;

use super::condition::{ANSWERS, Condition};
use super::run::share_out;
use super::signal::{RATE, between};
use super::stage::flow;
use super::talk::{Piece, Talk};
use super::trial::{Trial, Trials};
use crate::dialog::Flow;
use crate::sim::clock::Dice;

/// When an answer is given, and how late its words come.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    /// The question has been asked; otherwise the answer breaks into it.
    behind: bool,
    late_ms: (f32, f32),
}

/// An answer, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub condition: &'static Condition,
    pub way: &'static Way,
    pub number: u64,
    pub accepted: bool,
}

pub static WAYS: [Way; 3] = [
    Way { name: "into the question", behind: false, late_ms: (120.0, 180.0) },
    Way { name: "into the question, words 1 s late", behind: false, late_ms: (900.0, 1100.0) },
    Way { name: "behind the question", behind: true, late_ms: (120.0, 180.0) },
];

/// Has about so many answers given.
///
/// # Errors
/// When a flow that is compiled in does not parse.
pub fn answers(
    trials: &Trials,
    network: &'static Network,
    wanted: usize,
    threads: usize,
) -> Result<Vec<Answer>, String> {
    let flows = [flow(NUMBER)?, flow(YES)?];
    let each = wanted.div_ceil(ANSWERS.len() * WAYS.len()) as u64;
    let ways = |condition| WAYS.iter().flat_map(move |way| (0..each).map(move |number| (condition, way, number)));
    let work: Vec<_> = ANSWERS.iter().flat_map(ways).collect();
    let given = share_out(&work, threads, |&(condition, way, number)| {
        let trial = trials.onset(condition, number)?.going_on(AFTER_S);
        let accepted = is_accepted(network, &flows, &trial, way);
        Some(Answer { condition, way, number, accepted })
    });
    Ok(given.into_iter().flatten().collect())
}

fn is_accepted(network: &'static Network, flows: &[Arc<Flow>; 2], trial: &Trial, way: &Way) -> bool {
    let (Some(onset), Some(end)) = (trial.onset, trial.end) else { return false };
    let mut dice = Dice::new(trial.id, 3, 3);
    let late = Duration::from_secs_f32(between(&mut dice, way.late_ms.0, way.late_ms.1) / 1000.0);
    let (flow, text) = if trial.number.is_multiple_of(2) { (&flows[0], "Seven.") } else { (&flows[1], "Yes.") };
    let prompt = if way.behind { onset.saturating_sub(BEFORE) } else { end + RATE };
    let pieces = [Piece { text: text.to_owned(), said: onset..end, late }];
    let talk = Talk { trial, pieces: &pieces, prompt, answer: "" };
    let latest = end + LATEST + (late.as_micros() / 125) as usize;
    talk.hold(network, flow).steps.iter().any(|(at, step)| step == "taken" && (onset..latest).contains(at))
}

/// The background goes on for so long, s.
const AFTER_S: f32 = 5.0;
/// Behind a question the answer begins after 700 ms.
const BEFORE: usize = 7 * RATE / 10;
/// An answer is taken within 2 s of its last words, or it is not.
const LATEST: usize = 2 * RATE;

const NUMBER: &str = "
name: answers
steps:
  ask:
    collect: {prompt: 'Which number from one to nine do you want to have?', into: number, min: 1, max: 1}
    goto: taken
  taken: {say: Thank you., goto: hangup}
";

const YES: &str = "
name: answers
steps:
  ask:
    menu:
      prompt: 'Do you want to hear it once more, yes or no?'
      choices:
        - {key: 1, words: ['yes'], goto: taken}
        - {key: 2, words: ['no'], goto: other}
  taken: {say: Thank you., goto: hangup}
  other: {say: Thank you., goto: hangup}
";
