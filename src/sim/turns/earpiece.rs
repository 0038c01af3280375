//! The loudspeaker of a simulated telephone: puts what is received into its place in time, so that the microphone can pick
//! it up again, sample for sample, through an echo path.
//!
//! Packets are placed by their media time and not by their arrival, as a telephone plays them; what comes too late is not
//! played. Concealment is deliberately absent: a lost packet is 20 ms of silence.

use std::collections::VecDeque;

use crate::sim::audio::linear;
use crate::sim::clock::Moment;
use crate::sim::party::Heard;

/// What is going to be played.
#[derive(Clone, Debug)]
pub struct Earpiece {
    /// Samples not yet played.
    ahead: VecDeque<f32>,
    /// The place in time of the first of them, in samples of the run.
    next: i64,
    /// How much later than they arrive packets are played, in samples.
    slack: i64,
    /// A media time and its place.
    anchor: Option<(u32, i64)>,
}

impl Earpiece {
    /// Plays from `at` on, and packets `slack_ms` after they arrive.
    pub fn new(at: Moment, slack_ms: f64) -> Self {
        Self { ahead: VecDeque::new(), next: place(at), slack: (slack_ms * 8.0) as i64, anchor: None }
    }

    /// Audio has arrived.
    pub fn hear(&mut self, heard: Heard<'_>) {
        let arrived = place(heard.at) + self.slack;
        let from = self.place_of(heard.timestamp, arrived);
        for (octet, at) in heard.octets.iter().zip(from..) {
            // More than two seconds ahead of time there is nothing to be played.
            let Ok(index) = usize::try_from(at - self.next) else { continue };
            if index >= LONGEST {
                continue;
            }
            if index >= self.ahead.len() {
                self.ahead.resize(index + 1, 0.0);
            }
            if let Some(sample) = self.ahead.get_mut(index) {
                *sample = f32::from(linear(*octet));
            }
        }
    }

    /// Plays on, for as long as `into` is.
    pub fn play(&mut self, into: &mut [f32]) {
        for sample in into.iter_mut() {
            *sample = self.ahead.pop_front().unwrap_or(0.0);
        }
        self.next += into.len() as i64;
    }

    fn place_of(&mut self, timestamp: Option<u32>, arrived: i64) -> i64 {
        let Some(timestamp) = timestamp else { return arrived };
        let by_media = self.anchor.map(|(media, at)| at + i64::from(timestamp.wrapping_sub(media).cast_signed()));
        let at = by_media.filter(|at| (at - arrived).abs() <= FARTHEST).unwrap_or(arrived);
        if by_media != Some(at) || self.anchor.is_none() {
            self.anchor = Some((timestamp, at));
        }
        at
    }
}

/// A moment as a count of samples since the run began.
fn place(at: Moment) -> i64 {
    i64::try_from(at.as_nanos() / 125_000).unwrap_or(i64::MAX)
}

/// Two seconds.
const LONGEST: usize = 16_000;
/// 80 ms: a media time that is farther than this from the arrival has begun anew.
const FARTHEST: i64 = 640;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::ulaw;
    use std::time::Duration;

    fn heard(earpiece: &mut Earpiece, at_us: u64, timestamp: Option<u32>, sample: i16) {
        let octets = [ulaw(sample); 160];
        earpiece.hear(Heard { at: Duration::from_micros(at_us), timestamp, octets: &octets });
    }

    fn play(earpiece: &mut Earpiece, frames: usize) -> Vec<f32> {
        let mut played = vec![0.0; 160 * frames];
        earpiece.play(&mut played);
        played
    }

    #[test]
    fn jitter_of_arrivals_does_not_move_what_is_played() {
        let mut earpiece = Earpiece::new(Duration::from_millis(1000), 5.0);
        for (at_us, timestamp) in [(1_000_000, 320), (1_023_000, 480), (1_039_500, 640)] {
            heard(&mut earpiece, at_us, Some(timestamp), 1000);
        }
        let played = play(&mut earpiece, 4);
        let voiced: Vec<usize> = (0..played.len()).filter(|at| played[*at] != 0.0).collect();
        assert_eq!(voiced, (40..520).collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_too_late_is_not_played_and_a_new_media_time_is_taken() {
        let mut earpiece = Earpiece::new(Duration::ZERO, 0.0);
        heard(&mut earpiece, 0, Some(0), 1000);
        play(&mut earpiece, 2);
        heard(&mut earpiece, 30_000, Some(160), 1000);
        assert!(play(&mut earpiece, 1).iter().all(|sample| *sample == 0.0));
        heard(&mut earpiece, 60_000, Some(900_000), 1000);
        assert!(play(&mut earpiece, 1).iter().all(|sample| *sample != 0.0));
    }

    #[test]
    fn without_a_media_time_the_arrival_counts() {
        let mut earpiece = Earpiece::new(Duration::ZERO, 0.0);
        heard(&mut earpiece, 10_000, None, 1000);
        let played = play(&mut earpiece, 2);
        assert_eq!(played.iter().position(|sample| *sample != 0.0), Some(80));
    }
}
