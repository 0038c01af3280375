//! What a call left in the API, as questions that tests ask of it.

use serde_json::Value;

/// Everything that the caller heard.
pub fn said(call: &Value) -> String {
    turns(call).iter().filter_map(|turn| turn["heard"].as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether a key opened this step. Keys are counted in the turn that they begin.
pub fn reached_by_key(call: &Value, step: &str) -> bool {
    turns(call).iter().any(|turn| turn["step"] == step && turn["keys_pressed"].as_u64() > Some(0))
}

pub fn turns(call: &Value) -> &[Value] {
    call["turns"].as_array().map_or(&[], Vec::as_slice)
}
