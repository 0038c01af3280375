//! SIP calls beyond the plain one, from outside: hold, an offer that comes late, transfers, the exact cap, the goodbye of
//! a server that stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::time::Duration;

use offhook::config::DrainWords;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::{Instant, sleep};
use wire_support::phone::{Heard, Phone, audio_of, media_of, offer};
use wire_support::{Host, PATIENCE, loudest, tonality};

/// The answer to an INVITE without an offer is an offer, and the call begins with the answer in its ACK.
#[tokio::test(flavor = "multi_thread")]
async fn an_invite_without_an_offer_is_given_one_and_answered_in_the_ack() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let invite = phone.invite_without_offer("1000");
    phone.send(&invite).await;
    let answer = phone.answer_to("INVITE").await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert!(answer.body().contains("m=audio") && media_of(answer.body()).port() >= 1024, "{}", answer.text);
    phone.remember(&answer);
    let sdp = phone.own_offer();
    phone.ack_with(&sdp).await;
    phone.hears(-30.0).await;
    phone.is_sent(30).await;
    assert_eq!(phone.bye().await, 200);
    assert_eq!(host.ended_call().await["end_reason"], "caller_hung_up");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_without_the_answer_that_it_owes_ends_the_call() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let invite = phone.invite_without_offer("1000");
    phone.send(&invite).await;
    let answer = phone.answer_to("INVITE").await;
    phone.take_answer(&answer).await;
    phone.is_hung_up_on().await;
    assert_eq!(host.ended_call().await["end_reason"], "no_media");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_quiet_and_goes_on_afterwards() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(600)).await;
    let port = phone.media.local_addr().unwrap().port();
    let answer = phone.reinvite(&offer("127.0.0.1", port, "sendonly")).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.body().contains("a=recvonly"), "{}", answer.text);
    phone.falls_silent().await;
    assert_eq!(phone.listen(Duration::from_secs(1)).await.len(), 0, "nothing is sent to whoever holds");
    let answer = phone.reinvite(&offer("127.0.0.1", port, "sendrecv")).await;
    assert!(answer.body().contains("a=sendrecv"), "{}", answer.text);
    // The tone goes on.
    phone.hears(-30.0).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!(call["summary"]["holds"], 1, "{call:#}");
    let held = call["summary"]["held_ms"].as_f64().unwrap();
    assert!(held >= 1_000.0, "{held} ms");
    host.ends_clean().await;
}

/// A flow that hands every caller over at once.
const DESK: &str = "
name: desk
steps:
  tone: {play: {tone: {hz: 440, ms: 300}}, goto: desk}
  desk:
    transfer: {to: front_desk, mode: MODE, ring_timeout_s: 8, say: One., announce: Two., on_failed: again}
  again: {play: {tone: {hz: 440, ms: 60000}}, goto: hangup}
";

async fn desk(mode: &str, target: &str) -> Host {
    let mut flow = DESK.replace("MODE", mode);
    if mode == "blind" {
        flow = flow.replace(" announce: Two.,", "");
    }
    let target = target.to_owned();
    Host::with_flow(&flow, move |config| {
        config.transfer.targets.insert("front_desk".into(), target);
    })
    .await
}

