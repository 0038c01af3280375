//! What an endpoint remembers of one call.

use super::digest::Proof;
use super::forks::Fork;
use super::io::{CallHandle, Flow};
use super::offer::{OurOffer, OwedAck};
use super::refer::{Referred, Referring};
use super::reliable::Reliable;
use super::session::Session;
use crate::dialog::Dialog;
use crate::message::{ExtraHeader, HeaderName, Message};
use bytes::Bytes;
use std::time::Duration;

pub(super) struct Call {
    /// The way of the last message from the other side; for outgoing calls, the way of the INVITE.
    pub(super) flow: Flow,
    /// `None` until an outgoing call is answered.
    pub(super) dialog: Option<Dialog>,
    /// Where an outgoing call rings; empty once it is answered.
    pub(super) forks: Vec<Fork>,
    pub(super) phase: Phase,
    /// Our 2xx that still lacks its ACK.
    pub(super) ack_wait: Option<AckWait>,
    /// Server transaction of a re-INVITE, UPDATE or PRACK the application has not answered.
    pub(super) their_offer: Option<u64>,
    pub(super) our_offer: Option<OurOffer>,
    pub(super) owed_ack: Option<OwedAck>,
    /// The INVITE that began the call carried the offer.
    pub(super) offered: bool,
    /// The session description we gave last.
    pub(super) local_sdp: Option<Bytes>,
    /// The session description they gave last.
    pub(super) remote_sdp: Option<Bytes>,
    pub(super) reliable: Option<Box<Reliable>>,
    pub(super) peer: Peer,
    pub(super) session: Option<Session>,
    /// The longest Min-SE that was heard, in seconds.
    pub(super) least_s: u32,
    /// How often a 422 has raised it.
    pub(super) raises: u8,
    /// The ACK to give again when the 2xx with this CSeq number comes again.
    pub(super) last_ack: Option<(u32, Flow, Bytes)>,
    pub(super) referring: Option<Referring>,
    pub(super) referred: Option<Referred>,
    /// The call that ends when this one is answered.
    pub(super) replaces: Option<CallHandle>,
    /// What challenges are answered with, in a call that we placed.
    pub(super) proof: Option<Box<Proof>>,
    /// The end was reported; the call only lives on to finish its exchanges.
    pub(super) ended: bool,
}

pub(super) enum Phase {
    /// Incoming, not answered. The INVITE's server transaction.
    Ringing {
        server: u64,
    },
    /// Outgoing, not answered. The INVITE's client transaction.
    Calling {
        client: u64,
        cancel: Cancel,
    },
    Established,
    /// To be ended by BYE once our 2xx is acknowledged: a callee may not hang up earlier (section 15).
    Leaving {
        reason: Option<ExtraHeader>,
    },
    /// BYE was sent.
    Ending,
}

/// How far the caller got with giving up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// No provisional answer yet, so CANCEL may not go out (section 9.1).
    Wanted,
    Sent,
}

pub(super) struct AckWait {
    pub(super) cseq: u32,
    pub(super) flow: Flow,
    pub(super) response: Bytes,
    pub(super) interval: Duration,
    /// The first 2xx of the call, as opposed to that of a re-INVITE.
    pub(super) initial: bool,
    /// It carries our offer, so the ACK owes the answer.
    pub(super) offered: bool,
}

/// What the other side is known to understand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    pub(super) update: bool,
    /// Reliable provisional answers, as its INVITE says.
    pub(super) reliable: bool,
    pub(super) requires_reliable: bool,
}

impl Peer {
    /// Notes what a message of the other side says of its methods.
    pub(super) fn read(&mut self, message: &Message) {
        if message.has(HeaderName::Allow) {
            self.update = message.tokens(HeaderName::Allow).any(|method| method == "UPDATE");
        }
    }

    pub(super) fn of_invite(invite: &Message) -> Self {
        let names = |name| invite.tokens(name).any(|option| option.eq_ignore_ascii_case("100rel"));
        let requires_reliable = names(HeaderName::Require);
        let mut peer =
            Self { reliable: requires_reliable || names(HeaderName::Supported), requires_reliable, update: false };
        peer.read(invite);
        peer
    }
}

impl Call {
    pub(super) fn new(flow: Flow, dialog: Option<Dialog>, phase: Phase) -> Self {
        Self {
            flow,
            dialog,
            forks: Vec::new(),
            phase,
            ack_wait: None,
            their_offer: None,
            our_offer: None,
            owed_ack: None,
            offered: true,
            local_sdp: None,
            remote_sdp: None,
            reliable: None,
            peer: Peer::default(),
            session: None,
            least_s: 0,
            raises: 0,
            last_ack: None,
            referring: None,
            referred: None,
            replaces: None,
            proof: None,
            ended: false,
        }
    }

    /// The dialog with this remote tag: the call's own, or an early one.
    pub(super) fn dialog_mut(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        let early = self.forks.iter_mut().map(|fork| &mut fork.dialog);
        self.dialog.iter_mut().chain(early).find(|dialog| dialog.remote_tag() == remote_tag)
    }

    /// The dialog requests go in: the call's own, or the only early one.
    pub(super) fn talking(&self) -> Option<&Dialog> {
        match self.forks.as_slice() {
            [fork] if self.dialog.is_none() => Some(&fork.dialog),
            _ => self.dialog.as_ref(),
        }
    }

    pub(super) fn talking_mut(&mut self) -> Option<&mut Dialog> {
        match self.forks.as_mut_slice() {
            [fork] if self.dialog.is_none() => Some(&mut fork.dialog),
            _ => self.dialog.as_mut(),
        }
    }

    /// True once the first offer is answered by a message that must have arrived, so that a new one may be made.
    pub(super) fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Ringing { .. } => self.reliable.as_ref().is_some_and(|reliable| reliable.settled),
            Phase::Calling { .. } => matches!(self.forks.as_slice(), [fork] if fork.settled),
            _ => true,
        }
    }

    /// True while an offer, on either side, has no answer yet or an ACK is missing.
    pub(super) fn is_negotiating(&self) -> bool {
        let offers = self.our_offer.is_some() || self.their_offer.is_some();
        offers || self.ack_wait.is_some() || self.owed_ack.is_some()
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Ringing { .. } | Phase::Calling { .. })
    }

    /// The way of a request within the dialog. An open connection is used as it is; otherwise the
    /// route or the target says where, unless it is an address that could only be meant for a
    /// network on the far side of a NAT.
    pub(super) fn way_of(&self, dialog: &Dialog) -> Flow {
        let hop = dialog.next_hop();
        let Some(hop) = hop.filter(|_| self.flow.connection.is_none()) else { return self.flow };
        let same_family = hop.is_ipv4() == self.flow.remote.is_ipv4();
        if same_family && reach(hop.ip()) >= reach(self.flow.remote.ip()) {
            return Flow { remote: hop, ..self.flow };
        }
        self.flow
    }
}

/// How far an address reaches: the host, the link, the site, the world.
fn reach(address: std::net::IpAddr) -> u8 {
    match address.to_canonical() {
        ip if ip.is_loopback() => 0,
        std::net::IpAddr::V4(v4) if v4.is_link_local() => 1,
        std::net::IpAddr::V6(v6) if v6.is_unicast_link_local() => 1,
        std::net::IpAddr::V4(v4) if v4.is_private() => 2,
        std::net::IpAddr::V6(v6) if v6.is_unique_local() => 2,
        _ => 3,
    }
}
