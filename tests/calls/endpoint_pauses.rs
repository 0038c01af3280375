//! Callers who pause in the middle of what they say, for 500 to 1200 ms: they are not cut in on, and those who have ended do
//! not wait for those who have not. The laboratory's trials on the committed voices and a quiet line; the figures are printed.

use std::path::Path;
use std::sync::Arc;

use offhook::sim::lab::condition::ROOMS;
use offhook::sim::lab::pauses::{KINDS, Kind, Met, Turn, turns};
use offhook::sim::lab::promises::waits;
use offhook::sim::lab::{Split, Trials, Voices};
use offhook::turn::vote::TurnVote;
use offhook_media::silero::Network;

use crate::harness::{Model, at, ms, script};

fn taken(kinds: &'static [Kind], wanted: usize) -> Vec<Turn> {
    let voices = Voices::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human")).unwrap();
    let trials = Trials::new(Arc::new(voices), Split::HeldOut, 1);
    turns(kinds, &ROOMS[..1], &trials, Network::shared().unwrap(), wanted, 2).unwrap()
}

#[expect(clippy::print_stdout, reason = "a test prints its figures")]
fn expect_patience(kind: &'static [Kind; 1]) {
    let all = taken(kind, 60);
    let pauses: usize = all.iter().map(|turn| turn.pauses).sum();
    let cut_ins: Vec<_> = all.iter().filter(|turn| !matches!(turn.met, Met::Waited(_))).collect();
    let told: Vec<_> = cut_ins.iter().map(|turn| (turn.number, turn.met)).collect();
    let waits = waits(all.iter());
    let (half, most) = (waits.quantile(0.5).unwrap(), waits.quantile(0.95).unwrap());
    println!("{}: {half:.0} / {most:.0} ms (p50 / p95), {} cut-ins in {pauses} pauses", kind[0].name, cut_ins.len());
    assert!(cut_ins.len() * 20 <= pauses, "{told:?}");
    assert!(half <= 450.0 && most <= 1200.0, "{half} {most}");
}

#[test]
fn sentences_with_pauses_are_heard_to_their_end() {
    let [sentences, ..] = KINDS.as_chunks().0 else { panic!("kinds") };
    expect_patience(sentences);
}

#[test]
fn numbers_that_are_told_in_groups_are_heard_to_their_end() {
    let [_, numbers, ..] = KINDS.as_chunks().0 else { panic!("kinds") };
    expect_patience(numbers);
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
    let flow = "
name: vote
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
    let answered = |vote: Option<f32>| {
        let call = script("vote").flow(flow).caller_says(at(2.0), "hello").words(at(2.75), "on Monday");
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
    let whole = KINDS.split_last_chunk::<1>().unwrap().1;
    let all = taken(whole, 12);
    let one_turn = all.iter().filter(|turn| turn.met != Met::CutIn { one_turn: false }).count();
    assert!(one_turn * 4 >= all.len(), "{one_turn} of {}", all.len());
}
