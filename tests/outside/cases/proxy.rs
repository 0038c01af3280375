//! Kamailio between the carrier (SIPp) and Offhook, both of which it knows by address: record-routing and loose routes.

use std::time::Duration;

use crate::outside::ear::{Ear, tone_share};
use crate::outside::kamailio::Kamailio;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

#[tokio::test]
async fn kamailio_brings_a_call_and_stays_on_its_route() {
    let server = Server::start(&[]).await;
    let kamailio = Kamailio::before(server.sip, server.dir()).await;
    let ear = Ear::open().await;
    let route = format!("Record-Route: <sip:127.0.0.1:{}", kamailio.address.port());
    let script = Scenario::caller("through_a_proxy")
        .invites("", Some(&sdp(ear.port(), "0 101", "")))
        .gets_through(&[Holds(&route)])
        .pauses(2_500)
        .hangs_up();
    let call =
        Sipp { script: Some(script), target: Some(kamailio.address), from: Some(kamailio.carrier), ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_carries_the_servers_own_hang_up_to_the_caller() {
    let server = Server::with_flow(&[], HANGS_UP_AT_A_KEY).await;
    let kamailio = Kamailio::before(server.sip, server.dir()).await;
    let script = Scenario::caller("is_hung_up_on_through_a_proxy")
        .invites("", Some(&sdp(kamailio.carrier.port() + 2, "8 101", "")))
        .gets_through(&[])
        .pauses(1_000)
        .requests("INFO", "", Some(("application/dtmf-relay", "Signal=0\nDuration=160\n")))
        .expects(200, &[])
        // Our request's route is the caller's, turned round: it comes by way of the proxy.
        .receives("BYE", &[Holds(&format!("Via: SIP/2.0/UDP 127.0.0.1:{}", kamailio.address.port()))])
        .replies(200, "", None);
    let call =
        Sipp { script: Some(script), target: Some(kamailio.address), from: Some(kamailio.carrier), ..Sipp::default() };
    call.succeeds(&server).await;
    assert_eq!(server.ended_call().await["end_reason"], "flow_hung_up");
    kamailio.stop().await;
}

const HANGS_UP_AT_A_KEY: &str = "
name: own
steps:
  asks:
    menu:
      prompt: Press 0 to hang up.
      choices:
        - key: 0
          words: [nothing]
          goto: end
      give_up: end
  end:
    hangup: Goodbye.
";
