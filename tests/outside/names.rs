//! A real name server, dnsmasq, on a free port of loopback, which knows what the test tells it and asks nobody.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::ports::Ports;

/// A running name server; dropped, it is killed.
pub struct Names {
    pub address: SocketAddr,
    dir: PathBuf,
    child: Child,
    _ports: Ports,
}

impl Names {
    /// `records` are arguments of dnsmasq, such as `--host-record=a.test,127.0.0.1`.
    pub async fn start(dir: &Path, records: &[String]) -> Self {
        Self::start_for(300, dir, records).await
    }

    /// With answers that hold for so long.
    pub async fn start_for(ttl_s: u32, dir: &Path, records: &[String]) -> Self {
        let dir = dir.join("names");
        fs::create_dir_all(&dir).unwrap();
        let mut ports = Ports::lease();
        let address = ports.address();
        let log = File::create(dir.join("log")).unwrap();
        let child = Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--no-resolv", "--no-hosts"])
            .args(["--bind-interfaces", "--log-queries", "--log-facility=-", &format!("--local-ttl={ttl_s}")])
            .args(["--listen-address=127.0.0.1", &format!("--port={}", address.port())])
            .args(records)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("dnsmasq, which scripts/test installs: {error}"));
        let mut names = Self { address, dir, child, _ports: ports };
        names.becomes_ready().await;
        names
    }

    /// It is killed.
    pub async fn dies(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it has written: every question and its answer among that.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// The setting that sends questions here.
    pub fn setting(&self) -> String {
        format!("  dns_servers: [\"{}\"]\n", self.address)
    }

    async fn becomes_ready(&mut self) {
        let until = Instant::now() + Duration::from_secs(25);
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("dnsmasq ended at its start with {status}\n{}", self.log());
            }
            assert!(Instant::now() < until, "dnsmasq does not listen\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The address of loopback by this name.
pub fn host(name: &str) -> String {
    format!("--host-record={name},127.0.0.1")
}

/// One server of a service, such as `_sip._udp.carrier.test`.
pub fn service(service: &str, host: &str, at: SocketAddr, priority: u16, weight: u16) -> String {
    format!("--srv-host={service},{host},{},{priority},{weight}", at.port())
}

/// One way to reach a domain: `SIP+D2U`, `SIP+D2T` or `SIPS+D2T`, by the service named last.
pub fn way(domain: &str, order: u16, kind: &str, service: &str) -> String {
    format!("--naptr-record={domain},{order},50,S,{kind},,{service}")
}
