//! What counts: from what was done in a trial to percentiles, rates and shares.
//!
//! A stop is held against the labelled onset; what is already on within 300 ms before it is early and excluded; a miss is no
//! hold within 1 s. Where nobody speaks every hold is false, and is counted again every 2 s for as long as it stays on.

use super::condition::Condition;
use super::signal::RATE;
use super::trial::Trial;

/// What the floor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Decided to fall silent for the moment.
    Held,
    /// The last sample of the bot that can be heard has gone out.
    Silent,
    /// Gave up the floor.
    Committed,
    /// Went on speaking, or would have.
    Resumed,
}

/// All that was done in a trial, in order, with the sample at which it was decided.
#[derive(Clone, Debug, Default)]
pub struct Acts(Vec<(usize, Act)>);

/// What a trial with a caller came to. Times in ms after the labelled onset.
#[derive(Clone, Debug)]
pub struct Onset {
    pub condition: &'static Condition,
    /// Which trial of its condition.
    pub number: u64,
    pub words: std::sync::Arc<str>,
    pub noise: &'static str,
    pub met: Met,
    /// Decision to give up the floor.
    pub commit_ms: Option<f32>,
}

/// How a caller was met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Met {
    /// Decided, and the end of the bot's last packet on the wire.
    Stopped { decided_ms: f32, stop_ms: f32 },
    /// Already held when the caller began.
    Early,
    /// Not within a second.
    Missed,
}

/// What a trial without a caller came to.
#[derive(Clone, Debug)]
pub struct Quiet {
    pub condition: &'static Condition,
    /// Which trial of its condition.
    pub number: u64,
    pub noise: &'static str,
    pub minutes: f32,
    pub holds: u32,
    pub commits: u32,
}

/// Times of onsets, with misses as 1000 ms.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Onsets that count: all but the early ones.
    pub n: usize,
    pub early: usize,
    pub missed: usize,
    sorted: Vec<f32>,
}

/// A rate over minutes of bot speech.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub minutes: f32,
    pub holds: u32,
    pub commits: u32,
}

impl Acts {
    pub fn push(&mut self, at: usize, act: Act) {
        self.0.push((at, act));
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, Act)> {
        self.0.iter().copied()
    }

    /// When the last hold was decided.
    pub fn last_held(&self) -> Option<usize> {
        self.0.iter().rfind(|(_, act)| *act == Act::Held).map(|(at, _)| *at)
    }

    /// Stretches from a hold to its end; the last may last to the end of the trial.
    fn holds(&self, length: usize) -> Vec<(usize, usize)> {
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        let mut since = None;
        for (at, act) in self.iter() {
            match (act, since) {
                (Act::Held, None) => since = Some(at),
                (Act::Resumed, Some(from)) => {
                    stretches.push((from, at));
                    since = None;
                }
                _ => {}
            }
        }
        // What is decided behind the end says nothing of the trial.
        stretches.extend(since.map(|from| (from, length)));
        stretches.retain(|(from, _)| *from < length);
        stretches
    }
}

impl Onset {
    /// Scores a trial in which a caller speaks; none where nobody does.
    pub fn of(trial: &Trial, acts: &Acts) -> Option<Self> {
        let onset = trial.onset?;
        let holds = acts.holds(trial.caller.len());
        let early = holds.iter().any(|(from, to)| *from <= onset && *to + EARLY > onset);
        let after = |at: usize| at > onset && at <= onset + RATE;
        let ms = |at: usize| (at - onset) as f32 * 1000.0 / RATE as f32;
        let decided = holds.iter().map(|(from, _)| *from).find(|from| after(*from));
        let met = match decided {
            _ if early => Met::Early,
            Some(at) => {
                let silent = acts.iter().find(|(silent, act)| *act == Act::Silent && *silent >= at);
                Met::Stopped { decided_ms: ms(at), stop_ms: silent.map_or(MISSED_MS, |(silent, _)| ms(silent)) }
            }
            None => Met::Missed,
        };
        let commit = acts.iter().find(|(at, act)| *act == Act::Committed && *at > onset);
        Some(Self {
            condition: trial.condition,
            number: trial.number,
            words: trial.words.clone().unwrap_or_default(),
            noise: trial.noise,
            met,
            commit_ms: commit.map(|(at, _)| ms(at)),
        })
    }
}

