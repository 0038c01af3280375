//! What is heard of the far side's stream, packet by packet: loss, runs of loss, jitter (RFC 3550 appendix A).

use super::compound::Report;
use crate::Moment;
use crate::rtp::{SequenceStep, SequenceTracker, sequence_distance, timestamp_distance};

/// Meters one stream; another source begins anew, while the totals of the call go on.
#[derive(Clone, Debug)]
pub struct ReceptionMeter {
    clock_hz: u32,
    ssrc: Option<u32>,
    sequence: SequenceTracker,
    /// Highest sequence number with its wraps in the upper half.
    highest: u32,
    transit: Option<(u32, Moment)>,
    jitter: f32,
    /// Expected and received at the report before.
    reported: (u64, u64),
    /// Runs of packets that were skipped, and the packets in them.
    runs: (u64, u64),
    /// Totals of sources before this one.
    before: (u64, u64),
}

/// Figures of a call's reception so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reception {
    pub expected: u64,
    /// Without duplicates.
    pub received: u64,
    /// Interarrival jitter, ms.
    pub jitter_ms: f32,
    /// Mean length of runs of lost packets over what chance alone would give, at least 1.
    pub burst_ratio: f32,
}

impl ReceptionMeter {
    /// `clock_hz` is the rate of the RTP timestamps.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            ssrc: None,
            sequence: SequenceTracker::default(),
            highest: 0,
            transit: None,
            jitter: 0.0,
            reported: (0, 0),
            runs: (0, 0),
            before: (0, 0),
        }
    }

    /// Takes a packet of the stream. `timed` where its timestamp is that of its audio: events repeat theirs.
    pub fn note(&mut self, ssrc: u32, sequence: u16, timestamp: u32, arrival: Moment, timed: bool) {
        if self.ssrc != Some(ssrc) {
            self.begin(ssrc, sequence);
        }
        let newest = u16::try_from(self.highest & 0xFFFF).unwrap_or_default();
        let ahead = sequence_distance(sequence, newest);
        match self.sequence.note(sequence) {
            SequenceStep::Duplicate => return,
            SequenceStep::Ahead => {
                let skipped = ahead.saturating_sub(1).unsigned_abs();
                if skipped > 0 {
                    self.runs = (self.runs.0 + 1, self.runs.1 + u64::from(skipped));
                }
                self.highest = self.highest.wrapping_add(u32::from(ahead.unsigned_abs()));
            }
            SequenceStep::Reordered => {}
            SequenceStep::Restart => self.highest = self.highest & 0xFFFF_0000 | u32::from(sequence),
        }
        if timed {
            self.meter_jitter(timestamp, arrival);
        }
    }

    /// The clock changes with the codec.
    pub fn set_clock(&mut self, clock_hz: u32) {
        if self.clock_hz != clock_hz {
            (self.clock_hz, self.transit) = (clock_hz, None);
        }
    }

    /// The report on the stream since the one before; `None` before anything came. `last_sr` and the delay since then
    /// are the session's to add.
    pub fn report(&mut self) -> Option<Report> {
        let ssrc = self.ssrc?;
        let (expected, received) = (self.sequence.expected(), self.sequence.received());
        let (before, had) = core::mem::replace(&mut self.reported, (expected, received));
        let (new, came) = (expected.saturating_sub(before), received.saturating_sub(had));
        let fraction = (new.saturating_sub(came) * 256).checked_div(new).unwrap_or(0);
        let lost = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(received).unwrap_or(i64::MAX);
        Some(Report {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: i32::try_from(lost.clamp(-MOST_LOST, MOST_LOST - 1)).unwrap_or_default(),
            highest_sequence: self.highest,
            // A float to integer cast saturates.
            jitter: (self.jitter * self.clock_hz as f32) as u32,
            last_sr: 0,
            delay_since_last_sr: 0,
        })
    }

    /// Figures since the call began.
    pub fn so_far(&self) -> Reception {
        let (expected, received) = (self.before.0 + self.sequence.expected(), self.before.1 + self.sequence.received());
        let (runs, skipped) = self.runs;
        let lost = expected.saturating_sub(received) as f32 / expected.max(1) as f32;
        let run = if runs == 0 { 1.0 } else { skipped as f32 / runs as f32 };
        Reception { expected, received, jitter_ms: self.jitter * 1000.0, burst_ratio: (run * (1.0 - lost)).max(1.0) }
    }

    /// The source heard now.
    pub const fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    fn begin(&mut self, ssrc: u32, sequence: u16) {
        self.before = (self.before.0 + self.sequence.expected(), self.before.1 + self.sequence.received());
        (self.ssrc, self.sequence, self.highest) = (Some(ssrc), SequenceTracker::default(), u32::from(sequence));
        (self.transit, self.reported) = (None, (0, 0));
    }

    /// RFC 3550 appendix A.8, in seconds.
    fn meter_jitter(&mut self, timestamp: u32, arrival: Moment) {
        if let Some((before, came)) = self.transit.replace((timestamp, arrival)) {
            let sent = timestamp_distance(timestamp, before) as f32 / self.clock_hz.max(1) as f32;
            let heard = arrival.as_secs_f32() - came.as_secs_f32();
            let exact = arrival.checked_sub(came).map_or(heard, |gap| gap.as_secs_f32());
            let difference = (exact - sent).abs();
            // A jump of the sender's clock is no jitter.
            if difference < JUMP_S {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }
}

/// The report's field has 24 bits with a sign.
const MOST_LOST: i64 = 1 << 23;

/// More than any network delays a packet, seconds.
const JUMP_S: f32 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn loss_is_told_as_a_share_of_the_last_interval_and_in_all() {
        let mut meter = ReceptionMeter::new(8000);
        assert_eq!(meter.report(), None);
        for n in (0..100u16).filter(|n| n % 4 != 1) {
            meter.note(7, 65_500u16.wrapping_add(n), u32::from(n) * 160, at(20 * u64::from(n)), true);
        }
        let report = meter.report().unwrap();
        assert_eq!((report.ssrc, report.lost, report.highest_sequence), (7, 25, 65_599));
        assert_eq!(report.fraction_lost, 64);
        for n in 100..200u16 {
            meter.note(7, 65_500u16.wrapping_add(n), u32::from(n) * 160, at(20 * u64::from(n)), true);
        }
        let report = meter.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost, report.jitter), (0, 25, 0));
        assert_eq!(meter.so_far(), Reception { expected: 200, received: 175, jitter_ms: 0.0, burst_ratio: 1.0 });
    }

    #[test]
    fn jitter_follows_appendix_a8() {
        let mut meter = ReceptionMeter::new(8000);
        for n in 0..400u32 {
            // Every second packet is 8 ms late, so each differs from the one before by 8 ms.
            let late = u64::from(n % 2) * 8;
            meter.note(7, n as u16, n * 160, at(20 * u64::from(n) + late), true);
            meter.note(7, n as u16, n * 160, at(20 * u64::from(n) + 500), true);
        }
        assert!((meter.so_far().jitter_ms - 8.0).abs() < 0.1, "{:?}", meter.so_far());
        assert!((63..=64).contains(&meter.report().unwrap().jitter));
    }

    #[test]
    fn runs_of_loss_are_told_from_chance() {
        let mut meter = ReceptionMeter::new(8000);
        for n in (0..1000u16).filter(|n| n % 50 >= 5) {
            meter.note(7, n, u32::from(n) * 160, at(20 * u64::from(n)), true);
        }
        assert!((meter.so_far().burst_ratio - 4.5).abs() < 0.1, "runs of five at a tenth lost");
    }

    #[test]
    fn another_source_begins_anew_and_the_totals_go_on() {
        let mut meter = ReceptionMeter::new(8000);
        (0..10).for_each(|n| meter.note(7, n, u32::from(n) * 160, at(20 * u64::from(n)), true));
        (0..10).for_each(|n| meter.note(8, 900 + 2 * n, 0, at(200), false));
        let report = meter.report().unwrap();
        assert_eq!((report.ssrc, report.lost, report.highest_sequence), (8, 9, 918));
        assert_eq!((meter.so_far().expected, meter.so_far().received), (29, 20));
    }
}
