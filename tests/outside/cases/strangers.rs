//! People who mean no good: noise sent to our RTP ports, scans of our extensions. Callers must not notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::listen_for;
use crate::outside::baresip::Baresip;
use crate::outside::ear::tone_share;
use crate::outside::record::reached_by_key;
use crate::outside::server::Server;
use crate::outside::stranger::{Stranger, scan};

#[tokio::test]
async fn noise_to_every_rtp_port_changes_nothing_for_baresip() {
    let server = Server::start(&[]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(1_000).await;
    let stranger = Stranger::at(Ipv4Addr::new(127, 66, 0, 1)).await;
    let ports: Vec<SocketAddr> = server.ports.all().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect();
    let open = open_rtp_ports(&server).await;
    assert!(!open.is_empty() && open.iter().all(|open| ports.contains(open)), "{open:?}");
    for port in &open {
        stranger.shouts_at(*port, Duration::from_secs(2)).await;
    }
    assert_eq!(stranger.gets(Duration::from_millis(200)).await.len(), 0, "our audio went to a stranger");
    phone.hangs_up().await;
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.7, "the caller heard {}", tone_share(&heard));
    let call = server.ended_call().await;
    // Full-scale noise that is taken for the caller's is taken for speech, and stops the tone.
    assert_eq!(call["summary"]["barge_ins"], 0, "{call:#}");
}

#[tokio::test]
async fn a_scan_of_a_thousand_extensions_leaves_callers_alone() {
    // The caller's address is trusted, the scanner's is not.
    let server = Server::start(&["sip.guard.trusted=[127.0.0.1/32]"]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:clinic@{}", server.sip)).await;
    let scanner = Stranger::at(Ipv4Addr::new(127, 66, 0, 2)).await;
    for number in 0..1_000 {
        let method = ["OPTIONS", "REGISTER", "INVITE", "SUBSCRIBE"][number as usize % 4];
        scanner.sends(server.sip, scan(method, scanner.address(), server.sip, number).as_bytes()).await;
        if number % 50 == 0 {
            listen_for(20).await;
        }
    }
    let answers = scanner.gets(Duration::from_millis(300)).await.len();
    assert_eq!(answers, 0, "scanners hear nothing");
    phone.presses('1').await;
    listen_for(3_000).await;
    phone.hangs_up().await;
    let calls = server.ended_calls(1).await;
    assert_eq!(calls.len(), 1, "a scan became calls: {calls:#?}");
    let call = server.ended_call().await;
    assert!(reached_by_key(&call, "appointment"), "{call:#}");
    let log = server.log();
    assert!(log.lines().count() < 200, "{} lines of log for a scan", log.lines().count());
}

/// The even UDP ports that the server has open for RTP at this moment, as the kernel lists them.
async fn open_rtp_ports(server: &Server) -> Vec<SocketAddr> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let ports = table.lines().filter_map(|line| {
        let local = line.split_whitespace().nth(1)?.split_once(':')?;
        (local.0 == "0100007F").then(|| u16::from_str_radix(local.1, 16).ok()).flatten()
    });
    let ours = ports.filter(|port| server.ports.all().contains(port) && *port != server.sip.port() && port % 2 == 0);
    ours.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect()
}
