//! One trial: what a caller's telephone picks up, what the bot says meanwhile, and when speech truly begins and ends.
//!
//! A trial is made from its seed, its condition and its number alone, so that any one of a run can be made again by itself.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::FRAME;
use offhook_media::level::amplitude;

use super::condition::{Condition, Echo, Speech};
use super::echo::{EchoPath, EchoWish};
use super::signal::{
    MobileCoding, RATE, active_dbfs, add, between, choose, gain, normal, ratio, seconds, through_mu_law, to_pcm,
};
use super::voices::{Split, Utterance, Voices};
use crate::sim::clock::{Dice, samples};
use crate::sim::network::Network;

/// Makes the trials of a run.
#[derive(Clone, Debug)]
pub struct Trials {
    pub(super) voices: Arc<Voices>,
    pub(super) split: Split,
    seed: u64,
    /// Who speaks in all of them, if it is one person.
    caller: Option<Person>,
}

/// One person at one telephone.
#[derive(Clone, Copy, Debug)]
struct Person {
    /// Decides the reader.
    reader: u64,
    level_dbfs: f32,
}

/// See the module's header. Samples are linear, 8 kHz.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Decides what is drawn for it afterwards: losses, the phase of the tick.
    pub id: u64,
    /// Which trial of its condition.
    pub number: u64,
    pub condition: &'static Condition,
    /// Before this sample the bot is silent and the caller may say something; it is none where that is not wanted.
    pub intro: usize,
    /// What leaves the caller's telephone, without echo: speech and noise. Whole frames.
    pub caller: Arc<[i16]>,
    /// What was said, as `reader/file`; none where nothing is said.
    pub words: Option<Arc<str>>,
    /// The noise that was drawn.
    pub noise: &'static str,
    /// First sample of speech.
    pub onset: Option<usize>,
    /// One past the last sample of speech.
    pub end: Option<usize>,
    pub echo: Option<EchoPath>,
    /// What the bot says in that time, through mu-law; as long as `caller`.
    pub bot: Arc<[i16]>,
    /// A mobile telephone's codec lies in the way.
    pub mobile: bool,
}

/// What the server gets in one 20 ms of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Samples of delay behind the moment at which the packet's last sample was spoken.
    pub late: usize,
    pub lost: bool,
}

impl Trials {
    pub const fn new(voices: Arc<Voices>, split: Split, seed: u64) -> Self {
        Self { voices, split, seed, caller: None }
    }

    /// The same trials with one person speaking in all of them, as in a call: always the same reader, at much the same level.
    #[must_use]
    pub fn of_one_caller(&self, call: u64) -> Self {
        let dice = &mut Dice::new(self.seed, call, PERSON);
        let caller = Some(Person { reader: dice.bits(), level_dbfs: level(dice) });
        Self { caller, ..self.clone() }
    }

    /// The trial of this number under a condition in which a caller speaks; none where the voices have nothing to say.
    pub fn onset(&self, condition: &'static Condition, number: u64) -> Option<Trial> {
        let dice = &mut self.dice(condition, number);
        let utterance = self.utterance(condition, dice)?;
        let level = match self.caller {
            Some(person) => person.level_dbfs + again(dice),
            None => level(dice),
        };
        let speech = Said::cut(utterance, level);
        let begins = seconds(between(dice, condition.lead_s.0, condition.lead_s.1));
        let from = begins.saturating_sub(speech.onset);
        let length = (from + speech.wave.len() + seconds(AFTER_S)).next_multiple_of(FRAME);
        let intro = self.intro(condition, dice, level);
        let from = intro.len() + from;
        let (mut wave, noise) = self.background(condition, dice, intro.len() + length, level);
        add(&mut wave, &intro);
        add(&mut wave[from..], &speech.wave);
        let mut trial = self.line(condition, dice, wave, intro.len());
        (trial.number, trial.noise, trial.words) = (number, noise, Some(utterance.name.clone()));
        (trial.onset, trial.end) = (Some(from + speech.onset), Some(from + speech.end));
        Some(trial)
    }

    /// A trial of this length, s, in which nobody speaks to the bot.
    pub fn quiet(&self, condition: &'static Condition, number: u64, length_s: f32) -> Trial {
        let dice = &mut self.dice(condition, number);
        let intro = self.intro(condition, dice, -26.0);
        let length = seconds(length_s) / FRAME * FRAME;
        let (mut wave, noise) = self.background(condition, dice, intro.len() + length, -26.0);
        add(&mut wave, &intro);
        Trial { number, noise, ..self.line(condition, dice, wave, intro.len()) }
    }

