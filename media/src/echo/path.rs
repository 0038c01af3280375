//! Whether echo still comes the way the filter learned, and how much of it the filter takes away.
//!
//! A filter that is right leaves less than was heard, whoever else speaks. When the path of the echo has changed, what the
//! filter takes away no longer resembles what is there, and more is left than was heard: no filter at all would be better.

use super::contest::Contest;
use super::{BLOCK, energy};

#[derive(Clone, Debug)]
pub(super) struct PathWatch {
    /// No filter at all against the one that is trusted.
    without: Contest,
    /// Over 1 s in which echo is most of what is heard.
    heard_echo: f32,
    left_echo: f32,
    judged: u32,
    /// The most that the filter has taken away since it began to learn, dB.
    best_erle_db: f32,
    /// Over 2 s in which something is sent: sent, predicted.
    sent: f32,
    returned: f32,
    /// Blocks for which the filter is on trial where an alarm moved it.
    trial: u32,
}

impl PathWatch {
    pub(super) fn new() -> Self {
        Self {
            without: Contest::default(),
            heard_echo: 0.0,
            left_echo: 0.0,
            judged: 0,
            best_erle_db: 0.0,
            sent: 0.0,
            returned: 0.0,
            trial: 0,
        }
    }

    /// Looks at a block; true when the prediction has failed and what it came from should be forgotten.
    pub(super) fn look(
        &mut self,
        heard: &[f32; BLOCK],
        predicted: &[f32; BLOCK],
        left: &[f32; BLOCK],
        sent_energy: f32,
    ) -> bool {
        self.trial = self.trial.saturating_sub(1);
        let echo = energy(predicted);
        if sent_energy > AUDIBLE {
            self.sent += LEVELS * (sent_energy - self.sent);
            self.returned += LEVELS * (echo - self.returned);
        }
        if echo < AUDIBLE {
            return false;
        }
        let useless = self.without.surely_better(heard, left, predicted);
        if useless && self.best_erle_db > SURE_DB {
            return true;
        }
        let heard = energy(heard);
        if echo > 0.5 * heard {
            self.heard_echo += JUDGED * (heard - self.heard_echo);
            self.left_echo += JUDGED * (energy(left) - self.left_echo);
            self.judged = self.judged.saturating_add(1);
            if self.judged > SOON {
                self.best_erle_db = self.best_erle_db.max(self.erle_db());
            }
        }
        false
    }

    /// All that is known of the path is forgotten.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }

    /// The most by which echo was lower behind the filter since it began to learn, dB.
    pub(super) fn best_erle_db(&self) -> f32 {
        self.best_erle_db
    }

    /// The filter was moved to where the echo comes from.
    pub(super) fn followed(&mut self) {
        self.without = Contest::default();
    }

    /// An alarm moved the filter to where the echo seems to come from by now.
    pub(super) fn try_out(&mut self) {
        self.trial = TRIAL;
    }

    /// Whether it may still prove wrong there.
    pub(super) fn is_on_trial(&self) -> bool {
        self.trial > 0
    }

    /// How much lower echo is behind the filter, dB; 0 when that is not known.
    pub(super) fn erle_db(&self) -> f32 {
        if self.heard_echo <= 0.0 {
            return 0.0;
        }
        (10.0 * (self.heard_echo / self.left_echo.max(1.0)).log10()).clamp(0.0, 60.0)
    }

    /// How much lower echo comes back than it was sent, dB.
    pub(super) fn erl_db(&self) -> Option<f32> {
        let found = self.erle_db() > FOUND_DB && self.returned > 0.0;
        found.then(|| (10.0 * (self.sent / self.returned).log10()).clamp(-10.0, 90.0))
    }
}

/// 2 s.
const TRIAL: u32 = 200;
const JUDGED: f32 = 0.01;
const LEVELS: f32 = 0.005;
/// Energy of a block at -60 dBFS.
const AUDIBLE: f32 = BLOCK as f32 * 1000.0;
/// Blocks before the first judgement.
const SOON: u32 = 20;
const FOUND_DB: f32 = 3.0;
/// A filter that has not learned this much yet goes astray by itself.
const SURE_DB: f32 = 6.0;
