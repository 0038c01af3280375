//! Calls that take the place of others (RFC 3891): which call of ours a new INVITE means, and what becomes of it.

use super::Endpoint;
use super::call::Phase;
use super::io::{CallHandle, EndCause};
use super::screen::Refusal;
use crate::dialog::Replaces;
use crate::message::{HeaderName, Message};

impl Endpoint {
    /// The call that a new INVITE asks to replace. Refuses as section 3 says: 481 where there is none or where it rings
    /// here, 603 where it is over, 486 where it may only be replaced before its answer.
    pub(super) fn replaced(&self, invite: &Message) -> Result<Option<CallHandle>, Refusal> {
        let mut values = invite.values(HeaderName::Replaces);
        let Some(value) = values.next() else { return Ok(None) };
        let value = std::str::from_utf8(value).ok().and_then(|value| Replaces::parse(value).ok());
        let (Some(replaces), None, None) = (value, values.next(), invite.extension("Join")) else {
            return Err(Refusal::bare(400));
        };
        let handle = replaces.ids().find_map(|id| self.dialogs.get(&id).copied());
        let (handle, call) =
            handle.and_then(|handle| Some((handle, self.calls.get(&handle)?))).ok_or(Refusal::bare(481))?;
        match call.phase {
            _ if call.ended => Err(Refusal::bare(603)),
            Phase::Leaving { .. } | Phase::Ending => Err(Refusal::bare(603)),
            Phase::Ringing { .. } => Err(Refusal::bare(481)),
            Phase::Established if replaces.is_early_only() => Err(Refusal::bare(486)),
            Phase::Calling { .. } | Phase::Established => Ok(Some(handle)),
        }
    }

    /// The call was taken that replaces another: that one ends now, by BYE or CANCEL.
    pub(super) fn end_replaced(&mut self, by: CallHandle) {
        let Some(replaced) = self.calls.get_mut(&by).and_then(|call| call.replaces.take()) else { return };
        self.hang_up_for(replaced, EndCause::Replaced, None);
    }
}
