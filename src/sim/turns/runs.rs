//! From what was heard of the bot to when it spoke and when it was held. Pure.
//!
//! A break of the bot's audio is a hold unless the text itself has it: a pause between two words that follow each other, or
//! the change from one sentence to the next.

use std::ops::Range;

use super::align::{Reference, STRETCH};
use super::script::Spoken;
use crate::sim::audio::{FRAME, linear, ulaw};
use crate::sim::clock::{Moment, ms_between, samples};
use crate::sim::timeline::Track;
use crate::sim::voice::voiced;

/// The known text, as it is searched and counted.
#[derive(Clone, Debug)]
pub struct Text {
    pub spoken: Spoken,
    pub reference: Reference,
    /// What can be heard of each sentence: words fade, and what is softer is silence to a caller.
    audible: Vec<Range<usize>>,
}

/// The bot's audio without a break of more than 150 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    pub from: Moment,
    /// The end of its last audible packet.
    pub to: Moment,
    /// Its first sample's place in the text, and one past its last's.
    pub first: Option<usize>,
    pub last: Option<usize>,
}

/// A break that the text does not explain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hold {
    pub from: Moment,
    /// When the bot was heard again.
    pub until: Option<Moment>,
    /// Places in the text where it broke off and where it went on.
    pub before: Option<usize>,
    pub after: Option<usize>,
}

/// Everything that is known about the bot's side of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BotSide {
    /// When the bot spoke, with the text's own pauses.
    pub speaking: Vec<(Moment, Moment)>,
    /// The text's own pauses of more than 150 ms.
    pub pauses: Vec<(Moment, Moment)>,
    pub holds: Vec<Hold>,
}

impl Text {
    pub fn new(spoken: Spoken) -> Self {
        let audible = spoken.sentences.iter().map(|sentence| audible(&spoken.samples, sentence)).collect();
        Self { reference: Reference::new(&spoken.samples, &spoken.sentences, &spoken.turns), audible, spoken }
    }

    /// How many words have at least half of them before `place`.
    pub fn words_until(&self, place: usize) -> usize {
        self.spoken.words.partition_point(|word| usize::midpoint(word.samples.start, word.samples.end) <= place)
    }

    /// Whether the text has nothing between two places but the end of one sentence and the beginning of the next, or the
    /// text's end and its beginning.
    fn is_next_sentence(&self, before: usize, after: usize) -> bool {
        let sentences = &self.audible;
        let ended = sentences.iter().position(|sentence| sentence.end.abs_diff(before) <= EDGE);
        ended.is_some_and(|index| {
            let next = sentences.get((index + 1) % sentences.len());
            next.is_some_and(|next| next.start.abs_diff(after) <= EDGE)
        })
    }

    fn explains(&self, a: &Stretch, b: &Stretch) -> bool {
        let gap_ms = ms_between(b.from, a.to);
        let (Some(before), Some(after)) = (a.last, b.first) else { return false };
        let own_ms = (after as f64 - before as f64) / 8.0;
        (own_ms - gap_ms).abs() <= OWN_PAUSE_MS || (gap_ms <= LONGEST_CHANGE_MS && self.is_next_sentence(before, after))
    }
}

impl BotSide {
    /// `over` is when the call was: a bot that was silent then had not necessarily been held.
    pub fn new(track: &Track, text: Option<&Text>, over: Moment) -> Self {
        let stretches = stretches(track, text);
        let mut side = Self::default();
        for (index, stretch) in stretches.iter().enumerate() {
            match side.speaking.last_mut() {
                Some(last) if last.1 == Moment::MAX => *last = (last.0, stretch.to),
                _ => side.speaking.push((stretch.from, stretch.to)),
            }
            let next = stretches.get(index + 1);
            if let Some(next) = next.filter(|next| text.is_some_and(|text| text.explains(stretch, next))) {
                side.pauses.push((stretch.to, next.from));
                if let Some(last) = side.speaking.last_mut() {
                    last.1 = Moment::MAX;
                }
            } else if next.is_some() || over > stretch.to + LEAST_GAP {
                let (until, after) = (next.map(|next| next.from), next.and_then(|next| next.first));
                side.holds.push(Hold { from: stretch.to, until, before: stretch.last, after });
            }
        }
        side
    }

    /// The span of speech that `at` falls into.
    pub fn speaking_at(&self, at: Moment) -> Option<(Moment, Moment)> {
        self.speaking.iter().copied().find(|(from, to)| *from <= at && at < *to)
    }

    /// For how much of the time from `from` to `to` the bot spoke, in ms.
    pub fn spoke_ms(&self, from: Moment, to: Moment) -> f64 {
        let overlap = |span: &(Moment, Moment)| ms_between(span.1.min(to), span.0.max(from)).max(0.0);
        self.speaking.iter().map(overlap).sum()
    }
}

/// The part of a stretch of samples from its first to its last that is voiced.
fn audible(samples: &[i16], stretch: &Range<usize>) -> Range<usize> {
    let octets: Vec<u8> = samples.get(stretch.clone()).unwrap_or_default().iter().map(|sample| ulaw(*sample)).collect();
    let place = |at: Moment| stretch.start + (at.as_micros() / 125) as usize;
    let mut heard: Option<Range<usize>> = None;
    voiced(Moment::ZERO, &octets, |from, to| {
        let first = heard.as_ref().map_or_else(|| place(from), |heard| heard.start);
        heard = Some(first..place(to));
    });
    heard.unwrap_or_else(|| stretch.clone())
}

