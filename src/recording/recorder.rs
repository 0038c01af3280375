//! The call's end of a recording: frames go into a bounded queue, everything else is decided elsewhere.
//!
//! A frame costs one copy: nothing is allocated, locked or waited for. A writer that is too slow loses
//! frames, which become silence at their place and are counted. While a recording is paused its frames never leave
//! the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use offhook_media::{FRAME_MS, Frame};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Recordings;
use super::align::{Aligner, Slot};
use super::tape::Side;
use crate::dialog::{PauseReason, RecordingOrder};
use crate::queue::Sender;
use crate::store::record::{CallId, RecordedPause};

/// Owned by the call's actor for as long as the call lasts. Dropping it ends the recording in order.
pub struct Recorder {
    call: CallId,
    recordings: Option<Recordings>,
    pauses: Pauses,
    running: Option<Running>,
    /// Of the next recording of this call; counts from 1.
    number: u32,
}

/// Something for the call's record.
pub type Note = (&'static str, Value);
/// Of a recording that ends before its call, or could not begin.
pub const FAILED: &str = "recording_failed";

impl Recorder {
    /// Without `recordings` nothing is recorded, whatever is ordered.
    pub const fn new(call: CallId, recordings: Option<Recordings>) -> Self {
        Self { call, recordings, pauses: Pauses::NONE, running: None, number: 1 }
    }

    /// Does what the flow or an operator wants. Gives what came of it, where something did.
    pub fn obey(&mut self, order: RecordingOrder) -> Option<Note> {
        match order {
            RecordingOrder::Begin => self.begin(),
            RecordingOrder::End => self.running.take().map(|running| ("recording_ended", running.named())),
            RecordingOrder::Discard => self.running.take().map(|running| {
                running.ends.discarded.store(true, Ordering::Release);
                ("recording_discarded", running.named())
            }),
            RecordingOrder::Pause(reason) => {
                self.pause(reason, true).then(|| ("recording_paused", json!({ "why": reason.as_str() })))
            }
            RecordingOrder::Resume(reason) => {
                self.pause(reason, false).then(|| ("recording_resumed", json!({ "why": reason.as_str() })))
            }
        }
    }

    /// A tick of the call begins that was planned for this moment.
    pub fn tick(&mut self, planned: Duration) -> Option<Note> {
        let running = self.running.as_mut()?;
        if running.queue.is_closed() {
            // The writer has given it up and has said why in the record and to the metrics.
            let promised = self.recordings.as_ref().is_some_and(Recordings::tells);
            let number = running.number;
            self.running = None;
            return Some((FAILED, json!({ "recording": number, "promised": promised })));
        }
        running.tick(planned);
        None
    }

    /// The caller's 20 ms.
    pub fn heard(&mut self, frame: &Frame) {
        let paused = self.pauses.any();
        if let Some(running) = self.running.as_mut().filter(|running| running.has_begun())
            && let Some(slot) = running.aligner.heard()
            && !paused
        {
            running.push(Side::Left, slot, frame);
        }
    }

    /// Our 20 ms.
    pub fn sent(&mut self, frame: &Frame) {
        let paused = self.pauses.any();
        if let Some(running) = self.running.as_mut().filter(|running| running.has_begun())
            && let Some(slot) = running.aligner.sent()
            && !paused
        {
            running.push(Side::Right, slot, frame);
        }
    }

    /// What was sent and not yet heard will not be heard.
    pub fn cleared(&mut self) {
        if let Some(running) = &mut self.running
            && let Some(from) = running.aligner.cleared()
        {
            running.queue.push_or_drop(Item::Cleared { tick: running.now, from });
        }
    }

    fn begin(&mut self) -> Option<Note> {
        let recordings = self.recordings.as_ref().filter(|_| self.running.is_none())?;
        let number = self.number;
        match recordings.begin(self.call, number) {
            Ok((queue, ends)) => {
                self.number += 1;
                let running = Running::new(number, queue, ends);
                if self.pauses.any() {
                    running.ends.pause(0);
                }
                let note = ("recording_began", running.named());
                self.running = Some(running);
                Some(note)
            }
            Err(fault) => {
                let promised = recordings.tells();
                Some((FAILED, json!({ "why": fault.as_str(), "promised": promised })))
            }
        }
    }

    /// Whether that changed anything about the reasons for a pause.
    fn pause(&mut self, reason: PauseReason, on: bool) -> bool {
        let before = self.pauses.any();
        let changed = self.pauses.set(reason, on);
        let after = self.pauses.any();
        if let Some(running) = self.running.as_ref().filter(|_| before != after) {
            if after { running.ends.pause(running.next()) } else { running.ends.resume(running.next()) }
        }
        changed && self.running.is_some()
    }
}

/// What travels to the writer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are frames, and a box would allocate in their path")]
pub(super) enum Item {
    Frame {
        tick: Slot,
        side: Side,
        slot: Slot,
        samples: Frame,
    },
    Cleared {
        tick: Slot,
        from: Slot,
    },
    /// Time passes and there is nothing to record.
    Tick(Slot),
}

/// What both ends know of a recording, apart from its audio.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Slots that the call has come to.
    pub length: AtomicU32,
    /// Frames that were lost because the writer was slow.
    pub dropped: AtomicU64,
    pub discarded: AtomicBool,
    /// The call does no more to it.
    pub over: AtomicBool,
    /// Changed where something is decided, never in a frame's path.
    pauses: Mutex<Vec<RecordedPause>>,
}

