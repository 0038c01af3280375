//! The floor: a state machine over who is speaking, in which every state leaves by the clock.
//!
//! It decides that the bot is to be quieter or silent because the caller may want the floor, that they do or do not, and that
//! the caller's turn has ended. What to say next is not its business, nor how a held bot goes on.

use std::time::Duration;

use offhook_media::barge::Evidence;
use offhook_media::speech::SpeechEdge;

use super::backchannel::Said;
use super::doubt::{Context, Doubt, Verdict, Windows};
pub use super::doubt::{Mistake, Sign};
use super::end::Endpointer;
use super::{Interrupt, Moment, Rules, Wording};

/// Who has the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    Bot,
    /// They are being heard: also while the bot is held in doubt.
    Caller,
}

/// What the floor decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Be quieter, and go on.
    Duck,
    /// Fall silent now, and keep everything: the caller may have begun to speak at `onset`, as estimated.
    Hold { onset: Moment },
    /// The caller has the floor: what the bot was saying is over.
    Commit { onset: Moment, by: Sign },
    /// It was nothing: go on.
    Resume(Mistake),
    /// The caller's turn is over. `speech_ended` is when their speech fell silent, as estimated.
    TurnEnded { speech_ended: Moment },
}

/// See the module's header.
#[derive(Debug)]
pub struct Floor {
    rules: Rules,
    bot: Bot,
    end: Endpointer,
    windows: Windows,
    /// When the bot was held for nothing.
    mistakes: Recent<WEAK_AFTER>,
    /// When a voice turned out to say nothing: the bot's own that comes back, a television's.
    wordless: Recent<WORDLESS_AFTER>,
    /// The bot asked something, or is about to have done so.
    asked: bool,
    /// A recogniser listens.
    has_ears: bool,
}

impl Floor {
    /// Words are waited for by `patience`; none on a line without a recogniser.
    pub fn new(rules: Rules, patience: Option<Duration>, longest_turn: Duration) -> Self {
        Self {
            rules,
            bot: Bot::Silent,
            end: Endpointer::new(rules.endpoint, patience.unwrap_or_default(), longest_turn),
            windows: Windows::none(),
            mistakes: Recent::default(),
            wordless: Recent::default(),
            asked: false,
            has_ears: patience.is_some(),
        }
    }

