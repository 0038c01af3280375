//! The last half second of a recording: frames of both sides are put where they belong, and come out in order, two
//! channels side by side. Pure.
//!
//! What is missing is silence of the right length. The half second also lets a key's tone be found before any of it is
//! written. Deliberately absent: files.

use offhook_media::{FRAME, Frame};

use super::align::{FUTURE, PAST, Slot};
use super::keys::{self, Tone};

/// 20 ms of both channels, interleaved: the caller left, ours right.
pub(super) type Block = [i16; 2 * FRAME];

/// Whose audio it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The caller.
    Left,
    /// Ours.
    Right,
}

/// See the module's header.
pub(super) struct Tape {
    ring: Box<[Cell]>,
    /// The slot that comes out next.
    next: Slot,
    tick: Slot,
    mute_keys: bool,
    /// The slots just written held a key's tone.
    ringing: u32,
}

impl Tape {
    pub(super) fn new(mute_keys: bool) -> Self {
        Self { ring: vec![Cell::EMPTY; RING].into(), next: 0, tick: 0, mute_keys, ringing: 0 }
    }

    /// The call has come to this tick: what lies more than half a second behind it comes out.
    pub(super) fn tick(&mut self, tick: Slot, out: &mut dyn FnMut(&Block)) {
        self.tick = self.tick.max(tick);
        while self.next + PAST <= self.tick {
            self.put_out(out);
        }
    }

    /// 20 ms of one side. Of a slot that is out already, or unreasonably far ahead, it is left out; says whether.
    pub(super) fn put(&mut self, side: Side, slot: Slot, frame: &Frame) -> bool {
        if !(self.next..self.tick + FUTURE).contains(&slot) {
            return false;
        }
        let tone = if side == Side::Left && self.mute_keys { keys::tone(frame) } else { Tone::None };
        let cell = self.cell(slot);
        match side {
            Side::Left => (cell.left, cell.tone) = (*frame, tone),
            Side::Right => cell.right = *frame,
        }
        true
    }

    /// Ours from this slot on was never heard.
    pub(super) fn clear(&mut self, from: Slot) {
        for slot in from.max(self.next)..self.tick + FUTURE {
            self.cell(slot).right = SILENCE;
        }
    }

    /// Everything up to `end` (not included) comes out.
    pub(super) fn finish(&mut self, end: Slot, out: &mut dyn FnMut(&Block)) {
        while self.next < end {
            self.put_out(out);
        }
    }

    /// Slots that have come out.
    pub(super) const fn length(&self) -> Slot {
        self.next
    }

    fn put_out(&mut self, out: &mut dyn FnMut(&Block)) {
        let muted = self.mute_keys && self.rings();
        let cell = self.cell(self.next);
        if muted {
            cell.left = SILENCE;
        }
        let mut block: Block = [0; 2 * FRAME];
        for (pair, (left, right)) in block.chunks_exact_mut(2).zip(cell.left.iter().zip(&cell.right)) {
            pair.copy_from_slice(&[*left, *right]);
        }
        *cell = Cell::EMPTY;
        self.next += 1;
        out(&block);
    }

    /// Whether a key's tone sounds in the next slot or so near to it that its edge may lie there.
    fn rings(&mut self) -> bool {
        let ahead: [Tone; EDGE + 2] = std::array::from_fn(|n| {
            let slot = self.next + u32::try_from(n).unwrap_or(0);
            self.cell(slot).tone
        });
        let sure = |at: usize| match ahead.get(at) {
            Some(Tone::Sure) => true,
            // Speech may look like a key for 20 ms, and not for 40.
            Some(Tone::Likely(key)) => ahead.get(at + 1) == Some(&Tone::Likely(*key)),
            _ => false,
        };
        if (0..=EDGE).any(sure) {
            self.ringing = RELEASE;
            return true;
        }
        self.ringing = self.ringing.saturating_sub(1);
        self.ringing > 0
    }

