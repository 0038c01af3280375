//! One simulated caller, as a pure machine: what it hears and the 20 ms ticks go in, frames and actions come out.
//!
//! It plays its scenario step by step and writes down what it did when; whether that was fast enough is judged
//! afterwards by `analysis`. Deliberately absent: sockets, clocks and anything about how the call is carried.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::audio::{FRAME, Recording, white_noise};
use super::clock::{Dice, Moment, ms_between, samples};
use super::scenario::{HearToEnd, NoiseBurst, Say, Scenario, Step, When};
use super::timeline::{Mark, MarkKind, Trial};
use super::voice::{BREAK, UTTERANCE, Voice, voiced};

/// The recordings that callers may play, by the name that scenarios give them.
pub type Recordings = Arc<HashMap<String, Recording>>;

/// What a caller does at a tick besides sending its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Press(char),
    HangUp,
}

/// One tick's doings.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The next 20 ms to send; `None` is silence.
    pub frame: Option<[i16; FRAME]>,
    pub action: Option<Action>,
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    AsScripted,
    Failed(Failure),
}

/// Where a call left its scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub at: Moment,
    /// The step's place (from 1) and name.
    pub step: String,
    pub why: String,
}

/// A caller with a scenario to play.
pub struct Caller {
    scenario: Arc<Scenario>,
    recordings: Recordings,
    dice: Dice,
    utterances: Voice,
    breaks: Voice,
    step: usize,
    entered: Moment,
    /// The present step's own delay, drawn when it begins.
    spread: Duration,
    mouth: Option<Mouth>,
    last: LastAction,
    answered: Option<Moment>,
    outcome: Option<Outcome>,
    marks: Vec<Mark>,
    trials: Vec<Trial>,
}

impl Caller {
    pub fn new(scenario: Arc<Scenario>, recordings: Recordings, dice: Dice) -> Self {
        Self {
            scenario,
            recordings,
            dice,
            utterances: Voice::new(UTTERANCE),
            breaks: Voice::new(BREAK),
            step: 0,
            entered: Moment::ZERO,
            spread: Duration::ZERO,
            mouth: None,
            last: LastAction::default(),
            answered: None,
            outcome: None,
            marks: Vec::new(),
            trials: Vec::new(),
        }
    }

    /// The number to call.
    pub fn called(&self) -> Arc<str> {
        Arc::clone(&self.scenario.called)
    }

    /// The call was answered: the scenario begins.
    pub fn answered(&mut self, at: Moment) {
        self.answered = Some(at);
        self.mark(at, MarkKind::Answered);
        self.enter(0, at);
    }

    /// Audio is heard whose first sample is at `at` (G.711 mu-law).
    pub fn hear(&mut self, at: Moment, octets: &[u8]) {
        voiced(at, octets, |from, to| {
            self.utterances.add(from, to);
            self.breaks.add(from, to);
        });
    }

    /// The other side ended the call, or the line broke.
    pub fn ended(&mut self, at: Moment, why: &str) {
        if self.outcome.is_some() {
            return;
        }
        match self.scenario.steps.get(self.step) {
            Some(Step::ExpectHangUpWithinMs(_)) if self.step + 1 == self.scenario.steps.len() => self.finish(),
            Some(Step::ExpectHangUpWithinMs(_)) => self.fail(at, "the call ended before the scenario did".into()),
            // Where vendors fail, a call may end early: with words, not with a click.
            Some(_) if self.scenario.chaos.is_some() && self.heard_lately(at) => self.finish(),
            _ => self.fail(at, why.to_owned()),
        }
    }

    fn heard_lately(&self, at: Moment) -> bool {
        self.utterances.spans().last().is_some_and(|span| at.saturating_sub(span.to) < LAST_WORDS)
    }

    /// Notes something of the line for the drawing.
    pub fn mark(&mut self, at: Moment, kind: MarkKind) {
        self.marks.push(Mark { at, kind });
    }

    /// The next 20 ms: called when the frame is about to be sent, so `now` is the time of its first sample.
    pub fn tick(&mut self, now: Moment) -> Tick {
        let Some(answered) = self.answered.filter(|_| self.outcome.is_none()) else {
            return Tick { frame: None, action: None };
        };
        if now > answered + millis(self.scenario.patience_ms) {
            self.fail(now, format!("not over after {} ms", self.scenario.patience_ms));
        }
        let action = self.advance(now);
        if self.outcome.is_some() && action.is_none() {
            return Tick { frame: None, action: Some(Action::HangUp) };
        }
        Tick { frame: self.speak(now), action }
    }