/// The stretches of a track with their places in the text.
fn stretches(track: &Track, text: Option<&Text>) -> Vec<Stretch> {
    let mut found: Vec<(Stretch, Vec<f32>, usize)> = Vec::new();
    for (at, octets) in track.iter() {
        let mut audible = false;
        voiced(at, octets, |_, _| audible = true);
        let end = at + samples(octets.len());
        match found.last_mut() {
            Some((stretch, heard, audible_until)) if at <= stretch.to + LEAST_GAP => {
                // Pieces follow each other by their length; where one is missing, silence stands for it.
                let missing = ms_between(at, stretch.from) - heard.len() as f64 / 8.0;
                if missing > MISSING_MS {
                    heard.extend(std::iter::repeat_n(0.0, (missing * 8.0) as usize));
                }
                heard.extend(octets.iter().map(|octet| f32::from(linear(*octet))));
                if audible {
                    stretch.to = end;
                    *audible_until = heard.len();
                }
            }
            _ if audible => {
                let heard: Vec<f32> = octets.iter().map(|octet| f32::from(linear(*octet))).collect();
                let length = heard.len();
                found.push((Stretch { from: at, to: end, first: None, last: None }, heard, length));
            }
            _ => {}
        }
    }
    let mut expected = None;
    let placed = found.into_iter().map(|(stretch, heard, audible_until)| {
        let heard = heard.get(..audible_until).unwrap_or_default();
        let (first, last) = text.map_or((None, None), |text| places(text, heard, expected));
        expected = last.or(expected);
        Stretch { first, last, ..stretch }
    });
    placed.collect()
}

/// The places of a stretch's first sample and of the one past its last.
fn places(text: &Text, heard: &[f32], expected: Option<usize>) -> (Option<usize>, Option<usize>) {
    // A fade at either end is no part of the comparison.
    let inner = heard.get(FRAME..).filter(|inner| inner.len() >= 4 * FRAME).unwrap_or(heard);
    let skipped = heard.len() - inner.len();
    let first = text.reference.find(inner, expected).map(|place| place.at.saturating_sub(skipped));
    let from = heard.len().saturating_sub(STRETCH);
    let tail = heard.get(from..).unwrap_or_default();
    let last = text.reference.find(tail, first.map(|first| first + from)).map(|place| place.at + tail.len());
    (first, last)
}

/// 150 ms without audio may be a hold.
const LEAST_GAP: std::time::Duration = std::time::Duration::from_millis(150);
/// A break is the text's own when it is as long as the text says, give or take this.
const OWN_PAUSE_MS: f64 = 60.0;
/// Changing from one sentence, or one step, to the next takes no longer.
const LONGEST_CHANGE_MS: f64 = 1000.0;
/// 80 ms in samples.
const EDGE: usize = 640;
const MISSING_MS: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::turns::script::{Lexicon, Script};
    use std::time::Duration;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    /// Says the text's samples from `from` on, beginning at `at_ms`.
    fn say(track: &mut Track, text: &Text, from: usize, frames: usize, at_ms: u64) {
        for frame in 0..frames {
            let part = &text.spoken.samples[from + frame * FRAME..from + (frame + 1) * FRAME];
            let octets: Vec<u8> = part.iter().map(|sample| ulaw(*sample)).collect();
            track.push(at(at_ms + 20 * frame as u64), &octets);
        }
    }

    #[test]
    fn a_hold_is_a_break_that_the_text_does_not_explain() {
        let text = Text::new(Script::new(5).spoken(&Lexicon::default()));
        let mut track = Track::default();
        say(&mut track, &text, 8000, 50, 1000);
        say(&mut track, &text, 15_200, 50, 2400);
        let side = BotSide::new(&track, Some(&text), at(3400));
        let [hold] = side.holds[..] else { panic!("{side:?}") };
        assert_eq!((hold.from, hold.until), (at(2000), Some(at(2400))));
        assert_eq!((hold.before, hold.after), (Some(16_000), Some(15_200)));
        assert_eq!(side.speaking.len(), 2);
        assert_eq!((side.speaking[0], side.speaking[1].0), ((at(1000), at(2000)), at(2400)));
    }

    #[test]
    fn a_sentence_whose_last_word_fades_has_ended_where_it_was_last_heard() {
        let mut spoken = Script::new(5).spoken(&Lexicon::default());
        let [first, second] = [0, 1].map(|index| spoken.sentences[index].clone());
        spoken.samples[first.end - 1600..first.end].fill(8);
        let text = Text::new(spoken);
        let mut track = Track::default();
        say(&mut track, &text, first.end - 8000, 50, 0);
        say(&mut track, &text, second.start, 50, 1030);
        let side = BotSide::new(&track, Some(&text), at(2030));
        assert!(side.holds.is_empty(), "{side:?}");
    }

    #[test]
    fn the_change_to_the_next_sentence_is_none() {
        let text = Text::new(Script::new(5).spoken(&Lexicon::default()));
        let second = text.spoken.sentences[1].clone();
        let mut track = Track::default();
        say(&mut track, &text, second.start - 8000, 50, 0);
        say(&mut track, &text, second.start, 50, 1600);
        let side = BotSide::new(&track, Some(&text), at(2600));
        assert!(side.holds.is_empty(), "{side:?}");
        assert_eq!(side.speaking, [(at(0), at(2600))]);
        assert_eq!(side.pauses, [(at(1000), at(1600))]);
        let missing = BotSide::new(&track, None, at(2600));
        assert_eq!(missing.holds.len(), 1, "without the text it cannot be told");
    }
}
