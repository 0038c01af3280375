//! From a call's timeline to its figures. Pure: everything is taken from the audio on the wire and the packets'
//! times; nothing that the server says about itself is believed here.

use super::clock::{Moment, ms_between, samples};
use super::metrics::{Metric, Samples};
use super::timeline::{Arrival, Timeline, Trial};
use super::voice::{BREAK, Span, UTTERANCE, Voice, voiced};

/// What was measured of one call.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub samples: Samples,
    /// Each trial with its own figure in ms; `None` where it could not be measured.
    pub trials: Vec<(Trial, Option<f64>)>,
    /// Where the bot was heard, pauses under 300 ms bridged.
    pub bot: Vec<Span>,
}

/// Measures a call.
pub fn measure(timeline: &Timeline) -> Measured {
    let mut utterances = Voice::new(UTTERANCE);
    let mut breaks = Voice::new(BREAK);
    for (at, octets) in timeline.heard.iter() {
        voiced(at, octets, |from, to| {
            utterances.add(from, to);
            breaks.add(from, to);
        });
    }
    let mut measured = Measured::default();
    let mut false_stops = 0u32;
    for &trial in &timeline.trials {
        let figure = match trial {
            Trial::BargeIn { onset } => barge_in(&utterances, onset),
            Trial::Response { end, .. } | Trial::Key { at: end, .. } => {
                utterances.first_from(end).map(|s| ms_between(s.from, end))
            }
            Trial::Noise { from, until } => {
                super::caller::stop_between(&breaks, from, until).map(|at| ms_between(at, from))
            }
        };
        false_stops += u32::from(matches!(trial, Trial::Noise { .. }) && figure.is_some());
        add_trial(&mut measured.samples, trial, figure);
        measured.trials.push((trial, figure));
    }
    let wire = wire(&timeline.arrivals);
    wire.pacing_errors_ms.iter().for_each(|&error| measured.samples.add(Metric::PacingErrorMs, error));
    if timeline.answered.is_some() {
        measured.samples.add(Metric::LostFrames, f64::from(wire.lost));
        measured.samples.add(Metric::UnderrunMs, timeline.underrun_ms);
        if timeline.trials.iter().any(|t| matches!(t, Trial::Noise { .. })) {
            measured.samples.add(Metric::FalseStops, f64::from(false_stops));
        }
    }
    if let Some(answered) = timeline.answered {
        measured.samples.add(Metric::SilenceMs, longest_silence(timeline, &utterances, answered));
        measured.samples.add(Metric::SetupMs, ms_between(answered, timeline.placed));
    }
    measured.bot = utterances.spans().to_vec();
    measured
}

/// The longest time in which neither side was heard, from the answer to the end, in ms.
fn longest_silence(timeline: &Timeline, bot: &Voice, answered: Moment) -> f64 {
    let mut caller = Voice::new(UTTERANCE);
    for (at, octets) in timeline.sent.iter() {
        voiced(at, octets, |from, to| caller.add(from, to));
    }
    let mut spans: Vec<(Moment, Moment)> =
        bot.spans().iter().chain(caller.spans()).map(|span| (span.from, span.to)).collect();
    // A key is heard by nobody and is a sign all the same.
    spans.extend(timeline.trials.iter().filter_map(|trial| match trial {
        Trial::Key { at, .. } => Some((*at, *at)),
        _ => None,
    }));
    spans.push((timeline.over, timeline.over));
    spans.sort_unstable();
    let (mut since, mut longest) = (answered, 0.0_f64);
    for (from, to) in spans {
        longest = longest.max(ms_between(from, since));
        since = since.max(to);
    }
    longest
}

/// What the packets of one call say about their transport.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire {
    pub pacing_errors_ms: Vec<f64>,
    pub lost: u32,
}

/// Pacing between neighbours in sequence, and frames missing from each stream's run of sequence numbers.
pub fn wire(arrivals: &[Arrival]) -> Wire {
    let mut wire = Wire::default();
    let mut streams: Vec<u32> = arrivals.iter().map(|a| a.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        let own: Vec<&Arrival> = arrivals.iter().filter(|a| a.stream == stream).collect();
        let lead = own.windows(2).take(MOST_LEAD).take_while(|pair| builds_lead(pair)).count();
        let paced = own.windows(2).skip(lead);
        wire.pacing_errors_ms.extend(paced.filter_map(|pair| pacing_error(pair.first()?, pair.get(1)?)));
        wire.lost += lost(&own);
    }
    wire
}

/// The stop that belongs to an onset: the end of the utterance that the onset fell into, pauses included. Negative
/// where the bot stopped for a sound under the threshold of the label.
fn barge_in(utterances: &Voice, onset: Moment) -> Option<f64> {
    utterances.stop_after(onset).filter(|span| span.from <= onset).map(|span| ms_between(span.to, onset))
}