    /// The rules of the step that begins; they hold for what the caller is already saying too.
    pub const fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.end.set(rules.endpoint);
    }

    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// The recogniser is gone: sound alone decides.
    pub const fn deaf(&mut self) {
        self.has_ears = false;
        self.end.deaf();
    }

    /// Whether what the bot says asks for an answer: then every word of the caller counts.
    pub const fn asks(&mut self, asked: bool) {
        self.asked = asked;
    }

    pub const fn holder(&self) -> Holder {
        match (self.bot, self.end.is_silent()) {
            (Bot::Speaking | Bot::Ducked(_), _) => Holder::Bot,
            (Bot::Silent, true) => Holder::Nobody,
            (Bot::Silent, false) | (Bot::Held(_), _) => Holder::Caller,
        }
    }

    /// The bot is held in doubt.
    pub const fn is_held(&self) -> bool {
        matches!(self.bot, Bot::Held(_))
    }

    /// The bot speaks, or is held in doubt: evidence counts.
    pub const fn is_contested(&self) -> bool {
        !matches!(self.bot, Bot::Silent)
    }

    /// Bot audio is in flight from now on. Speech that the caller began before stays theirs.
    pub const fn bot_starts(&mut self) {
        if matches!(self.bot, Bot::Silent) {
            self.bot = Bot::Speaking;
            self.windows = Windows::none();
        }
    }

    /// The bot was heard to its end. A caller who spoke over an uninterruptible prompt has the floor now.
    pub const fn bot_ends(&mut self) {
        self.bot = Bot::Silent;
    }

    /// What 32 ms say about the caller, the last of which arrived at `arrival`.
    pub fn evidence(&mut self, evidence: &Evidence, arrival: Moment, now: Moment) -> Option<Decision> {
        if matches!(self.bot, Bot::Silent) || self.rules.interrupt != Interrupt::Speech {
            return None;
        }
        self.windows.push(evidence);
        if evidence.speech {
            if let Bot::Ducked(doubt) | Bot::Held(doubt) = &mut self.bot {
                doubt.speech(now);
            }
            if let Some(decision) = self.may_begin(evidence, arrival, now) {
                return Some(decision);
            }
        }
        self.judge(now)
    }

    /// Speech began or ended: what the end of the caller's turn is reckoned by.
    pub fn speech(&mut self, edge: SpeechEdge, now: Moment) {
        match edge {
            SpeechEdge::Onset { began, .. } => {
                self.end.speech_began(began, now);
                if let Bot::Ducked(doubt) | Bot::Held(doubt) = &mut self.bot {
                    doubt.began(began);
                }
            }
            SpeechEdge::Offset { ended, .. } => self.end.paused(ended),
        }
    }

    /// A recogniser heard words while the bot spoke: all of them since the caller's turn began.
    pub fn words(&mut self, said: Said, now: Moment) -> Option<Decision> {
        let by = match (&mut self.bot, self.rules.interrupt) {
            (Bot::Silent, _) | (_, Interrupt::Digits | Interrupt::Never) => return None,
            (Bot::Ducked(doubt) | Bot::Held(doubt), Interrupt::Speech) => {
                doubt.words(said);
                return self.judge(now);
            }
            (_, Interrupt::Speech | Interrupt::Words | Interrupt::StopWords) if said.stop => Sign::StopWord,
            (_, Interrupt::Speech | Interrupt::Words)
                if said.words > said.backchannels || (self.asked && said.words > 0) =>
            {
                Sign::Words
            }
            _ => return None,
        };
        // As far as is known: of speech that the ear missed.
        Some(self.commit(now, by, now))
    }

    /// What the words of the caller's turn say, whenever they come or change; none when they were nothing.
    pub fn wording(&mut self, wording: Option<Wording>, now: Moment) {
        self.end.said(wording, now);
    }

    /// A model that hears the voice believes so much that the turn is over.
    pub const fn voted(&mut self, over: f32) {
        self.end.voted(over);
    }

    /// The recogniser hears that the turn is over: so it is if the caller is silent and has the floor.
    pub fn told_ended(&mut self) -> Option<Decision> {
        if !matches!(self.bot, Bot::Silent) {
            return None;
        }
        self.end.take_told().map(|speech_ended| Decision::TurnEnded { speech_ended })
    }

    /// We began to answer a caller who had only paused, for so long.
    pub fn cut_in(&mut self, pause: Duration) {
        self.end.cut_in(pause);
    }

    /// The caller's speech goes on, whoever has the floor.
    pub const fn is_heard(&self) -> bool {
        self.end.is_speaking()
    }

    /// Since when the caller pauses, while the floor is theirs.
    pub fn pause(&self) -> Option<Moment> {
        self.end.pause().filter(|_| matches!(self.bot, Bot::Silent))
    }

    /// A key was pressed. It ends what the caller was saying: keys and speech are not mixed in one answer.
    pub fn key(&mut self, now: Moment) -> Option<Decision> {
        let stops = !matches!(self.bot, Bot::Silent) && self.rules.interrupt != Interrupt::Never;
        let decision = stops.then(|| self.commit(now, Sign::Key, now));
        self.end.reset();
        decision
    }

    /// The caller cannot be heard any more: whatever they were saying has ended.
    pub const fn caller_leaves(&mut self) {
        self.end.reset();
    }

    /// A held bot has nothing to wait for any more. `false`: it was not held.
    pub const fn let_go(&mut self) -> bool {
        let doubted = matches!(self.bot, Bot::Ducked(_) | Bot::Held(_));
        if doubted {
            self.bot = Bot::Speaking;
            self.end.reset();
        }
        doubted
    }

    /// When [`Floor::timeout`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        match &self.bot {
            Bot::Ducked(doubt) | Bot::Held(doubt) => Some(doubt.deadline()),
            // An uninterruptible bot is answered when it has ended.
            Bot::Speaking if self.end.is_pausing() => None,
            Bot::Speaking | Bot::Silent => self.end.deadline(),
        }
    }

    /// The clock has reached `now`.
    pub fn timeout(&mut self, now: Moment) -> Option<Decision> {
        self.deadline().filter(|due| *due <= now)?;
        match self.bot {
            Bot::Ducked(_) | Bot::Held(_) => self.judge(now),
            Bot::Speaking | Bot::Silent => {
                self.end.take_ended(now).map(|speech_ended| Decision::TurnEnded { speech_ended })
            }
        }
    }

    /// A window of speech begins a doubt, or makes it one for which the bot is held.
    fn may_begin(&mut self, evidence: &Evidence, arrival: Moment, now: Moment) -> Option<Decision> {
        let sure = !self.is_weak(evidence, now) || self.windows.two_in_a_row();
        match &mut self.bot {
            Bot::Speaking => {
                let onset = arrival.saturating_sub(WINDOW);
                let doubt = Doubt::new(onset, Context { asked: self.asked, has_ears: self.has_ears }, now);
                let holds = sure && !self.rules.finish && !self.wordless.are_many(WORDLESS_COUNTS, now);
                self.bot = if holds { Bot::Held(doubt) } else { Bot::Ducked(doubt) };
                Some(if holds { Decision::Hold { onset } } else { Decision::Duck })
            }
            Bot::Ducked(doubt) if sure && !self.rules.finish && !self.wordless.are_many(WORDLESS_COUNTS, now) => {
                doubt.escalate(now);
                let onset = doubt.onset;
                self.bot = Bot::Held(*doubt);
                Some(Decision::Hold { onset })
            }
            Bot::Silent | Bot::Ducked(_) | Bot::Held(_) => None,
        }
    }

    /// Evidence that was wrong often, or that may be echo, has to come twice.
    fn is_weak(&self, evidence: &Evidence, now: Moment) -> bool {
        evidence.weakness.any() || self.mistakes.are_many(MISTAKES_COUNT, now)
    }

    fn judge(&mut self, now: Moment) -> Option<Decision> {
        let (Bot::Ducked(doubt) | Bot::Held(doubt)) = &mut self.bot else { return None };
        match doubt.verdict(self.windows, now)? {
            Verdict::Commit(by) => {
                let onset = doubt.onset;
                Some(self.commit(onset, by, now))
            }
            Verdict::Resume(mistake) => {
                match mistake {
                    Mistake::Silence if self.is_held() => self.mistakes.note(now),
                    Mistake::NoWords => self.wordless.note(now),
                    Mistake::Silence | Mistake::Backchannel => {}
                }
                self.bot = Bot::Speaking;
                self.windows = Windows::none();
                self.end.reset();
                Some(Decision::Resume(mistake))
            }
        }
    }

    fn commit(&mut self, onset: Moment, by: Sign, now: Moment) -> Decision {
        self.bot = Bot::Silent;
        if matches!(by, Sign::Words | Sign::StopWord | Sign::Key) {
            self.wordless = Recent::default();
        }
        // Of speech whose beginning or end the ear did not tell, the clock ends the turn.
        self.end.words(now);
        Decision::Commit { onset, by }
    }
}

