//! The process is told something by signals while calls are going on: to end, to end at once, to read its files again.

use std::time::Duration;

use super::listen_for;
use super::tls::over_tls;
use crate::outside::baresip::{Baresip, Phone};
use crate::outside::certs::Certificates;
use crate::outside::ear::{Ear, seconds_besides_the_tone, tone_share};
use crate::outside::record::said;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

#[tokio::test]
async fn sipp_hears_a_goodbye_and_others_are_told_to_come_back_while_the_server_drains() {
    let mut server = Server::start(&["limits.drain_timeout_s=4"]).await;
    server.says("the flows' sentences are ready", 1).await;
    let ear = Ear::open().await;
    let stays = Scenario::caller("stays")
        .invites("", Some(&sdp(ear.port(), "0 101", "")))
        .gets_through(&[])
        .receives("BYE", &[])
        .replies(200, "", None);
    let late = async {
        server.has_calls(1).await;
        listen_for(1_500).await;
        server.terminate().await;
        server.answers("/readiness", 503).await;
        assert_eq!(server.curl("/health").await.0, 200, "the process is alive all the same");
        let script = Scenario::caller("comes_too_late")
            .invites("", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
            .may_get(&[100])
            .expects(503, &[Holds("Retry-After: *[1-9]")])
            .acks_refusal();
        Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server).await;
    };
    let caller = Sipp { script: Some(stays), ..Sipp::default() };
    let ((), heard, ()) = tokio::join!(caller.succeeds(&server), ear.listen(Duration::from_secs(60)), late);
    assert!(server.has_ended().await.success(), "{}", server.log());
    let words = seconds_besides_the_tone(&heard.samples);
    assert!(words > 2.0, "{words} s of words in {} packets", heard.packets);
    server.starts_again().await;
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "drained", "{call:#}");
    assert!(said(&call).contains("Please call again in a few minutes. Goodbye."), "{call:#}");
    assert!(call["summary"]["frames_received"].as_u64() > Some(50), "{call:#}");
}

#[tokio::test]
async fn baresip_is_hung_up_on_when_the_server_ends_without_words() {
    let server = Server::start(&["limits.drain_words="]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(1_000).await;
    let (status, _) = tokio::join!(server.stop(), phone.is_hung_up(Duration::from_secs(20)));
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_second_sigterm_ends_the_server_at_once_though_baresip_is_talking() {
    let mut server = Server::start(&["limits.drain_timeout_s=600"]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    server.terminate().await;
    server.answers("/readiness", 503).await;
    server.has_calls(1).await;
    server.terminate().await;
    let status = server.has_ended().await;
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(server.log().contains("asked again: ending at once"), "{}", server.log());
    // Whoever comes next finds what was begun and says how it ended.
    server.starts_again().await;
    assert_eq!(server.ended_call().await["end_reason"], "crash_recovered");
}

#[tokio::test]
async fn baresip_talks_on_while_sighup_changes_the_certificate() {
    let (server, tls, old, _ports) = over_tls().await;
    let new_dir = server.dir().join("renewed");
    std::fs::create_dir(&new_dir).unwrap();
    let new = Certificates::new(&new_dir);
    let before = std::fs::read(&old.certificate).unwrap();
    let (config, account) = (format!("sip_cafile {}\n", old.ca.display()), ";regint=0;mediaenc=srtp-mand");
    let mut phone = Phone { transport: "tls", account, config, ..Phone::default() }.start(server.dir()).await;
    phone.dials(&format!("sip:1000@{tls};transport=tls")).await;
    assert!(old.is_shown_at(tls).await && !new.is_shown_at(tls).await);

    for (broken, why) in [("no certificate".as_bytes(), "holds no certificate"), (&before[..200], "expected")] {
        std::fs::write(&old.certificate, broken).unwrap();
        let times = server.log().matches("the certificates from before stay in use").count();
        server.signal("HUP").await;
        server.says("the certificates from before stay in use", times + 1).await;
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("the certificates from before")).unwrap();
        assert!(line.contains("sip.tls.certificate") && line.contains("server.pem") && line.contains(why), "{line}");
        assert!(old.is_shown_at(tls).await, "a broken file took the place of a good one");
    }
    // The key of another certificate.
    std::fs::write(&old.certificate, before).unwrap();
    std::fs::copy(&new.key, &old.key).unwrap();
    server.signal("HUP").await;
    server.says("sip.tls.key: does not go with sip.tls.certificate", 1).await;
    assert!(old.is_shown_at(tls).await);

    new.replace(&old);
    server.signal("HUP").await;
    server.says("certificates are read again", 1).await;
    assert!(new.is_shown_at(tls).await && !old.is_shown_at(tls).await);
    listen_for(2_000).await;
    assert_eq!(server.json("/v1/calls").await["calls"][0]["state"], "active");
    // By the connection that was made under the certificate of before.
    phone.hangs_up().await;
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
    assert!(server.stop().await.success());
}
