//! What an endpoint remembers of one call.

use super::forks::Fork;
use super::io::{CallHandle, Flow};
use super::refer::{Referred, Referring};
use crate::dialog::Dialog;
use crate::message::ExtraHeader;
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
    /// Server transaction of a re-INVITE or UPDATE the application has not answered.
    pub(super) their_offer: Option<u64>,
    /// Our re-INVITE that was not answered finally.
    pub(super) our_offer: Option<OurOffer>,
    /// The ACK to give again when the 2xx with this CSeq number comes again.
    pub(super) last_ack: Option<(u32, Flow, Bytes)>,
    pub(super) referring: Option<Referring>,
    pub(super) referred: Option<Referred>,
    /// The call that ends when this one is answered.
    pub(super) replaces: Option<CallHandle>,
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
}

pub(super) struct OurOffer {
    pub(super) sdp: Bytes,
    /// Its client transaction; `None` while it waits to be tried again after glare.
    pub(super) client: Option<u64>,
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
            last_ack: None,
            referring: None,
            referred: None,
            replaces: None,
            ended: false,
        }
    }

    /// The dialog with this remote tag: the call's own, or an early one.
    pub(super) fn dialog_mut(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        let early = self.forks.iter_mut().map(|fork| &mut fork.dialog);
        self.dialog.iter_mut().chain(early).find(|dialog| dialog.remote_tag() == remote_tag)
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Ringing { .. } | Phase::Calling { .. })
    }

    /// The way of a request within the dialog. An open connection is used as it is; otherwise the
    /// route or the target says where, unless it is an address that could only be meant for a
    /// network on the far side of a NAT.
    pub(super) fn way(&self) -> Flow {
        let hop = self.dialog.as_ref().and_then(Dialog::next_hop);
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
