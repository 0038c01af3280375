//! What any leg can say and be told. A transport implements [`Leg`]; a call knows nothing else of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::Frame;
use offhook_media::dtmf::Digit;
use offhook_media::inbound::FrameKind;

use super::Moment;
use crate::store::record::{CallId, EndReason};

/// What a leg hears, in the order in which it arrived.
#[derive(Debug)]
pub enum LegEvent<'a> {
    /// 20 ms of audio as it arrived, ahead of any play-out buffer: what speech detection works on.
    Tap { frame: &'a Frame, arrival: Moment },
    /// 20 ms of audio in order and at an even pace: what recognition and recording work on.
    Heard { frame: &'a Frame, kind: FrameKind },
    /// One key, reported once.
    Digit(Digit),
    /// Nothing has been heard for two seconds although audio was agreed; told once.
    NoAudio(&'a NoAudio),
    /// The far side ended the call, or the transport under it was lost.
    HungUp(EndReason),
}

/// Why a call is silent, as far as its leg can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAudio {
    /// Where audio should come from, as the far side's description says.
    pub expected: Option<SocketAddr>,
    /// Our port.
    pub port: u16,
    pub codec: &'static str,
    pub payload_type: u8,
    pub cause: NoAudioCause,
}

/// What came in place of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAudioCause {
    /// No packet at all: blocked on the way, or sent to another address.
    Nothing,
    /// Packets, but from somebody else.
    OtherAddress { from: SocketAddr, packets: u64 },
    /// Packets that the agreed key does not open.
    WrongKey { packets: u64 },
    /// Packets of a codec that was not agreed.
    OtherCodec { payload_type: u8 },
}

impl NoAudioCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::OtherAddress { .. } => "other_address",
            Self::WrongKey { .. } => "wrong_key",
            Self::OtherCodec { .. } => "other_codec",
        }
    }
}

impl fmt::Display for NoAudio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, codec, payload_type, .. } = self;
        write!(f, "no audio for 2 s on port {port}, {codec} as payload type {payload_type}, expected from ")?;
        match self.expected {
            Some(expected) => write!(f, "{expected}: ")?,
            None => f.write_str("nowhere in particular: ")?,
        }
        match self.cause {
            NoAudioCause::Nothing => f.write_str("no packet came"),
            NoAudioCause::OtherAddress { from, packets } => write!(f, "{packets} packets came from {from} instead"),
            NoAudioCause::WrongKey { packets } => write!(f, "{packets} packets came that the key does not open"),
            NoAudioCause::OtherCodec { payload_type } => write!(f, "packets of payload type {payload_type} came"),
        }
    }
}

/// Figures of a leg so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LegStats {
    pub frames_sent: u64,
    pub frames_received: u64,
    pub packets_lost: u64,
    pub concealed_ms: u64,
    /// RFC 3550 interarrival jitter, ms.
    pub jitter_ms: f64,
    /// Packets from an address that is not the caller's; dropped.
    pub strange_packets: u64,
    /// Packets that could not be read; dropped.
    pub malformed_packets: u64,
    /// RTCP that could not be read; dropped.
    pub malformed_reports: u64,
    /// Packets that no key opens, or that came twice; dropped.
    pub unauthentic_packets: u64,
    /// Of the packets that should have come, percent.
    pub loss_percent: Option<f64>,
    /// Of ours, as the far side reports it, percent.
    pub far_loss_percent: Option<f64>,
    /// By the far side's reports, ms.
    pub round_trip_ms: Option<f64>,
    /// What we hear, by the E-model (ITU-T G.107).
    pub r_factor: Option<f64>,
    /// Mean opinion score of the same, 1.0 to 4.5.
    pub mos: Option<f64>,
    pub codec: Option<&'static str>,
    /// The crypto suite of an encrypted leg.
    pub srtp: Option<&'static str>,
}

/// What a leg has sent that has not been heard: see [`Leg::unheard`] and [`Leg::ahead`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    pub unheard: Duration,
    pub ahead: Duration,
}

/// How the far side of a leg is asked to leave us for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// Call this number or SIP address.
    Refer { to: Arc<str> },
    /// Take our place in this call of ours.
    Join { target: CallId },
}

/// One side of a call. Owned by the call's actor, driven at the call's 20 ms tick; never waits.
pub trait Leg: Send {
    /// Hands over everything that has arrived.
    fn drain(&mut self, now: Moment, sink: &mut dyn FnMut(LegEvent<'_>));

    /// How many frames the leg takes at this tick: 1 at an even pace, more while a far play-out buffer is filled.
    fn wants(&self, now: Moment) -> usize;

    /// Sends 20 ms; `None` when there is nothing to say.
    fn send(&mut self, frame: Option<&Frame>, now: Moment);

    /// The caller broke in: what was sent but not yet heard shall not be heard. Gives how much of it will not be, at the
    /// end of what was sent; nothing where what was sent cannot be called back.
    fn clear(&mut self, now: Moment) -> Duration;

    /// Audio sent but not yet heard by the caller.
    fn unheard(&self, now: Moment) -> Duration;

    /// How much later than now the far side plays what is sent now because it holds a lead in hand; its network and its
    /// own jitter buffer left out. Nothing on legs that send at an even pace.
    fn ahead(&self, _now: Moment) -> Duration {
        Duration::ZERO
    }

    /// What is in flight now.
    fn in_flight(&self, now: Moment) -> InFlight {
        InFlight { unheard: self.unheard(now), ahead: self.ahead(now) }
    }

    /// Asks the far side to leave us for somebody else. What becomes of it comes back as a
    /// [`super::transfer::TransferEvent`] from the signalling beside the leg. `false`: calls of this kind cannot be
    /// handed over.
    fn transfer(&mut self, _over: &HandOver) -> bool {
        false
    }

    /// Takes a call that has not been answered: only legs that are told to wait with their answer are asked.
    fn answer(&mut self) {}

    /// We have the far side wait, or take it back: it is told which audio is worth sending. Where it cannot be told,
    /// nothing happens.
    fn hold(&mut self, _on: bool) {}

    /// Ends the call at this side.
    fn hang_up(&mut self, reason: &EndReason);

    fn stats(&self) -> LegStats;
}
