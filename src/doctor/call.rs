//! A call through a trunk, with audio both ways: what a caller would notice, in words.

use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::time::Duration;

use bytes::Bytes;
use offhook_media::g711::G711;
use offhook_media::rtp::{Header, write_header};
use offhook_sip::message::UriBuf;
use offhook_sip::sdp::{Agreed, Codec, Exchange, LocalMedia};
use offhook_sip::{CallHandle, Command, EndCause, Event, Flow, OutboundInvite, PingId, PingOutcome, Transport};
use rand::RngExt;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::line::Line;
use super::listen::{Ears, Heard};
use super::trunks::Reached;
use super::{Options, Report};
use crate::config::Config;
use crate::telemetry::sip::SipMetrics;
use crate::transport::sip::routes::{Route, Wanted};
use crate::transport::sip::trunks::Trunks;

/// Calls by every trunk that answered, or a server that runs here.
pub async fn check(config: &Config, options: &Options, reached: &[Reached], line: &mut Line, report: &mut Report) {
    let length = Duration::from_secs(options.seconds.clamp(3, 120));
    let Some(number) = &options.call else { return itself(config, length, line, report).await };
    let wanted = |trunk: &&Reached| options.trunk.as_deref().is_none_or(|name| name == trunk.trunk.name);
    let trunks = Trunks::new(&config.sip, SipMetrics::default());
    let mut called = false;
    for reached in reached.iter().filter(wanted) {
        let about = format!("call through {}", reached.trunk.name);
        called = true;
        if reached.targets.is_empty() {
            report.problem(about, "not tried: the trunk does not answer");
            continue;
        }
        let place = config.sip.trunks.iter().position(|trunk| trunk.name == reached.trunk.name);
        trunks.resolved(place.unwrap_or_default(), Ok(reached.targets.clone()));
        let wanted = Wanted { to: number, trunk: Some(&reached.trunk.name), caller_id: None };
        let faces = line.faces.clone();
        let routes = trunks.route(wanted, |target| faces.flow(target.transport, target.address, None), |_| 0);
        match routes.into_iter().next() {
            Some(route) => place_call(&about, route, length, config, line, report).await,
            None => report.problem(about, "the number cannot be written as a SIP address"),
        }
    }
    if !called {
        report.problem("call", "no trunk to call through: check sip.trunks, and --trunk");
    }
}

/// The bench line of the server that this configuration is of.
async fn itself(config: &Config, length: Duration, line: &mut Line, report: &mut Report) {
    let about = "call to this server";
    let mut remote = config.sip.listen;
    if remote.ip().is_unspecified() {
        remote.set_ip(if remote.is_ipv4() { [127, 0, 0, 1].into() } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) });
    }
    let flow = line.faces.flow(Transport::Udp, remote, None);
    let Ok(target) = UriBuf::parse(format!("sip:1000@{remote}")) else { return };
    line.last_id += 1;
    let id = PingId(line.last_id);
    line.command(Command::Ping { id, flow, target: target.clone() }).await;
    let answered = line
        .until(Duration::from_secs(1), |event| match event {
            Event::Pong { id: other, outcome } if other == id => Some(outcome),
            _ => None,
        })
        .await;
    if !matches!(answered, Some(PingOutcome::Answered { .. })) {
        return report
            .warning(about, format!("not tried: no server answers on {remote}; --call NUMBER calls by a trunk"));
    }
    let Ok(from) = UriBuf::parse(format!("sip:doctor@{}", flow.local)) else { return };
    let route = Route {
        flow,
        target,
        from,
        from_display: None,
        headers: Vec::new(),
        credentials: None,
        trunk: None,
        profile: None,
    };
    place_call(about, route, length, config, line, report).await;
}

