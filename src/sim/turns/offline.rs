//! The trials of a run on virtual time: the same caller, the same text and the same judge as on the wire, with the call's core
//! between them and no socket. What needs thousands of trials is measured here.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

use super::caller::TurnCaller;
use super::judge::{Evidence, Judged, judge};
use super::plan::Deck;
use super::runs::Text;
use super::script::{Script, Spoken, Word, bare};
use super::session::{TurnTaking, lexicon};
use crate::call::core::{CallInput, CallOutput};
use crate::call::leg::InFlight;
use crate::dialog::Flow;
use crate::providers::config::EmbeddedConfig;
use crate::providers::tts::embedded::EmbeddedTts;
use crate::providers::{Language, ProviderError, SpeakRequest, SpeechChunk, Tts, WordTime, timing};
use crate::safety::said::clear;
use crate::sim::audio::{SILENCE, linear, ulaw};
use crate::sim::caller::Action;
use crate::sim::clock::{Dice, Moment, samples};
use crate::sim::lab::Trials;
use crate::sim::lab::stage::{Due, ORIGIN, Scene, Stage, flow, setup};
use crate::sim::party::{Heard, Notes, Party};
use crate::sim::records::ServerInterruption;
use crate::sim::timeline::{MarkKind, Timeline};
use crate::store::record::Interruption;
use crate::turn::floor::Holder;

/// What lies between the bot and the caller's ear, whose the bot's voice is, and what is known of its words.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub name: &'static str,
    /// The far side keeps 100 ms in hand, which a clear throws away.
    far_buffer: bool,
    voice: Voice,
    /// The voice tells when each word is; otherwise that is estimated from the audio.
    told: bool,
    /// Part of what is promised.
    pub counts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// The one that the program has built in, which speaks in sentences.
    Embedded,
    /// Recorded words, one by one and without a rhythm.
    Recorded,
}

pub const LINES: [Line; 4] = [
    Line {
        name: "SIP, times of words estimated",
        far_buffer: false,
        voice: Voice::Embedded,
        told: false,
        counts: true,
    },
    Line {
        name: "Twilio, times of words estimated",
        far_buffer: true,
        voice: Voice::Embedded,
        told: false,
        counts: true,
    },
    Line { name: "SIP, times of words told", far_buffer: false, voice: Voice::Recorded, told: true, counts: true },
    Line {
        name: "SIP, single words read in a row, their times estimated",
        far_buffer: false,
        voice: Voice::Recorded,
        told: false,
        counts: false,
    },
];

/// Plays calls of trials.
pub struct Offline {
    deck: Deck,
    trials: Trials,
    wanted: TurnTaking,
    embedded: Speaker,
    recorded: Speaker,
    flow: Arc<Flow>,
    network: &'static Network,
    seed: u64,
}

/// The text as one voice says it.
struct Speaker {
    text: Text,
    sentences: HashMap<String, Spoken>,
}

impl Offline {
    /// Trials of these conditions; `dir` has the recorded words.
    ///
    /// # Errors
    /// Names a condition that there is not, or says why there is no embedded voice.
    pub fn new(
        trials: Trials,
        dir: &Path,
        network: &'static Network,
        seed: u64,
        conditions: &[&str],
    ) -> Result<Self, String> {
        let conditions = conditions.iter().map(|name| (*name).to_owned()).collect();
        let wanted = TurnTaking { conditions, ..TurnTaking::default() };
        let (script, words) = (Script::new(seed), lexicon(dir));
        Ok(Self {
            deck: Deck::new(&wanted)?,
            embedded: Speaker::new(&script, embedded(&script)?),
            recorded: Speaker::new(&script, |sentence| words.say(sentence)),
            flow: flow(&script.flow("turn_taking", wanted.endpoint_ms))?,
            trials,
            wanted,
            network,
            seed,
        })
    }

