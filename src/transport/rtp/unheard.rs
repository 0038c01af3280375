//! How much of what was sent has not been heard yet: on its way, or in the far side's jitter buffer. Pure.
//!
//! Nobody tells; it is an estimate from RTCP: half of the round trip, and a buffer as deep as telephones usually keep
//! one, deeper where the far side reports jitter.

use std::time::Duration;

use offhook_media::FRAME_MS;
use offhook_media::rtcp::TheirView;

/// By what the far side reported; `clock_hz` is the RTP clock of its jitter.
pub(super) fn unheard(view: &TheirView, clock_hz: u32) -> Duration {
    let way = view.round_trip.unwrap_or_default().min(MOST_ROUND_TRIP) / 2;
    let jitter = if view.reports == 0 { 0.0 } else { f64::from(view.jitter) / f64::from(clock_hz.max(1)) };
    // An adaptive buffer keeps what covers nearly all packets: a few times the mean deviation, above one frame.
    let adapted = FRAME + Duration::from_secs_f64(jitter.min(1.0)) * SPREAD;
    way + adapted.clamp(USUAL_BUFFER, MOST_BUFFER)
}

const FRAME: Duration = Duration::from_millis(FRAME_MS as u64);

/// Two to three frames: what telephones and gateways keep on a quiet network.
const USUAL_BUFFER: Duration = Duration::from_millis(50);
const MOST_BUFFER: Duration = Duration::from_millis(200);

/// Buffer depth per mean deviation.
const SPREAD: u32 = 4;

/// More is a report that went astray.
const MOST_ROUND_TRIP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn view(round_trip: Option<u64>, jitter_ms: u32) -> TheirView {
        TheirView {
            round_trip: round_trip.map(ms),
            lost: 0,
            loss_percent: 0.0,
            jitter: jitter_ms * 8,
            reports: u64::from(round_trip.is_some()),
        }
    }

    #[test]
    fn half_the_round_trip_and_the_buffer_are_not_heard_yet() {
        assert_eq!(unheard(&view(None, 0), 8000), ms(50), "nothing reported");
        assert_eq!(unheard(&view(Some(80), 0), 8000), ms(40 + 50));
        assert_eq!(unheard(&view(Some(80), 20), 8000), ms(40 + 100), "jitter deepens the buffer");
        assert_eq!(unheard(&view(Some(60_000), 5000), 8000), ms(1000 + 200), "nonsense is bounded");
    }
}
