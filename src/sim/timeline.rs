//! What one call leaves behind for analysis: both directions' audio with the times of their samples, the packets as
//! they arrived, and what the caller did when.
//!
//! A packet sent or received at T occupies the 20 ms from T: sample i of it is at T + i/8000 s, in both directions.

use std::sync::Arc;

use super::clock::{Moment, samples};
use super::turns::Bout;

/// One direction's audio as G.711 mu-law, in pieces of which each has its own time.
#[derive(Clone, Debug, Default)]
pub struct Track {
    pieces: Vec<(Moment, usize)>,
    octets: Vec<u8>,
}

impl Track {
    /// Appends audio whose first sample is at `at`.
    pub fn push(&mut self, at: Moment, octets: &[u8]) {
        self.pieces.push((at, self.octets.len()));
        self.octets.extend_from_slice(octets);
    }

    /// The pieces in the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = (Moment, &[u8])> {
        let ends = self.pieces.iter().skip(1).map(|&(_, from)| from).chain([self.octets.len()]);
        self.pieces.iter().zip(ends).map(|(&(at, from), to)| (at, self.octets.get(from..to).unwrap_or_default()))
    }

    /// The time one past the last sample.
    pub fn end(&self) -> Moment {
        self.iter().last().map_or(Moment::ZERO, |(at, octets)| at + samples(octets.len()))
    }
}

/// One audio packet as the socket received it, before any emulated network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    pub at: Moment,
    /// Sequence number (RFC 3550 5.1) where the transport has one.
    pub sequence: Option<u16>,
    /// The stream that the sequence number counts in (SSRC).
    pub stream: u32,
    /// Media time of its first sample, in samples; counts modulo 2^32.
    pub timestamp: u32,
}

/// Something worth drawing into the waveform.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub at: Moment,
    pub kind: MarkKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MarkKind {
    Answered,
    /// A scenario's step began.
    Step(&'static str),
    /// The caller's speech began, by its recording's label.
    Onset(Arc<str>),
    /// The caller's last voiced sample.
    SpeechEnd,
    NoiseBegan,
    NoiseEnded,
    Key(char),
    /// The server emptied the play-out buffer (Twilio).
    Cleared,
    /// A named mark was played to its end (Twilio).
    Played(String),
    HungUp,
    Failed,
}

impl MarkKind {
    /// A short label for people.
    pub fn label(&self) -> String {
        match self {
            Self::Answered => "answered".into(),
            Self::Step(name) => (*name).into(),
            Self::Onset(recording) => format!("onset {recording}"),
            Self::SpeechEnd => "end of speech".into(),
            Self::NoiseBegan => "noise".into(),
            Self::NoiseEnded => "noise over".into(),
            Self::Key(key) => format!("key {key}"),
            Self::Cleared => "clear".into(),
            Self::Played(name) => format!("mark {name}"),
            Self::HungUp => "hung up".into(),
            Self::Failed => "failed".into(),
        }
    }
}

/// One thing that the caller did and that can be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trial {
    /// Spoke while the bot spoke: how long until it was silent?
    BargeIn { onset: Moment },
    /// Finished speaking: how long until the bot was heard? `known_ms` of it is by design.
    Response { end: Moment, known_ms: Option<u32> },
    /// Pressed a key: how long until the answer was heard?
    Key { at: Moment, known_ms: Option<u32> },
    /// Made a noise: was the bot heard without a break until `until`?
    Noise { from: Moment, until: Moment },
}

/// A whole call as it went over the wire.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub placed: Moment,
    pub answered: Option<Moment>,
    pub over: Moment,
    /// What the caller sent, without its silence.
    pub sent: Track,
    /// What the caller heard.
    pub heard: Track,
    /// The same ahead of the emulated network; empty where there is none.
    pub delivered: Track,
    pub arrivals: Vec<Arrival>,
    pub marks: Vec<Mark>,
    pub trials: Vec<Trial>,
    pub bouts: Vec<Bout>,
    /// Silence heard because audio came too late (play-out at the far side of a buffer), in ms.
    pub underrun_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_track_gives_back_its_pieces() {
        let mut track = Track::default();
        assert_eq!(track.end(), Moment::ZERO);
        track.push(Duration::from_millis(5), &[1, 2]);
        track.push(Duration::from_millis(25), &[3; 160]);
        let pieces: Vec<_> = track.iter().map(|(at, octets)| (at.as_millis(), octets.len())).collect();
        assert_eq!(pieces, [(5, 2), (25, 160)]);
        assert_eq!(track.end(), Duration::from_millis(45));
    }
}
