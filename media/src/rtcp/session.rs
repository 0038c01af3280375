//! One call's reports: when to send which, and what theirs say (RFC 3550 sections 6.2 to 6.4).

use super::compound::{Compound, Packet, Report, RtcpError, SenderInfo};
use super::reception::ReceptionMeter;
use super::write::{Cname, Writer};
use crate::Moment;

/// See the module's header.
#[derive(Debug)]
pub struct RtcpSession {
    ssrc: u32,
    cname: Cname,
    /// Wall clock at moment zero, since 1970: reports state wall-clock times, but count them by the call's clock so that
    /// a clock that is set does not become a round trip.
    wall: Moment,
    chance: u64,
    due: Moment,
    /// Middle of the last sender report's NTP timestamp, and when it came.
    last_sr: Option<(u32, Moment)>,
    view: TheirView,
    received: u64,
    sent: u64,
}

/// What was sent so far, as a report tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub packets: u64,
    /// Of payload.
    pub octets: u64,
    /// RTP timestamp of this moment.
    pub timestamp: u32,
    /// Whether anything was sent since the report before; a silent side writes receiver reports.
    pub active: bool,
}

/// What the far side says about what it hears of us.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TheirView {
    /// Time for a report to come back, less the time it rested there; the mean of the last few.
    pub round_trip: Option<Moment>,
    /// Packets of ours that it misses, since the beginning.
    pub lost: u32,
    /// The share that it missed lately, percent.
    pub loss_percent: f32,
    /// Jitter that it measures, in ticks of the RTP clock.
    pub jitter: u32,
    /// Reports on us that came.
    pub reports: u64,
}

/// What a datagram said that matters at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The far side's source leaves: its call ends, or another source follows.
    pub bye: bool,
}

impl RtcpSession {
    /// `ssrc` is our source. `wall` is the time since 1970 at moment zero. `chance` seeds the intervals.
    pub fn new(ssrc: u32, cname: Cname, wall: Moment, chance: u64, now: Moment) -> Self {
        let mut session = Self {
            ssrc,
            cname,
            wall,
            chance: chance | 1,
            due: now,
            last_sr: None,
            view: TheirView::default(),
            received: 0,
            sent: 0,
        };
        // RFC 3550 section 6.2: the first one after half the time.
        session.due = now + session.interval() / 2;
        session
    }

    /// Takes a datagram that came at `now`.
    ///
    /// # Errors
    /// [`RtcpError`]; it has no other effect.
    pub fn take(&mut self, datagram: &[u8], now: Moment) -> Result<Heard, RtcpError> {
        let mut heard = Heard::default();
        for packet in Compound::parse(datagram)? {
            match packet {
                Packet::SenderReport { info, reports, .. } => {
                    self.last_sr = Some((middle(info.ntp), now));
                    reports.iter().for_each(|report| self.hear(&report, now));
                }
                Packet::ReceiverReport { reports, .. } => {
                    reports.iter().for_each(|report| self.hear(&report, now));
                }
                Packet::Bye { .. } => heard.bye = true,
                Packet::SourceDescription { .. } | Packet::Other { .. } => {}
            }
        }
        self.received += 1;
        Ok(heard)
    }

    /// Whether a report is to be sent now.
    pub fn is_due(&self, now: Moment) -> bool {
        now >= self.due
    }

    /// Writes the report that is due and returns its length.
    pub fn report(&mut self, now: Moment, sent: &Sent, heard: &mut ReceptionMeter, out: &mut [u8]) -> usize {
        self.due = now + self.interval();
        let mut writer = Writer::new(out);
        self.write(&mut writer, now, sent, heard);
        self.sent += 1;
        writer.length()
    }

    /// Writes the last report, with a farewell, and returns its length.
    pub fn farewell(&mut self, now: Moment, sent: &Sent, heard: &mut ReceptionMeter, out: &mut [u8]) -> usize {
        self.due = Moment::MAX;
        let mut writer = Writer::new(out);
        self.write(&mut writer, now, sent, heard);
        writer.bye(self.ssrc);
        self.sent += 1;
        writer.length()
    }

    /// What the far side says about us.
    pub const fn their_view(&self) -> TheirView {
        self.view
    }

