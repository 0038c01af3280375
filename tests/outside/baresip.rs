//! baresip as a softphone without a sound card: it plays a WAV file to the far side, records what it hears, and is
//! operated over its control port (netstrings of JSON, one of its own modules).

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use offhook_media::resample::Rate;
use offhook_media::wav::{Wav, write_mono};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::ports::Ports;

/// A softphone to be started.
pub struct Phone<'a> {
    pub user: &'a str,
    /// The host of its address, with a port where it registers there.
    pub domain: &'a str,
    /// What follows the address in baresip's accounts file, such as `;regint=0;mediaenc=srtp-mand`.
    pub account: &'a str,
    /// The transport parameter of its address: udp, tcp or tls.
    pub transport: &'a str,
    /// The modules with its codecs, in order of preference.
    pub codecs: &'a [&'a str],
    /// 8 kHz; silence for a minute where there is none. baresip hangs up at its end.
    pub microphone: Option<&'a [i16]>,
    /// Further lines of its configuration.
    pub config: String,
}

impl Default for Phone<'_> {
    fn default() -> Self {
        Self {
            user: "+250788123456",
            domain: "127.0.0.1",
            account: ";regint=0",
            transport: "udp",
            codecs: &["g711"],
            microphone: None,
            config: String::new(),
        }
    }
}

/// A running softphone.
pub struct Baresip {
    pub sip: SocketAddr,
    child: Child,
    control: TcpStream,
    unread: Vec<u8>,
    dir: PathBuf,
    _ports: Ports,
}

impl Baresip {
    /// A softphone of the simplest kind.
    pub async fn start(dir: &Path) -> Self {
        Phone::default().start(dir).await
    }

    /// Calls, and waits until the call is up.
    pub async fn dials(&mut self, uri: &str) {
        self.command("dial", uri).await;
        self.sees("CALL_ESTABLISHED", Duration::from_secs(15)).await;
    }

    pub async fn presses(&mut self, key: char) {
        self.command("sndcode", &key.to_string()).await;
    }

    /// Takes the call that comes in and waits until it is up.
    pub async fn takes_the_call(&mut self, limit: Duration) {
        self.sees("CALL_INCOMING", limit).await;
        self.command("accept", "").await;
        self.sees("CALL_ESTABLISHED", Duration::from_secs(10)).await;
    }

    /// Hangs up and waits until the far side has agreed.
    pub async fn hangs_up(&mut self) {
        self.command("hangup", "").await;
        self.is_hung_up(Duration::from_secs(5)).await;
    }

    /// Waits until the call is over; what baresip says about it.
    pub async fn is_hung_up(&mut self, limit: Duration) -> String {
        self.sees("CALL_CLOSED", limit).await["param"].as_str().unwrap_or_default().to_owned()
    }

    /// What was heard in the call, once the softphone has ended: 8 kHz samples.
    pub async fn heard(mut self) -> Vec<i16> {
        self.command("quit", "").await;
        self.sees("EXIT", Duration::from_secs(10)).await;
        let _ = timeout(Duration::from_secs(5), self.child.wait()).await;
        let mut files = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let recording = files.find(|path| path.to_str().is_some_and(|path| path.ends_with("-dec.wav")));
        let recording = recording.unwrap_or_else(|| panic!("baresip recorded nothing: {}", self.log()));
        Wav::parse(&fs::read(recording).unwrap()).unwrap().samples
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    pub async fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters, "token": command }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).await.unwrap();
    }

    /// Reads messages until an event of this type comes, and gives it.
    pub async fn sees(&mut self, event: &str, limit: Duration) -> Value {
        let (limit, mut seen) = (limit.max(PATIENCE), Vec::new());
        let wait = async {
            loop {
                let message = self.message().await;
                if message["type"] == event {
                    return message;
                }
                seen.push(message);
            }
        };
        match timeout(limit, wait).await {
            Ok(message) => message,
            Err(_) => panic!("baresip: no {event} within {limit:?}, only {seen:#?}\n{}", self.log()),
        }
    }

    async fn message(&mut self) -> Value {
        loop {
            if let Some((message, rest)) = netstring(&self.unread) {
                self.unread = rest;
                return message;
            }
            let mut more = [0; 4096];
            let length = self.control.read(&mut more).await.unwrap();
            assert!(length > 0, "baresip ended by itself: {}", self.log());
            self.unread.extend_from_slice(&more[..length]);
        }
    }
}

impl Phone<'_> {
    /// Starts it in a directory of its own below `dir`.
    pub async fn start(&self, dir: &Path) -> Baresip {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = dir.join(format!("baresip-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&dir).unwrap();
        let mut ports = Ports::lease();
        let (sip, control) = (ports.address(), ports.address());
        let quiet = vec![0; 60 * 8_000];
        let samples = self.microphone.unwrap_or(&quiet);
        fs::write(dir.join("microphone.wav"), write_mono(Rate::Hz8000, samples).unwrap()).unwrap();
        fs::write(dir.join("config"), self.config(&dir, sip, control, &ports.rtp())).unwrap();
        let account = format!("<sip:{}@{};transport={}>{}\n", self.user, self.domain, self.transport, self.account);
        fs::write(dir.join("accounts"), account).unwrap();
        fs::write(dir.join("contacts"), "\n").unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let child = Command::new("baresip")
            .args(["-f", dir.to_str().unwrap(), "-t", "90", "-v"])
            .current_dir(&dir)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("baresip, which scripts/test installs: {error}"));
        Baresip { sip, child, control: connected(control).await, unread: Vec::new(), dir, _ports: ports }
    }

    fn config(&self, dir: &Path, sip: SocketAddr, control: SocketAddr, rtp: &str) -> String {
        let (modules, dir) = (modules(), dir.display());
        let codecs: String = self.codecs.iter().map(|codec| format!("module {codec}.so\n")).collect();
        format!(
            "sip_listen {sip}\naudio_source aufile,{dir}/microphone.wav\nausrc_srate 8000\nauplay_srate 8000\n\
             ausrc_channels 1\nauplay_channels 1\nrtp_ports {rtp}\nsnd_path {dir}\nctrl_tcp_listen {control}\n\
             module_path {modules}\n{codecs}module aufile.so\nmodule sndfile.so\nmodule srtp.so\n\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n{}\n",
            self.config
        )
    }
}

/// Shorter limits than a busy machine may need are no limits.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connected(control: SocketAddr) -> TcpStream {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(control).await {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "baresip does not answer at {control}: {error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// `LENGTH:JSON,` at the beginning of what was read, and what follows.
fn netstring(bytes: &[u8]) -> Option<(Value, Vec<u8>)> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).unwrap().parse().unwrap();
    let message = bytes.get(colon + 1..colon + 1 + length)?;
    let rest = bytes.get(colon + 2 + length..)?;
    Some((serde_json::from_slice(message).unwrap(), rest.to_vec()))
}

/// Debian keeps them in one of two places.
fn modules() -> &'static str {
    let places =
        ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules"];
    places.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(places[0])
}
