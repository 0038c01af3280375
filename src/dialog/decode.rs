//! From YAML to typed steps: every key, its bounds and its default. What spans several steps is checked in `check.rs`.

mod branch;
mod collect;
mod hook;
mod persona;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::flow::{
    Ask, Assets, Choice, Flow, Kind, Menu, Phrases, Prompt, Retry, Settings, Sound, Step, Target, Transfer,
};
use super::transfer::{TransferMode, TransferTo};
use super::values::{
    DIGIT, barge_in, bounded, digit, endpoint, hints, identifier, is_identifier, language, no_input_ms, one_digit,
    phrase_list, phrases, prompt, recording_key, short_text, wait_ms,
};
use super::yaml::{At, Fields, FlowError, Node};
use super::{BargeIn, Endpoint, Expected, examples, sound, yaml};
use crate::providers::Language;
use crate::safety::said::clear;

/// A flow with the places of its steps, for the checks that follow.
pub(super) struct Draft {
    pub flow: Flow,
    pub places: Vec<At>,
}

/// Reads the whole file.
pub(super) fn flow(file: &str, text: &str, assets: &dyn Assets) -> Result<Draft, FlowError> {
    let root = yaml::parse(file, text)?;
    let mut fields = root.fields()?;
    let name = fields.need("name", "the flow's name")?;
    let name: Arc<str> = identifier(&name)?.into();
    let defaults = Defaults::read(fields.take("defaults"))?;
    let language = defaults.language.clone().unwrap_or_default();
    let phrases = phrases(&mut fields, &language)?;
    let inputs = match fields.take("inputs") {
        None => Vec::new(),
        Some(node) => node.list()?.iter().map(|name| identifier(name).map(Arc::from)).collect::<Result<_, _>>()?,
    };
    let variables = fields.take("variables").map_or(Ok(Vec::new()), |node| branch::variables(&node))?;
    let examples = fields.take("examples");
    let moods = fields.take("moods").map(|node| persona::moods(&node)).transpose()?;
    let endless = fields.take("endless").map_or(Ok(false), |node| node.truth())?;
    let recorded = fields.take("recorded").map_or(Ok(true), |node| node.truth())?;
    let entries = fields.need("steps", "the steps")?.entries()?;
    if entries.is_empty() || entries.len() > MAX_STEPS {
        return Err(fields.at.child("steps", fields.at.line).error(format!("1 to {MAX_STEPS} steps")));
    }
    let names = names(&entries)?;
    let start = match fields.take("start") {
        None => 0,
        Some(node) => match step_name(&node, &names)? {
            Target::Step(index) => index,
            Target::HangUp => return Err(node.at.error("the name of a step")),
        },
    };
    let examples = examples.map_or(Ok(Vec::new()), |node| examples::read(&node, &inputs))?;
    fields.finish("name, start, inputs, variables, moods, endless, recorded, defaults, phrases, steps, examples")?;
    let mut steps = Vec::with_capacity(entries.len());
    let mut samples = 0;
    for (own, (_, node)) in entries.iter().enumerate() {
        let step =
            Reader { flow: &name, names: &names, own, defaults: &defaults, phrases: &phrases, assets }.step(node)?;
        if let Kind::Play { sound, .. } = &step.kind {
            samples += sound.samples.len();
        }
        if samples > MAX_SAMPLES {
            return Err(node.at.error("at most 600 s of sound in a flow"));
        }
        steps.push(step);
    }
    let private = mark_sensitive(&mut steps);
    let places = entries.into_iter().map(|(_, node)| node.at).collect();
    let flow = Flow { name, steps, start, phrases, inputs, variables, examples, moods, endless, private, recorded };
    Ok(Draft { flow, places })
}

/// What repeats sensitive digits is as sensitive as what asks for them. Gives the variables that hold them.
fn mark_sensitive(steps: &mut [Step]) -> Vec<Arc<str>> {
    let collects = steps.iter().filter_map(|step| match &step.kind {
        Kind::Collect(collect) if collect.sensitive => Some(Arc::clone(&collect.into)),
        _ => None,
    });
    let secret: Vec<Arc<str>> = collects.collect();
    for step in steps {
        let repeats = step.prompts().into_iter().flat_map(Prompt::variables).any(|name| secret.contains(name));
        step.sensitive = repeats || matches!(&step.kind, Kind::Collect(collect) if collect.sensitive);
    }
    secret
}

