//! What a caller does, and what a recogniser makes of it.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use offhook::call::Moment;
use offhook::call::core::CallInput;
use offhook::dialog::{TransferMode, TransferPlan, TransferTo};
use offhook::providers::{Recognised, SttEvent};
use offhook::sim::audio::Recording;
use offhook::sim::clock::Dice;
use offhook::store::record::EndReason;
use offhook::telemetry::pii::Pii;
use offhook_media::dtmf::Digit;
use offhook_media::{FRAME, Frame};

use super::vendors::{error, seconds};

/// Something that is to happen to the call.
#[derive(Debug)]
pub enum Act {
    Tell(CallInput),
    /// The recogniser takes what the bot is saying for the caller.
    HearsUs,
}

/// The caller's part, drawn before the call begins.
pub struct Script {
    pub sounds: Vec<Sound>,
    pub acts: Vec<(Moment, Act)>,
    /// The caller does nothing after this.
    pub leaves: Moment,
    pub names: Vec<&'static str>,
}

/// Something at the telephone's microphone.
pub struct Sound {
    pub from: Moment,
    pub to: Moment,
    kind: Kind,
}

enum Kind {
    Speech(Arc<[i16]>),
    Noise,
    /// Too quiet for any ear but a recogniser's.
    Whisper,
}

impl Sound {
    pub fn is_on(&self, now: Moment) -> bool {
        (self.from..self.to).contains(&now)
    }

    pub fn add_to(&self, frame: &mut Frame, now: Moment) {
        let begun = (now - self.from).as_millis() as usize * 8;
        for (at, sample) in frame.iter_mut().enumerate() {
            let sound = match &self.kind {
                Kind::Speech(speech) => speech[(begun + at) % speech.len()],
                Kind::Noise => [LOUD, -LOUD][at / 8 % 2],
                Kind::Whisper => 0,
            };
            *sample = sample.saturating_add(sound);
        }
    }
}

/// Whoever calls.
pub struct Caller<'a> {
    pub dice: &'a mut Dice,
    pub begins: Moment,
    pub has_ears: bool,
    /// The recogniser tells turns.
    pub turns: bool,
    /// The caller speaks as people do, for an ear that listens to what it hears.
    pub is_recorded: bool,
}

