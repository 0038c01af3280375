//! When the caller's turn is over: the silence that is waited out, by what was asked, how the words end and how this
//! caller speaks.
//!
//! Time counts from the fall of the caller's energy, not from when the detector was sure of it. No wait is without its
//! end: whatever is known or not, `Endpointer::deadline` names a time. Whether the bot speaks then is the floor's business:
//! it asks for the deadline or does not.

use std::time::Duration;

use super::Moment;
use super::rhythm::Rhythm;
use super::text::Form;

/// How the end of the caller's turn is found at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// After this much silence, whatever was said.
    Silence(Duration),
    /// By the rules of this file.
    Answer(Expected),
}

/// What kind of answer a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Open,
    YesNo,
    /// One of a few known words.
    Choice,
    Digits,
    /// Letters, one by one.
    Spelling,
    Address,
}

/// What is known of the words of a turn that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wording {
    pub answer: Progress,
    pub form: Form,
    /// The recogniser will not change them.
    pub settled: bool,
}

/// How far the words go as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Unknown,
    /// Digits or letters are being told, and more may come.
    Dictating,
    /// No answer is longer.
    Complete,
}

/// Follows the caller's speech to the end of their turn. See the module's header.
#[derive(Debug)]
pub(super) struct Endpointer {
    endpoint: Endpoint,
    /// How long words are waited for once the silence has passed; zero where nobody recognises any.
    patience: Duration,
    longest: Duration,
    caller: Caller,
    /// When the caller's latest speech began.
    began: Moment,
    /// What the words of this turn say, and when they came.
    said: Option<(Wording, Moment)>,
    vote: Option<f32>,
    /// This recogniser puts marks behind sentences.
    marks: bool,
    rhythm: Rhythm,
    /// How often we began to answer too early.
    cut_ins: usize,
}

impl Endpointer {
    /// Words are waited for by `patience`, zero on a line without a recogniser. Speech without an end is a turn after
    /// `longest`.
    pub(super) fn new(endpoint: Endpoint, patience: Duration, longest: Duration) -> Self {
        Self {
            endpoint,
            patience,
            longest,
            caller: Caller::Silent,
            began: Moment::ZERO,
            said: None,
            vote: None,
            marks: false,
            rhythm: Rhythm::default(),
            cut_ins: 0,
        }
    }