fn names(entries: &[(String, Node)]) -> Result<HashMap<String, usize>, FlowError> {
    let mut names = HashMap::new();
    for (index, (name, node)) in entries.iter().enumerate() {
        if !is_identifier(name) || matches!(name.as_str(), "self" | "hangup") {
            return Err(node.at.error("a step name of a-z, 0-9 and _ (not `self` or `hangup`)"));
        }
        names.insert(name.clone(), index);
    }
    Ok(names)
}

/// `defaults:` of the flow; absent values are the step kind's own.
#[derive(Default)]
struct Defaults {
    barge_in: Option<BargeIn>,
    endpoint: Option<Endpoint>,
    stop_words: Option<Arc<[String]>>,
    backchannels: Option<Arc<[String]>>,
    finish: Option<bool>,
    language: Option<Language>,
    voice: Option<Arc<str>>,
    rate: Option<f32>,
    temperature: Option<f32>,
    hints: Option<Arc<[String]>>,
    no_input: Option<Duration>,
    max_tries: Option<u32>,
}

impl Defaults {
    fn read(node: Option<Node>) -> Result<Self, FlowError> {
        let Some(node) = node else { return Ok(Self::default()) };
        let mut fields = node.fields()?;
        let mut defaults = Self::settings(&mut fields)?;
        defaults.no_input = fields.take("no_input_ms").map(|n| no_input_ms(&n)).transpose()?;
        defaults.max_tries = fields.take("max_tries").map(|n| n.whole(1, 10)).transpose()?;
        fields.finish(&format!("{SETTINGS}, no_input_ms, max_tries"))?;
        Ok(defaults)
    }

    fn settings(fields: &mut Fields) -> Result<Self, FlowError> {
        Ok(Self {
            barge_in: fields.take("barge_in").map(|n| barge_in(&n)).transpose()?,
            endpoint: endpoint(fields)?,
            stop_words: fields.take("stop_words").map(|n| phrase_list(&n).map(Arc::from)).transpose()?,
            backchannels: fields.take("backchannels").map(|n| phrase_list(&n).map(Arc::from)).transpose()?,
            finish: fields.take("finish").map(|n| n.truth()).transpose()?,
            language: fields.take("language").map(|n| language(&n)).transpose()?,
            voice: fields.take("voice").map(|n| short_text(&n)).transpose()?,
            rate: fields.take("rate").map(|n| n.number(0.5, 2.0)).transpose()?,
            temperature: fields.take("temperature").map(|n| n.number(0.0, 2.0)).transpose()?,
            hints: fields.take("hints").map(|n| hints(&n)).transpose()?,
            ..Self::default()
        })
    }
}

struct Reader<'a> {
    flow: &'a str,
    names: &'a HashMap<String, usize>,
    own: usize,
    defaults: &'a Defaults,
    phrases: &'a Phrases,
    assets: &'a dyn Assets,
}