impl Ends {
    /// All pauses, those that go on with the recording's length as their end.
    pub(super) fn pauses(&self, length: Slot) -> Vec<RecordedPause> {
        let mut pauses = self.pauses.lock().clone();
        pauses.iter_mut().for_each(|pause| pause.to_ms = pause.to_ms.min(ms(length)));
        pauses.retain(|pause| pause.from_ms < pause.to_ms);
        pauses
    }

    fn pause(&self, at: Slot) {
        let mut pauses = self.pauses.lock();
        // Beyond that the last one stands for all that follow: nothing that was paused is ever called recorded.
        let is_full = pauses.len() >= MOST_PAUSES;
        match pauses.last_mut().filter(|_| is_full) {
            Some(last) => last.to_ms = u64::MAX,
            None => pauses.push(RecordedPause { from_ms: ms(at), to_ms: u64::MAX }),
        }
    }

    fn resume(&self, at: Slot) {
        if let Some(last) = self.pauses.lock().last_mut() {
            last.to_ms = ms(at);
        }
    }
}

/// The recording that goes on.
struct Running {
    number: u32,
    queue: Sender<Item>,
    ends: Arc<Ends>,
    aligner: Aligner,
    /// When slot 0 was planned.
    origin: Option<Duration>,
    now: Slot,
    /// The tick that the writer was told of last.
    told: Slot,
}

impl Running {
    fn new(number: u32, queue: Sender<Item>, ends: Arc<Ends>) -> Self {
        Self { number, queue, ends, aligner: Aligner::new(), origin: None, now: 0, told: 0 }
    }

    /// The slot is counted from planned times, so that ticks which a busy machine left out take their place too.
    fn tick(&mut self, planned: Duration) {
        let origin = *self.origin.get_or_insert(planned);
        let half = Duration::from_millis(u64::from(FRAME_MS) / 2);
        let slots = (planned.saturating_sub(origin) + half).as_millis() / u128::from(FRAME_MS);
        self.now = Slot::try_from(slots).unwrap_or(Slot::MAX).max(self.now);
        self.aligner.tick(self.now);
        self.ends.length.store(self.now + 1, Ordering::Relaxed);
        if self.now - self.told >= TELL_EVERY {
            self.told = self.now;
            self.queue.push_or_drop(Item::Tick(self.now));
        }
    }

