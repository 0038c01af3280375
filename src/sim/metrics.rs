//! The figures of a run: their closed set of names, percentiles, and the pass lines held against them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that a run measures. Times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// First voiced sample sent to last voiced sample received.
    BargeInMs,
    /// Last voiced sample sent to first voiced sample received.
    ResponseGapMs,
    /// `response_gap_ms` less what the scenario declares as known (endpoint silence, stand-in delays).
    ResponseOverheadMs,
    /// Key pressed to first voiced sample of the answer.
    KeyGapMs,
    /// Call placed to call answered.
    SetupMs,
    /// From the server's record of each turn: end of speech to final words.
    AsrMs,
    /// From the server's record: request to the model to its first token.
    LlmMs,
    /// From the server's record: text handed to the voice to its first audio.
    TtsMs,
    /// From the server's record: end of the caller's turn to the first packet of the answer.
    TotalMs,
    /// |time between two arrivals - step of their media time|.
    PacingErrorMs,
    /// Frames missing by sequence number, per call.
    LostFrames,
    /// Times the bot fell silent for a noise, per call.
    FalseStops,
    /// Silence heard because audio came too late, ms per call.
    UnderrunMs,
    /// Longest time in which neither side was heard, from the answer to the end, per call.
    SilenceMs,
    /// Chaos: vendors that failed as they were told to and that the server does not show, in health or metrics.
    UnseenFailures,
    /// Chaos: providers that are still left alone after all vendors were at peace again.
    StuckBreakers,
    /// Calls of which the server keeps no record.
    Unrecorded,
    /// Calls that did not go as the scenario says.
    Failures,
    /// Turn-taking, core: onset of the caller to the end of the bot's last audible packet, or to the arrival of `clear`.
    StopMs,
    /// The same to the end of what the far side played.
    StopHeardMs,
    /// Core: share of onsets after which the bot was not silent within 250 ms, misses included.
    LatePercent,
    /// Core: share of onsets after which the bot was still heard a second later.
    MissedPercent,
    /// The same at an SNR of 5 dB.
    MissedNoisyPercent,
    /// Core: holds without a reason per minute of the bot's speech.
    FalseHoldsPerMin,
    /// The same on clean lines.
    FalseHoldsCleanPerMin,
    /// Core: times that the floor was given up without a reason, per minute of the bot's speech.
    FalseCommitsPerMin,
    /// Holds per minute while the echo's path jumps.
    JumpHoldsPerMin,
    /// Holds per minute for another voice 20 dB below a caller.
    SecondVoiceFaintHoldsPerMin,
    /// Holds per minute for another voice 12 dB below a caller.
    SecondVoiceHoldsPerMin,
    /// Share of false holds after which more than one word was lost or said again.
    ResumeWrongPercent,
    /// Words by which the server's record of what a caller heard is wrong.
    HeardErrorWords,
}

impl Metric {
    /// In the order in which they are shown.
    pub const ALL: [Self; 31] = [
        Self::BargeInMs,
        Self::ResponseGapMs,
        Self::ResponseOverheadMs,
        Self::KeyGapMs,
        Self::SetupMs,
        Self::AsrMs,
        Self::LlmMs,
        Self::TtsMs,
        Self::TotalMs,
        Self::PacingErrorMs,
        Self::LostFrames,
        Self::FalseStops,
        Self::UnderrunMs,
        Self::SilenceMs,
        Self::UnseenFailures,
        Self::StuckBreakers,
        Self::Unrecorded,
        Self::Failures,
        Self::StopMs,
        Self::StopHeardMs,
        Self::LatePercent,
        Self::MissedPercent,
        Self::MissedNoisyPercent,
        Self::FalseHoldsPerMin,
        Self::FalseHoldsCleanPerMin,
        Self::FalseCommitsPerMin,
        Self::JumpHoldsPerMin,
        Self::SecondVoiceFaintHoldsPerMin,
        Self::SecondVoiceHoldsPerMin,
        Self::ResumeWrongPercent,
        Self::HeardErrorWords,
    ];

    /// Whether only trials of turn-taking have it.
    pub const fn is_of_turns(self) -> bool {
        (self as u8) > (Self::Failures as u8)
    }

    /// Whether it is one number for the run and no distribution.
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            Self::UnseenFailures
                | Self::StuckBreakers
                | Self::Unrecorded
                | Self::LatePercent
                | Self::MissedPercent
                | Self::MissedNoisyPercent
                | Self::FalseHoldsPerMin
                | Self::FalseHoldsCleanPerMin
                | Self::FalseCommitsPerMin
                | Self::JumpHoldsPerMin
                | Self::SecondVoiceFaintHoldsPerMin
                | Self::SecondVoiceHoldsPerMin
                | Self::ResumeWrongPercent
        )
    }

    /// The name in scenarios and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BargeInMs => "barge_in_ms",
            Self::ResponseGapMs => "response_gap_ms",
            Self::ResponseOverheadMs => "response_overhead_ms",
            Self::KeyGapMs => "key_gap_ms",
            Self::SetupMs => "setup_ms",
            Self::AsrMs => "asr_ms",
            Self::LlmMs => "llm_ms",
            Self::TtsMs => "tts_ms",
            Self::TotalMs => "total_ms",
            Self::PacingErrorMs => "pacing_error_ms",
            Self::LostFrames => "lost_frames",
            Self::FalseStops => "false_stops",
            Self::UnderrunMs => "underrun_ms",
            Self::SilenceMs => "silence_ms",
            Self::UnseenFailures => "unseen_failures",
            Self::StuckBreakers => "stuck_breakers",
            Self::Unrecorded => "unrecorded",
            Self::Failures => "failures",
            Self::StopMs => "stop_ms",
            Self::StopHeardMs => "stop_heard_ms",
            Self::LatePercent => "late_percent",
            Self::MissedPercent => "missed_percent",
            Self::MissedNoisyPercent => "missed_noisy_percent",
            Self::FalseHoldsPerMin => "false_holds_per_min",
            Self::FalseHoldsCleanPerMin => "false_holds_clean_per_min",
            Self::FalseCommitsPerMin => "false_commits_per_min",
            Self::JumpHoldsPerMin => "jump_holds_per_min",
            Self::SecondVoiceFaintHoldsPerMin => "second_voice_faint_holds_per_min",
            Self::SecondVoiceHoldsPerMin => "second_voice_holds_per_min",
            Self::ResumeWrongPercent => "resume_wrong_percent",
            Self::HeardErrorWords => "heard_error_words",
        }
    }
}

