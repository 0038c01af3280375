//! A flow as it runs: typed, complete, checked. What is written in YAML becomes this or an error that names its line.
//!
//! Reading is in `decode.rs`, the checks over the whole graph in `check.rs`. The language is documented in
//! docs/flows.md. Deliberately absent: expressions and scripts. A step is data, so that every way through a flow can
//! be checked before the first call.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;

use super::condition::Condition;
use super::examples::Example;
use super::hook::{Act, Hook, Tool};
use super::mood::Moods;
use super::slot::Slot;
use super::speakable::speakable;
use super::tell::Tell;
use super::transfer::{TransferMode, TransferTo};
use super::value::{BUILT_IN, Value};
use super::yaml::FlowError;
use super::{BargeIn, Endpoint, Listening, check, decode, sentence};
use crate::providers::Language;
use crate::safety::said::{Cleared, clear};

/// A conversation as data: steps that speak, listen and lead to each other.
#[derive(Clone, Debug)]
pub struct Flow {
    pub(super) name: Arc<str>,
    pub(super) steps: Vec<Step>,
    pub(super) start: usize,
    pub(super) phrases: Phrases,
    /// Variables that are set before the call.
    pub(super) inputs: Vec<Arc<str>>,
    /// Variables that have a value from the beginning.
    pub(super) variables: Vec<(Arc<str>, Value)>,
    /// Conversations that must go as they are written; see [`Flow::try_examples`].
    pub(super) examples: Vec<Example>,
    /// Ways that hear nothing from the caller are not cut after [`super::walk::MAX_UNHEARD_STEPS`].
    pub(super) endless: bool,
    /// What is done about a caller's mood; none takes no notice of it.
    pub(super) moods: Option<Moods>,
    /// Variables that hold what callers were asked for in confidence.
    pub(super) private: Vec<Arc<str>>,
    /// Whether its calls are recorded from their beginning, where recording is configured.
    pub(super) recorded: bool,
}

/// Where the files that a flow names come from.
pub trait Assets {
    /// The text of a system prompt in `config/prompts`.
    ///
    /// # Errors
    /// Says what is wrong, without the file's name.
    fn prompt(&self, name: &str) -> Result<String, String>;
    /// The bytes of a sound file.
    ///
    /// # Errors
    /// As [`Assets::prompt`].
    fn sound(&self, name: &str) -> Result<Vec<u8>, String>;
}

/// For flows that name no files.
pub struct NoAssets;

impl Assets for NoAssets {
    fn prompt(&self, _: &str) -> Result<String, String> {
        Err("no files can be named here".to_owned())
    }

    fn sound(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("no files can be named here".to_owned())
    }
}

impl Flow {
    /// Reads and checks one flow; `file` is named in errors.
    ///
    /// # Errors
    /// The first thing that is wrong: `file:line: key: expected what`.
    pub fn parse(file: &str, text: &str, assets: &dyn Assets) -> Result<Self, FlowError> {
        let draft = decode::flow(file, text, assets)?;
        check::flow(&draft)?;
        Ok(draft.flow)
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether any step makes use of what the caller says: a line of statements and tones needs no recogniser.
    pub fn uses_words(&self) -> bool {
        self.steps.iter().any(|step| match &step.kind {
            Kind::Menu(menu) => menu.choices.iter().any(|choice| !choice.phrases.is_empty()),
            Kind::Ask(_) | Kind::Collect(_) => true,
            _ => false,
        })
    }

    /// Whether any step has words to say: a line of tones and recordings works without a voice.
    pub fn needs_voice(&self) -> bool {
        self.steps.iter().any(|step| !step.prompts().is_empty())
    }

    /// The names of `transfer.targets` that the flow uses, with the step that does.
    pub fn transfer_names(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.steps.iter().filter_map(|step| match &step.kind {
            Kind::Transfer(transfer) => match &transfer.to {
                TransferTo::Name(name) => Some((&step.name, name)),
                TransferTo::Address(_) => None,
            },
            _ => None,
        })
    }

    /// A flow for the person whom a caller is about to be joined to: what it is about, and then nothing that could
    /// disturb.
    pub fn briefing(words: Vec<Cleared>, language: Language) -> Self {
        let settings = Settings {
            barge_in: BargeIn::Off,
            endpoint: Endpoint::Silence(Duration::from_millis(700)),
            language,
            voice: None,
            rate: 1.0,
            temperature: 0.6,
            stop_words: None,
            backchannels: None,
            finish: false,
            hints: Arc::default(),
        };
        let sensitive = words.iter().any(Cleared::is_private);
        let speakable = |text: &Cleared| {
            let words = clear(&speakable(text.as_str(), &settings.language));
            if text.is_private() { words.in_private() } else { words }
        };
        let words = words.iter().map(speakable).collect();
        let step = Step { name: "brief".into(), settings, kind: Kind::Brief { words }, recording: None, sensitive };
        Self {
            name: "briefing".into(),
            steps: vec![step],
            start: 0,
            phrases: Phrases::default(),
            inputs: Vec::new(),
            variables: Vec::new(),
            examples: Vec::new(),
            moods: None,
            endless: true,
            private: Vec::new(),
            recorded: false,
        }
    }

    /// The language of the first step.
    pub fn language(&self) -> Option<&Language> {
        self.steps.get(self.start).map(|step| &step.settings.language)
    }

    /// How the first step listens and speaks.
    pub(super) fn first_settings(&self) -> Option<&Settings> {
        self.steps.get(self.start).map(|step| &step.settings)
    }

    /// The variables that whoever places a call with this flow may set.
    pub fn inputs(&self) -> &[Arc<str>] {
        &self.inputs
    }

    /// Names of the steps, in the order of the file.
    pub fn step_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.steps.iter().map(|step| &step.name)
    }