async fn place_call(
    about: &str,
    route: Route,
    length: Duration,
    config: &Config,
    line: &mut Line,
    report: &mut Report,
) {
    let address = line.told_to(route.flow.remote);
    let (rtp, rtcp) = match sockets(config).await {
        Ok(sockets) => sockets,
        Err(why) => return report.problem(about, why),
    };
    let port = rtp.local_addr().map_or(0, |address| address.port());
    let mut exchange = Exchange::new(LocalMedia::new(address, port, CODECS), 1);
    line.last_id += 1;
    let call = CallHandle::outbound(line.last_id);
    let (flow, sdp) = (route.flow, Bytes::from(exchange.offer()));
    line.command(Command::Invite(Box::new(OutboundInvite {
        call,
        flow,
        target: route.target,
        from: route.from,
        from_display: route.from_display,
        sdp,
        headers: route.headers,
        credentials: route.credentials,
        replaces: None,
    })))
    .await;
    let answer = line.until(RINGS, |event| outcome(call, event)).await;
    let sdp = match answer {
        Some(Ok(Some(sdp))) => sdp,
        Some(Ok(None)) => return report.problem(about, "answered without a session description: no audio can flow"),
        Some(Err(why)) => return report.problem(about, why),
        None => {
            line.command(Command::Cancel { call }).await;
            return report.problem(about, format!("nobody answered within {} s", RINGS.as_secs()));
        }
    };
    match exchange.answered(&sdp) {
        Ok(agreed) => {
            describe(about, &agreed, flow, report);
            let heard = talk(&agreed, rtp, rtcp, length, call, line).await;
            tell(about, &agreed, &heard, port, address, report);
        }
        Err(error) => report.problem(about, format!("the answer agrees to nothing that was offered ({error})")),
    }
    line.command(Command::Bye { call, reason: None }).await;
    line.until(Duration::from_secs(2), |event| matches!(event, Event::Ended { .. }).then_some(())).await;
}

/// What became of an INVITE.
fn outcome(call: CallHandle, event: Event) -> Option<Result<Option<Bytes>, String>> {
    match event {
        Event::Answered { call: other, sdp, .. } if other == call => Some(Ok(sdp)),
        Event::Ended { call: other, cause, refused, .. } if other == call => {
            let why = match (cause, refused) {
                (EndCause::Rejected(status @ (401 | 403 | 407)), _) => {
                    format!("refused with {status}: the trunk does not know us by password or by address")
                }
                (EndCause::Rejected(404), _) => "refused with 404: the trunk does not know the number".to_owned(),
                (EndCause::Rejected(488), _) => "refused with 488: no codec or encryption in common".to_owned(),
                (EndCause::Rejected(status), _) => format!("refused with {status}"),
                (EndCause::TransactionTimeout, _) => "the trunk does not answer INVITE".to_owned(),
                (EndCause::TransportLost, _) => "no connection to the trunk".to_owned(),
                (other, _) => format!("ended before it was answered ({other:?})"),
            };
            Some(Err(why))
        }
        _ => None,
    }
}

fn describe(about: &str, agreed: &Agreed, flow: Flow, report: &mut Report) {
    let to = agreed.remote_rtp.map_or("nowhere (hold)".to_owned(), |to| to.to_string());
    report.good(about, format!("answered: {:?} to {to}, {} ms packets", agreed.codec, agreed.ptime_ms));
    match agreed.telephone_event {
        Some(event) => {
            report.good(about, format!("keys by RFC 4733, payload type {}", event.payload_type));
        }
        None => {
            report.warning(about, "the answer has no telephone-event: keys come by SIP INFO or as tones, if at all")
        }
    }
    if !agreed.direction.may_send() {
        report.warning(about, "the far side does not want our audio (it holds the call)");
    }
    if let Some(to) = agreed.remote_rtp.filter(|to| to.ip().is_ipv4() != flow.remote.is_ipv4()) {
        report.warning(about, format!("signalling and audio have different IP families ({} and {to})", flow.remote));
    }
}

/// A tone out, whatever comes in, for so long.
async fn talk(
    agreed: &Agreed,
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    length: Duration,
    call: CallHandle,
    line: &mut Line,
) -> Heard {
    let codec = if agreed.codec == Codec::Pcma { G711::Alaw } else { G711::Ulaw };
    let (ssrc, mut sequence): (u32, u16) = (rand::rng().random(), rand::rng().random());
    let mut ears = Ears::new(codec, agreed.payload_type, ssrc);
    let frame = tone(codec);
    let began = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut timestamp, mut datagram, mut reports) = (0_u32, vec![0; 2048], vec![0; 2048]);
    let mut next_look = began;
    while began.elapsed() < length {
        tokio::select! {
            _ = ticks.tick() => {
                let header = Header {
                    marker: timestamp == 0, payload_type: agreed.payload_type, sequence, timestamp, ssrc,
                };
                let packet = [write_header(&header).as_slice(), &frame].concat();
                if let Some(to) = agreed.remote_rtp.filter(|_| agreed.direction.may_send()) {
                    let _ = rtp.send_to(&packet, to).await;
                }
                (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(160));
            }
            Ok((length, from)) = rtp.recv_from(&mut datagram) => {
                ears.rtp(began.elapsed(), from, datagram.get(..length).unwrap_or_default());
            }
            Some(length) = report_on(rtcp.as_ref(), &mut reports) => {
                ears.rtcp(began.elapsed(), reports.get(..length).unwrap_or_default());
            }
            () = sleep_until(next_look) => {
                // Re-INVITEs and the far side's BYE are looked at between packets.
                next_look = Instant::now() + Duration::from_millis(200);
                let over = line.until(Duration::from_millis(1), |event| match event {
                    Event::Ended { call: other, .. } if other == call => Some(()),
                    _ => None,
                });
                if over.await.is_some() {
                    break;
                }
            }
        }
    }
    ears.heard()
}

