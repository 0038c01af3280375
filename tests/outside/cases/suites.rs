//! Every crypto suite in a real call. Peers take the first one that is offered; an editor in between strikes the others out.

use std::time::Duration;

use serde_json::json;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, outbound, trunk};
use crate::net::editor::Editor;
use crate::outside::baresip::Phone;
use crate::outside::ear::tone_share;
use crate::outside::server::{self, Server};

#[tokio::test]
async fn baresip_is_heard_and_hears_with_the_short_tag() {
    const SUITE: &str = "AES_CM_128_HMAC_SHA1_32";
    let (place, dir) = (server::place().await, server::fresh_dir());
    let phone = Phone { user: NUMBER, account: ";regint=0;mediaenc=srtp-mand", ..Phone::default() };
    let mut phone = phone.start(&dir).await;
    let editor = Editor::start(phone.sip, |line| !line.starts_with("a=crypto:") || line.contains(SUITE)).await;
    let trunk = trunk("phone", editor.address(), "srtp: required");
    let server = Server::start_in(place, &[], &outbound(&[trunk])).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    phone.takes_the_call(Duration::from_secs(25)).await;
    listen_for(2_000).await;
    phone.presses('5').await;
    listen_for(1_500).await;
    phone.hangs_up().await;
    assert!(phone.log().contains(&format!("SRTP is Enabled (cryptosuite={SUITE})")), "{}", phone.log());
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.9, "{}", tone_share(&heard));
    let call = ended(&server, &id).await;
    assert_eq!(call["summary"]["srtp"], SUITE, "{call:#}");
    let keys = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count();
    assert_eq!(keys, 1, "{call:#}");
}

#[tokio::test]
async fn offhook_hears_offhook_in_every_suite() {
    let called = Server::start(&[]).await;
    let suites =
        ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32"];
    for (number, suite) in suites.into_iter().enumerate() {
        let editor =
            Editor::start(called.sip, move |line| !line.starts_with("a=crypto:") || line.contains(suite)).await;
        let trunk = trunk("other", editor.address(), "srtp: required");
        let calling = called.another(&[], &outbound(&[trunk])).await;
        let id = calls(&calling, json!({ "to": NUMBER, "line": "1000" })).await;
        called.has_calls(1).await;
        listen_for(2_000).await;
        calling.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
        let ours = ended(&calling, &id).await;
        let theirs = called.ended_calls(number + 1).await.remove(0);
        for call in [&ours, &theirs] {
            assert_eq!(call["summary"]["srtp"], suite, "{call:#}");
            // What does not authenticate is not counted.
            assert!(call["summary"]["frames_received"].as_u64() > Some(60), "{suite}: {call:#}");
        }
    }
}