    /// Every sentence that can be known before a call, with the way it is spoken: worth making ahead of time.
    pub fn fixed_sentences(&self) -> impl Iterator<Item = (Cleared, &Settings)> {
        self.steps.iter().flat_map(|step| {
            let own = step.prompts().into_iter().chain(self.phrases.all()).chain(&self.phrases.recording);
            own.flat_map(|prompt| prompt.fixed(&step.settings.language)).map(|text| (text, &step.settings))
        })
    }

    pub(super) fn ask_at(&self, step: usize) -> Option<&Ask> {
        match &self.steps.get(step)?.kind {
            Kind::Ask(ask) => Some(ask),
            _ => None,
        }
    }
}

/// One step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub name: Arc<str>,
    pub settings: Settings,
    pub kind: Kind,
    /// What the step changes about the recording.
    pub recording: Option<RecordingKey>,
    /// It asks for or repeats digits that must be kept nowhere.
    pub sensitive: bool,
}

/// The key `recording` of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordingKey {
    On,
    Off,
    Pause,
    Resume,
    Discard,
}

/// How a step listens and speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub barge_in: BargeIn,
    pub endpoint: Endpoint,
    pub language: Language,
    /// The vendor's name of the voice; none takes the configured one.
    pub voice: Option<Arc<str>>,
    /// 1.0 is the voice's own rate (0.5 to 2.0).
    pub rate: f32,
    /// Of the language model, 0.0 to 2.0.
    pub temperature: f32,
    /// As in [`Listening`].
    pub stop_words: Option<Arc<[String]>>,
    pub backchannels: Option<Arc<[String]>>,
    pub finish: bool,
    /// Words that callers may say here, for the recogniser.
    pub hints: Arc<[String]>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Say {
        prompt: Prompt,
        wait: Option<Duration>,
        next: Target,
    },
    Play {
        sound: Sound,
        wait: Option<Duration>,
        next: Target,
    },
    Menu(Menu),
    Ask(Box<Ask>),
    Collect(Collect),
    Goto(Target),
    /// Gives variables their values and goes on.
    Set {
        values: Vec<(Arc<str>, Setting)>,
        next: Target,
    },
    Branch(Branch),
    Tell(Box<Tell>),
    Hook(Box<Hook>),
    Transfer(Box<Transfer>),
    HangUp {
        prompt: Prompt,
    },
    /// Says its words once and then keeps the line until it is taken away; only made by the program itself.
    Brief {
        words: Vec<Cleared>,
    },
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Step(usize),
    /// The flow's goodbye, then the end.
    HangUp,
}

/// What a variable is set to.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Text(Template),
    Number(u64),
    /// So much more than before; what is no number counts from zero.
    Add(u64),
}

/// Leads where conditions say.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub arms: Vec<Arm>,
    pub otherwise: Target,
}

#[derive(Clone, Debug)]
pub(super) struct Arm {
    /// All of these.
    pub when: Vec<Condition>,
    pub next: Target,
}

/// Ready audio, 8 kHz mono.
#[derive(Clone, Debug)]
pub(super) struct Sound {
    pub samples: Arc<[i16]>,
    pub words: Option<Cleared>,
}

/// What happens when the caller says nothing, or nothing that fits.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// Said before the prompt is repeated, one per failure; the last one serves all later failures.
    pub no_input: Vec<Prompt>,
    pub no_match: Vec<Prompt>,
    /// For keys that cannot be right, where digits are asked for.
    pub invalid: Vec<Prompt>,
    /// How long the caller may be silent.
    pub wait: Duration,
    /// How often the prompt is said in all.
    pub max_tries: u32,
    pub give_up: Target,
}

#[derive(Clone, Debug)]
pub(super) struct Menu {
    pub prompt: Prompt,
    pub choices: Vec<Choice>,
    pub retry: Retry,
}

