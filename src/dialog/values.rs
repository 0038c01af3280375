//! The values of a flow's keys: prompts, phrases, keys of the telephone, times, names; each with its bounds.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;

use super::flow::{Phrases, Piece, Prompt, RecordingKey, Template};
use super::yaml::{At, Fields, FlowError, Node};
use super::{BargeIn, Endpoint, Expected, sentence, words};
use crate::providers::Language;

pub(super) fn phrases(fields: &mut Fields, language: &Language) -> Result<Phrases, FlowError> {
    let at = fields.at.child("phrases", fields.at.line);
    let mut own = fields.take("phrases").map(|node| node.fields()).transpose()?;
    let mut take = |key: &str, english: &str| match own.as_mut().and_then(|fields| fields.take(key)) {
        Some(node) => fixed_prompt(&node),
        None if language.primary() == "en" => Ok(Prompt::fixed_text(english)),
        None => {
            let what = format!("the words in `{}`, found nothing", language.tag());
            Err(at.child(key, at.line).error(what))
        }
    };
    let phrases = Phrases {
        filler: take("filler", "One moment please.")?,
        canned: take("canned", "I am sorry, I can't answer that just now.")?,
        no_input: take("no_input", "I did not hear you.")?,
        no_match: take("no_match", "I am sorry, I did not get that.")?,
        unheard: take("unheard", "I can't understand words on this line. Please use the keys of your phone.")?,
        goodbye: take("goodbye", "Goodbye.")?,
        recording: own.as_mut().and_then(|fields| fields.take("recording")).map(|n| fixed_prompt(&n)).transpose()?,
        not_recorded: own
            .as_mut()
            .and_then(|fields| fields.take("not_recorded"))
            .map(|n| fixed_prompt(&n))
            .transpose()?,
        busy: Prompt::default(),
        no_answer: Prompt::default(),
        not_reached: Prompt::default(),
    };
    // In another language a failed transfer has words of its own only where the flow gives them.
    let english = language.primary() == "en";
    let mut outcome = |key: &str, usual: &str| match own.as_mut().and_then(|fields| fields.take(key)) {
        Some(node) => fixed_prompt(&node),
        None if english => Ok(Prompt::fixed_text(usual)),
        None => Ok(Prompt::default()),
    };
    let phrases = Phrases {
        busy: outcome("busy", "I am sorry, the line is busy.")?,
        no_answer: outcome("no_answer", "I am sorry, nobody answers.")?,
        not_reached: outcome("not_reached", "I am sorry, I could not connect you.")?,
        ..phrases
    };
    let known = "filler, canned, no_input, no_match, unheard, goodbye, busy, no_answer, not_reached, recording, \
                 not_recorded";
    own.map_or(Ok(()), |fields| fields.finish(known))?;
    Ok(phrases)
}

pub(super) fn fixed_prompt(node: &Node) -> Result<Prompt, FlowError> {
    let words = prompt(node)?;
    if let Some(name) = words.variables().next() {
        return Err(node.at.error(format!("words without variables, found {{{name}}}")));
    }
    Ok(words)
}

/// Text, or a list of texts; each is split into sentences.
pub(super) fn prompt(node: &Node) -> Result<Prompt, FlowError> {
    let texts = if node.is_list() { node.list()? } else { vec![node.clone()] };
    let mut sentences = Vec::new();
    let mut total = 0;
    for text in &texts {
        let words = text.text()?;
        total += words.chars().count();
        for sentence in sentence::sentences(words) {
            sentences.push(template(&text.at, sentence)?);
        }
    }
    if sentences.is_empty() {
        return Err(node.at.error("words to say, found none"));
    }
    if sentences.len() > MAX_SENTENCES || total > MAX_PROMPT {
        return Err(node.at.error(format!("at most {MAX_SENTENCES} sentences and {MAX_PROMPT} characters")));
    }
    Ok(Prompt(sentences))
}

pub(super) fn template(at: &At, text: &str) -> Result<Template, FlowError> {
    let bad = || at.error("variables as {name}, found a brace that is none");
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(open);
        let inner = after.strip_prefix('{').ok_or_else(bad)?;
        let (name, tail) = inner.split_once('}').ok_or_else(bad)?;
        if !is_identifier(name) {
            return Err(bad());
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Variable(name.into()));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(Template(pieces))
}

pub(super) fn phrase_list(node: &Node) -> Result<Vec<String>, FlowError> {
    let mut phrases = Vec::new();
    for item in node.list()? {
        let phrase = words::normal(&short_text(&item)?);
        if phrase.is_empty() {
            return Err(item.at.error("a word or phrase"));
        }
        phrases.push(phrase);
    }
    if phrases.is_empty() || phrases.len() > 50 {
        return Err(node.at.error("1 to 50 words or phrases"));
    }
    Ok(phrases)
}

