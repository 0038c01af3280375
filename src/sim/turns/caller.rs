//! The caller that makes trials of turn-taking, as a pure machine: what it hears and the 20 ms ticks go in, frames go out.
//!
//! One trial follows the other without a break in what is sent, so that noise and echo are those of one telephone. A trial's
//! lead is repeated, back and forth, until the bot has spoken for a while; then the trial goes on to its speech. Whether the
//! bot stopped, and when, is judged afterwards.

use std::sync::Arc;
use std::time::Duration;

use super::earpiece::Earpiece;
use super::{Attempt, Bout};
use crate::sim::audio::FRAME;
use crate::sim::caller::{Action, Failure, Outcome, Tick};
use crate::sim::clock::{Dice, Moment, samples};
use crate::sim::lab::{EchoPath, LiveEcho};
use crate::sim::party::{Heard, Notes, Party};
use crate::sim::timeline::{Mark, MarkKind};
use crate::sim::voice::{Voice, voiced};

/// What one call is to do.
#[derive(Clone)]
pub struct TurnPlan {
    pub called: Arc<str>,
    pub attempts: Vec<Attempt>,
    /// The telephone's echo.
    pub echo: Option<EchoPath>,
    /// How much later than they arrive packets are played, ms.
    pub slack_ms: f64,
    /// How long the bot must have been heard before anybody breaks in.
    pub bot_speaks_first: Duration,
    /// The longest the call may take.
    pub patience: Duration,
}

/// A call's caller.
pub struct TurnCaller {
    plan: TurnPlan,
    dice: Dice,
    bot: Voice,
    telephone: Option<Telephone>,
    /// The attempt that is being made.
    current: usize,
    playing: Option<Playing>,
    answered: Option<Moment>,
    outcome: Option<Outcome>,
    marks: Vec<Mark>,
    bouts: Vec<Bout>,
}

struct Telephone {
    earpiece: Earpiece,
    echo: Option<LiveEcho>,
}

/// An attempt under way.
struct Playing {
    from: Moment,
    /// The sample that comes next, and whether the lead is being read backwards.
    at: usize,
    backwards: bool,
    /// How long the bot has to have been heard, with this attempt's share of chance.
    bot_speaks_first: Duration,
    /// Where the lead may be left.
    gate: usize,
    through: bool,
    introduced: Option<Moment>,
    speech: (Option<Moment>, Option<Moment>),
}

impl TurnCaller {
    pub fn new(plan: TurnPlan, dice: Dice) -> Self {
        Self {
            plan,
            dice,
            bot: Voice::new(PAUSE),
            telephone: None,
            current: 0,
            playing: None,
            answered: None,
            outcome: None,
            marks: Vec::new(),
            bouts: Vec::new(),
        }
    }

    /// The next 20 ms of the attempts, without echo; `None` when all have been made.
    fn frame(&mut self, now: Moment) -> Option<[f32; FRAME]> {
        let mut frame = [0.0; FRAME];
        for (index, place) in frame.iter_mut().enumerate() {
            *place = f32::from(self.sample(now + samples(index))?);
        }
        Some(frame)
    }

    fn sample(&mut self, at: Moment) -> Option<i16> {
        loop {
            let attempt = self.plan.attempts.get(self.current)?;
            let playing = match &mut self.playing {
                Some(playing) => playing,
                none => none.insert(Playing::begin(attempt, at, &mut self.dice, self.plan.bot_speaks_first)),
            };
            let spoken = || self.bot.current(at).map_or(Duration::ZERO, |span| at.saturating_sub(span.from));
            if let Some(sample) = playing.next(attempt, at, spoken) {
                return Some(sample);
            }
            let speech = playing.speech.0.zip(playing.speech.1);
            if let Some((onset, end)) = speech {
                self.marks.push(Mark {
                    at: onset,
                    kind: MarkKind::Onset(attempt.words.clone().unwrap_or_else(|| "".into())),
                });
                self.marks.push(Mark { at: end, kind: MarkKind::SpeechEnd });
            }
            let Attempt { condition, noise, .. } = *attempt;
            let words = attempt.words.clone();
            let Playing { from, introduced, .. } = *playing;
            self.bouts.push(Bout { condition, noise, words, from, to: at, introduced, speech });
            self.playing = None;
            self.current += 1;
        }
    }

    fn fail(&mut self, at: Moment, why: String) {
        if self.outcome.is_none() {
            let step = match self.answered {
                Some(_) => format!("trial {}", self.current + 1),
                None => "setup".to_owned(),
            };
            self.marks.push(Mark { at, kind: MarkKind::Failed });
            self.outcome = Some(Outcome::Failed(Failure { at, step, why }));
        }
    }
}

