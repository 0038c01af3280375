//! One engine for keys, however they come: RTP events (RFC 4733), SIP INFO, tones in the audio.
//!
//! Gateways send one press by two ways, and none says so. A press that was reported by one way is the same key when
//! another way reports it soon after; each way may claim a press once, so a double press stays two. In-band tones are
//! looked for only where no events are to be expected.

use crate::dtmf::{Digit, DtmfError, DtmfReceiver, KeyEdge};
use crate::inband::{InbandDetector, ToneEdge};
use crate::{Frame, Moment};

/// Whether keys are looked for in the audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InBand {
    /// Where RTP events were not agreed, until one comes all the same.
    #[default]
    Auto,
    /// Beside all else.
    Always,
    Never,
}

/// Turns reports of keys into keys.
#[derive(Debug)]
pub struct DigitEngine {
    in_band: InBand,
    /// RTP events were agreed, or have come.
    events: bool,
    receiver: DtmfReceiver,
    detector: InbandDetector,
    presses: [Option<Press>; REMEMBERED],
    queue: Queue,
    dropped: u64,
}

/// By which way a key was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Event = 1,
    Info = 2,
    InBand = 4,
}

/// A key that was given out, and the ways that have reported it.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: Digit,
    at: Moment,
    ways: u8,
}

impl DigitEngine {
    /// An engine that has heard of no key; `events_clock` is the clock of agreed RTP events, Hz.
    pub fn new(in_band: InBand, events_clock: Option<u32>) -> Self {
        Self {
            in_band,
            events: events_clock.is_some(),
            receiver: DtmfReceiver::new(events_clock.unwrap_or(crate::RATE_HZ)),
            detector: InbandDetector::new(),
            presses: [None; REMEMBERED],
            queue: Queue::default(),
            dropped: 0,
        }
    }

    /// Takes what a new offer and answer agreed on; a key that is down stays down.
    pub fn reconfigure(&mut self, in_band: InBand, events_clock: Option<u32>) {
        self.in_band = in_band;
        self.events = events_clock.is_some();
        self.receiver.set_clock(events_clock.unwrap_or(crate::RATE_HZ));
    }

    /// Takes an RTP event; gives the key that went down with it.
    ///
    /// # Errors
    /// [`DtmfError`] if the payload is too short or the event is no key.
    pub fn event(&mut self, timestamp: u32, payload: &[u8], arrival: Moment) -> Result<Option<Digit>, DtmfError> {
        let edges = self.receiver.packet(timestamp, payload, arrival)?;
        self.events = true;
        let mut pressed = None;
        for edge in edges {
            match edge {
                KeyEdge::Down(digit) => pressed = Some(digit),
                KeyEdge::Up { digit, .. } => self.report(Way::Event, digit, arrival),
                KeyEdge::Same => {}
            }
        }
        Ok(pressed)
    }

    /// Takes a key from a SIP INFO request.
    pub fn info(&mut self, digit: Digit, now: Moment) {
        self.report(Way::Info, digit, now);
    }

    /// Takes the next 20 ms of the caller's audio in order.
    pub fn audio(&mut self, frame: &Frame, now: Moment) {
        if !self.listens() {
            return;
        }
        for edge in self.detector.push(frame).into_iter().flatten() {
            if let ToneEdge::Up(digit) = edge {
                self.report(Way::InBand, digit, now);
            }
        }
    }

    /// Ends keys whose last event was lost.
    pub fn tick(&mut self, now: Moment) {
        if let Some(KeyEdge::Up { digit, .. }) = self.receiver.tick(now) {
            self.report(Way::Event, digit, now);
        }
    }

    /// The next key that came up.
    pub fn digit(&mut self) -> Option<Digit> {
        self.queue.pop()
    }

    /// Keys that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Another RTP source follows: its events count from elsewhere.
    pub fn restart(&mut self) {
        self.receiver.reset();
        self.detector.reset();
    }

    fn listens(&self) -> bool {
        match self.in_band {
            InBand::Auto => !self.events,
            InBand::Always => true,
            InBand::Never => false,
        }
    }

    fn report(&mut self, way: Way, digit: Digit, now: Moment) {
        let way = way as u8;
        let mine =
            |press: &Press| press.digit == digit && press.ways & way == 0 && now.saturating_sub(press.at) <= SAME_KEY;
        let known = self.presses.iter_mut().flatten().filter(|press| mine(press)).min_by_key(|press| press.at);
        if let Some(press) = known {
            press.ways |= way;
            return;
        }
        self.presses.rotate_right(1);
        self.presses[0] = Some(Press { digit, at: now, ways: way });
        if !self.queue.push(digit) {
            self.dropped += 1;
        }
    }
}

