//! What the clock brings: a caller who says nothing, a turn without an end, a report that was lost. Every phase has its
//! deadline here.

use std::sync::Arc;
use std::time::Duration;

use super::flow::Kind;
use super::runner::{Dialog, Phase};
use super::transfer::TransferFailure;
use super::walk::Failure;
use super::{DialogOutput, Moment};

impl Dialog {
    pub(super) fn timeout(&mut self, now: Moment) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.phase {
            Phase::Speaking { .. } => {
                self.event("playout_lost", None);
                self.recording.unheard();
                self.after_speaking(true, now);
            }
            Phase::Listening { .. } => self.no_input(now),
            Phase::Hearing { .. } => self.use_turn(None, now),
            Phase::Answering(_) => self.answer_due(now),
            Phase::Fetching { .. } => self.hook_due(now),
            Phase::Transferring { .. } => {
                self.event("transfer_lost", None);
                self.transfer_failed(TransferFailure::Failed, now);
            }
            Phase::Idle | Phase::Over => {}
        }
    }

    fn no_input(&mut self, now: Moment) {
        if self.recording.is_asking() {
            return self.consent_unanswered(now);
        }
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(self.step) else { return };
        match &step.kind {
            Kind::Say { next, .. } | Kind::Play { next, .. } => self.go(*next, now),
            Kind::Collect(collect) if !self.digits.is_empty() => self.collect_pause(collect, now),
            Kind::Menu(_) | Kind::Collect(_) | Kind::Ask(_) => self.try_again(Failure::NoInput, now),
            // Nobody took the line away.
            Kind::Brief { .. } => self.end(),
            Kind::Transfer(transfer) => self.begin_transfer(transfer, now),
            Kind::Tell(tell) => self.go(tell.next, now),
            Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Hook(_) | Kind::HangUp { .. } => {}
        }
    }

    /// Whether a turn that ends now can be taken back if it goes on after all; see [`Dialog::goes_on`].
    pub fn can_be_taken_back(&self) -> bool {
        !self.is_speaking() && !self.recording.is_asking()
    }

    /// A turn that was taken to be over goes on: this dialog, as it was before, listens on. `heard` is what the caller heard
    /// of the answer that was withdrawn, `elsewhere` that the call listens at another step by now.
    pub fn goes_on(&mut self, heard: &str, elsewhere: bool, now: Moment) {
        self.outputs.clear();
        self.heard(heard);
        if elsewhere && let Some(step) = self.flow.steps.get(self.step) {
            let listening = step.listening();
            self.push(DialogOutput::Listen(listening));
        }
        self.phase = hearing(now);
        // Whatever it is to be woken for now, the call has forgotten.
        self.wake = None;
        self.rearm();
    }

    fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Idle | Phase::Over => None,
            Phase::Speaking { until } | Phase::Listening { until } | Phase::Hearing { until, .. } => Some(*until),
            Phase::Transferring { until } => Some(*until),
            Phase::Fetching { until, again, .. } => Some(*until.min(again)),
            Phase::Answering(answer) => Some(answer.deadline()),
        }
    }

    pub(super) fn rearm(&mut self) {
        let deadline = self.deadline();
        if deadline != self.wake {
            self.wake = deadline;
            self.push(DialogOutput::WakeAt(deadline));
        }
    }
}

pub(super) fn hearing(now: Moment) -> Phase {
    Phase::Hearing { until: now + HEARING, cap: now + LONGEST_TURN }
}

/// A turn of the caller without a sign of its end, and at most.
pub(super) const HEARING: Duration = Duration::from_secs(15);
const LONGEST_TURN: Duration = Duration::from_secs(120);
/// How long a person who was briefed waits for the caller before they are let go.
pub(super) const JOINED_WITHIN: Duration = Duration::from_secs(60);
