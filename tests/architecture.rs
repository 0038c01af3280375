//! ARCHITECTURE.md as a test: who may import whom, what is pure, what is bounded, how long a file may be.
//!
//! It reads the source, not the binary, so a wrong arrow fails before anything runs. Code under `#[cfg(test)]` is not
//! held to the arrows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod architecture {
    pub mod lexer;
    pub mod source;
}

use std::fmt::Write as _;

use architecture::source::{Source, files, relative, repository, sources};

/// What a room may name: another room as a whole, or some of its modules and items.
enum Arrow {
    To(&'static str),
    Only(&'static str, &'static [&'static str]),
}
use Arrow::{Only, To};

/// Rooms that every room may import: the clock, the bounded queue, logs and metrics and `Pii`, and its own settings.
const COMMON: [&str; 4] = ["clock", "queue", "config", "telemetry"];

/// The arrows; ARCHITECTURE.md says why each one is there.
fn arrows(room: &str) -> &'static [Arrow] {
    match room {
        // Each room defines its own section; these are put together here. The clock and the queue stand below.
        "config" => &[To("providers"), To("store"), To("turn"), Only("sip", &["guard"])],
        "clock" | "queue" | "telemetry" => &[],
        "call" => &[To("turn"), To("dialog"), To("providers"), To("safety"), To("store"), To("media"), To("recording")],
        "recording" => &[Only("dialog", RECORDING_ORDERS), To("store"), To("media")],
        "turn" => &[Only("media", &["speech", "barge"])],
        "dialog" => &[To("knowledge"), To("safety"), To("providers"), Only("media", &["dtmf"])],
        "knowledge" => &[To("providers")],
        "safety" => &[To("providers")],
        "providers" => &[Only("safety", &["said"]), To("store"), Only("media", FRAME_ITEMS)],
        "audition" => &[To("providers"), Only("safety", &["said"]), Only("media", &["resample", "wav"])],
        "store" => &[],
        "transport" => &[Only("call", CALL_DOORS), Only("store", &["record"]), To("sip"), To("media")],
        "api" | "doctor" | "server" | "sim" => EVERYTHING,
        _ => &[],
    }
}

/// What a transport may know of a call: how to hand one over, and what can be said to it.
const CALL_DOORS: &[&str] = &[
    "leg",
    "registry",
    "reception",
    "shard",
    "admission",
    "outgoing",
    "core::CallInput",
    "transfer::TransferEvent",
    "transfer::Impossible",
    "Moment",
];

/// What a flow and an operator say about a recording.
const RECORDING_ORDERS: &[&str] = &["RecordingOrder", "RecordingPlan", "PauseReason"];

/// Audio as vendors give and take it: 20 ms frames, what turns their rates into ours, and where speech is in it.
const FRAME_ITEMS: &[&str] =
    &["Frame", "FRAME", "FRAME_MS", "RATE_HZ", "SILENCE", "resample", "g711", "wav", "denoise", "speech", "vad"];

const EVERYTHING: &[Arrow] = &[
    To("api"),
    To("call"),
    To("dialog"),
    To("knowledge"),
    To("media"),
    To("providers"),
    To("recording"),
    To("safety"),
    To("server"),
    To("sip"),
    To("store"),
    To("transport"),
    To("turn"),
];

/// Single files with one arrow more than their room.
const EXCEPTIONS: [(&str, Arrow); 1] = [
    // The webhook answers `<Say>` when no voice of ours works, so it asks whether one does.
    ("src/transport/twilio/webhook.rs", To("providers")),
];

/// Binaries stand above every room.
const BINARIES: [&str; 3] = ["main", "lib", "bin"];

#[test]
fn no_arrow_points_where_it_may_not() {
    let mut wrong = String::new();
    for source in product() {
        let Some(room) = source.room().filter(|room| !BINARIES.contains(room)) else { continue };
        for named in source.named() {
            let target = named.segments.first().map_or("", |first| library(first));
            let allowed = target == room
                || !is_room(target)
                || COMMON.contains(&target)
                || arrows(room).iter().any(|arrow| arrow.allows(&named.segments))
                || EXCEPTIONS.iter().any(|(path, arrow)| *path == source.path && arrow.allows(&named.segments));
            if !allowed {
                let _ = writeln!(wrong, "{}:{}: {room} -> {}", source.path, named.line, named.segments.join("::"));
            }
        }
    }
    assert_eq!(wrong, "", "these arrows are not in ARCHITECTURE.md");
}

#[test]
fn the_libraries_know_nothing_of_ours() {
    let mut wrong = String::new();
    for source in product().into_iter().filter(|source| !source.path.starts_with("src/")) {
        let own = if source.path.starts_with("sip/") { "offhook_sip" } else { "offhook_media" };
        let others = ["offhook", "offhook_sip", "offhook_media"].into_iter().filter(|name| *name != own);
        for (line, word) in source.lines_with(&others.collect::<Vec<_>>()) {
            let _ = writeln!(wrong, "{}:{line}: {word}", source.path);
        }
    }
    for (library, other) in [("sip", "offhook-media"), ("media", "offhook-sip")] {
        let manifest = std::fs::read_to_string(repository().join(library).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains(other), "{library}/Cargo.toml names {other}");
    }
    assert_eq!(wrong, "", "the libraries stand alone");
}

/// Invariant 1. The drivers around the pure files are the only ones that wait, look at a clock or open a socket.
#[test]
fn rules_wait_for_nothing_and_read_no_clock() {
    let forbidden = [
        "async",
        "await",
        "tokio",
        "Instant",
        "SystemTime",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "spawn",
        "sleep",
        "thread",
    ];
    let mut wrong = String::new();
    let pure = product().into_iter().filter(|source| is_pure(&source.path));
    let mut seen = 0;
    for source in pure {
        seen += 1;
        for (line, word) in source.lines_with(&forbidden) {
            let _ = writeln!(wrong, "{}:{line}: {word}", source.path);
        }
        for at in 0..source.tokens.len() {
            let reads_clock = source.reads(at, &["clock", ":", ":", "now"])
                || source.reads(at, &["crate", ":", ":", "clock"])
                || source.reads(at, &["Timestamp", ":", ":", "now"]);
            if reads_clock {
                let _ = writeln!(wrong, "{}:{}: reads a clock", source.path, source.tokens[at].line);
            }
        }
    }
    assert!(seen > 30, "only {seen} pure files were found: the list has come apart from the tree");
    assert_eq!(wrong, "", "pure files take time and bytes as arguments");
}

/// The pure files: both libraries, turn-taking, dialog, and the call's rules.
fn is_pure(path: &str) -> bool {
    let rules_of_a_call =
        ["core", "hearing", "messages", "mouth", "words", "timers", "latency", "exchange", "leg", "transfer"];
    let is_call_rule = rules_of_a_call
        .iter()
        .any(|name| path == format!("src/call/{name}.rs") || path.starts_with(&format!("src/call/{name}/")));
    let is_recording_rule =
        ["align", "tape", "keys", "ogg"].iter().any(|name| path == format!("src/recording/{name}.rs"));
    is_call_rule
        || is_recording_rule
        || ["sip/src/", "media/src/", "src/turn/", "src/dialog/"].iter().any(|room| path.starts_with(room))
}

/// Invariant 2: what a call is carried by is not its business, nor is any vendor's name.
#[test]
fn a_call_names_no_transport() {
    let names = ["twilio", "Twilio", "webrtc", "Webrtc", "WebRtc", "RtpLeg", "offhook_sip", "deepgram", "flite"];
    let mut wrong = String::new();
    for source in product().into_iter().filter(|source| source.room() == Some("call")) {
        for (line, word) in source.lines_with(&names) {
            let _ = writeln!(wrong, "{}:{line}: {word}", source.path);
        }
    }
    assert_eq!(wrong, "", "call/ names a transport or a vendor");
}

/// Invariant 3: what is full is dropped or refused by rule, never kept in memory without end.
#[test]
fn every_channel_is_bounded() {
    let endless = ["unbounded_channel", "UnboundedSender", "UnboundedReceiver", "unbounded", "SegQueue"];
    let mut wrong = String::new();
    let mut channels = 0;
    for source in product() {
        for (line, word) in source.lines_with(&endless) {
            let _ = writeln!(wrong, "{}:{line}: {word}", source.path);
        }
        for at in (0..source.tokens.len()).filter(|&at| source.word(at) == "channel") {
            // `oneshot::channel()` holds one; `mpsc::channel::<T>(BOUND)` has its bound behind the type.
            let open = (at..at + 64).find(|&n| source.word(n) == "(").unwrap_or(at);
            let is_call = open == at + 1 || source.reads(at + 1, &[":", ":", "<"]);
            if !is_call || (at >= 3 && source.reads(at - 3, &["oneshot", ":", ":"])) {
                continue;
            }
            channels += 1;
            if source.word(open + 1) == ")" {
                let _ = writeln!(wrong, "{}:{}: a channel without a bound", source.path, source.tokens[at].line);
            }
        }
    }
    assert!(channels > 0, "no channel was found: the test no longer sees them");
    assert_eq!(wrong, "", "channels without a bound");
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let root = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    assert!(
        root.contains("unsafe_code = \"forbid\""),
        "Cargo.toml: workspace.lints.rust lacks unsafe_code = \"forbid\""
    );
    for manifest in ["Cargo.toml", "sip/Cargo.toml", "media/Cargo.toml"] {
        let text = std::fs::read_to_string(repository().join(manifest)).unwrap();
        let lints = text.split("[lints]").nth(1).unwrap_or_default();
        assert!(lints.trim_start().starts_with("workspace = true"), "{manifest} does not take the workspace's lints");
    }
}

#[test]
fn every_file_says_why_it_exists() {
    let dirs = ["src", "sip", "media", "tests", "benches", "fuzz/fuzz_targets"];
    let bare = dirs.iter().flat_map(|dir| files(dir)).filter(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        !text.starts_with("//!") && !text.starts_with("#![no_main]\n//!")
    });
    let bare: Vec<String> = bare.map(|path| relative(&path)).collect();
    assert_eq!(bare, Vec::<String>::new(), "these files do not open with a //! header");
}

#[test]
fn files_and_functions_stay_readable() {
    let mut wrong = String::new();
    for source in product() {
        if source.lines > MOST_LINES_OF_A_FILE {
            let _ = writeln!(wrong, "{}: {} lines", source.path, source.lines);
        }
        for function in source.functions().iter().filter(|function| function.lines > MOST_LINES_OF_A_FUNCTION) {
            let _ =
                writeln!(wrong, "{}:{}: fn {} has {} lines", source.path, function.line, function.name, function.lines);
        }
    }
    assert_eq!(wrong, "", "longer than {MOST_LINES_OF_A_FILE} lines a file or {MOST_LINES_OF_A_FUNCTION} a function");
}

/// The checks above are worth something only if they see what is there.
#[test]
fn a_wrong_arrow_would_be_seen() {
    let named = |path: &str, text: &str| -> Vec<String> {
        let tokens = architecture::lexer::tokens(text);
        let source = Source { path: path.to_owned(), text: text.to_owned(), tokens, is_test: false, lines: 1 };
        source.named().into_iter().map(|named| named.segments.join("::")).collect()
    };
    let groups =
        "use crate::{clock, call::{leg::Leg, core::{self, Call as C}}}; // crate::sim\nfn f() { crate::api::x(); }";
    assert_eq!(named("src/a.rs", groups), ["clock", "call::leg::Leg", "call::core", "call::core::Call", "api::x"]);
    assert_eq!(named("src/call/shard/pacer.rs", "use super::super::super::sim::X;"), ["sim::X"]);
    assert_eq!(named("src/call/core.rs", "use super::{Moment, timers::T};"), ["call::Moment", "call::timers::T"]);
    assert_eq!(named("src/turn/floor.rs", "offhook_media::speech::E"), ["offhook_media::speech::E"]);
    let segments = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert!(Only("call", CALL_DOORS).allows(&segments("call::core::CallInput")));
    assert!(!Only("call", CALL_DOORS).allows(&segments("call::core::Call")));
    assert!(!Only("media", &["speech"]).allows(&segments("offhook_media::playout::X")));
    assert!(!To("call").allows(&segments("api")));
}

const MOST_LINES_OF_A_FILE: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 100;

impl Arrow {
    fn allows(&self, segments: &[String]) -> bool {
        let Some((first, inside)) = segments.split_first() else { return true };
        match self {
            To(room) => library(first) == *room,
            Only(room, doors) => {
                library(first) == *room
                    && doors.iter().any(|door| {
                        door.split("::").zip(inside).filter(|(a, b)| *a == b.as_str()).count()
                            == door.split("::").count()
                    })
            }
        }
    }
}

/// The libraries are rooms too.
fn library(first: &str) -> &str {
    match first {
        "offhook_sip" => "sip",
        "offhook_media" => "media",
        other => other,
    }
}

/// Whether the first word of a path is a room at all: a macro or a re-export at the root is not.
fn is_room(name: &str) -> bool {
    let at = |path: String| repository().join(path).exists();
    matches!(name, "sip" | "media") || at(format!("src/{name}.rs")) || at(format!("src/{name}"))
}

/// The files that are compiled into the product.
fn product() -> Vec<Source> {
    sources().into_iter().filter(|source| !source.is_test).collect()
}
