//! The play-out buffer at Twilio's edge, as its Media Streams documentation has it: audio from the server is buffered
//! and played in order in real time; a mark is returned when everything before it was played; `clear` empties the
//! buffer and returns every pending mark at once.
//!
//! Pure: times are arguments. Deliberately absent: the edge's own jitter buffer, whose size is not documented.

use std::collections::VecDeque;
use std::time::Duration;

use super::audio::FRAME;
use super::clock::{Moment, ms_between, samples};

/// What comes out of the buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Played {
    /// G.711 mu-law, at most 20 ms, the first sample played at `at`.
    Audio { at: Moment, octets: Vec<u8> },
    /// A mark to return to the server.
    Mark { at: Moment, name: String },
    /// The buffer was empty for so many ms inside an utterance; it ended at `at`.
    Underrun { at: Moment, ms: f64 },
}

/// One call's buffer.
#[derive(Debug, Default)]
pub struct Playout {
    queue: VecDeque<Item>,
    /// When the next sample is played; in the past when the buffer has run dry.
    cursor: Moment,
    /// Whether what was played last belongs to an utterance that may go on.
    inside: bool,
    out: VecDeque<Played>,
}

impl Playout {
    /// Audio arrives from the server. Returns whether it begins a new utterance rather than continuing one.
    pub fn media(&mut self, now: Moment, octets: &[u8]) -> bool {
        self.advance(now);
        let dry = self.queue.is_empty() && self.cursor < now;
        let gap = now.saturating_sub(self.cursor);
        let begins = !self.inside || (dry && gap >= PAUSE);
        if dry {
            if !begins && gap >= AUDIBLE {
                self.out.push_back(Played::Underrun { at: now, ms: ms_between(now, self.cursor) });
            }
            self.cursor = now;
        }
        self.inside = true;
        self.queue.push_back(Item::Audio(octets.to_vec()));
        begins
    }

    /// A mark arrives from the server.
    pub fn mark(&mut self, now: Moment, name: String) {
        self.queue.push_back(Item::Mark { name, from: now });
    }

    /// `clear` arrives: what was not yet played never will be.
    pub fn clear(&mut self, now: Moment) {
        self.play(now, true);
        for item in std::mem::take(&mut self.queue) {
            if let Item::Mark { name, .. } = item {
                self.out.push_back(Played::Mark { at: now, name });
            }
        }
        self.cursor = self.cursor.min(now);
        self.inside = false;
    }

    /// Plays up to `now`, in whole pieces of 20 ms or of what is left of a message.
    pub fn advance(&mut self, now: Moment) {
        self.play(now, false);
    }

    /// When the next piece has been played or the next mark is reached.
    pub fn due(&self) -> Option<Moment> {
        self.queue.front().map(|front| match front {
            Item::Mark { from, .. } => self.cursor.max(*from),
            Item::Audio(octets) => self.cursor + samples(octets.len().min(FRAME)),
        })
    }

    /// What was played, in order.
    pub fn pop(&mut self) -> Option<Played> {
        self.out.pop_front()
    }

    /// Audio waiting to be played.
    pub fn buffered(&self) -> Duration {
        self.queue
            .iter()
            .map(|item| if let Item::Audio(octets) = item { samples(octets.len()) } else { Duration::ZERO })
            .sum()
    }

    fn play(&mut self, now: Moment, partial: bool) {
        while let Some(front) = self.queue.front_mut() {
            match front {
                Item::Mark { name, from } => {
                    let at = self.cursor.max(*from);
                    if at > now {
                        return;
                    }
                    self.out.push_back(Played::Mark { at, name: std::mem::take(name) });
                    self.queue.pop_front();
                }
                Item::Audio(octets) if octets.is_empty() => drop(self.queue.pop_front()),
                Item::Audio(octets) => {
                    let whole = octets.len().min(FRAME);
                    let playable = (now.saturating_sub(self.cursor).as_micros() / 125) as usize;
                    let taken = if playable >= whole {
                        whole
                    } else if partial {
                        playable
                    } else {
                        0
                    };
                    if taken == 0 {
                        return;
                    }
                    let rest = octets.split_off(taken);
                    let played = std::mem::replace(octets, rest);
                    self.out.push_back(Played::Audio { at: self.cursor, octets: played });
                    self.cursor += samples(taken);
                }
            }
        }
    }
}

#[derive(Debug)]
enum Item {
    Audio(Vec<u8>),
    Mark { name: String, from: Moment },
}

/// A gap this long is a pause that the server made, not audio that came too late.
const PAUSE: Duration = Duration::from_millis(100);

/// A hole this short is within the error of the stamps, and nobody hears it.
const AUDIBLE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn out(playout: &mut Playout) -> Vec<String> {
        std::iter::from_fn(|| playout.pop())
            .map(|played| match played {
                Played::Audio { at, octets } => format!("{}+{}", at.as_millis(), octets.len() / 8),
                Played::Mark { at, name } => format!("{}:{name}", at.as_millis()),
                Played::Underrun { at, ms } => format!("{}!{ms}", at.as_millis()),
            })
            .collect()
    }

    #[test]
    fn audio_is_played_in_real_time_however_early_it_comes() {
        let mut playout = Playout::default();
        assert!(playout.media(at(100), &[1; 480]));
        playout.advance(at(125));
        assert_eq!(out(&mut playout), ["100+20"]);
        assert_eq!(playout.buffered(), at(40));
        playout.advance(at(1000));
        assert_eq!(out(&mut playout), ["120+20", "140+20"]);
    }

    #[test]
    fn a_mark_comes_back_when_all_before_it_was_played() {
        let mut playout = Playout::default();
        playout.media(at(0), &[1; 320]);
        playout.mark(at(1), "a".into());
        playout.media(at(2), &[1; 160]);
        playout.advance(at(39));
        assert_eq!(out(&mut playout), ["0+20"]);
        playout.advance(at(60));
        assert_eq!(out(&mut playout), ["20+20", "40:a", "40+20"]);
        playout.mark(at(500), "idle".into());
        playout.advance(at(500));
        assert_eq!(out(&mut playout), ["500:idle"], "nothing is before it: at once");
    }

    #[test]
    fn clear_stops_within_the_sample_and_returns_all_marks_at_once() {
        let mut playout = Playout::default();
        playout.media(at(0), &[1; 800]);
        playout.mark(at(0), "a".into());
        playout.media(at(0), &[1; 800]);
        playout.mark(at(0), "b".into());
        playout.clear(at(33));
        assert_eq!(out(&mut playout), ["0+20", "20+13", "33:a", "33:b"]);
        assert_eq!(playout.buffered(), Duration::ZERO);
        playout.advance(at(500));
        assert!(out(&mut playout).is_empty());
    }

    #[test]
    fn audio_that_comes_too_late_is_an_underrun_and_a_pause_is_not() {
        let mut playout = Playout::default();
        playout.media(at(0), &[1; 160]);
        assert!(!playout.media(at(50), &[1; 160]));
        assert_eq!(out(&mut playout), ["0+20", "50!30"]);
        let hair = Duration::from_micros(70_400);
        assert!(!playout.media(hair, &[1; 160]));
        assert_eq!(out(&mut playout), ["50+20"], "0.4 ms is none");
        assert!(playout.media(at(500), &[1; 160]), "a new utterance");
        assert_eq!(out(&mut playout), ["70+20"]);
        playout.clear(at(510));
        assert!(playout.media(at(515), &[1; 160]), "after a clear nothing is late");
        assert_eq!(out(&mut playout), ["500+10"]);
    }
}