    /// How the call went, once that is decided.
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What the caller did: marks to draw and trials to measure.
    pub fn into_notes(self) -> (Vec<Mark>, Vec<Trial>) {
        (self.marks, self.trials)
    }

    /// Takes steps until one has to wait.
    fn advance(&mut self, now: Moment) -> Option<Action> {
        while self.outcome.is_none() {
            let Some(step) = self.scenario.steps.get(self.step).cloned() else {
                self.finish();
                return Some(Action::HangUp);
            };
            match self.attempt(&step, now) {
                Progress::Wait => return None,
                Progress::Next => self.enter(self.step + 1, now),
                Progress::Act(action) => {
                    self.enter(self.step + 1, now);
                    return Some(action);
                }
                Progress::Fail(why) => self.fail(now, why),
            }
        }
        None
    }

    fn attempt(&mut self, step: &Step, now: Moment) -> Progress {
        match step {
            Step::WaitForSpeech(within) => match self.utterances.current(now) {
                Some(_) => Progress::Next,
                None => self.wait_until(now, within.within_ms, "the bot was not heard"),
            },
            Step::Say(say) => self.say(say, now),
            Step::NoiseBurst(noise) => self.make_noise(noise, now),
            Step::Key(key) if self.mouth.is_none() => self.press(key.symbol(), now),
            Step::ExpectSilenceWithinMs(within) => self.expect_silence(*within, now),
            Step::ExpectSpeech(expect) => self.expect_speech(expect.within_ms, expect.known_delay_ms, now),
            Step::ExpectStillSpeaking(still) => self.expect_still_speaking(still.for_ms, now),
            Step::HearToEnd(hear) => self.hear_to_end(hear, now),
            Step::PauseMs(ms) if now >= self.entered + millis(*ms) => Progress::Next,
            Step::ExpectHangUpWithinMs(within) => self.wait_until(now, *within, "the bot did not hang up"),
            Step::HangUp => self.hang_up(now),
            Step::Key(_) | Step::PauseMs(_) => Progress::Wait,
        }
    }

    fn say(&mut self, say: &Say, now: Moment) -> Progress {
        if !self.due(&say.at, now) {
            return self.wait_until(now, LONGEST_WAIT_MS, "the bot never spoke long enough to be spoken to");
        }
        let names = say.audio.names();
        let name = names.get(self.dice.below(names.len())).map_or("", String::as_str);
        let Some(recording) = self.recordings.get(name) else {
            return Progress::Fail(format!("no recording `{name}`"));
        };
        let recording = say.level_dbfs.map_or_else(|| recording.clone(), |level| recording.at_level(level));
        self.open_mouth(recording, true, now);
        Progress::Next
    }

    fn make_noise(&mut self, noise: &NoiseBurst, now: Moment) -> Progress {
        if !self.due(&noise.at, now) {
            return self.wait_until(now, LONGEST_WAIT_MS, "the bot never spoke long enough for the noise");
        }
        let length = noise.ms as usize * 8;
        let samples = white_noise(length, noise.level_dbfs, &mut self.dice).into();
        self.open_mouth(Recording { name: "noise".into(), samples, onset: 0, end: length }, false, now);
        Progress::Next
    }

    fn press(&mut self, key: char, now: Moment) -> Progress {
        self.mark(now, MarkKind::Key(key));
        self.last = LastAction { began: Some(now), ended: Some(now), was_key: true };
        Progress::Act(Action::Press(key))
    }

    fn hang_up(&mut self, now: Moment) -> Progress {
        self.finish();
        self.mark(now, MarkKind::HungUp);
        Progress::Act(Action::HangUp)
    }

    fn expect_silence(&mut self, within_ms: u32, now: Moment) -> Progress {
        let Some(onset) = self.last.began else {
            return self.wait_until(now, LONGEST_WAIT_MS, "the caller said nothing");
        };
        let Some(span) = self.utterances.stop_after(onset) else {
            let had_its_chance = now > onset + UTTERANCE;
            return if had_its_chance {
                Progress::Fail("the bot was not speaking when the caller began".into())
            } else {
                Progress::Wait
            };
        };
        if span.to > onset + millis(within_ms) {
            return Progress::Fail(format!("still heard {:.0} ms after the caller began", ms_between(span.to, onset)));
        }
        if now < span.to + UTTERANCE {
            return Progress::Wait;
        }
        if !self.last.was_key {
            self.trials.push(Trial::BargeIn { onset });
        }
        Progress::Next
    }

