//! Transfers over SIP: what a leg asks for becomes REFER, and what comes of it goes back to the call.
//!
//! Being sent somewhere by others is refused in `sip.rs`: it would be called at our cost.

use offhook_sip::message::UriBuf;
use offhook_sip::{CallHandle, Command};

use super::calls::{Calls, Live};
use crate::call::core::CallInput;
use crate::call::transfer::{Impossible, TransferEvent};
use crate::store::record::CallId;

impl Calls {
    /// Asks the far side to call somebody else.
    pub(super) fn refer(&mut self, name: u64, to: &str) -> Vec<Command> {
        let Some(live) = self.of_leg(name) else { return Vec::new() };
        match live.address_of(to) {
            Some(to) => vec![Command::Refer { call: live.handle, to, replaces: None, referred_by: None }],
            None => live.cannot(Impossible::NoTarget),
        }
    }

    /// Asks the far side to take our place in a call of ours.
    pub(super) fn join(&mut self, name: u64, target: CallId) -> Vec<Command> {
        let other = self.calls.values().find(|live| live.id == target);
        let other = other.and_then(|live| Some((live.handle, live.contact.clone()?)));
        let Some(live) = self.of_leg(name) else { return Vec::new() };
        match other {
            Some((other, to)) => {
                vec![Command::Refer { call: live.handle, to, replaces: Some(other), referred_by: None }]
            }
            None => live.cannot(Impossible::NoCall),
        }
    }

    /// How it goes.
    pub fn refer_progress(&mut self, call: CallHandle, status: u16, done: bool) -> Vec<Command> {
        let event = match (status, done) {
            (status, true) => TransferEvent::Finished(status),
            (100, false) => TransferEvent::Accepted,
            (status, false) => TransferEvent::Progress(status),
        };
        self.tell_transfer(call, event)
    }

    /// It will not be tried.
    pub fn refer_refused(&mut self, call: CallHandle, status: u16) -> Vec<Command> {
        self.tell_transfer(call, TransferEvent::Refused(status))
    }

    fn tell_transfer(&self, call: CallHandle, event: TransferEvent) -> Vec<Command> {
        if let Some(live) = self.calls.get(&call.as_u64()) {
            live.port.signal(CallInput::Transfer(event));
        }
        Vec::new()
    }
}

impl Live {
    fn cannot(&self, why: Impossible) -> Vec<Command> {
        self.port.signal(CallInput::Transfer(TransferEvent::Impossible(why)));
        Vec::new()
    }

    /// A number is looked for where the call came from: its PBX or carrier knows the way.
    fn address_of(&self, to: &str) -> Option<UriBuf> {
        if to.starts_with("sip:") || to.starts_with("sips:") {
            return UriBuf::parse(to).ok();
        }
        let number = to.strip_prefix("tel:").unwrap_or(to);
        UriBuf::parse(format!("sip:{number}@{}", self.flow.remote)).ok()
    }
}
