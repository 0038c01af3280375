//! Reading what makes a persona: moods and what is done about them, lists of which one item is told, gentle corrections.

use std::sync::Arc;

use super::super::agent::MISSING;
use super::super::flow::Prompt;
use super::super::mood::Moods;
use super::super::tell::{Item, Tell};
use super::super::values::{bounded, fixed_prompt, prompt, short_text};
use super::super::yaml::{Fields, FlowError, Node};
use super::Reader;

impl Reader<'_> {
    /// `tell: {intro, items, system}`.
    pub(super) fn tell(&self, body: &Node, step: &mut Fields) -> Result<Tell, FlowError> {
        let mut fields = body.fields()?;
        let name = self.names.iter().find(|(_, index)| **index == self.own).map_or("", |(name, _)| name.as_str());
        let items_node = fields.need("items", "a list of texts, or of `text` and `keep`")?;
        let items = items_node.list()?.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        if !(2..=MOST_ITEMS).contains(&items.len()) {
            return Err(items_node.at.error(format!("2 to {MOST_ITEMS} items")));
        }
        let tell = Tell {
            intro: prompt(&fields.need("intro", "words that are said while the model writes")?)?,
            items,
            list: Arc::from(format!("{}/{name}", self.flow)),
            system: self.system(&mut fields)?,
            max_tokens: fields.take("max_tokens").map_or(Ok(120), |node| node.whole(16, 500))?,
            next: self.goto(step)?,
        };
        fields.finish("intro, items, system, system_text, max_tokens")?;
        Ok(tell)
    }
}

fn item(node: &Node) -> Result<Item, FlowError> {
    if node.is_text() {
        return Ok(Item { prompt: fixed_prompt(node)?, text: node.text()?.to_owned(), keep: Vec::new() });
    }
    let mut fields = node.fields()?;
    let text = fields.need("text", "the item's words")?;
    let keep = fields.need("keep", "words that must be told")?.list()?;
    let keep = keep.iter().map(|node| short_text(node).map(|words| words.to_string())).collect::<Result<_, _>>()?;
    fields.finish("text, keep")?;
    Ok(Item { prompt: fixed_prompt(&text)?, text: text.text()?.to_owned(), keep })
}

/// `moods: {frustrated: {rate, encourage, system_text}}`.
pub(super) fn moods(node: &Node) -> Result<Moods, FlowError> {
    let mut fields = node.fields()?;
    let node = fields.need("frustrated", "what is done about a frustrated caller")?;
    fields.finish("frustrated")?;
    let mut fields = node.fields()?;
    let encourage = fields.take("encourage").map_or(Ok(Vec::new()), |node| node.list())?;
    let moods = Moods {
        rate: fields.take("rate").map_or(Ok(0.85), |node| node.number(0.5, 1.0))?,
        encourage: encourage.iter().map(fixed_prompt).collect::<Result<_, _>>()?,
        system: fields
            .take("system_text")
            .map_or(Ok(String::new()), |node| bounded(&node.at, node.text()?.to_owned(), 2000))?,
    };
    fields.finish("rate, encourage, system_text")?;
    Ok(moods)
}

/// `repair:` may say what was missing and nothing else.
pub(super) fn repair(node: &Node) -> Result<Prompt, FlowError> {
    let words = prompt(node)?;
    if let Some(name) = words.variables().find(|name| ***name != *MISSING) {
        return Err(node.at.error(format!("words with {{{MISSING}}} and no other variable, found {{{name}}}")));
    }
    Ok(words)
}

const MOST_ITEMS: usize = 100;
