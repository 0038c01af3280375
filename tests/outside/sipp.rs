//! SIPp as the far side: a scenario of fixtures/sipp, or one written by the test, against the running server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook_media::g711::G711;
use offhook_media::tone::Tone;
use offhook_media::wav::Wav;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::ports::Ports;
use super::programs::{Finished, run, start};
use super::scenario::Scenario;
use super::server::Server;

/// A caller: what it does and how often.
pub struct Sipp<'a> {
    /// A file of fixtures/sipp, without `.xml`.
    pub scenario: &'a str,
    /// Instead of the file.
    pub script: Option<Scenario>,
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
    /// Whom to call instead of the server.
    pub target: Option<SocketAddr>,
    /// Where to call from instead of any free port.
    pub from: Option<SocketAddr>,
}

impl Default for Sipp<'_> {
    fn default() -> Self {
        Self {
            scenario: "talks",
            script: None,
            number: "1000",
            calls: 1,
            rate: 10,
            pause_ms: 3_000,
            keys: &[],
            tcp: false,
            raw: false,
            target: None,
            from: None,
        }
    }
}

impl Sipp<'_> {
    /// Runs it to its end; every call must go as the scenario says.
    pub async fn succeeds(self, server: &Server) {
        let name = self.scenario.to_owned();
        let (finished, dir) = self.run(server).await;
        judge(&name, &finished, &dir, &server.log());
    }

    async fn run(self, server: &Server) -> (Finished, PathBuf) {
        let dir = fresh_dir(server);
        audio_into(&dir);
        let file = match &self.script {
            Some(script) => script.write(&dir).to_str().unwrap().to_owned(),
            None => format!("{}/fixtures/sipp/{}.xml", env!("CARGO_MANIFEST_DIR"), self.scenario),
        };
        let mut ports = Ports::lease();
        let target = self.target.unwrap_or(server.sip).to_string();
        let from = self.from.unwrap_or_else(|| ports.address());
        let mut arguments = vec![target, "-sf".into(), file, "-s".into(), self.number.into()];
        arguments.extend(common(from, &mut ports, self.calls));
        let values = [("-r", self.rate), ("-l", self.calls), ("-d", self.pause_ms)];
        arguments.extend(values.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
        if self.tcp {
            arguments.extend(["-t", "t1"].map(str::to_owned));
        }
        for (name, value) in self.keys {
            arguments.extend(["-key".to_owned(), (*name).to_owned(), value.clone()]);
        }
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let is_root = run("id", &["-u"], &dir, Duration::from_secs(30)).await.stdout.trim() == "0";
        if self.raw && !is_root {
            words.splice(0..0, ["-n", "sipp"]);
            return (run("sudo", &words, &dir, LIMIT).await, dir);
        }
        (run("sipp", &words, &dir, LIMIT).await, dir)
    }
}

/// A SIPp that waits for calls.
pub struct Callee {
    child: Child,
    dir: PathBuf,
    name: &'static str,
    _ports: Ports,
}

impl Callee {
    /// Waits for a call at `address`, whose lease the test has.
    pub async fn start(server: &Server, address: SocketAddr, name: &'static str, script: Scenario) -> Self {
        Self::start_for(1, server, address, name, script).await
    }

    /// Waits for this many calls.
    pub async fn start_for(
        calls: u32,
        server: &Server,
        address: SocketAddr,
        name: &'static str,
        script: Scenario,
    ) -> Self {
        let callee = Self::launch(server, address, name, script, calls, &[]);
        callee.listens(|| std::net::UdpSocket::bind(address).is_err()).await
    }

    /// Waits for one call over TCP.
    pub async fn start_over_tcp(server: &Server, address: SocketAddr, name: &'static str, script: Scenario) -> Self {
        let callee = Self::launch(server, address, name, script, 1, &["-t", "t1"]);
        callee.listens(|| std::net::TcpListener::bind(address).is_err()).await
    }

