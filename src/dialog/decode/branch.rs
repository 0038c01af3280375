//! Reading what deals with variables: their first values, `set`, and the conditions of `branch`.

use std::sync::Arc;

use super::super::condition::{Condition, Test};
use super::super::flow::{Arm, Branch, Setting};
use super::super::value::{BUILT_IN, Value};
use super::super::values::{bounded, is_identifier, template};
use super::super::words::normal;
use super::super::yaml::{Fields, FlowError, Node};
use super::Reader;

impl Reader<'_> {
    /// `branch: [{when: {..}, goto: ..}, ..]`; the step's own `goto` is for all others.
    pub(super) fn branch(&self, body: &Node, step: &mut Fields) -> Result<Branch, FlowError> {
        let mut arms = Vec::new();
        for node in body.list()? {
            let mut fields = node.fields()?;
            let mut when = Vec::new();
            for (name, test) in fields.need("when", "conditions by variable")?.entries()? {
                when.push(condition(&name, &test)?);
            }
            if when.is_empty() {
                return Err(node.at.error("at least one condition"));
            }
            arms.push(Arm { when, next: self.goto(&mut fields)? });
            fields.finish("when, goto")?;
        }
        if arms.is_empty() {
            return Err(body.at.error("at least one branch"));
        }
        Ok(Branch { arms, otherwise: self.goto(step)? })
    }
}

/// `set: {name: value}`.
pub(super) fn settings(body: &Node) -> Result<Vec<(Arc<str>, Setting)>, FlowError> {
    let mut values = Vec::new();
    for (name, node) in body.entries()? {
        values.push((own_name(&name, &node)?, setting(&node)?));
    }
    if values.is_empty() {
        return Err(body.at.error("at least one variable"));
    }
    Ok(values)
}

/// `variables:` of the flow.
pub(super) fn variables(node: &Node) -> Result<Vec<(Arc<str>, Value)>, FlowError> {
    let read = |(name, node): (String, Node)| {
        let value =
            if node.is_text() { Value::given(text(&node)?) } else { Value::number(node.whole(0, MOST)?.into()) };
        Ok((own_name(&name, &node)?, value))
    };
    node.entries()?.into_iter().map(read).collect()
}

fn own_name(name: &str, node: &Node) -> Result<Arc<str>, FlowError> {
    if !is_identifier(name) || BUILT_IN.contains(&name) {
        return Err(node.at.error("a variable's name of a-z, 0-9 and _, and none of the call's own facts"));
    }
    Ok(name.into())
}

fn setting(node: &Node) -> Result<Setting, FlowError> {
    if node.is_text() {
        return template(&node.at, &text(node)?).map(Setting::Text);
    }
    if !node.is_map() {
        return node.whole(0, MOST).map(|count| Setting::Number(count.into()));
    }
    let mut fields = node.fields()?;
    let more = fields.need("add", "a number to add")?.whole(1, MOST)?;
    fields.finish("add")?;
    Ok(Setting::Add(more.into()))
}

fn condition(name: &str, node: &Node) -> Result<Condition, FlowError> {
    if !is_identifier(name) {
        return Err(node.at.error("a variable's name"));
    }
    let tests = match node {
        node if node.is_map() => tests(node)?,
        node if node.is_list() => vec![Test::OneOf(node.list()?.iter().map(plain).collect::<Result<_, _>>()?)],
        node => vec![Test::OneOf(vec![plain(node)?])],
    };
    Ok(Condition { variable: name.into(), tests })
}

fn tests(node: &Node) -> Result<Vec<Test>, FlowError> {
    let mut fields = node.fields()?;
    let mut tests = Vec::new();
    tests.extend(fields.take("is").map(|node| plain(&node)).transpose()?.map(|text| Test::OneOf(vec![text])));
    tests.extend(fields.take("is_not").map(|node| plain(&node)).transpose()?.map(|text| Test::NoneOf(vec![text])));
    let texts = |node: Node| node.list()?.iter().map(plain).collect::<Result<Vec<_>, _>>();
    tests.extend(fields.take("one_of").map(texts).transpose()?.map(Test::OneOf));
    tests.extend(fields.take("none_of").map(texts).transpose()?.map(Test::NoneOf));
    tests.extend(fields.take("at_least").map(|node| node.whole(0, MOST)).transpose()?.map(|n| Test::AtLeast(n.into())));
    tests.extend(fields.take("at_most").map(|node| node.whole(0, MOST)).transpose()?.map(|n| Test::AtMost(n.into())));
    tests.extend(
        fields.take("above").map(|node| node.whole(0, MOST)).transpose()?.map(|n| Test::AtLeast(u64::from(n) + 1)),
    );
    tests.extend(
        fields.take("below").map(|node| node.whole(1, MOST)).transpose()?.map(|n| Test::AtMost(u64::from(n) - 1)),
    );
    if tests.is_empty() {
        return Err(node.at.error(format!("a condition ({TESTS})")));
    }
    fields.finish(TESTS)?;
    Ok(tests)
}

/// A text or number to compare with, in normal form.
fn plain(node: &Node) -> Result<String, FlowError> {
    if node.is_text() {
        text(node).map(|text| normal(&text))
    } else {
        node.whole(0, MOST).map(|count| count.to_string())
    }
}

fn text(node: &Node) -> Result<String, FlowError> {
    bounded(&node.at, node.text()?.to_owned(), 400)
}

const TESTS: &str = "is, is_not, one_of, none_of, at_least, at_most, above, below";
const MOST: u32 = 999_999_999;
