//! The path of an echo: what a telephone's microphone picks up of what its loudspeaker plays.
//!
//! A path is data; [`LiveEcho`] applies it block by block to what has been received, so that a caller on the wire can add its
//! own echo without knowing what the server will send when.

use std::sync::Arc;

use super::signal::{active_dbfs, between, gain, normal, ratio, seconds};
use crate::sim::clock::Dice;

/// One telephone's echo path. It is made for 8 kHz and sample units.
#[derive(Clone, Debug)]
pub struct EchoPath {
    /// Impulse response after the delay: 40 ms, already as quiet as the return loss wants it.
    pub taps: Arc<[f32]>,
    /// Delay before the first tap, ms.
    pub delay_ms: f32,
    /// By how much the echo of a voice is quieter than the voice, dB.
    pub erl_db: f32,
    /// A loudspeaker that saturates: its drive, from 3 (a little) to 8.
    pub saturation: Option<f32>,
    /// The delay jumps by 20 to 60 ms each time this has passed, s.
    pub jumps_every_s: Option<f32>,
    /// Decides the jumps.
    pub seed: u64,
}

/// What a path is to be like.
#[derive(Clone, Copy, Debug)]
pub struct EchoWish {
    pub erl_db: f32,
    /// Delays between these, ms.
    pub delay_ms: (f32, f32),
    pub saturated: bool,
    pub jumps_every_s: Option<f32>,
}

impl EchoPath {
    /// Draws a path whose return loss holds for `voice`.
    pub fn draw(dice: &mut Dice, wish: EchoWish, voice: &[f32]) -> Self {
        let decay = between(dice, 24.0, 100.0);
        let mut taps: Vec<f32> = (0..TAPS).map(|n| 0.5 * normal(dice) * (-(n as f32) / decay).exp()).collect();
        taps[0] = 1.0;
        let mut path = Self {
            taps: taps.into(),
            delay_ms: between(dice, wish.delay_ms.0, wish.delay_ms.1),
            erl_db: wish.erl_db,
            saturation: wish.saturated.then(|| between(dice, 3.0, 8.0)),
            jumps_every_s: None,
            seed: dice.bits(),
        };
        let voice = &voice[..voice.len().min(seconds(LONGEST_LEVEL_S))];
        let mut echo = vec![0.0; voice.len()];
        path.live().block(voice, &mut echo);
        let mut taps = path.taps.to_vec();
        gain(&mut taps, ratio(active_dbfs(voice) - wish.erl_db - active_dbfs(&echo)));
        path.taps = taps.into();
        path.jumps_every_s = wish.jumps_every_s;
        path
    }

    /// The path at work, from the first sample on.
    pub fn live(&self) -> LiveEcho {
        LiveEcho {
            delay: seconds(self.delay_ms / 1000.0),
            path: self.clone(),
            ring: vec![0.0; RING + self.taps.len()],
            at: 0,
            dice: Dice::new(self.seed, 0, JUMPS),
        }
    }
}

/// A path with the past that it remembers.
#[derive(Clone, Debug)]
pub struct LiveEcho {
    path: EchoPath,
    delay: usize,
    /// What was played, the newest last in time; kept twice as a run so that every tap reads one stretch.
    ring: Vec<f32>,
    /// Samples so far.
    at: usize,
    dice: Dice,
}

impl LiveEcho {
    /// Writes the echo that is picked up while `played` is played; both begin at the same moment.
    pub fn block(&mut self, played: &[f32], echo: &mut [f32]) {
        for (sample, place) in played.iter().zip(echo) {
            self.jump();
            *place = self.next(*sample);
        }
    }

    /// The delay at the moment, ms.
    pub fn delay_ms(&self) -> f32 {
        self.delay as f32 / 8.0
    }

    fn next(&mut self, played: f32) -> f32 {
        let taps = self.path.taps.len();
        let slot = self.at % RING;
        let played = match self.path.saturation {
            Some(drive) => (drive * played / FULL_SCALE).tanh() / drive * FULL_SCALE,
            None => played,
        };
        // Backwards in time, so that the taps run forwards over it; the first slots stand again behind the last.
        let back = RING - 1 - slot;
        self.ring[back] = played;
        if back < taps {
            self.ring[RING + back] = played;
        }
        let newest = (back + self.delay) % RING;
        self.at += 1;
        dot(&self.path.taps, &self.ring[newest..newest + taps])
    }

