//! A call over SIP and RTP, with the simulator as a phone: its own signalling and media sockets, the product's SIP
//! rules for the exchange of messages, its own RTP.
//!
//! Every datagram has the kernel's receive time, so it does not matter that the sockets are read a little later.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::message::UriBuf;
use offhook_sip::{
    CallHandle, Command, EndCause, Endpoint, EndpointConfig, Event, Flow, Input, OutboundInvite, Output, Transport,
};

use super::audio::FRAME;
use super::clock::{Dice, Moment, RunClock};
use super::leg::{Leg, LegEvent, Ready, Slot};
use super::network::{Network, Profile};
use super::rtp_wire::{self, EVENTS, PCMU, Sender};
use super::stamped::StampedSocket;
use super::timeline::Arrival;

/// One call.
pub struct SipLeg {
    signalling: StampedSocket,
    media: StampedSocket,
    endpoint: Endpoint,
    flow: Flow,
    sdp: Bytes,
    remote_media: Option<SocketAddr>,
    sender: Sender,
    to_server: Network<Vec<u8>>,
    to_ear: Network<(u32, Vec<u8>)>,
    emulated: bool,
    hung_up: Option<Moment>,
    /// How the other side ended the call.
    ended: Option<(Moment, String)>,
    told: bool,
}

impl SipLeg {
    /// Places a call; the answer comes as an event.
    ///
    /// # Errors
    /// Says which socket or address could not be had.
    pub fn place(
        to: SocketAddr,
        caller: &str,
        called: &str,
        network: Profile,
        mut dice: Dice,
        clock: RunClock,
    ) -> Result<Self, String> {
        let local = local_address(to).map_err(|e| format!("no way to {to}: {e}"))?;
        let socket = || StampedSocket::bind(SocketAddr::new(local, 0)).map_err(|e| format!("binding on {local}: {e}"));
        let (signalling, media) = (socket()?, socket()?);
        let ports = [&signalling, &media].map(|s| s.local().map_err(|e| e.to_string()));
        let [signalling_address, media_address] = ports;
        let flow = Flow { transport: Transport::Udp, local: signalling_address?, remote: to, connection: None };
        let sdp = offer(media_address?, dice.bits());
        let config = EndpointConfig {
            user_agent: "sim_call".into(),
            contact_user: caller.to_owned(),
            ..EndpointConfig::default()
        };
        let uri = |user: &str, host: SocketAddr| {
            UriBuf::parse(format!("sip:{user}@{host}")).map_err(|e| format!("sip:{user}@{host}: {e}"))
        };
        let invite = OutboundInvite {
            call: CALL,
            flow,
            target: uri(called, to)?,
            from: uri(caller, flow.local)?,
            from_display: None,
            sdp: sdp.clone(),
            headers: Vec::new(),
            credentials: None,
            replaces: None,
        };
        let mut leg = Self {
            signalling,
            media,
            endpoint: Endpoint::new(config, dice.bits()),
            flow,
            sdp,
            remote_media: None,
            sender: Sender::new(dice.bits()),
            to_server: Network::new(network, Dice::new(dice.bits(), 0, 1)),
            to_ear: Network::new(network, Dice::new(dice.bits(), 0, 2)),
            emulated: !network.is_clean(),
            hung_up: None,
            ended: None,
            told: false,
        };
        let now = clock.now();
        leg.endpoint.handle(Input::Command(Command::Invite(Box::new(invite))), now);
        leg.drain_endpoint(now, &mut Vec::new());
        Ok(leg)
    }

    fn read_signalling(&mut self, slot: Slot, events: &mut Vec<LegEvent>) {
        let mut buffer = [0u8; 8192];
        if let Some((length, at)) = self.signalling.receive(&mut buffer, slot.wall, slot.now) {
            let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            self.endpoint.handle(Input::Message { flow: self.flow, bytes }, at);
            self.drain_endpoint(at, events);
        }
    }

