//! Early dialogs of a call that we place: one INVITE may ring at several places at once (RFC 3261 section 13.2.2.4,
//! 12.1). The first 2xx makes the call; any other is acknowledged and ended.

use super::call::Phase;
use super::client::{Ack, User};
use super::io::{CallHandle, Flow, Output};
use super::{Endpoint, Owner};
use crate::dialog::Dialog;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::Timer;
use bytes::Bytes;

/// One place where a call that we placed rings.
pub(super) struct Fork {
    /// Its number in [`crate::Event::Progress`], from 1.
    pub(super) number: u32,
    pub(super) dialog: Dialog,
    /// The last session description it sent in a provisional answer.
    pub(super) sdp: Option<Bytes>,
    /// The last RSeq that was acknowledged.
    pub(super) rseq: Option<u32>,
    /// Its answer came in a reliable provisional one.
    pub(super) settled: bool,
}

impl Endpoint {
    /// The number of the early dialog that a provisional answer belongs to, made if it is new; 0 where the answer makes
    /// none. `None`: one too many, the answer is not looked at.
    pub(super) fn early_dialog(&mut self, handle: CallHandle, response: &Message) -> Option<u32> {
        let Ok(seen) = response.essentials() else { return Some(0) };
        let Some(tag) = seen.to.tag() else { return Some(0) };
        let call = self.calls.get_mut(&handle)?;
        if let Some(fork) = call.forks.iter().find(|fork| fork.dialog.remote_tag() == tag) {
            return Some(fork.number);
        }
        if call.forks.len() >= MAX_FORKS {
            return None;
        }
        let Ok(dialog) = Dialog::caller(response, &seen) else { return Some(0) };
        let number = u32::try_from(call.forks.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.dialogs.insert(dialog.id(), handle);
        call.forks.push(Fork { number, dialog, sdp: None, rseq: None, settled: false });
        Some(number)
    }

    /// Takes the dialog that a 2xx makes and drops all early ones. Gives back the number of its early dialog, and what
    /// that one said of its media.
    pub(super) fn confirm_dialog(&mut self, handle: CallHandle, response: &Message) -> Option<(u32, Option<Bytes>)> {
        let seen = response.essentials().ok()?;
        let mut dialog = Dialog::caller(response, &seen).ok()?;
        let call = self.calls.get_mut(&handle)?;
        let mut early = (0, None);
        for fork in call.forks.drain(..) {
            self.dialogs.remove(&fork.dialog.id());
            if fork.dialog.remote_tag() == dialog.remote_tag() {
                dialog.inherit(&fork.dialog);
                early = (fork.number, fork.sdp);
            }
        }
        self.dialogs.insert(dialog.id(), handle);
        call.dialog = Some(dialog);
        Some(early)
    }

    /// A 2xx that makes no call: the second of a fork, or one that came after the call was over. It is acknowledged,
    /// each repetition too, and its dialog ended once.
    pub(super) fn end_fork(&mut self, client: u64, flow: Flow, response: &Message) {
        let Ok(seen) = response.essentials() else { return };
        let tag = seen.to.tag().unwrap_or_default();
        let Some(tx) = self.clients.peek(client) else { return };
        if let Some(ack) = tx.acks.iter().find(|ack| ack.tag == tag) {
            let (flow, bytes) = (ack.flow, ack.bytes.clone());
            return self.outputs.push_back(Output::Transmit { flow, bytes });
        }
        let Ok(mut dialog) = Dialog::caller(response, &seen) else { return };
        let (via, _) = self.new_via(&flow);
        let bytes = dialog.ack(seen.cseq.number, &via).finish(None);
        let ack = Ack { tag: tag.to_owned(), flow, bytes: bytes.clone() };
        if !self.clients.note_ack(client, ack, MAX_FORKS) {
            return;
        }
        self.outputs.push_back(Output::Transmit { flow, bytes });
        let (via, branch) = self.new_via(&flow);
        let mut writer = dialog.request(&Method::Bye, &via);
        writer.header(HeaderName::UserAgent, &self.config.user_agent);
        self.open_client(&Method::Bye, &branch, flow, writer.finish(None), User::Nobody);
    }

    /// The INVITE was refused and goes out anew: where it rang is over.
    pub(super) fn drop_forks(&mut self, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        for fork in call.forks.drain(..) {
            self.dialogs.remove(&fork.dialog.id());
        }
    }

    /// The call was answered: what only concerned its ringing is over.
    pub(super) fn establish(&mut self, handle: CallHandle) {
        self.set_phase(handle, Phase::Established);
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::Cancelled);
    }
}

/// Early dialogs of one INVITE; what comes from further ones is not looked at.
const MAX_FORKS: usize = 16;