impl Caller<'_> {
    /// From a quarter of a second to a minute of acts.
    pub fn write(mut self) -> Script {
        let most = if self.dice.below(8) == 0 { 2.0 } else { 50.0 };
        let leaves = self.begins + seconds(self.dice, 0.25, most);
        let mut script = Script { sounds: Vec::new(), acts: Vec::new(), leaves, names: Vec::new() };
        let mut at = self.begins + seconds(self.dice, 0.2, 5.0);
        while at < leaves {
            let pause = if self.dice.below(3) == 0 { 1.0 } else { 8.0 };
            at = self.act(&mut script, at) + seconds(self.dice, 0.1, pause);
        }
        if self.dice.unit() < 0.7 {
            let reason = EndReason::CallerHungUp;
            script.acts.push((leaves, Act::Tell(CallInput::HungUp(reason))));
        }
        script.leaves = at.max(leaves);
        script
    }

    /// One thing; when it is over.
    fn act(&mut self, script: &mut Script, at: Moment) -> Moment {
        let mut tell = |at: Moment, input: CallInput| script.acts.push((at, Act::Tell(input)));
        let (name, over) = match self.dice.below(100) {
            0..44 => return self.speak(script, at),
            44..62 => {
                let to = at + seconds(self.dice, 0.02, 0.4);
                script.sounds.push(self.sound(at, to));
                ("cough", to)
            }
            62..82 => {
                let keys = ['1', '2', '3', '4', '5', '5', '6', '9', '0', '#', '*', '7'];
                let key = Digit::try_from(keys[self.dice.below(keys.len())]).expect("a key");
                tell(at, CallInput::Digit(key));
                ("key", at)
            }
            82..87 => {
                let back = at + seconds(self.dice, 0.1, 10.0);
                tell(at, CallInput::Held(true));
                tell(back, CallInput::Held(false));
                ("hold by them", if self.dice.below(4) == 0 { at } else { back })
            }
            87..89 => {
                let back = at + seconds(self.dice, 0.1, 10.0);
                tell(at, CallInput::Parked(true));
                tell(back, CallInput::Parked(false));
                ("hold by us", back)
            }
            89..93 if self.has_ears => {
                script.acts.push((at, Act::HearsUs));
                ("recogniser hears us", at)
            }
            93..95 if self.has_ears => {
                tell(at, CallInput::Heard(SttEvent::Reconnecting));
                ("recogniser reconnects", at)
            }
            95 if self.has_ears => {
                tell(at, CallInput::Heard(SttEvent::Failed(error("ears"))));
                ("recogniser fails", at)
            }
            96 => {
                tell(at, CallInput::TransferTo(Box::new(operators_plan())));
                ("operator transfers", at)
            }
            97 if self.dice.below(3) == 0 => {
                tell(at, CallInput::Close(None));
                ("server stops", at)
            }
            _ => ("nothing", at),
        };
        script.names.push(name);
        over
    }

    /// Speech, with the words that a recogniser makes of it, if any.
    fn speak(&mut self, script: &mut Script, from: Moment) -> Moment {
        let to = from + seconds(self.dice, 0.25, 2.5);
        let sound = match self.dice.below(12) {
            0 => Sound { from, to, kind: Kind::Whisper },
            _ => self.sound(from, to),
        };
        script.sounds.push(sound);
        if !self.has_ears || self.dice.unit() > 0.85 {
            script.names.push("speech without words");
            return to;
        }
        let kinds = [("stop word", &STOPS[..]), ("backchannel", &LISTENING), ("answer", &ANSWERS), ("words", &OTHERS)];
        let (name, all) = kinds[[0, 1, 2, 2, 3, 3][self.dice.below(6)]];
        script.names.push(name);
        let text = all[self.dice.below(all.len())];
        self.recognise(script, text, from, to);
        to
    }

    fn recognise(&mut self, script: &mut Script, text: &str, from: Moment, to: Moment) {
        let begins = self.begins;
        let words = |text: &str, end: Moment| Recognised {
            text: Pii::new(text.to_owned()),
            confidence: 0.9,
            start: from - begins,
            end: end - begins,
        };
        let mut hear = |at: Moment, event: SttEvent| script.acts.push((at, Act::Tell(CallInput::Heard(event))));
        if self.dice.unit() < 0.7 {
            let count = text.split(' ').count();
            for known in 1..=count.min(3) {
                let part: Vec<&str> = text.split(' ').take(known).collect();
                let end = from + (to - from).mul_f64(known as f64 / count as f64);
                hear(end + seconds(self.dice, 0.05, 0.4), SttEvent::Interim(words(&part.join(" "), end)));
            }
        }
        let late = if self.dice.below(15) == 0 { 4.5 } else { 1.0 };
        let at = to + seconds(self.dice, 0.05, late);
        if self.turns {
            hear(at, SttEvent::EagerTurnEnd);
            if self.dice.below(4) == 0 {
                hear(at + seconds(self.dice, 0.05, 0.3), SttEvent::TurnResumed);
            }
        }
        // Not all words come to stay, and some come otherwise than they seemed.
        match self.dice.below(12) {
            0 => {}
            1 => hear(at, SttEvent::Final(words("or so it seemed", to))),
            _ => hear(at, SttEvent::Final(words(text, to))),
        }
        if self.turns {
            hear(at + seconds(self.dice, 0.0, 0.4), SttEvent::TurnEnded);
        } else if self.dice.below(4) == 0 {
            hear(at, SttEvent::SpeechEnded);
        }
    }

    fn sound(&mut self, from: Moment, to: Moment) -> Sound {
        let phrase = &phrases()[self.dice.below(phrases().len())];
        let kind = if self.is_recorded { Kind::Speech(Arc::clone(phrase)) } else { Kind::Noise };
        Sound { from, to, kind }
    }
}

/// The recogniser's echo of us, told at `now`.
pub fn echoed(text: &str, now: Moment, begins: Moment) -> SttEvent {
    let heard: Vec<&str> = text.split_whitespace().take(3).collect();
    let end = now - begins;
    let start = end.saturating_sub(Duration::from_millis(800));
    SttEvent::Final(Recognised { text: Pii::new(heard.join(" ").to_lowercase()), confidence: 0.6, start, end })
}

fn operators_plan() -> TransferPlan {
    TransferPlan {
        to: TransferTo::Address("sip:desk@example.org".into()),
        mode: TransferMode::Blind,
        ring_timeout: Duration::from_secs(8),
        brief: Vec::new(),
    }
}

/// Recorded speech, from its first sound to its last.
fn phrases() -> &'static [Arc<[i16]>] {
    static PHRASES: OnceLock<Vec<Arc<[i16]>>> = OnceLock::new();
    PHRASES.get_or_init(|| {
        ["hello", "one", "goodbye", "im-sorry", "transfer", "vm-repeat", "demo-nomatch"].map(phrase).to_vec()
    })
}

fn phrase(name: &str) -> Arc<[i16]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human").join(format!("{name}.wav"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recording = Recording::from_wav(name, &bytes).unwrap_or_else(|error| panic!("{error}")).at_level(-24.0);
    recording.samples[recording.onset..recording.end].into()
}

const LOUD: i16 = 8000;
const _: () = assert!(FRAME.is_multiple_of(16), "noise goes on evenly from frame to frame");

const STOPS: [&str; 3] = ["stop", "wait", "hold on"];
const LISTENING: [&str; 3] = ["uh-huh", "yeah", "okay"];
const ANSWERS: [&str; 8] =
    ["one", "two", "anything", "person", "secret", "news", "one two three", "four five six seven"];
const OTHERS: [&str; 5] =
    ["what about the green lamp", "no wait please", "cancel that order", "my name is", "is it open on Sunday?"];
