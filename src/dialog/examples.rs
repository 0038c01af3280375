//! Conversations written into a flow, and whether they go as written: what the caller does, what the bot must say, where
//! it must be. They run against the real dialog on a clock of their own, with nobody on the line.
//!
//! Deliberately absent: sound and interruptions, which are the call's business. Whatever is said counts as heard.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use serde_json::Value as Json;

use super::flow::Flow;
use super::lines::Catalogue;
use super::runner::{CallFacts, Dialog};
use super::speakable::{plain, speakable};
use super::values::{bounded, identifier, is_identifier};
use super::words::normal;
use super::yaml::{At, FlowError, Node};
use super::{DialogInput, DialogOutput, Moment, Utterance, sentence};
use crate::providers::ToolCall;
use crate::safety::said::clear;
use crate::telemetry::pii::Pii;

/// One conversation.
#[derive(Clone, Debug)]
pub(super) struct Example {
    name: String,
    has_ears: bool,
    has_model: bool,
    inputs: Vec<(Arc<str>, String)>,
    turns: Vec<Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    at: At,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// The bot must have said this since the caller's last turn.
    Bot(String),
    /// It must not.
    NotBot(String),
    Says(String),
    Keys(Vec<Digit>),
    /// The caller does nothing until their time is up.
    Silence,
    Model(String),
    ModelFails,
    /// The model asks for this tool.
    Tool(String, Json),
    /// What a service answers.
    Service(Json),
    ServiceFails,
    /// The current step.
    Step(String),
    /// What a variable must hold.
    Holds(Arc<str>, String),
    Ends(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Hangup,
    Transfer,
}

impl Catalogue {
    /// Runs the examples of all flows; gives their number.
    ///
    /// # Errors
    /// The first line of an example that did not come true.
    pub fn try_examples(&self) -> Result<usize, FlowError> {
        self.flows().try_fold(0, |count, flow| flow.try_examples().map(|more| count + more))
    }
}

impl Flow {
    /// Runs the examples that were written with the flow; gives their number.
    ///
    /// # Errors
    /// The first line that did not come true, with the step and what was said there.
    pub fn try_examples(self: &Arc<Self>) -> Result<usize, FlowError> {
        for example in &self.examples {
            Rehearsal::new(self, example).run(example)?;
        }
        Ok(self.examples.len())
    }
}

/// An example while it runs.
struct Rehearsal {
    dialog: Dialog,
    now: Moment,
    wake: Option<Moment>,
    /// Said since the caller's last turn.
    said: Vec<String>,
    /// In the queue, not yet reported as heard.
    queued: Vec<String>,
    model_asked: bool,
    hook_asked: Option<u32>,
    ended: Option<Ending>,
}

impl Rehearsal {
    fn new(flow: &Arc<Flow>, example: &Example) -> Self {
        let caller = Pii::new(CALLER.to_owned());
        let (has_ears, has_model) = (example.has_ears, example.has_model);
        let facts = CallFacts { called: CALLED.to_owned(), caller, has_ears, has_model };
        let inputs = example.inputs.iter().map(|(name, value)| (Arc::clone(name), Pii::new(value.clone())));
        Self {
            dialog: Dialog::new(Arc::clone(flow), facts).with_variables(inputs.collect()),
            now: Moment::ZERO,
            wake: None,
            said: Vec::new(),
            queued: Vec::new(),
            model_asked: false,
            hook_asked: None,
            ended: None,
        }
    }

    fn run(mut self, example: &Example) -> Result<(), FlowError> {
        self.feed(DialogInput::Started);
        for turn in &example.turns {
            let missed = |what: String, step: &str| {
                turn.at.error(format!("{what}, in example `{}` at step `{step}`", example.name))
            };
            self.take(&turn.what).map_err(|what| missed(what, self.dialog.step_name()))?;
        }
        Ok(())
    }