    /// Plays a call, and judges its trials.
    pub fn play(&self, call: usize, line: Line) -> Vec<Judged> {
        let plan = self.deck.plan(call, &"1".into(), &self.trials, &self.wanted, self.seed);
        let caller = TurnCaller::new(plan, Dice::new(self.seed, call as u64, 1));
        let speaker = if line.voice == Voice::Embedded { &self.embedded } else { &self.recorded };
        let scene = Rehearsal::new(caller, speaker, line, Dice::new(self.seed, call as u64, 3));
        let (scene, _) = Stage::new(setup(self.network, &self.flow, false), scene, Due::default()).play();
        let Rehearsal { mut timeline, noted, caller, .. } = scene;
        let Notes { marks, bouts, .. } = Box::new(caller).into_notes();
        (timeline.marks, timeline.bouts) = (marks, bouts);
        judge(&Evidence { call, timeline: &timeline, text: Some(&speaker.text), noted: &noted }).1
    }
}

impl Speaker {
    fn new(script: &Script, say: impl Fn(&str) -> Spoken) -> Self {
        let sentences = script.sentences().map(|sentence| (sentence.to_owned(), say(sentence))).collect();
        Self { text: Text::new(script.spoken_by(say)), sentences }
    }
}

/// What the program's own English voice makes of each sentence.
fn embedded(script: &Script) -> Result<impl Fn(&str) -> Spoken, String> {
    let told = |e: &dyn std::fmt::Display| format!("the embedded voice: {e}");
    let voice = EmbeddedTts::new(EmbeddedConfig::default()).map_err(|e| told(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| told(&e))?;
    let mut made = HashMap::new();
    for sentence in script.sentences() {
        let spoken = runtime.block_on(speak(&voice, sentence)).map_err(|e| told(&e))?;
        made.insert(sentence.to_owned(), spoken);
    }
    Ok(move |sentence: &str| made.get(sentence).cloned().unwrap_or_default())
}

async fn speak(voice: &EmbeddedTts, text: &str) -> Result<Spoken, ProviderError> {
    let request = SpeakRequest { text: clear(text), language: Language::default(), voice: None, rate: 1.0 };
    let mut stream = voice.speak(request).await?;
    let mut spoken = Spoken::default();
    while let Some(chunk) = stream.next().await {
        let SpeechChunk { samples, words, .. } = chunk?;
        spoken.samples.extend_from_slice(&samples);
        spoken.words.extend(words.into_iter().map(|word| Word {
            text: bare(text.get(word.text).unwrap_or_default()).into(),
            samples: word.samples.start as usize..word.samples.end as usize,
        }));
    }
    Ok(spoken)
}

/// A call's surroundings: the caller's telephone and the bot's voice.
struct Rehearsal<'a> {
    caller: TurnCaller,
    speaker: &'a Speaker,
    told: bool,
    /// When the caller's next 20 ms leave: at no fixed place between two ticks of the call.
    next: Moment,
    over: bool,
    tick: Moment,
    /// What the far side has not played, where it keeps anything.
    far: Option<VecDeque<Frame>>,
    timeline: Timeline,
    noted: Vec<ServerInterruption>,
}

impl<'a> Rehearsal<'a> {
    fn new(mut caller: TurnCaller, speaker: &'a Speaker, line: Line, mut dice: Dice) -> Self {
        caller.answered(ORIGIN);
        Self {
            caller,
            speaker,
            told: line.told,
            next: ORIGIN + samples(dice.below(FRAME)),
            over: false,
            tick: Moment::ZERO,
            far: line.far_buffer.then(VecDeque::new),
            timeline: Timeline { placed: ORIGIN, answered: Some(ORIGIN), ..Timeline::default() },
            noted: Vec::new(),
        }
    }

    fn reaches_the_ear(&mut self, frame: &Frame, now: Moment) {
        let octets = frame.map(ulaw);
        let timestamp = Some((now.as_micros() / 125) as u32);
        self.caller.hear(Heard { at: now, timestamp, octets: &octets });
        self.timeline.heard.push(now, &octets);
    }