/// Words for the recogniser, as they are written.
pub(super) fn hints(node: &Node) -> Result<Arc<[String]>, FlowError> {
    let hints = node.list()?.into_iter().map(|item| short_text(&item).map(|hint| hint.to_string()));
    let hints = hints.collect::<Result<Vec<_>, _>>()?;
    if hints.is_empty() || hints.len() > MAX_HINTS {
        return Err(node.at.error(format!("1 to {MAX_HINTS} words or phrases")));
    }
    Ok(hints.into())
}

pub(super) fn barge_in(node: &Node) -> Result<BargeIn, FlowError> {
    match node.text()? {
        "speech" => Ok(BargeIn::Speech),
        "words" => Ok(BargeIn::Words),
        "stop_words" => Ok(BargeIn::StopWords),
        "digits" => Ok(BargeIn::Digits),
        "off" => Ok(BargeIn::Off),
        other => Err(node.at.error(format!("speech, words, stop_words, digits or off, found `{other}`"))),
    }
}

/// `endpoint_ms` or `listen`: the one is a silence, the other says by what it is found.
pub(super) fn endpoint(fields: &mut Fields) -> Result<Option<Endpoint>, FlowError> {
    match (fields.take("endpoint_ms"), fields.take("listen")) {
        (None, None) => Ok(None),
        (Some(node), None) => millis(&node, 100, 3000).map(|silence| Some(Endpoint::Silence(silence))),
        (None, Some(node)) => expected(&node).map(|answer| Some(Endpoint::Answer(answer))),
        (Some(_), Some(node)) => Err(node.at.error("either `endpoint_ms` or `listen`")),
    }
}

fn expected(node: &Node) -> Result<Expected, FlowError> {
    match node.text()? {
        "open" => Ok(Expected::Open),
        "yes_no" => Ok(Expected::YesNo),
        "choice" => Ok(Expected::Choice),
        "digits" => Ok(Expected::Digits),
        "spelling" => Ok(Expected::Spelling),
        "address" => Ok(Expected::Address),
        other => Err(node.at.error(format!("open, yes_no, choice, digits, spelling or address, found `{other}`"))),
    }
}

pub(super) fn recording_key(node: &Node) -> Result<RecordingKey, FlowError> {
    match node.text()? {
        "on" => Ok(RecordingKey::On),
        "off" => Ok(RecordingKey::Off),
        "pause" => Ok(RecordingKey::Pause),
        "resume" => Ok(RecordingKey::Resume),
        "discard" => Ok(RecordingKey::Discard),
        other => Err(node.at.error(format!("on, off, pause, resume or discard, found `{other}`"))),
    }
}

pub(super) fn language(node: &Node) -> Result<Language, FlowError> {
    let tag = node.text()?;
    Language::parse(tag).map_err(|_| node.at.error(format!("a language tag such as en or fr-CA, found `{tag}`")))
}

pub(super) fn wait_ms(fields: &mut Fields) -> Result<Option<Duration>, FlowError> {
    fields.take("wait_ms").map(|node| millis(&node, 500, 30_000)).transpose()
}

pub(super) fn no_input_ms(node: &Node) -> Result<Duration, FlowError> {
    millis(node, 1000, 30_000)
}

pub(super) fn millis(node: &Node, least: u32, most: u32) -> Result<Duration, FlowError> {
    Ok(Duration::from_millis(node.whole(least, most)?.into()))
}

pub(super) fn digit(node: &Node) -> Result<Digit, FlowError> {
    node.one_char().and_then(|key| Digit::try_from(key).ok()).ok_or_else(|| node.at.error(DIGIT))
}

pub(super) fn one_digit(name: &str) -> Option<Digit> {
    let mut chars = name.chars();
    let first = chars.next().filter(|_| chars.next().is_none())?;
    Digit::try_from(first).ok()
}

pub(super) fn identifier(node: &Node) -> Result<&str, FlowError> {
    let text = node.text()?;
    if is_identifier(text) { Ok(text) } else { Err(node.at.error("a name of a-z, 0-9 and _, at most 48 long")) }
}

pub(super) fn is_identifier(text: &str) -> bool {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=48).contains(&text.len()) && text.bytes().all(sound) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

pub(super) fn short_text(node: &Node) -> Result<Arc<str>, FlowError> {
    bounded(&node.at, node.text()?.to_owned(), 100).map(Into::into)
}

pub(super) fn bounded(at: &At, text: String, most: usize) -> Result<String, FlowError> {
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(at.error(format!("1 to {most} characters of text")));
    }
    Ok(text)
}

pub(super) const DIGIT: &str = "one key: 0 to 9, \"*\", \"#\" or A to D";
/// Vendors take at most a hundred.
const MAX_HINTS: usize = 100;
const MAX_SENTENCES: usize = 40;
const MAX_PROMPT: usize = 4000;