    fn take(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Bot(words) if !self.has_said(words) => {
                Err(format!("the bot to say `{words}`, heard `{}`", self.all()))
            }
            What::NotBot(words) if self.has_said(words) => {
                Err(format!("the bot not to say `{words}`, heard `{}`", self.all()))
            }
            What::Step(name) if name != self.dialog.step_name() => Err(format!("step `{name}`")),
            What::Holds(name, wanted) => self.holds(name, wanted),
            What::Ends(ending) if self.ended != Some(*ending) => Err(format!("the call to end by {}", ending.as_str())),
            What::Bot(_) | What::NotBot(_) | What::Step(_) | What::Ends(_) => Ok(()),
            What::Tool(name, arguments) if self.model_asked => {
                self.model_asked = false;
                let arguments = Pii::new(arguments.clone());
                self.feed(DialogInput::ToolCalled(ToolCall { name: name.clone(), arguments }));
                Ok(())
            }
            What::Service(_) | What::ServiceFails => {
                let id = self.hook_asked.take().ok_or("a service to be asked")?;
                let answer = if let What::Service(answer) = what { Some(Pii::new(answer.clone())) } else { None };
                self.feed(DialogInput::HookDone { id, answer });
                Ok(())
            }
            What::Tool(..) => Err("the language model to be asked".to_owned()),
            What::Model(_) | What::ModelFails if !self.model_asked => Err("the language model to be asked".to_owned()),
            What::Model(text) => {
                self.answer(text);
                Ok(())
            }
            What::ModelFails => {
                self.model_asked = false;
                self.feed(DialogInput::AnswerFailed);
                Ok(())
            }
            What::Says(_) | What::Keys(_) | What::Silence => self.caller(what),
        }
    }

    fn caller(&mut self, what: &What) -> Result<(), String> {
        if self.ended.is_some() {
            return Err("nothing more from the caller, since the call has ended".to_owned());
        }
        if self.model_asked && !matches!(what, What::Keys(_)) {
            return Err("what the language model answers (`model` or `model_fails`)".to_owned());
        }
        self.said.clear();
        self.now += PAUSE;
        match what {
            What::Says(words) => self.feed(DialogInput::TurnEnded(Some(Pii::new(words.clone())))),
            What::Keys(keys) => keys.iter().for_each(|key| self.feed(DialogInput::Digit(*key))),
            _ => {
                self.now = self.now.max(self.wake.unwrap_or_default());
                self.feed(DialogInput::Timeout);
            }
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) {
        self.model_asked = false;
        let language = self.dialog.language();
        for sentence in sentence::sentences(text) {
            let cleared = clear(&speakable(&plain(sentence), &language));
            self.dialog.handle(DialogInput::AnswerSentence(cleared), self.now);
        }
        self.feed(DialogInput::AnswerEnded);
    }

    /// Tells the dialog and does what it asks until it waits for the caller or the model.
    fn feed(&mut self, input: DialogInput) {
        self.dialog.handle(input, self.now);
        for _ in 0..MOST_ROUNDS {
            while let Some(output) = self.dialog.poll() {
                self.obey(output);
            }
            if self.queued.is_empty() || self.dialog.is_over() || self.ended.is_some() {
                return;
            }
            let heard = std::mem::take(&mut self.queued).join(" ");
            self.dialog.handle(DialogInput::SpokenOut { heard, whole: true }, self.now);
        }
    }

    fn obey(&mut self, output: DialogOutput) {
        match output {
            DialogOutput::Say(utterance) => {
                let words = match utterance {
                    Utterance::Sentence { text, .. } => text.as_str().to_owned(),
                    Utterance::Audio { words, .. } => words.map(|words| words.as_str().to_owned()).unwrap_or_default(),
                };
                self.said.push(words.clone());
                self.queued.push(words);
            }
            DialogOutput::Reply(_) => self.model_asked = true,
            DialogOutput::Hook(plan) => self.hook_asked = Some(plan.id),
            DialogOutput::Abandon => {
                self.queued.clear();
                self.model_asked = false;
            }
            DialogOutput::WakeAt(at) => self.wake = at,
            DialogOutput::Transfer(_) => self.ended = Some(Ending::Transfer),
            DialogOutput::HangUp => self.ended = Some(Ending::Hangup),
            DialogOutput::Listen(_) | DialogOutput::Event { .. } | DialogOutput::Recording(_) => {}
        }
    }

    fn has_said(&self, words: &str) -> bool {
        let wanted = normal(&speakable(words, &self.dialog.language()));
        format!(" {} ", normal(&self.all())).contains(&format!(" {wanted} "))
    }

    fn all(&self) -> String {
        self.said.join(" ").trim().to_owned()
    }

    fn holds(&self, name: &Arc<str>, wanted: &str) -> Result<(), String> {
        let found = self.dialog.value_of(name).map(|value| value.text);
        if found.as_deref() == Some(wanted) {
            return Ok(());
        }
        let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("`{found}`"));
        Err(format!("`{wanted}` in `{name}`, found {found}"))
    }
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hangup => "hangup",
            Self::Transfer => "transfer",
        }
    }
}