    fn expect_speech(&mut self, within_ms: u32, known_ms: Option<u32>, now: Moment) -> Progress {
        let (Some(end), None) = (self.last.ended, self.mouth.as_ref()) else { return Progress::Wait };
        let spoke_on = self.utterances.span_at(end).is_some();
        if spoke_on && !self.last.was_key {
            return Progress::Fail("the bot was speaking when the caller finished".into());
        }
        if spoke_on {
            // The key came while the bot spoke, and where its answer begins cannot be told by ear.
            return Progress::Next;
        }
        if self.utterances.first_from(end).is_some() {
            let key = Trial::Key { at: end, known_ms };
            self.trials.push(if self.last.was_key { key } else { Trial::Response { end, known_ms } });
            return Progress::Next;
        }
        if now > end + millis(within_ms) {
            return Progress::Fail(format!("the bot was not heard within {within_ms} ms of the caller's end"));
        }
        Progress::Wait
    }

    fn expect_still_speaking(&mut self, for_ms: u32, now: Moment) -> Progress {
        let from = self.last.began.unwrap_or(self.entered);
        let until = from + millis(for_ms);
        let gap = stop_between(&self.breaks, from, until.min(now));
        if now < until && gap.is_none() {
            return Progress::Wait;
        }
        self.trials.push(Trial::Noise { from, until });
        match gap {
            Some(at) => {
                Progress::Fail(format!("the bot fell silent {:.0} ms after the noise began", ms_between(at, from)))
            }
            None => Progress::Next,
        }
    }

    fn hear_to_end(&mut self, hear: &HearToEnd, now: Moment) -> Progress {
        if self.mouth.is_some() {
            return Progress::Wait;
        }
        let mut heard = self.utterances.spans().iter().filter(|s| s.to > self.entered);
        let first = heard.next();
        let last = heard.next_back().or(first).filter(|s| now >= s.to + millis(hear.silence_ms));
        let (Some(first), Some(last)) = (first, last) else {
            return self.wait_until(now, hear.within_ms, "the bot had not finished");
        };
        let lasted = ms_between(last.to, first.from);
        if lasted < f64::from(hear.at_least_ms) {
            return Progress::Fail(format!("the bot spoke for {lasted:.0} ms, expected {} ms", hear.at_least_ms));
        }
        Progress::Next
    }

    fn due(&self, when: &When, now: Moment) -> bool {
        if self.mouth.is_some() {
            return false;
        }
        let step_old_enough = now >= self.entered + millis(when.after_ms.unwrap_or(0));
        let bot_heard_enough = when.after_speech_ms.is_none_or(|ms| {
            self.utterances.current(now).is_some_and(|span| now >= span.from + millis(ms) + self.spread)
        });
        let spread =
            when.after_speech_ms.is_some() || now >= self.entered + millis(when.after_ms.unwrap_or(0)) + self.spread;
        step_old_enough && bot_heard_enough && spread
    }

    fn wait_until(&self, now: Moment, within_ms: u32, why: &str) -> Progress {
        if now > self.entered + millis(within_ms) {
            Progress::Fail(format!("{why} within {within_ms} ms"))
        } else {
            Progress::Wait
        }
    }

    fn enter(&mut self, step: usize, now: Moment) {
        self.step = step;
        self.entered = now;
        let Some(next) = self.scenario.steps.get(step) else { return };
        let spread_ms = match next {
            Step::Say(Say { at, .. }) | Step::NoiseBurst(NoiseBurst { at, .. }) => at.spread_ms,
            _ => 0,
        };
        self.spread = Duration::from_secs_f64(f64::from(spread_ms) / 1000.0 * self.dice.unit());
        self.marks.push(Mark { at: now, kind: MarkKind::Step(next.name()) });
    }

    fn open_mouth(&mut self, recording: Recording, speech: bool, now: Moment) {
        // Speech begins anywhere inside a frame, as it does on a real line.
        let lead = self.dice.below(FRAME);
        self.last = LastAction { began: (!speech).then(|| now + samples(lead)), ended: None, was_key: false };
        self.mouth = Some(Mouth { recording, lead, played: 0, speech });
    }

