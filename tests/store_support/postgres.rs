//! A real PostgreSQL on loopback, made and ended by the tests: a cluster in a temporary folder, with a password and TLS.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};

/// Nobody may ever see it: tests look for it in logs, errors and files.
pub const PASSWORD: &str = "hunter2-of-the-database";

/// A cluster; stopped and removed when dropped.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    running: Mutex<Option<Child>>,
    _ports: ports::Ports,
}

#[path = "../outside/ports.rs"]
#[allow(clippy::duplicate_mod, reason = "some of the test binaries have it from wire_support too")]
mod ports;

impl Postgres {
    /// The one that the tests of this process share at this moment.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Postgres>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let server = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// One of its own, for a test that stops it.
    pub async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("offhook-postgres-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("password"), PASSWORD).unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(dir.join("server.crt"), certified.cert.pem()).unwrap();
        fs::write(dir.join("server.key"), certified.signing_key.serialize_pem()).unwrap();
        let mut ports = ports::Ports::lease();
        let port = ports.address().port();
        if is_root() {
            let done = Command::new("chown").args(["-R", "postgres:"]).arg(&dir).status().unwrap();
            assert!(done.success(), "no user postgres: scripts/test installs PostgreSQL");
        }
        let made = program("chmod").args(["600"]).arg(dir.join("server.key")).status().unwrap();
        assert!(made.success());
        let made = program("initdb")
            .args(["--no-sync", "--username=offhook", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--pwfile={}", dir.join("password").display()))
            .arg("--pgdata")
            .arg(dir.join("data"))
            .stdout(Stdio::null())
            .status()
            .expect("initdb is missing: scripts/test installs it");
        assert!(made.success(), "initdb failed");
        let server = Self { dir, port, running: Mutex::new(None), _ports: ports };
        server.resume().await;
        server
    }

    /// Starts the server again, and waits until it answers.
    pub async fn resume(&self) {
        let child = program("postgres")
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-c", &format!("port={}", self.port)])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"])
            .args(["-c", "max_connections=150", "-c", "shared_buffers=16MB", "-c", "ssl=on"])
            .args(["-c", &format!("ssl_cert_file={}", self.dir.join("server.crt").display())])
            .args(["-c", &format!("ssl_key_file={}", self.dir.join("server.key").display())])
            .stdout(Stdio::null())
            .stderr(fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        *self.running.lock() = Some(child);
        let answers = async {
            while self.connect("postgres").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(60), answers).await;
        assert!(answered.is_ok(), "no answer: {}", fs::read_to_string(self.dir.join("log")).unwrap_or_default());
    }

    /// Ends the server as an administrator would, cutting off whoever is connected.
    pub fn stop(&self) {
        let Some(mut child) = self.running.lock().take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        child.wait().unwrap();
    }

    /// The URL of a database that nobody else uses.
    pub async fn database(&self) -> String {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let mut connection = self.connect("postgres").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://offhook:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server's certificate leads to: itself.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("server.crt")
    }

    /// Everything of a database as text.
    pub fn dump(&self, url: &str) -> String {
        let dumped = Command::new(programs().join("pg_dump")).arg(url).output().unwrap();
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        String::from_utf8(dumped.stdout).unwrap()
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&PgConnectOptions::from_str(&self.url(database)).unwrap()).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One of PostgreSQL's programs, which refuse to run as root.
fn program(name: &str) -> Command {
    let path = if name == "chmod" { PathBuf::from(name) } else { programs().join(name) };
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(path);
    // The current folder may be closed to that user.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Where Debian's newest version is.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is missing: scripts/test installs it");
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    versions.retain(|bin| Path::exists(&bin.join("postgres")));
    versions.sort();
    versions.pop().expect("PostgreSQL is missing: scripts/test installs it")
}
