//! Early media to a caller: 183 with our answer and audio under it, acknowledged by PRACK where the caller knows how (RFC
//! 3262), and the 200 once all was heard.
//!
//! Deliberately absent: early media for an INVITE without an offer, and for one that takes the place of another call.
//! These are answered at once.

use bytes::Bytes;
use offhook_sip::{CallHandle, Command, IncomingInvite};

use super::calls::{Calls, Stage};
use crate::call::core::CallInput;

impl Calls {
    /// The first thing that a caller is told who was let in.
    pub(super) fn answer_or_announce(&mut self, call: CallHandle, invite: &IncomingInvite, sdp: Bytes) -> Command {
        let words = self.reception.announcement(invite.called.reveal()).filter(|_| invite.replaces.is_none());
        let live = self.calls.get_mut(&call.as_u64()).filter(|live| matches!(live.stage, Stage::Agreed(_)));
        let (Some(words), Some(live)) = (words, live) else { return Command::Answer { call, sdp } };
        live.answer = Some(sdp.clone());
        live.port.signal(CallInput::Announce(words.clone()));
        Command::Ring { call, early_sdp: Some(sdp), reliable: true }
    }

    /// The caller has heard what comes before the answer.
    pub(super) fn answer_now(&mut self, name: u64) -> Vec<Command> {
        let Some(live) = self.of_leg(name) else { return Vec::new() };
        let call = live.handle;
        live.answer.take().map(|sdp| Command::Answer { call, sdp }).into_iter().collect()
    }
}
