//! `kill -9` in the middle of a recorded call: what was recorded is there to its last second, the file plays as it lies,
//! and the next start gives it its name, its length and its checksum.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod wire_support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::config::Consent;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use wire_support::phone::Phone;
use wire_support::ports::Ports;
use wire_support::tape::{Tape, level, part, sounding, tones};
use wire_support::{Host, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_recording_plays_to_its_last_second_and_is_brought_home() {
    for (kill_after_ms, format) in [(2_130, "wav"), (3_370, "opus")] {
        let (data, tape) = killed(kill_after_ms, format).await;

        let again = data.clone();
        let host = Host::start(move |config| {
            config.data.dir = again;
            config.recording.enabled = true;
            config.recording.consent = Consent::None;
        })
        .await;
        let call = host.recorded_call().await;
        assert_eq!(call["end_reason"], "crash_recovered");
        let recording = &call["recordings"][0];
        assert_eq!((&recording["state"], &recording["fault"]), (&"recovered".into(), &"stopped".into()));
        let file = only_file(&data.join("recordings"));
        assert_eq!(file.file_name().unwrap().to_string_lossy(), format!("{}-1.{format}", call["id"].as_str().unwrap()));
        let digest: String = Sha256::digest(std::fs::read(&file).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(recording["sha256"], digest);
        let recovered = host.tape(&call).await;
        assert!(recovered.ms() >= tape.ms(), "nothing was taken away");
        // A cut Opus stream ends within a frame: its decoder runs 6.5 ms behind.
        let more = recovered.ms() - recording["ms"].as_f64().unwrap();
        assert!((0.0..20.0).contains(&more), "{more} ms more than the record says");
        host.ends_clean().await;
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// The data of a server that was killed in a call, and the recording as it lies there. A machine that stalls at the wrong
/// moment makes a bad recording once, but not time and again.
async fn killed(kill_after_ms: u64, format: &str) -> (PathBuf, Tape) {
    let mut wrong = Vec::new();
    for _ in 0..3 {
        let data = std::env::temp_dir().join(format!("offhook-killed-{:x}", rand::random::<u64>()));
        let server = Victim::start(&data, format).await;
        let mut phone = Phone::udp_to(server.sip).await;
        assert_eq!(phone.call("1000").await.status(), 200);
        let began = Instant::now();
        phone.talk(&tones(&[1000.0], 500), Duration::from_millis(kill_after_ms)).await;
        server.kill();
        let ran = began.elapsed().as_secs_f64() * 1000.0;
        let part_file = only_file(&data.join("recordings"));
        assert!(part_file.to_string_lossy().ends_with(&format!("-1.{format}.part")), "{}", part_file.display());
        let tape = as_it_lies(&std::fs::read(&part_file).unwrap());
        match what_is_missing(&tape, ran) {
            None => return (data, tape),
            Some(what) => wrong.push(what),
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
    panic!("{format}: {wrong:#?}");
}

fn what_is_missing(tape: &Tape, ran: f64) -> Option<String> {
    if ran - tape.ms() >= 1_000.0 || tape.ms() > ran + 40.0 {
        return Some(format!("{} ms of a call of {ran} ms", tape.ms()));
    }
    let Some((_, end)) = sounding(&tape.left) else { return Some("the caller is not heard".into()) };
    if tape.ms() - end >= 60.0 {
        return Some(format!("the caller is heard to {end} of {} ms", tape.ms()));
    }
    let ours = level(part(&tape.right, 100.0, 250.0));
    (ours <= -30.0).then(|| format!("we are heard at {ours} dBFS"))
}

/// The real binary, to be killed.
struct Victim {
    child: Child,
    sip: SocketAddr,
    _ports: Ports,
}

impl Victim {
    async fn start(data: &Path, format: &str) -> Self {
        let (sip, http) = (free_port(), free_port());
        let ports = Ports::lease();
        let settings = [
            format!("sip.listen={sip}"),
            format!("http.listen={http}"),
            format!("data.dir={}", data.display()),
            format!("rtp.ports={}", ports.rtp()),
            "recording.enabled=true".to_owned(),
            "recording.consent=none".to_owned(),
            format!("recording.format={format}"),
        ];
        let child = Command::new(env!("CARGO_BIN_EXE_offhook"))
            .arg("serve")
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let victim = Self { child, sip, _ports: ports };
        let until = Instant::now() + PATIENCE;
        while reqwest::get(format!("http://{http}/readiness")).await.is_err() {
            assert!(Instant::now() < until, "the server does not start");
            sleep(Duration::from_millis(20)).await;
        }
        victim
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whoever finds the file can play it.
fn as_it_lies(bytes: &[u8]) -> Tape {
    if bytes.starts_with(b"OggS") {
        return Tape::unfinished_opus(bytes);
    }
    // As the header was left.
    let counted = u32::from_le_bytes(bytes[40..44].try_into().unwrap()) as usize;
    Tape::wav(&bytes[..44 + counted])
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A port that both UDP and TCP can have now.
fn free_port() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
