//! The reception: what every transport does with a caller once it has a leg for them.
//!
//! Admission first, so that a refused caller costs nothing; then the line's flow, the call's core, a place on a shard
//! and the record of its beginning.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use offhook_media::speech::SpeechConfig;
use offhook_media::vad::Earshot;

use super::actor::{NewCall, Services};
use super::admission::{Admission, Permit, Refusal};
use super::core::{Call, CallSetup};
use super::leg::Leg;
use super::registry::LiveCall;
use super::shard::{CallPort, Shards};
use crate::config::LimitsConfig;
use crate::dialog::lines::Catalogue;
use crate::dialog::runner::{CallFacts, Dialog};
use crate::store::record::{CallId, CallSummary, EndReason, Record, Via};
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
}

impl Reception {
    pub fn new(
        shards: Shards,
        services: Arc<Services>,
        catalogue: Arc<Catalogue>,
        limits: LimitsConfig,
        turn: TurnConfig,
    ) -> Self {
        let admission = Admission::new(u32::try_from(limits.max_calls).unwrap_or(u32::MAX));
        Self { shards, admission, services, catalogue, limits, turn }
    }

    /// # Errors
    /// Says why nobody is let in now.
    pub fn admit(&self) -> Result<Permit, Refusal> {
        self.admission.admit()
    }

    /// Begins the call. The caller hears nothing before [`super::core::CallInput::Connected`] is sent to the port.
    /// `None`: the shard is not keeping up, and the call was not begun.
    pub fn receive(&self, caller: Caller, permit: Permit) -> Option<CallPort> {
        let port = self.shards.place()?;
        let flow = Arc::clone(self.catalogue.flow_for(&caller.called));
        let name = Arc::clone(flow.name());
        let has_ears = self.services.providers.stt.is_some() && flow.uses_words();
        let facts = CallFacts {
            called: caller.called.clone(),
            caller: caller.caller.clone(),
            has_ears,
            has_model: self.services.providers.llm.is_some(),
        };
        let core = Call::new(self.setup(self.recorded(caller.id, Dialog::new(flow, facts)), has_ears));
        let live = LiveCall {
            id: caller.id,
            via: caller.via,
            called: caller.called.clone(),
            caller: caller.caller.clone(),
            flow: Arc::clone(&name),
            started: Timestamp::now(),
            port: port.clone(),
        };
        self.services.records.record(Record::CallStarted {
            call: caller.id,
            at: live.started,
            via: caller.via,
            called: caller.called,
            caller: caller.caller,
            flow: name,
        });
        self.services.metrics.call_started(live.via.as_str());
        self.services.registry.add(live);
        let call = NewCall { id: caller.id, via: caller.via, core, leg: caller.leg, permit };
        if port.begin(call) {
            return Some(port);
        }
        self.not_begun(caller.id, caller.via);
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

    /// Where a recording can be made now; callers are not told of one that cannot.
    fn recorded(&self, call: CallId, dialog: Dialog) -> Dialog {
        match self.services.recordings.as_ref().and_then(|recordings| recordings.plan(call)) {
            Some(plan) => dialog.recorded(plan),
            None => dialog,
        }
    }

    fn setup(&self, dialog: Dialog, has_ears: bool) -> CallSetup {
        CallSetup {
            dialog,
            vad: Box::new(Earshot::new()),
            speech: SpeechConfig::default(),
            turn: self.turn.clone(),
            longest: Duration::from_secs(self.limits.max_call_minutes * 60),
            no_media: Duration::from_secs(self.limits.no_media_timeout_s),
            has_ears,
        }
    }
}
