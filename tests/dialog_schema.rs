//! The published schema of flows: it is what the program prints, it takes what loads, and it refuses what editors should mark.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

use std::fs;
use std::path::Path;

use offhook::dialog::schema::schema;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What of JSON Schema the flows' schema makes use of; gives the place of what is wrong.
fn check(schema: &Value, value: &Value, all: &Value, place: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{place}: {what}"));
    if let Some(name) = schema["$ref"].as_str() {
        return check(all.pointer(name.trim_start_matches('#')).unwrap(), value, all, place);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = options.iter().any(|option| check(option, value, all, place).is_ok());
        return if fits { Ok(()) } else { wrong("none of the options") };
    }
    if let Some(known) = schema["enum"].as_array() {
        return if known.contains(value) { Ok(()) } else { wrong("no known value") };
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("{other}"),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
        return wrong("another type");
    }
    if let Some(number) = value.as_f64() {
        let fits = schema["minimum"].as_f64().is_none_or(|least| number >= least)
            && schema["maximum"].as_f64().is_none_or(|most| number <= most);
        return if fits { Ok(()) } else { wrong("out of bounds") };
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, all, &format!("{place}[{index}]"))?;
    }
    let needed = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) = needed.map(|key| key.as_str().unwrap()).find(|key| value.get(key).is_none()) {
        return wrong(&format!("{missing} is missing"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{key}");
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(own), _) => check(own, inner, all, &place)?,
            (None, Value::Bool(false)) => return Err(format!("{place}: unknown key")),
            (None, Value::Object(_)) => check(&schema["additionalProperties"], inner, all, &place)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn read(text: &str) -> Result<(), String> {
    // As flows are read: `yes` and `no` are words.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options).unwrap();
    let schema = schema();
    check(&schema, &value, &schema, "")
}

#[test]
fn the_published_schema_is_the_one_that_is_printed() {
    let published = fs::read_to_string(root().join("docs/flow.schema.json")).unwrap();
    assert_eq!(published, format!("{:#}\n", schema()), "offhook flow schema > docs/flow.schema.json");
}

#[test]
fn every_flow_that_loads_fits_the_schema() {
    let flows = fs::read_dir(root().join("config/flows")).unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<String> = flows.map(|path| fs::read_to_string(path).unwrap()).collect();
    let guide = fs::read_to_string(root().join("docs/flows.md")).unwrap();
    let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    texts.extend(blocks.filter(|block| block.starts_with("name: ")).map(str::to_owned));
    assert!(texts.len() >= 6, "{}", texts.len());
    for text in texts {
        read(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    }
}

#[test]
fn what_editors_should_mark_is_refused() {
    let with = |step: &str| read(&format!("name: f\nsteps:\n  a: {step}\n"));
    assert_eq!(with("{say: Hello., goto: hangup}"), Ok(()));
    for (step, place) in [
        ("{sey: Hello.}", ".steps.a.sey: unknown key"),
        ("{say: 7}", ".steps.a.say: none of the options"),
        ("{say: Hi., temperature: 3}", ".steps.a.temperature: out of bounds"),
        ("{menu: {prompt: Hi., choices: [{key: 12, goto: a}]}}", ".steps.a.menu.choices[0].key: none of the options"),
        ("{collect: {type: colour}}", ".steps.a.collect.type: no known value"),
        ("{ask: {tools: {x: {run: rm}}}}", ".steps.a.ask.tools.x.run: unknown key"),
    ] {
        assert_eq!(with(step), Err(place.to_owned()), "{step}");
    }
    assert_eq!(read("steps: {a: {goto: a}}"), Err(": name is missing".to_owned()));
    assert_eq!(schema()["properties"]["examples"]["type"], json!("array"));
}
