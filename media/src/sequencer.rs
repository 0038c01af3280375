//! Puts packets of codecs with a memory (G.722, Opus) into order ahead of their decoder.
//!
//! A packet that comes ahead of a missing one waits here until the missing one comes or its time to play is there; then
//! the decoder is told of the gap. Codecs without a memory need none of this: the jitter buffer orders their samples.

use crate::rtp::sequence_distance;

/// Packets in waiting, with fixed memory.
#[derive(Debug)]
pub(crate) struct Sequencer {
    next: Option<u16>,
    held: [Option<Waiting>; ROOM],
    /// None for a codec without a memory, which holds nothing back.
    octets: Box<[[u8; LONGEST]]>,
}

/// A packet in waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) sequence: u16,
    /// In samples of 8 kHz.
    pub(crate) timestamp: u32,
    pub(crate) arrival: crate::Moment,
    /// Octets of audio; none if the packet held something else and only its number counts.
    length: usize,
    slot: usize,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that is due, or the first of a numbering.
    Next,
    /// Others are missing before it.
    Ahead,
    /// Its turn is over: a repeat, or it comes too late.
    Behind,
}

impl Sequencer {
    pub(crate) fn new() -> Self {
        Self { next: None, held: [None; ROOM], octets: vec![[0; LONGEST]; ROOM].into_boxed_slice() }
    }

    /// One that holds nothing: codecs without a memory need none, and 24 KB for each call count.
    pub(crate) fn without_room() -> Self {
        Self { next: None, held: [None; ROOM], octets: Box::default() }
    }

    pub(crate) fn place(&self, sequence: u16) -> Place {
        match self.next.map(|next| sequence_distance(sequence, next)) {
            Some(1..=FARTHEST) => Place::Ahead,
            Some(OLDEST..=-1) => Place::Behind,
            // Beyond that the sender counts anew.
            None | Some(_) => Place::Next,
        }
    }

    /// The packet of this number was decoded, or was no audio.
    pub(crate) fn passed(&mut self, sequence: u16) {
        self.next = Some(sequence.wrapping_add(1));
    }

    /// Keeps a packet; an empty payload stands for a packet that was no audio. False if there is no room.
    pub(crate) fn hold(&mut self, sequence: u16, timestamp: u32, payload: &[u8], arrival: crate::Moment) -> bool {
        if self.held.iter().flatten().any(|held| held.sequence == sequence) {
            return true;
        }
        let Some(slot) = self.held.iter().position(Option::is_none) else { return false };
        let (Some(room), Some(place)) = (self.octets.get_mut(slot), self.held.get_mut(slot)) else { return false };
        let Some(room) = room.get_mut(..payload.len()) else { return false };
        room.copy_from_slice(payload);
        *place = Some(Waiting { sequence, timestamp, arrival, length: payload.len(), slot });
        true
    }

    /// Takes the packet that is due, if it waits here.
    pub(crate) fn take_next(&mut self) -> Option<Waiting> {
        let next = self.next?;
        self.held.iter_mut().find_map(|held| held.take_if(|held| held.sequence == next))
    }

    /// Takes the packet that comes first of those in waiting: what is missing before it is given up.
    pub(crate) fn take_first(&mut self) -> Option<Waiting> {
        let next = self.next?;
        let waiting = self.held.iter().flatten().map(|held| held.sequence);
        let first = waiting.min_by_key(|&sequence| sequence_distance(sequence, next))?;
        self.held.iter_mut().find_map(|held| held.take_if(|held| held.sequence == first))
    }

    /// The audio of a packet that was taken just now.
    pub(crate) fn payload(&self, waiting: &Waiting) -> &[u8] {
        self.octets.get(waiting.slot).and_then(|octets| octets.get(..waiting.length)).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.iter().all(Option::is_none)
    }

    /// Forgets the stream.
    pub(crate) fn reset(&mut self) {
        (self.next, self.held) = (None, [None; ROOM]);
    }
}

/// Packets in waiting: more than the jitter buffer's longest delay of 10 ms packets holds.
const ROOM: usize = 16;
/// No packet is longer than an Ethernet frame.
const LONGEST: usize = 1500;
/// Numbers further ahead or behind belong to another numbering.
const FARTHEST: i16 = 100;
const OLDEST: i16 = -100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;

    #[test]
    fn packets_wait_for_the_one_that_is_missing() {
        let mut sequencer = Sequencer::new();
        assert_eq!(sequencer.place(65_534), Place::Next);
        sequencer.passed(65_534);
        assert_eq!(sequencer.place(0), Place::Ahead);
        assert!(sequencer.hold(0, 320, &[1, 2], Moment::ZERO));
        assert!(sequencer.hold(1, 480, &[3], Moment::ZERO));
        assert!(sequencer.hold(0, 320, &[1, 2], Moment::ZERO), "a repeat is not kept twice");
        assert!(sequencer.take_next().is_none());
        assert_eq!(sequencer.place(65_535), Place::Next);
        sequencer.passed(65_535);
        for (sequence, payload) in [(0, &[1, 2][..]), (1, &[3])] {
            let waiting = sequencer.take_next().unwrap();
            assert_eq!((waiting.sequence, sequencer.payload(&waiting)), (sequence, payload));
            sequencer.passed(sequence);
        }
        assert_eq!((sequencer.is_empty(), sequencer.place(65_535)), (true, Place::Behind));
    }

    #[test]
    fn the_first_of_those_in_waiting_is_given_when_the_missing_one_is_given_up() {
        let mut sequencer = Sequencer::new();
        sequencer.passed(9);
        sequencer.hold(13, 0, &[], Moment::ZERO);
        sequencer.hold(12, 0, &[], Moment::ZERO);
        assert_eq!(sequencer.take_first().unwrap().sequence, 12);
        assert_eq!(sequencer.take_first().unwrap().sequence, 13);
        assert!(sequencer.take_first().is_none());
    }

    #[test]
    fn room_is_bounded_and_another_numbering_begins_at_once() {
        let mut sequencer = Sequencer::new();
        sequencer.passed(0);
        assert!((2..18).all(|sequence| sequencer.hold(sequence, 0, &[0], Moment::ZERO)));
        assert!(!sequencer.hold(18, 0, &[0], Moment::ZERO));
        assert!(!Sequencer::new().hold(1, 0, &[0; 1501], Moment::ZERO));
        assert_eq!(sequencer.place(30_000), Place::Next);
    }
}
