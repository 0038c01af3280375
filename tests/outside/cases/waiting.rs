//! Callers who wait: for the answer, behind an announcement in early media, and for an operator who has put them on hold.

use std::time::Duration;

use offhook_media::level::rms_dbfs;

use super::{AUDIBLE_DBFS, listen_for};
use crate::outside::ear::Ear;
use crate::outside::scenario::Check::{Holds, Lacks, Saves};
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

/// Whoever is called here plays a phrase before the answer and is silent after it.
async fn announcing() -> (Server, usize) {
    let phrase =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human/please-try-again.wav")).unwrap();
    let files: [(&str, &[u8]); 3] = [
        ("flows/own.yaml", b"name: own\nsteps:\n  a: {play: {tone: {hz: 440, ms: 60000, dbfs: -60}}, goto: hangup}\n"),
        ("lines/all.yaml", b"default: true\nflow: own\nearly: {sound: again.wav}\n"),
        ("sounds/again.wav", &phrase),
    ];
    (Server::with_files(&[], &files).await, (phrase.len() - 44) / 2)
}

/// The call is hung up as it is answered: what was heard was heard before.
async fn hears_it_before_the_answer(
    server: &Server,
    samples: usize,
    headers: &str,
    before: impl Fn(Scenario) -> Scenario,
) {
    let ear = Ear::open().await;
    let script =
        Scenario::caller("hears_early_media").invites(headers, Some(&sdp(ear.port(), "0 101", ""))).may_get(&[100]);
    let script = before(script).expects(200, &[Holds("CSeq: *1 INVITE")]).acks_number(1).hangs_up();
    let call = Sipp { script: Some(script), ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(server), ear.listen(Duration::from_secs(60)));
    assert!(heard.samples.len() * 10 > samples * 9, "{} of {samples} samples", heard.samples.len());
    let loud = heard.samples.chunks(800).filter(|part| rms_dbfs(part) > AUDIBLE_DBFS).count();
    assert!(loud >= 8, "{loud} tenths of a second with a voice");
    let call = server.ended_call().await;
    let kinds: Vec<&str> =
        call["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"early_media"), "{call:#}");
}

#[tokio::test]
async fn sipp_hears_an_announcement_before_the_answer() {
    let (server, samples) = announcing().await;
    let before = |script: Scenario| script.expects(183, &[Holds("m=audio"), Lacks("RSeq")]);
    hears_it_before_the_answer(&server, samples, "", before).await;
}

#[tokio::test]
async fn sipp_acknowledges_an_announcement_before_the_answer_by_prack() {
    let (server, samples) = announcing().await;
    let before = |script: Scenario| {
        script
            .expects(183, &[Holds("m=audio"), Holds("Require:.*100rel"), Saves("rseq", "RSeq", "[0-9]+")])
            .requests("PRACK", "RAck: [$rseq] 1 INVITE", None)
            .expects(200, &[Holds("CSeq: *2 PRACK")])
    };
    hears_it_before_the_answer(&server, samples, "Supported: 100rel", before).await;
}

#[tokio::test]
async fn sipp_is_held_by_an_operator_and_taken_back() {
    let server = Server::start(&[]).await;
    let port = server.ports.rtp_port();
    let script = Scenario::caller("is_held")
        .invites("", Some(&sdp(port, "0 101", "")))
        .gets_through(&[])
        .receives("INVITE", &[Holds("a=sendonly")])
        .replies(200, "", Some(&sdp(port, "0 101", "a=recvonly")))
        .receives("ACK", &[])
        .receives("INVITE", &[Holds("a=sendrecv")])
        .replies(200, "", Some(&sdp(port, "0 101", "a=sendrecv")))
        .receives("ACK", &[])
        .pauses(500)
        .hangs_up();
    let operator = async {
        server.has_calls(1).await;
        listen_for(1_000).await;
        let id = server.json("/v1/calls").await["calls"][0]["id"].as_str().unwrap().to_owned();
        for what in ["hold", "resume"] {
            let (status, body) = server.post(&format!("/v1/calls/{id}/{what}"), &serde_json::json!({})).await;
            assert_eq!(status, 202, "{body}");
            listen_for(1_500).await;
        }
    };
    let call = Sipp { script: Some(script), ..Sipp::default() };
    tokio::join!(call.succeeds(&server), operator);
    let call = server.ended_call().await;
    assert_eq!((&call["end_reason"], &call["summary"]["holds"]), (&"caller_hung_up".into(), &1.into()), "{call:#}");
}
