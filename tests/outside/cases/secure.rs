//! Encrypted audio (SRTP by SDES): baresip calls with it, is called with it, and is refused where it will not.

use super::listen_for;
use crate::outside::baresip::Phone;
use crate::outside::ear::tone_share;
use crate::outside::server::Server;

#[tokio::test]
async fn baresip_calls_with_srtp_and_hears_the_tone() {
    let server = Server::start(&[]).await;
    let account = ";regint=0;mediaenc=srtp-mand";
    let mut phone = Phone { account, ..Phone::default() }.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(2_500).await;
    phone.hangs_up().await;
    assert!(phone.log().contains("SRTP is Enabled (cryptosuite=AES_CM_128_HMAC_SHA1_80)"), "{}", phone.log());
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.9, "{}", tone_share(&heard));
    let call = server.ended_call().await;
    assert!(call["summary"]["frames_received"].as_u64() > Some(80), "its audio was not understood: {call:#}");
}