fn add_trial(into: &mut Samples, trial: Trial, figure: Option<f64>) {
    let Some(figure) = figure else { return };
    match trial {
        Trial::BargeIn { .. } => into.add(Metric::BargeInMs, figure),
        Trial::Response { known_ms, .. } => {
            into.add(Metric::ResponseGapMs, figure);
            known_ms.into_iter().for_each(|known| into.add(Metric::ResponseOverheadMs, figure - f64::from(known)));
        }
        Trial::Key { known_ms, .. } => {
            into.add(Metric::KeyGapMs, figure);
            known_ms.into_iter().for_each(|known| into.add(Metric::ResponseOverheadMs, figure - f64::from(known)));
        }
        Trial::Noise { .. } => {}
    }
}

/// Whether a frame was sent ahead of its time to fill a far side's play-out buffer at the beginning of an utterance.
/// RTP has no such buffer: there every deviation counts.
fn builds_lead(pair: &[&Arrival]) -> bool {
    let [a, b] = pair else { return false };
    let step_ms = super::clock::ms(samples(b.timestamp.wrapping_sub(a.timestamp) as usize));
    a.sequence.is_none() && ms_between(b.at, a.at) < step_ms / 2.0
}

/// `None` for a step backwards (reordered, doubled) and for a jump of the media clock over a pause of sending.
fn pacing_error(a: &Arrival, b: &Arrival) -> Option<f64> {
    let follows = match (a.sequence, b.sequence) {
        (Some(a), Some(b)) => (1..=100).contains(&b.wrapping_sub(a)),
        _ => true,
    };
    let step = b.timestamp.wrapping_sub(a.timestamp);
    if !follows || step > MOST_STEP {
        return None;
    }
    let step_ms = super::clock::ms(samples(step as usize));
    Some((ms_between(b.at, a.at) - step_ms).abs())
}

fn lost(arrivals: &[&Arrival]) -> u32 {
    // Sequence numbers are unrolled against the one before, so that a run may wrap at 65535.
    let mut extended: Vec<i64> = Vec::new();
    for sequence in arrivals.iter().filter_map(|a| a.sequence) {
        let next = extended.last().map_or(i64::from(sequence), |&last| {
            let step = sequence.wrapping_sub((last & 0xFFFF) as u16) as i16;
            last + i64::from(step)
        });
        extended.push(next);
    }
    extended.sort_unstable();
    extended.dedup();
    match (extended.first(), extended.last()) {
        (Some(first), Some(last)) => u32::try_from(last - first + 1 - extended.len() as i64).unwrap_or(u32::MAX),
        _ => 0,
    }
}

/// A media time step that is a pause of sending rather than a late packet: 200 ms.
const MOST_STEP: u32 = 1600;

