//! Calls that we place: what is asked of a transport, and the seam through which it is asked.
//!
//! Whether a number may be called is decided before (`outbound.rs`, or the operator's own `transfer.targets`); which
//! trunk carries the call, and how, is the transport's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::admission::Refusal;
use super::core::CallInput;
use super::shard::CallPort;
use super::transfer::{TargetEvent, TransferEvent};
use crate::dialog::Flow;
use crate::store::record::{CallId, EndReason};
use crate::telemetry::pii::Pii;

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub id: CallId,
    /// A number, or a SIP address of the operator's own configuration.
    pub to: Pii<String>,
    /// The only trunk that may carry it; otherwise the first one that can.
    pub trunk: Option<Arc<str>>,
    /// The number to show, where the trunk's rules let it be chosen.
    pub caller_id: Option<Pii<String>>,
    pub flow: Arc<Flow>,
    /// Values of the flow's variables.
    pub variables: Variables,
    pub ring_timeout: Duration,
    pub wait_for_hello: bool,
    /// The call that this one is placed for, if it is the target of a transfer.
    pub parent: Option<Parent>,
}

/// Values of a flow's `inputs`.
pub type Variables = Vec<(Arc<str>, Pii<String>)>;

/// The call that waits for one that is placed for it.
#[derive(Clone, Debug)]
pub struct Parent {
    port: CallPort,
    gone: Arc<AtomicBool>,
}

/// Why a call is not placed at all. Closed: these are codes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("all places are taken")]
    Full,
    #[error("the server is going down")]
    Draining,
    #[error("no transport of this server places calls")]
    NoTransport,
    #[error("the media threads or the signalling are not keeping up")]
    Overloaded,
}

/// Places calls. Never waits: what becomes of a call is told to the call itself.
pub trait Dialer: Send + Sync {
    /// # Errors
    /// Why no call was begun. Whatever fails later ends the call with its reason.
    fn dial(&self, call: Outgoing) -> Result<(), DialError>;
}

/// The place where the transport that can dial makes itself known. Cheap to clone.
#[derive(Clone, Default)]
pub struct Dialers(Arc<RwLock<Option<Arc<dyn Dialer>>>>);

impl Dialers {
    pub fn set(&self, dialer: Arc<dyn Dialer>) {
        *self.0.write() = Some(dialer);
    }

    /// # Errors
    /// As [`Dialer::dial`], and when nobody can dial.
    pub fn dial(&self, call: Outgoing) -> Result<(), DialError> {
        let dialer = self.0.read().clone().ok_or(DialError::NoTransport)?;
        dialer.dial(call)
    }
}

impl Parent {
    pub fn new(port: CallPort) -> Self {
        Self { port, gone: Arc::default() }
    }

    /// The call does not wait any more.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub fn has_left(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Tells the waiting call what became of the one placed for it.
    pub fn tell(&self, event: TargetEvent) {
        if !self.has_left() {
            self.port.signal(CallInput::Transfer(TransferEvent::Target(event)));
        }
    }

    /// What an event of the placed call means to the waiting one.
    pub fn hears(&self, kind: &str) {
        match kind {
            "ringing" => self.tell(TargetEvent::Ringing),
            "answered" => self.tell(TargetEvent::Answered),
            "briefed" => self.tell(TargetEvent::Briefed),
            _ => {}
        }
    }

    pub fn hears_end(&self, reason: &EndReason) {
        self.tell(TargetEvent::Gone(reason.clone()));
    }
}

impl From<Refusal> for DialError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full(_) => Self::Full,
            Refusal::Draining => Self::Draining,
        }
    }
}