async fn report_on(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<usize> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await.ok().map(|(length, _)| length),
        None => std::future::pending().await,
    }
}

fn tell(about: &str, agreed: &Agreed, heard: &Heard, port: u16, address: IpAddr, report: &mut Report) {
    let codec = format!("{:?}", agreed.codec);
    let Some(first) = heard.first else {
        let to = agreed.remote_rtp.map_or("no address".to_owned(), |to| to.to_string());
        return report.problem(
            about,
            format!(
                "no RTP came to {address}:{port} ({codec}), while we sent to {to}: the far side cannot reach that address \
                 and port (NAT, firewall, sip.external_address, rtp.ports), or it sends nothing"
            ),
        );
    };
    if first > Duration::from_secs(2) {
        report.warning(
            about,
            format!("the first RTP came after {:.1} s: callers hear nothing until then", first.as_secs_f64()),
        );
    }
    if heard.strange_types == heard.packets {
        return report.problem(about, format!("RTP comes in a codec that was not agreed on ({codec} was)"));
    }
    let share = 100.0 * heard.lost as f64 / (heard.packets + heard.lost).max(1) as f64;
    let from = heard.from.map_or(String::new(), |from| format!(" from {from}"));
    let line = format!("{} packets{from}, {share:.1} % lost, the first after {} ms", heard.packets, first.as_millis());
    if share > 1.0 {
        report.warning(about, line)
    } else {
        report.good(about, line)
    }
    if !heard.is_audible {
        report.warning(about, "all that came was silence: one-way audio behind the trunk, or nobody spoke");
    }
    match heard.heard_us {
        Some(0) => report
            .problem(about, "one-way audio: the far side reports (RTCP) on nothing of ours, so none of it arrives"),
        Some(_) => report.good(about, "the far side says (RTCP) that our audio arrives"),
        None => report.good(about, "the far side does not say (RTCP) whether our audio arrives"),
    }
    match heard.drift_ppm {
        Some(ppm) if ppm.abs() > DRIFT_PPM => {
            report.warning(
                about,
                format!("the far side's clock is {ppm:+.0} ppm from ours: expect a click now and then"),
            );
        }
        Some(ppm) => report.good(about, format!("the clocks differ by {ppm:+.0} ppm")),
        None => report
            .good(about, "how far the clocks are apart cannot be told: listen longer, on a machine with less to do"),
    }
}

/// A port for RTP with the next one for RTCP, from the server's range where one is free.
async fn sockets(config: &Config) -> Result<(UdpSocket, Option<UdpSocket>), String> {
    let address = config.rtp_address();
    let bind = |port: u16| -> std::io::Result<UdpSocket> {
        let socket = StdSocket::bind(SocketAddr::new(address, port))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    // From the end: a server takes its ports from the beginning.
    let ports: Vec<u16> = config.rtp.ports.even_ports().collect();
    let found = ports.iter().rev().take(64).find_map(|port| bind(*port).ok().map(|socket| (*port, socket)));
    let (port, rtp) = found.ok_or_else(|| format!("no free RTP port in rtp.ports on {address}"))?;
    Ok((rtp, port.checked_add(1).and_then(|port| bind(port).ok())))
}

/// 20 ms of 400 Hz at some -20 dBFS, which fit whole periods into a frame.
fn tone(codec: G711) -> [u8; 160] {
    let mut pcm = [0_i16; 160];
    for (n, sample) in pcm.iter_mut().enumerate() {
        let phase = std::f64::consts::TAU * 400.0 * n as f64 / 8000.0;
        *sample = (phase.sin() * 3000.0) as i16;
    }
    let mut octets = [0; 160];
    codec.encode(&pcm, &mut octets);
    octets
}

/// What the doctor speaks.
const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

const RINGS: Duration = Duration::from_secs(30);

/// Sound cards differ by less.
const DRIFT_PPM: f64 = 200.0;