    /// Makes the frame that is sent at `now` and notes the times of the labels inside it.
    fn speak(&mut self, now: Moment) -> Option<[i16; FRAME]> {
        let mut mouth = self.mouth.take()?;
        let mut frame = [0i16; FRAME];
        let lead = std::mem::take(&mut mouth.lead);
        let from = mouth.played;
        let rest = mouth.recording.samples.get(from..).unwrap_or_default();
        let taken = frame.iter_mut().skip(lead).zip(rest).map(|(slot, &sample)| *slot = sample).count();
        mouth.played += taken;
        let inside = |label: usize| (from..mouth.played).contains(&label).then(|| now + samples(lead + label - from));
        let (began, ended) = if mouth.speech {
            (MarkKind::Onset(mouth.recording.name.clone()), MarkKind::SpeechEnd)
        } else {
            (MarkKind::NoiseBegan, MarkKind::NoiseEnded)
        };
        if let Some(at) = inside(mouth.recording.onset) {
            self.last.began = Some(at);
            self.mark(at, began);
        }
        if let Some(at) = inside(mouth.recording.end.saturating_sub(1)) {
            self.last.ended = Some(at + samples(1));
            self.mark(at + samples(1), ended);
        }
        self.mouth = (mouth.played < mouth.recording.samples.len()).then_some(mouth);
        Some(frame)
    }

    fn finish(&mut self) {
        self.outcome.get_or_insert(Outcome::AsScripted);
    }

    fn fail(&mut self, at: Moment, why: String) {
        if self.outcome.is_some() {
            return;
        }
        let name = self.scenario.steps.get(self.step).map_or("end", Step::name);
        let step = if self.answered.is_some() { format!("{} {name}", self.step + 1) } else { "setup".to_owned() };
        self.mark(at, MarkKind::Failed);
        self.outcome = Some(Outcome::Failed(Failure { at, step, why }));
    }
}

/// The first moment in `from..until` from which nothing was heard for longer than [`BREAK`], or until `until`.
pub fn stop_between(breaks: &Voice, from: Moment, until: Moment) -> Option<Moment> {
    let Some(span) = breaks.span_at(from) else { return (until > from + BREAK).then_some(from) };
    (span.to + BREAK <= until).then_some(span.to)
}

enum Progress {
    Wait,
    Next,
    Act(Action),
    Fail(String),
}

/// A recording being played.
struct Mouth {
    recording: Recording,
    /// Silent samples before it, in its first frame.
    lead: usize,
    played: usize,
    speech: bool,
}

/// What expectations count from.
#[derive(Default)]
struct LastAction {
    began: Option<Moment>,
    ended: Option<Moment>,
    was_key: bool,
}

const LONGEST_WAIT_MS: u32 = 30_000;

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// The server's last words are so recent when it hangs up.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::ulaw;

    const STEP: Duration = Duration::from_millis(20);

    /// A bot that speaks from `speaks` and is silent `stops_after` an onset, then answers `answers_after` the end.
    struct Bot {
        from: Moment,
        stops_after: Duration,
        answers_after: Duration,
        lasts: Duration,
    }

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn recordings() -> Recordings {
        let mut samples = vec![0i16; 800];
        samples.extend((0..4800).map(|i| if i % 2 == 0 { 3000 } else { -3000 }));
        let recording = Recording { name: "hi".into(), samples: samples.into(), onset: 800, end: 5600 };
        Arc::new([("hi".to_owned(), recording)].into())
    }

    fn caller(steps: &str) -> Caller {
        let yaml = format!("name: t\ncall: \"1000\"\nsteps:\n{steps}");
        let scenario = Scenario::parse("t.yaml", &yaml).unwrap();
        let mut caller = Caller::new(Arc::new(scenario), recordings(), Dice::new(1, 1, 1));
        caller.answered(Moment::ZERO);
        caller
    }

    fn is_audible(bot: &Bot, caller: &Caller, now: Moment) -> bool {
        match (caller.last.began, caller.last.ended) {
            (Some(_), Some(end)) if now >= end + bot.answers_after => true,
            (Some(onset), _) if now >= onset + bot.stops_after => false,
            _ => now >= bot.from && now < bot.from + bot.lasts,
        }
    }

    fn play(mut caller: Caller, bot: &Bot) -> (Vec<(Moment, Action)>, Caller) {
        let voice: Vec<u8> = (0..FRAME).map(|i| ulaw(if i % 2 == 0 { 5000 } else { -5000 })).collect();
        let mut actions = Vec::new();
        for tick in 0..2000u32 {
            let now = STEP * tick;
            if is_audible(bot, &caller, now) {
                caller.hear(now, &voice);
            }
            actions.extend(caller.tick(now).action.map(|action| (now, action)));
            if caller.outcome().is_some() {
                break;
            }
        }
        (actions, caller)
    }

    fn good_bot() -> Bot {
        Bot { from: at(100), stops_after: at(160), answers_after: at(220), lasts: at(10_000) }
    }

    const BARGE_IN: &str = "  - wait_for_speech: {within_ms: 500}
  - say: {audio: hi, at: {after_speech_ms: 1000}}
  - expect_silence_within_ms: 400
  - expect_speech: {within_ms: 500, known_delay_ms: 200}
  - hang_up
