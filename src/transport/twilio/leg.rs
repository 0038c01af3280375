//! The Twilio leg: frames to and from the socket's task, paced at real time with a small lead.
//!
//! Twilio buffers what it is sent and plays it in order, so what was sent is not what was heard. The leg keeps the
//! lead small, numbers marks by playback generation and measures by them how far away the far side is and how far behind.
//!
//! A `clear` takes as long to arrive as audio does: what was due by the time it is sent has been played when it gets
//! there, and nothing after that. Marks of that generation come back all the same; they say nothing.

use std::collections::VecDeque;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use offhook_media::g711::G711;
use offhook_media::inbound::FrameKind;
use offhook_media::{FRAME, FRAME_MS, Frame};

use super::wire::MarkName;
use crate::call::Moment;
use crate::call::leg::{Leg, LegEvent, LegStats};
use crate::queue::{Receiver, Sender};
use crate::store::record::EndReason;

/// What the socket's task has received of the stream; what comes when it is full is lost.
#[derive(Debug)]
pub enum FromTwilio {
    Audio { mulaw: [u8; FRAME], arrival: Moment },
    Mark { mark: MarkName, arrival: Moment },
}

/// What the socket's task has received that must not be lost, however much audio comes at once.
#[derive(Debug)]
pub enum Control {
    Digit(Digit),
    Ended(EndReason),
}

/// What the socket's task is to send, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum ToTwilio {
    Media([u8; FRAME]),
    Mark(MarkName),
    Clear,
    Close,
}

/// See the module's header.
pub struct TwilioLeg {
    incoming: Receiver<FromTwilio>,
    control: Receiver<Control>,
    outgoing: Sender<ToTwilio>,
    playout: FarPlayout,
    /// The frame that fades the old audio out is of no use once the far side has dropped what came before it.
    cleared_at: Option<Moment>,
    stats: LegStats,
    stalled: bool,
}

/// Messages of the socket that may wait for a tick: 2 s of audio. What comes then is lost.
pub const INCOMING: usize = 100;

/// Keys that may wait for a tick; a stream that sends more of them is ended.
pub const CONTROL: usize = 64;

/// Messages that may wait for the socket: 5 s. A socket that takes nothing for so long is lost.
pub const OUTGOING: usize = 256;

impl TwilioLeg {
    pub fn new(incoming: Receiver<FromTwilio>, control: Receiver<Control>, outgoing: Sender<ToTwilio>) -> Self {
        Self {
            incoming,
            control,
            outgoing,
            playout: FarPlayout::default(),
            cleared_at: None,
            stats: LegStats::default(),
            stalled: false,
        }
    }

    fn push(&mut self, message: ToTwilio) {
        self.stalled |= self.outgoing.try_push(message).is_err();
    }
}

impl Leg for TwilioLeg {
    fn drain(&mut self, _now: Moment, sink: &mut dyn FnMut(LegEvent<'_>)) {
        while let Some(message) = self.incoming.try_recv() {
            match message {
                FromTwilio::Audio { mulaw, arrival } => {
                    let mut frame: Frame = [0; FRAME];
                    G711::Ulaw.decode(&mulaw, &mut frame);
                    self.stats.frames_received += 1;
                    sink(LegEvent::Tap { frame: &frame, arrival });
                    sink(LegEvent::Heard { frame: &frame, kind: FrameKind::Played });
                }
                FromTwilio::Mark { mark, arrival } => self.playout.returned(mark, arrival),
            }
        }
        while let Some(message) = self.control.try_recv() {
            match message {
                Control::Digit(digit) => sink(LegEvent::Digit(digit)),
                Control::Ended(reason) => sink(LegEvent::HungUp(reason)),
            }
        }
        if self.stalled || self.outgoing.is_closed() {
            sink(LegEvent::HungUp(EndReason::TransportLost));
        }
    }

    fn wants(&self, now: Moment) -> usize {
        self.playout.room(now)
    }

    fn send(&mut self, frame: Option<&Frame>, now: Moment) {
        let fading = self.cleared_at.take().is_some_and(|at| now.saturating_sub(at) < STEP);
        let Some(frame) = frame.filter(|_| !fading) else { return };
        let mut mulaw = [0; FRAME];
        G711::Ulaw.encode(frame, &mut mulaw);
        self.push(ToTwilio::Media(mulaw));
        self.stats.frames_sent += 1;
        if let Some(mark) = self.playout.sent(now) {
            self.push(ToTwilio::Mark(mark));
        }
    }

    fn clear(&mut self, now: Moment) -> Duration {
        if self.playout.in_flight(now).is_zero() {
            return Duration::ZERO;
        }
        self.cleared_at = Some(now);
        self.push(ToTwilio::Clear);
        self.playout.cleared(now)
    }

    fn unheard(&self, now: Moment) -> Duration {
        self.playout.in_flight(now)
    }

    fn ahead(&self, now: Moment) -> Duration {
        self.playout.ends_at.saturating_sub(now)
    }

    fn hang_up(&mut self, _reason: &EndReason) {
        self.push(ToTwilio::Close);
    }

    fn stats(&self) -> LegStats {
        self.stats
    }
}

/// What Twilio has been sent and has probably not played yet. Pure.
#[derive(Debug, Default)]
struct FarPlayout {
    generation: u32,
    next_mark: u64,
    frames: u32,
    /// When everything sent will have been played, if it plays as it arrives.
    ends_at: Moment,
    /// Sent marks and when they were due by that reckoning.
    marks: VecDeque<(u64, Moment)>,
    /// How much later than reckoned marks come back, lately: the round trip, and what the far side is behind.
    lags: [Option<Duration>; MARKS_REMEMBERED],
    next_lag: usize,
}

impl FarPlayout {
    /// Frames to send now, so that the far side always has the lead in hand.
    fn room(&self, now: Moment) -> usize {
        let missing = LEAD.saturating_sub(self.ends_at.saturating_sub(now));
        (0..MOST_AT_ONCE).take_while(|&frames| missing >= STEP * frames + STEP / 2).count()
    }