impl Reader<'_> {
    fn step(&self, node: &Node) -> Result<Step, FlowError> {
        let mut fields = node.fields()?;
        let name = self.names.iter().find(|(_, index)| **index == self.own).map(|(name, _)| name.as_str());
        let own = Defaults::settings(&mut fields)?;
        let recording = fields.take("recording").map(|node| recording_key(&node)).transpose()?;
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
        let (kind, settings) = match kinds.as_slice() {
            ["goto"] => {
                let kind = Kind::Goto(self.goto(&mut fields)?);
                let settings = self.settings(own, &kind);
                (kind, settings)
            }
            [kind] | [kind, "goto"] => {
                let body = fields.need(kind, "the step")?;
                let kind = self.kind(kind, &body, &mut fields)?;
                let settings = self.settings(own, &kind);
                (kind, settings)
            }
            [] => return Err(node.at.error(format!("one of the keys {}, found none", KINDS.join(", ")))),
            [.., extra] => {
                let extra = if *extra == "goto" { kinds.get(1).unwrap_or(extra) } else { extra };
                let extra = fields.need(extra, "")?;
                return Err(extra.at.error(format!("one kind of step, found {}", kinds.join(", "))));
            }
        };
        match kinds.as_slice() {
            ["goto"] => fields.finish(&format!("{}, {SETTINGS}, recording", KINDS.join(", ")))?,
            _ => fields.finish(&format!("goto, wait_ms, {SETTINGS}, recording"))?,
        }
        Ok(Step { name: name.unwrap_or_default().into(), settings, kind, recording, sensitive: false })
    }

    fn settings(&self, own: Defaults, kind: &Kind) -> Settings {
        let flow = self.defaults;
        let (barge_in, expected) = match kind {
            Kind::Menu(_) => (BargeIn::Speech, Expected::Choice),
            Kind::Collect(collect) => (BargeIn::Speech, collect::expected(&collect.slot)),
            Kind::Transfer(_) | Kind::HangUp { .. } => (BargeIn::Off, Expected::Open),
            _ => (BargeIn::Speech, Expected::Open),
        };
        // The last words of a call are not cut short by a default that is meant for its conversation.
        let flow_barge_in = flow.barge_in.filter(|_| !matches!(kind, Kind::Transfer(_) | Kind::HangUp { .. }));
        Settings {
            barge_in: own.barge_in.or(flow_barge_in).unwrap_or(barge_in),
            endpoint: own.endpoint.or(flow.endpoint).unwrap_or(Endpoint::Answer(expected)),
            language: own.language.or_else(|| flow.language.clone()).unwrap_or_default(),
            voice: own.voice.or_else(|| flow.voice.clone()),
            rate: own.rate.or(flow.rate).unwrap_or(1.0),
            temperature: own.temperature.or(flow.temperature).unwrap_or(0.6),
            stop_words: own.stop_words.or_else(|| flow.stop_words.clone()),
            backchannels: own.backchannels.or_else(|| flow.backchannels.clone()),
            finish: own.finish.or(flow.finish).unwrap_or(false),
            hints: own.hints.or_else(|| flow.hints.clone()).unwrap_or_default(),
        }
    }

    fn kind(&self, kind: &str, body: &Node, fields: &mut Fields) -> Result<Kind, FlowError> {
        match kind {
            "say" => {
                let (prompt, wait) = (prompt(body)?, wait_ms(fields)?);
                Ok(Kind::Say { prompt, wait, next: self.goto(fields)? })
            }
            "play" => {
                let (sound, wait) = (self.sound(body)?, wait_ms(fields)?);
                Ok(Kind::Play { sound, wait, next: self.goto(fields)? })
            }
            "menu" => Ok(Kind::Menu(self.menu(body)?)),
            "ask" => Ok(Kind::Ask(Box::new(self.ask(body, fields)?))),
            "collect" => Ok(Kind::Collect(self.collect(body, fields)?)),
            "set" => Ok(Kind::Set { values: branch::settings(body)?, next: self.goto(fields)? }),
            "branch" => Ok(Kind::Branch(self.branch(body, fields)?)),
            "hook" => Ok(Kind::Hook(Box::new(self.hook(body, fields)?))),
            "tell" => Ok(Kind::Tell(Box::new(self.tell(body, fields)?))),
            "transfer" => self.transfer(body),
            _ if body.is_null() => Ok(Kind::HangUp { prompt: Prompt::default() }),
            _ => Ok(Kind::HangUp { prompt: prompt(body)? }),
        }
    }

    fn sound(&self, body: &Node) -> Result<Sound, FlowError> {
        let mut fields = body.fields()?;
        let words = fields.take("words").map(|node| node.text().map(clear)).transpose()?;
        let samples = match (fields.take("tone"), fields.take("file")) {
            (Some(node), None) => {
                let mut tone = node.fields()?;
                let hz = tone.need("hz", "a frequency in Hz")?.number(100.0, 3400.0)?;
                let ms = tone.need("ms", "a length in ms")?.whole(50, 60_000)?;
                let dbfs = tone.take("dbfs").map_or(Ok(-20.0), |node| node.number(-60.0, -3.0))?;
                tone.finish("hz, ms, dbfs")?;
                sound::tone(hz, ms, dbfs)
            }
            (None, Some(node)) => {
                let bytes = self.assets.sound(node.text()?).map_err(|what| node.at.error(what))?;
                sound::wav(&bytes).map_err(|what| node.at.error(what))?
            }
            _ => return Err(body.at.error("either `tone` or `file`")),
        };
        fields.finish("tone, file, words")?;
        Ok(Sound { samples, words })
    }

    fn menu(&self, body: &Node) -> Result<Menu, FlowError> {
        let mut fields = body.fields()?;
        let prompt = prompt(&fields.need("prompt", "the words of the menu")?)?;
        let choices_node = fields.need("choices", "a list of choices")?;
        let mut choices: Vec<Choice> = Vec::new();
        for node in choices_node.list()? {
            let choice = self.choice(&node)?;
            if choices.iter().any(|other| other.key == choice.key) {
                return Err(node.at.error(format!("a key of its own, found `{}` again", choice.key)));
            }
            let taken = choices.iter().filter(|other| other.next != choice.next).flat_map(|other| &other.phrases);
            if let Some(phrase) = taken.into_iter().find(|phrase| choice.phrases.contains(phrase)) {
                return Err(node.at.error(format!("words of its own, found `{phrase}` again")));
            }
            choices.push(choice);
        }
        if choices.is_empty() {
            return Err(choices_node.at.error("at least one choice"));
        }
        let retry = self.retry(&mut fields, None)?;
        fields.finish(&format!("prompt, choices, {RETRY}"))?;
        Ok(Menu { prompt, choices, retry })
    }

    fn choice(&self, node: &Node) -> Result<Choice, FlowError> {
        let mut fields = node.fields()?;
        let key = digit(&fields.need("key", "the key that serves callers who cannot speak")?)?;
        let phrases = fields.take("words").map_or(Ok(Vec::new()), |node| phrase_list(&node))?;
        let next = self.goto(&mut fields)?;
        fields.finish("key, words, goto")?;
        Ok(Choice { key, phrases, next })
    }

    fn ask(&self, body: &Node, step: &mut Fields) -> Result<Ask, FlowError> {
        let mut fields = body.fields()?;
        let prompt_words = prompt(&fields.need("prompt", "the question")?)?;
        let system = self.system(&mut fields)?;
        let keys_node = fields.need("keys", "keys for callers who cannot be understood")?;
        let mut keys = Vec::new();
        for (name, node) in keys_node.entries()? {
            keys.push((one_digit(&name).ok_or_else(|| node.at.error(DIGIT))?, self.target(&node)?));
        }
        if keys.is_empty() {
            return Err(keys_node.at.error("at least one key"));
        }
        let unheard = prompt(&fields.need("unheard", "words for a line that cannot hear words")?)?;
        let without_model = prompt(&fields.need("without_model", "words for a line without a language model")?)?;
        let ask = Ask {
            prompt: prompt_words,
            system,
            max_turns: fields.take("max_turns").map_or(Ok(10), |node| node.whole(1, 50))?,
            max_tokens: fields.take("max_tokens").map_or(Ok(200), |node| node.whole(16, 2000))?,
            keys,
            done_words: fields.take("done_words").map_or(Ok(Vec::new()), |node| phrase_list(&node))?,
            unheard,
            without_model,
            filler: fields.take("filler").map_or_else(|| Ok(self.phrases.filler.clone()), |node| prompt(&node))?,
            canned: fields.take("canned").map_or_else(|| Ok(self.phrases.canned.clone()), |node| prompt(&node))?,
            repair: fields.take("repair").map(|node| persona::repair(&node)).transpose()?,
            tools: fields.take("tools").map_or(Ok(Vec::new()), |node| self.tools(&node))?,
            retry: self.retry(&mut fields, None)?,
            next: self.goto(step)?,
        };
        fields.finish(&format!(
            "prompt, system, system_text, keys, unheard, without_model, max_turns, max_tokens, done_words, filler, \
             canned, repair, tools, {RETRY}"
        ))?;
        Ok(ask)
    }

    fn system(&self, fields: &mut Fields) -> Result<String, FlowError> {
        match (fields.take("system"), fields.take("system_text")) {
            (Some(node), None) => {
                let text = self.assets.prompt(node.text()?).map_err(|what| node.at.error(what))?;
                bounded(&node.at, text, MAX_SYSTEM)
            }
            (None, Some(node)) => bounded(&node.at, node.text()?.to_owned(), MAX_SYSTEM),
            _ => Err(fields.at.error("either `system` (a file of config/prompts) or `system_text`")),
        }
    }

    /// `invalid` is a key of `collect` only.
    fn retry(&self, fields: &mut Fields, invalid: Option<Node>) -> Result<Retry, FlowError> {
        let again = |node: Option<Node>, usual: &Prompt| match node {
            None => Ok(vec![usual.clone()]),
            Some(node) if node.is_list() => node.list()?.iter().map(prompt).collect(),
            Some(node) => Ok(vec![prompt(&node)?]),
        };
        let no_match = again(fields.take("no_match"), &self.phrases.no_match)?;
        let invalid = invalid.map_or_else(|| Ok(no_match.clone()), |node| again(Some(node), &self.phrases.no_match))?;
        Ok(Retry {
            no_input: again(fields.take("no_input"), &self.phrases.no_input)?,
            no_match,
            invalid,
            wait: fields
                .take("no_input_ms")
                .map(|node| no_input_ms(&node))
                .transpose()?
                .or(self.defaults.no_input)
                .unwrap_or(Duration::from_secs(6)),
            max_tries: fields
                .take("max_tries")
                .map(|node| node.whole(1, 10))
                .transpose()?
                .or(self.defaults.max_tries)
                .unwrap_or(3),
            give_up: fields.take("give_up").map_or(Ok(Target::HangUp), |node| self.target(&node))?,
        })
    }

    fn transfer(&self, body: &Node) -> Result<Kind, FlowError> {
        let mut fields = body.fields()?;
        let to = match (fields.take("to"), fields.take("target")) {
            (Some(node), None) => TransferTo::Name(identifier(&node)?.into()),
            (None, Some(node)) => TransferTo::Address(address(&node)?),
            _ => return Err(body.at.error("either `to` (a name of `transfer.targets`) or `target` (an address)")),
        };
        let mode = match fields.take("mode") {
            None => TransferMode::Blind,
            Some(node) => match node.text()? {
                "blind" => TransferMode::Blind,
                "attended" => TransferMode::Attended,
                other => return Err(node.at.error(format!("blind or attended, found `{other}`"))),
            },
        };
        let ring = fields.take("ring_timeout_s").map_or(Ok(30), |node| node.whole(5, 180))?;
        let words = prompt(&fields.need("say", "the words before the transfer")?)?;
        let brief = match fields.take("announce") {
            Some(node) if mode == TransferMode::Blind => {
                return Err(node.at.error("`mode: attended`: nobody speaks with the target of a blind transfer"));
            }
            Some(node) => prompt(&node)?,
            None => Prompt::default(),
        };
        let mut way = |key: &str| fields.take(key).map(|node| self.target(&node)).transpose();
        let (busy, no_answer, failed) = (way("on_busy")?, way("on_no_answer")?, way("on_failed")?);
        let on_failed = failed.unwrap_or(Target::HangUp);
        fields.finish("to, target, mode, ring_timeout_s, say, announce, on_busy, on_no_answer, on_failed")?;
        Ok(Kind::Transfer(Box::new(Transfer {
            prompt: words,
            to,
            mode,
            ring_timeout: Duration::from_secs(ring.into()),
            brief,
            on_busy: busy.unwrap_or(on_failed),
            on_no_answer: no_answer.unwrap_or(on_failed),
            on_failed,
        })))
    }

    fn goto(&self, fields: &mut Fields) -> Result<Target, FlowError> {
        self.target(&fields.need("goto", "the name of a step, `self` or `hangup`")?)
    }

    fn target(&self, node: &Node) -> Result<Target, FlowError> {
        if node.text()? == "self" {
            return Ok(Target::Step(self.own));
        }
        step_name(node, self.names)
    }
}

