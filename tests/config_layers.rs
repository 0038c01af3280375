//! Layers of configuration: who wins, and what an error says. Files are real, the process environment is not touched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use offhook::config::{Shards, Sources, load};
use secrecy::ExposeSecret;

/// A directory of its own for each test, removed afterwards.
struct Dir(PathBuf);

impl Dir {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("offhook-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            std::fs::write(dir.join(file), text).unwrap();
        }
        Self(dir)
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.0.join("offhook.yaml"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).to_owned()).collect()
}

fn error(sources: &Sources) -> String {
    let line = load(sources).expect_err("must be refused").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let dir = Dir::with(
        "precedence",
        &[
            ("offhook.yaml", "sip: {t1_ms: 100, t2_ms: 100, t4_ms: 100, max_pending: 100}\n"),
            ("staging.yaml", "sip: {t2_ms: 200, t4_ms: 200, max_pending: 200}\n"),
        ],
    );
    let loaded = load(&Sources {
        file: dir.file(),
        environment: Some("staging".to_owned()),
        variables: variables(&[("OFFHOOK_SIP__T4_MS", "300"), ("OFFHOOK_SIP__MAX_PENDING", "300"), ("PATH", "/bin")]),
        sets: sets(&["sip.max_pending=400"]),
        ..Sources::default()
    })
    .unwrap();
    let sip = &loaded.config.sip;
    assert_eq!((sip.t1_ms, sip.t2_ms, sip.t4_ms, sip.max_pending), (100, 200, 300, 400));
    assert_eq!(sip.listen.to_string(), "127.0.0.1:5060");
    assert_eq!(loaded.origin("sip.max_pending").to_string(), "--set sip.max_pending");
    assert_eq!(loaded.origin("sip.listen").to_string(), "built-in default");
}

#[test]
fn customary_names_give_way_to_our_own() {
    let token = |pairs: &[(&str, &str)]| {
        let loaded = load(&Sources { variables: variables(pairs), ..Sources::default() }).unwrap();
        loaded.config.twilio.auth_token.map(|token| token.expose_secret().to_owned())
    };
    assert_eq!(token(&[("TWILIO_AUTH_TOKEN", "0123")]).as_deref(), Some("0123"));
    assert_eq!(
        token(&[("OFFHOOK_TWILIO__AUTH_TOKEN", "ours"), ("TWILIO_AUTH_TOKEN", "theirs")]).as_deref(),
        Some("ours")
    );
    assert_eq!(token(&[("TWILIO_AUTH_TOKEN", "")]), None);
}

#[test]
fn an_error_names_file_line_key_and_expectation() {
    let cases = [
        ("http:\n  listenn: 1\n", ":2: http.listenn: unknown key, expected one of `listen`"),
        ("http:\n  listen: everywhere\n", ":2: http.listen: expected an address with a port"),
        ("\nsip:\n\n  t1_ms: fast\n", ":4: sip.t1_ms: expected a whole number from 10 to 5000"),
        ("sip: {max_pending: -1}\n", ":1: sip.max_pending: expected a whole number from 1 to"),
        ("rtp:\n  ports: 20000\n", ":2: rtp.ports: expected text"),
        ("rtp:\n  ports: 30000-20000\n", ":2: rtp.ports: expected two ports from 1024"),
        ("twilio:\n  validate_signature: maybe\n", ":2: twilio.validate_signature: expected `true` or `false`"),
        ("media: {shards: 0}\n", ":1: media.shards: expected `auto` or a whole number from 1 to 256"),
        ("media: {shards: some}\n", ":1: media.shards: expected `auto`"),
        ("limits: 5\n", ":1: limits: expected a section"),
        ("log: {level: loud}\n", ":1: log.level: expected error, warn, info"),
        ("log: {format: xml}\n", ":1: log.format: expected one of `pretty`, `json`, found `xml`"),
        ("sipp: {}\n", ":1: sipp: unknown key, expected one of `http`, `sip`"),
        ("- http\n", ":1: expected sections such as `sip:`"),
        ("sip: {t1_ms: 500}\nsip: {t1_ms: 600}\n", ":2: "),
        ("sip:\n  guard: {unknown: allow}\n", ":2: sip.guard.unknown: expected one of `accept`, `challenge`, `forbid`"),
        ("sip:\n  guard: {unknown: challenge}\n", ":2: sip.guard.unknown: expected at least one of sip.users"),
        (
            "sip:\n  guard:\n    trusted:\n      - 10.0.0.0/8\n      - ten\n",
            ":5: sip.guard.trusted[1]: expected a network such as",
        ),
        ("sip:\n  trunks:\n    - {name: a}\n", ":3: sip.trunks[0]: missing field `address`"),
        ("sip:\n  trunks:\n    - {name: A b, address: x}\n", ":3: sip.trunks[0].name: expected a name of at most 40"),
        (
            "sip:\n  trunks:\n    - {name: a, address: 'sip:u@x'}\n",
            ":3: sip.trunks[0].address: expected a host, host:port",
        ),
        (
            "sip:\n  trunks:\n    - {name: a, address: x}\n    - {name: a, address: z}\n",
            ":4: sip.trunks[1].name: expected a name that no other trunk has",
        ),
        (
            "sip:\n  trunks:\n    - name: a\n      address: x\n      username: u\n",
            ":3: sip.trunks[0].password: expected with username",
        ),
        ("sip:\n  trunks:\n    - {name: a, address: x, ping: 5}\n", ":3: sip.trunks[0].ping: unknown key"),
        (
            "sip:\n  trunks:\n    - {name: a, address: x, codecs: [speex]}\n",
            ":3: sip.trunks[0].codecs[0]: expected one of",
        ),
        (
            "sip:\n  registrations:\n    - {registrar: x, username: u, password: p, trunk: t}\n",
            ":3: sip.registrations[0].trunk: expected the name of one of sip.trunks",
        ),
        (
            "sip:\n  tls: {listen: '0.0.0.0:5061'}\n",
            ":2: sip.tls.listen: expected with sip.tls.certificate and sip.tls.key",
        ),
        ("sip:\n  session_timer: {min_s: 30}\n", ":2: sip.session_timer.min_s: expected a whole number from 90"),
        ("http: {public_url: 'ftp://x'}\n", ":1: http.public_url: expected an address such as https://"),
    ];
    for (index, (text, expected)) in cases.iter().enumerate() {
        let dir = Dir::with(&format!("errors-{index}"), &[("offhook.yaml", text)]);
        let line = error(&Sources { file: dir.file(), ..Sources::default() });
        assert!(line.contains(&format!("offhook.yaml{expected}")), "{text:?} gave {line}");
    }
}