    /// The first slot that nothing was recorded in.
    fn next(&self) -> Slot {
        if self.has_begun() { self.now + 1 } else { 0 }
    }

    fn push(&mut self, side: Side, slot: Slot, frame: &Frame) {
        self.told = self.now;
        self.queue.push_or_drop(Item::Frame { tick: self.now, side, slot, samples: *frame });
    }

    /// What is left of the tick in which it was ordered belongs to no slot.
    const fn has_begun(&self) -> bool {
        self.origin.is_some()
    }

    fn named(&self) -> Value {
        json!({ "recording": self.number })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ends.dropped.store(self.queue.dropped(), Ordering::Relaxed);
        self.ends.over.store(true, Ordering::Release);
    }
}

/// Reasons for which nothing is recorded now.
#[derive(Clone, Copy, Debug)]
struct Pauses {
    step: bool,
    sensitive: bool,
    operator: bool,
}

impl Pauses {
    const NONE: Self = Self { step: false, sensitive: false, operator: false };

    const fn any(self) -> bool {
        self.step || self.sensitive || self.operator
    }

    fn set(&mut self, reason: PauseReason, on: bool) -> bool {
        let state = match reason {
            PauseReason::Step => &mut self.step,
            PauseReason::Sensitive => &mut self.sensitive,
            PauseReason::Operator => &mut self.operator,
        };
        std::mem::replace(state, on) != on
    }
}

/// Milliseconds of so many slots.
pub(super) fn ms(slots: Slot) -> u64 {
    u64::from(slots) * u64::from(FRAME_MS)
}

/// Pauses of one recording that are told apart.
const MOST_PAUSES: usize = 256;
/// Ticks without audio after which the writer is told the time: 0.2 s.
const TELL_EVERY: Slot = 10;

