//! Codecs and directions: what is agreed is what is heard, also after it was changed in the middle of a call.

use std::time::Duration;

use super::listen_for;
use crate::outside::baresip::Phone;
use crate::outside::ear::{Ear, tone_share};
use crate::outside::scenario::Check::{Holds, Lacks};
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

#[tokio::test]
async fn sipp_holds_the_call_and_takes_it_back() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await.patient(Duration::from_secs(5));
    let offer = sdp(ear.port(), "0 101", "a=sendrecv");
    let script = Scenario::caller("holds")
        .invites("", Some(&offer))
        .gets_through(&[Lacks("a=recvonly")])
        .pauses(1_500)
        .requests("INVITE", "", Some(("application/sdp", &sdp(ear.port(), "0 101", "a=sendonly"))))
        .may_get(&[100])
        .expects(200, &[Holds("a=recvonly")])
        .acks(None)
        .pauses(2_000)
        .requests("INVITE", "", Some(("application/sdp", &offer)))
        .may_get(&[100])
        .expects(200, &[Lacks("a=recvonly"), Lacks("a=inactive")])
        .acks(None)
        .pauses(2_000)
        .hangs_up();
    let call = Sipp { script: Some(script), ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!((1_500..4_500).contains(&heard.longest_pause.as_millis()), "silent for {:?}", heard.longest_pause);
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_changes_the_codec_in_the_middle_of_a_call() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let script = Scenario::caller("changes_codec")
        .invites("", Some(&sdp(ear.port(), "0 101", "")))
        .gets_through(&[Holds("RTP/AVP 0 101")])
        .pauses(2_000)
        .requests("INVITE", "", Some(("application/sdp", &sdp(ear.port(), "8 96", ""))))
        .may_get(&[100])
        .expects(200, &[Holds("RTP/AVP 8 96")])
        .acks(None)
        .pauses(2_000)
        .hangs_up();
    let call = Sipp { script: Some(script), ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert_eq!(heard.payload_types, [0, 8]);
    assert_eq!(heard.gaps, 0);
    let after = &heard.samples[heard.samples.len() - 12_000..];
    assert!(tone_share(after) > 0.9, "{}", tone_share(after));
}

#[tokio::test]
async fn baresip_hears_the_tone_in_a_law() {
    let server = Server::start(&[]).await;
    let mut phone = Phone { account: ";regint=0;audio_codecs=PCMA", ..Phone::default() }.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(2_500).await;
    phone.hangs_up().await;
    assert!(phone.log().contains("PCMA"), "{}", phone.log());
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
}

#[tokio::test]
async fn baresip_holds_the_call_and_takes_it_back() {
    let server = Server::start(&[]).await;
    let mut phone = Phone::default().start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(1_500).await;
    phone.command("hold", "").await;
    listen_for(1_500).await;
    phone.command("resume", "").await;
    listen_for(2_000).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    let end = &heard[heard.len().saturating_sub(12_000)..];
    assert!(tone_share(end) > 0.7, "{}", tone_share(end));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}
