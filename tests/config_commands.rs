//! The command line: exit codes, and one line that says what is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

use std::process::{Command, Output};

fn offhook(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(args).env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_is_a_success_and_names_the_options() {
    for command in ["serve", "check"] {
        let output = offhook(&[command, "--help"], &[]);
        assert_eq!(output.status.code(), Some(0));
        for option in ["--config", "--env", "--set"] {
            assert!(text(&output.stdout).contains(option), "{command} {option}");
        }
    }
}

#[test]
fn wrong_usage_and_wrong_configuration_exit_2() {
    assert_eq!(offhook(&[], &[]).status.code(), Some(2));
    assert_eq!(offhook(&["dance"], &[]).status.code(), Some(2));
    assert_eq!(offhook(&["check", "--sett", "a=1"], &[]).status.code(), Some(2));
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 5] = [
        (&["serve"], &[("TTS_PROVIDER", "deepgram")], "offhook: config/offhook.yaml:"),
        (
            &["check"],
            &[("TTS_PROVIDER", "parrot")],
            "offhook: environment variable TTS_PROVIDER: tts.provider: expected one of `embedded`",
        ),
        (&["check", "--set", "sip.listen=x"], &[], "offhook: --set sip.listen: sip.listen: expected an address"),
        (&["serve", "--config", "/nonexistent.yaml"], &[], "offhook: /nonexistent.yaml:1: no such file"),
        (&["check"], &[("OFFHOOK_HTP__X", "1")], "offhook: environment variable OFFHOOK_HTP__X: htp: unknown key"),
    ];
    for (args, variables, expected) in cases {
        let output = offhook(args, variables);
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn a_flow_that_cannot_tell_its_callers_is_not_recorded_by_accident() {
    let dir = std::env::temp_dir().join(format!("offhook-check-{}", std::process::id()));
    for (name, text) in [
        ("lines/all.yaml", "flow: f\ndefault: true\n"),
        (
            "flows/f.yaml",
            "name: f\ndefaults: {language: de}\nphrases: {filler: F., canned: C., no_input: N., no_match: M., unheard: U., \
             goodbye: G.}\nsteps:\n  a: {say: Hallo., goto: hangup}\n",
        ),
    ] {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let flows = format!("flows.dir={}", dir.display());
    let check = |more: &str| {
        let output = offhook(&["check", "--print-config", "--set", &flows, "--set", more], &[]);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    assert_eq!(check("recording.enabled=false").0, Some(0));
    let (code, line) = check("recording.enabled=true");
    assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
    assert!(
        line.contains("recording.announcement: expected text here and in recording.failure, or phrases.recording"),
        "{line}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What `check` and `serve` both say of a file that cannot be used.
#[track_caller]
fn both_refuse(set: &[String], expected: &[&str]) {
    for command in ["check", "serve"] {
        let mut args = vec![command];
        args.extend(set.iter().flat_map(|set| ["--set", set.as_str()]));
        let output = offhook(&args, &[]);
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{command}: {line}");
        assert!(expected.iter().all(|part| line.contains(part)), "{command}: {line} without one of {expected:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_bad_is_named_with_the_reason() {
    let dir = std::env::temp_dir().join(format!("offhook-named-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("flows")).unwrap();
    let own = |name: &str| {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        (certificate.display().to_string(), key.display().to_string())
    };
    let (certificate, key) = own("one");
    let (_, other_key) = own("two");
    let bad = dir.join("bad.pem").display().to_string();
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n").unwrap();
    let missing = dir.join("missing.pem").display().to_string();
    let tls = |certificate: &str, key: &str, more: &[String]| {
        let own = [format!("sip.tls.certificate={certificate}"), format!("sip.tls.key={key}")];
        [&own[..], &["sip.tls.listen=127.0.0.1:0".to_owned()], more].concat()
    };
    both_refuse(&tls(&missing, &key, &[]), &["--set sip.tls.certificate", &missing, "No such file"]);
    both_refuse(&tls(&certificate, &missing, &[]), &["--set sip.tls.key", &missing, "No such file"]);
    both_refuse(&tls(&bad, &key, &[]), &["--set sip.tls.certificate", &bad, "expected an X.509 certificate"]);
    both_refuse(&tls(&certificate, &certificate, &[]), &["sip.tls.key", &certificate, "expected a private key"]);
    both_refuse(&tls(&certificate, &other_key, &[]), &["sip.tls.key", "does not go with sip.tls.certificate"]);
    for key_of in ["sip.tls.ca", "sip.tls.client_ca"] {
        both_refuse(&tls(&certificate, &key, &[format!("{key_of}={missing}")]), &[key_of, &missing, "No such file"]);
        both_refuse(&tls(&certificate, &key, &[format!("{key_of}={bad}")]), &[key_of, &bad]);
    }
    both_refuse(&[format!("flows.dir={missing}")], &["--set flows.dir", &missing, "No such file"]);
    both_refuse(&[format!("data.dir={bad}")], &["--set data.dir", &bad, "expected a folder, found a file"]);
    let recordings = ["recording.enabled=true".to_owned(), format!("recording.dir={bad}/deeper")];
    both_refuse(&recordings, &["--set recording.dir", &bad, "expected a folder, found a file"]);
    std::fs::create_dir_all(dir.join("lines")).unwrap();
    std::fs::write(dir.join("lines/all.yaml"), "flow: broken\ndefault: true\n").unwrap();
    std::fs::write(dir.join("flows/broken.yaml"), "name: broken\nsteps: {}\n").unwrap();
    both_refuse(&[format!("flows.dir={}", dir.display())], &["broken.yaml", "steps"]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_printed_configuration_names_values_and_origins() {
    let output = offhook(&["check", "--print-config"], &[("TWILIO_AUTH_TOKEN", "c4nary")]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    assert!(printed.contains("auth_token: ***  # environment variable TWILIO_AUTH_TOKEN"), "{printed}");
    assert!(printed.contains("listen: \"127.0.0.1:8080\"  # config/offhook.yaml:"), "{printed}");
    assert!(!printed.contains("c4nary"));
}
