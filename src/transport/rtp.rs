//! The RTP leg: one UDP socket per call, drained and fed at the call's tick.
//!
//! No readiness is waited for: a packet that arrives between two ticks could only be answered at the next one anyway.
//! The kernel stamps arrivals, so that jitter and speech times are true although the socket is read once in 20 ms.
//! Under SRTP nothing is looked at, played or answered that does not authenticate.

mod reports;
mod socket;
mod source;
mod unheard;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::quality::{Conditions, Impairment, mos, r_factor};
use offhook_media::rtp::is_rtcp;
use offhook_media::srtp::{SrtpReceiver, SrtpSender, Suite};
use offhook_media::{FRAME, Frame};
use rand::RngExt;

use super::ports::RtpPort;
use super::signalling::{FromLeg, Signalling};
use crate::call::Moment;
use crate::call::leg::{HandOver, Leg, LegEvent, LegStats};
use crate::clock;
use crate::queue::Receiver;
use crate::store::record::EndReason;
use reports::{Identity, Reports};
use socket::Wall;
use source::{Head, Source};
use watch::Watch;

/// The media of a call, as an offer and its answer agreed on it.
#[derive(Debug)]
pub struct Turnabout {
    /// None while the far side takes no audio.
    pub remote: Option<SocketAddr>,
    /// Where the signalling comes from, when `remote` cannot be reached from here: packets from there are the caller's,
    /// and none are sent before they come.
    pub behind: Option<IpAddr>,
    /// Whether we may send: not while the far side holds the call.
    pub sends: bool,
    /// Whether audio is to come.
    pub receives: bool,
    pub inbound: InboundConfig,
    /// Its numbers count only at the beginning of the call.
    pub outbound: OutboundConfig,
    pub rtcp: RtcpPath,
    pub keys: Keys,
}

/// How RTCP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpPath {
    Off,
    /// On the RTP port.
    Mux,
    /// On the port above, to this address.
    Separate(Option<SocketAddr>),
}

/// What becomes of a leg's keys.
#[derive(Debug)]
pub enum Keys {
    /// Audio in the clear.
    Clear,
    /// As they were.
    Kept,
    /// The far side has another key; ours goes on.
    Theirs(Box<SrtpReceiver>),
    Both(Box<Secure>),
}

/// The two directions of an encrypted leg.
#[derive(Debug)]
pub struct Secure {
    pub suite: Suite,
    pub sender: SrtpSender,
    pub receiver: SrtpReceiver,
}

/// What the signalling tells a leg.
pub enum Order {
    /// A new offer and answer.
    TurnAbout(Box<Turnabout>),
    /// A key by SIP INFO: it meets those of the audio and of RTP events in one place.
    Key(Digit),
}

/// See the module's header.
pub struct RtpLeg {
    port: RtpPort,
    receiver: socket::Receiver,
    source: Source,
    secure: Option<Box<Secure>>,
    inbound: RtpInbound,
    inbound_config: InboundConfig,
    outbound: RtpOutbound,
    reports: Reports,
    watch: Watch,
    orders: Receiver<Order>,
    sends: bool,
    receives: bool,
    /// When the caller's last packet came.
    last_packet: Moment,
    /// Receiver reports of the far side that the encoder knows of.
    reports_told: u64,
    signalling: Signalling,
    call: u64,
    /// What found the inbox of the signalling full.
    untold: Option<FromLeg>,
    /// The caller hears us before the answer; most send nothing yet.
    early: bool,
    sent: u64,
    strangers: u64,
}