    /// A frame was sent. Gives the mark that follows it, every 100 ms.
    fn sent(&mut self, now: Moment) -> Option<MarkName> {
        self.ends_at = self.ends_at.max(now) + STEP;
        self.frames += 1;
        if !self.frames.is_multiple_of(FRAMES_PER_MARK) {
            return None;
        }
        let number = self.next_mark;
        self.next_mark += 1;
        if self.marks.len() == MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((number, self.ends_at));
        Some(MarkName { generation: self.generation, number })
    }

    /// A mark came back. One of an older generation came back because of a clear: it says nothing about playback.
    fn returned(&mut self, mark: MarkName, arrival: Moment) {
        if mark.generation != self.generation {
            return;
        }
        let Some(position) = self.marks.iter().position(|&(number, _)| number == mark.number) else { return };
        if let Some((_, due)) = self.marks.drain(..=position).next_back() {
            let lag = arrival.saturating_sub(due).min(MOST_LAG);
            if let Some(kept) = self.lags.get_mut(self.next_lag % MARKS_REMEMBERED) {
                *kept = Some(lag);
            }
            self.next_lag = self.next_lag.wrapping_add(1);
        }
    }

    /// The shortest of the latest lags is the network's.
    fn round_trip(&self) -> Duration {
        self.lags.iter().flatten().min().copied().unwrap_or(USUAL_ROUND_TRIP)
    }

    /// How far behind its own time the far side plays: the smallest of the last few lags, so that one late message is no
    /// delay, beyond the round trip.
    fn behind(&self) -> Duration {
        let latest = (1..=MARKS_OF_NOW.min(self.next_lag)).filter_map(|back| {
            let at = self.next_lag.wrapping_sub(back) % MARKS_REMEMBERED;
            self.lags.get(at).copied().flatten()
        });
        latest.min().unwrap_or_default().saturating_sub(self.round_trip())
    }

    /// Everything that the far side has not played when a clear arrives that is sent now. Gives how much that is.
    fn cleared(&mut self, now: Moment) -> Duration {
        let dropped = self.ends_at.saturating_sub(now.saturating_sub(self.behind()));
        self.generation = self.generation.wrapping_add(1);
        self.marks.clear();
        self.ends_at = now;
        self.frames = 0;
        dropped
    }

    fn in_flight(&self, now: Moment) -> Duration {
        let played = now.saturating_sub(self.behind() + self.round_trip() / 2);
        self.ends_at.saturating_sub(played)
    }
}

const STEP: Duration = Duration::from_millis(FRAME_MS as u64);

/// Audio that the far side holds in hand against network jitter. `clear` empties it, so it costs no barge-in time.
const LEAD: Duration = Duration::from_millis(100);

const MOST_AT_ONCE: u32 = 6;
const FRAMES_PER_MARK: u32 = 5;
const MOST_MARKS: usize = 32;
const MOST_LAG: Duration = Duration::from_secs(1);

/// Until the first mark comes back.
const USUAL_ROUND_TRIP: Duration = Duration::from_millis(80);

/// Marks by which the network is judged: 3 s of audio.
const MARKS_REMEMBERED: usize = 32;

/// Marks by which it is judged how far behind the far side is.
const MARKS_OF_NOW: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Moment {
        Duration::from_millis(value)
    }

