//! Calls of ours over SIP: the door through which they are asked for, the ways that are tried, and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offhook_sip::{CallHandle, Command, EndCause, OutboundInvite, Remote};
use tokio::sync::mpsc;

use super::calls::{Calls, Live, Stage};
use super::ends::is_worth_another_way;
use super::hold::Holding;
use super::media::Reach;
use super::routes::{Route, Wanted, source_address};
use crate::call::core::CallInput;
use crate::call::outgoing::{DialError, Dialer, Outgoing};
use crate::call::reception::Reception;
use crate::call::shard::CallPort;
use crate::store::record::{CallId, Direction, EndReason, Via};
use crate::telemetry::pii::Pii;
use crate::transport::pending::{LegSlot, PendingLeg};
use crate::transport::signalling::Signalling;

/// Takes calls to be placed from any thread and hands them to the driver.
pub struct SipDialer {
    reception: Arc<Reception>,
    signalling: Signalling,
    orders: mpsc::Sender<Dial>,
    last: AtomicU64,
}

/// A call that was begun and is to be placed.
pub struct Dial {
    name: u64,
    id: CallId,
    port: CallPort,
    slot: LegSlot,
    to: Pii<String>,
    trunk: Option<Arc<str>>,
    caller_id: Option<Pii<String>>,
    ring_timeout: Duration,
}

/// The ways that are left for a call of ours.
pub(super) struct Attempt {
    /// The trunk that is being tried.
    pub trunk: Option<Arc<str>>,
    rang: bool,
    left: Vec<Route>,
    ring_timeout: Duration,
}

impl SipDialer {
    /// Orders that may wait for the driver.
    pub const WAITING: usize = 1024;

    pub fn new(reception: Arc<Reception>, signalling: Signalling) -> (Self, mpsc::Receiver<Dial>) {
        let (orders, dials) = mpsc::channel(Self::WAITING);
        (Self { reception, signalling, orders, last: AtomicU64::new(0) }, dials)
    }
}

impl Dialer for SipDialer {
    fn dial(&self, call: Outgoing) -> Result<(), DialError> {
        let permit = self.reception.admit()?;
        let place = self.orders.try_reserve().map_err(|_| DialError::Overloaded)?;
        let name = CallHandle::outbound(self.last.fetch_add(1, Ordering::Relaxed)).as_u64();
        let (leg, slot) = PendingLeg::new(self.signalling.clone(), name);
        let (id, to, ring_timeout) = (call.id, call.to.clone(), call.ring_timeout);
        let (trunk, caller_id) = (call.trunk.clone(), call.caller_id.clone());
        let port = self.reception.place(call, Via::Sip, Box::new(leg), permit).ok_or(DialError::Overloaded)?;
        place.send(Dial { name, id, port, slot, to, trunk, caller_id, ring_timeout });
        Ok(())
    }
}

impl Calls {
    /// Places a call by the first way that there is.
    pub fn dial(&mut self, dial: Dial) -> Vec<Command> {
        let caller_id = dial.caller_id.as_ref().map(|number| number.expose().as_str());
        let wanted = Wanted { to: dial.to.expose(), trunk: dial.trunk.as_deref(), caller_id };
        let mut left = self.routes.route(wanted);
        left.reverse();
        let Some(first) = self.next_way(&mut left) else {
            dial.port.signal(CallInput::HungUp(EndReason::Unreachable));
            return Vec::new();
        };
        let attempt = Attempt { trunk: None, rang: false, left, ring_timeout: dial.ring_timeout };
        let Dial { name, id, port, slot, .. } = dial;
        let live = Live {
            handle: CallHandle::outbound(name),
            name,
            id,
            port,
            flow: first.flow,
            stage: Stage::None,
            direction: Direction::Outbound,
            held: false,
            holding: Holding::default(),
            contact: None,
            attempt: Some(attempt),
            answer: None,
        };
        self.attempt(live, slot, first)
    }

