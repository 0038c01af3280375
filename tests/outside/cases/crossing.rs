//! Requests of both sides that cross on the wire (RFC 3261 14.2).

use std::time::Duration;

use crate::outside::ear::{Ear, tone_share};
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

#[tokio::test]
async fn sipp_is_told_491_when_its_re_invite_crosses_ours_and_gets_through_afterwards() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let offer = sdp(ear.port(), "0 101", "");
    let script = Scenario::caller("crosses")
        .invites("Supported: timer\nSession-Expires: 90;refresher=uas", Some(&offer))
        .gets_through(&[Holds("Session-Expires: *90;refresher=uas")])
        // Half of the interval later: the server's own re-INVITE, which is not answered yet.
        .receives_and_keeps("INVITE", &[Holds("Session-Expires: *90")])
        .replies(100, "", None)
        .requests("INVITE", "", Some(("application/sdp", &offer)))
        .may_get(&[100])
        .expects(491, &[])
        .acks_refusal()
        .replies_to_what_was_kept(200, "Require: timer\nSession-Expires: 90;refresher=uac", Some(&offer))
        .receives("ACK", &[])
        .requests("INVITE", "", Some(("application/sdp", &offer)))
        .may_get(&[100])
        .expects(200, &[Holds("m=audio")])
        .acks(None)
        .pauses(1_500)
        .hangs_up();
    let call = Sipp { script: Some(script), ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(90)));
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}
