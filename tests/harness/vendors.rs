//! Stand-ins for the vendors: what they will send back, and when, once they are asked.

use std::sync::Arc;
use std::time::Duration;

use offhook::call::TurnId;
use offhook::call::core::CallInput;
use offhook::call::mouth::Wanted;
use offhook::providers::ProviderError;
use offhook::safety::said::clear;

use super::{Moment, ms, sound};

/// How one sentence is made.
#[derive(Clone, Debug)]
pub enum Voice {
    /// First audio after this long, the rest at five times the speed of speech.
    Speaks(Duration),
    /// An error after this long.
    Fails(Duration),
    /// Half of the audio after this long, then an error.
    Breaks(Duration),
    /// Nothing, ever.
    Stalls,
    /// Its end after this long, and no audio.
    Mute(Duration),
    /// Half of the audio after this long, then nothing, ever.
    Hangs(Duration),
    /// Half of the audio after 150 ms; another voice goes on so long after that, with the word that was not whole.
    Changes(Duration),
}

/// How one question is answered.
#[derive(Clone, Debug)]
pub enum Model {
    /// Sentences, each at its time after the question; then the end.
    Says(Vec<(Duration, &'static str)>),
    /// As above, without an end.
    SaysAndStalls(Vec<(Duration, &'static str)>),
    /// As above, with an error for an end.
    SaysAndFails(Vec<(Duration, &'static str)>),
}

/// Inputs with the times at which they are due.
pub type Due = Vec<(Moment, CallInput)>;

impl Voice {
    pub fn make(&self, turn: TurnId, wanted: &Wanted, now: Moment) -> Due {
        let sentence = wanted.sentence;
        let audio = sound::voice(wanted.text.as_str());
        let half = audio.len() / 2;
        let failed = || CallInput::SpeechFailed { turn, sentence, error: error("voice") };
        let chunks = |first: Duration, audio: &[i16]| -> Due {
            let chunk = |(n, samples): (usize, &[i16])| {
                let samples: Arc<[i16]> = samples.into();
                (now + first + ms(60) * n as u32, CallInput::Speech { turn, sentence, samples })
            };
            audio.chunks(300 * 8).enumerate().map(chunk).collect()
        };
        let after = |mut due: Due, last: CallInput| {
            let end = due.last().map_or(now, |(at, _)| *at) + ms(10);
            due.push((end, last));
            due
        };
        match self {
            Self::Speaks(first) => after(chunks(*first, &audio), CallInput::SpeechEnded { turn, sentence }),
            Self::Fails(wait) => vec![(now + *wait, failed())],
            Self::Breaks(first) => after(chunks(*first, &audio[..half]), failed()),
            Self::Stalls => Vec::new(),
            Self::Mute(wait) => vec![(now + *wait, CallInput::SpeechEnded { turn, sentence })],
            Self::Hangs(first) => chunks(*first, &audio[..half]),
            Self::Changes(gap) => {
                let keep = half - half / 10;
                let mut due = chunks(ms(150), &audio[..half]);
                let at = due.last().map_or(now, |(at, _)| *at) + *gap;
                due.push((at, CallInput::SpeechRejoined { turn, sentence, keep: keep as u64 }));
                due.extend(chunks(at - now, &audio[keep..]));
                after(due, CallInput::SpeechEnded { turn, sentence })
            }
        }
    }
}

impl Model {
    /// One sentence after `wait`.
    pub fn says(wait: Duration, sentence: &'static str) -> Self {
        Self::Says(vec![(wait, sentence)])
    }

    /// Nothing, ever.
    pub const fn stalls() -> Self {
        Self::SaysAndStalls(Vec::new())
    }

    /// An error at once.
    pub const fn fails() -> Self {
        Self::SaysAndFails(Vec::new())
    }

    /// An answer without words.
    pub const fn empty() -> Self {
        Self::Says(Vec::new())
    }

    pub fn answer(&self, turn: TurnId, now: Moment) -> Due {
        let (Self::Says(said) | Self::SaysAndStalls(said) | Self::SaysAndFails(said)) = self;
        let sentence =
            |(wait, text): &(Duration, &str)| (now + *wait, CallInput::Answer { turn, sentence: clear(text) });
        let mut due: Due = said.iter().map(sentence).collect();
        let end = due.last().map_or(now + ms(200), |(at, _)| *at + ms(50));
        match self {
            Self::Says(_) => due.push((end, CallInput::AnswerEnded { turn })),
            Self::SaysAndFails(_) => due.push((end, CallInput::AnswerFailed { turn, error: error("model") })),
            Self::SaysAndStalls(_) => {}
        }
        due
    }
}

pub fn error(vendor: &'static str) -> ProviderError {
    ProviderError::Status { vendor, status: 503 }
}
