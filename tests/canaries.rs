//! Secrets are planted everywhere a secret may be, the server is asked everything, vendors refuse, it is killed; and then
//! the secrets are looked for wherever people and machines look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod store_support;

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::sim::vendors::{Refusal, VendorStandIns};
use store_support::Folder;
use store_support::postgres::PASSWORD;
use tokio::time::{Instant, sleep};

on_both_databases! { no_secret_is_found_anywhere }

const VAULT: &str = "canary-vault-1f7e";
const VARIABLE: &str = "canary-variable-2c9b";
const FILE: &str = "canary-file-3a5d";
const TOKEN: &str = "canary-token-4e8f-of-the-operators-api-0123456789";
const TWILIO: &str = "canary-twilio-5b2a";
const CANARIES: [&str; 6] = [VAULT, VARIABLE, FILE, TOKEN, TWILIO, PASSWORD];

async fn no_secret_is_found_anywhere(folder: Folder) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    vendors.tts.set(|tts| tts.refusal = Some(Refusal::Unauthorized));
    write_config(&folder, &vendors);
    assert!(run(&folder, &["keys", "generate"], "").contains("made"));
    assert!(run(&folder, &["keys", "add", "deepgram"], VAULT).contains("is kept"));
    let mut said = run(&folder, &["check", "--print-config"], "");
    said += &run(&folder, &["keys", "list"], "");
    said += &run(&folder, &["check", "--set", "anthropic.api_key=with spaces canary-file-3a5d"], "");
    said += &run(&folder, &["check", "--set", "database.url=postgres://u:canary-file-3a5d@h/d?x=1"], "");
    said += &run(&folder, &["keys", "add", "openai"], &format!("{VAULT} with spaces"));

    let mut server = serve(&folder);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = ready(&folder, &http, &mut server).await;
    for path in [
        "/v1/providers",
        "/v1/providers/select?category=tts",
        "/v1/providers/usage",
        "/v1/calls",
        "/healthz",
        "/metrics",
    ] {
        for token in [TOKEN, "wrong"] {
            let answer = http.get(format!("{at}{path}")).bearer_auth(token).send().await.unwrap();
            said += &format!("{:?}", answer.headers());
            said += &answer.text().await.unwrap();
        }
    }
    for (path, body) in [
        ("/v1/providers", "{"),
        ("/v1/providers", "{\"id\":1}"),
        ("/v1/providers/x/disable", "{}"),
        ("/v1/providers/reload", ""),
    ] {
        let request = http.post(format!("{at}{path}")).bearer_auth(TOKEN).header("content-type", "application/json");
        said += &request.body(body).send().await.unwrap().text().await.unwrap();
    }
    // The voice was asked with the key of the vault and refused it: what is said of that is in the log by now.
    let asked = vendors.tts.until(|counters| counters.requests > 0);
    let asked = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the voice is asked");
    assert!(asked.authorized, "the key of the vault was sent");
    said += &run(&folder, &["keys", "rotate"], "");
    sleep(Duration::from_millis(300)).await;
    server.kill().unwrap();
    server.wait().unwrap();

    let log = std::fs::read_to_string(folder.path().join("log.txt")).unwrap();
    assert!(log.contains("credentials refused"), "the log tells of the refusal: {log}");
    said += &log;
    for canary in CANARIES {
        assert!(!said.contains(canary), "{canary} was said: {}", around(&said, canary));
        assert!(canary == FILE || !folder.holds(canary), "{canary} is in a file or in the database");
    }
}

fn around<'a>(text: &'a str, canary: &str) -> &'a str {
    let at = text.find(canary).unwrap_or_default();
    text.get(at.saturating_sub(80)..(at + 80).min(text.len())).unwrap_or_default()
}

fn write_config(folder: &Folder, vendors: &VendorStandIns) {
    let at = vendors.base_url();
    let text = format!(
        "http: {{listen: 127.0.0.1:0}}\nsip: {{listen: 127.0.0.1:0}}\ntts: {{provider: deepgram}}\nstt: {{provider: deepgram}}\n\
         llm: {{provider: anthropic}}\ndeepgram: {{base_url: '{at}'}}\nopenai: {{base_url: '{at}/v1'}}\n\
         anthropic: {{base_url: '{at}', api_key: {FILE}}}\nlog: {{level: trace, format: json}}\n"
    );
    std::fs::write(folder.path().join("offhook.yaml"), text).unwrap();
}

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(arguments).args(["--config", "offhook.yaml"]).current_dir(folder.path());
    command.arg("--set").arg(format!("data.dir={}", folder.path().display()));
    command.env("OPENAI_API_KEY", VARIABLE).env("SECRET_KEY", TOKEN).env("TWILIO_AUTH_TOKEN", TWILIO);
    if let Some(url) = folder.url() {
        command.env("DATABASE_URL", url);
    }
    command
}

/// What it says, whether it ends well or not.
fn run(folder: &Folder, arguments: &[&str], input: &str) -> String {
    let mut command = command(folder, arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn serve(folder: &Folder) -> Child {
    let log = File::create(folder.path().join("log.txt")).unwrap();
    command(folder, &["serve"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Where it answers, by its own log.
async fn ready(folder: &Folder, http: &reqwest::Client, server: &mut Child) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let log = std::fs::read_to_string(folder.path().join("log.txt")).unwrap();
        assert!(Instant::now() < until && server.try_wait().unwrap().is_none(), "the server does not start: {log}");
        let line = log.lines().find(|line| line.contains("ready for calls"));
        let line: Option<serde_json::Value> = line.and_then(|line| serde_json::from_str(line).ok());
        if let Some(at) = line.as_ref().and_then(|line| find(line, "http")) {
            let at = format!("http://{at}");
            if http.get(format!("{at}/readiness")).send().await.is_ok() {
                return at;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn find(value: &serde_json::Value, key: &str) -> Option<String> {
    let object = value.as_object()?;
    let own = object.get(key).and_then(|found| found.as_str().map(str::to_owned));
    own.or_else(|| object.values().find_map(|inner| find(inner, key)))
}