#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub key: Digit,
    /// Each phrase in normal form (see `words.rs`).
    pub phrases: Vec<String>,
    pub next: Target,
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub prompt: Prompt,
    pub system: String,
    pub max_turns: u32,
    pub max_tokens: u32,
    pub keys: Vec<(Digit, Target)>,
    /// Whole answers that end the conversation, in normal form.
    pub done_words: Vec<String>,
    /// Said instead of the prompt on a line without a recogniser.
    pub unheard: Prompt,
    /// Said instead of the prompt on a line without a language model.
    pub without_model: Prompt,
    /// Said when the model is slow.
    pub filler: Prompt,
    /// Said when the model does not answer.
    pub canned: Prompt,
    /// Tells learners of a word that they left out; none leaves it to the model.
    pub repair: Option<Prompt>,
    /// What the model may ask for.
    pub tools: Vec<Tool>,
    pub retry: Retry,
    pub next: Target,
}

#[derive(Clone, Debug)]
pub(super) struct Collect {
    pub prompt: Prompt,
    pub into: Arc<str>,
    pub slot: Slot,
    /// Asks whether what was understood is right.
    pub read_back: Option<Prompt>,
    pub min: usize,
    pub max: usize,
    pub terminator: Option<Digit>,
    /// The longest pause between two keys.
    pub digit_wait: Duration,
    /// Card or identity numbers: not recorded.
    pub sensitive: bool,
    pub retry: Retry,
    pub next: Target,
}

/// Hands the call over; each failure has its way on.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub prompt: Prompt,
    pub to: TransferTo,
    pub mode: TransferMode,
    pub ring_timeout: Duration,
    /// For the target's ears.
    pub brief: Prompt,
    pub on_busy: Target,
    pub on_no_answer: Target,
    pub on_failed: Target,
}

/// Sentences, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Prompt(pub Vec<Template>);

/// One sentence with the places of its variables.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Variable(Arc<str>),
}

impl Prompt {
    /// Words without variables.
    pub fn fixed_text(text: &str) -> Self {
        let words = sentence::sentences(text).into_iter();
        Self(words.map(|text| Template(vec![Piece::Text(text.to_owned())])).collect())
    }

    pub fn variables(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flat_map(Template::variables)
    }
}

impl Template {
    pub fn variables(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name),
            Piece::Text(_) => None,
        })
    }
}

/// The flow's own words for what may happen at any step.
#[derive(Clone, Debug, Default)]
pub(super) struct Phrases {
    pub filler: Prompt,
    pub canned: Prompt,
    pub no_input: Prompt,
    pub no_match: Prompt,
    pub unheard: Prompt,
    pub goodbye: Prompt,
    /// The three ways in which a transfer fails.
    pub busy: Prompt,
    pub no_answer: Prompt,
    pub not_reached: Prompt,
    /// Announces a recording, or asks for it; none leaves that to the configuration.
    pub recording: Option<Prompt>,
    /// Says that a recording which was announced has failed.
    pub not_recorded: Option<Prompt>,
}

impl Phrases {
    pub fn all(&self) -> [&Prompt; 9] {
        let Self { filler, canned, no_input, no_match, unheard, goodbye, busy, no_answer, not_reached, .. } = self;
        [filler, canned, no_input, no_match, unheard, goodbye, busy, no_answer, not_reached]
    }
}

/// A way from a step to another.
pub(super) struct Way<'a> {
    pub to: Target,
    /// Taken although the caller did nothing.
    pub silent: bool,
    /// The variables that are set on this way.
    pub sets: Vec<&'a Arc<str>>,
}

