//! Recorded calls over real sockets: who is on which side, how long, what is left out, and what a disk can do to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod wire_support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use offhook::config::{Config, Consent, RecordingFormat};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use wire_support::edge::Edge;
use wire_support::phone::Phone;
use wire_support::tape::{events, is_empty, level, part, share, silence, sounding, tones};
use wire_support::{Host, PATIENCE, phrase};

fn recorded(config: &mut Config) {
    config.recording.enabled = true;
    config.recording.consent = Consent::None;
    config.recording.min_free_bytes = 0;
}

/// The recording is as long as the part of the call that it began in, to a frame at each end. A shard that was put aside for
/// long does not make up for it, and its late ticks tell.
fn length_is_the_calls(call: &serde_json::Value) {
    let call_ms = events(call, "ended")[0] - events(call, "recording_began")[0];
    let ms = call["recordings"][0]["ms"].as_f64().unwrap();
    let stalled = call["summary"]["late_ticks"].as_u64().unwrap() > 0;
    assert!((ms - call_ms).abs() <= if stalled { 1_000.0 } else { 40.0 }, "{ms} ms of {call_ms} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_left_we_are_right_and_an_interruption_is_where_it_was() {
    let host = Host::start(recorded).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let (said, _) = phrase("to-call-this-number.wav");
    let spoken: Vec<[u8; 160]> = silence(75).into_iter().chain(said).collect();
    phone.talk(&spoken, Duration::from_millis(6_500)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    let recording = &call["recordings"][0];
    assert_eq!(recording["state"], "finished", "{recording:#}");
    assert_eq!((&recording["fault"], &recording["dropped_frames"]), (&serde_json::Value::Null, &0.into()));
    let tape = host.tape(&call).await;
    assert_eq!(tape.ms(), recording["ms"].as_f64().unwrap());
    length_is_the_calls(&call);
    // The caller began 1.5 s into the call; packets wait 40 to 100 ms to be in order.
    let (onset, _) = sounding(&tape.left).expect("the caller is heard");
    assert!((1_350.0..3_000.0).contains(&onset), "the caller is heard from {onset} ms");
    assert!(is_empty(part(&tape.left, 0.0, 1_200.0)), "nothing of ours on the caller's side");
    // The tone began at once and was silenced by the caller, not a moment before they spoke.
    let (first, _) = sounding(&tape.right).expect("we are heard");
    assert!(first < 100.0, "the tone is heard from {first} ms");
    let began = events(&call, "recording_began")[0];
    // The bot is held at once, and gives up the floor later.
    let given_up = events(&call, "barge_in")[0] - began;
    let (_, stopped) = sounding(part(&tape.right, 0.0, given_up + 60.0)).expect("we are heard before");
    let tone = part(&tape.right, 200.0, onset.min(stopped - 20.0));
    assert!((-24.0..-22.0).contains(&level(tone)), "{} dBFS of tone", level(tone));
    // Speech is detected before the buffer that makes packets wait, and the longer the later they come.
    assert!(onset - 300.0 < stopped && stopped < onset + 700.0, "spoke at {onset}, silenced at {stopped}");
    assert!(level(part(&tape.right, stopped - 60.0, stopped - 40.0)) > -30.0);
    assert!(is_empty(part(&tape.right, stopped + 60.0, stopped + 200.0)), "and then it is quiet");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_its_owners_and_comes_whole_in_part_or_not_at_all() {
    let host = Host::start(recorded).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(1_500)).await;
    let going_on = host.json("/v1/calls").await["calls"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/calls/{going_on}/recording");
    assert_eq!(host.bytes(&path, None).await.0, 409, "not while it goes on");
    phone.bye().await;
    let call = host.recorded_call().await;
    let recording = &call["recordings"][0];
    let (status, headers, bytes) = host.bytes(&path, None).await;
    let bytes = bytes.unwrap();
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "audio/wav"));
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((recording["sha256"].as_str().unwrap(), &recording["bytes"]), (digest.as_str(), &bytes.len().into()));
    let (status, headers, part) = host.bytes(&path, Some("bytes=44-1043")).await;
    assert_eq!((status, part.as_deref()), (206, Some(&bytes[44..1044])));
    assert_eq!(headers["content-range"].to_str().unwrap(), format!("bytes 44-1043/{}", bytes.len()));
    assert_eq!(host.bytes(&path, Some("bytes=99999999-")).await.0, 416);
    assert_eq!(host.bytes(&format!("{path}?number=2"), None).await.0, 404);
    assert_eq!(host.bytes("/v1/calls/..%2F..%2Fetc/recording", None).await.0, 400, "an id is an id");
    assert_eq!(host.http("POST", &format!("{path}/pause"), &[], b"").await.0, 404, "the call is over");

    let folder = host.data().join("recordings");
    let file = folder.join(format!("{going_on}-1.wav"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
    // Somebody else writes into it.
    let mut other = bytes.clone();
    other[5_000] ^= 1;
    std::fs::write(&file, &other).unwrap();
    let (_, _, damaged) = host.bytes(&path, None).await;
    assert_eq!(damaged, None, "what was not recorded does not arrive whole");
    std::fs::write(&file, &bytes[..bytes.len() - 2]).unwrap();
    assert_eq!(host.bytes(&path, None).await.0, 500);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(host.bytes(&path, None).await.0, 500);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_needs_its_token_for_recordings_too() {
    let host = Host::start(|config| {
        recorded(config);
        config.http.secret_key = Some("a secret of the tests, 32 bytes long".to_owned().into());
    })
    .await;
    let call = "01890000-0000-7000-8000-000000000001";
    for (method, path) in [("GET", ""), ("POST", "/pause"), ("POST", "/resume")] {
        assert_eq!(host.http(method, &format!("/v1/calls/{call}/recording{path}"), &[], b"").await.0, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pause_is_silence_of_its_length_on_both_sides() {
    let host = Host::start(recorded).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let tone = tones(&[1000.0], 100);
    phone.talk(&tone, Duration::from_secs(2)).await;
    let id = host.json("/v1/calls").await["calls"][0]["id"].as_str().unwrap().to_owned();
    let post = async |what: &str| host.http("POST", &format!("/v1/calls/{id}/recording/{what}"), &[], b"").await.0;
    assert_eq!(post("pause").await, 204);
    phone.talk(&tone, Duration::from_secs(1)).await;
    assert_eq!((post("pause").await, post("resume").await), (204, 204));
    phone.talk(&tone, Duration::from_secs(1)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    length_is_the_calls(&call);
    let pauses = call["recordings"][0]["pauses"].as_array().unwrap();
    assert_eq!(pauses.len(), 1, "{pauses:?}");
    let (from, to) = (pauses[0]["from_ms"].as_f64().unwrap(), pauses[0]["to_ms"].as_f64().unwrap());
    assert!((900.0..1_400.0).contains(&(to - from)), "{from} to {to} ms");
    let tape = host.tape(&call).await;
    for (side, channel) in [("left", &tape.left), ("right", &tape.right)] {
        let sounds = part(channel, from, to).iter().position(|sample| *sample != 0);
        assert_eq!(sounds, None, "{side}, {from} to {to} ms");
    }
    assert!(level(part(&tape.left, from - 500.0, from - 40.0)) > -26.0);
    assert!(level(part(&tape.left, to + 40.0, to + 500.0)) > -26.0);
    assert_eq!((events(&call, "recording_paused").len(), events(&call, "recording_resumed").len()), (1, 1));
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_can_be_heard_are_not_recorded() {
    let host = Host::start(recorded).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let mut frames = tones(&[1000.0], 50);
    frames.extend(silence(5));
    // 4, 7, 1, 1 at 80 ms each, as a gateway leaks them.
    for key in [[770.0, 1209.0], [852.0, 1209.0], [697.0, 1209.0], [697.0, 1209.0]] {
        frames.extend(tones(&key, 4));
        frames.extend(silence(3));
    }
    frames.extend(silence(10));
    let last = tones(&[1000.0], 50);
    frames.extend(&last);
    let length = Duration::from_millis(20) * frames.len() as u32;
    phone.talk(&frames, length + Duration::from_millis(300)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    let tape = host.tape(&call).await;
    let (first, end) = sounding(&tape.left).expect("the caller is heard");
    let heard = end - first;
    let sent = length.as_secs_f64() * 1000.0;
    assert!((heard - sent).abs() < 60.0, "the tones around the keys are heard: {heard} of {sent} ms");
    let quiet = (0..((heard - 10.0) / 10.0) as usize)
        .filter(|n| level(part(&tape.left, first + *n as f64 * 10.0, first + (n + 1) as f64 * 10.0)) < -60.0)
        .count();
    // 43 frames of keys and pauses, and nothing of the tones that are no keys.
    assert!((840..=920).contains(&(quiet * 10)), "{} ms are silent", quiet * 10);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_hears_the_same_call_in_an_opus_file() {
    let host = Host::start(|config| {
        recorded(config);
        config.recording.format = RecordingFormat::Opus;
    })
    .await;
    let mut phone = Phone::connected(&host, "1000").await;
    let tone = tones(&[1000.0], 150);
    phone.talk(&tone, Duration::from_secs(5)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    let recording = &call["recordings"][0];
    assert_eq!((&recording["state"], &recording["format"]), (&"finished".into(), &"opus".into()), "{recording:#}");
    assert!(recording["bytes"].as_u64().unwrap() < 40_000, "{recording:#}");
    length_is_the_calls(&call);
    let tape = host.tape(&call).await;
    assert_eq!(tape.ms(), recording["ms"].as_f64().unwrap(), "to the sample");
    let (from, to) = sounding(&tape.left).expect("the caller is heard");
    assert!((2_900.0..3_150.0).contains(&(to - from)), "3 s of tone: {from} to {to} ms");
    let heard = part(&tape.left, from + 200.0, to - 200.0);
    assert!((-21.5..-18.0).contains(&level(heard)), "{} dBFS", level(heard));
    assert!(share(heard, 1000.0) > 0.97 && share(heard, 440.0) < 1e-3, "the caller's tone and not ours");
    let (first, _) = sounding(&tape.right).expect("we are heard");
    let ours = part(&tape.right, first + 20.0, first + 180.0);
    assert!(share(ours, 440.0) > 0.95 && share(ours, 1000.0) < 1e-3, "our tone and not the caller's");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_before_the_caller_was_told() {
    let host = Host::with_voice(|config| {
        recorded(config);
        config.recording.consent = Consent::Announce;
    })
    .await;
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&tones(&[1000.0], 50), Duration::from_secs(5)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    let (told, began) = (events(&call, "recording_announced"), events(&call, "recording_began"));
    assert_eq!((told.len(), began.len()), (1, 1), "{call:#}");
    assert!(told[0] > 1_000.0, "the announcement was heard out: {} ms", told[0]);
    assert!(told[0] <= began[0]);
    assert_eq!(call["recordings"][0]["consent"], "announce");
    length_is_the_calls(&call);
    let tape = host.tape(&call).await;
    assert_eq!(sounding(&tape.left), None, "what the caller said before is not recorded");
    assert!(sounding(&tape.right).is_some(), "the greeting is");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_does_not_agree_is_not_recorded_and_served_all_the_same() {
    let host = Host::with_voice(|config| {
        recorded(config);
        config.recording.consent = Consent::Ask;
    })
    .await;
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&[], Duration::from_secs(1)).await;
    let info = phone.request("INFO", &["Content-Type: application/dtmf-relay"], "Signal=2\r\nDuration=160\r\n");
    phone.send(&info).await;
    phone.talk(&[], Duration::from_secs(2)).await;
    phone.bye().await;
    let call = host.ended_call().await;
    assert_eq!(events(&call, "recording_refused").len(), 1, "{call:#}");
    assert_eq!(call["recordings"].as_array().unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(host.data().join("recordings")).unwrap().count(), 0);
    assert!(wire_support::steps(&call).contains(&"greeting".to_owned()), "{call:#}");
    assert_eq!(host.bytes(&format!("/v1/calls/{}/recording", call["id"].as_str().unwrap()), None).await.0, 404);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_recording_and_never_the_call() {
    let small = SmallDisk::new("full");
    let folder = small.folder.clone();
    let host = Host::start(move |config| {
        recorded(config);
        config.recording.dir = Some(folder);
        config.recording.max_disk_bytes = SmallDisk::SIZE;
    })
    .await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_secs(1)).await;
    small.fill();
    let heard = phone.talk(&[], Duration::from_secs(14)).await;
    assert!(heard.len() > 400, "{} packets in 14 s: the call goes on", heard.len());
    phone.bye().await;
    let call = host.recorded_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    let recording = &call["recordings"][0];
    let fault = recording["fault"].as_str().unwrap();
    assert!(["disk_full", "disk_bound"].contains(&fault), "{recording:#}");
    assert_eq!(events(&call, "recording_failed").len(), 1, "and it is in the call's record");
    let tape = host.tape(&call).await;
    assert_eq!(tape.ms(), recording["ms"].as_f64().unwrap(), "what there is of it is whole");
    assert!(tape.ms() > 500.0, "{} ms", tape.ms());
    assert_eq!(host.metric("offhook_recording_alarm").await, 1.0);
    assert!(host.metric(&format!("offhook_recording_failures_total{{why=\"{fault}\"}}")).await >= 1.0);
    let (_, health) = host.http("GET", "/healthz", &[], b"").await;
    assert!(health.contains("\"recording\":\"error: no new recordings: disk_"), "{health}");

    let mut second = Phone::connected(&host, "1000").await;
    second.talk(&[], Duration::from_millis(500)).await;
    second.bye().await;
    let calls = host.ended_calls(2).await;
    assert_eq!(calls[0]["recordings"][0]["state"], "failed", "{:#}", calls[0]);

    small.give_room();
    host.metric_becomes("offhook_recording_alarm", 0.0).await;
    let mut third = Phone::connected(&host, "1000").await;
    third.talk(&[], Duration::from_secs(1)).await;
    third.bye().await;
    let until = Instant::now() + PATIENCE;
    while host.ended_calls(3).await[0]["recordings"][0]["state"] != "finished" {
        assert!(Instant::now() < until, "{:#}", host.ended_calls(3).await[0]);
        sleep(Duration::from_millis(50)).await;
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_was_promised_a_recording_hears_that_it_has_failed() {
    let small = SmallDisk::new("promise");
    let folder = small.folder.clone();
    let host = Host::with_voice(move |config| {
        recorded(config);
        config.recording.consent = Consent::Announce;
        config.recording.dir = Some(folder);
        config.recording.max_disk_bytes = SmallDisk::SIZE;
    })
    .await;
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&[], Duration::from_secs(4)).await;
    small.fill();
    // What is left of the disk is some five seconds.
    phone.talk(&[], Duration::from_secs(8)).await;
    let key = phone.request("INFO", &["Content-Type: application/dtmf-relay"], "Signal=2\r\nDuration=160\r\n");
    phone.send(&key).await;
    phone.talk(&[], Duration::from_secs(9)).await;
    phone.bye().await;
    let call = host.recorded_call().await;
    assert_eq!(events(&call, "recording_failed").len(), 1, "{call:#}");
    let words = "I told you that this call is recorded. The recording has stopped";
    assert!(wire_support::heard(&call).contains(words), "{call:#}");
    host.ends_clean().await;
}

impl Host {
    async fn metric_becomes(&self, name: &str, value: f64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.metric(name).await != value {
            assert!(Instant::now() < until, "{name} does not become {value}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A file system of a few MB where the tests may mount one (as root); else a folder that counts as full at as much.
struct SmallDisk {
    folder: PathBuf,
    mounted: bool,
}

impl SmallDisk {
    const SIZE: u64 = 4_000_000;

    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("offhook-disk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={}", Self::SIZE / 1000 * 900);
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Self { folder, mounted }
    }

    /// Others take what is left, but for some five seconds of a recording.
    fn fill(&self) {
        let all = Self::SIZE / 1000 * if self.mounted { 900 } else { 1000 };
        std::fs::write(self.others(), vec![0; usize::try_from(all).unwrap() - 200_000]).unwrap();
    }

    fn give_room(&self) {
        std::fs::remove_file(self.others()).unwrap();
    }

    fn others(&self) -> PathBuf {
        self.folder.join("of others")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_twilio_is_recorded_on_both_sides() {
    let host = Host::start(recorded).await;
    let mut edge = Edge::call(&host, "1000").await;
    let spoken: Vec<[u8; 160]> = silence(75).into_iter().chain(tones(&[1000.0], 50)).collect();
    edge.talk(&spoken, Duration::from_secs(4)).await;
    edge.hang_up().await;
    let call = host.recorded_call().await;
    let recording = &call["recordings"][0];
    assert_eq!((&call["via"], &recording["state"]), (&"twilio".into(), &"finished".into()), "{call:#}");
    length_is_the_calls(&call);
    let tape = host.tape(&call).await;
    let (first, _) = sounding(&tape.right).expect("we are heard");
    assert!(first < 500.0, "the tone is heard from {first} ms");
    // The caller's tone lasted a second, 1.5 s into the stream; it waited some 100 ms to be in order.
    let (onset, last) = sounding(&tape.left).expect("the caller is heard");
    assert!((1_000.0..2_500.0).contains(&onset), "the caller is heard from {onset} ms");
    assert!((800.0..1_400.0).contains(&(last - onset)), "from {onset} to {last} ms");
    assert!(share(part(&tape.left, onset + 100.0, onset + 700.0), 1000.0) > 0.8);
    host.ends_clean().await;
}