    fn cell(&mut self, slot: Slot) -> &mut Cell {
        let place = slot as usize % RING;
        &mut self.ring[place]
    }
}

#[derive(Clone)]
struct Cell {
    left: Frame,
    right: Frame,
    tone: Tone,
}

impl Cell {
    const EMPTY: Self = Self { left: SILENCE, right: SILENCE, tone: Tone::None };
}

const SILENCE: Frame = [0; FRAME];
/// The open slots of both directions, with room for looking ahead.
const RING: usize = 64;
/// Slots before a tone is found in which it may have begun.
const EDGE: usize = 2;
/// Slots after the last one in which a tone was found, in which it may still end.
const RELEASE: u32 = 3;

const _: () = assert!((PAST + FUTURE) as usize + EDGE + 2 <= RING, "the open slots fit the ring");

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(run: impl FnOnce(&mut Tape, &mut dyn FnMut(&Block))) -> Vec<Block> {
        let mut blocks = Vec::new();
        run(&mut Tape::new(true), &mut |block| blocks.push(*block));
        blocks
    }

    fn value(block: &Block) -> (i16, i16) {
        (block[0], block[1])
    }

    #[test]
    fn both_sides_come_out_in_order_and_gaps_are_silence_of_their_length() {
        let blocks = collect(|tape, out| {
            for tick in 0..200_u32 {
                tape.tick(tick, out);
                if tick % 7 != 3 {
                    assert!(tape.put(Side::Left, tick, &[i16::try_from(tick).unwrap() + 1; FRAME]));
                }
                assert!(tape.put(Side::Right, tick, &[-1; FRAME]));
            }
            tape.finish(200, out);
        });
        assert_eq!(blocks.len(), 200);
        for (tick, block) in blocks.iter().enumerate() {
            let left = if tick % 7 == 3 { 0 } else { i16::try_from(tick).unwrap() + 1 };
            assert_eq!(value(block), (left, -1), "tick {tick}");
            assert!(block.chunks_exact(2).all(|pair| pair == [left, -1]));
        }
    }

    #[test]
    fn late_frames_fill_their_slot_until_it_is_out() {
        let blocks = collect(|tape, out| {
            tape.tick(24, out);
            assert!(tape.put(Side::Left, 0, &[5; FRAME]));
            tape.tick(25, out);
            assert!(!tape.put(Side::Left, 0, &[6; FRAME]), "it is out");
            assert!(tape.put(Side::Left, 1, &[7; FRAME]));
            assert!(!tape.put(Side::Left, 25 + FUTURE, &[8; FRAME]), "beyond the ring");
            tape.finish(3, out);
        });
        assert_eq!(blocks.iter().map(value).collect::<Vec<_>>(), [(5, 0), (7, 0), (0, 0)]);
    }

    #[test]
    fn what_was_cleared_is_not_on_the_tape() {
        let blocks = collect(|tape, out| {
            tape.tick(0, out);
            (0..5).for_each(|slot| assert!(tape.put(Side::Right, slot, &[9; FRAME])));
            tape.tick(2, out);
            tape.clear(2);
            tape.finish(5, out);
        });
        assert_eq!(blocks.iter().map(|block| block[1]).collect::<Vec<_>>(), [9, 9, 0, 0, 0]);
    }

    #[test]
    fn a_leap_in_time_is_silence() {
        let blocks = collect(|tape, out| {
            tape.tick(0, out);
            tape.put(Side::Left, 0, &[1; FRAME]);
            tape.tick(5000, out);
            tape.put(Side::Left, 5000, &[2; FRAME]);
            tape.finish(5001, out);
        });
        assert_eq!(blocks.len(), 5001);
        assert_eq!((value(&blocks[0]), value(&blocks[5000])), ((1, 0), (2, 0)));
        assert!(blocks[1..5000].iter().all(|block| value(block) == (0, 0)));
    }
}
