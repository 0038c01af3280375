//! SIPp as a caller: one scenario of fixtures/sipp against the running server.

use std::path::Path;
use std::time::Duration;

use offhook_media::g711::G711;
use offhook_media::wav::Wav;

use super::programs::{Finished, run};
use super::server::{Server, free_port};

/// A scenario and how often.
pub struct Sipp<'a> {
    /// A file of fixtures/sipp, without `.xml`.
    pub scenario: &'a str,
    pub number: &'a str,
    pub calls: u32,
    /// Calls per second.
    pub rate: u32,
    /// Length of a pause in the scenario that has none of its own, in ms.
    pub pause_ms: u32,
    pub keys: &'a [(&'a str, String)],
    /// Over TCP instead of UDP.
    pub tcp: bool,
    /// Packets from captures are written to a raw socket, which takes root.
    pub raw: bool,
}

impl Default for Sipp<'_> {
    fn default() -> Self {
        Self {
            scenario: "talks",
            number: "1000",
            calls: 1,
            rate: 10,
            pause_ms: 3_000,
            keys: &[],
            tcp: false,
            raw: false,
        }
    }
}

impl Sipp<'_> {
    /// Runs it to its end; every call must go as the scenario says.
    pub async fn succeeds(self, server: &Server) {
        let scenario = self.scenario;
        let finished = self.run(server).await;
        assert!(
            finished.success,
            "sipp {scenario} ended with {:?}\n{}\n{}\n{}\nserver:\n{}",
            finished.code,
            tail(&finished.stdout),
            finished.stderr,
            errors(server.dir()),
            server.log()
        );
    }

    async fn run(self, server: &Server) -> Finished {
        speech_into(server.dir());
        let file = format!("{}/fixtures/sipp/{}.xml", env!("CARGO_MANIFEST_DIR"), self.scenario);
        let mut arguments = vec![server.sip.to_string(), "-sf".into(), file, "-s".into(), self.number.into()];
        let values = [
            ("-i", "127.0.0.1".to_owned()),
            ("-mi", "127.0.0.1".to_owned()),
            ("-p", free_port().port().to_string()),
            ("-mp", (free_port().port() & !1).to_string()),
            ("-m", self.calls.to_string()),
            ("-r", self.rate.to_string()),
            ("-l", self.calls.to_string()),
            ("-d", self.pause_ms.to_string()),
            ("-timeout", "60".to_owned()),
            ("-error_file", "sipp-errors.log".to_owned()),
        ];
        arguments.extend(values.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        arguments.extend(["-timeout_error", "-trace_err", "-nostdin"].map(str::to_owned));
        if self.tcp {
            arguments.extend(["-t", "t1"].map(str::to_owned));
        }
        for (name, value) in self.keys {
            arguments.extend(["-key".to_owned(), (*name).to_owned(), value.clone()]);
        }
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let is_root = run("id", &["-u"], server.dir(), Duration::from_secs(5)).await.stdout.trim() == "0";
        if self.raw && !is_root {
            words.splice(0..0, ["-n", "sipp"]);
            return run("sudo", &words, server.dir(), LIMIT).await;
        }
        run("sipp", &words, server.dir(), LIMIT).await
    }
}

const LIMIT: Duration = Duration::from_secs(75);

/// Human speech as SIPp streams it: bare mu-law at 8 kHz.
fn speech_into(dir: &Path) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human/please-try-again.wav");
    let wav = Wav::parse(&std::fs::read(file).unwrap()).unwrap();
    let mut octets = vec![0; wav.samples.len()];
    G711::Ulaw.encode(&wav.samples, &mut octets);
    std::fs::write(dir.join("speech.pcmu"), octets).unwrap();
}

fn errors(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("sipp-errors.log")).unwrap_or_default()
}

/// SIPp draws its screen again and again; the last one counts.
fn tail(screens: &str) -> String {
    let lines: Vec<&str> = screens.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
