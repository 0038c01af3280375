//! `offhook doctor` against real peers: a server that is well, and trunks that are ill in the usual ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::net::SocketAddr;

use offhook::config::{Config, parse};
use offhook::doctor::{Level, Options, Report, run};
use tokio::net::UdpSocket;
use wire_support::Host;
use wire_support::ports::Ports;
use wire_support::tls::Authority;

/// What the doctor says with this `sip:` section, listening to calls for 3 s.
async fn doctor(yaml: &str, call: Option<&str>) -> Report {
    let mut config: Config = parse("test", yaml).unwrap_or_else(|error| panic!("{error}"));
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let ports = Ports::lease();
    config.rtp.ports = ports.rtp().parse().unwrap();
    config.limits.max_calls = 10;
    run(&config, &Options { call: call.map(str::to_owned), trunk: None, seconds: 3 }).await
}

fn has(report: &Report, level: Level, about: &str, what: &str) {
    let found = report.findings.iter().any(|f| f.level == level && f.about == about && f.what.contains(what));
    assert!(found, "no {level:?} `{about}`: `{what}` in\n{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_well_has_no_problem() {
    let host = Host::start(|_| {}).await;
    let report = doctor(&format!("sip: {{listen: '{}'}}\n", host.sip), None).await;
    assert!(report.is_well(), "{}", report.text());
    has(&report, Level::Good, "sip.listen", "a server runs there");
    has(&report, Level::Good, "call to this server", "answered: Pcmu");
    has(&report, Level::Good, "call to this server", "keys by RFC 4733");
    has(&report, Level::Good, "call to this server", "0.0 % lost");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["well"], true);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_through_a_trunk_is_listened_to() {
    let host = Host::start(|_| {}).await;
    let yaml = format!("sip: {{listen: '127.0.0.1:0', trunks: [{{name: other, address: '{}'}}]}}\n", host.sip);
    let report = doctor(&yaml, Some("1000")).await;
    assert!(report.is_well(), "{}", report.text());
    has(&report, Level::Good, "trunk other", "answers OPTIONS with 200");
    has(&report, Level::Good, "call through other", "0.0 % lost");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_trunk_and_an_unknown_name_are_told() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = nobody.local_addr().unwrap();
    let yaml = format!(
        "sip:\n  listen: 127.0.0.1:0\n  dns_servers: ['{at}']\n  trunks:\n    - {{name: dead, address: '{at}'}}\n    \
         - {{name: gone, address: 'sip:127.0.0.1:1;transport=tcp'}}\n    - {{name: lost, address: 'nowhere.test:5060'}}\n"
    );
    let report = doctor(&yaml, Some("1000")).await;
    assert!(!report.is_well());
    has(&report, Level::Problem, "trunk dead", "nothing answers OPTIONS within 4 s");
    has(&report, Level::Problem, "trunk gone", "no connection to");
    has(&report, Level::Problem, "trunk lost", "check the name");
    has(&report, Level::Problem, "call through dead", "not tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_trunk_that_does_not_know_us_are_told() {
    let registrar = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = registrar.local_addr().unwrap();
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";
    let peer = tokio::spawn(async move {
        let mut datagram = vec![0; 65_535];
        loop {
            let (length, from) = registrar.recv_from(&mut datagram).await.unwrap();
            let request = String::from_utf8(datagram[..length].to_vec()).unwrap();
            let (status, extra) = match request.split(' ').next().unwrap() {
                "ACK" => continue,
                "REGISTER" => ("401 Unauthorized", challenge),
                "OPTIONS" => ("200 OK", ""),
                _ => ("403 Forbidden", ""),
            };
            registrar.send_to(wire_support::answer(&request, status, extra, "").as_bytes(), from).await.unwrap();
        }
    });
    let yaml = format!(
        "sip:\n  listen: 127.0.0.1:0\n  trunks: [{{name: pbx, address: '{at}'}}]\n  \
         registrations: [{{registrar: '{at}', username: '204', password: wrong}}]\n"
    );
    let report = doctor(&yaml, Some("1000")).await;
    peer.abort();
    has(&report, Level::Problem, "account 204", "username, password or realm are wrong");
    has(&report, Level::Problem, "call through pbx", "refused with 403");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_sends_no_rtp_is_told_by_address_port_and_codec() {
    let trunk = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = trunk.local_addr().unwrap();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40008 RTP/AVP 8\r\n\
               a=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n";
    let peer = tokio::spawn(async move {
        let mut datagram = vec![0; 65_535];
        loop {
            let (length, from) = trunk.recv_from(&mut datagram).await.unwrap();
            let request = String::from_utf8(datagram[..length].to_vec()).unwrap();
            let (extra, body) = match request.split(' ').next().unwrap() {
                "ACK" => continue,
                "INVITE" => (format!("Contact: <sip:{at}>\r\nContent-Type: application/sdp\r\n"), sdp),
                _ => (String::new(), ""),
            };
            trunk.send_to(wire_support::answer(&request, "200 OK", &extra, body).as_bytes(), from).await.unwrap();
        }
    });
    let yaml = format!("sip: {{listen: '127.0.0.1:0', trunks: [{{name: mute, address: '{at}'}}]}}\n");
    let report = doctor(&yaml, Some("1000")).await;
    peer.abort();
    has(&report, Level::Problem, "call through mute", "(Pcma), while we sent to 127.0.0.1:40008");
    has(&report, Level::Warning, "call through mute", "no telephone-event");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_looked_at() {
    let authority = Authority::new("doctor");
    let good = authority.signs("good", &["sip.test"], false);
    let expired = authority.signs("expired", &["sip.test"], true);
    let section = |files: &(std::path::PathBuf, std::path::PathBuf), ca: &str| {
        let (certificate, key) = (files.0.display(), files.1.display());
        format!(
            "sip: {{listen: '127.0.0.1:0', tls: {{listen: '127.0.0.1:0', certificate: {certificate}, key: {key}, ca: {ca}}}}}\n"
        )
    };
    let known = doctor(&section(&good, &authority.ca.display().to_string()), None).await;
    has(&known, Level::Good, "sip.tls.certificate", "its chain leads to a root");
    let unknown = doctor(&section(&good, "null"), None).await;
    has(&unknown, Level::Warning, "sip.tls.certificate", "peers need its root");
    let old = doctor(&section(&expired, "null"), None).await;
    has(&old, Level::Problem, "sip.tls", "expired on 2021-01-01");
}
