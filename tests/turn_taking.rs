//! The benchmark's own code on the committed voices: few trials, so only what is grossly wrong shows. No time is looked at that
//! depends on the machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its figures")]

use std::path::Path;
use std::sync::Arc;

use offhook::sim::lab::call::Calls;
use offhook::sim::lab::run::Plan;
use offhook::sim::lab::score::{Rates, Stops, stop_ms};
use offhook::sim::lab::table::Report;
use offhook::sim::lab::{Split, Trials, Voices};
use offhook_media::silero::Network;

#[test]
fn callers_are_heard_and_noise_is_not() {
    let voices = Voices::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human")).unwrap();
    let trials = Trials::new(Arc::new(voices), Split::HeldOut, 1);
    let calls = Calls::new(Network::shared().unwrap()).unwrap();
    let plan = Plan { onsets: 30, minutes: 4.0, quiet_s: 5.0, threads: 2 };
    let found = plan.run(&trials, |trial| calls.play(trial));
    let report = Report::of(&found, "cargo test --test turn_taking".into(), 1, String::new());
    println!("{}", report.markdown());

    let core = Stops::of(found.onsets.iter().filter(|onset| onset.condition.counts.is_core()), stop_ms);
    assert!(core.n >= 8, "{} onsets count, {} were early", core.n, core.early);
    assert!(core.missed <= 1, "{} of {} missed", core.missed, core.n);
    assert!(core.quantile(0.5).unwrap() <= 120.0, "{:?} ms", core.quantile(0.5));
    assert!(core.share_within(250.0) >= 0.7, "{:?}", report.failures);
    let quiet = Rates::of(found.quiets.iter().filter(|quiet| quiet.condition.counts.is_core()));
    assert!(quiet.minutes >= 2.0 && quiet.holds <= 6, "{} false holds in {} minutes", quiet.holds, quiet.minutes);
}