/// Frames that may be sent ahead at the beginning of an utterance: 200 ms.
const MOST_LEAD: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::{FRAME, ulaw};
    use crate::sim::clock::Moment;
    use std::time::Duration;

    fn at(ms: f64) -> Moment {
        Duration::from_secs_f64(ms / 1000.0)
    }

    fn arrival(ms: f64, sequence: u16) -> Arrival {
        Arrival { at: at(ms), sequence: Some(sequence), stream: 1, timestamp: u32::from(sequence).wrapping_mul(160) }
    }

    /// Frames of voice from `from` to `to`, the last cut at its sample.
    fn speak(timeline: &mut Timeline, from: f64, to: f64) {
        let mut now = from;
        while now < to {
            let length = (((to - now) * 8.0).round() as usize).min(FRAME);
            let octets: Vec<u8> = (0..FRAME)
                .map(|i| if i < length { ulaw(if i % 2 == 0 { 4000 } else { -4000 }) } else { 0xFF })
                .collect();
            timeline.heard.push(at(now), &octets);
            now += 20.0;
        }
    }

    fn value(timeline: &Timeline, metric: Metric) -> f64 {
        let measured = measure(timeline);
        let [value] = measured.samples.values(metric) else {
            panic!("{metric:?}: {:?}", measured.samples.values(metric))
        };
        *value
    }

    #[test]
    fn barge_in_and_response_are_exact_to_the_sample() {
        let mut timeline = Timeline { answered: Some(at(5.0)), ..Timeline::default() };
        speak(&mut timeline, 100.0, 2148.5);
        speak(&mut timeline, 2907.0, 4000.0);
        let (onset, end) = (at(2001.125), at(2700.25));
        timeline.trials = vec![Trial::BargeIn { onset }, Trial::Response { end, known_ms: Some(200) }];
        assert!((value(&timeline, Metric::BargeInMs) - 147.375).abs() < 1e-6);
        assert!((value(&timeline, Metric::ResponseGapMs) - 206.75).abs() < 1e-6);
        assert!((value(&timeline, Metric::ResponseOverheadMs) - 6.75).abs() < 1e-6);
        assert!((value(&timeline, Metric::SetupMs) - 5.0).abs() < 1e-6);
    }

    #[test]
    fn a_bot_that_resumes_within_a_pause_has_not_stopped() {
        let mut timeline = Timeline::default();
        speak(&mut timeline, 0.0, 1000.0);
        speak(&mut timeline, 1250.0, 1600.0);
        timeline.trials = vec![Trial::BargeIn { onset: at(900.0) }];
        assert!((value(&timeline, Metric::BargeInMs) - 700.0).abs() < 1e-6);
    }

    #[test]
    fn an_onset_into_silence_measures_nothing() {
        let mut timeline = Timeline::default();
        speak(&mut timeline, 0.0, 500.0);
        timeline.trials = vec![Trial::BargeIn { onset: at(900.0) }];
        assert!(measure(&timeline).samples.values(Metric::BargeInMs).is_empty());
    }

    #[test]
    fn a_break_after_a_noise_is_a_false_stop_and_a_lost_packet_is_not() {
        let mut timeline = Timeline { answered: Some(at(0.0)), ..Timeline::default() };
        speak(&mut timeline, 0.0, 1000.0);
        speak(&mut timeline, 1020.0, 3000.0);
        timeline.trials = vec![Trial::Noise { from: at(900.0), until: at(1700.0) }];
        assert!(value(&timeline, Metric::FalseStops) == 0.0);
        let mut stopped = Timeline { answered: Some(at(0.0)), trials: timeline.trials.clone(), ..Timeline::default() };
        speak(&mut stopped, 0.0, 1000.0);
        speak(&mut stopped, 1080.0, 3000.0);
        assert!(value(&stopped, Metric::FalseStops) == 1.0);
    }

    #[test]
    fn pacing_error_is_the_difference_to_the_media_step() {
        let found = wire(&[arrival(0.0, 1), arrival(20.0, 2), arrival(43.0, 3), arrival(60.0, 4), arrival(100.5, 6)]);
        let rounded: Vec<_> = found.pacing_errors_ms.iter().map(|e| (e * 1000.0).round() / 1000.0).collect();
        assert_eq!(rounded, [0.0, 3.0, 3.0, 0.5]);
        assert_eq!(found.lost, 1);
    }

    #[test]
    fn sequence_numbers_wrap_and_reorder_without_loss() {
        let found = wire(&[
            arrival(0.0, 65534),
            arrival(20.0, 65535),
            arrival(61.0, 1),
            arrival(62.0, 0),
            arrival(80.0, 2),
            arrival(80.0, 2),
        ]);
        assert_eq!(found.lost, 0);
    }

    #[test]
    fn a_pause_of_sending_is_no_pacing_error() {
        let mut late = arrival(5000.0, 2);
        late.timestamp = 160 + 40_000;
        assert!(wire(&[arrival(0.0, 1), late]).pacing_errors_ms.is_empty());
    }

    #[test]
    fn a_lead_at_the_beginning_is_no_pacing_error_without_rtp_and_is_one_with_it() {
        let burst = |sequence: bool, lead: u16| -> Vec<Arrival> {
            let at = |n: u16| f64::from(n.saturating_sub(lead)) * 20.0;
            (0..40).map(|n| Arrival { sequence: sequence.then_some(n), ..arrival(at(n), n) }).collect()
        };
        assert!(wire(&burst(false, 5)).pacing_errors_ms.iter().all(|&e| e < 1e-6));
        assert_eq!(
            wire(&burst(false, 15)).pacing_errors_ms.iter().filter(|&&e| e > 19.0).count(),
            5,
            "200 ms is enough"
        );
        assert_eq!(wire(&burst(true, 5)).pacing_errors_ms.iter().filter(|&&e| e > 19.0).count(), 5);
    }

    #[test]
    fn a_stop_for_a_sound_below_the_label_counts_and_one_long_before_does_not() {
        let mut timeline = Timeline::default();
        speak(&mut timeline, 0.0, 980.0);
        timeline.trials = vec![Trial::BargeIn { onset: at(1000.0) }];
        assert!((value(&timeline, Metric::BargeInMs) + 20.0).abs() < 1e-6);
        timeline.trials = vec![Trial::BargeIn { onset: at(1100.0) }];
        assert!(measure(&timeline).samples.values(Metric::BargeInMs).is_empty());
    }
}
