//! Cuts what is heard into stretches of speech. Pure: frames in, stretches out; time is that of the audio.

use std::collections::VecDeque;
use std::time::Duration;

use offhook_media::speech::{SpeechConfig, SpeechDetector, SpeechEdge};
use offhook_media::vad::Earshot;
use offhook_media::{FRAME, FRAME_MS, Frame};

/// A stretch of speech with a little of what is around it; times count from the first frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    /// 8 kHz.
    pub samples: Vec<i16>,
    pub start: Duration,
    pub end: Duration,
}

/// See the module's header.
pub(super) struct Stretches {
    detector: SpeechDetector,
    /// The latest frames, from the one with the number `first` on.
    kept: VecDeque<Frame>,
    first: u64,
    /// When the speech that goes on began, and when it fell silent if it did.
    speech: Option<(Duration, Option<Duration>)>,
    silence: Duration,
}

impl Stretches {
    /// A stretch ends with so much silence.
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            detector: SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default()),
            kept: VecDeque::new(),
            first: 0,
            speech: None,
            silence,
        }
    }

    /// The stretch that ends with this frame, if one does.
    pub(super) fn hear(&mut self, frame: &Frame) -> Option<Stretch> {
        self.kept.push_back(*frame);
        let now = self.now();
        match (self.detector.push(frame, now).edge, &mut self.speech) {
            (Some(SpeechEdge::Onset { began, .. }), None) => self.speech = Some((began, None)),
            (Some(SpeechEdge::Onset { .. }), Some((_, ended))) => *ended = None,
            (Some(SpeechEdge::Offset { ended: at, .. }), Some((_, ended))) => *ended = Some(at),
            (Some(SpeechEdge::Offset { .. }) | None, _) => {}
        }
        let stretch = match self.speech {
            Some((began, Some(ended))) if now >= ended + self.silence => Some(self.cut(began, ended)),
            // One who never pauses is heard in parts.
            Some((began, None)) if now >= began + LONGEST => {
                let part = self.cut(began, now);
                self.speech = Some((now, None));
                Some(part)
            }
            _ => None,
        };
        self.forget();
        stretch
    }

    /// Nothing more is heard: what was being said.
    pub(super) fn end(&mut self) -> Option<Stretch> {
        let (began, ended) = self.speech?;
        Some(self.cut(began, ended.unwrap_or_else(|| self.now())))
    }

    fn now(&self) -> Duration {
        FRAME_TIME * u32::try_from(self.first + self.kept.len() as u64).unwrap_or(u32::MAX)
    }

    fn cut(&mut self, began: Duration, ended: Duration) -> Stretch {
        self.speech = None;
        let (start, end) = (began.saturating_sub(AROUND), (ended + AROUND).min(self.now()));
        let number = |at: Duration| (at.as_millis() / u128::from(FRAME_MS)) as u64;
        let from = number(start).saturating_sub(self.first) as usize;
        let to = (number(end).saturating_sub(self.first) as usize).min(self.kept.len());
        let mut samples = Vec::with_capacity(to.saturating_sub(from) * FRAME);
        self.kept.range(from.min(to)..to).for_each(|frame| samples.extend_from_slice(frame));
        Stretch { samples, start: began, end: ended }
    }

    /// Keeps what the beginning of a stretch may still need.
    fn forget(&mut self) {
        let wanted = match self.speech {
            Some((began, _)) => began.saturating_sub(AROUND),
            None => self.now().saturating_sub(LOOK_BACK),
        };
        while FRAME_TIME * u32::try_from(self.first + 1).unwrap_or(u32::MAX) <= wanted
            && self.kept.pop_front().is_some()
        {
            self.first += 1;
        }
    }
}

const FRAME_TIME: Duration = Duration::from_millis(FRAME_MS as u64);
/// Sound around the speech that belongs to it: soft beginnings and ends.
const AROUND: Duration = Duration::from_millis(200);
/// An onset is known some time after it.
const LOOK_BACK: Duration = Duration::from_millis(1500);
const LONGEST: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use offhook_media::SILENCE;
    use offhook_media::wav::Wav;

    use super::*;

    fn recording(name: &str) -> Vec<i16> {
        let path = format!("{}/fixtures/audio/human/{name}", env!("CARGO_MANIFEST_DIR"));
        Wav::parse(&std::fs::read(path).unwrap()).unwrap().samples
    }

    fn stretches(audio: &[i16], silence_ms: u64) -> Vec<Stretch> {
        let mut stretches = Stretches::new(Duration::from_millis(silence_ms));
        let mut all: Vec<Stretch> =
            audio.as_chunks::<FRAME>().0.iter().filter_map(|frame| stretches.hear(frame)).collect();
        all.extend(stretches.end());
        assert!(stretches.kept.len() <= 20_000 / 20 + 200, "{} frames are kept", stretches.kept.len());
        all
    }

    fn quiet(ms: usize) -> Vec<i16> {
        vec![SILENCE[0]; ms * 8]
    }

    #[test]
    fn each_stretch_is_cut_where_the_caller_falls_silent() {
        let word = recording("im-sorry.wav");
        let audio = [quiet(2000), word.clone(), quiet(1500), word.clone(), quiet(1000)].concat();
        let found = stretches(&audio, 300);
        assert_eq!(found.len(), 2, "{:?}", found.iter().map(|s| (s.start, s.end)).collect::<Vec<_>>());
        for stretch in &found {
            let length = stretch.samples.len() / 8;
            assert!((word.len() / 16..word.len() / 8 + 500).contains(&length), "{length} ms");
            assert!(stretch.start < stretch.end);
        }
        assert!(found[0].start >= Duration::from_millis(1900), "{:?}", found[0].start);
    }

    #[test]
    fn a_pause_within_the_silence_cuts_nothing() {
        let word = recording("im-sorry.wav");
        let audio = [quiet(1000), word.clone(), quiet(300), word, quiet(2000)].concat();
        assert_eq!(stretches(&audio, 1200).len(), 1);
    }

    #[test]
    fn silence_is_no_stretch_and_an_unfinished_one_comes_at_the_end() {
        assert_eq!(stretches(&quiet(5000), 300), []);
        let audio = [quiet(1000), recording("im-sorry.wav")].concat();
        assert_eq!(stretches(&audio, 3000).len(), 1);
    }

    #[test]
    fn who_never_pauses_is_heard_in_parts() {
        let word = recording("to-call-this-number.wav");
        let audio: Vec<i16> = word.iter().copied().cycle().take(45 * 8000).collect();
        let found = stretches(&audio, 5000);
        assert!(found.len() >= 2, "{}", found.len());
        assert!(found.iter().all(|stretch| stretch.samples.len() <= 21 * 8000));
    }
}
