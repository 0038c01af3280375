//! The transaction layer of RFC 3261 section 17 with the corrections of RFC 6026.
//!
//! Each machine is a value in its own file: events in, [`Effects`] out. Deliberately absent: tables,
//! matching and addresses, which the endpoint keeps.

mod invite_client;
mod invite_server;
mod noninvite_client;
mod noninvite_server;

pub(crate) use invite_client::InviteClient;
pub(crate) use invite_server::InviteServer;
pub(crate) use noninvite_client::NonInviteClient;
pub(crate) use noninvite_server::NonInviteServer;

use bytes::Bytes;
use std::time::Duration;

/// The base intervals of RFC 3261 section 17.1.1.1 and table 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Estimate of the round trip (500 ms).
    pub t1: Duration,
    /// Longest interval between retransmissions (4 s).
    pub t2: Duration,
    /// How long a message may stay in the network (5 s).
    pub t4: Duration,
}

impl Timings {
    /// 64 times T1: how long an unanswered transaction lasts.
    pub fn lifetime(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    pub(crate) fn doubled(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).min(self.t2)
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// Everything that waits for time. Letters are those of RFC 3261 table 4 and RFC 6026.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// When to send an unanswered INVITE again (T1, doubling).
    A,
    /// When to give up on an INVITE that nobody answered (64*T1).
    B,
    /// When to forget a refused INVITE whose refusal may still be repeated (64*T1, at least 32 s).
    D,
    /// When to send an unanswered request other than INVITE again (T1, doubling to T2).
    E,
    /// When to give up on a request other than INVITE (64*T1).
    F,
    /// When to send a refusal of an INVITE again (T1, doubling to T2).
    G,
    /// When to stop waiting for the ACK of a refusal (64*T1).
    H,
    /// When to stop absorbing repeated ACKs of a refusal (T4).
    I,
    /// When to stop answering repetitions of a request other than INVITE (64*T1).
    J,
    /// When to stop absorbing repeated answers to a request other than INVITE (T4).
    K,
    /// When to stop absorbing repetitions of an accepted INVITE (64*T1).
    L,
    /// When to stop passing on 2xx answers of an accepted INVITE (64*T1).
    M,
    /// When to send the 2xx of an INVITE again (T1, doubling to T2; section 13.3.1.4).
    RepeatOk,
    /// When to end a call whose 2xx was never acknowledged (64*T1; section 13.3.1.4).
    AwaitAck,
    /// When to end a call that nobody answers (timer C of section 16.6 in a user agent's role).
    Ring,
    /// When to stop waiting for the answer to a cancelled INVITE (64*T1; section 9.1).
    Cancelled,
    /// When to refuse an offer that the application leaves unanswered (re-INVITE: 64*T1, UPDATE and PRACK: 32*T1).
    TheirOffer,
    /// When to give up on a re-INVITE of ours that got no final answer (64*T1).
    OurOffer,
    /// When to try a re-INVITE again that met one of the other side (section 14.1).
    Glare,
    /// When to refuse a transfer that the application leaves unanswered (32*T1).
    TheirRefer,
    /// When to send a reliable provisional answer again (T1, doubling; RFC 3262 section 3).
    RepeatProvisional,
    /// When to refuse an INVITE whose reliable provisional answer was never acknowledged (64*T1).
    AwaitPrack,
    /// When to end a call whose 2xx carried an offer that the application leaves unanswered (32*T1).
    OwedAck,
    /// When to refresh the session (half its interval; RFC 4028 section 10), or a registration.
    Refresh,
    /// When to end a session that was not refreshed (a third of the interval early, at most 32 s).
    SessionExpiry,
    /// When to give up telling about a transfer that we were asked for (the ring limit).
    Referral,
    /// When to give up on a transfer that nothing is heard of (64*T1, then as long as its subscription lasts).
    Notified,
}

impl Timer {
    pub(crate) const FIRST: Self = Self::A;
    pub(crate) const LAST: Self = Self::Notified;
}

/// What a machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Transmit(Bytes),
    /// Start the timer anew.
    Start(Timer, Duration),
    Stop(Timer),
    /// The response at hand is news for the transaction user.
    Deliver,
    /// Nobody answered in time.
    TimedOut,
    /// The transaction is over and may be forgotten.
    Terminated,
}

/// Collects what machines want done.
#[derive(Default)]
pub(crate) struct Effects(pub(crate) Vec<Effect>);

impl Effects {
    pub(crate) fn transmit(&mut self, bytes: &Bytes) {
        self.0.push(Effect::Transmit(bytes.clone()));
    }

    pub(crate) fn start(&mut self, timer: Timer, after: Duration) {
        self.0.push(Effect::Start(timer, after));
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0.push(Effect::Stop(timer));
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }
}

/// What both client machines answer to.
pub(crate) enum ClientMachine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

/// What both server machines answer to.
pub(crate) enum ServerMachine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl ServerMachine {
    pub(crate) fn on_request(&mut self, effects: &mut Effects) {
        match self {
            Self::Invite(machine) => machine.on_invite(effects),
            Self::NonInvite(machine) => machine.on_request(effects),
        }
    }

    pub(crate) fn respond(&mut self, status: u16, bytes: &Bytes, effects: &mut Effects) {
        match self {
            Self::Invite(machine) => machine.respond(status, bytes, effects),
            Self::NonInvite(machine) => machine.respond(status, bytes, effects),
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match self {
            Self::Invite(machine) => machine.on_timer(timer, effects),
            Self::NonInvite(machine) => machine.on_timer(timer, effects),
        }
    }
}

impl ClientMachine {
    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match self {
            Self::Invite(machine) => machine.on_timer(timer, effects),
            Self::NonInvite(machine) => machine.on_timer(timer, effects),
        }
    }
}