    /// It rings, or something like it; `early` when audio comes with it, which is heard by nobody.
    pub fn progress(&mut self, call: CallHandle, status: u16, early: bool) -> Vec<Command> {
        if let Some(live) = self.calls.get_mut(&call.as_u64())
            && status >= 180
        {
            live.attempt.iter_mut().for_each(|attempt| attempt.rang = true);
            live.port.signal(CallInput::Ringing);
            if early {
                live.port.signal(CallInput::EarlyMedia);
            }
        }
        Vec::new()
    }

    /// Somebody answered; what was played before (early media) was heard by nobody.
    pub fn answered(&mut self, call: CallHandle, sdp: Option<&[u8]>, remote: &Remote) -> Vec<Command> {
        let Some(live) = self.calls.get_mut(&call.as_u64()) else {
            // The call was given up as it was answered.
            return vec![Command::Bye { call, reason: None }];
        };
        live.contact = remote.contact.as_ref().map(|contact| contact.reveal().clone());
        live.connected(sdp)
    }

    /// This way has failed; there is another one.
    pub(super) fn try_again(&mut self, mut live: Live) -> Vec<Command> {
        let next = live.attempt.as_mut().and_then(|attempt| self.next_way(&mut attempt.left));
        let (Some(route), Stage::Offered { slot, .. }) = (next, std::mem::replace(&mut live.stage, Stage::None)) else {
            live.port.signal(CallInput::HungUp(EndReason::Unreachable));
            return Vec::new();
        };
        self.last_retry += 1;
        live.handle = CallHandle::outbound(RETRIES + self.last_retry);
        self.retried.insert(live.name, live.handle.as_u64());
        self.attempt(live, slot, route)
    }

    /// The next way whose trunk has a place.
    fn next_way(&mut self, left: &mut Vec<Route>) -> Option<Route> {
        loop {
            let route = left.pop()?;
            if route.trunk.as_ref().is_none_or(|trunk| self.routes.begin(trunk)) {
                return Some(route);
            }
        }
    }

    fn attempt(&mut self, mut live: Live, slot: LegSlot, route: Route) -> Vec<Command> {
        let Route { flow, target, from, from_display, headers, profile, credentials, trunk } = route;
        let reach = Reach { local: source_address(flow.local, flow.remote), profile, ..Reach::from(&flow) };
        let Ok(offered) = self.media.offer(live.name, reach) else {
            tracing::warn!("sip: a call is not placed: no port of rtp.ports is free");
            trunk.iter().for_each(|trunk| self.routes.ended(trunk));
            live.port.signal(CallInput::HungUp(EndReason::Unreachable));
            return Vec::new();
        };
        if let Some(attempt) = &mut live.attempt {
            attempt.trunk.clone_from(&trunk);
            let trunk = Some(trunk.unwrap_or_else(|| DIRECT.into()));
            live.port.signal(CallInput::Placed { ring_timeout: attempt.ring_timeout, trunk });
        }
        let sdp = offered.sdp.clone();
        live.flow = flow;
        live.stage = Stage::Offered { offered: Box::new(offered), slot };
        let invite = OutboundInvite {
            call: live.handle,
            flow,
            target,
            from,
            from_display,
            sdp,
            headers,
            replaces: None,
            credentials,
        };
        self.calls.insert(live.handle.as_u64(), live);
        vec![Command::Invite(Box::new(invite))]
    }
}

impl Live {
    /// Whether another way is left for a call of ours that nobody has been called by.
    pub(super) fn may_try_again(&self, cause: EndCause) -> bool {
        is_worth_another_way(cause)
            && matches!(self.stage, Stage::Offered { .. })
            && self.attempt.as_ref().is_some_and(|attempt| !attempt.rang && !attempt.left.is_empty())
    }
}

/// The name of a way without a trunk.
const DIRECT: &str = "direct";

/// Numbers of second attempts, far from those of first ones.
const RETRIES: u64 = 1 << 40;
