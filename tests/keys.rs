//! Vendors' secrets in the database, by the real program: kept encrypted, rotated under load and under `kill -9`, and
//! found nowhere where people or machines look.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod store_support;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use offhook::providers::credentials::Vault;
use offhook::store::record::CallId;
use offhook::store::{DatabaseConfig, Tables};
use secrecy::ExposeSecret as _;
use store_support::{Folder, turn};

on_both_databases! {
    a_secret_goes_in_by_standard_input_and_is_kept_encrypted
    a_rotation_that_is_killed_anywhere_loses_nothing_and_is_brought_to_its_end
    every_secret_can_be_read_throughout_rotations_under_load
    what_was_tampered_with_is_refused_by_name
}

async fn a_secret_goes_in_by_standard_input_and_is_kept_encrypted(folder: Folder) {
    let refused = offhook(&folder, &["add", "deepgram"], CANARY);
    assert!(!refused.status.success() && said(&refused).contains("offhook keys generate"), "{}", said(&refused));
    assert!(said(&offhook(&folder, &["generate"], "")).contains("made in"));
    let second = offhook(&folder, &["generate"], "");
    assert!(!second.status.success() && said(&second).contains("offhook keys rotate"), "{}", said(&second));
    for (provider, secret, complaint) in [
        ("Deep gram", CANARY, "expected names"),
        ("deepgram", "", "expected a secret"),
        ("deepgram", "canary with spaces", "expected a secret"),
    ] {
        let refused = offhook(&folder, &["add", provider], secret);
        let text = said(&refused);
        assert!(!refused.status.success() && text.contains(complaint) && !text.contains("canary"), "{text}");
    }
    assert!(said(&offhook(&folder, &["add", "deepgram"], &format!("{CANARY}\n"))).contains("is kept"));
    assert_eq!(vault(&folder).await.find("deepgram", "api_key").await.unwrap().unwrap().expose_secret(), CANARY);
    assert!(vault(&folder).await.find("openai", "api_key").await.unwrap().is_none());
    let list = said(&offhook(&folder, &["list"], ""));
    assert!(
        list.contains("deepgram api_key k") && list.contains(": 1 credentials") && !list.contains(CANARY),
        "{list}"
    );
    assert!(!folder.holds(CANARY), "in clear in a file or in the database");
    // Again under another name of the database: it changes, and only one is left.
    assert!(said(&offhook(&folder, &["rotate"], "")).contains("rotated: 1 credentials"));
    let after = said(&offhook(&folder, &["list"], ""));
    assert!(after != list && after.lines().count() == 2, "{after}");
    assert_eq!(vault(&folder).await.find("deepgram", "api_key").await.unwrap().unwrap().expose_secret(), CANARY);
    assert!(said(&offhook(&folder, &["remove", "deepgram"], "")).contains("forgotten"));
    assert!(vault(&folder).await.find("deepgram", "api_key").await.unwrap().is_none());
}