    fn jump(&mut self) {
        let Some(every) = self.path.jumps_every_s.map(seconds).filter(|every| *every > 0) else { return };
        if self.at > 0 && self.at.is_multiple_of(every) {
            let by = seconds(between(&mut self.dice, 0.02, 0.06));
            let later = self.delay + by;
            let sooner = self.delay.saturating_sub(by);
            // At either end of what paths have, the jump goes the other way.
            let goes_later = later <= LONGEST && (sooner < SHORTEST || self.dice.below(2) == 0);
            self.delay = if goes_later { later } else { sooner };
        }
    }
}

/// 40 ms.
const TAPS: usize = 320;
/// More than the longest delay.
const RING: usize = 4096;
const SHORTEST: usize = 240;
const LONGEST: usize = 2200;
const FULL_SCALE: f32 = 32768.0;
const LONGEST_LEVEL_S: f32 = 4.0;
const JUMPS: u64 = 0x6A75;

/// In lanes, which the compiler turns into vector instructions.
fn dot(taps: &[f32], past: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let ((taps, rest), (past, past_rest)) = (taps.as_chunks::<16>(), past.as_chunks::<16>());
    for (taps, past) in taps.iter().zip(past) {
        for ((lane, tap), sample) in lanes.iter_mut().zip(taps).zip(past) {
            *lane += tap * sample;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().zip(past_rest).map(|(tap, sample)| tap * sample).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(taps: &[f32], delay_ms: f32) -> EchoPath {
        EchoPath { taps: taps.into(), delay_ms, erl_db: 0.0, saturation: None, jumps_every_s: None, seed: 1 }
    }

    #[test]
    fn an_impulse_comes_back_as_the_taps_after_the_delay() {
        let mut live = path(&[0.5, 0.25, 0.125], 50.0).live();
        let mut echo = Vec::new();
        let mut played = vec![0.0; 12_000];
        played[7] = 1.0;
        played[5000] = 2.0;
        for block in played.chunks(160) {
            let mut part = vec![0.0; block.len()];
            live.block(block, &mut part);
            echo.extend(part);
        }
        let mut expected = vec![0.0; 12_000];
        for (at, size) in [(7, 1.0), (5000, 2.0)] {
            for (n, tap) in [0.5, 0.25, 0.125].iter().enumerate() {
                expected[at + 400 + n] = size * tap;
            }
        }
        assert_eq!(echo, expected);
    }

    #[test]
    fn a_drawn_path_has_the_loss_that_was_wished() {
        let mut dice = Dice::new(3, 1, 1);
        let voice: Vec<f32> = (0..20_000).map(|_| 2000.0 * normal(&mut dice)).collect();
        for saturated in [false, true] {
            let wish = EchoWish { erl_db: 25.0, delay_ms: (40.0, 200.0), saturated, jumps_every_s: None };
            let drawn = EchoPath::draw(&mut dice, wish, &voice);
            let mut echo = vec![0.0; voice.len()];
            drawn.live().block(&voice, &mut echo);
            let loss = active_dbfs(&voice) - active_dbfs(&echo);
            assert!((loss - 25.0).abs() < 0.3, "{loss} dB, saturated: {saturated}");
        }
    }

    #[test]
    fn jumps_come_when_they_are_due_and_stay_in_reach() {
        let mut live = EchoPath { jumps_every_s: Some(0.5), ..path(&[1.0], 100.0) }.live();
        let mut delays = Vec::new();
        for _ in 0..100 {
            live.block(&[0.0; 4000], &mut [0.0; 4000]);
            delays.push(live.delay_ms());
        }
        assert_eq!(delays[0], 100.0);
        assert!(delays.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 98);
        assert!(delays.iter().all(|delay| (30.0..=275.0).contains(delay)), "{delays:?}");
    }
}