";

    #[test]
    fn a_barge_in_goes_as_scripted_and_leaves_its_trials() {
        let (actions, caller) = play(caller(BARGE_IN), &good_bot());
        assert_eq!(caller.outcome(), Some(&Outcome::AsScripted));
        assert_eq!(actions.last().map(|a| a.1), Some(Action::HangUp));
        let (marks, trials) = caller.into_notes();
        let [Trial::BargeIn { onset }, Trial::Response { end, known_ms: Some(200) }] = trials[..] else {
            panic!("{trials:?}")
        };
        assert!(onset >= at(1200) && onset < at(1240), "speech at 1100 to 1120 ms, its onset 100 ms in: {onset:?}");
        assert_eq!(end - onset, samples(4800));
        assert!(marks.contains(&Mark { at: onset, kind: MarkKind::Onset("hi".into()) }));
    }

    #[test]
    fn a_bot_that_speaks_on_fails_the_call_at_that_step() {
        let (_, caller) = play(caller(BARGE_IN), &Bot { stops_after: at(700), ..good_bot() });
        let Some(Outcome::Failed(failure)) = caller.outcome() else { panic!() };
        assert_eq!(failure.step, "3 expect_silence_within_ms");
        assert!(failure.why.contains("still heard"), "{}", failure.why);
    }

    #[test]
    fn a_bot_that_never_answers_fails_the_call() {
        let (_, caller) = play(caller(BARGE_IN), &Bot { answers_after: at(9000), ..good_bot() });
        let Some(Outcome::Failed(failure)) = caller.outcome() else { panic!() };
        assert_eq!(failure.step, "4 expect_speech");
    }

    const NOISE: &str = "  - noise_burst: {kind: white, ms: 120, level_dbfs: -20, at: {after_speech_ms: 500}}
  - expect_still_speaking: {for_ms: 800}
  - hear_to_end: {within_ms: 12000, at_least_ms: 9900}
";

    #[test]
    fn a_noise_that_stops_nothing_passes_and_one_that_does_fails() {
        let steady = Bot { stops_after: at(60_000), answers_after: at(60_000), ..good_bot() };
        assert_eq!(play(caller(NOISE), &steady).1.outcome(), Some(&Outcome::AsScripted));
        let nervous = Bot { stops_after: at(200), ..steady };
        let (_, caller) = play(caller(NOISE), &nervous);
        let Some(Outcome::Failed(failure)) = caller.outcome() else { panic!() };
        assert!(failure.why.contains("fell silent 2"), "{}", failure.why);
    }

    #[test]
    fn the_end_of_the_call_is_a_failure_unless_it_was_expected() {
        let mut surprised = caller(BARGE_IN);
        surprised.tick(at(20));
        surprised.ended(at(30), "the bot hung up");
        assert!(matches!(surprised.outcome(), Some(Outcome::Failed(f)) if f.why == "the bot hung up"));
        let mut content = caller("  - expect_hang_up_within_ms: 100\n");
        content.tick(at(20));
        content.ended(at(30), "the bot hung up");
        assert_eq!(content.outcome(), Some(&Outcome::AsScripted));
    }

    #[test]
    fn keys_are_pressed_after_the_bot_has_finished() {
        let steps = "  - hear_to_end: {within_ms: 2000}\n  - key: \"1\"\n  - expect_speech_within_ms: 500\n";
        let bot = Bot { lasts: at(500), answers_after: at(100), ..good_bot() };
        let (actions, caller) = play(caller(steps), &bot);
        assert_eq!(actions[0], (at(1300), Action::Press('1')), "600 ms of speech plus 700 ms of silence");
        assert_eq!(caller.outcome(), Some(&Outcome::AsScripted));
        assert_eq!(caller.into_notes().1, [Trial::Key { at: at(1300), known_ms: None }]);
    }
}