    fn read_media(&mut self, slot: Slot, events: &mut Vec<LegEvent>) {
        let mut buffer = [0u8; 2048];
        let Some((length, at)) = self.media.receive(&mut buffer, slot.wall, slot.now) else { return };
        let Some(packet) = rtp_wire::read(buffer.get(..length).unwrap_or_default()) else { return };
        let (sequence, stream, timestamp) = (Some(packet.sequence), packet.ssrc, packet.timestamp);
        events.push(LegEvent::Arrived(Arrival { at, sequence, stream, timestamp }));
        if packet.payload_type == PCMU {
            if self.emulated {
                events.push(LegEvent::Delivered { at, octets: packet.payload.to_vec() });
            }
            self.to_ear.push(at, (timestamp, packet.payload.to_vec()));
        }
    }

    fn drain_endpoint(&mut self, at: Moment, events: &mut Vec<LegEvent>) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => self.signalling.send(&bytes, flow.remote),
                Output::Event(Event::Answered { sdp, .. }) => self.on_answer(at, sdp, events),
                Output::Event(Event::Reinvite { .. }) => {
                    let answer = Command::AnswerReinvite { call: CALL, answer: Ok(self.sdp.clone()) };
                    self.endpoint.handle(Input::Command(answer), at);
                }
                Output::Event(Event::Ended { cause, .. }) if self.hung_up.is_none() => {
                    self.ended = Some((at, explain(cause)));
                }
                Output::Event(_) => {}
            }
        }
    }

    fn on_answer(&mut self, at: Moment, sdp: Option<Bytes>, events: &mut Vec<LegEvent>) {
        match read_answer(sdp.as_deref().unwrap_or_default(), self.flow.remote.ip()) {
            Ok(remote) => {
                self.remote_media = Some(remote);
                events.push(LegEvent::Answered(at));
            }
            Err(why) => {
                self.ended = Some((at, why));
                self.endpoint.handle(Input::Command(Command::Bye { call: CALL, reason: None }), at);
            }
        }
    }

    fn pump(&mut self, now: Moment) {
        while let Some((_, packet)) = self.to_server.pop(now) {
            if let Some(remote) = self.remote_media {
                self.media.send(&packet, remote);
            }
        }
    }

    /// After its own BYE a call lingers until that is answered and any late audio would have been seen.
    fn tell_end(&mut self, now: Moment, events: &mut Vec<LegEvent>) {
        if self.told {
            return;
        }
        if let Some((at, why)) = self.ended.take() {
            self.told = true;
            events.push(LegEvent::Ended { at, by_caller: false, why });
        } else if let Some(at) = self.hung_up {
            let quiet = now >= at + LINGER && self.endpoint.calls() == 0;
            let patience_over = now >= at + LONGEST_BYE;
            if quiet || patience_over {
                self.told = true;
                let why = if quiet { "hung up" } else { "BYE was not answered" };
                events.push(LegEvent::Ended { at: now, by_caller: quiet, why: why.into() });
            }
        }
    }
}

impl Leg for SipLeg {
    fn service(&mut self, slot: Slot, ready: Ready, events: &mut Vec<LegEvent>) {
        let now = slot.now;
        if ready.first {
            self.read_signalling(slot, events);
        }
        if ready.second {
            self.read_media(slot, events);
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle(Input::Timeout, now);
            self.drain_endpoint(now, events);
        }
        while let Some((at, (timestamp, octets))) = self.to_ear.pop(now) {
            events.push(LegEvent::Heard { at, timestamp: Some(timestamp), octets });
        }
        self.pump(now);
        self.tell_end(now, events);
    }

    fn due(&self) -> Option<Moment> {
        let end = self.hung_up.map(|at| at + LINGER).or(self.ended.as_ref().map(|ended| ended.0));
        [self.endpoint.poll_timeout(), self.to_ear.due(), self.to_server.due(), end].into_iter().flatten().min()
    }

    fn send(&mut self, now: Moment, octets: &[u8; FRAME]) {
        for packet in self.sender.frame(octets) {
            self.to_server.push(now, packet);
        }
        self.pump(now);
    }

    fn press(&mut self, _now: Moment, key: char) {
        self.sender.press(key);
    }

    fn hang_up(&mut self, now: Moment) {
        self.hung_up = Some(now);
        self.endpoint.handle(Input::Command(Command::Bye { call: CALL, reason: None }), now);
        self.drain_endpoint(now, &mut Vec::new());
    }

    fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.signalling.fd(), self.media.fd()]
    }
}

fn local_address(to: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let probe = UdpSocket::bind(SocketAddr::new(any, 0))?;
    probe.connect(to)?;
    Ok(probe.local_addr()?.ip())
}

/// An RFC 3264 offer of mu-law and telephone events, 20 ms.
fn offer(media: SocketAddr, session: u64) -> Bytes {
    let family = if media.is_ipv4() { "IP4" } else { "IP6" };
    let (session, ip, port) = (session >> 8, media.ip(), media.port());
    let lines = [
        "v=0".to_owned(),
        format!("o=sim {session} {session} IN {family} {ip}"),
        "s=sim_call".to_owned(),
        format!("c=IN {family} {ip}"),
        "t=0 0".to_owned(),
        format!("m=audio {port} RTP/AVP {PCMU} {EVENTS}"),
        format!("a=rtpmap:{PCMU} PCMU/8000"),
        format!("a=rtpmap:{EVENTS} telephone-event/8000"),
        format!("a=fmtp:{EVENTS} 0-15"),
        "a=ptime:20".to_owned(),
        // This phone reads no reports, and the port above its own may be another phone's.
        "a=rtcp:9".to_owned(),
        "a=sendrecv".to_owned(),
    ];
    Bytes::from(lines.join("\r\n") + "\r\n")
}

/// Where the answer wants the media. It must have taken mu-law, because that is all this phone has.
fn read_answer(sdp: &[u8], fallback: IpAddr) -> Result<SocketAddr, String> {
    let text = std::str::from_utf8(sdp).map_err(|_| "the SDP answer is not UTF-8")?;
    let media = text.lines().find_map(|l| l.strip_prefix("m=audio ")).ok_or("the SDP answer has no audio")?;
    let mut words = media.split_whitespace();
    let port = words
        .next()
        .and_then(|p| p.parse::<u16>().ok())
        .filter(|&p| p != 0)
        .ok_or("the SDP answer refuses the audio")?;
    if !words.skip(1).any(|format| format == "0") {
        return Err(format!("the SDP answer `m=audio {media}` has not taken mu-law (0)"));
    }
    let address = text.lines().filter_map(|l| l.strip_prefix("c=IN IP")).next_back();
    let ip = address.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(fallback);
    Ok(SocketAddr::new(ip, port))
}

fn explain(cause: EndCause) -> String {
    match cause {
        EndCause::RemoteBye => "the bot hung up".into(),
        EndCause::Rejected(status) => format!("the call was refused with {status}"),
        EndCause::TransactionTimeout | EndCause::NoAnswer => "the INVITE was not answered".into(),
        other => format!("the call was lost: {other:?}"),
    }
}

const CALL: CallHandle = CallHandle::outbound(1);
const LINGER: Duration = Duration::from_millis(300);
const LONGEST_BYE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_the_answer_wants_media() {
        let answer = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0 101\r\nc=IN IP4 10.0.0.2\r\n";
        assert_eq!(read_answer(answer, [127, 0, 0, 1].into()), Ok("10.0.0.2:4000".parse().unwrap()));
        let bare = b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(read_answer(bare, [127, 0, 0, 1].into()), Ok("127.0.0.1:4000".parse().unwrap()));
        let wrong = b"v=0\r\nm=audio 4000 RTP/AVP 8\r\n";
        assert!(read_answer(wrong, [127, 0, 0, 1].into()).unwrap_err().contains("mu-law"));
        let refused = b"v=0\r\nm=audio 0 RTP/AVP 0\r\n";
        assert!(read_answer(refused, [127, 0, 0, 1].into()).unwrap_err().contains("refuses"));
    }

    #[test]
    fn the_offer_names_the_media_socket() {
        let text = String::from_utf8(offer("127.0.0.1:4002".parse().unwrap(), 99).to_vec()).unwrap();
        assert!(text.contains("m=audio 4002 RTP/AVP 0 101\r\n") && text.contains("c=IN IP4 127.0.0.1\r\n"), "{text}");
    }
}