fn step_name(node: &Node, names: &HashMap<String, usize>) -> Result<Target, FlowError> {
    match node.text()? {
        "hangup" => Ok(Target::HangUp),
        name => names
            .get(name)
            .map(|index| Target::Step(*index))
            .ok_or_else(|| node.at.error(format!("the name of a step, found `{name}`"))),
    }
}

/// A number or SIP address.
fn address(node: &Node) -> Result<Arc<str>, FlowError> {
    let target = short_text(node)?;
    let number = target.strip_prefix("tel:").unwrap_or(&target);
    let number = number.strip_prefix('+').unwrap_or(number);
    let is_number = (2..=15).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let is_sip = target.strip_prefix("sip:").or_else(|| target.strip_prefix("sips:")).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"'))
    });
    if !is_number && !is_sip {
        return Err(node.at.error("a number such as \"+250788000000\" or an address such as sip:desk@example.org"));
    }
    Ok(target)
}

const KINDS: [&str; 12] =
    ["say", "menu", "ask", "collect", "play", "tell", "hook", "set", "branch", "transfer", "hangup", "goto"];
const SETTINGS: &str =
    "barge_in, endpoint_ms, listen, stop_words, backchannels, finish, language, voice, rate, temperature, hints";
const RETRY: &str = "no_input, no_match, no_input_ms, max_tries, give_up";
const MAX_STEPS: usize = 200;
const MAX_SYSTEM: usize = 20_000;
/// 600 s at 8 kHz.
const MAX_SAMPLES: usize = 4_800_000;
