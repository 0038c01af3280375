//! Dialogs that are not of the plain kind: SIPp asks for an offer, refreshes, refuses, crosses our requests with its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::listen_for;
use crate::outside::ear::{Ear, tone_share};
use crate::outside::ports::Ports;
use crate::outside::record::reached_by_key;
use crate::outside::scenario::Check::{Holds, Lacks};
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;
use crate::outside::stranger::Stranger;

#[tokio::test]
async fn sipp_asks_for_an_offer_and_answers_it_in_the_ack() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let answer = sdp(ear.port(), "0 101", "");
    let script = Scenario::caller("delayed_offer")
        .invites("", None)
        .may_get(&[100, 180, 183])
        .expects(200, &[Holds("m=audio [0-9]+ RTP/AVP .*[ ]0"), Holds("a=rtpmap:101 telephone-event|telephone-event")])
        .acks(Some(&answer))
        .pauses(2_500)
        .hangs_up();
    let ((), heard) = tokio::join!(run(script, &server), ear.listen(Duration::from_secs(60)));
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_requires_reliable_provisional_responses() {
    let server = Server::start(&[]).await;
    let script = Scenario::caller("requires_100rel")
        .invites("Require: 100rel\nSupported: 100rel", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
        .gets_through(&[Lacks("SIP/2.0 420")])
        .pauses(500)
        .hangs_up();
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_refreshes_by_update_with_and_without_a_description() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let offer = sdp(ear.port(), "0 101", "");
    let script = Scenario::caller("updates")
        .invites("", Some(&offer))
        .gets_through(&[Holds("Allow:.*UPDATE")])
        .pauses(1_000)
        .requests("UPDATE", "", None)
        .expects(200, &[Lacks("m=audio")])
        .requests("UPDATE", "", Some(("application/sdp", &offer)))
        .expects(200, &[Holds("m=audio")])
        .pauses(1_500)
        .hangs_up();
    let ((), heard) = tokio::join!(run(script, &server), ear.listen(Duration::from_secs(60)));
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert!(heard.longest_pause < Duration::from_millis(1_500), "{:?}", heard.longest_pause);
}

#[tokio::test]
async fn sipp_sends_keys_by_info_in_both_kinds() {
    for (kind, body) in [("application/dtmf-relay", "Signal=1\nDuration=160\n"), ("application/dtmf", "1")] {
        let server = Server::start(&[]).await;
        let script = Scenario::caller("keys_by_info")
            .invites("", Some(&sdp(server.ports.rtp_port(), "0", "")))
            .gets_through(&[])
            .pauses(2_000)
            .requests("INFO", "", Some((kind, body)))
            .expects(200, &[])
            .pauses(1_500)
            .hangs_up();
        Sipp { script: Some(script), number: "clinic", ..Sipp::default() }.succeeds(&server).await;
        let call = server.ended_call().await;
        assert!(reached_by_key(&call, "appointment"), "{kind}: {call:#}");
    }
}

#[tokio::test]
async fn sipp_asks_for_too_short_a_session_and_then_for_a_long_enough_one() {
    let server = Server::start(&[]).await;
    let offer = sdp(server.ports.rtp_port(), "0 101", "");
    let script = Scenario::caller("session_too_short")
        .invites("Supported: timer\nSession-Expires: 60", Some(&offer))
        .may_get(&[100])
        .expects(422, &[Holds("Min-SE: *90")])
        .acks_refusal()
        .invites("Supported: timer\nSession-Expires: 90;refresher=uac\nMin-SE: 90", Some(&offer))
        .gets_through(&[Holds("Session-Expires: *90;refresher=uac"), Holds("Require:.*timer")])
        .pauses(500)
        .hangs_up();
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_is_refreshed_and_asked_again_after_it_said_491() {
    let server = Server::start(&[]).await;
    let offer = sdp(server.ports.rtp_port(), "0 101", "");
    let script = Scenario::caller("is_refreshed")
        .invites("Supported: timer\nSession-Expires: 90;refresher=uas", Some(&offer))
        .gets_through(&[Holds("Session-Expires: *90;refresher=uas")])
        // Half of the interval later.
        .receives("INVITE", &[Holds("Session-Expires: *90")])
        .replies(491, "", None)
        .receives("ACK", &[])
        .receives("INVITE", &[Holds("Session-Expires: *90")])
        .replies(200, "Require: timer\nSession-Expires: 90;refresher=uac", Some(&offer))
        .receives("ACK", &[])
        .pauses(500)
        .hangs_up();
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_acknowledges_the_answer_late() {
    let server = Server::start(&[]).await;
    let script = Scenario::caller("acknowledges_late")
        .invites("", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
        .may_get(&[100, 180, 183])
        .expects(200, &[])
        .pauses(3_000)
        .acks(None)
        .pauses(1_000)
        .hangs_up();
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_never_acknowledges_and_is_let_go() {
    let server = Server::start(&["sip.t1_ms=50"]).await;
    let script = Scenario::caller("never_acknowledges")
        .invites("", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
        .may_get(&[100, 180, 183])
        .expects(200, &[])
        // 64 times T1 later.
        .receives("BYE", &[])
        .replies(200, "", None);
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "no_ack");
}

#[tokio::test]
async fn sipp_offers_nothing_that_fits_and_asks_for_what_is_not_there() {
    let server = Server::start(&[]).await;
    let strange = "v=0\no=far 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 4000 RTP/AVP 18\n\
                   a=rtpmap:18 G729/8000";
    let plain = sdp(server.ports.rtp_port(), "0 101", "");
    let script = Scenario::caller("is_refused_for_good_reason")
        .invites("", Some(strange))
        .may_get(&[100])
        .expects(488, &[])
        .acks_refusal()
        .invites("Require: pineapple", Some(&plain))
        .may_get(&[100])
        .expects(420, &[Holds("Unsupported: *pineapple")])
        .acks_refusal()
        .invites("", Some(&plain))
        .gets_through(&[])
        .requests("REFER", "Refer-To: <sip:+8821@127.0.0.1>", None)
        .expects(403, &[])
        .requests("MESSAGE", "", Some(("text/plain", "hello")))
        .expects(405, &[Holds("Allow:")])
        .hangs_up();
    run(script, &server).await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn a_cancel_that_crosses_the_answer_leaves_no_call_behind() {
    let server = Server::start(&[]).await;
    for (number, ms) in [0, 0, 5, 30, 100].into_iter().enumerate() {
        cancels_after(&server, u8::try_from(number).unwrap() + 1, ms).await;
    }
    server.has_calls(0).await;
    for call in server.ended_calls(5).await {
        let reason = call["end_reason"].as_str().unwrap();
        assert!(["cancelled", "caller_hung_up"].contains(&reason), "{call:#}");
    }
}

/// A caller who gives up so soon that the CANCEL may cross our answer, and acts as RFC 3261 9.1 and 15.1.1 say.
async fn cancels_after(server: &Server, number: u8, ms: u64) {
    let caller = Stranger::at(Ipv4Addr::new(127, 0, 0, 1)).await;
    let (here, there) = (caller.address(), server.sip);
    let body = sdp(Ports::lease().rtp_port(), "0 101", "").replace('\n', "\r\n") + "\r\n";
    let request = |method: &str, branch: &str, cseq: u32, to: &str, body: &str| {
        format!(
            "{method} sip:1000@{there} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-{number}{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@{here}>;tag={number}\r\nTo: <sip:1000@{there}>{to}\r\n\
             Call-ID: race-{number}@{here}\r\nCSeq: {cseq} {method}\r\nContact: <sip:caller@{here}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    caller.sends(there, request("INVITE", "i", 1, "", &body).as_bytes()).await;
    listen_for(ms).await;
    caller.sends(there, request("CANCEL", "i", 1, "", "").as_bytes()).await;
    let answers = caller.gets(Duration::from_millis(400)).await;
    let answers: Vec<String> = answers.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    let last = answers.iter().rfind(|text| text.contains("CSeq: 1 INVITE")).expect("an answer to the INVITE");
    let tag = last.lines().find(|line| line.starts_with("To:")).unwrap().split_once(";tag=").map_or("", |(_, tag)| tag);
    let to = format!(";tag={tag}");
    if last.starts_with("SIP/2.0 200") {
        caller.sends(there, request("ACK", "a", 1, &to, "").as_bytes()).await;
        caller.sends(there, request("BYE", "b", 2, &to, "").as_bytes()).await;
    } else {
        assert!(last.starts_with("SIP/2.0 487"), "{answers:#?}");
        caller.sends(there, request("ACK", "i", 1, &to, "").as_bytes()).await;
    }
    assert!(
        answers.iter().any(|text| text.starts_with("SIP/2.0 200") && text.contains("CSeq: 1 CANCEL")),
        "{answers:#?}"
    );
}

async fn run(script: Scenario, server: &Server) {
    Sipp { script: Some(script), ..Sipp::default() }.succeeds(server).await;
}