impl Step {
    /// Every way out of the step.
    pub fn ways(&self) -> Vec<Way<'_>> {
        let silent = |to: Target| Way { to, silent: true, sets: Vec::new() };
        let heard = |to: Target| Way { to, silent: false, sets: Vec::new() };
        match &self.kind {
            Kind::Say { next, .. } | Kind::Play { next, .. } | Kind::Goto(next) => vec![silent(*next)],
            Kind::Set { values, next } => {
                vec![Way { to: *next, silent: true, sets: values.iter().map(|(name, _)| name).collect() }]
            }
            Kind::Branch(branch) => {
                branch.arms.iter().map(|arm| arm.next).chain([branch.otherwise]).map(silent).collect()
            }
            Kind::Tell(tell) => vec![silent(tell.next)],
            Kind::Hook(hook) => {
                let sets = hook.into.iter().map(|(name, _)| name).collect();
                vec![Way { to: hook.next, silent: true, sets }, silent(hook.on_failed)]
            }
            Kind::Menu(menu) => {
                let mut ways: Vec<_> = menu.choices.iter().map(|choice| heard(choice.next)).collect();
                ways.push(silent(menu.retry.give_up));
                ways
            }
            Kind::Ask(ask) => {
                let mut ways: Vec<_> = ask.keys.iter().map(|(_, next)| heard(*next)).collect();
                ways.push(heard(ask.next));
                ways.extend(ask.tools.iter().filter_map(|tool| match tool.act {
                    Act::Goto(next) => Some(heard(next)),
                    Act::Hook { .. } => None,
                }));
                ways.push(silent(ask.retry.give_up));
                ways
            }
            Kind::Collect(collect) => {
                let mut ways = vec![Way { to: collect.next, silent: false, sets: vec![&collect.into] }];
                if let Slot::Words { keys, .. } = &collect.slot {
                    ways.extend(keys.iter().map(|(_, next)| heard(*next)));
                }
                ways.push(silent(collect.retry.give_up));
                ways
            }
            Kind::Transfer(transfer) => {
                [transfer.on_busy, transfer.on_no_answer, transfer.on_failed].into_iter().map(silent).collect()
            }
            Kind::HangUp { .. } | Kind::Brief { .. } => Vec::new(),
        }
    }

    /// Everything the step may say.
    pub fn prompts(&self) -> Vec<&Prompt> {
        match &self.kind {
            Kind::Say { prompt, .. } | Kind::HangUp { prompt } => vec![prompt],
            Kind::Transfer(transfer) => vec![&transfer.prompt, &transfer.brief],
            Kind::Play { .. } | Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Brief { .. } => Vec::new(),
            Kind::Tell(tell) => {
                std::iter::once(&tell.intro).chain(tell.items.iter().map(|item| &item.prompt)).collect()
            }
            Kind::Hook(hook) => vec![&hook.prompt],
            Kind::Menu(menu) => menu.retry.prompts(vec![&menu.prompt]),
            Kind::Collect(collect) => {
                collect.retry.prompts(std::iter::once(&collect.prompt).chain(&collect.read_back).collect())
            }
            Kind::Ask(ask) => {
                let own = [&ask.prompt, &ask.unheard, &ask.without_model, &ask.filler, &ask.canned];
                let fillers = ask.tools.iter().map(|tool| &tool.filler);
                ask.retry.prompts(own.into_iter().chain(fillers).collect())
            }
        }
    }

    /// The variables that have to be set before the step begins.
    pub fn reads(&self) -> Vec<&Arc<str>> {
        let spoken = self.prompts().into_iter().flat_map(Prompt::variables);
        match &self.kind {
            // The value that is read back is the step's own.
            Kind::Collect(collect) => {
                let others = spoken.filter(|name| **name != collect.into);
                let own = collect.prompt.variables().filter(|name| **name == collect.into);
                others.chain(own).collect()
            }
            Kind::Set { values, .. } => {
                let templates = values.iter().filter_map(|(_, setting)| match setting {
                    Setting::Text(template) => Some(template),
                    Setting::Number(_) | Setting::Add(_) => None,
                });
                templates.flat_map(Template::variables).collect()
            }
            Kind::Branch(branch) => {
                let names = branch.arms.iter().flat_map(|arm| &arm.when).map(|condition| &condition.variable);
                names.filter(|name| !BUILT_IN.contains(&&***name)).collect()
            }
            Kind::Hook(hook) => spoken.chain(&hook.send).collect(),
            Kind::Ask(ask) => {
                let sent = ask.tools.iter().flat_map(|tool| match &tool.act {
                    Act::Hook { send, .. } => send.as_slice(),
                    Act::Goto(_) => &[],
                });
                spoken.chain(sent).collect()
            }
            _ => spoken.collect(),
        }
    }

    /// How the call listens at this step.
    pub fn listening(&self) -> Listening {
        let own: Vec<String> = match &self.kind {
            Kind::Menu(menu) => menu.choices.iter().flat_map(|choice| choice.phrases.iter().cloned()).collect(),
            Kind::Ask(ask) => ask.done_words.clone(),
            _ => Vec::new(),
        };
        let hints: Vec<String> = self.settings.hints.iter().cloned().chain(own).collect();
        Listening {
            step: Arc::clone(&self.name),
            barge_in: self.settings.barge_in,
            endpoint: self.settings.endpoint,
            language: self.settings.language.clone(),
            hints: hints.into(),
            stop_words: self.settings.stop_words.clone(),
            backchannels: self.settings.backchannels.clone(),
            finish: self.settings.finish,
            private: self.sensitive,
        }
    }
}

impl Retry {
    fn prompts<'a>(&'a self, mut own: Vec<&'a Prompt>) -> Vec<&'a Prompt> {
        own.extend(&self.no_input);
        own.extend(&self.no_match);
        own.extend(&self.invalid);
        own
    }
}