impl RtpLeg {
    /// `agreed` is what the first offer and answer agreed on; `call` is the signalling's own name of the call.
    ///
    /// # Errors
    /// When the kernel does not stamp arrivals.
    pub fn new(
        port: RtpPort,
        agreed: Turnabout,
        orders: Receiver<Order>,
        signalling: Signalling,
        call: u64,
    ) -> std::io::Result<Self> {
        socket::stamp_arrivals(&port.socket)?;
        let mut random = rand::rng();
        let identity = Identity { ssrc: agreed.outbound.ssrc, cname: random.random(), spread: random.random() };
        let reports = Reports::new(&identity, agreed.inbound.codec.clock_hz(), Wall::sample().at_zero(), clock::now());
        let mut leg = Self {
            receiver: socket::Receiver::new(),
            source: Source::new(agreed.remote, agreed.behind),
            secure: None,
            inbound: RtpInbound::new(agreed.inbound),
            inbound_config: agreed.inbound,
            outbound: RtpOutbound::new(agreed.outbound),
            reports,
            watch: Watch::default(),
            orders,
            sends: agreed.sends,
            receives: agreed.receives,
            last_packet: Moment::ZERO,
            reports_told: 0,
            signalling,
            call,
            untold: None,
            early: false,
            sent: 0,
            strangers: 0,
            port,
        };
        leg.reports.agree(agreed.rtcp, agreed.inbound.codec.clock_hz(), &leg.port);
        leg.take_keys(agreed.keys);
        Ok(leg)
    }

    /// The call is not answered before [`Leg::answer`].
    pub const fn waits_with_the_answer(&mut self) {
        self.early = true;
    }

    /// Of two things that find the inbox full the later one counts.
    fn tell(&mut self, message: FromLeg) {
        if !self.signalling.ask(message.clone()) {
            self.untold = Some(message);
        }
    }

    fn turn_about(&mut self, change: Turnabout) {
        self.source.offer_again(change.remote, change.behind);
        (self.sends, self.receives) = (change.sends, change.receives);
        self.inbound.reconfigure(change.inbound);
        self.inbound_config = change.inbound;
        self.outbound.reconfigure(change.outbound);
        self.reports.agree(change.rtcp, change.inbound.codec.clock_hz(), &self.port);
        self.take_keys(change.keys);
    }

    fn take_keys(&mut self, keys: Keys) {
        match keys {
            Keys::Clear => self.secure = None,
            Keys::Kept => {}
            Keys::Theirs(receiver) => {
                if let Some(secure) = &mut self.secure {
                    secure.receiver = *receiver;
                }
            }
            Keys::Both(secure) => self.secure = Some(secure),
        }
    }

    /// Takes packets until none is left, or the newest is so fresh that none can be behind it.
    fn receive(&mut self, now: Moment) {
        let mut datagram = [0; MAX_DATAGRAM];
        let wall = Wall::sample();
        let mut packets = 0;
        for _ in 0..MOST_DATAGRAMS {
            let Some(received) = self.receiver.receive(&self.port.socket, &mut datagram) else { return };
            let arrival = received.stamp.map_or(now, |stamp| wall.monotonic(stamp).min(now));
            let datagram = datagram.get_mut(..received.length).unwrap_or_default();
            if !self.take(datagram, received.from, arrival) {
                continue;
            }
            packets += 1;
            if packets == MOST_PACKETS || now.saturating_sub(arrival) < FRESH {
                return;
            }
        }
    }

    /// Whether a datagram was the caller's.
    fn take(&mut self, datagram: &mut [u8], from: SocketAddr, arrival: Moment) -> bool {
        if is_rtcp(datagram) {
            let known = self.source.remote().is_some_and(|remote| remote.ip() == from.ip());
            if known || self.secure.is_some() {
                self.reports.shared(datagram, self.secure.as_deref_mut(), arrival);
            }
            return known;
        }
        let length = match &mut self.secure {
            // What does not authenticate is counted there, and is nobody's.
            Some(secure) => match secure.receiver.unprotect(datagram) {
                Ok(length) => length,
                Err(_) => return false,
            },
            None => datagram.len(),
        };
        let packet = datagram.get(..length).unwrap_or_default();
        let Some(head) = Head::read(packet) else {
            // Of the caller it is malformed, and counted as that; of anybody else it is nothing.
            let known = self.source.remote() == Some(from);
            if known {
                let _ = self.inbound.packet(packet, arrival);
            } else {
                self.strangers += 1;
            }
            return known;
        };
        if self.secure.is_some() {
            self.source.authenticated(from, head, arrival);
        } else if !self.source.accepts(from, head, arrival) {
            self.strangers += 1;
            self.watch.stranger(from);
            return false;
        }
        self.last_packet = arrival;
        self.note(head, arrival);
        // What is malformed or not ours is counted by the inbound side.
        let _ = self.inbound.packet(packet, arrival);
        true
    }

