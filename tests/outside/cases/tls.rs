//! Signalling over TLS, with audio under SRTP as whoever encrypts the one encrypts the other.

use std::net::SocketAddr;

use serde_json::json;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, outbound};
use crate::outside::baresip::Phone;
use crate::outside::certs::Certificates;
use crate::outside::ear::tone_share;
use crate::outside::ports::Ports;
use crate::outside::server::{self, Server};

#[tokio::test]
async fn baresip_calls_over_tls_with_srtp() {
    let (server, tls, certificates, _ports) = over_tls().await;
    let config = format!("sip_cafile {}\n", certificates.ca.display());
    let account = ";regint=0;mediaenc=srtp-mand";
    let phone = Phone { transport: "tls", account, config, ..Phone::default() };
    let mut phone = phone.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{tls};transport=tls")).await;
    listen_for(2_500).await;
    phone.hangs_up().await;
    assert!(phone.log().contains("SRTP is Enabled"), "{}", phone.log());
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(call["summary"]["frames_received"].as_u64() > Some(80), "{call:#}");
}

#[tokio::test]
async fn offhook_calls_offhook_over_tls_with_srtp() {
    let (called, tls, certificates, _ports) = over_tls().await;
    let trunk = format!(
        "    - name: other\n      address: \"{tls}\"\n      transport: tls\n      srtp: required\n      ping_s: 0\n"
    );
    let ca = format!("sip.tls.ca={}", certificates.ca.display());
    let calling = called.another(&[&ca], &outbound(&[trunk])).await;
    let id = calls(&calling, json!({ "to": NUMBER, "line": "1000" })).await;
    called.has_calls(1).await;
    listen_for(2_000).await;
    calling.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
    let (ours, theirs) = (ended(&calling, &id).await, called.ended_call().await);
    assert_eq!((&ours["end_reason"], &theirs["end_reason"]), (&"operator".into(), &"caller_hung_up".into()));
    for call in [&ours, &theirs] {
        assert!(call["summary"]["srtp"].is_string(), "in the clear: {call:#}");
        assert!(call["summary"]["frames_received"].as_u64() > Some(60), "{call:#}");
    }
}

/// A server with a TLS listener as well, where that is, and what peers need to believe it.
pub async fn over_tls() -> (Server, SocketAddr, Certificates, Ports) {
    let (place, dir, mut ports) = (server::place().await, server::fresh_dir(), Ports::lease());
    let certificates = Certificates::new(&dir);
    let tls = ports.address();
    let settings = certificates.settings(tls);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    (Server::start_in(place, &settings, "").await, tls, certificates, ports)
}
