//! From Flux's turns to events of one session, across connections. Pure.
//!
//! Flux tells a whole turn over and over, longer each time, and ends it by what was said. A turn that was open when a
//! connection was lost is heard again from its beginning, as far as the replay reaches: nothing of it was final.

use std::time::Duration;

use super::wire::{TurnEvent, TurnInfo};
use crate::providers::{Recognised, SttEvent};
use crate::telemetry::pii::Pii;

/// What has been recognised so far. Times count from the first frame of the session.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Where the audio of the present connection begins.
    base: Duration,
    /// Up to here turns have ended.
    settled: Duration,
    /// Where the words of the open turn begin.
    began: Option<Duration>,
    /// What was last told of the open turn.
    told: String,
    /// An end was announced and not taken back.
    announced: bool,
}

impl Turns {
    /// Where the next connection should begin to hear.
    pub(super) fn resume_at(&self) -> Duration {
        self.began.map_or(self.settled, |began| began.saturating_sub(CONTEXT).max(self.settled))
    }

    /// A new connection hears audio from `base` on, and knows of no turn.
    pub(super) fn rebase(&mut self, base: Duration) {
        self.base = base;
        self.announced = false;
    }

    /// The events that `info` stands for.
    pub(super) fn take(&mut self, info: TurnInfo) -> Vec<SttEvent> {
        let mut events = Vec::new();
        if self.announced && info.event == TurnEvent::TurnResumed {
            self.announced = false;
            events.push(SttEvent::TurnResumed);
        }
        if info.event == TurnEvent::EndOfTurn {
            events.extend(self.end(info));
            return events;
        }
        let eager = info.event == TurnEvent::EagerEndOfTurn;
        events.extend(self.interim(&info));
        if eager && !self.told.is_empty() {
            self.announced = true;
            events.push(SttEvent::EagerTurnEnd);
        }
        events
    }

    /// Words that were told already are no news.
    fn interim(&mut self, info: &TurnInfo) -> Option<SttEvent> {
        let words = self.recognised(info)?;
        self.began.get_or_insert(words.start);
        if self.told == info.transcript {
            return None;
        }
        self.told.clone_from(&info.transcript);
        Some(SttEvent::Interim(words))
    }

    fn end(&mut self, info: TurnInfo) -> impl Iterator<Item = SttEvent> {
        let words = self.recognised(&info);
        self.settled = self.settled.max(self.base + info.window_end);
        self.began = None;
        self.told.clear();
        self.announced = false;
        words.into_iter().flat_map(|words| [SttEvent::Final(words), SttEvent::TurnEnded])
    }

    fn recognised(&self, info: &TurnInfo) -> Option<Recognised> {
        if info.transcript.trim().is_empty() {
            return None;
        }
        let first = info.first_word.unwrap_or(info.window_start);
        let last = info.last_word.unwrap_or(info.window_end).max(first);
        let start = self.began.map_or(self.base + first, |began| began.min(self.base + first));
        Some(Recognised {
            text: Pii::new(info.transcript.clone()),
            confidence: info.confidence,
            start,
            end: self.base + last,
        })
    }
}

/// Audio before the first word that a new connection hears again.
const CONTEXT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Words of 200 ms each from `start` on.
    fn info(event: TurnEvent, start: u64, words: &[&str]) -> TurnInfo {
        let end = start + 200 * u64::try_from(words.len()).unwrap();
        TurnInfo {
            event,
            window_start: ms(start),
            window_end: ms(end),
            transcript: words.join(" "),
            confidence: 0.9,
            first_word: (!words.is_empty()).then_some(ms(start)),
            last_word: (!words.is_empty()).then_some(ms(end)),
        }
    }

    fn told(events: &[SttEvent]) -> Vec<String> {
        let told = |event: &SttEvent| match event {
            SttEvent::Interim(r) => format!("~{}", r.text.expose()),
            SttEvent::Final(r) => r.text.expose().clone(),
            SttEvent::EagerTurnEnd => "?".to_owned(),
            SttEvent::TurnResumed => "+".to_owned(),
            SttEvent::TurnEnded => "|".to_owned(),
            other => format!("{other:?}"),
        };
        events.iter().map(told).collect()
    }

    #[test]
    fn a_turn_grows_is_nearly_over_goes_on_and_ends() {
        let mut turns = Turns::default();
        let mut take = |event, words: &[&str]| told(&turns.take(info(event, 1000, words)));
        assert!(take(TurnEvent::Update, &[]).is_empty(), "silence");
        assert_eq!(take(TurnEvent::StartOfTurn, &["i"]), ["~i"]);
        assert_eq!(take(TurnEvent::Update, &["i", "need"]), ["~i need"]);
        assert!(take(TurnEvent::Update, &["i", "need"]).is_empty(), "nothing new");
        assert_eq!(take(TurnEvent::EagerEndOfTurn, &["i", "need"]), ["?"]);
        assert_eq!(take(TurnEvent::TurnResumed, &["i", "need", "help"]), ["+", "~i need help"]);
        assert_eq!(take(TurnEvent::EagerEndOfTurn, &["i", "need", "help"]), ["?"]);
        assert_eq!(take(TurnEvent::EndOfTurn, &["i", "need", "help"]), ["i need help", "|"]);
        assert!(take(TurnEvent::EndOfTurn, &[]).is_empty(), "a turn without words is none");
    }

    #[test]
    fn a_new_connection_hears_the_open_turn_again() {
        let mut turns = Turns::default();
        turns.take(info(TurnEvent::EndOfTurn, 0, &["yes"]));
        assert_eq!(turns.resume_at(), ms(200));
        turns.take(info(TurnEvent::StartOfTurn, 1000, &["my"]));
        assert_eq!(turns.resume_at(), ms(500));
        turns.rebase(ms(500));
        let heard = turns.take(info(TurnEvent::EndOfTurn, 500, &["my", "name"]));
        assert_eq!(told(&heard), ["my name", "|"]);
        let SttEvent::Final(words) = &heard[0] else { panic!("{heard:?}") };
        assert_eq!((words.start, words.end), (ms(1000), ms(1400)));
    }
}