    pub(super) fn dice(&self, condition: &Condition, number: u64) -> Dice {
        // By name and not by place in the table: a row more must not change the others.
        let name = condition
            .name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01B3));
        Dice::new(self.seed ^ name, number, self.split as u64)
    }

    fn utterance(&self, condition: &Condition, dice: &mut Dice) -> Option<&Utterance> {
        let readers = match condition.speech {
            Speech::Word => self.voices.words(self.split),
            Speech::Sentence | Speech::Nothing => self.voices.callers(self.split),
        };
        let reader = self.reader(&readers, dice)?;
        choose(dice, reader)
    }

    fn reader<'a>(&self, readers: &[&'a [Utterance]], dice: &mut Dice) -> Option<&'a [Utterance]> {
        let Some(person) = self.caller else { return choose(dice, readers).copied() };
        readers.get((person.reader % readers.len().max(1) as u64) as usize).copied()
    }

    /// Noise at the wanted distance below a caller of `level`, and the name of it.
    pub(super) fn background(
        &self,
        condition: &Condition,
        dice: &mut Dice,
        length: usize,
        level: f32,
    ) -> (Vec<f32>, &'static str) {
        let idle = amplitude(LINE_DBFS);
        let mut wave: Vec<f32> = (0..length).map(|_| idle * normal(dice)).collect();
        let Some(noise) = choose(dice, condition.noises) else { return (wave, "line") };
        let mut sound = noise.make(dice, length, &self.voices, self.split);
        gain(&mut sound, amplitude(level - condition.snr_db));
        add(&mut wave, &sound);
        (wave, noise.name())
    }

    /// What a caller says before the bot speaks, and a pause; whole frames. Nobody speaks twice at the same level.
    fn intro(&self, condition: &Condition, dice: &mut Dice, level: f32) -> Vec<f32> {
        if !condition.known {
            return Vec::new();
        }
        let readers = self.voices.callers(self.split);
        let Some(utterance) = self.reader(&readers, dice).and_then(|reader| choose(dice, reader)) else {
            return Vec::new();
        };
        let said = Said::cut(utterance, level + again(dice));
        let mut wave = vec![0.0; seconds(INTRO_BEFORE_S)];
        wave.extend(said.wave);
        wave.resize((wave.len() + seconds(INTRO_AFTER_S)).next_multiple_of(FRAME), 0.0);
        wave
    }

    pub(super) fn line(&self, condition: &'static Condition, dice: &mut Dice, wave: Vec<f32>, intro: usize) -> Trial {
        let mut bot = vec![0; intro];
        bot.extend(self.bot(dice, wave.len() - intro));
        let mobile = dice.unit() < MOBILE;
        let saturated = dice.unit() < SATURATED;
        let echo = wish(condition.echo, saturated).map(|wish| {
            let voice: Vec<f32> = bot.iter().skip(intro).map(|&sample| f32::from(sample)).collect();
            EchoPath::draw(dice, wish, &voice)
        });
        Trial {
            id: dice.bits(),
            number: 0,
            condition,
            intro,
            caller: to_pcm(&wave).into(),
            words: None,
            noise: "",
            onset: None,
            end: None,
            echo,
            bot: bot.into(),
            mobile,
        }
    }

    /// Sentence after sentence with pauses of 150 to 450 ms, at -20 dBFS, through mu-law.
    fn bot(&self, dice: &mut Dice, length: usize) -> Vec<i16> {
        let prompts = self.voices.bot(self.split);
        let mut wave: Vec<f32> = Vec::with_capacity(length + 4 * RATE);
        while wave.len() < length {
            let Some(prompt) = choose(dice, &prompts) else { break };
            let from = wave.len();
            wave.extend_from_slice(&prompt.wave[prompt.onset.saturating_sub(80)..]);
            gain(&mut wave[from..], ratio(BOT_DBFS - prompt.level_dbfs));
            let pause = seconds(between(dice, 0.15, 0.45));
            wave.resize(wave.len() + pause, 0.0);
        }
        wave.resize(length, 0.0);
        through_mu_law(&to_pcm(&wave))
    }
}

impl Trial {
    /// What the server hears when everything that the bot says is played: caller, echo, codecs. Lost packets are silence,
    /// as the tap ahead of the jitter buffer makes them.
    pub fn heard(&self) -> Vec<i16> {
        let mut wave: Vec<f32> = self.caller.iter().map(|&sample| f32::from(sample)).collect();
        if let Some(path) = &self.echo {
            let bot: Vec<f32> = self.bot.iter().map(|&sample| f32::from(sample)).collect();
            let mut echo = vec![0.0; bot.len()];
            path.live().block(&bot, &mut echo);
            add(&mut wave, &echo);
        }
        if self.mobile {
            MobileCoding::new().run(&mut wave);
        }
        let mut heard = through_mu_law(&to_pcm(&wave));
        for (packet, arrival) in heard.chunks_mut(FRAME).zip(self.arrivals()) {
            if arrival.lost {
                packet.fill(0);
            }
        }
        heard
    }