/// What the bot does. Doubts leave by a verdict, which the clock gives at the latest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bot {
    Silent,
    /// Leaves when it was heard to its end.
    Speaking,
    Ducked(Doubt),
    Held(Doubt),
}

/// When something happened, the last `N` times.
#[derive(Clone, Copy, Debug)]
struct Recent<const N: usize>([Option<Moment>; N]);

impl<const N: usize> Recent<N> {
    fn note(&mut self, now: Moment) {
        self.0.rotate_right(1);
        if let Some(latest) = self.0.first_mut() {
            *latest = Some(now);
        }
    }

    /// `N` times within `span`.
    fn are_many(&self, span: Duration, now: Moment) -> bool {
        self.0.iter().all(|at| at.is_some_and(|at| now < at + span))
    }
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

/// Two holds for nothing within this time, and evidence has to come twice.
const MISTAKES_COUNT: Duration = Duration::from_secs(60);
const WEAK_AFTER: usize = 2;
/// So many voices without words within this time, and one only makes the bot quieter until there are words: on a line with
/// an echo or a television the bot would stutter.
const WORDLESS_COUNTS: Duration = Duration::from_secs(20);
const WORDLESS_AFTER: usize = 3;

/// What one piece of evidence covers.
const WINDOW: Duration = Duration::from_millis(32);

#[cfg(test)]
mod tests {
    use offhook_media::barge::Weakness;