    #[test]
    fn the_lead_is_filled_at_once_and_then_kept() {
        let mut playout = FarPlayout::default();
        let mut sent = 0;
        for tick in 0..50 {
            let now = ms(1000 + 20 * tick);
            for _ in 0..playout.room(now) {
                playout.sent(now);
                sent += 1;
            }
            assert_eq!(playout.ends_at - now, LEAD, "tick {tick}");
        }
        assert_eq!(sent, 50 + 4);
    }

    #[test]
    fn marks_returned_by_a_clear_never_count_as_played() {
        let mut playout = FarPlayout::default();
        let marks: Vec<_> = (0..10).filter_map(|_| playout.sent(ms(1000))).collect();
        assert_eq!(marks.len(), 2);
        playout.returned(marks[0], ms(1110));
        assert_eq!(playout.round_trip(), ms(10));
        assert_eq!(playout.cleared(ms(1190)), ms(10), "200 ms were sent, and 190 ms played");
        playout.returned(marks[1], ms(1191));
        assert_eq!((playout.round_trip(), playout.behind()), (ms(10), Duration::ZERO));
        assert_eq!(playout.in_flight(ms(1195)), Duration::ZERO);
        assert_eq!(playout.sent(ms(1200)), None);
    }

    /// A far side `way` away that begins to play `behind` late: what it has played when a clear arrives is what was said
    /// not to be dropped, to the frame.
    #[test]
    fn what_a_clear_drops_is_what_the_far_side_had_not_played() {
        for (way, behind) in [(20, 0), (60, 0), (60, 100), (150, 40)] {
            let mut playout = FarPlayout::default();
            // One mark for every five frames; it comes back a round trip after it was due, and later where it is behind.
            let mut back = VecDeque::new();
            let mut sent = 0;
            for tick in 0..150 {
                let now = ms(1000 + 20 * tick);
                // The first second passes as it should: so the round trip is known.
                let late = if tick < 50 { 0 } else { behind };
                while let Some((_, mark)) = back.front().filter(|(at, _)| *at <= now).copied() {
                    back.pop_front();
                    playout.returned(mark, now);
                }
                for _ in 0..playout.room(now) {
                    sent += 20;
                    if let Some(mark) = playout.sent(now) {
                        back.push_back((playout.ends_at + ms(2 * way + late), mark));
                    }
                }
            }
            let now = ms(1000 + 20 * 150);
            // Its own clock: audio was first due at 1000.
            let played_at_arrival = 20 * 150 - behind;
            let dropped = playout.cleared(now).as_millis() as u64;
            let off = (sent - dropped).abs_diff(played_at_arrival);
            assert!(off <= 20, "way {way}, behind {behind}: {off} ms off");
        }
    }

    #[test]
    fn what_is_on_its_way_is_not_heard_yet() {
        let mut playout = FarPlayout::default();
        let mark = (0..5).filter_map(|_| playout.sent(ms(1000))).next().unwrap();
        assert_eq!(playout.in_flight(ms(1000)), ms(100) + USUAL_ROUND_TRIP / 2);
        playout.returned(mark, ms(1100 + 30));
        assert_eq!(playout.in_flight(ms(1100)), ms(15), "half of the round trip");
        assert_eq!(playout.in_flight(ms(1115)), Duration::ZERO);
    }

    #[test]
    fn audio_and_commands_keep_their_order() {
        let (_to_leg, incoming) = crate::queue::bounded(INCOMING);
        let (_control, keys) = crate::queue::bounded(CONTROL);
        let (outgoing, mut socket) = crate::queue::bounded(OUTGOING);
        let mut leg = TwilioLeg::new(incoming, keys, outgoing);
        let frame = [1000; FRAME];
        leg.send(Some(&frame), ms(1000));
        leg.clear(ms(1005));
        leg.send(Some(&frame), ms(1005));
        leg.send(Some(&frame), ms(1040));
        leg.hang_up(&EndReason::FlowHungUp);
        let sent: Vec<_> = std::iter::from_fn(|| socket.try_recv()).collect();
        assert!(
            matches!(sent[..], [ToTwilio::Media(_), ToTwilio::Clear, ToTwilio::Media(_), ToTwilio::Close]),
            "{sent:?}"
        );
    }
}