#[test]
fn an_error_names_the_variable_or_the_set() {
    let variable =
        |name: &str, value: &str| error(&Sources { variables: variables(&[(name, value)]), ..Sources::default() });
    let line = variable("OFFHOOK_SIP__LISTENN", "x");
    assert!(line.starts_with("environment variable OFFHOOK_SIP__LISTENN: sip.listenn: unknown key"), "{line}");
    let line = variable("OFFHOOK_LIMITS__MAX_CALLS", "many");
    assert!(line.starts_with("environment variable OFFHOOK_LIMITS__MAX_CALLS: limits.max_calls: expected a whole"));

    let set = |text: &str| error(&Sources { sets: sets(&[text]), ..Sources::default() });
    assert!(set("sip.listen=x").starts_with("--set sip.listen: sip.listen: expected an address"));
    assert!(set("sip.listen").contains("expected key.path=value"));
    assert!(set("sip..listen=1").contains("expected key.path=value"));
}

#[test]
fn text_of_a_variable_becomes_what_its_field_needs() {
    let loaded = load(&Sources {
        sets: sets(&["media.shards=3", "media.realtime_priority=false", "sip.external_address=203.0.113.7"]),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.config.media.shards, Shards::Count(3.try_into().unwrap()));
    assert!(!loaded.config.media.realtime_priority);
    assert_eq!(loaded.config.sip.external_address.unwrap().to_string(), "203.0.113.7");
    let unset = load(&Sources {
        sets: sets(&["sip.external_address=203.0.113.7", "sip.external_address="]),
        ..Sources::default()
    });
    assert_eq!(unset.unwrap().config.sip.external_address, None);
}

#[test]
fn lists_are_written_whole_or_item_by_item() {
    let dir = Dir::with(
        "lists",
        &[("offhook.yaml", "sip:\n  trunks:\n    - {name: carrier, address: sip.example.net, username: u}\n")],
    );
    let loaded = load(&Sources {
        file: dir.file(),
        variables: variables(&[
            ("OFFHOOK_SIP__TRUNKS__CARRIER__PASSWORD", "0123"),
            ("OFFHOOK_SIP__TRUNKS__0__PING_S", "5"),
            ("OFFHOOK_SIP__GUARD__TRUSTED", "192.0.2.0/24, 2001:db8::/32"),
        ]),
        sets: sets(&[
            "sip.trunks.1.name=pbx",
            "sip.trunks.pbx.address=sip:192.0.2.7:5070;transport=tcp",
            "sip.trunks.pbx.codecs=pcma",
            "sip.trunks.pbx.max_calls=7",
            "sip.users=[{username: alice, password: c4nary}]",
        ]),
        ..Sources::default()
    })
    .unwrap();
    let sip = &loaded.config.sip;
    let [carrier, pbx] = sip.trunks.as_slice() else { panic!("two trunks: {:?}", sip.trunks) };
    assert_eq!(carrier.password.as_ref().unwrap().expose_secret(), "0123");
    assert_eq!((carrier.ping_s, pbx.ping_s, pbx.max_calls), (5, 30, Some(7)));
    assert_eq!(pbx.address.to_string(), "192.0.2.7:5070;transport=tcp");
    assert_eq!((sip.guard.trusted.len(), sip.users[0].username.as_str()), (2, "alice"));
    let origin = |key: &str| loaded.origin(key).to_string();
    assert_eq!(origin("sip.trunks[0].password"), "environment variable OFFHOOK_SIP__TRUNKS__CARRIER__PASSWORD");
    assert!(origin("sip.trunks[0].name").ends_with("offhook.yaml:3"));
    let printed = loaded.print();
    assert!(!printed.contains("0123") && !printed.contains("c4nary") && printed.contains("password: ***"), "{printed}");
    let line = error(&Sources { sets: sets(&["sip.trunks.3.name=x"]), ..Sources::default() });
    assert!(line.contains("sip.trunks: expected a list"), "{line}");
}

#[test]
fn named_files_must_exist() {
    let dir = Dir::with("absent", &[]);
    assert!(error(&Sources { file: dir.file(), ..Sources::default() }).contains("no such file (named by --config)"));
    let dir = Dir::with("absent-env", &[("offhook.yaml", "")]);
    let environment =
        |name: &str| Sources { file: dir.file(), environment: Some(name.to_owned()), ..Sources::default() };
    assert!(error(&environment("staging")).contains("staging.yaml:1: no such file (named by --env)"));
    assert!(error(&environment("../etc")).contains("expected a name such as `production`"));
}

#[test]
fn secrets_are_never_printed() {
    let canary = "c4nary-c4nary-c4nary-c4nary-c4nary";
    let loaded = load(&Sources {
        variables: variables(&[
            ("TWILIO_AUTH_TOKEN", canary),
            ("SECRET_KEY", canary),
            ("DEEPGRAM_API_KEY", canary),
            ("OPENAI_API_KEY", canary),
            ("REDIS_URL", &format!("redis://user:{canary}@127.0.0.1")),
        ]),
        ..Sources::default()
    })
    .unwrap();
    let printed = loaded.print();
    assert!(!printed.contains("c4nary"), "{printed}");
    assert!(!format!("{loaded:?}").contains("c4nary"));
    assert!(printed.contains("  auth_token: ***  # environment variable TWILIO_AUTH_TOKEN\n"), "{printed}");

    let dir = Dir::with("secret-error", &[("offhook.yaml", "twilio:\n  auth_token: [c4nary]\n")]);
    let line = error(&Sources { file: dir.file(), ..Sources::default() });
    assert!(line.contains("offhook.yaml:2: twilio.auth_token: expected text") && !line.contains("c4nary"), "{line}");
}

#[test]
fn production_refuses_what_is_unsafe() {
    let key = "k".repeat(32);
    let safe: &[(&str, &str)] = &[("SECRET_KEY", &key), ("TWILIO_AUTH_TOKEN", "t")];
    let with = |pairs: &[(&str, &str)], extra: &[&str]| Sources {
        file: Some(PathBuf::from("config/offhook.yaml")),
        environment: Some("production".to_owned()),
        variables: variables(pairs),
        sets: sets(extra),
        ..Sources::default()
    };
    load(&with(safe, &["http.public_url=https://voice.example.org"])).unwrap();
    load(&with(safe, &["sip.guard.unknown=accept", "sip.listen=127.0.0.1:5060"])).unwrap();
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let cases: [Case<'_>; 9] = [
        (safe, &["sip.guard.unknown=accept"], "--set sip.guard.unknown: sip.guard.unknown: expected challenge, forbid"),
        (
            safe,
            &["sip.users=[{username: alice, password: short}]"],
            "--set sip.users: sip.users[0].password: expected at least 12 bytes",
        ),
        (safe, &["log.format=pretty"], "--set log.format: log.format: expected json in production"),
        (safe, &["twilio.validate_signature=false"], "--set twilio.validate_signature: twilio.validate_signature: "),
        (
            safe,
            &["http.public_url=http://voice.example.org"],
            "--set http.public_url: http.public_url: expected an https",
        ),
        (&safe[..1], &["http.public_url=https://voice.example.org"], "twilio.auth_token: expected in production"),
        (
            safe,
            &["database.url=postgres://offhook:c4nary@db.example.org/offhook"],
            "--set database.url: database.url: expected ?sslmode=verify-full",
        ),
        (&[], &[], "http.secret_key: expected at least 32 bytes"),
        (&[("SECRET_KEY", "short")], &[], "environment variable SECRET_KEY: http.secret_key: "),
    ];
    for (pairs, extra, expected) in cases {
        let line = error(&with(pairs, extra));
        assert!(line.contains(expected) && !line.contains("c4nary"), "{line}");
    }
    load(&with(safe, &["database.url=postgres://db.example.org/offhook?sslmode=require"])).unwrap();
}

#[test]
fn the_shipped_environments_load() {
    for name in ["development", "staging"] {
        load(&Sources {
            file: Some(PathBuf::from("config/offhook.yaml")),
            environment: Some(name.to_owned()),
            ..Sources::default()
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }
}
