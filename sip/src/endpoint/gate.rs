//! What strangers hear: asks the guard about requests that belong to no dialog or transaction yet, and keeps answers
//! small, so that nobody can use us to multiply packets with a forged source.

use super::Endpoint;
use super::io::{CallHandle, Flow, Transport};
use super::screen::Refusal;
use crate::guard::{GuardCounts, Verdict};
use crate::message::{HeaderName, Message, Method};
use bytes::Bytes;

impl Endpoint {
    /// What the guard refused, and whom it remembers.
    pub fn guard_counts(&self) -> GuardCounts {
        self.guard.counts()
    }

    /// Whether a request outside every known dialog and transaction is served; where not, all is said.
    pub(super) fn passes_gate(&mut self, flow: &Flow, message: &Message, method: &Method) -> bool {
        let agent = message.text(HeaderName::UserAgent);
        match self.guard.check(flow.remote.ip(), method, agent.as_deref(), self.now) {
            Verdict::Pass => return true,
            Verdict::Refuse(status) => self.refuse(flow, message, Refusal::bare(status)),
            Verdict::Silence => {}
        }
        false
    }

    /// Whether the sender of a malformed message is told so.
    pub(super) fn may_complain(&mut self, flow: &Flow, bytes: &Bytes) -> bool {
        // A response gets no answer, and whoever sends one badly may still be the other side of a call.
        !bytes.starts_with(b"SIP/") && self.guard.malformed(flow.remote.ip(), self.now) == Verdict::Pass
    }

    /// A caller that is refused for who it is or whom it asks for may be trying all of them.
    pub(super) fn note_refusal(&mut self, call: CallHandle, status: u16) {
        let source = self.calls.get(&call).map(|call| call.flow.remote.ip());
        if let Some(source) = source.filter(|_| matches!(status, 401 | 403 | 404 | 407 | 410 | 484 | 604)) {
            self.guard.failure(source, self.now);
        }
    }

    /// True where an answer should not be larger than its request: the source may be forged.
    pub(super) fn must_be_brief(&self, flow: &Flow) -> bool {
        flow.transport == Transport::Udp && !self.guard.is_trusted(flow.remote.ip())
    }
}

/// True where the fields that explain a status are a part of it.
pub(super) const fn needs_fields(status: u16) -> bool {
    matches!(status, 401 | 405 | 407 | 415 | 420 | 421 | 422 | 423 | 494 | 501 | 503)
}
