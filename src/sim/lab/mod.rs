//! The laboratory: labelled trials of turn-taking, made from recorded people and synthesised noise by a seed.
//!
//! The benchmark `turn_taking` judges by them offline, and `sim_call` sends them over the wire, where the caller adds the echo
//! live. Recordings are read from a directory; fetching them is for scripts.

pub mod answers;
pub mod call;
pub mod condition;
pub mod details;
pub mod ear;
pub mod echo;
pub mod noise;
pub mod pauses;
pub mod phone;
pub mod promises;
pub mod run;
pub mod score;
pub mod signal;
pub mod stage;
pub mod table;
pub mod talk;
pub mod trial;
pub mod voices;
pub mod wire;

pub use condition::{Condition, Counts, Echo, ONSETS, QUIET, Speech};
pub use echo::{EchoPath, LiveEcho};
pub use trial::{Trial, Trials};
pub use voices::{Split, Voices, VoicesError};

/// The voices that are committed with the project.
#[cfg(test)]
fn committed() -> std::sync::Arc<Voices> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human");
    std::sync::Arc::new(Voices::load(&dir).unwrap())
}