    /// The rules of the step that begins; they hold for what the caller is already saying too.
    pub(super) const fn set(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    /// No words will come any more.
    pub(super) const fn deaf(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// The caller's speech began, or goes on after a pause.
    pub(super) fn speech_began(&mut self, began: Moment, now: Moment) {
        if let Caller::Pausing { ended } = self.caller {
            self.rhythm.went_on(began.saturating_sub(ended), self.sounds_finished());
        }
        self.vote = None;
        self.began = began;
        self.caller = Caller::Speaking { until: now + self.longest };
    }

    /// The caller's speech fell silent at `ended`.
    pub(super) const fn paused(&mut self, ended: Moment) {
        if let Caller::Speaking { .. } = self.caller {
            self.caller = Caller::Pausing { ended };
        }
    }

    /// Words came that end what the bot was saying. Of speech that the detector missed, the clock ends the turn.
    pub(super) const fn words(&mut self, now: Moment) {
        if matches!(self.caller, Caller::Silent) {
            self.caller = Caller::Pausing { ended: now };
        }
    }

    /// What the words of this turn say, whenever they come or change; none when they were nothing.
    pub(super) fn said(&mut self, said: Option<Wording>, now: Moment) {
        self.marks |= said.is_some_and(|said| said.settled && said.form == Form::Finished);
        self.said = said.map(|said| (said, now));
    }

    /// How likely the turn is over, by a model that hears the voice: 0.0 to 1.0.
    pub(super) const fn voted(&mut self, over: f32) {
        self.vote = Some(over);
    }

    /// We had begun to answer and the caller went on after `pause`: they need more time.
    pub(super) fn cut_in(&mut self, pause: Duration) {
        self.rhythm.went_on(pause, true);
        self.rhythm.went_on(pause, false);
        self.cut_ins = self.cut_ins.saturating_add(1);
    }

    /// The turn is over, or nothing shall come of it.
    pub(super) const fn reset(&mut self) {
        (self.caller, self.said, self.vote) = (Caller::Silent, None, None);
    }

    /// Whether nothing was said that has not been answered.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.caller, Caller::Silent)
    }

    /// Whether the caller has paused, so that the turn can end by silence.
    pub(super) const fn is_pausing(&self) -> bool {
        matches!(self.caller, Caller::Pausing { .. })
    }

    /// Whether the caller's speech goes on.
    pub(super) const fn is_speaking(&self) -> bool {
        matches!(self.caller, Caller::Speaking { .. })
    }

    /// Since when the caller pauses, if they do.
    pub(super) const fn pause(&self) -> Option<Moment> {
        match self.caller {
            Caller::Pausing { ended } => Some(ended),
            Caller::Silent | Caller::Speaking { .. } => None,
        }
    }

    /// When the turn ends unless more is said.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.caller {
            Caller::Silent => None,
            Caller::Speaking { until } => Some(self.stale().map_or(until, |stale| stale.min(until))),
            Caller::Pausing { ended } => Some(self.due(ended)),
        }
    }

    /// When sound that goes on is no speech of the caller's any more: their words are settled, and no more have come for long.
    fn stale(&self) -> Option<Moment> {
        let (said, at) = self.said.filter(|(said, at)| said.settled && *at >= self.began)?;
        let patient = matches!(self.endpoint, Endpoint::Answer(_));
        patient.then(|| at + said.stale_after())
    }

    /// The turn is over: when its speech fell silent. `None` before the deadline.
    pub(super) fn take_ended(&mut self, now: Moment) -> Option<Moment> {
        self.deadline().filter(|due| *due <= now)?;
        Some(self.pause_or(now))
    }

    /// The recogniser hears from the words that the turn is over: when its speech fell silent, if it did and the step
    /// leaves it to such signs.
    pub(super) fn take_told(&mut self) -> Option<Moment> {
        let ended = self.pause().filter(|_| matches!(self.endpoint, Endpoint::Answer(_)))?;
        Some(self.pause_or(ended))
    }

    fn pause_or(&mut self, now: Moment) -> Moment {
        let ended = self.pause().unwrap_or(now);
        self.reset();
        ended
    }

    fn due(&self, ended: Moment) -> Moment {
        let due = ended + self.silence();
        match self.said {
            None => due + self.patience,
            // Nothing can be added, and a word that changes would not change that.
            Some((said, at)) if said.answer == Progress::Complete => due.max(at),
            Some((said, at)) if said.settled && at >= ended => due.max(at),
            // Since the caller went on there were none, and none may come: it may have been a cough.
            Some((_, at)) if at < self.began => due.max(ended + OWED),
            // The recogniser owes the words of the last moments of speech.
            Some((_, at)) => due.max(at.max(ended) + STEADY),
        }
    }

    /// The silence that ends the turn as things stand.
    fn silence(&self) -> Duration {
        let expected = match self.endpoint {
            Endpoint::Silence(exact) => return exact,
            Endpoint::Answer(expected) => expected,
        };
        let said = self.said.map(|(said, _)| said);
        let answer = said.map_or(Progress::Unknown, |said| said.answer);
        if answer == Progress::Complete {
            return COMPLETE;
        }
        let piecewise = answer == Progress::Dictating || expected.is_told_piecewise();
        let base = if piecewise { PIECEWISE } else { expected.base() };
        let unhurried = percent(percent(base, self.hurried()), self.by_voice());
        let by_words = match said {
            // Marks behind digits and letters are put there by the recogniser's pauses, not by the caller's.
            Some(_) if piecewise => unhurried,
            Some(Wording { form: Form::Unfinished, .. }) => unhurried.max(UNFINISHED),
            Some(Wording { form: Form::Finished, .. }) => percent(unhurried, FINISHED),
            Some(Wording { form: Form::Plain, settled: true, .. }) if self.marks => percent(unhurried, UNMARKED),
            Some(_) | None => unhurried,
        };
        by_words.max(self.rhythm.least(self.sounds_finished())).clamp(SHORTEST, LONGEST)
    }

    fn hurried(&self) -> u32 {
        CUT_INS.get(self.cut_ins).copied().unwrap_or(CUT_INS[CUT_INS.len() - 1])
    }

    const fn by_voice(&self) -> u32 {
        match self.vote {
            Some(over) if over > 0.9 => 60,
            Some(over) if over < 0.3 => 200,
            _ => 100,
        }
    }

    fn sounds_finished(&self) -> bool {
        self.said.is_some_and(|(said, _)| said.form == Form::Finished)
    }
}

