//! The JSON schema of flow files (draft 2020-12), for editors. `offhook check` is the judge: it sees what a schema cannot, such as
//! steps that nothing leads to.

use serde_json::{Map, Value as Json, json};

/// The schema of one flow file.
pub fn schema() -> Json {
    let step = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": merged(&[settings(), json!({
            "say": reference("words"), "play": play(), "menu": menu(), "collect": collect(), "ask": ask(),
            "tell": tell(), "hook": hook(), "set": { "type": "object", "minProperties": 1 }, "branch": branch(),
            "transfer": transfer(), "hangup": { "anyOf": [reference("words"), { "type": "null" }] },
            "goto": { "type": "string" }, "wait_ms": whole(500, 30_000),
            "recording": one_of(&["on", "off", "pause", "resume", "discard"]),
        })]),
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Offhook flow",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "steps"],
        "properties": {
            "name": name(), "start": name(), "endless": truth(), "recorded": truth(),
            "inputs": { "type": "array", "items": name() },
            "variables": { "type": "object", "additionalProperties": { "type": ["string", "integer"] } },
            "defaults": object(&[settings(), json!({
                "no_input_ms": whole(1000, 30_000), "max_tries": whole(1, 10),
            })]),
            "phrases": object(&[words_of(&[
                "filler", "canned", "no_input", "no_match", "unheard", "goodbye", "busy", "no_answer", "not_reached",
                "recording", "not_recorded",
            ])]),
            "moods": object(&[json!({ "frustrated": object(&[json!({
                "rate": number(0.5, 1.0), "encourage": { "type": "array", "items": reference("words") },
                "system_text": text(),
            })]) })]),
            "steps": { "type": "object", "minProperties": 1, "maxProperties": 200, "additionalProperties": step },
            "examples": { "type": "array", "items": example() },
        },
        "$defs": {
            "words": { "anyOf": [text(), { "type": "array", "minItems": 1, "items": text() }] },
            "key": { "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 9 }, { "type": "string", "pattern": "^[0-9*#A-D]$" }] },
            "keys": { "type": "object", "minProperties": 1, "additionalProperties": { "type": "string" } },
        },
    })
}

fn settings() -> Json {
    json!({
        "barge_in": one_of(&["speech", "words", "stop_words", "digits", "off"]),
        "listen": one_of(&["open", "yes_no", "choice", "digits", "spelling", "address"]),
        "endpoint_ms": whole(100, 3000), "stop_words": texts(), "backchannels": texts(), "finish": truth(),
        "language": text(), "voice": text(), "rate": number(0.5, 2.0), "temperature": number(0.0, 2.0),
        "hints": texts(),
    })
}

fn retry() -> Json {
    json!({
        "no_input": reference("words"), "no_match": reference("words"), "no_input_ms": whole(1000, 30_000),
        "max_tries": whole(1, 10), "give_up": text(),
    })
}

fn play() -> Json {
    let tone = object(&[json!({ "hz": number(100.0, 3400.0), "ms": whole(50, 60_000), "dbfs": number(-60.0, -3.0) })]);
    object(&[json!({ "file": text(), "tone": tone, "words": text() })])
}

fn menu() -> Json {
    let choice = object(&[json!({ "key": reference("key"), "words": texts(), "goto": text() })]);
    object(&[
        retry(),
        json!({ "prompt": reference("words"), "choices": { "type": "array", "minItems": 1, "items": choice } }),
    ])
}

fn collect() -> Json {
    object(&[
        retry(),
        json!({
            "prompt": reference("words"), "into": name(),
            "type": one_of(&["digits", "number", "date", "time", "yes_no", "name", "words"]),
            "min": whole(1, 32), "max": whole(1, 32), "starts": texts(), "check": one_of(&["luhn"]),
            "least": { "type": ["integer", "string"] }, "most": { "type": ["integer", "string"] },
            "keys": reference("keys"), "read_back": reference("words"), "terminator": { "type": ["string", "integer"] },
            "digit_ms": whole(500, 10_000), "sensitive": truth(), "invalid": reference("words"),
        }),
    ])
}

fn ask() -> Json {
    let argument = object(&[json!({
        "type": one_of(&["text", "number", "yes_no"]), "one_of": texts(), "description": text(), "optional": truth(),
    })]);
    let tool = object(&[json!({
        "description": text(), "goto": text(), "hook": name(), "send": texts(), "say": reference("words"),
        "arguments": { "type": "object", "additionalProperties": argument },
    })]);
    object(&[
        retry(),
        words_of(&["prompt", "unheard", "without_model", "filler", "canned", "repair"]),
        json!({
            "system": text(), "system_text": text(), "max_turns": whole(1, 50), "max_tokens": whole(16, 2000),
            "keys": reference("keys"), "done_words": texts(),
            "tools": { "type": "object", "maxProperties": 20, "additionalProperties": tool },
        }),
    ])
}

fn tell() -> Json {
    let item = object(&[json!({ "text": text(), "keep": texts() })]);
    let items = json!({ "type": "array", "minItems": 2, "maxItems": 100, "items": { "anyOf": [text(), item] } });
    object(&[json!({
        "intro": reference("words"), "items": items, "system": text(), "system_text": text(), "max_tokens": whole(16, 500),
    })])
}

fn hook() -> Json {
    object(&[json!({
        "to": name(), "send": texts(), "into": { "type": "object", "additionalProperties": text() },
        "say": reference("words"), "on_failed": text(),
    })])
}

fn branch() -> Json {
    let arm = object(&[json!({ "when": { "type": "object", "minProperties": 1 }, "goto": text() })]);
    json!({ "type": "array", "minItems": 1, "items": arm })
}

fn transfer() -> Json {
    object(&[
        words_of(&["say", "announce"]),
        json!({
            "to": name(), "target": text(), "mode": one_of(&["blind", "attended"]), "ring_timeout_s": whole(5, 180),
            "on_busy": text(), "on_no_answer": text(), "on_failed": text(),
        }),
    ])
}

fn example() -> Json {
    let turn = object(&[json!({
        "bot": text(), "not_bot": text(), "says": text(), "keys": { "type": ["string", "integer"] }, "silence": truth(),
        "model": text(), "model_fails": truth(), "tool": { "type": "object" }, "service": { "type": "object" },
        "service_fails": truth(), "step": name(), "holds": { "type": "object" }, "ends": one_of(&["hangup", "transfer"]),
    })]);
    object(&[json!({
        "name": text(), "line": one_of(&["words_and_model", "words", "keys"]), "with": { "type": "object" },
        "turns": { "type": "array", "minItems": 1, "items": turn },
    })])
}

fn object(properties: &[Json]) -> Json {
    json!({ "type": "object", "additionalProperties": false, "properties": merged(properties) })
}

fn merged(parts: &[Json]) -> Json {
    let all: Map<String, Json> = parts.iter().filter_map(Json::as_object).flat_map(Clone::clone).collect();
    Json::Object(all)
}

fn words_of(keys: &[&str]) -> Json {
    Json::Object(keys.iter().map(|key| ((*key).to_owned(), reference("words"))).collect())
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn text() -> Json {
    json!({ "type": "string", "minLength": 1 })
}

fn texts() -> Json {
    json!({ "type": "array", "items": text() })
}

fn name() -> Json {
    json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$" })
}

fn truth() -> Json {
    json!({ "type": "boolean" })
}

fn whole(least: u32, most: u32) -> Json {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn number(least: f64, most: f64) -> Json {
    json!({ "type": "number", "minimum": least, "maximum": most })
}

fn one_of(values: &[&str]) -> Json {
    json!({ "enum": values })
}