#[cfg(test)]
mod tests {
    use super::super::tape::{Block, Tape};
    use super::*;
    use crate::queue::{self, Receiver};
    use offhook_media::FRAME;
    use offhook_media::codec::CodecKind;
    use offhook_media::inbound::{InboundConfig, RtpInbound};
    use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};

    /// A recorder whose queue the test empties, on the time of a call.
    struct Room {
        recorder: Recorder,
        queue: Receiver<Item>,
        ends: Arc<Ends>,
        tape: Tape,
        blocks: Vec<Block>,
        now: Duration,
    }

    impl Room {
        fn new(capacity: usize) -> Self {
            let (sender, queue) = queue::bounded(capacity);
            let ends = Arc::new(Ends::default());
            let mut recorder = Recorder::new(CallId::fresh(), None);
            recorder.running = Some(Running::new(1, sender, Arc::clone(&ends)));
            let now = Duration::from_secs(7);
            Self { recorder, queue, ends, tape: Tape::new(false), blocks: Vec::new(), now }
        }

        /// One tick of a leg with a jitter buffer: one frame in, one frame out.
        fn tick(&mut self, left: i16, right: Option<i16>) {
            self.now += Duration::from_millis(20);
            assert_eq!(self.recorder.tick(self.now), None);
            self.recorder.heard(&[left; FRAME]);
            if let Some(right) = right {
                self.recorder.sent(&[right; FRAME]);
            }
        }

        /// What the writer does.
        fn write(&mut self) {
            let Self { queue, tape, blocks, .. } = self;
            let mut out = |block: &Block| blocks.push(*block);
            while let Some(item) = queue.try_recv() {
                match item {
                    Item::Frame { tick, side, slot, samples } => {
                        tape.tick(tick, &mut out);
                        assert!(tape.put(side, slot, &samples), "{side:?} at {slot} of {tick}");
                    }
                    Item::Cleared { tick, from } => {
                        tape.tick(tick, &mut out);
                        tape.clear(from);
                    }
                    Item::Tick(tick) => tape.tick(tick, &mut out),
                }
            }
        }

        fn end(mut self) -> (Vec<(i16, i16)>, Arc<Ends>) {
            self.recorder.obey(RecordingOrder::End);
            self.write();
            let length = self.ends.length.load(Ordering::Relaxed);
            let Self { tape, blocks, .. } = &mut self;
            tape.finish(length, &mut |block| blocks.push(*block));
            (self.blocks.iter().map(|block| (block[0], block[1])).collect(), Arc::clone(&self.ends))
        }
    }

    fn value(tick: usize) -> i16 {
        i16::try_from(tick % 30_000).unwrap() + 1
    }

    #[test]
    fn an_hour_is_an_hour_and_both_sides_stay_together() {
        let mut room = Room::new(300);
        for tick in 0..180_000 {
            room.tick(value(tick), Some(-value(tick)));
            if tick % 5 == 0 {
                room.write();
            }
        }
        let (slots, ends) = room.end();
        assert_eq!((slots.len(), ends.dropped.load(Ordering::Relaxed)), (180_000, 0));
        for (tick, slot) in slots.iter().enumerate() {
            assert_eq!(*slot, (value(tick), -value(tick)), "tick {tick}");
        }
    }

    #[test]
    fn a_writer_that_stalls_costs_frames_and_no_time() {
        let mut room = Room::new(100);
        for tick in 0..1_000 {
            room.tick(value(tick), Some(value(tick)));
            // From 4 s to 8 s the disk does not answer.
            if !(200..400).contains(&tick) {
                room.write();
            }
        }
        let (slots, ends) = room.end();
        assert_eq!(slots.len(), 1_000);
        let wrong = |slot: (usize, &(i16, i16))| *slot.1 != (value(slot.0), value(slot.0));
        let lost: Vec<usize> = slots.iter().enumerate().filter(|slot| wrong(*slot)).map(|(tick, _)| tick).collect();
        assert_eq!(lost, (250..401).collect::<Vec<_>>(), "the first 50 ticks of the stall were held");
        assert!(lost.iter().all(|tick| slots[*tick] == (0, 0)), "what was lost is silence");
        assert_eq!(ends.dropped.load(Ordering::Relaxed), 302);
    }

    #[test]
    fn ticks_that_a_busy_machine_left_out_take_their_time() {
        let mut room = Room::new(400);
        for tick in 0..50 {
            room.tick(value(tick), None);
        }
        // 300 ms pass without a tick, and the pacer goes on from there, 7 ms off its old beat.
        room.now += Duration::from_millis(307);
        for tick in 65..200 {
            room.tick(value(tick), Some(9));
        }
        let length = room.now - Duration::from_millis(7_020) + Duration::from_millis(20);
        let (slots, _) = room.end();
        let ms = 20 * i128::try_from(slots.len()).unwrap();
        assert!((ms - i128::try_from(length.as_millis()).unwrap()).abs() <= 20, "{ms} ms of {length:?}");
        assert_eq!(slots[199].0, value(199), "a second later the caller is in place again");
        assert_eq!((slots[64].1, slots[65].1), (0, 9), "and we are at once");
    }

    #[test]
    fn paused_audio_never_leaves_the_call() {
        let mut room = Room::new(300);
        let pause = |room: &mut Room, reason, on| {
            let order = if on { RecordingOrder::Pause(reason) } else { RecordingOrder::Resume(reason) };
            room.recorder.obey(order).is_some()
        };
        for tick in 0..500 {
            match tick {
                100 => assert!(pause(&mut room, PauseReason::Sensitive, true)),
                150 => assert!(pause(&mut room, PauseReason::Operator, true)),
                // The operator does not uncover what the flow covers.
                160 => assert!(pause(&mut room, PauseReason::Operator, false)),
                161 => assert!(!pause(&mut room, PauseReason::Operator, false), "nothing changed"),
                200 => assert!(pause(&mut room, PauseReason::Sensitive, false)),
                400 => assert!(pause(&mut room, PauseReason::Step, true)),
                _ => {}
            }
            room.tick(value(tick), Some(value(tick)));
            room.write();
        }
        let (slots, ends) = room.end();
        assert_eq!(slots.len(), 500, "pauses are silence of their length");
        for (tick, slot) in slots.iter().enumerate() {
            let paused = (100..200).contains(&tick) || tick >= 400;
            assert_eq!(*slot, if paused { (0, 0) } else { (value(tick), value(tick)) }, "tick {tick}");
        }
        let pauses: Vec<_> = ends.pauses(500).iter().map(|pause| (pause.from_ms, pause.to_ms)).collect();
        assert_eq!(pauses, [(2_000, 4_000), (8_000, 10_000)]);
    }

    #[test]
    fn a_thousand_pauses_are_bounded_and_none_is_called_recorded() {
        let mut room = Room::new(300);
        for tick in 0..2_000 {
            let order = if tick % 2 == 0 { RecordingOrder::Pause } else { RecordingOrder::Resume };
            room.recorder.obey(order(PauseReason::Step));
            room.tick(1, None);
            room.write();
        }
        let (slots, ends) = room.end();
        let pauses = ends.pauses(2_000);
        assert_eq!(pauses.len(), MOST_PAUSES);
        let silent = slots.iter().enumerate().filter(|(_, slot)| slot.0 == 0).map(|(tick, _)| tick as u64 * 20);
        for at in silent {
            assert!(pauses.iter().any(|pause| (pause.from_ms..pause.to_ms).contains(&at)), "{at} ms");
        }
    }

    #[test]
    fn a_held_call_is_silent_on_our_side_and_as_long() {
        let mut room = Room::new(300);
        for tick in 0..600 {
            let held = (200..500).contains(&tick);
            room.tick(if held { 0 } else { 5 }, (!held).then_some(6));
            room.write();
        }
        let (slots, _) = room.end();
        assert_eq!(slots.len(), 600);
        assert!(slots.iter().enumerate().all(|(n, s)| *s == if (200..500).contains(&n) { (0, 0) } else { (5, 6) }));
    }

    #[test]
    fn a_stream_without_pace_and_a_cleared_lead_lie_where_they_were_heard() {
        let mut room = Room::new(300);
        let mut heard = 0;
        for tick in 0..300_usize {
            room.now += Duration::from_millis(20);
            room.recorder.tick(room.now);
            // The network hands over five frames every 100 ms.
            if tick % 5 == 4 {
                for _ in 0..5 {
                    room.recorder.heard(&[value(heard); FRAME]);
                    heard += 1;
                }
            }
            if tick == 200 {
                room.recorder.cleared();
            }
            // 100 ms are sent ahead; at 4 s the caller breaks in.
            let ahead = match tick {
                0 => 6,
                1..200 => 1,
                _ => 0,
            };
            (0..ahead).for_each(|_| room.recorder.sent(&[8; FRAME]));
            room.write();
        }
        let (slots, _) = room.end();
        assert_eq!(slots.len(), 300);
        for (tick, slot) in slots.iter().enumerate() {
            assert_eq!(slot.0, value(tick), "tick {tick}");
            assert_eq!(slot.1, if tick < 200 { 8 } else { 0 }, "tick {tick}");
        }
    }

    /// Ten minutes of a caller behind a network: a beep each second, packets late, out of order and lost. Gives how much
    /// later than it was made each beep is in the recording, ms.
    fn beeps(ppm: i64, loss_percent: u64, jitter_ms: u64) -> Vec<i64> {
        let ms = |ms: i64| Duration::from_micros(u64::try_from(ms * 1000).unwrap());
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut dice = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below.max(1)
        };
        let mut phone = RtpOutbound::new(OutboundConfig::new(CodecKind::Pcmu, 0));
        let mut inbound = RtpInbound::new(InboundConfig::new(CodecKind::Pcmu, 0));
        let mut room = Room::new(300);
        let begin = room.now;
        let made = |frame: i64| Duration::from_nanos(u64::try_from(frame * 20 * (1_000_000 + ppm)).unwrap());
        let mut wire: Vec<(Duration, Vec<u8>)> = Vec::new();
        let mut next = 0;
        for _ in 0..30_000 {
            room.now += ms(20);
            while begin + made(next) <= room.now {
                let beep = next % 50 < 2;
                phone.frame(&std::array::from_fn(|n| if beep { if n % 8 < 4 { 8000 } else { -8000 } } else { 0 }));
                let mut packet = DATAGRAM;
                while let Some(length) = phone.poll(&mut packet) {
                    let arrival = begin + made(next) + ms(20) + Duration::from_millis(dice(jitter_ms));
                    if dice(100) >= loss_percent {
                        wire.push((arrival, packet[..length].to_vec()));
                    }
                }
                next += 1;
            }
            wire.sort_by_key(|(arrival, _)| *arrival);
            let due = wire.partition_point(|(arrival, _)| *arrival <= room.now);
            for (arrival, packet) in wire.drain(..due) {
                inbound.packet(&packet, arrival).unwrap();
            }
            room.recorder.tick(room.now);
            inbound.tick(room.now);
            let mut frame: Frame = [0; FRAME];
            inbound.pull(room.now, &mut frame);
            room.recorder.heard(&frame);
            room.write();
        }
        room.tick(0, None);
        room.write();
        assert_eq!(room.tape.length() + super::super::align::PAST, 30_001, "as long as the call");
        let loud = |block: &Block| block.iter().step_by(2).any(|sample| sample.abs() > 4000);
        // The recording's first slot is the first tick, 20 ms after the phone began.
        let heard: Vec<i64> = (1..).zip(&room.blocks).filter(|(_, b)| loud(b)).map(|(slot, _)| slot * 20).collect();
        let late = |second: i64| {
            let at = i64::try_from(made(second * 50).as_millis()).unwrap();
            heard.iter().map(|heard| heard - at).find(|late| (0..500).contains(late))
        };
        (5..590).filter_map(late).collect()
    }

    #[test]
    fn a_bad_network_delays_the_caller_by_a_jitter_buffer_and_nothing_adds_up() {
        for (ppm, loss, jitter) in [(0, 0, 1), (0, 5, 60), (200, 3, 40), (-200, 3, 40)] {
            let late = beeps(ppm, loss, jitter);
            assert!(late.len() > 540, "{ppm} ppm, {loss} %: {} of 585 beeps", late.len());
            let worst = late.iter().max().unwrap();
            assert!(*worst <= 240, "{ppm} ppm, {loss} %, {jitter} ms: {worst} ms late");
            let mean = |some: &[i64]| some.iter().sum::<i64>() / i64::try_from(some.len()).unwrap();
            let (first, last) = (mean(&late[..100]), mean(&late[late.len() - 100..]));
            assert!((first - last).abs() <= 40, "{ppm} ppm, {loss} %: {first} ms late, then {last} ms");
        }
    }

    #[test]
    fn the_tick_in_which_it_begins_moves_neither_side() {
        let mut room = Room::new(300);
        room.recorder.sent(&[7; FRAME]);
        room.tick(1, Some(2));
        room.tick(3, Some(4));
        assert_eq!(room.end().0, [(1, 2), (3, 4)]);
    }

    #[test]
    fn a_recording_that_was_given_up_is_noticed_once() {
        let mut room = Room::new(300);
        room.tick(1, None);
        drop(std::mem::replace(&mut room.queue, queue::bounded(1).1));
        let note = room.recorder.tick(room.now).expect("it is noticed");
        assert_eq!(note.0, "recording_failed");
        assert_eq!(room.recorder.tick(room.now), None);
    }
}
