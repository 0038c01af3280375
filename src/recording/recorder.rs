//! The call's end of a recording: frames go into a bounded queue, everything else is decided elsewhere.
//!
//! A frame costs one copy: nothing is allocated, locked or waited for. A writer that is too slow loses the oldest
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
            return Some(("recording_failed", json!({ "recording": number, "promised": promised })));
        }
        running.tick(planned);
        None
    }

    /// The caller's 20 ms.
    pub fn heard(&mut self, frame: &Frame) {
        let paused = self.pauses.any();
        if let Some(running) = &mut self.running
            && let Some(slot) = running.aligner.heard()
            && !paused
        {
            running.push(Side::Left, slot, frame);
        }
    }

    /// Our 20 ms.
    pub fn sent(&mut self, frame: &Frame) {
        let paused = self.pauses.any();
        if let Some(running) = &mut self.running
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
            running.queue.push_newest(Item::Cleared { tick: running.now, from });
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
                Some(("recording_failed", json!({ "why": fault.as_str(), "promised": promised })))
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
            self.queue.push_newest(Item::Tick(self.now));
        }
    }

    /// The first slot that nothing was recorded in.
    fn next(&self) -> Slot {
        if self.origin.is_some() { self.now + 1 } else { 0 }
    }

    fn push(&mut self, side: Side, slot: Slot, frame: &Frame) {
        if self.origin.is_some() {
            self.told = self.now;
            self.queue.push_newest(Item::Frame { tick: self.now, side, slot, samples: *frame });
        }
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
