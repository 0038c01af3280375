//! A number that a caller keys in confidence and hears read back is nowhere in what the server has written: not in its
//! database, its CSV, its spool or its log, at the finest level of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod wire_support;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::time::{Instant, sleep};
use wire_support::phone::Phone;
use wire_support::ports::Ports;
use wire_support::{PATIENCE, loudest};

const FLOW: &str = "
name: desk
steps:
  card:
    collect: {prompt: Your card., into: card, min: 8, max: 8, sensitive: true}
    goto: back
  back: {say: ['You said {card}.', Thank you.], goto: more}
  more: {menu: {prompt: 'For {card} press 1.', choices: [{key: 1, goto: hangup}]}}
";

/// Read back as `four zero, seven one, eight two six three`.
const CANARY: &str = "40718263";
const SPELLED: [&str; 6] = ["40718263", "four zero", "seven one", "eight two", "8 2 6 3", "4 0, 7 1"];

#[tokio::test(flavor = "multi_thread")]
async fn digits_told_in_confidence_are_written_nowhere() {
    let data = std::env::temp_dir().join(format!("offhook-private-{}", std::process::id()));
    let log = data.with_extension("log");
    let server = Server::start(&data, &log).await;
    call(&server).await;
    server.kept_calls(1).await;
    // The second call's records find the database locked and go to the spool.
    let database = format!("sqlite://{}", data.join("offhook.db").display());
    let mut lock = SqliteConnection::connect(&database).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
    call(&server).await;
    let spool = data.join("spool.jsonl");
    let until = Instant::now() + PATIENCE * 3;
    while !fs::read_to_string(&spool).is_ok_and(|text| text.contains("\"ended\"")) {
        assert!(Instant::now() < until, "nothing is spooled");
        sleep(Duration::from_millis(50)).await;
    }
    drop(server);
    drop(lock);
    let mut written = files(&data);
    written.push(log.clone());
    assert!(fs::read_to_string(&log).unwrap().contains("call began"), "the log is there to be searched");
    let mut withheld = Vec::new();
    for file in &written {
        let bytes = fs::read(file).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        for form in SPELLED {
            assert!(!text.contains(form), "`{form}` is in {}", file.display());
        }
        if text.contains("[withheld]") {
            withheld.push(file.extension().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    for kind in ["csv", "jsonl"] {
        assert!(withheld.iter().any(|extension| extension == kind), "{kind} of {written:?}");
    }
    assert!(withheld.iter().any(|extension| extension.starts_with("db")), "{written:?}");
    fs::remove_dir_all(&data).unwrap();
    fs::remove_dir_all(data.with_extension("flows")).unwrap();
    fs::remove_file(&log).unwrap();
}

/// Keys the number by SIP INFO, hears it read back twice, and leaves.
async fn call(server: &Server) {
    let mut phone = Phone::udp_to(server.sip).await;
    assert_eq!(phone.call("1000").await.status(), 200);
    phone.talk(&[], Duration::from_millis(500)).await;
    for key in CANARY.chars() {
        let body = format!("Signal={key}\r\nDuration=120\r\n");
        let info = phone.request("INFO", &["Content-Type: application/dtmf-relay"], &body);
        phone.send(&info).await;
        phone.talk(&[], Duration::from_millis(60)).await;
    }
    let heard = phone.talk(&[], Duration::from_secs(9)).await;
    let level = loudest(&wire_support::phone::audio_of(&heard));
    assert!(level > -40.0, "it is read back: {level} dBFS");
    assert_eq!(phone.bye().await, 200);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The real binary, with all of its log in a file.
struct Server {
    child: Child,
    sip: SocketAddr,
    http: SocketAddr,
    _ports: Ports,
}

impl Server {
    async fn start(data: &Path, log: &Path) -> Self {
        let (sip, http) = (free_port(), free_port());
        let flows = data.with_extension("flows");
        for (folder, name, text) in [("flows", "desk", FLOW), ("lines", "line", "default: true\nflow: desk\n")] {
            fs::create_dir_all(flows.join(folder)).unwrap();
            fs::write(flows.join(folder).join(name).with_extension("yaml"), text).unwrap();
        }
        let ports = Ports::lease();
        let settings = [
            format!("sip.listen={sip}"),
            format!("http.listen={http}"),
            format!("data.dir={}", data.display()),
            format!("flows.dir={}", flows.display()),
            format!("rtp.ports={}", ports.rtp()),
            "log.level=trace".to_owned(),
        ];
        let output = File::create(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_offhook"))
            .arg("serve")
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let server = Self { child, sip, http, _ports: ports };
        let until = Instant::now() + PATIENCE;
        while reqwest::get(format!("http://{http}/readiness")).await.is_err() {
            assert!(Instant::now() < until, "the server does not start: {}", fs::read_to_string(log).unwrap());
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Waits until so many calls are kept with their end, and looks for the number in what the API shows of them.
    async fn kept_calls(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let list = reqwest::get(format!("http://{}/v1/calls", self.http)).await.unwrap().text().await.unwrap();
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            let calls = list["calls"].as_array().unwrap();
            let ended: Vec<_> = calls.iter().filter(|call| call["state"] == "ended").collect();
            if ended.len() >= count {
                for call in ended {
                    let path = format!("http://{}/v1/calls/{}", self.http, call["id"].as_str().unwrap());
                    let text = reqwest::get(path).await.unwrap().text().await.unwrap();
                    assert!(text.contains("[withheld]") && !SPELLED.iter().any(|form| text.contains(form)), "{text}");
                    assert!(text.contains("Thank you."), "the rest is kept: {text}");
                }
                return;
            }
            assert!(Instant::now() < until, "{list:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
