//! One direction of a bad network, as rules: a packet and a time in, the times at which it arrives out. Seeded; the
//! same seed and the same packets give the same network. No socket and no clock: `relay.rs` has those.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What the network does to packets. The default does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Share of packets lost, 0.0 to below 1.0.
    pub loss: f64,
    /// Mean length of a run of lost packets, in packets; 1.0 is independent loss. (Gilbert's two states.)
    pub burst: f64,
    pub delay: Duration,
    /// Largest deviation from `delay` to later, evenly distributed. Packets overtake each other where it exceeds their
    /// distance, as they do on networks of several paths.
    pub jitter: Duration,
    /// Share of packets that come 40 to 60 ms late, behind others.
    pub reorder: f64,
    /// Share of packets that come twice.
    pub duplicate: f64,
    /// Bits per second that pass; packets queue for up to half a second and are dropped beyond that.
    pub rate: Option<u32>,
    /// Nothing passes.
    pub black_hole: bool,
}

impl Impairment {
    pub const NONE: Self = Self {
        loss: 0.0,
        burst: 1.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        reorder: 0.0,
        duplicate: 0.0,
        rate: None,
        black_hole: false,
    };
}

/// What has become of the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub offered: u64,
    pub lost: u64,
    pub duplicated: u64,
}

/// One direction.
pub struct Link {
    dice: StdRng,
    /// In a run of lost packets.
    bad: bool,
    /// When the line is free again, at a limited rate.
    free: Duration,
    tally: Tally,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), bad: false, free: Duration::ZERO, tally: Tally::default() }
    }

    /// A packet of `length` octets enters at `now`; when it arrives: never, once or twice.
    pub fn enters(&mut self, now: Duration, length: usize, with: &Impairment) -> [Option<Duration>; 2] {
        self.tally.offered += 1;
        // The same dice for every packet, so that one rule switched on does not change what another one does.
        let [lost, jitter, reorder, late, again] = [(); 5].map(|()| self.dice.random::<f64>());
        let queued = self.queued(now, length, with.rate);
        if with.black_hole || self.loses(lost, with) || queued.is_none() {
            self.tally.lost += 1;
            return [None, None];
        }
        let mut due = queued.unwrap_or(now) + with.delay + with.jitter.mul_f64(jitter);
        if reorder < with.reorder {
            due += Duration::from_millis(40) + Duration::from_millis(20).mul_f64(late);
        }
        let twice = again < with.duplicate;
        self.tally.duplicated += u64::from(twice);
        [Some(due), twice.then_some(due + Duration::from_millis(1))]
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn loses(&mut self, die: f64, with: &Impairment) -> bool {
        if with.loss <= 0.0 {
            self.bad = false;
            return false;
        }
        // Out of a run with 1/burst; into one so often that the share lost is `loss`.
        let leave = 1.0 / with.burst.max(1.0);
        let enter = (leave * with.loss / (1.0 - with.loss)).min(1.0);
        // Independent loss is the case in which a run says nothing about the next packet.
        let bad = if with.burst <= 1.0 {
            die < with.loss
        } else if self.bad {
            die >= leave
        } else {
            die < enter
        };
        self.bad = bad;
        bad
    }

    /// When the packet has gone through a line of `rate`, `None` where its queue is full.
    fn queued(&mut self, now: Duration, length: usize, rate: Option<u32>) -> Option<Duration> {
        let Some(rate) = rate else { return Some(now) };
        let begins = self.free.max(now);
        if begins - now > LONGEST_QUEUE {
            return None;
        }
        self.free = begins + Duration::from_secs_f64(length as f64 * 8.0 / f64::from(rate));
        Some(self.free)
    }
}

const LONGEST_QUEUE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u64 = 100_000;

    /// Arrival times, in ms, of a packet of 172 octets every 20 ms.
    fn pass(with: Impairment) -> (Vec<Vec<f64>>, Tally) {
        let mut link = Link::new(7);
        let arrivals = (0..PACKETS)
            .map(|n| {
                let arrivals = link.enters(Duration::from_millis(20 * n), 172, &with);
                arrivals.into_iter().flatten().map(|at| at.as_secs_f64() * 1000.0).collect()
            })
            .collect();
        (arrivals, link.tally())
    }

    fn share(count: u64) -> f64 {
        count as f64 / PACKETS as f64
    }

    #[test]
    fn a_clean_network_changes_nothing() {
        let (arrivals, tally) = pass(Impairment::NONE);
        assert_eq!(tally, Tally { offered: PACKETS, lost: 0, duplicated: 0 });
        assert!(arrivals.iter().enumerate().all(|(n, at)| at.len() == 1 && (at[0] - 20.0 * n as f64).abs() < 0.001));
    }

    #[test]
    fn as_much_is_lost_as_was_asked_for_in_runs_of_the_length_asked_for() {
        for (loss, burst) in [(0.01, 1.0), (0.05, 1.0), (0.1, 1.0), (0.05, 5.0), (0.2, 3.0)] {
            let (arrivals, tally) = pass(Impairment { loss, burst, ..Impairment::NONE });
            assert!((share(tally.lost) - loss).abs() < loss * 0.1, "{loss} by {burst}: {tally:?}");
            let gone: Vec<bool> = arrivals.iter().map(Vec::is_empty).collect();
            let runs = gone.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            let mean = tally.lost as f64 / runs;
            let expected = if burst > 1.0 { burst } else { 1.0 / (1.0 - loss) };
            assert!((mean - expected).abs() < expected * 0.1, "runs of {mean}, wanted {expected}");
        }
    }

    #[test]
    fn delay_and_jitter_stay_within_their_bounds() {
        let with =
            Impairment { delay: Duration::from_millis(40), jitter: Duration::from_millis(60), ..Impairment::NONE };
        let (arrivals, _) = pass(with);
        let late: Vec<f64> = arrivals.iter().enumerate().map(|(n, at)| at[0] - 20.0 * n as f64).collect();
        assert!(late.iter().all(|late| (40.0..=100.0).contains(late)));
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((69.0..71.0).contains(&mean), "{mean} ms on average");
    }

    #[test]
    fn packets_are_overtaken_and_doubled() {
        let (arrivals, tally) = pass(Impairment { reorder: 0.05, duplicate: 0.02, ..Impairment::NONE });
        let overtaken = arrivals.windows(2).filter(|pair| pair[0][0] > pair[1][0]).count() as u64;
        assert!((0.045..0.055).contains(&share(overtaken)), "{overtaken}");
        assert!((0.018..0.022).contains(&share(tally.duplicated)), "{tally:?}");
    }

    #[test]
    fn a_narrow_line_delays_and_a_full_one_drops() {
        // 172 octets each 20 ms are 68.8 kbit/s.
        let (arrivals, tally) = pass(Impairment { rate: Some(80_000), ..Impairment::NONE });
        assert_eq!(tally.lost, 0);
        assert!((arrivals[1_000][0] - 20_017.2).abs() < 0.001);
        let (_, tally) = pass(Impairment { rate: Some(34_400), ..Impairment::NONE });
        assert!((0.49..0.51).contains(&share(tally.lost)), "{tally:?}");
    }

    #[test]
    fn nothing_comes_out_of_a_black_hole() {
        let (arrivals, tally) = pass(Impairment { black_hole: true, ..Impairment::NONE });
        assert!(arrivals.iter().all(Vec::is_empty));
        assert_eq!(tally.lost, PACKETS);
    }
}
