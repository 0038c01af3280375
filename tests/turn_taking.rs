//! The benchmark's own code on the committed voices: few trials, so only what is grossly wrong shows. No time is looked at that
//! depends on the machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offhook::sim::lab::call::Calls;
use offhook::sim::lab::promises::Measured;
use offhook::sim::lab::run::Plan;
use offhook::sim::lab::score::{Rates, Stops, stop_ms};
use offhook::sim::lab::table::Report;
use offhook::sim::lab::{Split, Trials, Voices, answers};
use offhook::sim::turns::offline::{LINES, Offline};
use offhook_media::silero::Network;

fn human() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human")
}

fn trials() -> Trials {
    Trials::new(Arc::new(Voices::load(&human()).unwrap()), Split::HeldOut, 1)
}

#[test]
fn short_answers_are_accepted() {
    let given = answers::answers(&trials(), Network::shared().unwrap(), 48, 2).unwrap();
    let refused: Vec<_> = given.iter().filter(|answer| !answer.accepted).collect();
    assert!(given.len() >= 48 && refused.len() <= 2, "{refused:?}");
}

#[test]
fn a_bot_that_goes_on_loses_no_word_and_knows_what_was_heard() {
    let offline =
        |conditions: &[&str]| Offline::new(trials(), &human(), Network::shared().unwrap(), 1, conditions).unwrap();
    let held = offline(&["jumps, echo 15", "echo 15"]);
    let resumed: Vec<_> = LINES[..2].iter().zip(0..).flat_map(|(line, call)| held.play(call, *line)).collect();
    let words: Vec<_> = resumed.iter().flat_map(|one| &one.false_holds).filter_map(|hold| hold.words).collect();
    assert!(words.len() >= 3, "{} holds were for nothing and ended", words.len());
    assert!(words.iter().all(|(lost, repeated)| *lost == 0 && *repeated <= 1), "lost, repeated: {words:?}");

    let told = offline(&["clean"]).play(0, LINES[2]);
    let errors: Vec<usize> = told.iter().filter_map(|one| one.heard_error).collect();
    assert!(errors.len() >= 5 && errors.iter().all(|words| *words == 0), "words off: {errors:?}");
}

#[test]
fn callers_are_heard_and_noise_is_not() {
    let trials = trials();
    let calls = Calls::new(Network::shared().unwrap()).unwrap();
    let plan = Plan { onsets: 30, minutes: 4.0, quiet_s: 5.0, threads: 2 };
    let found = plan.run(&trials, |trial| calls.play(trial));
    let measured = Measured { found: Some(&found), ..Measured::default() };
    let report = Report::of(&measured, "cargo test --test turn_taking".into(), 1, String::new());
    println!("{}", report.markdown());

    let core = Stops::of(found.onsets.iter().filter(|onset| onset.condition.counts.is_core()), stop_ms);
    assert!(core.n >= 8, "{} onsets count, {} were early", core.n, core.early);
    assert!(core.missed <= 1, "{} of {} missed", core.missed, core.n);
    assert!(core.quantile(0.5).unwrap() <= 120.0, "{:?} ms", core.quantile(0.5));
    assert!(core.share_within(250.0) >= 0.7, "{:?}", report.failures);
    let quiet = Rates::of(found.quiets.iter().filter(|quiet| quiet.condition.counts.is_core()));
    assert!(quiet.minutes >= 2.0 && quiet.holds <= 6, "{} false holds in {} minutes", quiet.holds, quiet.minutes);
}
