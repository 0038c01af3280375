//! What strangers hear: asks the guard about requests that belong to no dialog or transaction yet, and keeps answers
//! small, so that nobody can use us to multiply packets with a forged source.

use super::Endpoint;
use super::io::{CallHandle, Flow, Transport};
use super::screen::Refusal;
use crate::auth::Identity;
use crate::guard::{GuardCounts, Verdict};
use crate::message::{HeaderName, Message, Method};
use crate::pii::Pii;
use bytes::Bytes;

/// Whether a request is served.
pub(super) enum Gate {
    /// It is; with the user it comes from, if it proved that.
    Open(Option<Pii<String>>),
    /// It is not, and all is said.
    Shut,
}

impl Endpoint {
    /// What the guard refused, and whom it remembers.
    pub fn guard_counts(&self) -> GuardCounts {
        self.guard.counts()
    }

    /// Whether a request outside every known dialog and transaction is served. Where not, all is said.
    pub(super) fn passes_gate(&mut self, flow: &Flow, message: &Message, method: &Method) -> Gate {
        let agent = message.text(HeaderName::UserAgent);
        match self.guard.check(flow.remote.ip(), method, agent.as_deref(), self.now) {
            Verdict::Pass => return Gate::Open(None),
            // Within a dialog that is not known there is nothing to protect: 481 whoever asks.
            Verdict::Challenge if message.address(HeaderName::To).is_ok_and(|to| to.tag().is_some()) => {
                return Gate::Open(None);
            }
            Verdict::Challenge => return self.identify(flow, message),
            Verdict::Refuse(status) => self.refuse(flow, message, Refusal::bare(status)),
            Verdict::Silence => {}
        }
        Gate::Shut
    }

    /// Asks a stranger who it is. Whoever is not known hears the same, whatever is wrong.
    fn identify(&mut self, flow: &Flow, message: &Message) -> Gate {
        let (source, now) = (flow.remote.ip(), self.now);
        let Some(verifier) = &mut self.verifier else {
            self.guard.note_unknown();
            self.refuse(flow, message, Refusal::bare(403));
            return Gate::Shut;
        };
        let identity = verifier.verify(message, source, now);
        if let Identity::User(user) = identity {
            return Gate::Open(Some(Pii::new(user)));
        }
        let challenges = verifier.challenges(identity == Identity::Stale, source, now);
        if identity == Identity::Wrong {
            self.guard.failure(source, now);
            self.guard.note_unknown();
        }
        self.answer_stateless(flow, message, 401, |writer| {
            for challenge in &challenges {
                writer.header(HeaderName::WwwAuthenticate, challenge);
            }
        });
        Gate::Shut
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
        flow.transport == Transport::Udp && !self.guard.is_known(flow.remote.ip())
    }
}

/// True where the fields that explain a status are a part of it.
pub(super) const fn needs_fields(status: u16) -> bool {
    matches!(status, 401 | 405 | 407 | 415 | 420 | 421 | 422 | 423 | 494 | 501 | 503)
}
