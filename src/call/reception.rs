//! The reception: what every transport does with a caller once it has a leg for them.
//!
//! Admission first, so that a refused caller costs nothing; then the line's flow, the call's core, a place on a shard
//! and the record of its beginning.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use offhook_media::silero::Network;

use super::actor::{NewCall, Services};
use super::admission::{Admission, Permit, Refusal};
use super::ballot::ballot;
use super::core::{Call, CallInput, CallSetup, Opening};
use super::hearing::Hearing;
use super::leg::Leg;
use super::outgoing::{Outgoing, Parent, Variables};
use super::registry::LiveCall;
use super::shard::{CallPort, Shards};
use crate::config::LimitsConfig;
use crate::dialog::lines::Catalogue;
use crate::dialog::runner::{CallFacts, Dialog};
use crate::dialog::{Announcement, Flow};
use crate::store::record::{CallId, CallSummary, Direction, EndReason, Record, Via};
use crate::telemetry::pii::Pii;
use crate::turn::TurnConfig;

/// A caller with a leg, let in but not yet received.
pub struct Caller {
    pub id: CallId,
    pub via: Via,
    /// The number that was called, as the transport gives it.
    pub called: String,
    pub caller: Pii<String>,
    pub leg: Box<dyn Leg>,
}

/// Shared by all transports.
pub struct Reception {
    shards: Shards,
    admission: Admission,
    services: Arc<Services>,
    catalogue: Arc<Catalogue>,
    limits: LimitsConfig,
    turn: TurnConfig,
    network: Option<&'static Network>,
}

impl Reception {
    /// Without a network callers are heard by the plain ear.
    pub fn new(
        shards: Shards,
        services: Arc<Services>,
        catalogue: Arc<Catalogue>,
        limits: LimitsConfig,
        turn: TurnConfig,
        network: Option<&'static Network>,
    ) -> Self {
        let admission = Admission::new(u32::try_from(limits.max_calls).unwrap_or(u32::MAX));
        Self { shards, admission, services, catalogue, limits, turn, network }
    }

    /// # Errors
    /// Says why nobody is let in now.
    pub fn admit(&self) -> Result<Permit, Refusal> {
        self.admission.admit()
    }

    /// Begins the call. The caller hears nothing before [`super::core::CallInput::Connected`] is sent to the port.
    /// `None`: the shard is not keeping up, and the call was not begun.
    pub fn receive(&self, caller: Caller, permit: Permit) -> Option<CallPort> {
        let flow = Arc::clone(self.catalogue.flow_for(&caller.called));
        let Caller { id, via, called, caller, leg } = caller;
        let people = People { called, caller };
        self.start(
            Start { id, via, flow, people, opening: Opening::Inbound, variables: Vec::new(), parent: None },
            leg,
            permit,
        )
    }

    /// Begins a call of ours, before it is placed: it ends by itself when nobody answers in time. `None` as above.
    pub fn place(&self, call: Outgoing, via: Via, leg: Box<dyn Leg>, permit: Permit) -> Option<CallPort> {
        let people = People { called: call.to.into_exposed(), caller: call.caller_id.unwrap_or_default() };
        let opening = Opening::Outbound { wait_for_hello: call.wait_for_hello };
        let Outgoing { id, flow, variables, parent, ring_timeout, .. } = call;
        let port = self.start(Start { id, via, flow, people, opening, variables, parent }, leg, permit)?;
        port.signal(CallInput::Placed { ring_timeout, trunk: None });
        Some(port)
    }

    fn start(&self, call: Start, leg: Box<dyn Leg>, permit: Permit) -> Option<CallPort> {
        let Start { id, via, flow, people: People { called, caller }, opening, variables, parent } = call;
        let port = self.shards.place()?;
        let name = Arc::clone(flow.name());
        let direction = if opening == Opening::Inbound { Direction::Inbound } else { Direction::Outbound };
        let has_ears = self.services.ears.is_some() && flow.uses_words();
        let has_model = self.services.model.is_some();
        let facts = CallFacts { called: called.clone(), caller: caller.clone(), has_ears, has_model };
        let told = self.services.told.of(&caller);
        let dialog = Dialog::new(flow, facts).with_variables(variables).with_told(told.before());
        let dialog = self.recorded(id, parent.is_none(), dialog);
        let core = self.voted_on(Call::new(self.setup(dialog, has_ears, opening)));
        let live = LiveCall {
            id,
            via,
            direction,
            called: called.clone(),
            caller: caller.clone(),
            flow: Arc::clone(&name),
            started: Timestamp::now(),
            port: port.clone(),
        };
        let at = live.started;
        self.services.records.record(Record::CallStarted { call: id, at, via, direction, called, caller, flow: name });
        self.services.metrics.call_started(via.as_str());
        self.services.registry.add(live);
        if port.begin(NewCall { id, via, core, leg, permit, parent, told }) {
            return Some(port);
        }
        self.not_begun(id, via);
        None
    }

    /// A call that no shard took has an end in the record all the same.
    fn not_begun(&self, call: CallId, via: Via) {
        self.services.registry.remove(call);
        self.services.metrics.call_ended(via.as_str(), EndReason::Overrun.as_str());
        let (at, reason) = (Timestamp::now(), EndReason::Overrun);
        self.services.records.record(Record::CallEnded { call, at, reason, summary: CallSummary::default() });
    }

    /// Whether the line of this number has anything to say in words.
    pub fn needs_voice(&self, called: &str) -> bool {
        self.catalogue.flow_for(called).needs_voice()
    }

    /// What callers of this number hear before their call is answered.
    pub fn announcement(&self, called: &str) -> Option<&Announcement> {
        self.catalogue.announcement_for(called)
    }

    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    pub const fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Ends the media threads; end the calls first.
    pub fn stop(&self) {
        self.shards.stop();
    }

    /// Where a recording can be made now; callers are not told of one that cannot. What the target of a transfer is told
    /// is nobody's call.
    fn recorded(&self, call: CallId, is_callers: bool, dialog: Dialog) -> Dialog {
        match self.services.recordings.as_ref().filter(|_| is_callers).and_then(|recordings| recordings.plan(call)) {
            Some(plan) => dialog.recorded(plan),
            None => dialog,
        }
    }

    /// With the vote of a model on the end of the caller's turns, where there is one.
    fn voted_on(&self, core: Call) -> Call {
        let Some(model) = &self.services.providers.turn_end else { return core };
        let (ballot, votes) = ballot(Arc::clone(model));
        self.services.runtime.spawn(votes);
        core.with_vote(Box::new(ballot))
    }

    fn setup(&self, dialog: Dialog, has_ears: bool, opening: Opening) -> CallSetup {
        CallSetup {
            dialog,
            hearing: self.network.map_or_else(Hearing::plain, Hearing::neural),
            turn: self.turn.clone(),
            longest: Duration::from_secs(self.limits.max_call_minutes * 60),
            no_media: Duration::from_secs(self.limits.no_media_timeout_s),
            longest_hold: Duration::from_secs(self.limits.hold_timeout_s),
            has_ears,
            opening,
        }
    }
}

/// Everything that a call begins with but its leg.
struct Start {
    id: CallId,
    via: Via,
    flow: Arc<Flow>,
    people: People,
    opening: Opening,
    variables: Variables,
    parent: Option<Parent>,
}

struct People {
    called: String,
    caller: Pii<String>,
}
