//! baresip as a softphone without a sound card: it plays a WAV file to the server, records what it hears, and is
//! operated over its control port (netstrings of JSON, one of its own modules).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook_media::wav::Wav;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::programs;
use super::server::free_port;

/// A running softphone.
pub struct Baresip {
    _child: Child,
    control: TcpStream,
    unread: Vec<u8>,
    dir: PathBuf,
}

impl Baresip {
    /// Starts it in a directory of its own below `dir`; `microphone` is a WAV file of 8 kHz; the call ends with it.
    pub async fn start(dir: &Path, microphone: &str) -> Self {
        let dir = dir.join("baresip");
        fs::create_dir_all(&dir).unwrap();
        let control = free_port();
        fs::write(dir.join("config"), config(&dir, microphone, control)).unwrap();
        fs::write(dir.join("accounts"), "<sip:+250788123456@127.0.0.1>;regint=0\n").unwrap();
        fs::write(dir.join("contacts"), "\n").unwrap();
        let child = programs::start("baresip", &["-f", dir.to_str().unwrap(), "-t", "60"], &dir);
        Self { _child: child, control: connected(control).await, unread: Vec::new(), dir }
    }

    /// Calls, and waits until the call is up.
    pub async fn dials(&mut self, uri: &str) {
        self.command("dial", uri).await;
        self.sees("CALL_ESTABLISHED", Duration::from_secs(10)).await;
    }

    pub async fn presses(&mut self, key: char) {
        self.command("sndcode", &key.to_string()).await;
    }

    /// Hangs up and waits until the server has agreed.
    pub async fn hangs_up(&mut self) {
        self.command("hangup", "").await;
        self.is_hung_up(Duration::from_secs(5)).await;
    }

    /// Waits until the call is over.
    pub async fn is_hung_up(&mut self, limit: Duration) {
        self.sees("CALL_CLOSED", limit).await;
    }

    /// What was heard in the call, once the softphone has ended: 8 kHz samples.
    pub async fn heard(mut self) -> Vec<i16> {
        self.command("quit", "").await;
        self.sees("EXIT", Duration::from_secs(10)).await;
        let mut files = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let recording = files.find(|path| path.to_str().is_some_and(|path| path.ends_with("-dec.wav")));
        Wav::parse(&fs::read(recording.expect("baresip recorded nothing")).unwrap()).unwrap().samples
    }

    async fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters, "token": command }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).await.unwrap();
    }

    /// Reads messages until an event of this type comes.
    async fn sees(&mut self, event: &str, limit: Duration) {
        let mut seen = Vec::new();
        let wait = async {
            loop {
                let message = self.message().await;
                if message["type"] == event {
                    return;
                }
                seen.push(message);
            }
        };
        if timeout(limit, wait).await.is_err() {
            panic!("baresip: no {event} within {limit:?}, only {seen:#?}");
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
            assert!(length > 0, "baresip ended by itself");
            self.unread.extend_from_slice(&more[..length]);
        }
    }
}

async fn connected(control: SocketAddr) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(10);
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

fn config(dir: &Path, microphone: &str, control: SocketAddr) -> String {
    let (sip, dir) = (free_port(), dir.display());
    let modules = modules();
    format!(
        "sip_listen {sip}\naudio_source aufile,{microphone}\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\n\
         auplay_channels 1\nrtp_ports 26000-26999\nsnd_path {dir}\nctrl_tcp_listen {control}\nmodule_path {modules}\n\
         module g711.so\nmodule aufile.so\nmodule sndfile.so\nmodule_app account.so\nmodule_app menu.so\n\
         module_app ctrl_tcp.so\n"
    )
}

/// Debian keeps them in one of two places.
fn modules() -> &'static str {
    let places =
        ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules"];
    places.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(places[0])
}