    use super::super::Endpoint;
    use super::*;
    use crate::turn::backchannel::Lexicon;

    const fn ms(value: u64) -> Moment {
        Duration::from_millis(value)
    }

    fn floor(interrupt: Interrupt, has_ears: bool) -> Floor {
        let rules = Rules { interrupt, endpoint: Endpoint::Silence(ms(200)), finish: false };
        let mut floor = Floor::new(rules, has_ears.then_some(ms(0)), ms(60_000));
        floor.bot_starts();
        floor
    }

    fn window(speech: bool, weak: bool) -> Evidence {
        Evidence {
            probability: 0.0,
            gate_open: speech,
            level_dbfs: -30.0,
            floor_dbfs: -60.0,
            speech,
            first: false,
            commit: false,
            released: false,
            in_a_row: 0,
            edge: None,
            weakness: Weakness { untrained: weak, ..Weakness::default() },
        }
    }

    /// Feeds windows of speech (`x`), of weak evidence of it (`w`) and of silence (`.`), the first of which ends at `from`,
    /// and the clock; gives what is decided, and when.
    fn hear(floor: &mut Floor, windows: &str, from: u64) -> Vec<(u64, Decision)> {
        let mut decided = Vec::new();
        for (number, kind) in windows.chars().enumerate() {
            let at = from + 32 * number as u64;
            let evidence = window(kind != '.', kind == 'w');
            decided.extend(floor.evidence(&evidence, ms(at), ms(at)).map(|decision| (at, decision)));
            decided.extend(floor.timeout(ms(at)).map(|decision| (at, decision)));
        }
        decided
    }

    fn said(text: &str) -> Said {
        Lexicon::new("en", None, None).judge(text)
    }

    const fn onset(at: u64) -> SpeechEdge {
        SpeechEdge::Onset { began: ms(at), at: ms(at) }
    }

    const fn offset(at: u64) -> SpeechEdge {
        SpeechEdge::Offset { ended: ms(at), at: ms(at + 60) }
    }

    const HOLD: Decision = Decision::Hold { onset: ms(968) };

    const fn commit(by: Sign) -> Decision {
        Decision::Commit { onset: ms(968), by }
    }

    #[test]
    fn the_bot_is_held_at_once_and_gives_up_the_floor_to_speech() {
        let mut floor = floor(Interrupt::Speech, false);
        assert_eq!(hear(&mut floor, "xxxxxxxx", 1000), [(1000, HOLD), (1160, commit(Sign::Speech))]);
        assert_eq!(floor.holder(), Holder::Caller);
        floor.speech(onset(980), ms(1200));
        floor.speech(offset(1500), ms(1560));
        assert_eq!(floor.deadline(), Some(ms(1700)));
        assert_eq!(floor.timeout(ms(1699)), None);
        assert_eq!(floor.timeout(ms(1700)), Some(Decision::TurnEnded { speech_ended: ms(1500) }));
        assert_eq!(floor.holder(), Holder::Nobody);
    }

    #[test]
    fn a_click_costs_a_quarter_of_a_second() {
        let mut floor = floor(Interrupt::Speech, true);
        let decided = hear(&mut floor, "x..........", 1000);
        assert_eq!(decided, [(1000, HOLD), (1256, Decision::Resume(Mistake::Silence))]);
        assert_eq!(floor.holder(), Holder::Bot);
        assert_eq!(floor.deadline(), None);
    }

    #[test]
    fn the_clock_alone_lets_a_held_bot_go_on() {
        let mut floor = floor(Interrupt::Speech, true);
        hear(&mut floor, "xxx", 1000);
        assert_eq!(floor.deadline(), Some(ms(1064 + 250)));
        assert_eq!(floor.timeout(ms(1314)), Some(Decision::Resume(Mistake::Silence)));
    }

    #[test]
    fn in_a_statement_speech_waits_for_words_and_not_for_long() {
        let mut floor = floor(Interrupt::Speech, true);
        let decided = hear(&mut floor, &"x".repeat(23), 1000);
        assert_eq!(decided, [(1000, HOLD), (1704, commit(Sign::Cap))]);
        let mut floor = self::floor(Interrupt::Speech, true);
        let decided = hear(&mut floor, "xxxxxxxx...............", 1000);
        assert_eq!(decided, [(1000, HOLD), (1704, Decision::Resume(Mistake::NoWords))]);
        assert_eq!(
            floor.words(said("when"), ms(1800)),
            Some(Decision::Commit { onset: ms(1800), by: Sign::Words }),
            "words that are late interrupt by themselves"
        );
    }