    /// How each packet fares, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let packets = self.caller.len() / FRAME;
        let mut network = Network::new(self.condition.network.profile(), Dice::new(self.id, 1, 1));
        (0..packets).for_each(|packet| network.push(samples(packet * FRAME), packet));
        // The silence for a lost packet is heard when the packet would have been.
        let delay = (8.0 * self.condition.network.profile().delay_ms) as usize;
        let mut arrivals = vec![Arrival { late: delay, lost: true }; packets];
        while let Some((due, packet)) = network.pop(Duration::MAX) {
            if let Some(arrival) = arrivals.get_mut(packet) {
                let late = due.saturating_sub(samples(packet * FRAME));
                *arrival = Arrival { late: (late.as_micros() / 125) as usize, lost: false };
            }
        }
        arrivals
    }

    /// The same with its background for so long behind it, while the bot says nothing.
    #[must_use]
    pub fn going_on(self, more_s: f32) -> Self {
        let length = (self.caller.len() + seconds(more_s)).next_multiple_of(FRAME);
        let (last, turn) = (self.caller.len() - 1, TAIL.min(self.caller.len() - 1));
        // Forwards and backwards over the end of it, where nobody speaks.
        let beyond = (0..length - self.caller.len()).map(|more| match more % (2 * turn) {
            back if back < turn => last - back,
            forth => last - 2 * turn + forth,
        });
        let more: Vec<i16> = beyond.filter_map(|at| self.caller.get(at).copied()).collect();
        let mut bot = self.bot.to_vec();
        bot.resize(length, 0);
        Self { caller: [&self.caller[..], &more].concat().into(), bot: bot.into(), ..self }
    }

    /// How long the bot speaks, s.
    pub fn bot_s(&self) -> f32 {
        (self.caller.len() - self.intro) as f32 / RATE as f32
    }
}

/// An utterance at its level, cut to what a trial takes of it.
pub(super) struct Said {
    pub(super) wave: Vec<f32>,
    pub(super) onset: usize,
    pub(super) end: usize,
}

impl Said {
    pub(super) fn cut(utterance: &Utterance, level_dbfs: f32) -> Self {
        let before = utterance.onset.min(BEFORE);
        let from = utterance.onset - before;
        let to = utterance.wave.len().min(utterance.onset + LONGEST);
        let mut wave = utterance.wave[from..to].to_vec();
        gain(&mut wave, ratio(level_dbfs - active_dbfs(&utterance.wave)));
        let length = wave.len();
        for (n, sample) in wave.iter_mut().enumerate() {
            let begins = if before > 0 { n as f32 / before.min(EDGE) as f32 } else { 1.0 };
            *sample *= begins.min((length - n) as f32 / EDGE as f32).min(1.0);
        }
        Self { wave, onset: before, end: (utterance.end - from).min(length) }
    }
}

/// How loud somebody is, dBFS.
pub(super) fn level(dice: &mut Dice) -> f32 {
    (3.5 * normal(dice) - 26.0).clamp(-34.0, -18.0)
}

/// By how much somebody who speaks again is louder, dB.
fn again(dice: &mut Dice) -> f32 {
    2.0 * normal(dice).clamp(-1.5, 1.5)
}

fn wish(echo: Echo, saturated: bool) -> Option<EchoWish> {
    let erl_db = echo.erl_db()?;
    let (delay_ms, jumps_every_s) = match echo {
        Echo::Far(_) => ((200.0, 270.0), None),
        Echo::Jumping(_) => ((40.0, 200.0), Some(JUMPS_EVERY_S)),
        Echo::Loss(_) | Echo::None => ((40.0, 200.0), None),
    };
    Some(EchoWish { erl_db, delay_ms, saturated, jumps_every_s })
}

/// Of an onset trial: what follows the speech, s, and the most that is said, 2 s.
const AFTER_S: f32 = 0.3;
const LONGEST: usize = 2 * RATE;
/// 50 ms of the recording before the onset.
const BEFORE: usize = 400;
const EDGE: usize = 80;
/// Around what is said before the bot speaks, s: long enough to be a turn of its own.
const INTRO_BEFORE_S: f32 = 0.5;
const INTRO_AFTER_S: f32 = 1.0;
/// 250 ms, which is less than what follows the speech.
const TAIL: usize = 2000;
const PERSON: u64 = 0x5E1F;
const LINE_DBFS: f32 = -66.0;
const BOT_DBFS: f32 = -20.0;
const MOBILE: f64 = 0.3;
const SATURATED: f64 = 0.3;
const JUMPS_EVERY_S: f32 = 5.0;

