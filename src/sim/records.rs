//! The server's own record of its calls, read over its API: what the wire cannot show, such as how long words took.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::http::{Answer, Request};

/// Where records are read.
#[derive(Clone, Debug)]
pub struct RecordSource {
    /// `host:port` of the server's HTTP.
    pub address: String,
    /// The bearer token, where the server wants one.
    pub token: Option<String>,
}

/// One call as the server keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerCall {
    pub id: String,
    via: String,
    caller: String,
    started_at: Timestamp,
    #[serde(skip)]
    pub turns: Vec<ServerTurn>,
    #[serde(skip)]
    pub interruptions: Vec<ServerInterruption>,
}

/// One turn as the server keeps it, in ms.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct ServerTurn {
    pub number: u32,
    #[serde(default)]
    pub step: String,
    pub asr_ms: Option<f64>,
    pub llm_ms: Option<f64>,
    pub tts_ms: Option<f64>,
    pub total_ms: Option<f64>,
    pub barge_in_ms: Option<f64>,
}

/// One interruption as the server keeps it; times in ms since the answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct ServerInterruption {
    pub onset_ms: f64,
    pub held_ms: f64,
    pub decided_ms: Option<f64>,
    /// committed, resumed, recovered or undecided.
    pub outcome: String,
    #[serde(default, alias = "by")]
    pub why: Option<String>,
    #[serde(default)]
    pub ducked: bool,
    pub stop_ms: Option<f64>,
    #[serde(default)]
    pub heard: Option<String>,
    #[serde(default)]
    pub unheard: Option<String>,
}

impl ServerInterruption {
    /// When the bot was held, in the time in which the call was answered at `answered`.
    pub fn held(&self, answered: Moment) -> Moment {
        answered + Duration::from_secs_f64(self.held_ms.max(0.0) / 1000.0)
    }

    /// When it was known what it was, in that time.
    pub fn decided(&self, answered: Moment) -> Option<Moment> {
        self.decided_ms.map(|ms| answered + Duration::from_secs_f64(ms.max(0.0) / 1000.0))
    }
}

impl RecordSource {
    /// All calls of this kind that began in the window, with their turns.
    ///
    /// # Errors
    /// Says which request failed and how.
    pub fn calls(&self, via: &str, from: Timestamp, to: Timestamp) -> Result<Vec<ServerCall>, String> {
        let mut found = Vec::new();
        let mut before = String::new();
        loop {
            let page: Page = self.get(&format!("/v1/calls?limit={PAGE}{before}"))?;
            let Some(oldest) = page.calls.last().map(|call| call.id.clone()) else { break };
            let last_page = page.calls.len() < PAGE || page.calls.last().is_some_and(|c| c.started_at < from);
            found.extend(page.calls.into_iter().filter(|c| c.via == via && c.started_at >= from && c.started_at <= to));
            if last_page || found.len() >= MOST_CALLS {
                break;
            }
            before = format!("&before={oldest}");
        }
        for call in &mut found {
            let detail: Detail = self.get(&format!("/v1/calls/{}", call.id))?;
            call.turns = detail.turns;
            call.interruptions = detail.interruptions;
        }
        Ok(found)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, String> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
        let request =
            Request { method: "GET", address: &self.address, host: &self.address, path, headers: &headers, body: "" };
        match request.send()? {
            Answer { status: 200, body } => serde_json::from_str(&body).map_err(|e| format!("{path}: {e}")),
            Answer { status, .. } => Err(format!("{path}: HTTP {status}")),
        }
    }
}

/// Finds the record of a call: the one that began nearest to `placed`, of a caller whose number ends alike (the server
/// shows no more of it).
pub fn match_call<'a>(calls: &'a [ServerCall], caller: &str, placed: Timestamp) -> Option<&'a ServerCall> {
    let tail = caller.get(caller.len().saturating_sub(2)..)?;
    let distance = |call: &ServerCall| call.started_at.duration_since(placed).unsigned_abs();
    calls.iter().filter(|c| c.caller.ends_with(tail)).min_by_key(|c| distance(c)).filter(|c| distance(c) < NEAR)
}

#[derive(Deserialize)]
struct Page {
    calls: Vec<ServerCall>,
}

#[derive(Deserialize)]
struct Detail {
    turns: Vec<ServerTurn>,
    #[serde(default)]
    interruptions: Vec<ServerInterruption>,
}

const PAGE: usize = 200;
const MOST_CALLS: usize = 2000;
const NEAR: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, caller: &str, second: u32) -> ServerCall {
        let json = serde_json::json!({"id": id, "via": "sip", "caller": caller, "started_at": format!("2026-01-01T00:00:{second:02}Z")});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_call_is_found_by_its_number_and_time() {
        let calls = [call("a", "***07", 10), call("b", "***07", 14), call("c", "***08", 12)];
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z").parse::<Timestamp>().unwrap();
        assert_eq!(match_call(&calls, "15550000007", at(13)).map(|c| c.id.as_str()), Some("b"));
        assert_eq!(match_call(&calls, "15550000008", at(10)).map(|c| c.id.as_str()), Some("c"));
        assert!(match_call(&calls, "15550000007", at(40)).is_none());
    }
}