/// Which figure of a distribution a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stat {
    P50,
    P95,
    P99,
    Max,
}

impl Stat {
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub stat: Stat,
    pub at_most: f64,
}

/// Limits on one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct PassLine {
    pub metric: Metric,
    pub limits: Vec<Limit>,
}

/// One limit, held against a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub metric: Metric,
    pub stat: Stat,
    pub at_most: f64,
    /// `None`: nothing was measured, which is a miss as well.
    pub measured: Option<f64>,
    pub ok: bool,
}

/// A distribution's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub n: usize,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Summary {
    pub const fn stat(&self, stat: Stat) -> f64 {
        match stat {
            Stat::P50 => self.p50,
            Stat::P95 => self.p95,
            Stat::P99 => self.p99,
            Stat::Max => self.max,
        }
    }
}

/// All values of a run by metric.
#[derive(Clone, Debug, Default)]
pub struct Samples(BTreeMap<Metric, Vec<f64>>);

impl Samples {
    pub fn add(&mut self, metric: Metric, value: f64) {
        self.0.entry(metric).or_default().push(value);
    }

    pub fn merge(&mut self, other: &Self) {
        for (&metric, values) in &other.0 {
            self.0.entry(metric).or_default().extend(values);
        }
    }

    pub fn values(&self, metric: Metric) -> &[f64] {
        self.0.get(&metric).map_or(&[], Vec::as_slice)
    }

    /// `None` where nothing was measured. Percentiles by nearest rank; for [`Metric::Failures`] `max` is the number of
    /// failed calls.
    pub fn summary(&self, metric: Metric) -> Option<Summary> {
        let values = self.values(metric);
        match metric {
            Metric::Failures => Some(Summary { max: values.iter().sum(), ..summary(values).unwrap_or_default() }),
            _ => summary(values),
        }
    }

    /// Holds the lines against the values; of several limits on the same figure the strictest counts.
    pub fn judge<'a>(&self, lines: impl IntoIterator<Item = &'a PassLine>) -> Vec<Verdict> {
        let mut strictest: BTreeMap<(Metric, Stat), f64> = BTreeMap::new();
        for line in lines {
            for limit in &line.limits {
                let at_most = strictest.entry((line.metric, limit.stat)).or_insert(limit.at_most);
                *at_most = at_most.min(limit.at_most);
            }
        }
        let verdict = |((metric, stat), at_most)| {
            let measured = self.summary(metric).map(|s: Summary| s.stat(stat));
            Verdict { metric, stat, at_most, measured, ok: measured.is_some_and(|m| m <= at_most) }
        };
        strictest.into_iter().map(verdict).collect()
    }
}

/// `None` for no values; percentiles by nearest rank.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|q| rank(&sorted, q));
    Some(Summary { n: sorted.len(), p50, p95, p99, max: *sorted.last()? })
}

fn rank(sorted: &[f64], q: f64) -> f64 {
    let index = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Samples {
        let mut samples = Samples::default();
        values.into_iter().for_each(|v| samples.add(Metric::BargeInMs, v));
        samples
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let s = of((1..=100).rev().map(f64::from)).summary(Metric::BargeInMs).unwrap();
        assert_eq!((s.n, s.p50, s.p95, s.p99, s.max), (100, 50.0, 95.0, 99.0, 100.0));
        assert_eq!(of([7.0]).summary(Metric::BargeInMs).unwrap().p99, 7.0);
        assert_eq!(of([]).summary(Metric::BargeInMs), None);
    }

    #[test]
    fn the_strictest_of_several_limits_counts_and_nothing_measured_is_a_miss() {
        let line = |metric, at_most| PassLine { metric, limits: vec![Limit { stat: Stat::P50, at_most }] };
        let verdicts = of([100.0]).judge(&[
            line(Metric::BargeInMs, 200.0),
            line(Metric::BargeInMs, 90.0),
            line(Metric::SetupMs, 1.0),
        ]);
        assert_eq!(verdicts.len(), 2);
        assert!(!verdicts[0].ok && verdicts[0].at_most == 90.0);
        assert!(!verdicts[1].ok && verdicts[1].measured.is_none());
    }

    #[test]
    fn failures_are_counted_not_ranked() {
        let mut samples = Samples::default();
        [0.0, 1.0, 1.0].into_iter().for_each(|v| samples.add(Metric::Failures, v));
        assert_eq!(samples.summary(Metric::Failures).unwrap().max, 2.0);
    }
}