async fn a_rotation_that_is_killed_anywhere_loses_nothing_and_is_brought_to_its_end(folder: Folder) {
    let vault = with_secrets(&folder, 400).await;
    let mut seed = 0x0FF_0005_u64;
    let (mut killed, mut resumed) = (0, 0);
    let whole = rotation_takes(&folder);
    for _ in 0..KILLS {
        let mut child = keys(&folder, &["rotate"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(whole.mul_f64((seed >> 40) as f64 / f64::from(1 << 24))).await;
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        killed += u32::from(!ended.status.success());
        resumed += u32::from(said(&ended).contains("cut off"));
        for n in 0..400 {
            let found = vault.find("vendor", &format!("n{n}")).await.unwrap().expect("nothing is lost");
            assert_eq!(found.expose_secret(), secret(n));
        }
    }
    println!("{killed} of {KILLS} rotations were killed, {resumed} resumed");
    assert!(killed > 0, "no kill fell into a rotation");
    // The last one may have been killed behind its end.
    if vault.keys().unwrap().len() > 1 {
        assert!(said(&offhook(&folder, &["rotate"], "")).contains("cut off"));
    }
    let keys = vault.keys().unwrap();
    assert_eq!(keys.len(), 1, "old keys are gone");
    assert!(vault.list().await.unwrap().iter().all(|row| row.key_id == keys[0]));
}

async fn every_secret_can_be_read_throughout_rotations_under_load(folder: Folder) {
    let vault = with_secrets(&folder, 40).await;
    let (_store, sink, writer) = folder.open().await.unwrap();
    let (over, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (vault, over, reads, sink) = (vault.clone(), Arc::clone(&over), Arc::clone(&reads), sink.clone());
            tokio::spawn(async move {
                let call = CallId::fresh();
                for number in 0.. {
                    let n = (number * 7 + reader) % 40;
                    let found = vault.find("vendor", &format!("n{n}")).await.unwrap().expect("readable at any moment");
                    assert_eq!(found.expose_secret(), secret(n));
                    sink.record(turn(call, number));
                    reads.fetch_add(1, Relaxed);
                    if over.load(Relaxed) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            })
        })
        .collect();
    for _ in 0..6 {
        // Not on the thread of the readers and of the writer of records, which must go on.
        let rotate = keys(&folder, &["rotate"]);
        let change = keys(&folder, &["add", "vendor", "n3"]);
        for (command, input) in [(rotate, String::new()), (change, secret(3))] {
            let done = tokio::task::spawn_blocking(move || output(command, &input)).await.unwrap();
            assert!(done.status.success(), "{}", said(&done));
        }
    }
    over.store(true, Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    println!("{} reads beside 6 rotations", reads.load(Relaxed));
    assert!(writer.shutdown(Duration::from_secs(30)).await);
    assert_eq!(vault.keys().unwrap().len(), 1);
}

async fn what_was_tampered_with_is_refused_by_name(folder: Folder) {
    let vault = with_secrets(&folder, 2).await;
    let mut other = folder.connect().await;
    other
        .run("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE name = 'n0') WHERE name = 'n1'")
        .await;
    let error = vault.find("vendor", "n1").await.unwrap_err().to_string();
    assert!(error.contains("credential vendor n1: cannot be decrypted"), "{error}");
    let keys_before = vault.keys().unwrap();
    let refused = offhook(&folder, &["rotate"], "");
    assert!(!refused.status.success() && said(&refused).contains("vendor n1"), "{}", said(&refused));
    assert_eq!(vault.keys().unwrap()[0], keys_before[0], "what can still be read stays readable");
    assert_eq!(vault.find("vendor", "n0").await.unwrap().unwrap().expose_secret(), secret(0));
    std::fs::remove_file(folder.path().join("credentials.key")).unwrap();
    let error = vault.find("vendor", "n0").await.unwrap_err().to_string();
    assert!(error.contains("encrypted under key k") && error.contains("not in the key file"), "{error}");
}

/// The canary that is planted.
const CANARY: &str = "canary-7f3a-of-the-vault";
const KILLS: u32 = 14;

fn secret(n: u32) -> String {
    format!("secret-{n}-of-many-{}", n * 7919)
}

async fn vault(folder: &Folder) -> Vault {
    let database = DatabaseConfig { url: folder.url().map(|url| url.parse().unwrap()) };
    let tables = Tables::beside(&database, &folder.data()).await.unwrap();
    Vault::new(tables, folder.path().join("credentials.key"))
}

async fn with_secrets(folder: &Folder, count: u32) -> Vault {
    let vault = vault(folder).await;
    vault.generate().unwrap();
    for n in 0..count {
        vault.add("vendor", &format!("n{n}"), &secret(n).into()).await.unwrap();
    }
    vault
}

/// How long a rotation takes on this machine at this moment, by doing one.
#[expect(clippy::disallowed_methods, reason = "kills are spread over the time that a rotation takes")]
fn rotation_takes(folder: &Folder) -> Duration {
    let began = std::time::Instant::now();
    assert!(offhook(folder, &["rotate"], "").status.success());
    began.elapsed()
}

fn keys(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.arg("keys").args(arguments).current_dir(folder.path());
    command.arg("--set").arg(format!("data.dir={}", folder.path().display()));
    if let Some(url) = folder.url() {
        command.arg("--set").arg(format!("database.url={url}"));
    }
    command
}

fn offhook(folder: &Folder, arguments: &[&str], input: &str) -> Output {
    output(keys(folder, arguments), input)
}

fn output(mut command: Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A command that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
