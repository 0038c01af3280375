//! How near concealed speech comes to what was said, against silence and repetition:
//! `cargo bench --bench concealment` prints the table of docs/decisions/0008.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a measurement prints its figures")]

#[path = "../media/tests/measure/mod.rs"]
mod measure;

use measure::{FILLINGS, LOSSES, corpus, score};

fn main() {
    let voices = corpus();
    println!(
        "| lost packets | silence dB | repetition dB | ours dB | clicks per 100 edges: silence | repetition | ours |"
    );
    println!("|---|---|---|---|---|---|---|");
    for losses in LOSSES {
        let [silence, repetition, ours] = FILLINGS.map(|filling| score(&voices, losses, filling));
        println!(
            "| {} | {:.1} | {:.1} | **{:.1}** | {:.1} | {:.1} | **{:.1}** |",
            losses.name,
            silence.distance_db,
            repetition.distance_db,
            ours.distance_db,
            silence.clicks,
            repetition.clicks,
            ours.clicks
        );
    }
}
