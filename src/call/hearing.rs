//! What a call hears of its caller: evidence while the bot speaks, and when speech begins and ends at any time. Pure.
//!
//! One of two ears does it. The neural one knows what was sent and tells it from the caller; the plain one does not, takes
//! less memory, and is for lines without echo. Both give the same kind of evidence, so that the floor has one set of rules.

use offhook_media::Frame;
use offhook_media::barge::{Ear, Evidence, Weakness};
use offhook_media::silero::Network;
use offhook_media::speech::{SpeechConfig, SpeechDetector, SpeechEdge};
use offhook_media::vad::Earshot;

use super::Moment;

/// See the module's header.
pub struct Hearing(Kind);

/// What 20 ms told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    pub evidence: Option<Evidence>,
    pub edge: Option<SpeechEdge>,
}

impl Hearing {
    /// Silero behind an echo filter.
    pub fn neural(network: &'static Network) -> Self {
        Self(Kind::Neural(Box::new(Ear::new(network))))
    }

    /// Earshot on the line as it is.
    pub fn plain() -> Self {
        Self(Kind::Plain(Box::new(SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default()))))
    }

    /// Any other detector on the line as it is.
    pub fn by(detector: SpeechDetector) -> Self {
        Self(Kind::Plain(Box::new(detector)))
    }

    /// 20 ms that are played from `at` on.
    pub fn sent(&mut self, frame: &Frame, at: Moment) {
        if let Kind::Neural(ear) = &mut self.0 {
            ear.sent(frame, at);
        }
    }

    /// Nothing of what was to be played from `at` on is.
    pub fn cleared(&mut self, at: Moment) {
        if let Kind::Neural(ear) = &mut self.0 {
            ear.cleared(at);
        }
    }

    /// 20 ms that were heard, whose last packet arrived at `arrival`.
    pub fn heard(&mut self, frame: &Frame, arrival: Moment) -> Told {
        match &mut self.0 {
            Kind::Neural(ear) => {
                let evidence = ear.heard(frame, arrival);
                Told { evidence, edge: evidence.and_then(|evidence| evidence.edge) }
            }
            Kind::Plain(detector) => {
                let heard = detector.push(frame, arrival);
                let probability = heard.samples().last().map_or(0.0, |sample| sample.probability);
                let evidence = evidence(detector, probability, heard.edge);
                Told { evidence: Some(evidence), edge: heard.edge }
            }
        }
    }

    /// Someone did take the floor.
    pub fn confirm_caller(&mut self) {
        if let Kind::Neural(ear) = &mut self.0 {
            ear.confirm_caller();
        }
    }

    /// It was nobody.
    pub fn was_mistaken(&mut self) {
        if let Kind::Neural(ear) = &mut self.0 {
            ear.was_mistaken();
        }
    }

    /// Forgets what was heard of late, as when nobody listened for a while.
    pub fn begin_again(&mut self) {
        match &mut self.0 {
            Kind::Neural(ear) => ear.let_go(),
            Kind::Plain(detector) => detector.reset(),
        }
    }
}

/// A detector that has confirmed speech stands by it until it ends: each of its frames counts as a window of speech.
fn evidence(detector: &SpeechDetector, probability: f32, edge: Option<SpeechEdge>) -> Evidence {
    let speech = detector.is_speaking();
    Evidence {
        probability,
        gate_open: speech,
        level_dbfs: detector.floor_dbfs(),
        floor_dbfs: detector.floor_dbfs(),
        speech,
        first: matches!(edge, Some(SpeechEdge::Onset { .. })),
        commit: false,
        released: matches!(edge, Some(SpeechEdge::Offset { .. })),
        in_a_row: u8::from(speech),
        edge,
        weakness: Weakness::default(),
    }
}

enum Kind {
    Neural(Box<Ear>),
    Plain(Box<SpeechDetector>),
}