impl Quiet {
    /// Scores a trial in which nobody speaks to the bot.
    pub fn of(trial: &Trial, acts: &Acts) -> Self {
        let holds = acts.holds(trial.caller.len()).iter().map(|(from, to)| 1 + (to - from) / AGAIN).sum::<usize>();
        let commits = acts.iter().filter(|(_, act)| *act == Act::Committed).count();
        Self {
            condition: trial.condition,
            number: trial.number,
            noise: trial.noise,
            minutes: trial.bot_s() / 60.0,
            holds: holds as u32,
            commits: commits as u32,
        }
    }
}

impl Stops {
    /// Times by `time` of the onsets that were stopped for, misses among them as 1000 ms.
    pub fn of<'a>(onsets: impl Iterator<Item = &'a Onset>, time: fn(&Met) -> Option<f32>) -> Self {
        let mut stops = Self::default();
        for onset in onsets {
            match onset.met {
                Met::Early => stops.early += 1,
                Met::Missed => {
                    stops.missed += 1;
                    stops.sorted.push(MISSED_MS);
                }
                met @ Met::Stopped { .. } => stops.sorted.extend(time(&met)),
            }
        }
        stops.n = stops.sorted.len();
        stops.sorted.sort_by(f32::total_cmp);
        stops
    }

    /// The value below which this share lies, ms; none without onsets.
    pub fn quantile(&self, share: f32) -> Option<f32> {
        let place = (share * self.n as f32).ceil() as usize;
        self.sorted.get(place.clamp(1, self.n.max(1)) - 1).copied()
    }

    /// Share of the onsets within `ms`, 0 to 1.
    pub fn share_within(&self, ms: f32) -> f32 {
        self.sorted.partition_point(|value| *value <= ms) as f32 / self.n.max(1) as f32
    }

    /// Share of the onsets that were missed, 0 to 1.
    pub fn share_missed(&self) -> f32 {
        self.missed as f32 / self.n.max(1) as f32
    }
}

impl Rates {
    pub fn of<'a>(quiets: impl Iterator<Item = &'a Quiet>) -> Self {
        quiets.fold(Self::default(), |sum, quiet| Self {
            minutes: sum.minutes + quiet.minutes,
            holds: sum.holds + quiet.holds,
            commits: sum.commits + quiet.commits,
        })
    }

    /// False holds per minute of bot speech.
    pub fn holds_per_minute(&self) -> f32 {
        self.holds as f32 / self.minutes.max(f32::EPSILON)
    }

    /// False commits per minute of bot speech.
    pub fn commits_per_minute(&self) -> f32 {
        self.commits as f32 / self.minutes.max(f32::EPSILON)
    }
}

/// The time of the end of the bot's last packet on the wire.
pub fn stop_ms(met: &Met) -> Option<f32> {
    match met {
        Met::Stopped { stop_ms, .. } => Some(*stop_ms),
        Met::Early | Met::Missed => None,
    }
}

/// 300 ms.
const EARLY: usize = RATE * 3 / 10;
/// 2 s.
const AGAIN: usize = 2 * RATE;
const MISSED_MS: f32 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_that_stays_on_is_counted_again_every_two_seconds() {
        let mut acts = Acts::default();
        acts.push(1000, Act::Held);
        acts.push(1000 + 2 * AGAIN + 1, Act::Resumed);
        acts.push(60_000, Act::Held);
        acts.push(60_100, Act::Committed);
        assert_eq!(acts.holds(80_000), [(1000, 1001 + 2 * AGAIN), (60_000, 80_000)]);
        let counted: usize = acts.holds(80_000).iter().map(|(from, to)| 1 + (to - from) / AGAIN).sum();
        assert_eq!(counted, 3 + 2);
    }

    #[test]
    fn quantiles_count_misses_as_a_second() {
        let stops = Stops { n: 4, early: 0, missed: 1, sorted: vec![50.0, 60.0, 70.0, MISSED_MS] };
        assert_eq!(stops.quantile(0.5), Some(60.0));
        assert_eq!(stops.quantile(0.99), Some(1000.0));
        assert_eq!(stops.share_within(250.0), 0.75);
        assert_eq!(stops.share_missed(), 0.25);
        assert_eq!(Stops::default().quantile(0.5), None);
    }
}
