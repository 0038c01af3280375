//! Concealment is nearer to what was said than silence and than repetition, at every rate of loss.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod measure;

use measure::{FILLINGS, LOSSES, corpus, score};

#[test]
fn ours_is_nearer_to_the_truth_than_silence_and_repetition() {
    let voices = corpus();
    for losses in LOSSES {
        let [silence, repetition, ours] = FILLINGS.map(|filling| score(&voices, losses, filling));
        println!("{}: {silence:?} {repetition:?} {ours:?}", losses.name);
        assert!(ours.lost_packets > 50, "{}", losses.name);
        let best = silence.distance_db.min(repetition.distance_db);
        assert!(ours.distance_db < 0.9 * best, "{}: {ours:?} against {repetition:?}, {silence:?}", losses.name);
        assert!(ours.clicks < 0.5 * silence.clicks.min(repetition.clicks), "{}: {ours:?} {repetition:?}", losses.name);
    }
}
