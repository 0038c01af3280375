//! Bad networks: loss, jitter, black holes, NATs that change their mind, and strangers who send to our RTP ports.
//!
//! The callers are baresip, which repeats what got lost as RFC 3261 asks. (SIPp gives calls up by itself.)

use std::time::Duration;

use offhook_media::wav::Wav;

use super::{AUDIBLE_DBFS, listen_for};
use crate::net::link::Impairment;
use crate::net::relay::Relay;
use crate::outside::baresip::{Baresip, Phone};
use crate::outside::ear::{loudest, tone_share};
use crate::outside::record::reached_by_key;
use crate::outside::server::Server;

#[tokio::test]
async fn baresip_presses_keys_at_1_percent_loss_and_20_ms_of_jitter() {
    presses_a_key_at(0.01, 1.0, 20).await;
}

#[tokio::test]
async fn baresip_presses_keys_at_3_percent_loss_and_60_ms_of_jitter() {
    presses_a_key_at(0.03, 1.0, 60).await;
}

#[tokio::test]
async fn baresip_presses_keys_at_5_percent_loss_in_bursts_of_5() {
    presses_a_key_at(0.05, 5.0, 20).await;
}

#[tokio::test]
async fn baresip_presses_keys_at_10_percent_loss_and_60_ms_of_jitter() {
    presses_a_key_at(0.1, 1.0, 60).await;
}

#[tokio::test]
async fn baresip_interrupts_at_5_percent_loss_and_60_ms_of_jitter() {
    let (server, relay) = Server::behind_a_network(5, &[]).await;
    relay.impair(bad(0.05, 1.0, 60));
    // Two seconds of listening, then somebody speaks for some seconds.
    let mut microphone = vec![0; 16_000];
    microphone.extend(speech());
    microphone.extend(vec![0; 160_000]);
    let mut phone = Phone { microphone: Some(&microphone), ..Phone::default() }.start(server.dir()).await;
    phone.dials(&at(&server, &relay, "1000")).await;
    listen_for(6_500).await;
    phone.hangs_up().await;
    assert!(loudest(&phone.heard().await) > AUDIBLE_DBFS);
    let call = server.ended_call().await;
    assert!(call["summary"]["barge_ins"].as_u64() > Some(0), "nobody was interrupted: {call:#}");
}

#[tokio::test]
async fn baresip_hears_every_packet_once_though_they_are_reordered_and_doubled() {
    let (server, relay) = Server::behind_a_network(6, &[]).await;
    relay.impair(Impairment { reorder: 0.05, duplicate: 0.05, ..Impairment::NONE });
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&at(&server, &relay, "1000")).await;
    listen_for(4_000).await;
    phone.hangs_up().await;
    let call = server.ended_call().await;
    assert!(call["summary"]["packets_lost"].as_u64() <= Some(5), "{call:#}");
    assert!(call["summary"]["frames_received"].as_u64() > Some(100), "{call:#}");
}

#[tokio::test]
async fn baresip_survives_a_black_hole_of_two_seconds() {
    let (server, relay) = Server::behind_a_network(7, &[]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&at(&server, &relay, "1000")).await;
    listen_for(1_500).await;
    relay.impair(Impairment { black_hole: true, ..Impairment::NONE });
    listen_for(2_000).await;
    relay.impair(Impairment::NONE);
    listen_for(2_000).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    let end = &heard[heard.len().saturating_sub(8_000)..];
    assert!(tone_share(end) > 0.6, "the last second: {}", tone_share(end));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn baresip_is_heard_again_after_its_nat_took_another_port() {
    let (server, relay) = Server::behind_a_network(8, &[]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&at(&server, &relay, "clinic")).await;
    listen_for(2_000).await;
    relay.rebind();
    // As soon as the server follows, both ways work: the key is heard, and what it leads to is said.
    listen_for(2_000).await;
    phone.presses('1').await;
    listen_for(4_000).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    let end = &heard[heard.len().saturating_sub(20_000)..];
    assert!(loudest(end) > AUDIBLE_DBFS, "silence at the end: {} dBFS", loudest(end));
    let call = server.ended_call().await;
    assert!(reached_by_key(&call, "appointment"), "the key was not heard: {call:#}");
}

#[tokio::test]
async fn another_address_is_a_stranger_though_it_goes_on_with_the_stream() {
    let (server, relay) = Server::behind_a_network(9, &[]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&at(&server, &relay, "clinic")).await;
    listen_for(2_000).await;
    relay.move_to_another_address();
    listen_for(500).await;
    phone.presses('1').await;
    listen_for(2_000).await;
    phone.hangs_up().await;
    let call = server.ended_call().await;
    assert!(!reached_by_key(&call, "appointment"), "a stranger's key was taken: {call:#}");
    assert!(call["summary"]["frames_received"].as_u64() < Some(150), "{call:#}");
}

async fn presses_a_key_at(loss: f64, burst: f64, jitter_ms: u64) {
    let (server, relay) = Server::behind_a_network(jitter_ms ^ loss.to_bits(), &[]).await;
    relay.impair(bad(loss, burst, jitter_ms));
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&at(&server, &relay, "clinic")).await;
    listen_for(3_000).await;
    phone.presses('1').await;
    listen_for(4_000).await;
    phone.hangs_up().await;
    assert!(loudest(&phone.heard().await) > AUDIBLE_DBFS);
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(reached_by_key(&call, "appointment"), "key 1 did not lead to appointments: {call:#}");
    let keys = call["turns"].as_array().unwrap().iter().filter_map(|turn| turn["keys_pressed"].as_u64()).sum::<u64>();
    assert_eq!(keys, 1, "{call:#}");
    let [up, down] = relay.tally();
    assert!(up.lost > 0 && down.offered > 200, "the network was not used: {up:?} {down:?}");
}

fn bad(loss: f64, burst: f64, jitter_ms: u64) -> Impairment {
    let jitter = Duration::from_millis(jitter_ms);
    Impairment { loss, burst, jitter, delay: Duration::from_millis(20), ..Impairment::NONE }
}

/// A number of the server, by way of the relay.
fn at(server: &Server, relay: &Relay, number: &str) -> String {
    format!("sip:{number}@{}:{}", relay.address(), server.sip.port())
}

fn speech() -> Vec<i16> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human/please-try-again.wav");
    Wav::parse(&std::fs::read(file).unwrap()).unwrap().samples
}