/// `examples:` of a flow.
pub(super) fn read(node: &Node, inputs: &[Arc<str>]) -> Result<Vec<Example>, FlowError> {
    node.list()?.iter().map(|node| example(node, inputs)).collect()
}

fn example(node: &Node, inputs: &[Arc<str>]) -> Result<Example, FlowError> {
    let mut fields = node.fields()?;
    let name = text(&fields.need("name", "what the example shows")?)?;
    let (has_ears, has_model) = match fields.take("line") {
        None => (true, true),
        Some(node) => match node.text()? {
            "words_and_model" => (true, true),
            "words" => (true, false),
            "keys" => (false, false),
            other => return Err(node.at.error(format!("words_and_model, words or keys, found `{other}`"))),
        },
    };
    let given = fields.take("with").map_or(Ok(Vec::new()), |node| node.entries())?;
    let mut values = Vec::new();
    for (name, node) in &given {
        let known = inputs.iter().find(|input| ***input == **name);
        let known = known.ok_or_else(|| node.at.error("one of the flow's `inputs`"))?;
        values.push((Arc::clone(known), text(node)?));
    }
    if let Some(missing) = inputs.iter().find(|input| !values.iter().any(|(name, _)| name == *input)) {
        return Err(node.at.error(format!("a value for `{missing}` under `with`")));
    }
    let turns_node = fields.need("turns", "what is said and done")?;
    let turns = turns_node.list()?.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
    if turns.is_empty() || turns.len() > MOST_TURNS {
        return Err(turns_node.at.error(format!("1 to {MOST_TURNS} turns")));
    }
    fields.finish("name, line, with, turns")?;
    Ok(Example { name, has_ears, has_model, inputs: values, turns })
}

fn turn(node: &Node) -> Result<Turn, FlowError> {
    let entries = node.entries()?;
    let [(key, value)] = entries.as_slice() else {
        return Err(node.at.error(format!("one of {TURNS}")));
    };
    let what = match key.as_str() {
        "bot" => What::Bot(text(value)?),
        "not_bot" => What::NotBot(text(value)?),
        "says" => What::Says(text(value)?),
        "keys" => What::Keys(keys(value)?),
        "silence" if value.truth()? => What::Silence,
        "model" => What::Model(text(value)?),
        "model_fails" if value.truth()? => What::ModelFails,
        "tool" => match value.entries()?.as_slice() {
            [(name, arguments)] => What::Tool(name.clone(), arguments.json()),
            _ => return Err(value.at.error("one tool and its arguments")),
        },
        "service" if value.is_map() => What::Service(value.json()),
        "service_fails" if value.truth()? => What::ServiceFails,
        "step" => What::Step(identifier(value)?.to_owned()),
        "holds" => held(value)?,
        "ends" => match value.text()? {
            "hangup" => What::Ends(Ending::Hangup),
            "transfer" => What::Ends(Ending::Transfer),
            other => return Err(value.at.error(format!("hangup or transfer, found `{other}`"))),
        },
        _ => return Err(value.at.error(format!("one of {TURNS}"))),
    };
    Ok(Turn { at: value.at.clone(), what })
}

fn held(node: &Node) -> Result<What, FlowError> {
    match node.entries()?.as_slice() {
        [(name, value)] if is_identifier(name) => Ok(What::Holds(name.as_str().into(), text(value)?)),
        _ => Err(node.at.error("one variable and its value")),
    }
}

fn keys(node: &Node) -> Result<Vec<Digit>, FlowError> {
    let wanted = || node.at.error("keys in quotes, such as \"0788#\"");
    let keys: Result<Vec<Digit>, _> = match node.one_char() {
        Some(key) => Digit::try_from(key).map(|key| vec![key]),
        None => node.text()?.chars().map(Digit::try_from).collect(),
    };
    keys.ok().filter(|keys| !keys.is_empty() && keys.len() <= 64).ok_or_else(wanted)
}

fn text(node: &Node) -> Result<String, FlowError> {
    bounded(&node.at, node.text()?.to_owned(), 2000)
}

const TURNS: &str =
    "bot, not_bot, says, keys, silence, model, model_fails, tool, service, service_fails, step, holds, ends";
const CALLED: &str = "0";
const CALLER: &str = "+250788000000";
const PAUSE: Duration = Duration::from_secs(3);
const MOST_TURNS: usize = 200;
/// A flow may be endless; an example is not.
const MOST_ROUNDS: usize = 100;