    #[test]
    fn words_decide_what_speech_was() {
        for (words, quiet, decision) in [
            ("yeah", true, Some(Decision::Resume(Mistake::Backchannel))),
            ("yeah", false, None),
            ("stop", false, Some(commit(Sign::StopWord))),
            ("tomorrow", true, Some(commit(Sign::Words))),
            ("okay but when is", false, Some(commit(Sign::Words))),
        ] {
            let mut floor = floor(Interrupt::Speech, true);
            hear(&mut floor, if quiet { "xxxxxxxx........" } else { "xxx" }, 1000);
            let at = ms(if quiet { 1490 } else { 1090 });
            assert_eq!(floor.words(said(words), at), decision, "{words}, quiet: {quiet}");
        }
    }

    #[test]
    fn while_a_question_is_open_every_word_counts_and_short_ones_do() {
        let mut floor = floor(Interrupt::Speech, true);
        floor.asks(true);
        assert_eq!(hear(&mut floor, "xxxx", 1000), [(1000, HOLD), (1096, commit(Sign::Speech))]);
        let mut floor = self::floor(Interrupt::Speech, true);
        floor.asks(true);
        assert_eq!(hear(&mut floor, "xx.........", 1000), [(1000, HOLD)], "a short word waits for the recogniser");
        assert_eq!(floor.words(said("yes"), ms(1400)), Some(commit(Sign::Words)));
    }

    #[test]
    fn weak_evidence_makes_the_bot_quieter_and_two_windows_hold_it() {
        let mut floor = floor(Interrupt::Speech, true);
        let decided = hear(&mut floor, "w.w.........", 1000);
        assert_eq!(decided, [(1000, Decision::Duck), (1320, Decision::Resume(Mistake::Silence))]);
        assert_eq!(hear(&mut floor, "ww", 2000), [(2000, Decision::Duck), (2032, Decision::Hold { onset: ms(1968) })]);
    }

    #[test]
    fn after_two_mistakes_evidence_has_to_come_twice() {
        let mut floor = floor(Interrupt::Speech, true);
        for from in [1000, 2000] {
            assert!(matches!(
                hear(&mut floor, "x.........", from)[..],
                [(_, Decision::Hold { .. }), (_, Decision::Resume(_))]
            ));
        }
        assert!(matches!(hear(&mut floor, "x.........", 3000)[..], [(_, Decision::Duck), (_, Decision::Resume(_))]));
        assert!(matches!(hear(&mut floor, "x.........", 63_000)[..], [(_, Decision::Hold { .. }), ..]));
    }

    #[test]
    fn a_voice_that_never_says_a_word_does_not_make_the_bot_stutter() {
        let mut floor = floor(Interrupt::Speech, true);
        let voice = "xxxxxxxx................";
        for from in [1000, 4000, 7000] {
            let decided = hear(&mut floor, voice, from);
            assert!(
                matches!(decided[..], [(_, Decision::Hold { .. }), (_, Decision::Resume(Mistake::NoWords))]),
                "{decided:?}"
            );
        }
        let quieter = [(10_000, Decision::Duck), (10_704, Decision::Resume(Mistake::NoWords))];
        assert_eq!(hear(&mut floor, voice, 10_000), quieter);
        hear(&mut floor, "xxx", 13_000);
        let words = floor.words(said("tomorrow at nine"), ms(13_090));
        assert!(matches!(words, Some(Decision::Commit { by: Sign::Words, .. })), "{words:?}");
        floor.bot_starts();
        assert!(matches!(hear(&mut floor, voice, 15_000)[0], (15_000, Decision::Hold { .. })), "words clear them all");
    }

    #[test]
    fn what_is_better_finished_is_only_made_quieter_until_the_caller_is_sure() {
        let mut floor = floor(Interrupt::Speech, false);
        floor.set_rules(Rules { finish: true, ..floor.rules() });
        assert_eq!(hear(&mut floor, "xxxxxx", 1000), [(1000, Decision::Duck), (1160, commit(Sign::Speech))]);
    }