impl Wording {
    /// How long sound may go on without more words.
    fn stale_after(self) -> Duration {
        match (self.answer, self.form) {
            (Progress::Complete, _) => COMPLETE_STALE,
            (Progress::Dictating, _) | (_, Form::Unfinished) => UNFINISHED_STALE,
            (Progress::Unknown, Form::Plain | Form::Finished) => STALE,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Silent,
    /// Leaves at an offset, or at `until` when the sound never ends.
    Speaking {
        until: Moment,
    },
    /// Leaves at an onset, or when enough silence has passed since `ended`.
    Pausing {
        ended: Moment,
    },
}

fn percent(of: Duration, percent: u32) -> Duration {
    of * percent / 100
}

impl Expected {
    /// The silence behind an answer of this kind of which nothing else is known.
    const fn base(self) -> Duration {
        Duration::from_millis(match self {
            Self::YesNo | Self::Choice => 300,
            Self::Open => 600,
            Self::Digits | Self::Spelling | Self::Address => return PIECEWISE,
        })
    }

    const fn is_told_piecewise(self) -> bool {
        matches!(self, Self::Digits | Self::Spelling | Self::Address)
    }
}

/// Between the pieces of a number, a name that is spelt, an address. Pauses last up to 1200 ms, and in noise it takes a while
/// until the detector hears that one is over.
const PIECEWISE: Duration = Duration::from_millis(1450);
/// Nothing can be added: only long enough for the detector to be sure of the silence.
const COMPLETE: Duration = Duration::from_millis(150);
/// At least this behind words that no turn ends with.
const UNFINISHED: Duration = Duration::from_millis(1450);
/// In percent, behind a sentence that has its mark.
const FINISHED: u32 = 50;
/// In percent, behind words that stay and have none, where marks are put.
const UNMARKED: u32 = 220;
/// In percent, after that many cut-ins: each adds 30 %.
const CUT_INS: [u32; 4] = [100, 130, 169, 220];
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_millis(3000);
/// A recogniser tells more words of a caller who goes on speaking well before this; a place full of talk never falls silent.
const STALE: Duration = Duration::from_millis(2500);
/// A pause, a group of digits, and the recogniser's delay: more is to come.
const UNFINISHED_STALE: Duration = Duration::from_millis(4000);
const COMPLETE_STALE: Duration = Duration::from_millis(1000);
/// A recogniser that has heard words in the last speech has told some of them by then.
const OWED: Duration = Duration::from_millis(600);
/// Words that have not changed for so long are taken as they are: recognisers are some 150 ms behind.
const STEADY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(value: u64) -> Moment {
        Duration::from_millis(value)
    }

    const LONGEST_TURN: Duration = ms(60_000);

    fn heard(answer: Progress, form: Form, settled: bool) -> Wording {
        Wording { answer, form, settled }
    }

    const PLAIN: Wording = Wording { answer: Progress::Unknown, form: Form::Plain, settled: true };
    const FINISHED: Wording = Wording { form: Form::Finished, ..PLAIN };
    const UNFINISHED: Wording = Wording { form: Form::Unfinished, ..PLAIN };
    const DICTATING: Wording = Wording { answer: Progress::Dictating, ..FINISHED };
    const COMPLETE: Wording = Wording { answer: Progress::Complete, ..PLAIN };

    #[test]
    fn settled_words_end_a_turn_in_a_place_that_never_falls_silent() {
        let speaking = |endpoint| {
            let mut end = Endpointer::new(endpoint, ms(1500), LONGEST_TURN);
            end.speech_began(ms(9000), ms(9040));
            end
        };
        let longest = Some(ms(9040) + LONGEST_TURN);
        let mut end = speaking(Endpoint::Answer(Expected::Open));
        end.said(Some(PLAIN), ms(8000));
        assert_eq!(end.deadline(), longest, "words of before say nothing of what is said");
        end.said(Some(PLAIN), ms(10_000));
        assert_eq!(end.deadline(), Some(ms(10_000) + STALE));
        for more in [DICTATING, UNFINISHED] {
            end.said(Some(more), ms(10_200));
            assert_eq!(end.deadline(), Some(ms(10_200) + UNFINISHED_STALE), "{more:?}");
        }
        end.said(Some(Wording { settled: false, ..PLAIN }), ms(10_500));
        assert_eq!(end.deadline(), longest, "more is being said");
        end.said(Some(COMPLETE), ms(11_000));
        assert_eq!(end.take_ended(ms(11_999)), None);
        assert_eq!(end.take_ended(ms(12_000)), Some(ms(12_000)));
        let mut exact = speaking(Endpoint::Silence(ms(600)));
        exact.said(Some(COMPLETE), ms(10_000));
        assert_eq!(exact.deadline(), longest);
    }

    /// A caller who fell silent at 10 s.
    fn pausing(endpoint: Endpoint) -> Endpointer {
        let mut end = Endpointer::new(endpoint, ms(1500), LONGEST_TURN);
        end.speech_began(ms(9000), ms(9040));
        end.paused(ms(10_000));
        end
    }

    /// The silence after which a turn ends whose last words are settled as the detector finds its end.
    fn wait(expected: Expected, said: Wording) -> u64 {
        let mut end = pausing(Endpoint::Answer(expected));
        end.said(Some(said), ms(10_050));
        u64::try_from((end.deadline().unwrap() - ms(10_000)).as_millis()).unwrap()
    }

    #[test]
    fn the_question_and_the_words_set_the_silence() {
        for (expected, said, silence) in [
            (Expected::YesNo, PLAIN, 300),
            (Expected::Choice, PLAIN, 300),
            (Expected::Choice, FINISHED, 200),
            (Expected::Choice, COMPLETE, 150),
            (Expected::Open, PLAIN, 600),
            (Expected::Open, FINISHED, 300),
            (Expected::Open, UNFINISHED, 1450),
            (Expected::YesNo, UNFINISHED, 1450),
            (Expected::Open, DICTATING, 1450),
            (Expected::Digits, PLAIN, 1450),
            (Expected::Digits, DICTATING, 1450),
            (Expected::Digits, COMPLETE, 150),
            (Expected::Spelling, FINISHED, 1450),
            (Expected::Address, FINISHED, 1450),
        ] {
            assert_eq!(wait(expected, said), silence, "{expected:?} {said:?}");
        }
    }

    #[test]
    fn a_steps_own_silence_is_exact() {
        for said in [PLAIN, FINISHED, UNFINISHED, DICTATING, COMPLETE] {
            let mut end = pausing(Endpoint::Silence(ms(700)));
            end.said(Some(said), ms(10_050));
            end.voted(0.1);
            end.cut_in(ms(900));
            assert_eq!(end.deadline(), Some(ms(10_700)), "{said:?}");
            assert_eq!(end.take_told(), None);
        }
    }

    #[test]
    fn words_are_waited_for_and_those_that_may_change_until_they_are_steady() {
        let mut end = pausing(Endpoint::Answer(Expected::Open));
        assert_eq!(end.deadline(), Some(ms(12_100)), "none yet");
        end.said(Some(heard(Progress::Unknown, Form::Finished, false)), ms(9_900));
        assert_eq!(end.deadline(), Some(ms(10_300)));
        end.said(Some(heard(Progress::Unknown, Form::Finished, false)), ms(10_250));
        assert_eq!(end.deadline(), Some(ms(10_450)), "unchanged for 200 ms");
        end.said(Some(FINISHED), ms(10_310));
        assert_eq!(end.deadline(), Some(ms(10_310)));
        end.deaf();
        end.reset();
        end.speech_began(ms(11_000), ms(11_040));
        end.paused(ms(12_000));
        assert_eq!(end.deadline(), Some(ms(12_600)), "nobody recognises words");
    }

    #[test]
    fn words_from_before_the_caller_went_on_do_not_end_the_turn_at_once() {
        let mut end = pausing(Endpoint::Answer(Expected::Open));
        end.said(Some(FINISHED), ms(10_050));
        end.speech_began(ms(10_200), ms(10_240));
        end.paused(ms(11_000));
        assert_eq!(end.deadline(), Some(ms(11_600)));
        end.said(Some(FINISHED), ms(11_150));
        assert_eq!(end.deadline(), Some(ms(11_300)));
    }

    #[test]
    fn where_marks_are_put_words_without_one_go_on() {
        let mut end = pausing(Endpoint::Answer(Expected::Open));
        end.said(Some(FINISHED), ms(10_050));
        assert!(end.take_ended(ms(10_300)).is_some());
        end.speech_began(ms(12_000), ms(12_040));
        end.paused(ms(13_000));
        end.said(Some(PLAIN), ms(13_050));
        assert_eq!(end.deadline(), Some(ms(14_320)));
    }

    #[test]
    fn a_vote_moves_the_end_within_its_bounds() {
        for (vote, silence) in [(0.95, 360), (0.6, 600), (0.1, 1200)] {
            let mut end = pausing(Endpoint::Answer(Expected::Open));
            end.said(Some(PLAIN), ms(10_050));
            end.voted(vote);
            assert_eq!(end.deadline(), Some(ms(10_000 + silence)), "{vote}");
            end.speech_began(ms(10_100), ms(10_140));
            end.paused(ms(10_900));
            end.said(Some(PLAIN), ms(10_950));
            assert_eq!(end.deadline(), Some(ms(11_500)), "a vote is about one pause");
        }
    }

    #[test]
    fn a_recogniser_that_hears_the_end_ends_the_turn_of_a_silent_caller() {
        let mut end = pausing(Endpoint::Answer(Expected::Open));
        assert_eq!(end.take_told(), Some(ms(10_000)));
        assert!(end.is_silent());
        end.speech_began(ms(11_000), ms(11_040));
        assert_eq!(end.take_told(), None, "they speak");
    }

    #[test]
    fn a_caller_who_pauses_long_is_given_their_time() {
        let mut end = Endpointer::new(Endpoint::Answer(Expected::Open), ms(1500), LONGEST_TURN);
        end.speech_began(ms(0), ms(40));
        for pause in 1..=4 {
            end.paused(ms(pause * 2000));
            end.said(Some(PLAIN), ms(pause * 2000 + 50));
            end.speech_began(ms(pause * 2000 + 800), ms(pause * 2000 + 840));
        }
        end.paused(ms(10_000));
        end.said(Some(PLAIN), ms(10_050));
        assert_eq!(end.deadline(), Some(ms(10_960)), "1.2 times their own pause");
        end.said(Some(FINISHED), ms(10_050));
        assert_eq!(end.deadline(), Some(ms(10_300)), "they never paused behind a sentence");
    }

    #[test]
    fn each_cut_in_gives_more_time() {
        let mut end = pausing(Endpoint::Answer(Expected::Open));
        end.said(Some(PLAIN), ms(10_050));
        end.cut_in(ms(700));
        assert_eq!(end.deadline(), Some(ms(10_780)));
    }

    fn anything() -> impl Strategy<Value = (u8, u64, u8)> {
        (0u8..8, 0u64..2500, 0u8..18)
    }

    proptest! {
        /// Whatever happens: a turn that has begun has an end ahead of it, at most 4.5 s behind the last thing heard.
        #[test]
        fn every_pause_ends(acts in prop::collection::vec(anything(), 1..60), exact in any::<bool>()) {
            let endpoint = if exact { Endpoint::Silence(ms(200)) } else { Endpoint::Answer(Expected::Open) };
            let mut end = Endpointer::new(endpoint, ms(1500), LONGEST_TURN);
            let mut now = ms(1000);
            for (act, after, kind) in acts {
                now += ms(after);
                let forms = [Form::Unfinished, Form::Plain, Form::Finished];
                let answers = [Progress::Unknown, Progress::Dictating, Progress::Complete];
                let said = heard(answers[usize::from(kind % 3)], forms[usize::from(kind / 3 % 3)], kind >= 9);
                match act {
                    0 | 1 => end.speech_began(now.saturating_sub(ms(60)), now),
                    2 | 3 => end.paused(now.saturating_sub(ms(80))),
                    4 => end.said(Some(said), now),
                    5 => end.voted(f32::from(kind) / 17.0),
                    6 => end.words(now),
                    _ => end.cut_in(ms(after)),
                }
                let due = end.deadline();
                prop_assert_eq!(due.is_none(), end.is_silent());
                if end.is_pausing() {
                    prop_assert!(due.unwrap() <= now + ms(4500), "{:?} at {:?}", due, now);
                }
                if due.is_some_and(|due| due <= now) {
                    prop_assert!(end.take_ended(now).is_some() && end.is_silent());
                }
            }
        }
    }
}