    fn note(&mut self, head: Head, arrival: Moment) {
        let timed = head.payload_type == self.inbound_config.payload_type;
        let events = Some(head.payload_type) == self.inbound_config.dtmf_payload_type;
        let noise = Some(head.payload_type) == self.inbound_config.comfort_noise_payload_type;
        if timed || events || noise {
            self.reports.meter().note(head.ssrc, head.sequence, head.timestamp, arrival, timed);
            self.watch.heard();
        } else {
            self.watch.other_payload(head.payload_type);
        }
    }

    /// A report says what the far side missed: what comes next is protected as much.
    fn mind_their_losses(&mut self) {
        let view = self.reports.their_view();
        if std::mem::replace(&mut self.reports_told, view.reports) != view.reports {
            self.outbound.far_side_missed(view.loss_percent);
        }
    }

    fn transmit(&mut self, packet: &mut [u8], length: usize, remote: SocketAddr) {
        let sealed = self.secure.as_mut().map_or(Ok(length), |secure| secure.sender.protect(packet, length));
        let Some(packet) = sealed.ok().and_then(|length| packet.get(..length)) else { return };
        let sent = self.port.socket.send_to(packet, remote);
        self.sent += u64::from(sent.is_ok());
    }

    /// How the call sounds to us, by the E-model; `None` before anything was heard.
    fn rating(&self) -> Option<f64> {
        let jitter = self.inbound.stats().jitter;
        let expected = jitter.received + jitter.lost;
        let missed = (jitter.lost + jitter.late).min(expected);
        let one_way = self.reports.their_view().round_trip.unwrap_or_default() / 2;
        (jitter.received > 0).then(|| {
            r_factor(&Conditions {
                impairment: Impairment::CONCEALED,
                loss_percent: missed as f64 * 100.0 / expected as f64,
                burst_ratio: self.reports.reception().burst_ratio.into(),
                delay_ms: one_way.as_secs_f64() * 1000.0
                    + f64::from(jitter.delay_ms)
                    + f64::from(self.inbound_config.ptime_ms),
            })
        })
    }
}

