//! The log of a whole process, as its supervisor sees it.
//!
//! The logging process is this test binary again, told by an environment variable what to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use offhook::telemetry::logs::{self, LogConfig, LogError, LogFormat};
use offhook::telemetry::pii::Pii;

const PLAY: &str = "OFFHOOK_TEST_LOG";
/// Two lines each: more than a pipe holds.
const ROUNDS: usize = 1000;

/// The child: logs what a careless line of code might, and leaves with success. Does nothing when run as a test.
#[test]
fn logs_like_a_server() {
    let Some(format) = std::env::var_os(PLAY) else { return };
    let format = if format == "json" { LogFormat::Json } else { LogFormat::Pretty };
    let config = LogConfig { level: "info".to_owned(), format };
    logs::init(&config).unwrap();
    assert_eq!(logs::init(&config), Err(LogError::Twice));
    let call = tracing::info_span!("call", session_id = "0195d3a0-7c1e-7abc-8def-a1b2c3d4e5f6", request_id = "r-7");
    let _in = call.enter();
    for _ in 0..ROUNDS {
        tracing::info!(caller = %Pii::new("+250788123456"), from = "sip:+250788123456@10.0.0.1", "answered 0788 123 456");
        tracing::error!(words = "jean at example dot org, jean@example.org", "failed for {}", "(078) 812-3456");
        tracing::debug!("not at this level");
    }
    // Past any output that the test harness would like to make, which may fail when nobody reads.
    std::process::exit(0);
}

fn play(format: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "logs_like_a_server", "--nocapture"]).env(PLAY, format).stderr(Stdio::null());
    command
}

#[test]
fn each_line_is_json_with_its_call_and_without_the_caller() {
    let output = play("json").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for planted in ["788123456", "788 123 456", "812-3456", "jean", "example"] {
        let found = text.lines().find(|line| line.contains(planted));
        assert_eq!(found, None, "`{planted}`");
    }
    let digits = |line: &&str| line.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > 6);
    assert_eq!(text.lines().find(digits), None, "a search for phone numbers finds nothing");
    let lines: Vec<serde_json::Value> =
        text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2 * ROUNDS, "debug is below the level");
    for line in &lines {
        assert_eq!(line["session_id"], "0195d3a0-7c1e-7abc-8def-a1b2c3d4e5f6");
        assert_eq!(line["request_id"], "r-7");
        assert!(line["timestamp"].is_string() && line["target"] == "logs");
    }
    assert_eq!((&lines[0]["message"], &lines[0]["caller"]), (&"answered [number]".into(), &"[pii]".into()));
    assert_eq!((&lines[1]["level"], &lines[1]["words"]), (&"ERROR".into(), &"[email], [email]".into()));
}

#[test]
fn a_reader_that_went_away_does_not_end_the_process() {
    for format in ["json", "pretty"] {
        let mut child = play(format).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("answered") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the child logs");
        }
        drop(said);
        assert!(child.wait().unwrap().success(), "{format}");
    }
}
