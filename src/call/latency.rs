//! The stage times of one turn, stamped as they happen and turned into the figures of its record. Pure.

use super::Moment;
use crate::store::record::TurnRecord;

/// When each stage of the current turn happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnClock {
    caller_ended: Option<Moment>,
    words_final: Option<Moment>,
    model_asked: Option<Moment>,
    model_began: Option<Moment>,
    voice_asked: Option<Moment>,
    voice_began: Option<Moment>,
    first_packet: Option<Moment>,
    barge_in_ms: Option<f64>,
}

impl TurnClock {
    /// The caller's speech fell silent, or a key was pressed.
    pub const fn caller_ended(&mut self, at: Moment) {
        self.caller_ended = Some(at);
    }

    pub fn words_final(&mut self, at: Moment) {
        self.words_final.get_or_insert(at);
    }

    pub fn model_asked(&mut self, at: Moment) {
        self.model_asked.get_or_insert(at);
    }

    pub fn model_began(&mut self, at: Moment) {
        self.model_began.get_or_insert(at);
    }

    pub fn voice_asked(&mut self, at: Moment) {
        self.voice_asked.get_or_insert(at);
    }

    pub fn voice_began(&mut self, at: Moment) {
        self.voice_began.get_or_insert(at);
    }

    /// The first audible packet of the answer went out.
    pub fn first_packet(&mut self, at: Moment) {
        self.first_packet.get_or_insert(at);
    }

    /// The bot was silenced at `stopped` for speech that began at `onset`.
    pub fn barged_in(&mut self, onset: Moment, stopped: Moment) {
        self.barge_in_ms = Some(ms(stopped.saturating_sub(onset)));
    }

    /// The call was held for so long: none of it is anybody's answer time.
    pub fn rested(&mut self, rested: Moment) {
        let Self {
            caller_ended, words_final, model_asked, model_began, voice_asked, voice_began, first_packet, ..
        } = self;
        for at in [caller_ended, words_final, model_asked, model_began, voice_asked, voice_began, first_packet] {
            *at = at.map(|at| at + rested);
        }
    }

    /// Writes the figures into a record.
    pub fn fill(&self, record: &mut TurnRecord) {
        record.asr_ms = between(self.caller_ended, self.words_final);
        record.llm_ms = between(self.model_asked, self.model_began);
        record.tts_ms = between(self.voice_asked, self.voice_began);
        record.total_ms = between(self.caller_ended, self.first_packet);
        record.barge_in_ms = self.barge_in_ms;
    }
}

/// A span in ms, to the microsecond.
pub fn ms(span: Moment) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn between(from: Option<Moment>, to: Option<Moment>) -> Option<f64> {
    Some(ms(to?.saturating_sub(from?)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stage_counts_from_its_own_beginning() {
        let at = Duration::from_millis;
        let mut clock = TurnClock::default();
        clock.caller_ended(at(1000));
        clock.words_final(at(1120));
        clock.model_asked(at(1200));
        clock.model_began(at(1350));
        clock.voice_asked(at(1360));
        clock.voice_began(at(1400));
        clock.first_packet(at(1410));
        clock.first_packet(at(1430));
        let mut record = TurnRecord::default();
        clock.fill(&mut record);
        assert_eq!(record.asr_ms, Some(120.0));
        assert_eq!(record.llm_ms, Some(150.0));
        assert_eq!(record.tts_ms, Some(40.0));
        assert_eq!(record.total_ms, Some(410.0));
        assert_eq!(record.barge_in_ms, None);
    }
}
