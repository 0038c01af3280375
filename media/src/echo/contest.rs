//! Which of two filters is the better one: the one that learns, or the one that answers for what is heard.
//!
//! The difference of their error energies is compared with what chance would make of it, at once and smoothed over 25 ms and
//! 65 ms. The learning filter takes over as soon as it is probably better, and is set back when it is surely worse.

use super::{BLOCK, energy};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The learning filter is better.
    Learned,
    /// The learning filter has gone astray.
    Trusted,
    Neither,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Contest {
    quick: Advantage,
    slow: Advantage,
}

/// By how much the learning filter is better, and the variance that chance gives.
#[derive(Clone, Copy, Debug, Default)]
struct Advantage {
    gain: f32,
    variance: f32,
}

impl Contest {
    /// Whether the first of two errors is smaller than chance can explain.
    pub(super) fn surely_better(&mut self, one: &[f32; BLOCK], other: &[f32; BLOCK], apart: &[f32; BLOCK]) -> bool {
        let all = self.follow(one, other, apart);
        let better = all[1..].iter().any(|advantage| advantage.square() > SURE * advantage.variance);
        if better {
            *self = Self::default();
        }
        better
    }

    /// Judges by the errors of both filters and the difference of their echoes.
    pub(super) fn judge(&mut self, learned: &[f32; BLOCK], trusted: &[f32; BLOCK], apart: &[f32; BLOCK]) -> Outcome {
        let all = self.follow(learned, trusted, apart);
        let probable = all.iter().zip(PROOF);
        let outcome = if probable.into_iter().any(|(advantage, proof)| advantage.square() > proof * advantage.variance)
        {
            Outcome::Learned
        } else if all.iter().any(|advantage| -advantage.square() > SURE * advantage.variance) {
            Outcome::Trusted
        } else {
            return Outcome::Neither;
        };
        *self = Self::default();
        outcome
    }

    fn follow(&mut self, one: &[f32; BLOCK], other: &[f32; BLOCK], apart: &[f32; BLOCK]) -> [Advantage; 3] {
        let other = energy(other);
        let now = Advantage { gain: other - energy(one), variance: other * energy(apart) };
        self.quick.follow(now, 0.4);
        self.slow.follow(now, 0.15);
        [now, self.quick, self.slow]
    }
}

/// What is probable at once, over 25 ms and over 65 ms.
const PROOF: [f32; 3] = [1.0, 0.5, 0.25];
const SURE: f32 = 4.0;

impl Advantage {
    fn follow(&mut self, now: Self, rate: f32) {
        self.gain += rate * (now.gain - self.gain);
        self.variance += -(2.0 - rate) * rate * self.variance + rate * rate * now.variance;
    }

    /// The square, with the sign of the gain.
    fn square(self) -> f32 {
        self.gain * self.gain.abs()
    }
}