    /// Whatever is heard, the clock alone ends every doubt within a second, and nothing is decided twice.
    #[test]
    fn every_doubt_leaves_by_the_clock() {
        let mut state = 1_u32;
        let mut dice = |sides: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % sides
        };
        for _ in 0..20_000 {
            let interrupt = [Interrupt::Speech, Interrupt::Words, Interrupt::StopWords][dice(3) as usize];
            let mut floor = floor(interrupt, dice(2) == 0);
            floor.set_rules(Rules { finish: dice(4) == 0, ..floor.rules() });
            floor.asks(dice(2) == 0);
            let mut now = 1000;
            for _ in 0..dice(40) {
                now += 32;
                let evidence = window(dice(2) == 0, dice(3) == 0);
                floor.evidence(&evidence, ms(now), ms(now));
                match dice(12) {
                    0 => {
                        let _ = floor.words(said(["yeah", "when", "stop"][dice(3) as usize]), ms(now));
                    }
                    1 => floor.speech(onset(now), ms(now)),
                    2 => floor.speech(offset(now), ms(now)),
                    3 => {
                        let _ = floor.timeout(ms(now));
                    }
                    _ => {}
                }
            }
            let begins = ms(now);
            let doubted = |floor: &Floor| matches!(floor.bot, Bot::Ducked(_) | Bot::Held(_));
            let mut rounds = 0;
            while doubted(&floor) {
                let due = floor.deadline().expect("a doubt has a deadline");
                assert!(due <= begins + ms(1000), "{floor:?}");
                floor.timeout(due.max(begins));
                rounds += 1;
                assert!(rounds <= 3, "{floor:?}");
            }
        }
    }

    #[test]
    fn only_what_the_step_allows_interrupts() {
        for (interrupt, by_speech, by_word, by_stop_word, by_key) in [
            (Interrupt::Speech, true, true, true, true),
            (Interrupt::Words, false, true, true, true),
            (Interrupt::StopWords, false, false, true, true),
            (Interrupt::Digits, false, false, false, true),
            (Interrupt::Never, false, false, false, false),
        ] {
            let floor = || floor(interrupt, true);
            assert_eq!(!hear(&mut floor(), "xxxx", 1000).is_empty(), by_speech, "{interrupt:?}");
            assert_eq!(floor().words(said("when"), ms(100)).is_some(), by_word, "{interrupt:?}");
            assert_eq!(floor().words(said("stop"), ms(100)).is_some(), by_stop_word, "{interrupt:?}");
            assert_eq!(floor().key(ms(100)).is_some(), by_key, "{interrupt:?}");
            assert_eq!(floor().words(said("uh-huh"), ms(100)), None, "{interrupt:?}");
        }
    }

    #[test]
    fn a_pause_shorter_than_the_endpoint_does_not_end_the_turn() {
        let mut floor = floor(Interrupt::Speech, false);
        floor.bot_ends();
        floor.speech(onset(0), ms(100));
        floor.speech(offset(500), ms(560));
        floor.speech(onset(650), ms(690));
        assert_eq!(floor.timeout(ms(700)), None);
        floor.speech(offset(900), ms(960));
        assert_eq!(floor.timeout(ms(1100)), Some(Decision::TurnEnded { speech_ended: ms(900) }));
    }

    #[test]
    fn speech_over_an_uninterruptible_prompt_is_answered_after_it() {
        let mut floor = floor(Interrupt::Never, true);
        floor.speech(onset(100), ms(200));
        floor.speech(offset(900), ms(960));
        assert_eq!(floor.timeout(ms(5000)), None);
        floor.bot_ends();
        assert_eq!(floor.timeout(ms(5000)), Some(Decision::TurnEnded { speech_ended: ms(900) }));
    }

    #[test]
    fn sound_that_never_ends_is_ended_by_the_clock() {
        let mut floor = floor(Interrupt::Speech, false);
        floor.bot_ends();
        floor.speech(onset(0), ms(100));
        assert_eq!(floor.timeout(ms(60_100)), Some(Decision::TurnEnded { speech_ended: ms(60_100) }));
        assert_eq!(floor.deadline(), None);
    }
}