impl Playing {
    fn begin(attempt: &Attempt, from: Moment, dice: &mut Dice, least: Duration) -> Self {
        let gate = attempt.speech.map_or(0, |(onset, _)| onset.saturating_sub(BEFORE_ONSET));
        Self {
            from,
            at: 0,
            backwards: false,
            bot_speaks_first: least + CHANCE.mul_f64(dice.unit()),
            gate,
            through: attempt.speech.is_none(),
            introduced: None,
            speech: (None, None),
        }
    }

    /// The next sample; `None` behind the last one.
    fn next(&mut self, attempt: &Attempt, now: Moment, spoken: impl Fn() -> Duration) -> Option<i16> {
        if !self.through && self.at >= self.gate {
            // Looked at once per passage of the lead's end, and of its beginning on the way back.
            self.through = now > self.from + LONGEST_LEAD
                || spoken() + samples(attempt.speech.map_or(0, |(onset, _)| onset - self.gate))
                    >= self.bot_speaks_first;
            self.backwards = !self.through;
        }
        if self.backwards {
            self.at = self.at.saturating_sub(1);
            self.backwards = self.at > self.gate.saturating_sub(LOOP);
            return attempt.audio.get(self.at).copied();
        }
        let sample = attempt.audio.get(self.at).copied()?;
        if self.at + 1 == attempt.intro {
            self.introduced = Some(now + samples(1));
        }
        if let Some((onset, end)) = attempt.speech {
            if self.at == onset {
                self.speech.0 = Some(now);
            }
            if self.at + 1 == end.min(attempt.audio.len()) {
                self.speech.1 = Some(now + samples(1));
            }
        }
        self.at += 1;
        Some(sample)
    }
}

impl Telephone {
    fn new(plan: &TurnPlan, now: Moment) -> Self {
        // What is recorded in the 20 ms before a packet leaves is what the packet holds.
        let from = now.saturating_sub(samples(FRAME));
        Self { earpiece: Earpiece::new(from, plan.slack_ms), echo: plan.echo.as_ref().map(EchoPath::live) }
    }

    fn add_echo(&mut self, frame: &mut [f32; FRAME]) {
        let (mut played, mut echo) = ([0.0; FRAME], [0.0; FRAME]);
        self.earpiece.play(&mut played);
        if let Some(path) = &mut self.echo {
            path.block(&played, &mut echo);
        }
        frame.iter_mut().zip(echo).for_each(|(sample, echo)| *sample += echo);
    }
}

impl Party for TurnCaller {
    fn called(&self) -> Arc<str> {
        Arc::clone(&self.plan.called)
    }

    fn answered(&mut self, at: Moment) {
        self.answered = Some(at);
        self.marks.push(Mark { at, kind: MarkKind::Answered });
    }

    fn hear(&mut self, heard: Heard<'_>) {
        if let Some(telephone) = &mut self.telephone {
            telephone.earpiece.hear(heard);
        }
        voiced(heard.at, heard.octets, |from, to| self.bot.add(from, to));
    }

    fn ended(&mut self, at: Moment, why: &str) {
        self.fail(at, why.to_owned());
    }

    fn mark(&mut self, at: Moment, kind: MarkKind) {
        self.marks.push(Mark { at, kind });
    }

    fn tick(&mut self, now: Moment) -> Tick {
        let Some(answered) = self.answered.filter(|_| self.outcome.is_none()) else {
            return Tick { frame: None, action: None };
        };
        if now > answered + self.plan.patience {
            let said = self.plan.attempts.get(self.current).map_or("", |attempt| attempt.condition.name);
            self.fail(now, format!("not over after {} s, in \"{said}\"", self.plan.patience.as_secs()));
        }
        let Some(mut frame) = self.frame(now).filter(|_| self.outcome.is_none()) else {
            self.outcome.get_or_insert(Outcome::AsScripted);
            self.marks.push(Mark { at: now, kind: MarkKind::HungUp });
            return Tick { frame: None, action: Some(Action::HangUp) };
        };
        let plan = &self.plan;
        self.telephone.get_or_insert_with(|| Telephone::new(plan, now)).add_echo(&mut frame);
        let frame = frame.map(|sample| sample.round().clamp(-32768.0, 32767.0) as i16);
        Tick { frame: Some(frame), action: None }
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn into_notes(self: Box<Self>) -> Notes {
        Notes { marks: self.marks, trials: Vec::new(), bouts: self.bouts }
    }
}

/// The lead is left this long before the speech at the latest, so that the noise around an onset is as it was recorded.
const BEFORE_ONSET: usize = 1600;
/// At most so much of the lead is repeated.
const LOOP: usize = 4000;
/// A bot that noise keeps silent is spoken to all the same.
const LONGEST_LEAD: Duration = Duration::from_secs(20);
/// Between the bot's words and within them there are breaks of up to so much; one that is held is silent for longer.
const PAUSE: Duration = Duration::from_millis(200);
/// Up to so much longer than demanded the bot is left to speak.
const CHANCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::ulaw;
    use crate::sim::lab::ONSETS;

