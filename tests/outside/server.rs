//! The real binary on free ports of loopback, with its data in a directory of the test.
//!
//! Only so many tests at once as the machine can carry: calls run in real time, and a test must not make another late.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::ports::Ports;
use super::programs::{self, Finished};
use crate::net::relay::Relay;

/// A running `offhook serve`; dropped, it is killed.
pub struct Server {
    pub sip: SocketAddr,
    pub http: SocketAddr,
    /// For the other programs of the test.
    pub ports: Ports,
    dir: PathBuf,
    child: Child,
    arguments: Vec<String>,
    _place: Option<File>,
}

impl Server {
    /// Waits for a place among the tests, starts it and waits until it is ready. `settings` are `--set` arguments.
    pub async fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, "").await
    }

    /// With a configuration file of this text.
    pub async fn start_with(settings: &[&str], yaml: &str) -> Self {
        let place = Some(place().await);
        Self::launch(Ports::lease(), settings, yaml, place).await
    }

    /// With a place that the test has already.
    pub async fn start_in(place: File, settings: &[&str], yaml: &str) -> Self {
        Self::launch(Ports::lease(), settings, yaml, Some(place)).await
    }

    /// With one flow of the test's own for every number.
    pub async fn with_flow(settings: &[&str], flow: &str) -> Self {
        let line: &[u8] = b"default: true\nflow: own\n";
        Self::with_files(settings, &[("lines/all.yaml", line), ("flows/own.yaml", flow.as_bytes())]).await
    }

    /// With these files of the test's own as its flows and lines.
    pub async fn with_files(settings: &[&str], files: &[(&str, &[u8])]) -> Self {
        let place = Some(place().await);
        let dir = fresh_dir();
        for (file, bytes) in files {
            let path = dir.join("config").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let flows = format!("flows.dir={}", dir.join("config").display());
        let settings: Vec<&str> = settings.iter().copied().chain([flows.as_str()]).collect();
        Self::launch(Ports::lease(), &settings, "", place).await
    }

    /// Behind a relay, which is where callers find it.
    pub async fn behind_a_network(seed: u64, settings: &[&str]) -> (Self, Relay) {
        let place = Some(place().await);
        let ports = Ports::lease();
        let relay = Relay::start(ports.all(), seed).await;
        let external = format!("sip.external_address={}", relay.address());
        // Everybody is told the relay's address: here no network is local.
        let ours = [external.as_str(), "sip.local_networks=[]"];
        let settings: Vec<&str> = settings.iter().copied().chain(ours).collect();
        (Self::launch(ports, &settings, "", place).await, relay)
    }

    /// Another server of the same test.
    pub async fn another(&self, settings: &[&str], yaml: &str) -> Self {
        Self::launch(Ports::lease(), settings, yaml, None).await
    }

    async fn launch(mut ports: Ports, settings: &[&str], yaml: &str, place: Option<File>) -> Self {
        let dir = fresh_dir();
        let (sip, http) = (ports.address(), ports.address());
        let mut arguments = vec!["serve".to_owned()];
        if !yaml.is_empty() {
            let file = dir.join("offhook.yaml");
            fs::write(&file, yaml).unwrap();
            arguments.extend(["--config".to_owned(), file.to_str().unwrap().to_owned()]);
        }
        let own = [
            format!("sip.listen={sip}"),
            format!("http.listen={http}"),
            format!("data.dir={}", dir.display()),
            format!("rtp.ports={}", ports.rtp()),
            "limits.drain_timeout_s=1".to_owned(),
        ];
        for setting in own.iter().map(String::as_str).chain(settings.iter().copied()) {
            arguments.extend(["--set".to_owned(), setting.to_owned()]);
        }
        let child = process(&arguments, &dir);
        let mut server = Self { sip, http, ports, dir, child, arguments, _place: place };
        server.becomes_ready().await;
        server
    }

    /// Another process like the one that has ended, on the same ports and data.
    pub async fn starts_again(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "the process before has not ended");
        self.child = process(&self.arguments, &self.dir);
        self.becomes_ready().await;
    }

    /// Runs another command of the binary on this server's configuration, such as `call NUMBER`.
    pub async fn command(&self, words: &[&str]) -> Finished {
        let settings = self.arguments.iter().skip(1).map(String::as_str);
        let arguments: Vec<&str> = words.iter().copied().chain(settings).collect();
        offhook(&arguments, &self.dir).await
    }

    /// A directory for what the test's programs write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `path` answers to `curl`: the status and the body.
    pub async fn curl(&self, path: &str) -> (u16, String) {
        self.curl_with(path, &[]).await
    }

    /// Posts JSON; the status and the body of the answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        self.curl_with(path, &["--header", "Content-Type: application/json", "--data", &body]).await
    }

    async fn curl_with(&self, path: &str, more: &[&str]) -> (u16, String) {
        let url = format!("http://{}{path}", self.http);
        let mut arguments =
            vec!["--silent", "--show-error", "--location", "--max-time", "30", "--write-out", "\n%{http_code}"];
        arguments.extend(more);
        arguments.push(&url);
        let answer = programs::run("curl", &arguments, &self.dir, Duration::from_secs(40)).await;
        assert!(answer.success, "curl {url}: {}", answer.stderr);
        let (body, status) = answer.stdout.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, body) = self.curl(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Waits until this many calls are going on.
    pub async fn has_calls(&self, count: usize) {
        let until = Instant::now() + RECORDED_WITHIN;
        loop {
            let list = self.json("/v1/calls?limit=500").await;
            let calls = list["calls"].as_array().unwrap();
            if calls.iter().filter(|call| call["state"] != "ended").count() == count {
                return;
            }
            assert!(Instant::now() < until, "not {count} live calls within {RECORDED_WITHIN:?}: {list:#}");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Every call of this server, newest first, once `count` of them have ended.
    pub async fn ended_calls(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + RECORDED_WITHIN;
        loop {
            let list = self.json("/v1/calls?limit=500").await;
            let calls = list["calls"].as_array().unwrap().clone();
            if calls.iter().filter(|call| call["state"] == "ended").count() >= count {
                return calls;
            }
            assert!(
                Instant::now() < until,
                "not {count} ended calls within {RECORDED_WITHIN:?}: {list:#}\n{}",
                self.log()
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The one call of this server, with its turns, once it has ended.
    pub async fn ended_call(&self) -> Value {
        let calls = self.ended_calls(1).await;
        assert_eq!(calls.len(), 1, "one call was made: {calls:#?}");
        self.json(&format!("/v1/calls/{}", calls[0]["id"].as_str().unwrap())).await
    }

    /// Asks the server to end, as a service manager does.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends the process a signal by its name, without `SIG`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = programs::run("kill", &["-s", name, &id], &self.dir, Duration::from_secs(20)).await;
        assert!(sent.success, "{}", sent.stderr);
    }

    /// Waits until `path` is answered with this status.
    pub async fn answers(&self, path: &str, status: u16) {
        let until = Instant::now() + RECORDED_WITHIN;
        while self.curl(path).await.0 != status {
            assert!(
                Instant::now() < until,
                "{path} is not answered {status} within {RECORDED_WITHIN:?}\n{}",
                self.log()
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until the log holds this text `times` times.
    pub async fn says(&self, text: &str, times: usize) {
        let until = Instant::now() + RECORDED_WITHIN;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "not {times} times `{text}` within {RECORDED_WITHIN:?}\n{}", self.log());
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks the server to end and waits for it.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.has_ended().await
    }

    /// Waits for the end of a server that was asked to end.
    pub async fn has_ended(&mut self) -> ExitStatus {
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the server did not end within 30 s of SIGTERM\n{}", self.log())).unwrap()
    }

    /// What the server has written so far.
    pub fn log(&self) -> String {
        ["stdout.log", "stderr.log"].map(|name| fs::read_to_string(self.dir.join(name)).unwrap_or_default()).concat()
    }

    async fn becomes_ready(&mut self) {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended at its start with {status}\n{}", self.log());
            }
            if tokio::net::TcpStream::connect(self.http).await.is_ok() && self.curl("/readiness").await.0 == 200 {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
        panic!("the server was not ready within {READY_WITHIN:?}\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What a failed test leaves is worth a look.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// `offhook serve`, which writes to the end of what a process before it wrote.
fn process(arguments: &[String], dir: &Path) -> Child {
    let log = |name: &str| fs::OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_offhook"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Keys and settings of whoever runs the tests are theirs.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(log("stdout.log"))
        .stderr(log("stderr.log"))
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Runs the binary to its end.
pub async fn offhook(arguments: &[&str], dir: &Path) -> Finished {
    programs::run(env!("CARGO_BIN_EXE_offhook"), arguments, dir, Duration::from_secs(90)).await
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const RECORDED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Tests that have a server at once: they mostly wait, so two for each core.
fn places() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Held for as long as the file is open, also against tests in other processes.
pub async fn place() -> File {
    loop {
        for number in 0..places() {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("outside-{number}.lock"));
            let file = File::create(path).unwrap();
            if file.try_lock().is_ok() {
                return file;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

pub fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("outside-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}
