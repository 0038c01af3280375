//! Keys on the hard ways: as tones in the audio, and over a network whose packets come in any order.

use std::time::Duration;

use super::{AUDIBLE_DBFS, listen_for};
use crate::net::link::Impairment;
use crate::outside::baresip::Phone;
use crate::outside::ear::loudest;
use crate::outside::record::reached_by_key;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::{Sipp, tones_of_1};

#[tokio::test]
async fn sipp_presses_1_by_the_tones_in_its_audio() {
    let server = Server::start(&[]).await;
    let offer = sdp(1, "0", "").replace("audio 1 ", "audio [media_port] ");
    let script = Scenario::caller("presses_by_tones")
        .invites("", Some(&offer))
        .gets_through(&[])
        .streams("tones.pcmu")
        .pauses(7_000)
        .hangs_up();
    Sipp { script: Some(script), number: "clinic", ..Sipp::default() }.succeeds(&server).await;
    let call = server.ended_call().await;
    assert!(reached_by_key(&call, "appointment"), "{call:#}");
    assert_eq!(keys(&call), 1, "{call:#}");
}

#[tokio::test]
async fn baresip_plays_the_tones_of_1_which_are_no_key_where_events_were_agreed_on() {
    // Tones beside agreed events are the far side's echo of them: they are keys only where no events were agreed on.
    let server = Server::start(&[]).await;
    let tones = tones_of_1(30);
    let mut phone = Phone { microphone: Some(&tones), ..Phone::default() }.start(server.dir()).await;
    phone.dials(&format!("sip:clinic@{}", server.sip)).await;
    listen_for(5_000).await;
    phone.presses('2').await;
    listen_for(2_000).await;
    phone.hangs_up().await;
    let call = server.ended_call().await;
    assert_eq!(keys(&call), 1, "{call:#}");
    assert!(!reached_by_key(&call, "appointment"), "{call:#}");
}

#[tokio::test]
async fn baresip_presses_five_keys_at_120_ms_of_jitter_and_each_arrives_once() {
    let (server, relay) = Server::behind_a_network(120, &[]).await;
    let jitter = Duration::from_millis(120);
    relay.impair(Impairment { jitter, delay: Duration::from_millis(20), ..Impairment::NONE });
    let mut phone = Phone::default().start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}:{}", relay.address(), server.sip.port())).await;
    listen_for(2_500).await;
    for key in "13579".chars() {
        phone.presses(key).await;
        listen_for(900).await;
    }
    listen_for(1_500).await;
    phone.hangs_up().await;
    assert!(loudest(&phone.heard().await) > AUDIBLE_DBFS);
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert_eq!(keys(&call), 5, "{call:#}");
    assert!(call["summary"]["frames_received"].as_u64() > Some(250), "{call:#}");
    let [up, down] = relay.tally();
    assert!(up.offered > 250 && down.offered > 250 && up.lost == 0, "the network was not used: {up:?} {down:?}");
}

fn keys(call: &serde_json::Value) -> usize {
    call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count()
}