    const BEGAN: Duration = Duration::from_secs(7);

    fn attempt() -> Attempt {
        let mut audio = vec![10i16; 16_000];
        audio[8000..12_000].fill(3000);
        let speech = Some((8000, 12_000));
        Attempt { condition: &ONSETS[0], noise: "pink", words: None, intro: 0, audio: audio.into(), speech }
    }

    fn plan(attempts: Vec<Attempt>, echo: Option<EchoPath>) -> TurnPlan {
        TurnPlan {
            called: "2000".into(),
            attempts,
            echo,
            slack_ms: 5.0,
            bot_speaks_first: Duration::from_millis(700),
            patience: Duration::from_secs(60),
        }
    }

    /// Runs a call in which the bot speaks from `bot_from_ms` on, with a break of 100 ms in each 600; gives what was sent and the notes.
    fn run(plan: TurnPlan, bot_from_ms: u64) -> (Vec<i16>, Notes) {
        let mut caller: Box<dyn Party> = Box::new(TurnCaller::new(plan, Dice::new(1, 1, 1)));
        let ms = Duration::from_millis;
        caller.answered(BEGAN);
        let octets: Vec<u8> = (0..FRAME).map(|n| ulaw(if n % 8 < 4 { 4000 } else { -4000 })).collect();
        let mut sent = Vec::new();
        for tick in 0..1500u64 {
            let now = BEGAN + ms(tick * 20);
            if tick * 20 >= bot_from_ms && tick % 30 < 25 {
                caller.hear(Heard { at: now, timestamp: Some(tick as u32 * 160), octets: &octets });
            }
            match caller.tick(now) {
                Tick { frame: Some(frame), .. } => sent.extend(frame),
                Tick { action: Some(Action::HangUp), .. } => break,
                Tick { .. } => {}
            }
        }
        (sent, caller.into_notes())
    }

    #[test]
    fn speech_waits_until_the_bot_has_spoken_for_a_while_and_its_times_are_those_of_the_samples() {
        let (sent, notes) = run(plan(vec![attempt(), attempt()], None), 3000);
        assert_eq!(notes.bouts.len(), 2);
        for bout in &notes.bouts {
            let (onset, end) = bout.speech.unwrap();
            let onset_in_call = onset - BEGAN;
            assert!(onset_in_call >= Duration::from_millis(3690), "{onset_in_call:?}");
            assert!(bout.to - bout.from <= Duration::from_secs(8), "breaks between words are no end: {bout:?}");
            assert_eq!(end - onset, samples(4000));
            let first = (onset_in_call.as_micros() / 125) as usize;
            assert_eq!((sent[first - 1], sent[first], sent[first + 3999], sent[first + 4000]), (10, 3000, 3000, 10));
        }
        assert_eq!(notes.bouts[0].to, notes.bouts[1].from, "one follows the other without a break");
    }

    #[test]
    fn a_bot_that_never_speaks_is_spoken_to_all_the_same() {
        let (_, notes) = run(plan(vec![attempt()], None), 60_000);
        assert!(notes.bouts[0].to - notes.bouts[0].from <= Duration::from_secs(25), "{:?}", notes.bouts);
        assert!(notes.bouts[0].speech.is_some());
    }

    #[test]
    fn what_is_received_comes_back_through_the_path() {
        let taps: Arc<[f32]> = vec![0.5].into();
        let path = EchoPath { taps, delay_ms: 100.0, erl_db: 6.0, saturation: None, jumps_every_s: None, seed: 1 };
        let (sent, _) = run(plan(vec![attempt()], Some(path)), 1000);
        let first = sent.iter().position(|sample| sample.abs() > 1500).unwrap();
        // Received from 1.0 s on, played 5 ms later, 100 ms on the way, and recorded before it is sent.
        assert_eq!(first, (1000 + 5 + 100 + 20) * 8);
    }
}
