//! Conversations by chance on virtual time: a caller, a line, vendors and their failures, all drawn from one seed, around
//! the real core. Shared by a test that holds a few and a benchmark that holds as many as one likes.
//!
//! Audio says what it is; there is no codec and no network in between, only what they do to a call.
#![allow(dead_code, reason = "the test and the benchmark each use a part of it")]

mod caller;
mod faults;
mod flows;
mod line;
mod vendors;
mod words;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use offhook::call::Moment;
use offhook::dialog::Flow;
use offhook::store::record::{EndReason, Interruption};

pub use faults::faults;
pub use flows::flows;
use words::Ledger;
use world::World;

/// What came of a conversation.
pub struct Came {
    pub end: Option<EndReason>,
    pub ledger: Ledger,
    /// What the records say was heard, in order.
    pub recorded: Vec<String>,
    /// What the last question told the model of what had been said.
    pub told: String,
    /// Something was wrong when it happened.
    pub wrong: Vec<String>,
    pub interruptions: Vec<Interruption>,
    /// The longest time in which nobody gave a sign, and since when: that nobody had planned, that the flow waits for the
    /// caller, and of both together.
    pub silence: (Duration, Moment),
    pub wait: (Duration, Moment),
    pub quiet: (Duration, Moment),
    pub lasted: Duration,
    /// How often everything happened that was drawn or came of it.
    pub counts: BTreeMap<String, u64>,
    pub log: VecDeque<String>,
}

/// Holds a conversation by this seed.
pub fn hold(seed: u64, flows: &[Arc<Flow>]) -> Came {
    World::new(seed, flows).run()
}

/// Of all conversations together.
#[derive(Debug, Default)]
pub struct Sum {
    pub talk: Duration,
    pub ends: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<String, u64>,
    pub words: u64,
    /// Words that were heard in part.
    pub cut: u64,
    pub longest_silence: Duration,
    pub longest_wait: Duration,
    pub longest_quiet: Duration,
    pub failed: BTreeMap<u64, Vec<String>>,
}

impl Sum {
    pub fn add(&mut self, seed: u64, came: &Came) {
        self.talk += came.lasted;
        *self.ends.entry(came.end.as_ref().map_or("none", |end| end.as_str())).or_default() += 1;
        for (what, times) in &came.counts {
            *self.counts.entry(what.clone()).or_default() += times;
        }
        for told in &came.interruptions {
            let ducked = if told.ducked { " (ducked)" } else { "" };
            let what = format!("interruption: {} by {}{ducked}", told.outcome.as_str(), told.outcome.why());
            *self.counts.entry(what).or_default() += 1;
        }
        self.words += came.ledger.words.iter().filter(|word| word.half() == words::Half::Heard).count() as u64;
        self.cut += came.ledger.words.iter().filter(|word| word.is_cut()).count() as u64;
        self.longest_silence = self.longest_silence.max(came.silence.0);
        self.longest_wait = self.longest_wait.max(came.wait.0);
        self.longest_quiet = self.longest_quiet.max(came.quiet.0);
        let faults = faults(came);
        if !faults.is_empty() {
            self.failed.insert(seed, faults);
        }
    }

    pub fn join(&mut self, other: Self) {
        self.talk += other.talk;
        other.ends.into_iter().for_each(|(end, count)| *self.ends.entry(end).or_default() += count);
        other.counts.into_iter().for_each(|(what, count)| *self.counts.entry(what).or_default() += count);
        self.words += other.words;
        self.cut += other.cut;
        self.longest_silence = self.longest_silence.max(other.longest_silence);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.longest_quiet = self.longest_quiet.max(other.longest_quiet);
        self.failed.extend(other.failed);
    }
}
