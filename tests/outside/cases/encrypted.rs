//! Encryption, wide-band codecs and reports with a softphone that speaks them by libraries of its own (libre, libopus,
//! spandsp): what one side misreads the other one sees.

use std::time::Duration;

use offhook_media::level::rms_dbfs;
use serde_json::Value;

use super::{AUDIBLE_DBFS, listen_for};
use crate::outside::baresip::Phone;
use crate::outside::ear::tone_share;
use crate::outside::server::Server;

fn digits(call: &Value) -> usize {
    call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count()
}

/// A call to the bench line with a key pressed; the record, and what was heard.
async fn call(server: &Server, phone: &Phone<'_>) -> (Value, Vec<i16>) {
    let mut phone = phone.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(2_000).await;
    phone.presses('5').await;
    listen_for(1_500).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    (server.ended_call().await, heard)
}

#[tokio::test]
async fn baresip_is_heard_and_hears_over_srtp() {
    let server = Server::start(&[]).await;
    let phone = Phone { account: ";regint=0;mediaenc=srtp-mand", ..Phone::default() };
    let (call, heard) = call(&server, &phone).await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
    assert!(call["summary"]["srtp"].as_str().is_some_and(|suite| suite.starts_with("AES_")), "{call:#}");
    assert_eq!(digits(&call), 1, "{call:#}");
    assert!(call["summary"]["mos"].as_f64().unwrap() > 2.0, "{call:#}");
}

#[tokio::test]
async fn baresip_gets_srtp_beside_the_clear_too() {
    let server = Server::start(&[]).await;
    let phone = Phone { account: ";regint=0;mediaenc=srtp", ..Phone::default() };
    let (call, heard) = call(&server, &phone).await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
    assert!(call["summary"]["srtp"].is_string(), "{call:#}");
}

#[tokio::test]
async fn baresip_without_keys_is_refused_where_keys_are_required() {
    let server = Server::start(&["rtp.srtp=required"]).await;
    let mut phone = Phone::default().start(server.dir()).await;
    phone.command("dial", &format!("sip:1000@{}", server.sip)).await;
    let why = phone.is_hung_up(Duration::from_secs(10)).await;
    assert!(why.contains("488"), "{why}");
}

#[tokio::test]
async fn baresip_is_heard_and_hears_in_g722() {
    let server = Server::start(&[]).await;
    let phone = Phone { codecs: &["g722"], ..Phone::default() };
    let (call, heard) = call(&server, &phone).await;
    assert!(rms_dbfs(&heard) > AUDIBLE_DBFS, "{} dBFS of {} samples", rms_dbfs(&heard), heard.len());
    assert_eq!((&call["summary"]["codec"], digits(&call)), (&"G722".into(), 1), "{call:#}");
}

#[tokio::test]
async fn baresip_is_heard_and_hears_in_opus() {
    let server = Server::start(&[]).await;
    let phone = Phone { codecs: &["opus"], ..Phone::default() };
    let (call, heard) = call(&server, &phone).await;
    assert!(rms_dbfs(&heard) > AUDIBLE_DBFS, "{} dBFS of {} samples", rms_dbfs(&heard), heard.len());
    assert_eq!((&call["summary"]["codec"], digits(&call)), (&"opus".into(), 1), "{call:#}");
    assert!(call["summary"]["packets_lost"].as_u64() <= Some(5), "{call:#}");
}

#[tokio::test]
async fn baresip_and_the_server_report_to_each_other() {
    let server = Server::start(&[]).await;
    let mut phone = Phone { account: ";regint=0;mediaenc=srtp-mand", ..Phone::default() }.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(13_000).await;
    phone.hangs_up().await;
    let call = server.ended_call().await;
    let trip = call["summary"]["round_trip_ms"].as_f64().expect("a round trip, by encrypted reports");
    assert!((0.0..5_000.0).contains(&trip), "{call:#}");
    assert_eq!(call["summary"]["far_loss_percent"], 0.0, "{call:#}");
}
