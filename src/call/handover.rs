//! Carries out what a call orders for its transfer: asks the leg, places the call to the target, lets it go again.
//!
//! Names become addresses here, by the operator's list and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::actor::Services;
use super::core::CallInput;
use super::leg::{HandOver, Leg};
use super::outgoing::{Outgoing, Parent};
use super::shard::CallPort;
use super::transfer::{Impossible, Order, TransferEvent};
use crate::dialog::{Flow, TransferTo};
use crate::providers::Language;
use crate::safety::said::Cleared;
use crate::store::record::{CallId, EndReason};
use crate::telemetry::pii::Pii;

/// `transfer.targets`.
pub type Targets = Arc<BTreeMap<String, String>>;

/// The target of a transfer while we are in a call with it.
#[derive(Debug, Default)]
pub struct Handover {
    target: Option<(CallId, Parent)>,
}

impl Handover {
    /// Does what is ordered. What cannot be done is told at once.
    ///
    /// # Errors
    /// Why it is not possible.
    pub fn obey(
        &mut self,
        order: Order,
        (to, brief): (TransferTo, Vec<Cleared>),
        leg: &mut dyn Leg,
        (services, port): (&Arc<Services>, &CallPort),
        language: Language,
    ) -> Result<(), Impossible> {
        match order {
            Order::Refer => {
                let to = address(&to, &services.targets).ok_or(Impossible::NoTarget)?;
                leg.transfer(&HandOver::Refer { to }).then_some(()).ok_or(Impossible::ThisLine)
            }
            Order::Call => {
                let to = address(&to, &services.targets).ok_or(Impossible::NoTarget)?;
                self.call(&to, brief, services, port, language);
                Ok(())
            }
            Order::Join => {
                let target = self.target.as_ref().map(|(target, _)| *target).ok_or(Impossible::NoCall)?;
                leg.transfer(&HandOver::Join { target }).then_some(()).ok_or(Impossible::ThisLine)
            }
            Order::Drop => {
                self.let_go(services);
                Ok(())
            }
            Order::Leave => {
                if let Some((target, parent)) = self.target.take() {
                    parent.leave();
                    signal(target, CallInput::Joined, services);
                }
                Ok(())
            }
        }
    }

    fn call(&mut self, to: &str, brief: Vec<Cleared>, services: &Arc<Services>, port: &CallPort, language: Language) {
        let (id, parent) = (CallId::fresh(), Parent::new(port.clone()));
        self.target = Some((id, parent.clone()));
        let call = Outgoing {
            id,
            to: Pii::new(to.to_owned()),
            trunk: None,
            caller_id: None,
            flow: Arc::new(Flow::briefing(brief, language)),
            variables: Vec::new(),
            // The call that waits has its own limit; this one only must not outlive it by much.
            ring_timeout: LONGEST_RING,
            wait_for_hello: true,
            parent: Some(parent.clone()),
        };
        let (services, port) = (Arc::clone(services), port.clone());
        // Placing takes locks and a port: not on a media thread.
        services.runtime.clone().spawn(async move {
            if services.dialers.dial(call).is_err() {
                port.send(CallInput::Transfer(TransferEvent::Impossible(Impossible::NoCall))).await;
            } else if parent.has_left() {
                hang_up(id, &services);
            }
        });
    }

    fn let_go(&mut self, services: &Services) {
        if let Some((target, parent)) = self.target.take() {
            parent.leave();
            hang_up(target, services);
        }
    }
}

fn hang_up(target: CallId, services: &Services) {
    signal(target, CallInput::HungUp(EndReason::FlowHungUp), services);
}

fn signal(target: CallId, input: CallInput, services: &Services) {
    if let Some(live) = services.registry.find(target) {
        live.port.signal(input);
    }
}

fn address(to: &TransferTo, targets: &Targets) -> Option<Arc<str>> {
    match to {
        TransferTo::Name(name) => targets.get(&**name).map(|address| address.as_str().into()),
        TransferTo::Address(address) => Some(Arc::clone(address)),
    }
}

/// Flows may not ask for more.
const LONGEST_RING: std::time::Duration = std::time::Duration::from_secs(185);
