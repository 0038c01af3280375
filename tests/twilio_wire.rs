//! Calls over Twilio from outside, as Twilio carries them: pacing, marks, `clear`, and every way in which a stream can
//! be refused, broken or lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::time::Duration;

use futures_util::SinkExt;
use offhook::sim::twilio_wire::{FromServer, signature, stream_to};
use tokio_tungstenite::tungstenite::Message;
use wire_support::edge::{Edge, names, post, upgrade, webhook};
use wire_support::{Host, QUIET, TOKEN, heard, loudest, phrase, steps, tonality};

/// 100 ms, and what this side may be late by when the first message comes. A server that does not pace is seconds ahead.
const LEAD: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_call_is_greeted_paced_and_marked() {
    let host = Host::with_voice(|_| {}).await;
    let mut edge = Edge::call(&host, "+15550199").await;
    edge.talk_until(|edge| edge.heard.len() > 24_000 && loudest(&edge.heard) > -40.0).await;
    assert!(edge.lead <= LEAD, "{:?} ahead of real time", edge.lead);
    for (_, message) in &edge.log {
        if let FromServer::Media(octets) = message {
            assert_eq!(octets.len(), 160);
        }
    }
    let marks = edge.marks().len();
    assert!(marks >= edge.media_messages() / 10, "{marks} marks in {} messages", edge.media_messages());
    edge.hang_up().await;
    let call = host.ended_call().await;
    assert_eq!((&call["end_reason"], &call["via"]), (&"caller_hung_up".into(), &"twilio".into()), "{call:#}");
    assert!(heard(&call).contains("this is the clinic"), "{call:#}");
    assert!(!format!("{call}").contains("5550100"), "the caller's number is masked: {call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_line_streams_its_tone_without_a_gap() {
    let host = Host::start(|_| {}).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk_until(|edge| edge.heard.len() > 12_800).await;
    let tone = &edge.heard[800..];
    assert!(tonality(&tone[..8_000], 440.0) > 0.9, "{}", tonality(&tone[..8_000], 440.0));
    assert!(edge.lead <= LEAD, "{:?} ahead of real time", edge.lead);
    edge.hang_up().await;
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barge_in_clears_at_once_and_what_was_cleared_was_not_heard() {
    let host = Host::with_voice(|_| {}).await;
    let mut edge = Edge::call(&host, "+15550199").await;
    edge.talk(&[], Duration::from_millis(600)).await;
    edge.press('2').await;
    edge.talk_until(|edge| edge.media_messages() > 200).await;
    let (words, _) = phrase("please-try-again.wav");
    edge.talk(&words, Duration::from_millis(1_600)).await;
    // How soon is measured by sim_call and on virtual time.
    edge.talk_until(|edge| edge.cleared_at().is_some()).await;
    let heard_ms = edge.heard.len() / 8;
    edge.talk(&[], Duration::from_millis(300)).await;
    edge.hang_up().await;
    let call = host.ended_call().await;
    let turn = call["turns"].as_array().unwrap().iter().find(|turn| turn["barge_in_ms"].is_number());
    let turn = turn.unwrap_or_else(|| panic!("a turn that was interrupted, {heard_ms} ms heard: {call:#}"));
    assert!(turn["unheard"].as_str().is_some_and(|words| !words.is_empty()), "{call:#}");
    assert!(!heard(&call).contains("district hospital"), "the end of the answer was never played: {call:#}");
    host.ends_clean().await;
}

/// Told to its end, then the line hangs up.
const STATEMENT: &str = "
name: desk
steps:
  talk:
    say:
      - The laboratory takes samples on weekday mornings, and the pharmacy is open whenever the clinic is.
      - Vaccinations for children are given on Tuesday and Thursday afternoons without an appointment.
    goto: hangup
";

/// The call's record, and how long the voice was heard, ms.
async fn hears_the_statement(caller: &[[u8; 160]]) -> (serde_json::Value, usize) {
    let host = Host::with_flow(STATEMENT, |config| {
        config.flite = offhook::providers::config::FliteConfig::default();
    });
    let host = host.await;
    let mut edge = Edge::call(&host, "1").await;
    edge.talk_until(|edge| edge.heard.len() > 20_000 && loudest(&edge.heard) > -40.0).await;
    edge.talk(caller, Duration::from_millis(400)).await;
    edge.talk_until(|_| false).await;
    let voiced = edge.heard.chunks(160).filter(|frame| loudest(frame) > -45.0).count() * 20;
    let call = host.ended_call().await;
    host.ends_clean().await;
    (call, voiced)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cough_loses_nothing_that_the_far_side_had_in_hand() {
    let (words, onset) = phrase("im-sorry.wav");
    let syllable = &words[onset..onset + 5];
    let both = tokio::join!(hears_the_statement(&[]), hears_the_statement(syllable));
    let ((whole, plain_ms), (call, held_ms)) = both;
    let outcomes: Vec<_> = call["interruptions"].as_array().unwrap().iter().map(|told| &told["outcome"]).collect();
    assert_eq!(outcomes, ["resumed"], "{call:#}");
    assert_eq!(heard(&call), heard(&whole));
    // A word at most is said again.
    let again = held_ms as i64 - plain_ms as i64;
    assert!((-60..=700).contains(&again), "{plain_ms} ms without the cough, {held_ms} with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn dtmf_messages_select_and_the_goodbye_is_played_out_before_the_socket_closes() {
    let host = Host::with_voice(|_| {}).await;
    let mut edge = Edge::call(&host, "+15550199").await;
    edge.talk(&[], Duration::from_secs(1)).await;
    edge.press('2').await;
    edge.talk(&[], Duration::from_secs(1)).await;
    edge.press('#').await;
    edge.talk_until(|_| false).await;
    let code = edge.close_code().await;
    assert!([1000, 1005].contains(&code), "{code}");
    let (sent, played) = (edge.media_messages() * 20, edge.heard.len() / 8);
    let cleared = edge.cleared_at().is_some();
    assert!(cleared && played > 2_000, "{sent} ms sent, {played} ms played, cleared: {cleared}");
    let pending = edge.marks().len() - edge.returned.len();
    assert!(pending <= 1, "{pending} marks were still waiting when the socket closed: words were cut off");
    let call = host.ended_call().await;
    assert_eq!(call["end_reason"], "flow_hung_up", "{call:#}");
    assert!(steps(&call).contains(&"goodbye".to_owned()), "{call:#}");
    assert!(heard(&call).contains("Thank you for calling"), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_drops_is_a_lost_transport() {
    let host = Host::start(|_| {}).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_millis(400)).await;
    drop(edge);
    assert_eq!(host.ended_call().await["end_reason"], "transport_lost");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_callback_ends_a_call_whose_socket_is_half_open() {
    let host = Host::start(|_| {}).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_millis(400)).await;
    let sid = edge.writer.names().call.clone();
    for (state, calls) in [("in-progress", 1), ("completed", 0)] {
        let (status, _) = post(&host, "/webhook/status", &[("CallSid", &sid), ("CallStatus", state)]).await;
        assert_eq!(status, 204);
        host.has_calls(calls).await;
    }
    assert_eq!(host.ended_call().await["end_reason"], "caller_hung_up");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_or_wrongly_signed_upgrade_is_403() {
    let host = Host::start(|_| {}).await;
    let names = names();
    let (_, twiml) = webhook(&host, &names, "1000").await;
    let url = stream_to(&twiml).unwrap().url;
    let of_another_path = signature(TOKEN, &format!("{url}x"), &[]);
    let by_another_token = signature("another token", &url, &[]);
    for signed in [None, Some("not base64!"), Some(of_another_path.as_str()), Some(by_another_token.as_str())] {
        assert_eq!(upgrade(&host, &url, signed).await.err(), Some(403), "{signed:?}");
    }
    assert_eq!((host.calls(), host.begun().await), (0, 0));
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_its_own_fresh_ticket_is_closed_by_1008() {
    let host = Host::start(|_| {}).await;
    let change = |name: &'static str, value: &'static str| {
        move |parameters: &mut Vec<(String, String)>| {
            let found = parameters.iter_mut().find(|(known, _)| known == name).unwrap();
            found.1 = value.to_owned();
        }
    };
    type Change = Box<dyn Fn(&mut Vec<(String, String)>)>;
    let cases: Vec<(&str, Change)> = vec![
        ("missing", Box::new(Vec::clear)),
        ("no ticket", Box::new(|all| all.retain(|(name, _)| name != "ticket"))),
        ("not hexadecimal", Box::new(change("ticket", "zz"))),
        ("of another caller", Box::new(change("caller", "+15559999"))),
        ("for another line", Box::new(change("called", "2000"))),
        ("made to last", Box::new(change("expires", "99999999999"))),
    ];
    for (what, change) in cases {
        let (mut edge, stream) = Edge::open(&host, "1000").await;
        let mut parameters = stream.parameters.clone();
        change(&mut parameters);
        edge.begin(&parameters).await;
        assert_eq!(edge.close_code().await, 1008, "{what}");
    }
    let (mut edge, stream) = Edge::open(&host, "1000").await;
    edge.begin(&stream.parameters).await;
    edge.talk(&[], Duration::from_millis(200)).await;
    let mut thief = Edge::connect(&host, edge.writer.names().clone(), &stream.url).await;
    thief.begin(&stream.parameters).await;
    assert_eq!(thief.close_code().await, 1008, "used before");
    let mut other = Edge::connect(&host, names(), &stream.url).await;
    other.begin(&stream.parameters).await;
    assert_eq!(other.close_code().await, 1008, "of another call");
    assert_eq!(host.calls(), 1, "the call itself goes on");
    edge.hang_up().await;
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_is_closed_by_its_code() {
    let host = Host::start(|_| {}).await;
    let media = r#"{"event":"media","media":{"payload":"AAAA"},"streamSid":"MZ1"}"#;
    let cases = [
        ("binary", Message::binary(vec![1, 2, 3]), 1003),
        ("media before start", Message::text(media), 1008),
        ("no JSON", Message::text("hello"), 1008),
        ("a start without a call", Message::text(r#"{"event":"start","start":{}}"#), 1008),
        ("too long", Message::text("x".repeat(65 * 1024)), 1009),
    ];
    for (what, message, code) in cases {
        let (mut edge, _) = Edge::open(&host, "1000").await;
        edge.send(message).await;
        assert_eq!(edge.close_code().await, code, "{what}");
    }
    assert_eq!((host.calls(), host.begun().await), (0, 0));
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_call_bad_messages_are_dropped_and_only_bad_frames_close_it() {
    let host = Host::start(|_| {}).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_millis(300)).await;
    let long_payload = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, "A".repeat(8_000));
    let bad = [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\"media\"",
        r#"{"event":"claer"}"#,
        r#"{"event":7}"#,
        r#"{"event":"media"}"#,
        r#"{"event":"media","media":{"payload":"%%%%"}}"#,
        r#"{"event":"media","media":{"payload":7}}"#,
        r#"{"event":"media","media":{"track":"outbound","payload":"AAAA"}}"#,
        r#"{"event":"dtmf","dtmf":{"digit":"77"}}"#,
        r#"{"event":"dtmf","dtmf":{"digit":"x"}}"#,
        r#"{"event":"mark"}"#,
        r#"{"event":"mark","mark":{"name":"g99999999999999999999.1"}}"#,
        r#"{"event":"mark","mark":{"name":"g0.999999"}}"#,
        r#"{"event":"start","start":{"callSid":"CAother"}}"#,
        &long_payload,
    ];
    for message in bad {
        edge.say(message.to_owned()).await;
        edge.talk(&[], Duration::from_millis(40)).await;
        assert_eq!(edge.closed, None, "{message}");
    }
    assert!(host.metric("offhook_bad_input_total{kind=\"twilio_message\"}").await >= 14.0);
    let before = edge.media_messages();
    // The call lives.
    edge.talk_until(|edge| edge.media_messages() > before + 15).await;
    assert_eq!(edge.closed, None);
    edge.hang_up().await;
    for (what, message, code) in
        [("binary", Message::binary(vec![0; 160]), 1003), ("too long", Message::text("x".repeat(65 * 1024)), 1009)]
    {
        let mut edge = Edge::call(&host, "1000").await;
        edge.talk(&[], Duration::from_millis(200)).await;
        edge.send(message).await;
        assert_eq!(edge.close_code().await, code, "{what}");
        host.has_calls(0).await;
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_closes_the_stream_and_the_others_go_on() {
    let host = Host::start(|config| config.limits.max_calls = 1).await;
    let (mut second, stream) = Edge::open(&host, "1000").await;
    let mut first = Edge::call(&host, "1000").await;
    first.talk(&[], Duration::from_millis(200)).await;
    second.begin(&stream.parameters).await;
    assert_eq!(second.close_code().await, 1013);
    let before = first.media_messages();
    first.talk_until(|edge| edge.media_messages() > before + 15).await;
    assert_eq!(first.closed, None);
    first.hang_up().await;
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_lost_in_a_burst_of_audio() {
    let host = Host::start(|_| {}).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_millis(400)).await;
    // What TCP delivers at once after a stall of 10 s, the key first.
    edge.press('5').await;
    for n in 0..500 {
        let media = edge.writer.media(n * 20, &QUIET);
        edge.socket.feed(Message::text(media)).await.unwrap();
    }
    edge.socket.flush().await.unwrap();
    edge.talk(&[], Duration::from_millis(400)).await;
    edge.hang_up().await;
    let call = host.ended_call().await;
    let digits = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count();
    assert_eq!((digits, &call["end_reason"]), (1, &"caller_hung_up".into()), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_given_up_and_closed() {
    let host = Host::start(|config| config.limits.no_media_timeout_s = 2).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_secs(3)).await;
    assert_eq!(host.calls(), 1, "audio keeps a call alive");
    edge.close_code().await;
    assert_eq!(host.ended_call().await["end_reason"], "media_timeout");
    host.ends_clean().await;
}
