//! RTCP beside a leg's audio: on the RTP port or on the one above it, read a few times a second and written every few
//! seconds.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use offhook_media::outbound::RtpOutbound;
use offhook_media::rtcp::{Cname, MOST_REPORT, Reception, ReceptionMeter, RtcpSession, Sent, TheirView};
use offhook_media::srtp::MOST_GROWTH;

use super::socket::Receiver;
use super::{RtcpPath, Secure};
use crate::call::Moment;
use crate::transport::ports::RtpPort;

/// See the module's header.
pub(super) struct Reports {
    session: RtcpSession,
    meter: ReceptionMeter,
    path: Path,
    /// Where the description says that theirs are taken.
    offered: Option<SocketAddr>,
    /// Where theirs came from.
    heard_from: Option<SocketAddr>,
    look_at: Moment,
    /// Packets of audio sent by the time of the report before.
    told: u64,
    malformed: u64,
    /// Datagrams on the RTCP port from a host that is not the caller's.
    strangers: u64,
}

/// Who a source is in reports, by chance.
pub(super) struct Identity {
    pub ssrc: u32,
    pub cname: u128,
    pub spread: u64,
}

impl Reports {
    /// `wall` is the wall clock at moment zero.
    pub(super) fn new(identity: &Identity, clock_hz: u32, wall: Duration, now: Moment) -> Self {
        let cname = Cname::new(identity.cname);
        Self {
            session: RtcpSession::new(identity.ssrc, cname, wall, identity.spread, now),
            meter: ReceptionMeter::new(clock_hz),
            path: Path::Off,
            offered: None,
            heard_from: None,
            look_at: now,
            told: 0,
            malformed: 0,
            strangers: 0,
        }
    }

    /// Takes what a description says; without a free port above there are no reports on it.
    pub(super) fn agree(&mut self, path: RtcpPath, clock_hz: u32, port: &RtpPort) {
        self.meter.set_clock(clock_hz);
        let offered = match path {
            RtcpPath::Off => None,
            RtcpPath::Mux => {
                self.path = Path::Mux;
                return;
            }
            RtcpPath::Separate(offered) => offered,
        };
        if offered != self.offered {
            (self.offered, self.heard_from) = (offered, None);
        }
        match (path, &self.path) {
            (RtcpPath::Separate(_), Path::Own(_)) => {}
            (RtcpPath::Separate(_), _) => self.path = port.bind_rtcp().map_or(Path::Off, Path::Own),
            _ => self.path = Path::Off,
        }
    }

    /// The meter of what is heard.
    pub(super) const fn meter(&mut self) -> &mut ReceptionMeter {
        &mut self.meter
    }

    /// Takes a datagram of the shared port that is RTCP by its looks and came from the caller's address.
    pub(super) fn shared(&mut self, datagram: &mut [u8], secure: Option<&mut Secure>, now: Moment) {
        if matches!(self.path, Path::Mux) {
            self.take(datagram, secure, now);
        }
    }

    /// Reads what has come and writes what is due. `remote` is where audio goes.
    pub(super) fn poll(
        &mut self,
        audio: &UdpSocket,
        remote: Option<SocketAddr>,
        mut secure: Option<&mut Secure>,
        outbound: &RtpOutbound,
        receiver: &mut Receiver,
        now: Moment,
    ) {
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.look(remote.map(|remote| remote.ip()), secure.as_deref_mut(), receiver, now);
        }
        if !self.session.is_due(now) {
            return;
        }
        let mut room = [0; MOST_REPORT + MOST_GROWTH];
        let sent = self.sent(outbound);
        let length = self.session.report(now, &sent, &mut self.meter, &mut room);
        self.send(&mut room, length, audio, remote, secure);
    }

    /// Says goodbye.
    pub(super) fn farewell(
        &mut self,
        audio: &UdpSocket,
        remote: Option<SocketAddr>,
        secure: Option<&mut Secure>,
        outbound: &RtpOutbound,
        now: Moment,
    ) {
        let mut room = [0; MOST_REPORT + MOST_GROWTH];
        let sent = self.sent(outbound);
        let length = self.session.farewell(now, &sent, &mut self.meter, &mut room);
        self.send(&mut room, length, audio, remote, secure);
    }

    pub(super) const fn their_view(&self) -> TheirView {
        self.session.their_view()
    }

    pub(super) fn reception(&self) -> Reception {
        self.meter.so_far()
    }

    pub(super) const fn malformed(&self) -> u64 {
        self.malformed
    }

    pub(super) const fn strangers(&self) -> u64 {
        self.strangers
    }

    fn look(&mut self, caller: Option<IpAddr>, mut secure: Option<&mut Secure>, receiver: &mut Receiver, now: Moment) {
        let mut datagram = [0; MAX_DATAGRAM];
        for _ in 0..MOST_DATAGRAMS {
            let Path::Own(socket) = &self.path else { return };
            let Some(received) = receiver.receive(socket, &mut datagram) else { return };
            let host = Some(received.from.ip());
            if host != caller && host != self.offered.map(|offered| offered.ip()) {
                self.strangers += 1;
                continue;
            }
            let datagram = datagram.get_mut(..received.length).unwrap_or_default();
            if self.take(datagram, secure.as_deref_mut(), now) {
                self.heard_from = Some(received.from);
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8], secure: Option<&mut Secure>, now: Moment) -> bool {
        let length = match secure {
            // What does not authenticate is counted there.
            Some(secure) => match secure.receiver.unprotect_rtcp(datagram) {
                Ok(length) => length,
                Err(_) => return false,
            },
            None => datagram.len(),
        };
        let read = self.session.take(datagram.get(..length).unwrap_or_default(), now).is_ok();
        self.malformed += u64::from(!read);
        read
    }

    fn sent(&mut self, outbound: &RtpOutbound) -> Sent {
        let (packets, octets) = outbound.sent_so_far();
        let active = core::mem::replace(&mut self.told, packets) != packets;
        Sent { packets, octets, timestamp: outbound.timestamp(), active }
    }

    fn send(
        &self,
        room: &mut [u8],
        length: usize,
        audio: &UdpSocket,
        remote: Option<SocketAddr>,
        secure: Option<&mut Secure>,
    ) {
        let to = match &self.path {
            Path::Off => None,
            Path::Mux => remote,
            // Where the caller stands behind NAT, the offered port means nothing until a report of theirs has come.
            Path::Own(_) => {
                self.heard_from.or(self.offered.filter(|offered| Some(offered.ip()) == remote.map(|r| r.ip())))
            }
        };
        let Some(to) = to else { return };
        let sealed = secure.map_or(Ok(length), |secure| secure.sender.protect_rtcp(room, length));
        let Some(datagram) = sealed.ok().and_then(|length| room.get(..length)) else { return };
        let socket = if let Path::Own(socket) = &self.path { socket } else { audio };
        // A report that is lost is like one that was never sent.
        let _ = socket.send_to(datagram, to);
    }
}

enum Path {
    Off,
    Mux,
    Own(UdpSocket),
}

/// Reports come every few seconds, and a round trip is told in tens of milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Datagrams taken in one look.
const MOST_DATAGRAMS: usize = 4;

const MAX_DATAGRAM: usize = 1500;
