//! From the vendor's messages to events of one session, across connections. Pure: no word that was final is said
//! again, whatever the vendor repeats or a replay lets it hear twice.

use std::time::Duration;

use super::wire::{Message, Results, Word};
use crate::providers::{Recognised, SttEvent};
use crate::telemetry::pii::Pii;

/// What has been recognised so far. Times count from the first frame of the session.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// Where the audio of the present connection begins.
    base: Duration,
    /// Up to here the words are final.
    settled: Duration,
    /// End of the last final word.
    last_word: Duration,
    /// Words were heard since the last end of speech.
    turn_open: bool,
}

impl Transcript {
    /// Where the next connection should begin to hear: a little before what is not yet final.
    pub(super) fn resume_at(&self) -> Duration {
        self.settled.saturating_sub(CONTEXT)
    }

    /// A new connection hears audio from `base` on.
    pub(super) fn rebase(&mut self, base: Duration) {
        self.base = base;
    }

    /// The events that `message` stands for.
    pub(super) fn take(&mut self, message: Message) -> Vec<SttEvent> {
        match message {
            Message::Results(results) => self.results(results),
            Message::UtteranceEnd => self.end_turn().into_iter().collect(),
            Message::Turn(_) | Message::Error(_) | Message::Metadata | Message::Other => Vec::new(),
        }
    }

    fn results(&mut self, results: Results) -> Vec<SttEvent> {
        let end = self.base + results.end;
        if results.is_final && end <= self.settled && !results.transcript.is_empty() {
            return Vec::new();
        }
        let mut events = Vec::new();
        if let Some(recognised) = self.recognised(&results) {
            self.turn_open = true;
            events.push(if results.is_final { SttEvent::Final(recognised) } else { SttEvent::Interim(recognised) });
        }
        if results.is_final {
            let word_end = results.words.last().map_or(end, |word| self.base + word.end);
            if !results.transcript.is_empty() {
                self.last_word = self.last_word.max(word_end);
            }
            self.settled = self.settled.max(end);
            if results.speech_final {
                events.extend(self.end_turn());
            }
        }
        events
    }

    /// The words that are new.
    fn recognised(&self, results: &Results) -> Option<Recognised> {
        let is_new = |word: &&Word| self.base + (word.start + word.end) / 2 > self.last_word;
        let words: Vec<&Word> = results.words.iter().filter(is_new).collect();
        let text = if words.len() == results.words.len() {
            results.transcript.clone()
        } else {
            words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
        };
        if text.trim().is_empty() {
            return None;
        }
        let start = words.first().map_or(results.start, |word| word.start);
        let end = words.last().map_or(results.end, |word| word.end).max(start);
        Some(Recognised {
            text: Pii::new(text),
            confidence: results.confidence,
            start: self.base + start,
            end: self.base + end,
        })
    }

    fn end_turn(&mut self) -> Option<SttEvent> {
        std::mem::take(&mut self.turn_open).then_some(SttEvent::SpeechEnded)
    }
}

/// Audio heard twice by a new connection, so that a word at the seam has its beginning.
const CONTEXT: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Words of 200 ms each, from `start` on.
    fn results(start: u64, words: &[&str], is_final: bool, speech_final: bool) -> Message {
        let at = |index: usize| ms(start + 200 * u64::try_from(index).unwrap());
        let word =
            |(index, text): (usize, &&str)| Word { text: (*text).to_owned(), start: at(index), end: at(index + 1) };
        Message::Results(Results {
            start: ms(start),
            end: at(words.len()).max(ms(start + 20)),
            is_final,
            speech_final,
            transcript: words.join(" "),
            confidence: 0.9,
            words: words.iter().enumerate().map(word).collect(),
        })
    }

    fn told(events: &[SttEvent]) -> Vec<String> {
        let word = |r: &Recognised| r.text.expose().clone();
        let told = |event: &SttEvent| match event {
            SttEvent::Interim(r) => format!("~{}", word(r)),
            SttEvent::Final(r) => word(r),
            SttEvent::SpeechEnded => "|".to_owned(),
            other => format!("{other:?}"),
        };
        events.iter().map(told).collect()
    }

    #[test]
    fn words_come_once_and_a_turn_ends_once() {
        let mut transcript = Transcript::default();
        assert_eq!(told(&transcript.take(results(0, &["i", "need"], false, false))), ["~i need"]);
        assert_eq!(told(&transcript.take(results(0, &["i", "need", "help"], true, true))), ["i need help", "|"]);
        assert!(transcript.take(Message::UtteranceEnd).is_empty());
        assert!(transcript.take(results(0, &["i", "need", "help"], true, true)).is_empty(), "a duplicate");
        assert!(transcript.take(results(700, &[], true, true)).is_empty(), "silence");
    }

    #[test]
    fn an_utterance_end_closes_a_turn_that_endpointing_missed() {
        let mut transcript = Transcript::default();
        transcript.take(results(0, &["yes"], true, false));
        assert_eq!(told(&transcript.take(Message::UtteranceEnd)), ["|"]);
    }

    #[test]
    fn a_replay_does_not_repeat_final_words() {
        let mut transcript = Transcript::default();
        transcript.take(results(1000, &["my", "name", "is"], true, false));
        assert_eq!(transcript.resume_at(), ms(1300));
        transcript.rebase(ms(1300));
        let heard = transcript.take(results(100, &["is", "ada", "lovelace"], false, false));
        assert_eq!(told(&heard), ["~ada lovelace"]);
        let SttEvent::Interim(recognised) = &heard[0] else { panic!("{heard:?}") };
        assert_eq!((recognised.start, recognised.end), (ms(1600), ms(2000)));
        assert_eq!(told(&transcript.take(results(100, &["is", "ada", "lovelace"], true, true))), ["ada lovelace", "|"]);
        assert!(transcript.take(results(100, &["is"], true, false)).is_empty());
    }

    #[test]
    fn a_late_final_for_settled_audio_is_dropped() {
        let mut transcript = Transcript::default();
        transcript.take(results(2000, &["second"], true, false));
        assert!(transcript.take(results(0, &["first"], true, false)).is_empty());
    }
}
