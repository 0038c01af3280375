//! The real binary on free ports of loopback, with its data in a directory of the test.
//!
//! One server at a time on the machine's two cores: calls run in real time, and a test must not make another one late.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::programs;

/// A running `offhook serve`; dropped, it is killed.
pub struct Server {
    pub sip: SocketAddr,
    pub http: SocketAddr,
    dir: PathBuf,
    child: Child,
    _alone: File,
}

impl Server {
    /// Waits until no other test has one, starts it and waits until it is ready. `settings` are `--set` arguments.
    pub async fn start(settings: &[&str]) -> Self {
        let alone = alone().await;
        let dir = fresh_dir();
        let (sip, http) = (free_port(), free_port());
        let mut arguments = vec!["serve".to_owned()];
        let own = [
            format!("sip.listen={sip}"),
            format!("http.listen={http}"),
            format!("data.dir={}", dir.display()),
            "rtp.ports=24000-24999".to_owned(),
            "limits.drain_timeout_s=1".to_owned(),
        ];
        for setting in own.iter().map(String::as_str).chain(settings.iter().copied()) {
            arguments.extend(["--set".to_owned(), setting.to_owned()]);
        }
        let child = Command::new(env!("CARGO_BIN_EXE_offhook"))
            .args(&arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // Keys and settings of whoever runs the tests are theirs.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout.log")).unwrap())
            .stderr(File::create(dir.join("stderr.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut server = Self { sip, http, dir, child, _alone: alone };
        server.becomes_ready().await;
        server
    }

    /// A directory for what the test's programs write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `path` answers to `curl`: the status and the body.
    pub async fn curl(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.http);
        let arguments =
            ["--silent", "--show-error", "--location", "--max-time", "10", "--write-out", "\n%{http_code}", &url];
        let answer = programs::run("curl", &arguments, &self.dir, Duration::from_secs(15)).await;
        assert!(answer.success, "curl {url}: {}", answer.stderr);
        let (body, status) = answer.stdout.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, body) = self.curl(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
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

    /// Asks the server to end, as a service manager does, and waits for it.
    pub async fn stop(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        programs::run("kill", &["-TERM", &id], &self.dir, Duration::from_secs(5)).await;
        let ended = timeout(Duration::from_secs(20), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the server did not end within 20 s of SIGTERM\n{}", self.log())).unwrap()
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

const READY_WITHIN: Duration = Duration::from_secs(30);
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An address of loopback that nobody has for UDP or TCP at this moment.
pub fn free_port() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Held for as long as the file is open, also against tests in other processes.
async fn alone() -> File {
    let file = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside.lock")).unwrap();
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.unwrap().unwrap()
}

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("outside-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}