/// Digits that wait to be asked for.
#[derive(Debug, Default)]
struct Queue {
    ring: [Option<Digit>; WAITING],
    first: usize,
    count: usize,
}

impl Queue {
    fn push(&mut self, digit: Digit) -> bool {
        if self.count == WAITING {
            return false;
        }
        self.ring[(self.first + self.count) % WAITING] = Some(digit);
        self.count += 1;
        true
    }

    fn pop(&mut self) -> Option<Digit> {
        let digit = self.ring[self.first].take()?;
        self.first = (self.first + 1) % WAITING;
        self.count -= 1;
        Some(digit)
    }
}

const WAITING: usize = 32;
/// Presses that another way may still report: more than fingers make in [`SAME_KEY`].
const REMEMBERED: usize = 8;
/// An INFO request that is lost comes again after 500 ms (RFC 3261 timer E), and the network adds its own.
const SAME_KEY: Moment = Moment::from_millis(1000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SILENCE;
    use crate::dtmf::DtmfSender;
    use crate::tone::Tone;

    fn ms(value: u64) -> Moment {
        Moment::from_millis(value)
    }

    fn keys(engine: &mut DigitEngine) -> String {
        core::iter::from_fn(|| engine.digit()).map(Digit::as_char).collect()
    }

    /// The events of a press of 100 ms that begins at `at`.
    fn by_event(engine: &mut DigitEngine, key: char, at: u64) {
        let mut sender = DtmfSender::new(Digit::try_from(key).unwrap(), 100, at as u32 * 8, 8000);
        for step in 0.. {
            let Some(packet) = sender.next_packet() else { break };
            engine.event(packet.timestamp, &packet.payload, ms(at + 20 * step)).unwrap();
        }
    }

    /// The tones of key 5 for 100 ms and 60 ms of silence, from `at`.
    fn by_tone(engine: &mut DigitEngine, at: u64) {
        let mut tone = Tone::dual(770.0, 1336.0, -20.0);
        for step in 0..8 {
            let mut frame = SILENCE;
            if step < 5 {
                tone.fill(&mut frame);
            }
            engine.audio(&frame, ms(at + 20 * step));
        }
    }

    fn info(engine: &mut DigitEngine, key: char, at: u64) {
        engine.info(Digit::try_from(key).unwrap(), ms(at));
    }

    #[test]
    fn one_press_by_three_ways_is_one_key() {
        let mut engine = DigitEngine::new(InBand::Always, Some(8000));
        by_event(&mut engine, '5', 1000);
        by_tone(&mut engine, 1020);
        info(&mut engine, '5', 1700);
        assert_eq!(keys(&mut engine), "5");
    }

    #[test]
    fn a_double_press_is_two_by_one_way_and_by_two() {
        let mut engine = DigitEngine::new(InBand::Never, Some(8000));
        for at in [1000, 1250] {
            by_event(&mut engine, '7', at);
        }
        info(&mut engine, '7', 1300);
        info(&mut engine, '7', 1500);
        assert_eq!(keys(&mut engine), "77");
        info(&mut engine, '7', 2400);
        info(&mut engine, '7', 2600);
        assert_eq!(keys(&mut engine), "77");
    }

    #[test]
    fn fast_typing_by_two_ways_keeps_its_order() {
        let mut engine = DigitEngine::new(InBand::Never, Some(8000));
        for (index, key) in "11212".chars().enumerate() {
            let at = 1000 + 200 * index as u64;
            by_event(&mut engine, key, at);
            info(&mut engine, key, at + 150);
        }
        assert_eq!(keys(&mut engine), "11212");
    }

    #[test]
    fn tones_count_only_where_no_events_are_to_be_expected() {
        let mut agreed = DigitEngine::new(InBand::Auto, Some(8000));
        by_tone(&mut agreed, 0);
        assert_eq!(keys(&mut agreed), "");
        let mut silent = DigitEngine::new(InBand::Auto, None);
        by_tone(&mut silent, 0);
        assert_eq!(keys(&mut silent), "5");
        // Events come though they were not agreed: from then on they are believed and tones are not.
        by_event(&mut silent, '1', 2000);
        by_tone(&mut silent, 4000);
        assert_eq!(keys(&mut silent), "1");
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_it() {
        let mut engine = DigitEngine::new(InBand::Auto, None);
        for key in 0..40 {
            info(&mut engine, '1', key * 2000);
        }
        assert_eq!((keys(&mut engine).len(), engine.dropped()), (32, 8));
    }
}
