//! What the last frames that were sent held, so that what is still on its way to the caller can be told in words: speech,
//! pauses between sentences, tones of the call's own and silence take the same time and are not the same loss.

use std::time::Duration;

use super::FRAME_TIME;
use crate::call::mouth::Pull;

/// The last frames, in a ring.
#[derive(Debug)]
pub(super) struct Sent {
    frames: [Kind; KEPT],
    next: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// Samples of speech.
    voiced: usize,
    /// Speech, or a pause in it.
    spoken: bool,
    /// Something was sent at all: what nothing was sent for is in no far buffer.
    audible: bool,
}

impl Default for Sent {
    fn default() -> Self {
        Self { frames: [Kind::default(); KEPT], next: 0 }
    }
}

impl Sent {
    /// 20 ms were sent. No `pull`: they are none of the mouth's.
    pub(super) fn note(&mut self, pull: Option<Pull>, audible: bool) {
        let kind = pull.map(|pull| Kind { voiced: pull.voiced, spoken: pull.audible, audible });
        if let Some(place) = self.frames.get_mut(self.next) {
            *place = kind.unwrap_or(Kind { audible, ..Kind::default() });
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// How much speech was in the `last` of what was sent. A far buffer holds only what was `audible`.
    pub(super) fn speech_in(&self, last: Duration, audible: bool) -> Duration {
        let voiced: usize = self.latest(last, audible).map(|kind| kind.voiced).sum();
        Duration::from_micros(125 * voiced as u64)
    }

    /// How much of the `last` in a far buffer was speech or a pause in it.
    pub(super) fn spoken_in(&self, last: Duration) -> Duration {
        let others = self.latest(last, true).filter(|kind| !kind.spoken).count();
        last.saturating_sub(FRAME_TIME * u32::try_from(others).unwrap_or(u32::MAX))
    }

    fn latest(&self, last: Duration, audible: bool) -> impl Iterator<Item = &Kind> {
        let frames = usize::try_from(last.as_millis().div_ceil(FRAME_TIME.as_millis())).unwrap_or(KEPT);
        let (newer, older) = self.frames.split_at(self.next);
        let back = newer.iter().rev().chain(older.iter().rev());
        back.filter(move |kind| kind.audible || !audible).take(frames)
    }
}

/// Nothing is on its way for as long as this: 2.5 s.
const KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const fn pull(voiced: usize) -> Option<Pull> {
        Some(Pull { audible: true, voiced, played_out: false, finished: false })
    }

    #[test]
    fn pauses_and_tones_take_their_time_and_no_words() {
        let ms = Duration::from_millis;
        let mut sent = Sent::default();
        [pull(160), pull(160), pull(40), pull(0)].into_iter().for_each(|pull| sent.note(pull, true));
        sent.note(None, true);
        sent.note(Some(Pull { audible: false, voiced: 0, played_out: false, finished: false }), false);
        // Over RTP the last 20 ms were silence, the tone and the pause come before.
        assert_eq!(sent.speech_in(ms(60), false), ms(0));
        assert_eq!(sent.speech_in(ms(80), false), ms(5));
        assert_eq!(sent.speech_in(ms(100), false), ms(25));
        // The silence is in no far buffer.
        assert_eq!(sent.speech_in(ms(60), true), ms(5));
        assert_eq!(sent.spoken_in(ms(60)), ms(40));
        assert_eq!(sent.speech_in(Duration::from_secs(60), true), ms(45));
    }
}