    /// Datagrams sent and received.
    pub const fn counts(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    fn write(&self, writer: &mut Writer<'_>, now: Moment, sent: &Sent, heard: &mut ReceptionMeter) {
        // Counts wrap at 32 bits by definition.
        let wrapped = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        let info = sent.active.then(|| SenderInfo {
            ntp: self.ntp(now),
            rtp_timestamp: sent.timestamp,
            packets: wrapped(sent.packets),
            octets: wrapped(sent.octets),
        });
        let report = heard.report().map(|report| match self.last_sr {
            Some((last_sr, came)) => {
                Report { last_sr, delay_since_last_sr: fractions(now.saturating_sub(came)), ..report }
            }
            None => report,
        });
        writer.report(self.ssrc, info, report);
        writer.name(self.ssrc, &self.cname);
    }

    fn hear(&mut self, report: &Report, now: Moment) {
        if report.ssrc != self.ssrc {
            return;
        }
        self.view.reports += 1;
        self.view.lost = u32::try_from(report.lost).unwrap_or(0);
        self.view.loss_percent = f32::from(report.fraction_lost) * (100.0 / 256.0);
        self.view.jitter = report.jitter;
        if report.last_sr == 0 {
            return;
        }
        let taken = middle(self.ntp(now)).wrapping_sub(report.last_sr).wrapping_sub(report.delay_since_last_sr);
        let taken = Moment::from_nanos(u64::from(taken) * 1_000_000_000 / 65_536);
        // Beyond that the far side's arithmetic is wrong, or it repeats another call's report.
        if taken <= LONGEST_ROUND_TRIP {
            self.view.round_trip = Some(self.view.round_trip.map_or(taken, |mean| (mean * 3 + taken) / 4));
        }
    }

    /// 64 bits of NTP: seconds since 1900 and their fractions.
    fn ntp(&self, now: Moment) -> u64 {
        let wall = self.wall + now;
        let seconds = wall.as_secs().wrapping_add(NTP_1970);
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        seconds << 32 | fraction
    }

    /// 5 s, half of it more or less (RFC 3550 section 6.3.1), so that calls do not report in step.
    fn interval(&mut self) -> Moment {
        // Marsaglia's xorshift: a spread, not a secret.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        Moment::from_millis(INTERVAL_MS / 2 + self.chance % (INTERVAL_MS + 1))
    }
}

/// Octets of the longest report: sender information, one block, our name, a farewell.
pub const MOST_REPORT: usize = 96;

/// RFC 3550 section 6.2.
const INTERVAL_MS: u64 = 5000;

const LONGEST_ROUND_TRIP: Moment = Moment::from_secs(10);

/// Seconds from 1900 to 1970.
const NTP_1970: u64 = 2_208_988_800;

fn middle(ntp: u64) -> u32 {
    u32::try_from(ntp >> 16 & u64::from(u32::MAX)).unwrap_or_default()
}

/// A time in 1/65536 s.
fn fractions(time: Moment) -> u32 {
    let whole = time.as_nanos().saturating_mul(65_536) / 1_000_000_000;
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WALL: Moment = Moment::from_secs(1_800_000_000);

    fn session(ssrc: u32, chance: u64) -> RtcpSession {
        RtcpSession::new(ssrc, Cname::new(u128::from(chance) << 40), WALL, chance, Moment::ZERO)
    }

    fn sent(packets: u64, active: bool) -> Sent {
        Sent { packets, octets: packets * 160, timestamp: 77, active }
    }

    fn ms(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn two_sides_measure_the_round_trip_without_the_rest_between() {
        let (mut ours, mut theirs) = (session(1, 3), session(2, 5));
        let (mut hear_them, mut hear_us) = (ReceptionMeter::new(8000), ReceptionMeter::new(8000));
        hear_us.note(1, 10, 0, ms(0), true);
        hear_us.note(1, 12, 320, ms(40), true);
        let mut room = [0; MOST_REPORT];
        let length = ours.report(ms(1000), &sent(50, true), &mut hear_them, &mut room);
        theirs.take(&room[..length], ms(1030)).unwrap();
        let length = theirs.report(ms(4030), &sent(0, false), &mut hear_us, &mut room);
        assert_eq!(room[1], 201, "a side that sends nothing writes a receiver report");
        assert_eq!(ours.take(&room[..length], ms(4080)), Ok(Heard { bye: false }));
        let view = ours.their_view();
        assert!(view.round_trip.unwrap().abs_diff(ms(80)) < ms(1), "{view:?}");
        assert_eq!((view.lost, view.reports), (1, 1));
        assert!((view.loss_percent - 33.2).abs() < 0.1);
        assert_eq!(ours.counts(), (1, 1));
    }

    #[test]
    fn a_report_states_wall_clock_counts_and_a_name() {
        let (mut ours, mut heard) = (session(9, 3), ReceptionMeter::new(8000));
        heard.note(7, 1, 0, ms(0), true);
        let mut room = [0; MOST_REPORT];
        let length = ours.farewell(ms(500), &sent(1 << 33 | 5, true), &mut heard, &mut room);
        assert!(length <= MOST_REPORT);
        let packets: Vec<Packet<'_>> = Compound::parse(&room[..length]).unwrap().collect();
        let [Packet::SenderReport { ssrc: 9, info, reports }, Packet::SourceDescription { cname }, bye] = packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!(info.ntp, (1_800_000_000 + NTP_1970) << 32 | 1 << 31);
        assert_eq!((info.packets, info.octets, info.rtp_timestamp), (5, 800, 77));
        assert_eq!(reports.iter().map(|report| (report.ssrc, report.last_sr)).collect::<Vec<_>>(), [(7, 0)]);
        assert_eq!(cname.map(<[u8]>::len), Some(16));
        assert_eq!(bye, Packet::Bye { ssrc: Some(9) });
        assert!(!ours.is_due(Moment::from_secs(1 << 40)), "nothing follows a farewell");
        let mut theirs = session(7, 5);
        assert_eq!(theirs.take(&room[..length], ms(510)), Ok(Heard { bye: true }));
    }

    #[test]
    fn reports_come_every_5_s_give_or_take_a_half() {
        let (mut ours, mut heard, mut room) = (session(1, 11), ReceptionMeter::new(8000), [0; MOST_REPORT]);
        let (mut last, mut gaps) = (Moment::ZERO, Vec::new());
        for tick in 0..500_000u64 {
            let now = ms(20 * tick);
            if ours.is_due(now) {
                ours.report(now, &sent(1, true), &mut heard, &mut room);
                gaps.push((now - last).as_secs_f64());
                last = now;
            }
        }
        assert!(gaps[0] < 3.78, "the first one comes early");
        assert!(gaps[1..].iter().all(|gap| (2.5..7.53).contains(gap)));
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((4.7..5.3).contains(&mean), "{mean}");
    }

    #[test]
    fn a_lie_about_the_delay_is_not_believed() {
        let (mut ours, mut room) = (session(1, 3), [0; MOST_REPORT]);
        let report = |last_sr, delay_since_last_sr| Report {
            ssrc: 1,
            fraction_lost: 0,
            lost: -5,
            highest_sequence: 0,
            jitter: 0,
            last_sr,
            delay_since_last_sr,
        };
        for (last_sr, delay) in [(0, 0), (1, 0), (middle(ours.ntp(ms(1000))), u32::MAX / 2), (u32::MAX, u32::MAX)] {
            let mut writer = Writer::new(&mut room);
            writer.report(2, None, Some(report(last_sr, delay)));
            let length = writer.length();
            ours.take(&room[..length], ms(1000)).unwrap();
        }
        assert_eq!((ours.their_view().round_trip, ours.their_view().lost), (None, 0));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_the_round_trip_stays_lawful(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            at in 0u64..u64::from(u32::MAX),
        ) {
            let mut ours = session(1, 3);
            let mut bytes = bytes;
            let head = [0x81, 201, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1];
            bytes.iter_mut().zip(head).for_each(|(byte, head)| *byte = head);
            let _ = ours.take(&bytes, ms(at));
            prop_assert!(ours.their_view().round_trip.is_none_or(|taken| taken <= LONGEST_ROUND_TRIP));
            prop_assert!((0.0..=100.0).contains(&ours.their_view().loss_percent));
        }
    }
}
