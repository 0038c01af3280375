//! Trunks from outside: TLS and its certificates, names and name servers, health, accounts, the guard, NAT, draining.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook::config::{Config, parse};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use wire_support::phone::Phone;
use wire_support::tls::Authority;
use wire_support::{Host, PATIENCE, answer};

const SOON: Duration = Duration::from_millis(300);

/// The `sip:` section of this text, on free ports.
fn section(config: &mut Config, yaml: &str) {
    let listen = config.sip.listen;
    config.sip = parse("test", yaml).unwrap_or_else(|error| panic!("{error}")).sip;
    config.sip.listen = listen;
}

fn tls_listener(config: &mut Config, files: &(PathBuf, PathBuf)) {
    config.sip.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    (config.sip.tls.certificate, config.sip.tls.key) = (Some(files.0.clone()), Some(files.1.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_hears_the_line_and_ends_by_bye() {
    let authority = Authority::new("call");
    let files = authority.signs("server", &["sip.test"], false);
    let host = Host::start(|config| tls_listener(config, &files)).await;
    let mut phone = Phone::tls(host.tls.unwrap(), "sip.test", authority.client(None)).await.unwrap();
    let answer = phone.call("1000").await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    let contact = answer.header("Contact").unwrap();
    assert!(contact.contains(&format!("{};transport=tls", host.tls.unwrap())), "{contact}");
    phone.is_sent(15).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_and_a_bad_file_keeps_the_old_one() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let files = first.signs("server", &["sip.test"], false);
    let host = Host::start(|config| tls_listener(config, &files)).await;
    let at = host.tls.unwrap();
    let mut old = Phone::tls(at, "sip.test", first.client(None)).await.unwrap();
    std::fs::write(&files.0, "no certificate").unwrap();
    host.reload().await;
    drop(Phone::tls(at, "sip.test", first.client(None)).await.expect("the old certificate stays"));
    let expired = second.signs("server", &["sip.test"], true);
    std::fs::copy(&expired.0, &files.0).unwrap();
    std::fs::copy(&expired.1, &files.1).unwrap();
    host.reload().await;
    drop(Phone::tls(at, "sip.test", first.client(None)).await.expect("an expired one is not taken"));
    let good = second.signs("server", &["sip.test"], false);
    std::fs::copy(&good.0, &files.0).unwrap();
    std::fs::copy(&good.1, &files.1).unwrap();
    host.reload().await;
    assert!(Phone::tls(at, "sip.test", first.client(None)).await.is_err(), "the new certificate is another's");
    drop(Phone::tls(at, "sip.test", second.client(None)).await.unwrap());
    assert_eq!(old.options().await.status(), 200, "connections go on");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_must_show_a_certificate_where_that_is_asked_for() {
    let authority = Authority::new("mutual");
    let stranger = Authority::new("stranger");
    let files = authority.signs("server", &["sip.test"], false);
    let host = Host::start(|config| {
        tls_listener(config, &files);
        config.sip.tls.client_ca = Some(authority.ca.clone());
    })
    .await;
    let at = host.tls.unwrap();
    let own = authority.signs("peer", &["peer.test"], false);
    let strange = stranger.signs("peer", &["peer.test"], false);
    let mut known = Phone::tls(at, "sip.test", authority.client(Some(pair_of(&own)))).await.unwrap();
    assert_eq!(known.options().await.status(), 200);
    for wrong in [authority.client(None), authority.client(Some(pair_of(&strange)))] {
        // With TLS 1.3 the refusal comes after the client's own handshake is done.
        if let Ok(mut phone) = Phone::tls(at, "sip.test", wrong).await {
            let options = phone.request("OPTIONS", &[], "");
            phone.send(&options).await;
            assert!(phone.hear_within(SOON).await.is_none(), "nothing is served without a certificate");
        }
    }
    host.ends_clean().await;
}

fn pair_of(files: &(PathBuf, PathBuf)) -> (&Path, &Path) {
    (&files.0, &files.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_not_finished_is_cut_and_others_go_on() {
    let authority = Authority::new("loris");
    let files = authority.signs("server", &["sip.test"], false);
    let host = Host::start(|config| {
        tls_listener(config, &files);
        config.sip.tls.handshake_timeout_ms = 1_000;
        config.sip.tls.max_handshakes = 4;
    })
    .await;
    let at = host.tls.unwrap();
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(TcpStream::connect(at).await.unwrap());
    }
    for mut stream in idle {
        let mut byte = [0; 1];
        let read = timeout(PATIENCE, stream.read(&mut byte)).await.expect("it is closed");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    let until = Instant::now() + PATIENCE;
    let mut phone = loop {
        match Phone::tls(at, "sip.test", authority.client(None)).await {
            Ok(phone) => break phone,
            // A busy machine may be too slow for this limit, but not every time.
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!(phone.options().await.status(), 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_over_tls_must_show_the_name_of_its_address() {
    let authority = Authority::new("trunk");
    let files = authority.signs("right", &["localhost"], false);
    let wrong = authority.signs("wrong", &["other.test"], false);
    let right = Host::start(|config| tls_listener(config, &files)).await;
    let other = Host::start(|config| tls_listener(config, &wrong)).await;
    let (right_port, other_port) = (right.tls.unwrap().port(), other.tls.unwrap().port());
    let host = Host::start(|config| {
        section(
            config,
            &format!(
                "sip:\n  trunks:\n    - {{name: right, address: 'sips:localhost:{right_port}'}}\n    \
                 - {{name: wrong, address: 'sips:localhost:{other_port}'}}\n"
            ),
        );
        config.sip.tls.ca = Some(authority.ca.clone());
    })
    .await;
    host.says("trunk right", "ok").await;
    host.says("trunk wrong", "error: no connection to it").await;
    assert_eq!(host.metric("offhook_trunk_up{trunk=\"right\"}").await, 1.0);
    assert_eq!(host.metric("offhook_trunk_up{trunk=\"wrong\"}").await, 0.0);
    for host in [host, right, other] {
        host.ends_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_dies_is_seen_down_and_up_again() {
    let trunk = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = trunk.local_addr().unwrap();
    let host = Host::start(|config| {
        section(config, &format!("sip: {{trunks: [{{name: carrier, address: '{at}', ping_s: 1}}]}}\n"));
    })
    .await;
    let (status, statuses) = tokio::sync::watch::channel("200 OK");
    let peer = tokio::spawn(answering(trunk, statuses));
    host.says("trunk carrier", "ok").await;
    status.send("503 Service Unavailable").unwrap();
    host.says("trunk carrier", "error: it answers 503").await;
    status.send("").unwrap();
    host.says("trunk carrier", "error: no answer to OPTIONS").await;
    status.send("404 Not Found").unwrap();
    host.says("trunk carrier", "ok").await;
    peer.abort();
    host.ends_clean().await;
}

/// Answers each request with the status of the moment; an empty one is silence.
async fn answering(socket: UdpSocket, statuses: tokio::sync::watch::Receiver<&'static str>) {
    let mut datagram = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
        let request = String::from_utf8(datagram[..length].to_vec()).unwrap();
        let status = *statuses.borrow();
        if !status.is_empty() && !request.starts_with("ACK ") {
            socket.send_to(answer(&request, status, "", "").as_bytes(), from).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_registered_with_its_password_and_taken_back_when_draining() {
    let registrar = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = registrar.local_addr().unwrap();
    let mut host = Host::start(|config| {
        section(
            config,
            &format!(
                "sip:\n  trunks: [{{name: pbx, address: '{at}', ping_s: 0}}]\n  registrations:\n    \
                 - {{registrar: '{at}', username: '204', password: c4nary, trunk: pbx}}\n"
            ),
        );
    })
    .await;
    let first = request(&registrar).await;
    assert!(first.0.starts_with("REGISTER ") && !first.0.contains("Authorization:"), "{}", first.0);
    host.says("trunk pbx", "error: its account is not registered").await;
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";
    registrar.send_to(answer(&first.0, "401 Unauthorized", challenge, "").as_bytes(), first.1).await.unwrap();
    let second = loop {
        let next = request(&registrar).await;
        if next.0.contains("Authorization:") {
            break next;
        }
    };
    assert!(second.0.contains("username=\"204\"") && second.0.contains("nonce=\"n1\""), "{}", second.0);
    assert!(!second.0.contains("c4nary"), "{}", second.0);
    let contact = second.0.split("\r\n").find(|line| line.starts_with("Contact:")).unwrap().to_owned();
    let granted = format!("{contact}\r\nExpires: 3600\r\n");
    registrar.send_to(answer(&second.0, "200 OK", &granted, "").as_bytes(), second.1).await.unwrap();
    host.says("account 204", "ok").await;
    host.says("trunk pbx", "ok").await;
    let server = host.take();
    let stopping = tokio::spawn(server.stop());
    // Repeats of what was answered late may come before.
    let last = loop {
        let next = request(&registrar).await;
        assert!(next.0.starts_with("REGISTER ") && next.0.contains("xpires"), "{}", next.0);
        if next.0.contains("expires=0") || next.0.contains("Expires: 0") {
            break next;
        }
    };
    registrar.send_to(answer(&last.0, "200 OK", "", "").as_bytes(), last.1).await.unwrap();
    stopping.await.unwrap();
}

async fn request(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut datagram = vec![0; 65_535];
    let received = timeout(PATIENCE, socket.recv_from(&mut datagram)).await.expect("a request comes");
    let (length, from) = received.unwrap();
    (String::from_utf8(datagram[..length].to_vec()).unwrap(), from)
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sources_hear_what_the_setting_says() {
    for (unknown, expected) in [("accept", 200), ("forbid", 403), ("silent", 0), ("challenge", 401)] {
        let host = Host::start(|config| {
            let users = "[{username: alice, password: secret}]";
            section(config, &format!("sip: {{guard: {{unknown: {unknown}, trusted: []}}, users: {users}}}\n"));
        })
        .await;
        let mut phone = Phone::udp(&host).await;
        let sdp = phone.own_offer();
        let invite = phone.invite("1000", &sdp);
        phone.send(&invite).await;
        let patience = if expected == 0 { Duration::from_secs(1) } else { PATIENCE };
        let answered = loop {
            match phone.hear_within(patience).await {
                Some(heard) if heard.status() >= 200 => break heard.status(),
                Some(_) => {}
                None => break 0,
            }
        };
        assert_eq!(answered, expected, "{unknown}");
        let refused = host.metric("offhook_sip_refused_total{reason=\"unknown\"}").await;
        assert_eq!(refused > 0.0, matches!(unknown, "forbid" | "silent"), "{unknown}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_bans_its_source_and_a_trunks_source_is_not_limited() {
    let host = Host::start(|config| {
        section(config, "sip: {guard: {trusted: [], requests_per_s: 5, options_per_s: 5, ban_s: 60}}\n");
    })
    .await;
    let mut phone = Phone::udp(&host).await;
    for _ in 0..40 {
        let options = phone.request("OPTIONS", &[], "");
        phone.send(&options).await;
    }
    for _ in 0..5 {
        phone.hear().await;
    }
    host.counts("offhook_sip_bans_total", 1.0).await;
    let mut answered = 5;
    while phone.hear_within(SOON).await.is_some() {
        answered += 1;
    }
    assert!(answered < 40, "all were answered");
    let trusting = Host::start(|config| {
        section(
            config,
            "sip:\n  guard: {trusted: [], unknown: silent, requests_per_s: 5}\n  \
             trunks: [{name: t, address: 192.0.2.1, ping_s: 0, allow_sources: [127.0.0.1]}]\n",
        );
    })
    .await;
    let mut phone = Phone::udp(&trusting).await;
    for _ in 0..40 {
        assert_eq!(phone.options().await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunks_places_are_counted_for_calls_that_come_in() {
    let host = Host::start(|config| {
        section(
            config,
            "sip: {trunks: [{name: t, address: 192.0.2.1, ping_s: 0, max_calls: 1, allow_sources: [127.0.0.0/8]}]}\n",
        );
    })
    .await;
    let mut first = Phone::connected(&host, "1000").await;
    assert_eq!(host.metric("offhook_trunk_calls{trunk=\"t\"}").await, 1.0);
    let mut second = Phone::udp(&host).await;
    let refused = second.call("1000").await;
    assert_eq!((refused.status(), refused.header("Retry-After")), (503, Some("5")), "{}", refused.text);
    assert_eq!(first.bye().await, 200);
    host.has_calls(0).await;
    assert_eq!(second.call("1000").await.status(), 200);
    assert_eq!(second.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_may_put_another_telephone_in_the_place_of_its_call() {
    let host = Host::start(|config| {
        section(config, "sip: {trunks: [{name: pbx, address: 192.0.2.1, ping_s: 0, allow_sources: [127.0.0.1]}]}\n");
    })
    .await;
    let mut desk = Phone::connected(&host, "1000").await;
    assert!(desk.talk(&[], Duration::from_millis(400)).await.len() > 10);
    let mut caller = Phone::udp(&host).await;
    let (call_id, ours, theirs) = (desk.call_id.clone(), desk.to_tag.clone().unwrap(), desk.from_tag.clone());
    let replaces = format!("Replaces: {call_id};to-tag={ours};from-tag={theirs}");
    let sdp = caller.own_offer();
    let invite = caller.invite_with("1000", &[&replaces], &sdp);
    caller.send(&invite).await;
    let answer = caller.answer_to("INVITE").await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    caller.take_answer(&answer).await;
    desk.is_hung_up_on().await;
    assert!(caller.talk(&[], Duration::from_millis(600)).await.len() > 15, "the conversation goes on over here");
    assert_eq!(caller.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!((&call["end_reason"], host.begun().await), (&"caller_hung_up".into(), 1), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_strangers_are_told_the_external_address() {
    for (networks, expected) in [("[]", "203.0.113.7"), ("[127.0.0.0/8]", "127.0.0.1")] {
        let host = Host::start(|config| {
            let nat = format!("sip: {{external_address: 203.0.113.7, local_networks: {networks}}}\n");
            section(config, &nat);
        })
        .await;
        let mut phone = Phone::udp(&host).await;
        let sdp = phone.own_offer();
        let invite = phone.invite("1000", &sdp);
        phone.send(&invite).await;
        let answer = phone.answer_to("INVITE").await;
        assert!(answer.header("Contact").unwrap().contains(expected), "{}", answer.text);
        assert!(answer.body().contains(&format!("c=IN IP4 {expected}")), "{}", answer.text);
        phone.take_answer(&answer).await;
        assert_eq!(phone.bye().await, 200);
        host.ends_clean().await;
    }
}
