//! Steps that are harder to interrupt: what is better heard to its end, what only some words stop; and lines with the
//! smaller detector.

use std::sync::Arc;

use offhook::call::hearing::Hearing;
use offhook::store::record::{CommittedBy, InterruptionOutcome};

use crate::harness::sound::{self, Colour, noise};
use crate::harness::{Outcome, Script, at, ms, script};

fn statement(rules: &str) -> Script {
    let flow = format!(
        "
name: gentle
steps:
  talk:
    say:
      - The clinic is open from Monday to Friday, from eight in the morning to five in the afternoon.
      - The laboratory takes samples on weekday mornings, and the pharmacy is open whenever the clinic is.
    {rules}
    goto: hangup
"
    );
    script("gentle").flow(&flow)
}

fn syllable() -> Arc<[i16]> {
    let recording = sound::human("im-sorry");
    recording.samples.iter().skip(recording.onset).take(130 * 8).copied().collect()
}

fn outcomes(call: &Outcome) -> Vec<InterruptionOutcome> {
    call.interruptions.iter().map(|told| told.outcome).collect()
}

/// Median level of what was sent between two moments, dBFS.
fn level(call: &Outcome, from: f64, to: f64) -> f64 {
    let mut levels: Vec<f64> = call
        .sent
        .iter()
        .filter(|slice| slice.is_voiced() && (at(from)..at(to)).contains(&slice.at))
        .map(|s| s.dbfs)
        .collect();
    levels.sort_by(f64::total_cmp);
    levels[levels.len() / 2]
}

#[test]
fn what_is_better_heard_to_its_end_gets_quieter_and_loud_again() {
    let plain = statement("finish: true").run(at(8.0));
    let call = statement("finish: true").caller_makes(at(3.0), syllable()).run(at(8.0));
    call.expect_speaking(at(2.0), at(8.0));
    let lower = level(&plain, 3.2, 3.4) - level(&call, 3.2, 3.4);
    assert!((9.0..15.0).contains(&lower), "lower by {lower} dB\n{}", call.story());
    let after = level(&plain, 4.0, 8.0) - level(&call, 4.0, 8.0);
    assert!(after.abs() < 1.0, "still lower by {after} dB");
    assert_eq!((outcomes(&call), call.count("ducked"), call.counts.barge_ins), (vec![], 1, 0), "{}", call.story());
}

#[test]
fn who_goes_on_stops_it_all_the_same() {
    let call = statement("finish: true")
        .caller_says(at(3.0), "to-call-this-number")
        .interim(at(3.6), "but I want")
        .words(at(4.6), "But I want to call this number")
        .run(at(6.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::Words)], "{}", call.story());
    assert!(call.interruptions[0].ducked);
    assert!(call.falls_quiet_after(at(3.0), ms(60)) <= at(3.7), "{}", call.story());
}

#[test]
fn where_stop_words_interrupt_others_do_not() {
    let rules = "barge_in: stop_words\n    stop_words: [skip, \"next one\"]";
    let talk = || statement(rules).caller_says(at(3.0), "to-call-this-number");
    let call = talk().interim(at(3.6), "but I want").words(at(4.6), "But I want to call").run(at(8.0));
    call.expect_speaking(at(2.0), at(8.0));
    assert_eq!(call.counts.barge_ins, 0);
    for words in ["skip", "the next one please"] {
        let call = talk().interim(at(3.6), words).run(at(5.0));
        assert_eq!(
            outcomes(&call),
            [InterruptionOutcome::Committed(CommittedBy::StopWord)],
            "{words}: {}",
            call.story()
        );
        assert!(call.falls_quiet_after(at(3.0), ms(60)) <= at(3.7), "{words}: {}", call.story());
    }
}

#[test]
fn the_smaller_detector_holds_and_lets_go_by_the_same_rules() {
    let talk = || statement("").hearing(Hearing::plain());
    let call = talk().caller_says(at(3.0), "to-call-this-number").words(at(4.6), "book me in").run(at(8.0));
    assert!(call.falls_quiet_after(at(3.0), ms(60)) <= at(3.25), "{}", call.story());
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::Cap)], "{}", call.story());
    let call = talk().caller_makes(at(3.0), noise(Colour::White, 120, -20.0, 1)).run(at(8.0));
    call.expect_speaking(at(2.0), at(8.0));
    assert_eq!(call.counts.barge_ins, 0);
}
