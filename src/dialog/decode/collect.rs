//! Reading a `collect` step: what is asked for, within which bounds, and how it is read back.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;

use super::super::flow::Collect;
use super::super::slot::{Day, Slot};
use super::super::values::{DIGIT, digit, identifier, millis, one_digit, prompt, short_text};
use super::super::yaml::{Fields, FlowError, Node};
use super::super::{Expected, value::BUILT_IN};
use super::{RETRY, Reader};

impl Reader<'_> {
    pub(super) fn collect(&self, body: &Node, step: &mut Fields) -> Result<Collect, FlowError> {
        let mut fields = body.fields()?;
        let prompt_words = prompt(&fields.need("prompt", "the question")?)?;
        let into = variable(&fields.need("into", "the name of a variable")?)?;
        let slot = self.slot(&mut fields)?;
        let (min, max) = bounds(&slot, &mut fields)?;
        let terminator = match fields.take("terminator") {
            // Keys that have a fixed number need none.
            None if min == max && !slot.is_digits() => None,
            None => Digit::try_from('#').ok(),
            Some(node) if node.is_text() && node.text()? == "none" => None,
            Some(node) => Some(digit(&node)?),
        };
        let invalid = fields.take("invalid");
        let collect = Collect {
            prompt: prompt_words,
            into,
            slot,
            read_back: fields.take("read_back").map(|node| prompt(&node)).transpose()?,
            min,
            max,
            terminator,
            digit_wait: fields
                .take("digit_ms")
                .map_or(Ok(Duration::from_secs(3)), |node| millis(&node, 500, 10_000))?,
            sensitive: fields.take("sensitive").map_or(Ok(false), |node| node.truth())?,
            retry: self.retry(&mut fields, invalid)?,
            next: self.goto(step)?,
        };
        fields.finish(&format!(
            "prompt, into, type, min, max, starts, check, least, most, keys, read_back, terminator, digit_ms, \
             sensitive, invalid, {RETRY}"
        ))?;
        Ok(collect)
    }

    fn slot(&self, fields: &mut Fields) -> Result<Slot, FlowError> {
        let Some(kind) = fields.take("type") else { return digits(fields) };
        match kind.text()? {
            "digits" => digits(fields),
            "number" => {
                let least = fields.take("least").map_or(Ok(0), |node| node.whole(0, MAX_NUMBER))?;
                let most = fields.take("most").map_or(Ok(MAX_NUMBER), |node| node.whole(least, MAX_NUMBER))?;
                Ok(Slot::Number { least: least.into(), most: most.into() })
            }
            "date" => {
                let mut bound = |key: &str, usual: Day| fields.take(key).map_or(Ok(usual), |node| day(&node));
                Ok(Slot::Date { least: bound("least", Day::FIRST)?, most: bound("most", Day::LAST)? })
            }
            "time" => Ok(Slot::Time),
            "yes_no" => Ok(Slot::YesNo),
            name @ ("words" | "name") => self.words(name == "name", fields),
            other => Err(kind.at.error(format!("digits, number, date, time, yes_no, name or words, found `{other}`"))),
        }
    }

    fn words(&self, name_only: bool, fields: &mut Fields) -> Result<Slot, FlowError> {
        let most = fields.take("most").map_or(Ok(if name_only { 60 } else { 400 }), |node| node.whole(1, 1000))?;
        let keys_node = fields.need("keys", "keys for callers who cannot be understood")?;
        let mut keys = Vec::new();
        for (name, node) in keys_node.entries()? {
            keys.push((one_digit(&name).ok_or_else(|| node.at.error(DIGIT))?, self.target(&node)?));
        }
        if keys.is_empty() {
            return Err(keys_node.at.error("at least one key"));
        }
        Ok(Slot::Words { name_only, most: usize::try_from(most).unwrap_or(usize::MAX), keys })
    }
}

/// What kind of answer the caller's words are, where the step does not say it.
pub(super) const fn expected(slot: &Slot) -> Expected {
    match slot {
        Slot::Digits { .. } | Slot::Date { .. } => Expected::Digits,
        Slot::YesNo => Expected::YesNo,
        Slot::Number { .. } | Slot::Time | Slot::Words { .. } => Expected::Open,
    }
}

/// A name that may be given a value.
pub(super) fn variable(node: &Node) -> Result<Arc<str>, FlowError> {
    let name = identifier(node)?;
    if BUILT_IN.contains(&name) {
        return Err(node.at.error(format!("a name of the flow's own: `{name}` is a fact of the call")));
    }
    Ok(name.into())
}

fn digits(fields: &mut Fields) -> Result<Slot, FlowError> {
    let mut starts = Vec::new();
    for node in fields.take("starts").map_or(Ok(Vec::new()), |node| node.list())? {
        let start = short_text(&node)?;
        if !start.bytes().all(|b| b.is_ascii_digit()) {
            return Err(node.at.error("digits in quotes"));
        }
        starts.push(start.to_string());
    }
    let luhn = match fields.take("check") {
        None => false,
        Some(node) if node.text()? == "luhn" => true,
        Some(node) => return Err(node.at.error("luhn")),
    };
    Ok(Slot::Digits { starts, luhn })
}

/// The fewest and most keys: those of the flow for digits, those of the kind for everything else.
fn bounds(slot: &Slot, fields: &mut Fields) -> Result<(usize, usize), FlowError> {
    if !slot.is_digits() {
        return Ok(slot.keys());
    }
    let min = fields.need("min", "the fewest digits")?.whole(1, MAX_DIGITS)?;
    let max = fields.need("max", "the most digits")?.whole(min, MAX_DIGITS)?;
    Ok((usize::try_from(min).unwrap_or(1), usize::try_from(max).unwrap_or(1)))
}

fn day(node: &Node) -> Result<Day, FlowError> {
    let text = node.text()?;
    Day::parse(text).ok_or_else(|| node.at.error(format!("a date such as 2026-03-05, found `{text}`")))
}

const MAX_DIGITS: u32 = 32;
const MAX_NUMBER: u32 = 999_999_999;
