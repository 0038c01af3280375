//! Kamailio with the configuration that is shipped in deploy/kamailio: a registrar and authenticating, record-routing
//! proxy on free ports of loopback.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::ports::Ports;

/// A running Kamailio. Ended by [`Kamailio::stop`]; dropped, its main process is told to end, which ends the others.
pub struct Kamailio {
    pub address: SocketAddr,
    /// Calls from here need no password, and calls to the outside go here.
    pub carrier: SocketAddr,
    /// Number 600 rings here too.
    pub second_carrier: SocketAddr,
    dir: PathBuf,
    child: Child,
    _ports: Ports,
}

/// Of the users `offhook` and `phone`.
pub const PASSWORD: &str = "a-long-enough-secret";
pub const REALM: &str = "pbx.example.org";

impl Kamailio {
    /// In front of a server that does not register: its SIP address.
    pub async fn before(server: SocketAddr, dir: &Path) -> Self {
        let port = format!("OFFHOOK_PORT=\"{}\"", server.port());
        Self::start(dir, &["OFFHOOK=\"127.0.0.1\"", &port]).await
    }

    /// `definitions` are more `-A` arguments, such as `MIN_EXPIRES=300`.
    pub async fn start(dir: &Path, definitions: &[&str]) -> Self {
        let dir = dir.join("kamailio");
        fs::create_dir_all(&dir).unwrap();
        let mut ports = Ports::lease();
        let [address, carrier, second_carrier] = [(); 3].map(|()| ports.address());
        let own = [
            format!("LISTEN_UDP=udp:{address}"),
            format!("LISTEN_TCP=tcp:{address}"),
            format!("REALM=\"{REALM}\""),
            format!("PASSWORD=\"{PASSWORD}\""),
            format!("CARRIER_PORT=\"{}\"", carrier.port()),
            format!("CARRIER_2_PORT=\"{}\"", second_carrier.port()),
        ];
        let log = File::create(dir.join("log")).unwrap();
        let mut command = Command::new("kamailio");
        command.args(["-f", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kamailio/kamailio.cfg"), "-DD", "-E"]);
        command.args(["-m", "16", "-M", "8", "-Y"]).arg(&dir);
        for definition in own.iter().map(String::as_str).chain(definitions.iter().copied()) {
            command.args(["-A", definition]);
        }
        let child = command
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("kamailio, which scripts/test installs: {error}"));
        let mut kamailio = Self { address, carrier, second_carrier, dir, child, _ports: ports };
        kamailio.becomes_ready().await;
        kamailio
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// Waits until this has been written `times` times.
    pub async fn says(&self, text: &str, times: usize, limit: Duration) {
        let until = Instant::now() + limit;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "not {times} times `{text}` within {limit:?}:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn becomes_ready(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        // It listens for TCP last.
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("kamailio ended at its start with {status}\n{}", self.log());
            }
            assert!(Instant::now() < until, "kamailio does not listen\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it and its workers, and waits for them.
    pub async fn stop(mut self) {
        self.terminate();
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        assert!(ended.is_ok(), "kamailio did not end\n{}", self.log());
    }

    fn terminate(&self) {
        let Some(id) = self.child.id() else { return };
        // A killed main process would leave its workers behind.
        let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.terminate();
    }
}