impl Leg for RtpLeg {
    fn drain(&mut self, now: Moment, sink: &mut dyn FnMut(LegEvent<'_>)) {
        while let Some(order) = self.orders.try_recv() {
            match order {
                Order::TurnAbout(change) => self.turn_about(*change),
                Order::Key(digit) => self.inbound.info(digit, now),
            }
        }
        if let Some(message) = self.untold.take() {
            self.tell(message);
        }
        self.receive(now);
        self.reports.poll(
            &self.port.socket,
            self.source.remote(),
            self.secure.as_deref_mut(),
            &self.outbound,
            &mut self.receiver,
            now,
        );
        self.mind_their_losses();
        self.inbound.tick(now);
        let mut frame: Frame = [0; FRAME];
        // Many telephones send nothing while they hold the call, or after they announced silence: that is no reason to
        // take them for gone.
        let there = !self.sends
            || self.inbound.silence_announced()
            || now.saturating_sub(self.last_packet) < STANDS_FOR_SILENCE;
        let mut tapped = false;
        while let Some(arrival) = self.inbound.tap(&mut frame) {
            tapped = true;
            if there {
                sink(LegEvent::Tap { frame: &frame, arrival });
            }
        }
        if !tapped && !self.sends {
            sink(LegEvent::Tap { frame: &SILENCE, arrival: now });
        }
        while let Some(digit) = self.inbound.digit() {
            sink(LegEvent::Digit(digit));
        }
        let kind = self.inbound.pull(now, &mut frame);
        sink(LegEvent::Heard { frame: &frame, kind });
        let unauthentic = self.secure.as_ref().map_or(0, |secure| secure.receiver.stats().dropped());
        let line = watch::Line {
            expected: self.source.offered(),
            port: self.port.number(),
            codec: self.inbound_config.codec.name(),
            payload_type: self.inbound_config.payload_type,
            strangers: self.strangers,
            unauthentic,
        };
        if let Some(no_audio) = self.watch.check(self.receives && !self.early, &line, now) {
            sink(LegEvent::NoAudio(&no_audio));
        }
    }

    fn wants(&self, _now: Moment) -> usize {
        1
    }

    fn send(&mut self, frame: Option<&Frame>, _now: Moment) {
        let Some(remote) = self.source.remote().filter(|_| self.sends) else { return self.outbound.skip() };
        self.outbound.frame(frame.unwrap_or(&SILENCE));
        let mut packet = DATAGRAM;
        while let Some(length) = self.outbound.poll(&mut packet) {
            self.transmit(&mut packet, length, remote);
        }
    }

    fn clear(&mut self, _now: Moment) -> Duration {
        // What was sent cannot be called back; there is at most the far side's jitter buffer of it.
        Duration::ZERO
    }

    fn unheard(&self, _now: Moment) -> Duration {
        unheard::unheard(&self.reports.their_view(), self.inbound_config.codec.clock_hz())
    }

    fn transfer(&mut self, over: &HandOver) -> bool {
        let call = self.call;
        self.signalling.ask(match over {
            HandOver::Refer { to } => FromLeg::Refer { call, to: Arc::clone(to) },
            HandOver::Join { target } => FromLeg::Join { call, target: *target },
        })
    }

    fn answer(&mut self) {
        self.early = false;
        self.tell(FromLeg::Answer(self.call));
    }

    fn hold(&mut self, on: bool) {
        self.tell(FromLeg::Hold { call: self.call, on });
    }

    fn hang_up(&mut self, _reason: &EndReason) {
        let (remote, secure) = (self.source.remote(), self.secure.as_deref_mut());
        self.reports.farewell(&self.port.socket, remote, secure, &self.outbound, clock::now());
        self.signalling.hang_up(self.call);
    }

    fn stats(&self) -> LegStats {
        let stats = self.inbound.stats();
        let (view, rating) = (self.reports.their_view(), self.rating());
        let expected = stats.jitter.received + stats.jitter.lost;
        LegStats {
            frames_sent: self.sent,
            frames_received: stats.jitter.received,
            packets_lost: stats.jitter.lost,
            concealed_ms: stats.jitter.concealed_ms,
            jitter_ms: f64::from(stats.jitter.jitter_ms),
            strange_packets: self.strangers + self.reports.strangers(),
            malformed_packets: stats.malformed,
            malformed_reports: self.reports.malformed(),
            unauthentic_packets: self.secure.as_ref().map_or(0, |secure| secure.receiver.stats().dropped()),
            loss_percent: (expected > 0).then(|| stats.jitter.lost as f64 * 100.0 / expected as f64),
            far_loss_percent: (view.reports > 0).then(|| f64::from(view.lost) * 100.0 / self.sent.max(1) as f64),
            round_trip_ms: view.round_trip.map(|taken| taken.as_secs_f64() * 1000.0),
            r_factor: rating,
            mos: rating.map(mos),
            codec: Some(self.inbound_config.codec.name()),
            srtp: self.secure.as_ref().map(|secure| secure.suite.name()),
        }
    }
}

/// Larger than any Ethernet frame's UDP payload that a telephone sends.
const MAX_DATAGRAM: usize = 1500;

/// The caller's packets taken in one tick; a flood waits in the kernel's bounded buffer and is dropped there.
const MOST_PACKETS: usize = 8;

/// Behind a packet that arrived this recently there is no other one at ptime 20, unless the network bunches them: then
/// the other one is older than this at the next tick, and everything behind it is taken with it.
const FRESH: Duration = Duration::from_millis(15);

/// Datagrams looked at in one tick: strangers' cost little, and must not make the caller's wait behind them.
const MOST_DATAGRAMS: usize = 64;

/// A line that sends nothing is silent, until this long after its last packet: then it may be gone. Longer than any
/// pause that ends a turn.
const STANDS_FOR_SILENCE: Duration = Duration::from_secs(2);

const SILENCE: Frame = [0; FRAME];
