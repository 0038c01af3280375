//! Callers who pause in the middle of what they say, for 500 to 1200 ms: they are not cut in on, and those who have ended do
//! not wait for those who have not. Recorded speech, words some 150 ms late as recognisers are; the figures are printed.

use std::time::Duration;

use offhook::sim::clock::Dice;
use offhook::turn::vote::TurnVote;

use crate::harness::sound::{PHRASES, human};
use crate::harness::{Model, Moment, Outcome, Script, at, ms, quantile, script};

const ASK: &str = "
name: pauses
steps:
  talk:
    ask:
      prompt: Yes?
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
    collect: {prompt: Your number?, into: number, min: 10, max: 10}
    goto: thanks
  thanks:
    say: Thank you.
    goto: hangup
";

/// What is said, piece by piece, as a recogniser writes the pieces down.
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

/// One call in which the pieces are said with pauses; when the last of them ends.
fn told(flow: &str, pieces: &[&str], dice: &mut Dice) -> (Script, Moment) {
    let mut call = script("pauses").flow(flow);
    for _ in 0..6 {
        call = call.model(Model::says(ms(100), "Certainly, everything is possible."));
    }
    let mut begins = at(2.0);
    let mut ends = begins;
    for piece in pieces {
        let phrase = PHRASES[dice.below(6)];
        let recording = human(phrase);
        ends = begins + Duration::from_micros((recording.end - recording.onset) as u64 * 125);
        call = call.caller_says(begins, phrase);
        let late = ms(120 + dice.below(60) as u64);
        call = call.interim(ends + late, piece);
        let pause = ms(500 + dice.below(700) as u64);
        // A recogniser settles its words in a pause of 300 ms.
        call = call.words(ends + ms(300) + late, piece);
        begins = ends + pause;
    }
    (call, ends)
}

/// How long after the caller had ended we knew it, in ms; `None` when we cut in.
fn waited(call: &Outcome, ended: Moment, answered: Option<Moment>) -> Option<f64> {
    let early = call.counts.turns > 1 || call.count("cut_in") > 0;
    let at = answered.filter(|_| !early)?;
    let wait = at.checked_sub(ended);
    Some(wait.unwrap_or_else(|| panic!("answered before the end\n{}", call.story())).as_secs_f64() * 1000.0)
}

struct Tally {
    waits: Vec<f64>,
    cut_ins: usize,
    pauses: usize,
}

#[expect(clippy::print_stdout, reason = "a test prints its figures")]
fn tally(
    kind: &str,
    flow: &str,
    pieces: &[&[&str]],
    rounds: u64,
    answered: impl Fn(&Outcome) -> Option<Moment>,
) -> Tally {
    let mut tally = Tally { waits: Vec::new(), cut_ins: 0, pauses: 0 };
    for seed in 0..rounds {
        for (n, pieces) in pieces.iter().enumerate() {
            let mut dice = Dice::new(seed, n as u64, 31);
            let (call, ended) = told(flow, pieces, &mut dice);
            let call = call.run(ended + at(4.0));
            tally.pauses += pieces.len() - 1;
            match waited(&call, ended, answered(&call)) {
                Some(wait) => tally.waits.push(wait),
                None => {
                    println!("{kind}: cut in on {pieces:?} (seed {seed})");
                    tally.cut_ins += 1;
                }
            }
        }
    }
    let (half, most) = (quantile(&mut tally.waits, 0.5), quantile(&mut tally.waits, 0.95));
    let Tally { cut_ins, pauses, .. } = tally;
    println!("{kind}: end of turn {half:.0} / {most:.0} ms (p50 / p95), {cut_ins} cut-ins in {pauses} pauses");
    tally
}

#[test]
fn sentences_with_pauses_are_heard_to_their_end() {
    let voice = |call: &Outcome| Some(call.asked_for("Certainly")?.at);
    let mut all = tally("sentences", ASK, &SENTENCES, 4, voice);
    assert!(all.cut_ins * 20 <= all.pauses, "{} in {}", all.cut_ins, all.pauses);
    assert!(quantile(&mut all.waits, 0.5) <= 450.0 && quantile(&mut all.waits, 0.95) <= 1200.0, "{:?}", all.waits);
}

#[test]
fn numbers_that_are_told_in_groups_are_heard_to_their_end() {
    let voice = |call: &Outcome| Some(call.asked_for("Thank you.")?.at);
    let mut all = tally("numbers", NUMBER, &DIGITS, 6, voice);
    assert!(all.cut_ins * 20 <= all.pauses, "{} in {}", all.cut_ins, all.pauses);
    assert!(quantile(&mut all.waits, 0.5) <= 450.0 && quantile(&mut all.waits, 0.95) <= 1200.0, "{:?}", all.waits);
}

/// A model that is as sure as it was made.
struct Sure(f32);

impl TurnVote for Sure {
    fn hear(&mut self, _: &[i16; 160]) {}
    fn fell_silent(&mut self) {}
    fn vote(&self) -> Option<f32> {
        Some(self.0)
    }
}

#[test]
fn a_model_that_hears_the_voice_has_a_vote() {
    let answered = |vote: Option<f32>| {
        let call = script("vote").flow(ASK).caller_says(at(2.0), "hello").words(at(2.75), "on Monday");
        let call = call.model(Model::says(ms(10), "I see."));
        let call = if let Some(vote) = vote { call.vote(Box::new(Sure(vote))) } else { call };
        call.run(at(6.0)).asked_for("I see.").unwrap().at
    };
    let alone = answered(None);
    assert!(answered(Some(0.95)) + ms(200) <= alone && answered(Some(0.1)) >= alone + ms(500), "{alone:?}");
}

/// Where a pause comes behind what sounds like a whole sentence, only the answer's withdrawal helps.
#[test]
fn pauses_behind_whole_sentences_end_in_one_turn_all_the_same() {
    let (mut merged, mut calls) = (0, 0);
    for seed in 0..8 {
        let mut dice = Dice::new(seed, 0, 32);
        let (call, ended) = told(ASK, &["I need an appointment.", "For tomorrow, please."], &mut dice);
        let call = call.run(ended + at(6.0));
        calls += 1;
        let whole = call.counts.turns == 1 && call.turn_with("I need an appointment. For tomorrow, please.").is_some();
        println!("cut-ins {}, turns {}, one turn: {whole}", call.count("cut_in"), call.counts.turns);
        merged += usize::from(whole);
    }
    println!("pauses behind whole sentences: {merged} of {calls} became one turn");
    assert!(merged * 4 >= calls, "{merged} of {calls}");
}
