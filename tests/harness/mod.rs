//! Scripted calls on virtual time: a caller who does as told, vendors who answer as told, a seeded network between.
//!
//! The call under test is the real core behind the real packet path, driven as its actor drives it. There is no
//! socket, no clock and no sleep; the same script and seed give the same call, bit for bit.
#![allow(dead_code, reason = "each behaviour uses a part of the harness")]

pub mod line;
pub mod outcome;
pub mod script;
pub mod sound;
pub mod vendors;

use std::time::Duration;

pub use offhook::call::Moment;
pub use outcome::Outcome;
pub use script::{Script, script};
pub use vendors::{Model, Voice};

/// A flow that asks openly: a short prompt, then whatever the model answers. The silence that ends a turn is fixed, so that
/// times can be reckoned.
pub const ASK: &str = "
name: ask
steps:
  talk:
    ask:
      prompt: Good morning.
      system_text: Be brief.
      keys: {\"0\": hangup}
      unheard: Press zero.
      without_model: Press zero.
    endpoint_ms: 700
    goto: hangup
";

/// A long sentence, to be interrupted.
pub const ANSWER: &str = "Our opening hours are from eight in the morning to five in the afternoon on every day of the week \
                      but Sunday, and the pharmacy closes for lunch between noon and one.";

/// A moment of the call, in seconds since it was connected.
pub fn at(seconds: f64) -> Moment {
    Duration::from_secs_f64(seconds)
}

pub const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The value below which `share` of the sorted samples lie.
pub fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let index = ((samples.len() - 1) as f64 * share).ceil() as usize;
    samples[index]
}