/// Waits for a request of this method and answers it.
async fn answers(phone: &mut Phone, method: &str, status: &str) -> Heard {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "no {method}");
        let heard = phone.hear().await;
        if heard.is_request(method) {
            phone.answer(&heard, status, "").await;
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blind_transfer_is_a_refer_and_succeeds_by_notify() {
    let host = desk("blind", "sip:desk@192.0.2.7").await;
    let mut phone = Phone::connected(&host, "1").await;
    let refer = answers(&mut phone, "REFER", "202 Accepted").await;
    assert_eq!(refer.header("Refer-To"), Some("<sip:desk@192.0.2.7>"), "{}", refer.text);
    for (state, line) in
        [("active;expires=60", "SIP/2.0 180 Ringing"), ("terminated;reason=noresource", "SIP/2.0 200 OK")]
    {
        let notify = phone.request(
            "NOTIFY",
            &["Event: refer", &format!("Subscription-State: {state}"), "Content-Type: message/sipfrag"],
            &format!("{line}\r\n"),
        );
        phone.send(&notify).await;
        assert_eq!(phone.answer_to("NOTIFY").await.status(), 200);
    }
    phone.is_hung_up_on().await;
    let call = host.ended_call().await;
    assert_eq!((&call["end_reason"], &call["transfer"]), (&"transferred".into(), &"ok".into()), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refer_that_is_refused_brings_the_caller_back() {
    let host = desk("blind", "sip:desk@192.0.2.7").await;
    let mut phone = Phone::connected(&host, "1").await;
    answers(&mut phone, "REFER", "603 Declined").await;
    // The caller hears the step behind the transfer.
    phone.hears(-30.0).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!((&call["end_reason"], &call["transfer"]), (&"caller_hung_up".into(), &"refused".into()), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attended_transfer_calls_the_target_and_joins_the_two() {
    let probe = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("sip:desk@{}", probe.local_addr().unwrap());
    let host = desk("attended", &target).await;
    let mut desk_phone = Phone::on(probe, &host).await;
    let mut phone = Phone::connected(&host, "1").await;
    let invite = desk_phone.is_called().await;
    desk_phone.answer(&invite, "180 Ringing", "").await;
    desk_phone.picks_up(&invite).await;
    let refer = answers(&mut phone, "REFER", "202 Accepted").await;
    let to = refer.header("Refer-To").unwrap();
    assert!(to.contains("Replaces=") && to.contains(&invite.header("Call-ID").unwrap().replace('@', "%40")), "{to}");
    let notify = phone.request(
        "NOTIFY",
        &["Event: refer", "Subscription-State: terminated;reason=noresource", "Content-Type: message/sipfrag"],
        "SIP/2.0 200 OK\r\n",
    );
    phone.send(&notify).await;
    phone.is_hung_up_on().await;
    let calls = host.ended_calls(1).await;
    let caller = calls.iter().find(|call| call["direction"] == "inbound").unwrap();
    assert_eq!((&caller["end_reason"], &caller["transfer"]), (&"transferred".into(), &"ok".into()), "{caller:#}");
    // The target's telephone ends our call to it as the caller takes our place.
    desk_phone.bye_as_callee(&invite).await;
    assert_eq!(host.metric("offhook_transfers_total{outcome=\"ok\"}").await, 1.0);
    let calls = host.ended_calls(2).await;
    let called = calls.iter().find(|call| call["direction"] == "outbound").unwrap();
    assert_eq!((&called["end_reason"], &called["trunk"]), (&"callee_hung_up".into(), &"direct".into()), "{called:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_end_our_call_to_it_gets_our_bye() {
    let probe = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("sip:desk@{}", probe.local_addr().unwrap());
    let host = desk("attended", &target).await;
    let mut desk_phone = Phone::on(probe, &host).await;
    let mut phone = Phone::connected(&host, "1").await;
    let invite = desk_phone.is_called().await;
    desk_phone.picks_up(&invite).await;
    answers(&mut phone, "REFER", "202 Accepted").await;
    let notify = phone.request(
        "NOTIFY",
        &["Event: refer", "Subscription-State: terminated;reason=noresource", "Content-Type: message/sipfrag"],
        "SIP/2.0 200 OK\r\n",
    );
    phone.send(&notify).await;
    phone.is_hung_up_on().await;
    let since = Instant::now();
    loop {
        let heard = desk_phone.hear_within(PATIENCE * 2).await.expect("our BYE");
        if heard.is_request("BYE") {
            desk_phone.answer(&heard, "200 OK", "").await;
            break;
        }
    }
    assert!(since.elapsed() > Duration::from_secs(5), "it had its time");
    let calls = host.ended_calls(2).await;
    let called = calls.iter().find(|call| call["direction"] == "outbound").unwrap();
    assert_eq!(called["end_reason"], "transferred", "{called:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_target_brings_the_caller_back() {
    let probe = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("sip:desk@{}", probe.local_addr().unwrap());
    let host = desk("attended", &target).await;
    let mut desk_phone = Phone::on(probe, &host).await;
    let mut phone = Phone::connected(&host, "1").await;
    let invite = desk_phone.is_called().await;
    desk_phone.answer(&invite, "486 Busy Here", "").await;
    phone.hears(-30.0).await;
    assert_eq!(phone.bye().await, 200);
    let calls = host.ended_calls(2).await;
    let caller = calls.iter().find(|call| call["direction"] == "inbound").unwrap();
    assert_eq!((&caller["end_reason"], &caller["transfer"]), (&"caller_hung_up".into(), &"busy".into()), "{caller:#}");
    let called = calls.iter().find(|call| call["direction"] == "outbound").unwrap();
    assert_eq!(called["end_reason"], "busy", "{called:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_send_us_anywhere_or_take_a_call_of_ours() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let refer = phone.request("REFER", &["Refer-To: <sip:+19005551234@192.0.2.1>"], "");
    phone.send(&refer).await;
    assert_eq!(phone.answer_to("REFER").await.status(), 403);
    let mut thief = Phone::udp(&host).await;
    let (call_id, ours, theirs) = (phone.call_id.clone(), phone.to_tag.clone().unwrap(), phone.from_tag.clone());
    let sdp = thief.own_offer();
    let replaces = format!("Replaces: {call_id};to-tag={ours};from-tag={theirs}");
    let invite = thief.invite_with("1000", &[&replaces], &sdp);
    thief.send(&invite).await;
    let answer = thief.answer_to("INVITE").await;
    assert_eq!(answer.status(), 403, "{}", answer.text);
    thief.take_answer(&answer).await;
    // The call goes on.
    phone.is_sent(15).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_max_calls_are_let_in_and_those_are_untouched() {
    let host = Host::start(|config| config.limits.max_calls = 5).await;
    let mut phones = Vec::new();
    for _ in 0..5 {
        phones.push(Phone::connected(&host, "1000").await);
    }
    assert_eq!(host.calls(), 5);
    for _ in 0..20 {
        let mut late = Phone::udp(&host).await;
        let answer = late.call("1000").await;
        assert_eq!(answer.status(), 503, "{}", answer.text);
        assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    }
    for phone in &mut phones {
        // An admitted call is untouched.
        phone.is_sent(15).await;
    }
    assert_eq!(phones.pop().unwrap().bye().await, 200);
    host.has_calls(4).await;
    phones.push(Phone::connected(&host, "1000").await);
    for mut phone in phones {
        assert_eq!(phone.bye().await, 200);
    }
    assert_eq!(host.begun().await, 6, "a refused call leaves no record");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_goodbye_first() {
    let mut host = Host::with_voice(|config| {
        config.limits.drain_timeout_s = 1;
        config.limits.drain_words = DrainWords::Everywhere("We stop now.".into());
    })
    .await;
    let mut phone = Phone::connected(&host, "1000").await;
    // The words are made ahead of time.
    sleep(Duration::from_secs(2)).await;
    phone.talk(&[], Duration::from_millis(400)).await;
    let data = host.data();
    let stopping = tokio::spawn(host.take().stop());
    phone.is_hung_up_on().await;
    stopping.await.unwrap();
    let options = SqliteConnectOptions::new().filename(data.join("offhook.db"));
    let mut kept = SqliteConnection::connect_with(&options).await.unwrap();
    let reason: String = sqlx::query_scalar("SELECT end_reason FROM calls").fetch_one(&mut kept).await.unwrap();
    let heard: Option<String> = sqlx::query_scalar("SELECT heard FROM user_sessions ORDER BY number DESC LIMIT 1")
        .fetch_one(&mut kept)
        .await
        .unwrap();
    assert_eq!((reason.as_str(), heard.as_deref()), ("drained", Some("We stop now.")));
}

/// A line whose callers hear a recorded phrase before the answer, and a tone after it.
async fn announcing() -> Host {
    let phrase =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human/please-try-again.wav")).unwrap();
    let files: [(&str, &[u8]); 3] = [
        ("flows/desk.yaml", b"name: desk\nsteps:\n  a: {play: {tone: {hz: 440, ms: 60000}}, goto: hangup}\n"),
        ("lines/all.yaml", b"default: true\nflow: desk\nearly: {sound: again.wav}\n"),
        ("sounds/again.wav", &phrase),
    ];
    Host::with_files(&files, |_| {}).await
}

/// Calls, and gives the 183.
async fn hears_183(phone: &mut Phone, extra: &[&str]) -> Heard {
    let sdp = phone.own_offer();
    let invite = phone.invite_with("1", extra, &sdp);
    phone.send(&invite).await;
    loop {
        let heard = phone.hear().await;
        assert!(heard.status() < 200, "{}", heard.text);
        if heard.status() == 183 {
            return heard;
        }
    }
}

fn happened(call: &serde_json::Value, kind: &str) -> usize {
    call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_is_heard_before_the_answer_and_acknowledged_by_prack() {
    let host = announcing().await;
    let mut phone = Phone::udp(&host).await;
    let early = hears_183(&mut phone, &["Supported: 100rel"]).await;
    assert_eq!(early.header("Require"), Some("100rel"), "{}", early.text);
    assert_eq!(phone.prack(&early).await.status(), 200);
    phone.hears(-35.0).await;
    assert!(phone.hear_within(Duration::from_millis(1)).await.is_none(), "it is not answered yet");
    let answer = phone.answer_to("INVITE").await;
    assert_eq!((answer.status(), answer.body()), (200, ""), "what has arrived is not said again");
    phone.take_answer(&answer).await;
    let tone = phone.hears(-25.0).await;
    assert!(tonality(&audio_of(&tone)[audio_of(&tone).len() - 800..], 440.0) > 0.8);
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!((happened(&call, "early_media"), happened(&call, "answered")), (1, 1), "{call:#}");
    assert_eq!(happened(&call, "no_audio"), 0, "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_needs_no_prack_and_may_be_cancelled() {
    let host = announcing().await;
    let mut phone = Phone::udp(&host).await;
    let early = hears_183(&mut phone, &[]).await;
    assert_eq!((early.header("Require"), early.header("RSeq")), (None, None));
    phone.remember(&early);
    let answer = phone.answer_to("INVITE").await;
    assert_eq!(answer.body(), early.body(), "one answer to one offer");
    phone.take_answer(&answer).await;
    phone.hears(-25.0).await;
    assert_eq!(phone.bye().await, 200);
    let mut phone = Phone::udp(&host).await;
    hears_183(&mut phone, &[]).await;
    let cancel = phone.same_transaction("CANCEL", &[], "");
    phone.send(&cancel).await;
    let answer = phone.answer_to("INVITE").await;
    assert_eq!(answer.status(), 487);
    phone.take_answer(&answer).await;
    let newest = host.ended_calls(2).await.remove(0);
    assert_eq!(newest["end_reason"], "cancelled", "{newest:#}");
    assert_eq!((happened(&newest, "early_media"), happened(&newest, "answered")), (1, 0), "{newest:#}");
    host.ends_clean().await;
}

/// Waits for an offer of the server within the call and answers it; gives the offer. `status` may refuse it.
async fn answers_offer(phone: &mut Phone, status: &str, direction: &str) -> Heard {
    let offered = loop {
        let heard = phone.hear().await;
        if heard.is_request("INVITE") {
            break heard;
        }
    };
    let port = phone.media.local_addr().unwrap().port();
    let sdp = if status.starts_with("200") { offer("127.0.0.1", port, direction) } else { String::new() };
    phone.answer(&offered, status, &sdp).await;
    while !phone.hear().await.is_request("ACK") {}
    offered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whom_we_have_wait_is_told_so_and_taken_back() {
    let host = Host::start(|config| config.limits.no_media_timeout_s = 4).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(600)).await;
    let id = host.json("/v1/calls").await["calls"][0]["id"].as_str().unwrap().to_owned();
    let post = async |what: &str| host.http("POST", &format!("/v1/calls/{id}/{what}"), &[], b"").await.0;
    assert_eq!(post("hold").await, 202);
    let held = answers_offer(&mut phone, "200 OK", "recvonly").await;
    assert!(held.body().contains("a=sendonly\r\n"), "{}", held.text);
    // We play while they send nothing, for longer than a caller who is there may be silent.
    let heard = phone.listen(Duration::from_millis(4_500)).await;
    assert!(loudest(&audio_of(&heard)) > -40.0, "the line is alive");
    assert_eq!(post("resume").await, 202);
    // Their own offer was on its way: ours is made again a little later.
    answers_offer(&mut phone, "491 Request Pending", "").await;
    // Who refuses to be taken back is asked again: they would hear nothing for the rest of the call.
    answers_offer(&mut phone, "500 Server Internal Error", "").await;
    let back = answers_offer(&mut phone, "200 OK", "sendrecv").await;
    assert!(back.body().contains("a=sendrecv\r\n"), "{}", back.text);
    phone.hears(-30.0).await;
    // A caller's offer meanwhile is answered by what we want.
    assert_eq!(post("hold").await, 202);
    answers_offer(&mut phone, "200 OK", "recvonly").await;
    let sdp = phone.own_offer();
    let answer = phone.reinvite(&sdp).await;
    assert!(answer.body().contains("a=sendonly\r\n"), "{}", answer.text);
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!((&call["end_reason"], &call["summary"]["holds"]), (&"caller_hung_up".into(), &2.into()), "{call:#}");
    host.ends_clean().await;
}