    fn launch(
        server: &Server,
        address: SocketAddr,
        name: &'static str,
        script: Scenario,
        calls: u32,
        more: &[&str],
    ) -> Self {
        let dir = fresh_dir(server);
        audio_into(&dir);
        let file = script.write(&dir).to_str().unwrap().to_owned();
        let mut ports = Ports::lease();
        let mut arguments = vec!["-sf".to_owned(), file];
        arguments.extend(common(address, &mut ports, calls));
        arguments.extend(more.iter().copied().map(str::to_owned));
        let child = start("sipp", &arguments, &dir);
        Self { child, dir, name, _ports: ports }
    }

    async fn listens(self, is_so: impl Fn() -> bool) -> Self {
        let until = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < until, "sipp {} does not listen", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        self
    }

    /// The calls that it was asked to take so far, by the messages that came.
    pub fn invites(&self) -> usize {
        let messages = left(&self.dir, "messages.log");
        let call = |message: &str| message.lines().find_map(|line| line.strip_prefix("Call-ID: ")).map(str::to_owned);
        let invites = messages.split("message received").filter(|message| message.contains("\nINVITE "));
        invites.filter_map(call).collect::<BTreeSet<_>>().len()
    }

    /// The calls must have gone as the scenario says.
    pub async fn succeeds(self, server: &Server) {
        let name = self.name;
        let output = timeout(LIMIT, self.child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("sipp {name} did not end\n{}", server.log()))
            .unwrap();
        let finished = Finished {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        judge(name, &finished, &self.dir, &server.log());
    }
}

const LIMIT: Duration = Duration::from_secs(100);

fn common(from: SocketAddr, ports: &mut Ports, calls: u32) -> Vec<String> {
    let values = [
        ("-i", "127.0.0.1".to_owned()),
        ("-mi", "127.0.0.1".to_owned()),
        ("-p", from.port().to_string()),
        ("-mp", ports.address().port().to_string()),
        ("-m", calls.to_string()),
        ("-timeout", "60".to_owned()),
        ("-error_file", "errors.log".to_owned()),
        ("-message_file", "messages.log".to_owned()),
        ("-recv_timeout", "60000".to_owned()),
    ];
    let mut arguments: Vec<String> = values.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    arguments.extend(["-timeout_error", "-trace_err", "-trace_msg", "-nostdin"].map(str::to_owned));
    arguments
}

fn judge(name: &str, finished: &Finished, dir: &Path, log: &str) {
    assert!(
        finished.success,
        "sipp {name} ended with {:?}\n{}\n{}\n{}\nmessages:\n{}\nserver:\n{log}",
        finished.code,
        tail(&finished.stdout),
        finished.stderr,
        left(dir, "errors.log"),
        left(dir, "messages.log"),
    );
}

fn fresh_dir(server: &Server) -> PathBuf {
    (0..)
        .map(|number| server.dir().join(format!("sipp-{number}")))
        .find(|dir| std::fs::create_dir(dir).is_ok())
        .unwrap()
}

/// Human speech and a key as SIPp streams them: bare mu-law at 8 kHz.
fn audio_into(dir: &Path) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human/please-try-again.wav");
    let speech = Wav::parse(&std::fs::read(file).unwrap()).unwrap().samples;
    for (name, samples) in [("speech.pcmu", speech), ("tones.pcmu", tones_of_1(6))] {
        let mut octets = vec![0; samples.len()];
        G711::Ulaw.encode(&samples, &mut octets);
        std::fs::write(dir.join(name), octets).unwrap();
    }
}

/// So many seconds of 8 kHz audio in which key 1 is pressed after three (ITU-T Q.23), for a fifth of a second.
pub fn tones_of_1(seconds: usize) -> Vec<i16> {
    let mut samples = vec![0; seconds * 8_000];
    Tone::dual(697.0, 1209.0, -16.0).fill(&mut samples[24_000..25_600]);
    samples
}

fn left(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// SIPp draws its screen again and again; the last one counts.
fn tail(screens: &str) -> String {
    let lines: Vec<&str> = screens.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
