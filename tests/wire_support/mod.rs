//! The whole server in the test's process, on free loopback ports, and its records as its API shows them.
//!
//! Everything that a test says to it goes through real sockets; only starting and stopping is done by a function call.
//! Deliberately absent: any way to look inside. What a test cannot see from outside it may not rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)] // A test fails by panicking.

pub mod edge;
pub mod phone;
#[path = "../outside/ports.rs"]
pub mod ports;
pub mod tape;
pub mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use offhook::config::{Config, PortRange};
use offhook::server::Server;
use offhook::sim::audio;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use ports::Ports;

/// The auth token that webhooks and tickets are signed with.
pub const TOKEN: &str = "a token of the tests";

/// Longest wait for something that happens at once on an idle machine. Only a test that fails waits for so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Host {
    server: Option<Server>,
    pub sip: SocketAddr,
    pub tls: Option<SocketAddr>,
    pub http: SocketAddr,
    data: PathBuf,
    _ports: Ports,
}

impl Host {
    /// A server without a voice: the bench line is all that it can serve.
    pub async fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::with_voice(|config| {
            config.flite.program = String::new();
            config.espeak.program = String::new();
            adjust(config);
        })
        .await
    }

    /// A server with the embedded voices.
    pub async fn with_voice(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let data = std::env::temp_dir().join(format!("offhook-wire-{}-{number}", std::process::id()));
        (config.http.listen, config.sip.listen) = (anywhere, anywhere);
        config.data.dir.clone_from(&data);
        // No such directory: the flows and lines that come with the program.
        config.flows.dir = data.join("flows-that-come-with-the-program");
        config.twilio.auth_token = Some(TOKEN.to_owned().into());
        config.limits.drain_timeout_s = 1;
        let ports = Ports::lease();
        config.rtp.ports = ports.rtp().parse().unwrap();
        adjust(&mut config);
        let server = Box::pin(Server::start(&config)).await.expect("the server starts");
        let at = server.addresses();
        Self { server: Some(server), sip: at.sip, tls: at.tls, http: at.http, data, _ports: ports }
    }

    /// A server without a voice whose every line has this flow.
    pub async fn with_flow(flow: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::with_files(&[("flows/flow.yaml", flow.as_bytes()), ("lines/line.yaml", ONE_LINE)], adjust).await
    }

    /// A server without a voice that has these files as its flows and lines.
    pub async fn with_files(files: &[(&str, &[u8])], adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start(|config| {
            let dir = config.data.dir.with_extension("flows");
            for (file, bytes) in files {
                let path = dir.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            config.flows.dir = dir;
            adjust(config);
        })
        .await
    }

    /// Calls that hold a place.
    pub fn calls(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::calls)
    }

    /// Waits until so many calls hold a place.
    pub async fn has_calls(&self, wanted: u32) {
        let until = Instant::now() + PATIENCE;
        while self.calls() != wanted {
            assert!(Instant::now() < until, "{} calls hold a place, expected {wanted}", self.calls());
            sleep(LOOK_AGAIN).await;
        }
    }

    pub async fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("http://{}{path}", self.http)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What a path answers, as it comes: status, headers and bytes. `None` for an answer that breaks off.
    pub async fn bytes(&self, path: &str, range: Option<&str>) -> (u16, reqwest::header::HeaderMap, Option<Vec<u8>>) {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut request = client.get(format!("http://{}{path}", self.http));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let Ok(answer) = request.send().await else { return (0, Default::default(), None) };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, body) = self.http("GET", path, &[], b"").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The value of one metric line, 0 where it was never counted.
    pub async fn metric(&self, line: &str) -> f64 {
        let (_, text) = self.http("GET", "/metrics", &[], b"").await;
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Every call with its turns and events, newest first, once as many as `count` have ended.
    pub async fn ended_calls(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let list = self.json("/v1/calls?limit=500").await;
            let calls = list["calls"].as_array().unwrap();
            if calls.iter().filter(|call| call["state"] == "ended").count() >= count {
                let mut detailed = Vec::new();
                for call in calls {
                    detailed.push(self.json(&format!("/v1/calls/{}", call["id"].as_str().unwrap())).await);
                }
                return detailed;
            }
            assert!(Instant::now() < until, "not {count} ended calls: {list:#}");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The one call that there was.
    pub async fn ended_call(&self) -> Value {
        let mut calls = self.ended_calls(1).await;
        assert_eq!(calls.len(), 1, "one call was made: {calls:#?}");
        calls.remove(0)
    }

    /// How many calls were ever begun, by the records: those that wait for the writer are waited for.
    pub async fn begun(&self) -> usize {
        let until = Instant::now() + PATIENCE;
        while self.metric("offhook_records_waiting").await > 0.0 {
            assert!(Instant::now() < until, "records are not written");
            sleep(LOOK_AGAIN).await;
        }
        self.json("/v1/calls?limit=500").await["calls"].as_array().unwrap().len()
    }

    /// Waits until a metric is at least this.
    pub async fn counts(&self, line: &str, least: f64) {
        let until = Instant::now() + PATIENCE;
        while self.metric(line).await < least {
            assert!(Instant::now() < until, "{line} does not become {least}");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Nothing is left of any call, then the server ends in order.
    pub async fn ends_clean(mut self) {
        self.has_calls(0).await;
        let begun = self.begun().await;
        for call in self.ended_calls(begun).await {
            assert_eq!(call["state"], "ended", "{call:#}");
        }
        for via in ["sip", "twilio"] {
            assert_eq!(self.metric(&format!("offhook_calls_active{{via=\"{via}\"}}")).await, 0.0, "{via}");
        }
        self.take().stop().await;
    }

    /// As SIGHUP asks for it.
    pub async fn reload(&self) {
        self.server.as_ref().unwrap().reload().await;
    }

    /// Waits until `/healthz` says of `check` something that begins with `wanted`.
    pub async fn says(&self, check: &str, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (_, body) = self.http("GET", "/healthz", &[], b"").await;
            let health: Value = serde_json::from_str(&body).unwrap();
            if health["checks"][check].as_str().is_some_and(|how| how.starts_with(wanted)) {
                return;
            }
            assert!(Instant::now() < until, "{check} is not `{wanted}`: {health:#}");
            sleep(LOOK_AGAIN * 10).await;
        }
    }

    /// Where it keeps what it keeps.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// The server itself, to be stopped by the test.
    pub fn take(&mut self) -> Server {
        self.server.take().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
        let _ = std::fs::remove_dir_all(self.data.with_extension("flows"));
    }
}

/// So many calls' worth of the ports that a server has.
pub fn ports_for(calls: u16, ports: PortRange) -> PortRange {
    let first = ports.even_ports().next().unwrap();
    PortRange::new(first, first + 2 * calls - 1).unwrap()
}

/// An answer to a request by a peer of the tests. `extra` are whole header lines.
pub fn answer(request: &str, status: &str, extra: &str, body: &str) -> String {
    let kept = |name: &str| {
        let lines = request.split("\r\n").filter(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let fields: String = ["via", "from", "call-id", "cseq"].map(kept).concat();
    let (to, length) = (kept("to").trim_end().to_owned(), body.len());
    let tag = if to.contains("tag=") { "" } else { ";tag=t" };
    format!("SIP/2.0 {status}\r\n{fields}{to}{tag}\r\n{extra}Content-Length: {length}\r\n\r\n{body}")
}

/// All steps of a call's turns, in order.
pub fn steps(call: &Value) -> Vec<String> {
    let turns = call["turns"].as_array().unwrap();
    turns.iter().map(|turn| turn["step"].as_str().unwrap_or_default().to_owned()).collect()
}

/// All that the caller heard.
pub fn heard(call: &Value) -> String {
    let turns = call["turns"].as_array().unwrap();
    turns.iter().filter_map(|turn| turn["heard"].as_str()).collect::<Vec<_>>().join(" ")
}

/// A recorded phrase of `fixtures/audio/human`, G.711 mu-law in frames of 20 ms, and the first frame with a voice.
pub fn phrase(name: &str) -> (Vec<[u8; 160]>, usize) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human").join(name);
    let wav = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let samples: Vec<i16> = wav[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let onset = audio::onset(&samples).unwrap() / 160;
    let octets: Vec<u8> = samples.iter().map(|sample| audio::ulaw(*sample)).collect();
    let mut frames: Vec<[u8; 160]> = octets.chunks_exact(160).map(|frame| frame.try_into().unwrap()).collect();
    frames.push(QUIET);
    (frames, onset)
}

/// 20 ms of G.711 mu-law silence.
pub const QUIET: [u8; 160] = [0xFF; 160];

/// Level in dBFS of the loudest 100 ms.
pub fn loudest(mulaw: &[u8]) -> f64 {
    let samples = audio::linear_all(mulaw);
    samples.chunks(800).map(|chunk| audio::dbfs(audio::rms(chunk))).fold(-120.0, f64::max)
}

/// Part of the power that lies at `hz`, 0 to 1 (Goertzel).
pub fn tonality(mulaw: &[u8], hz: f64) -> f64 {
    let samples = audio::linear_all(mulaw);
    let step = std::f64::consts::TAU * hz / 8000.0;
    let (mut real, mut imaginary, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sine, cosine) = (step * n as f64).sin_cos();
        let value = f64::from(*sample);
        (real, imaginary, power) = (real + value * cosine, imaginary + value * sine, power + value * value);
    }
    let length = samples.len() as f64;
    if power == 0.0 { 0.0 } else { 2.0 * (real * real + imaginary * imaginary) / (length * power) }
}

const ONE_LINE: &[u8] = b"default: true\nflow: desk\n";

static HOSTS: AtomicU16 = AtomicU16::new(0);

const LOOK_AGAIN: Duration = Duration::from_millis(20);