#[cfg(test)]
mod tests {
    use super::super::condition::{Network, ONSETS, QUIET};
    use super::*;
    use crate::sim::lab::committed;

    fn trials(seed: u64) -> Trials {
        Trials::new(committed(), Split::HeldOut, seed)
    }

    #[test]
    fn every_condition_has_its_trials() {
        for condition in &ONSETS {
            let trial = trials(1).onset(condition, 0).unwrap();
            let (onset, end) = (trial.onset.unwrap(), trial.end.unwrap());
            assert!(onset < end && end <= trial.caller.len(), "{}: {onset} {end}", condition.name);
            let lead = (onset - trial.intro) as f32 / RATE as f32;
            assert!(lead >= condition.lead_s.0 - 0.01 && lead <= condition.lead_s.1 + 0.01, "{}", condition.name);
            assert_eq!(trial.echo.is_some(), condition.echo != Echo::None);
            assert_eq!(trial.heard().len(), trial.bot.len());
            assert!(trial.bot.len().is_multiple_of(FRAME));
        }
        for condition in &QUIET {
            let trial = trials(1).quiet(condition, 0, 6.0);
            assert_eq!(
                (trial.onset, trial.bot_s(), trial.intro > 0),
                (None, 6.0, condition.known),
                "{}",
                condition.name
            );
        }
    }

    #[test]
    fn a_trial_is_made_again_by_its_number() {
        let make = |seed, number| trials(seed).onset(&ONSETS[7], number).unwrap().heard();
        assert_eq!(make(1, 3), make(1, 3));
        assert_ne!(make(1, 3), make(1, 4));
        assert_ne!(make(1, 3), make(2, 3));
    }

    #[test]
    fn one_caller_is_one_reader_at_much_the_same_level() {
        for call in 0..4 {
            let one = trials(1).of_one_caller(call);
            let said: Vec<Trial> = (0..8).filter_map(|number| one.onset(&ONSETS[0], number)).collect();
            let reader = |trial: &Trial| trial.words.as_ref().unwrap().split('/').next().unwrap().to_owned();
            assert!(said.iter().all(|trial| reader(trial) == reader(&said[0])), "call {call}");
        }
    }

    #[test]
    fn a_trial_goes_on_with_what_is_behind_its_speech() {
        let trial = trials(1).onset(&ONSETS[1], 0).unwrap();
        let (length, end) = (trial.caller.len(), trial.end.unwrap());
        let longer = trial.clone().going_on(2.0);
        assert_eq!((longer.caller.len(), longer.bot.len()), (length + 2 * RATE, length + 2 * RATE));
        assert_eq!(longer.caller[..length], trial.caller[..]);
        assert_eq!(longer.caller[length], trial.caller[length - 1]);
        let behind: Vec<i16> = trial.caller[end..].to_vec();
        assert!(longer.caller[length..].iter().all(|sample| behind.contains(sample)));
        assert!(longer.bot[length..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn the_two_splits_share_no_voice() {
        let voices = committed();
        let names = |split| -> Vec<Arc<str>> {
            voices.callers(split).concat().into_iter().map(|utterance| utterance.name).collect()
        };
        let held_out = names(Split::HeldOut);
        assert!(names(Split::Tuning).iter().all(|name| !held_out.contains(name)));
        let bot = |split| voices.bot(split).into_iter().map(|prompt| prompt.name.clone()).collect::<Vec<_>>();
        assert!(bot(Split::Tuning).iter().all(|name| !bot(Split::HeldOut).contains(name)));
    }

    #[test]
    fn a_network_that_loses_delays_what_it_keeps() {
        let condition = ONSETS.iter().find(|condition| condition.network == Network::Loss3).unwrap();
        let (mut lost, mut all) = (0, 0);
        for number in 0..20 {
            let arrivals = trials(9).onset(condition, number).unwrap().arrivals();
            assert!(arrivals.iter().all(|arrival| arrival.lost || arrival.late == 320), "40 ms");
            lost += arrivals.iter().filter(|arrival| arrival.lost).count();
            all += arrivals.len();
        }
        let share = lost as f64 / all as f64;
        assert!((0.01..0.06).contains(&share), "{share}");
    }

    #[test]
    fn jitter_keeps_the_order() {
        let condition = ONSETS.iter().find(|condition| condition.network == Network::Jitter20).unwrap();
        let arrivals = trials(9).onset(condition, 1).unwrap().arrivals();
        let due: Vec<usize> = arrivals.iter().enumerate().map(|(n, arrival)| n * FRAME + arrival.late).collect();
        assert!(due.is_sorted() && arrivals.iter().all(|arrival| arrival.late <= 160 && !arrival.lost));
        assert!(arrivals.iter().any(|arrival| arrival.late > 80));
    }
}
