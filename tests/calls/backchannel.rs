//! "Uh-huh" means "go on" while something is told, and is an answer while something is asked.

use offhook::store::record::{CommittedBy, InterruptionOutcome, ResumedFor};

use crate::harness::{Script, at, script};

fn told(say: &str) -> Script {
    let flow = format!(
        "
name: told
steps:
  talk:
    say: '{say}'
    goto: pick
  pick:
    menu:
      prompt: Say sales or repairs.
      choices:
        - {{key: 1, words: [sales, okay], goto: hangup}}
        - {{key: 2, words: [repairs], goto: hangup}}
"
    );
    script("told").flow(&flow)
}

const LONG: &str =
    "The clinic is open from Monday to Friday from eight in the morning to five in the afternoon on all days";

fn outcomes(call: &crate::harness::Outcome) -> Vec<InterruptionOutcome> {
    call.interruptions.iter().map(|told| told.outcome).collect()
}

#[test]
fn a_statement_is_not_stopped_by_who_only_listens() {
    let call = told(LONG).caller_says(at(3.0), "hello").interim(at(3.5), "okay").words(at(3.9), "Okay.").run(at(6.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Resumed(ResumedFor::Backchannel)], "{}", call.story());
    assert_eq!((call.counts.barge_ins, call.count("backchannel")), (0, 1));
    call.expect_speaking(at(4.2), at(6.0));
    assert_eq!(call.counts.turns, 0, "it was no turn of theirs");
}

#[test]
fn the_same_word_answers_a_question() {
    let asked =
        told("So shall I tell you that the clinic is open from eight in the morning to five in the afternoon today?");
    let call = asked.caller_says(at(3.0), "hello").interim(at(3.5), "okay").words(at(3.9), "Okay.").run(at(6.0));
    assert!(matches!(outcomes(&call)[..], [InterruptionOutcome::Committed(_)]), "{}", call.story());
    assert_eq!(call.counts.turns, 1);
}

#[test]
fn more_than_the_word_asks_for_the_floor() {
    let call = told(LONG)
        .caller_says(at(3.0), "hello")
        .interim(at(3.4), "okay but when")
        .words(at(3.9), "Okay but when exactly?")
        .run(at(6.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::Words)], "{}", call.story());
}

#[test]
fn a_listener_whose_word_came_late_is_told_the_rest() {
    let call = told(LONG).caller_says(at(3.0), "hello").words(at(4.3), "Uh-huh.").run(at(12.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Recovered], "{}", call.story());
    let rest = call.asked.iter().filter(|asked| LONG.ends_with(asked.text.trim_end_matches('.'))).count();
    assert!(rest >= 1, "{}", call.story());
}
