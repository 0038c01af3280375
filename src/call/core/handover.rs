//! What a call does about a transfer: begins it, passes on what becomes of it, tells the dialog how it failed.

use std::time::Duration;

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::messages::CallOutput;
use crate::call::timers::Timer;
use crate::call::transfer::{Order, Step, Transfer, TransferEvent, Verdict};
use crate::dialog::{DialogInput, TransferPlan};
use crate::store::record::EndReason;
use crate::telemetry::pii::Pii;

impl Call {
    /// The dialog hands the call over.
    pub(super) fn begin_transfer(&mut self, plan: TransferPlan) {
        let now = self.wall;
        let detail = serde_json::json!({ "to": format!("{:?}", plan.to), "mode": plan.mode.as_str() });
        self.event("transfer", Some(Pii::new(detail)), now);
        self.counts.transfer = Some("begun");
        let (transfer, order) = Transfer::begin(plan, now);
        self.transfer = Some(transfer);
        self.order(order);
        self.watch_transfer();
    }

    /// Something became of a transfer.
    pub(super) fn transfer_event(&mut self, event: &TransferEvent, now: Moment) {
        if self.phase != Phase::Talking {
            return;
        }
        let Some(transfer) = &mut self.transfer else {
            // We had given it up, but the far side went on and reached the target after all.
            if matches!(event, TransferEvent::Finished(200..300)) && self.counts.transfer.is_some() {
                self.transferred(now);
            }
            return;
        };
        let before = transfer.status();
        let step = transfer.handle(event, now);
        let status = transfer.status();
        if status != before && status.is_some_and(|status| (180..200).contains(&status)) {
            self.event("transfer_ringing", None, now);
        }
        self.transfer_step(step, now);
    }

    pub(super) fn transfer_due(&mut self, now: Moment) {
        let step = self.transfer.as_ref().and_then(|transfer| transfer.timeout(now));
        self.transfer_step(step, now);
    }

    /// The call ends in the middle of a transfer: nobody else is left waiting.
    pub(super) fn leave_transfer(&mut self, now: Moment) {
        let Some(transfer) = &self.transfer else { return };
        if transfer.holds_target() {
            self.order(Order::Drop);
        }
        self.transfer_over("abandoned", now);
    }

    fn transfer_step(&mut self, step: Option<Step>, now: Moment) {
        match step {
            None => {}
            Some(Step::Do(order)) => self.order(order),
            Some(Step::End(Verdict::Succeeded)) => return self.transferred(now),
            Some(Step::End(Verdict::Failed(failure, why))) => {
                if self.transfer.as_ref().is_some_and(Transfer::holds_target) {
                    self.order(Order::Drop);
                }
                self.transfer_over(why, now);
                let own = self.own_time(now);
                self.dialog.handle(DialogInput::TransferFailed(failure), own);
                self.settle(self.hold.clock(now));
            }
        }
        self.watch_transfer();
    }

    /// Whoever this call was placed for speaks with its far side now, who is to hang up on us. Not all do.
    pub(super) fn joined(&mut self, now: Moment) {
        self.timers.set(Timer::Joined, Some(now + AFTER_JOIN));
    }

    fn transferred(&mut self, now: Moment) {
        if self.transfer.as_ref().is_some_and(Transfer::holds_target) {
            self.order(Order::Leave);
        }
        self.transfer_over("ok", now);
        self.end(EndReason::Transferred, now);
    }

    fn transfer_over(&mut self, outcome: &'static str, now: Moment) {
        let status = self.transfer.take().and_then(|transfer| transfer.status());
        self.counts.transfer = Some(outcome);
        let detail = serde_json::json!({ "outcome": outcome, "status": status });
        self.event("transfer_done", Some(Pii::new(detail)), now);
        self.watch_transfer();
    }

    fn order(&mut self, order: Order) {
        let Some(plan) = self.transfer.as_ref().map(Transfer::plan) else { return };
        let (to, brief) = (plan.to.clone(), plan.brief.clone());
        self.outputs.push_back(CallOutput::Transfer { order, to, brief });
    }

    fn watch_transfer(&mut self) {
        self.timers.set(Timer::Transfer, self.transfer.as_ref().map(Transfer::deadline));
    }
}

/// How long the target of a transfer may take to end the call that the caller has replaced (RFC 3891 section 3: at once).
const AFTER_JOIN: Duration = Duration::from_secs(10);
