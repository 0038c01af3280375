//! Reading what asks services: the hook step, and the tools that an `ask` step offers its model.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::super::flow::Prompt;
use super::super::hook::{Act, Hook, Parameter, ParameterKind, Tool};
use super::super::values::{bounded, identifier, is_identifier, prompt, short_text};
use super::super::yaml::{Fields, FlowError, Node};
use super::Reader;
use super::collect::variable;
use crate::providers::ToolSpec;

impl Reader<'_> {
    /// `hook: {to, send, into, say, on_failed}`.
    pub(super) fn hook(&self, body: &Node, step: &mut Fields) -> Result<Hook, FlowError> {
        let mut fields = body.fields()?;
        let to: Arc<str> = identifier(&fields.need("to", "a name of `hooks.targets`")?)?.into();
        let send = sent(&mut fields)?;
        let mut into = Vec::new();
        for (name, node) in fields.take("into").map_or(Ok(Vec::new()), |node| node.entries())? {
            if !is_identifier(&name) {
                return Err(node.at.error("a variable's name of a-z, 0-9 and _"));
            }
            let path: Vec<String> = short_text(&node)?.split('.').map(str::to_owned).collect();
            into.push((Arc::from(name), path));
        }
        let prompt = prompt(&fields.need("say", "words that are said meanwhile")?)?;
        let on_failed = self.target(&fields.need("on_failed", "the step for a service that does not answer")?)?;
        fields.finish("to, send, into, say, on_failed")?;
        Ok(Hook { to, send, into, prompt, on_failed, next: self.goto(step)? })
    }

    /// `tools:` of an `ask`.
    pub(super) fn tools(&self, node: &Node) -> Result<Vec<Tool>, FlowError> {
        let mut tools: Vec<Tool> = Vec::new();
        for (name, node) in node.entries()? {
            if !is_identifier(&name) || tools.len() >= MOST_TOOLS {
                return Err(node.at.error(format!("at most {MOST_TOOLS} tools with names of a-z, 0-9 and _")));
            }
            tools.push(self.tool(&name, &node)?);
        }
        Ok(tools)
    }

    fn tool(&self, name: &str, node: &Node) -> Result<Tool, FlowError> {
        let mut fields = node.fields()?;
        let description = fields.need("description", "when the model shall use it")?;
        let description = bounded(&description.at, description.text()?.to_owned(), 1000)?;
        let act = match (fields.take("goto"), fields.take("hook")) {
            (Some(node), None) => Act::Goto(self.target(&node)?),
            (None, Some(node)) => Act::Hook { to: identifier(&node)?.into(), send: sent(&mut fields)? },
            _ => return Err(node.at.error("either `goto` (a step) or `hook` (a name of `hooks.targets`)")),
        };
        let mut parameters = Vec::new();
        let mut schema = Map::new();
        for (name, node) in fields.take("arguments").map_or(Ok(Vec::new()), |node| node.entries())? {
            let (parameter, described) = parameter(&name, &node)?;
            parameters.push(parameter);
            schema.insert(name, described);
        }
        let filler = fields.take("say").map_or_else(|| Ok(Prompt::default()), |node| prompt(&node))?;
        fields.finish("description, goto, hook, send, arguments, say")?;
        let needed: Vec<&str> = parameters.iter().filter(|one| one.needed).map(|one| &*one.name).collect();
        let schema =
            json!({ "type": "object", "properties": schema, "required": needed, "additionalProperties": false });
        let spec = ToolSpec { name: name.into(), description: description.into(), parameters: schema };
        Ok(Tool { spec, parameters, filler, act })
    }
}

fn sent(fields: &mut Fields) -> Result<Vec<Arc<str>>, FlowError> {
    let names = fields.take("send").map_or(Ok(Vec::new()), |node| node.list())?;
    names.iter().map(variable).collect()
}

/// `name: {type, description, one_of, optional}`.
fn parameter(name: &str, node: &Node) -> Result<(Parameter, Json), FlowError> {
    if !is_identifier(name) {
        return Err(node.at.error("an argument's name of a-z, 0-9 and _"));
    }
    let mut fields = node.fields()?;
    let description = fields.need("description", "what the model shall fill in")?;
    let description = bounded(&description.at, description.text()?.to_owned(), 500)?;
    let options = fields.take("one_of").map(|node| node.list()).transpose()?;
    let (kind, mut schema) = match (fields.take("type"), options) {
        (None, Some(options)) => {
            let known = options.iter().map(|node| short_text(node).map(|text| text.to_string()));
            let known = known.collect::<Result<Vec<_>, _>>()?;
            let schema = json!({ "type": "string", "enum": known });
            (ParameterKind::OneOf(known), schema)
        }
        (Some(node), None) => match node.text()? {
            "text" => (ParameterKind::Text, json!({ "type": "string" })),
            "number" => (ParameterKind::Number, json!({ "type": "number" })),
            "yes_no" => (ParameterKind::YesNo, json!({ "type": "boolean" })),
            other => return Err(node.at.error(format!("text, number or yes_no, found `{other}`"))),
        },
        _ => return Err(node.at.error("either `type` or `one_of`")),
    };
    schema["description"] = json!(description);
    let needed = !fields.take("optional").map_or(Ok(false), |node| node.truth())?;
    fields.finish("type, one_of, description, optional")?;
    Ok((Parameter { name: name.into(), kind, needed }, schema))
}

const MOST_TOOLS: usize = 20;