    fn far_side_plays(&mut self, now: Moment) {
        if self.tick != now
            && let Some(frame) = self.far.as_mut().and_then(VecDeque::pop_front)
        {
            self.reaches_the_ear(&frame, now);
        }
        self.tick = now;
    }

    /// When each word of a sentence is heard.
    fn times(&self, text: &str, spoken: &Spoken) -> Vec<WordTime> {
        if !self.told {
            return timing::estimated(text, &spoken.samples);
        }
        let time = |(word, said): (timing::Word, &Word)| WordTime {
            text: word.text,
            samples: said.samples.start as u64..said.samples.end as u64,
        };
        timing::words(text).into_iter().zip(&spoken.words).map(time).collect()
    }
}

impl Scene for Rehearsal<'_> {
    fn is_on(&self) -> bool {
        !self.over
    }

    fn next(&mut self, now: Moment) -> Option<(Frame, Moment)> {
        self.far_side_plays(now);
        if self.over || self.next > now {
            return None;
        }
        let at = self.next;
        self.next = at + samples(FRAME);
        let tick = self.caller.tick(at);
        if tick.action == Some(Action::HangUp) {
            (self.over, self.timeline.over) = (true, at);
            return None;
        }
        let octets = tick.frame.map_or([SILENCE; FRAME], |frame| frame.map(ulaw));
        self.timeline.sent.push(at, &octets);
        Some((octets.map(linear), at))
    }

    fn sent(&mut self, frame: &Frame, audible: bool, _: Holder, now: Moment) {
        match &mut self.far {
            Some(far) => far.extend(audible.then_some(*frame)),
            None => self.reaches_the_ear(frame, now),
        }
    }

    fn asked(&mut self, output: &CallOutput, due: &mut Due, now: Moment) {
        match output {
            CallOutput::Speak { turn, wanted, .. } => {
                let (turn, sentence, text) = (*turn, wanted.sentence, wanted.text.as_str());
                let Some(spoken) = self.speaker.sentences.get(text) else { return };
                let words = self.times(text, spoken);
                let ended = due.speech(turn, sentence, &spoken.samples, now + FIRST_AUDIO);
                // What is estimated is known when all of the audio is there.
                let known = if self.told { now + FIRST_AUDIO } else { ended };
                due.expect(known, CallInput::WordTimes { turn, sentence, words });
            }
            CallOutput::Interruption(told) => self.noted.push(noted(told)),
            _ => {}
        }
    }

    fn wants(&self) -> usize {
        self.far.as_ref().map_or(1, |far| LEAD.saturating_sub(far.len()))
    }

    fn in_flight(&self) -> InFlight {
        let ahead = samples(FRAME * self.far.as_ref().map_or(0, VecDeque::len));
        InFlight { ahead, unheard: if self.far.is_some() { ahead } else { JITTER_BUFFER } }
    }

    fn clear(&mut self, now: Moment) -> Duration {
        self.caller.mark(now, MarkKind::Cleared);
        let dropped = self.in_flight().ahead;
        self.far.iter_mut().for_each(VecDeque::clear);
        dropped
    }
}

/// As the server's record tells it.
fn noted(told: &Interruption) -> ServerInterruption {
    ServerInterruption {
        onset_ms: told.onset_ms,
        held_ms: told.held_ms,
        decided_ms: told.decided_ms,
        outcome: told.outcome.as_str().to_owned(),
        why: Some(told.outcome.why().to_owned()),
        ducked: told.ducked,
        stop_ms: told.stop_ms,
        heard: Some(told.heard.expose().clone()),
        unheard: Some(told.unheard.expose().clone()),
    }
}

const FIRST_AUDIO: Duration = Duration::from_millis(20);
/// Frames that a far side is kept ahead by.
const LEAD: usize = 5;
const JITTER_BUFFER: Duration = Duration::from_millis(60);
