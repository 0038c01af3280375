//! Handing a call over, as a state machine: every state names what it waits for and leaves by the clock.
//!
//! Blind: the caller's side is asked to call the target (REFER, RFC 3515) and reports how that went. Attended: we call
//! the target, tell it what it is about, and ask the caller's side to take our place in that call (RFC 5589 section 7).
//! A transfer has succeeded when the far side says so, and never by our own assumption.

use std::time::Duration;

use super::Moment;
use crate::dialog::{TransferFailure, TransferMode, TransferPlan};
use crate::store::record::EndReason;

/// A transfer that is going on.
#[derive(Debug)]
pub struct Transfer {
    plan: TransferPlan,
    state: State,
    /// The last status that the far side reported.
    status: Option<u16>,
}

/// What happened to a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEvent {
    /// The caller's side will try (202).
    Accepted,
    /// How it is going: a status below 200.
    Progress(u16),
    /// How it ended: a final status.
    Finished(u16),
    /// The caller's side will not try.
    Refused(u16),
    /// It could not even be asked for.
    Impossible(Impossible),
    /// The target, where we called it.
    Target(TargetEvent),
}

/// What became of our own call to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetEvent {
    Ringing,
    Answered,
    /// They know what it is about.
    Briefed,
    Gone(EndReason),
}

/// Why a transfer could not be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// `transfer.targets` has no such name.
    NoTarget,
    /// The line that the call came in on cannot hand it over.
    ThisLine,
    /// No call to the target can be placed: no trunk, not allowed, no place left.
    NoCall,
}

/// What is to be done for a transfer.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Ask the caller's side to call the target.
    Refer,
    /// Call the target.
    Call,
    /// Ask the caller's side to take our place in the call to the target.
    Join,
    /// Let the target go.
    Drop,
    /// The caller has our place in the call to the target: it ends by itself, or after a while by us.
    Leave,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    /// With the reason for the record.
    Failed(TransferFailure, &'static str),
}

/// What a transfer wants now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Do(Order),
    End(Verdict),
}

impl Transfer {
    /// Begins; the order is the first thing to do.
    pub fn begin(plan: TransferPlan, now: Moment) -> (Self, Order) {
        let (state, order) = match plan.mode {
            TransferMode::Blind => (State::Asked { until: now + plan.ring_timeout }, Order::Refer),
            TransferMode::Attended => (State::Calling { until: now + plan.ring_timeout }, Order::Call),
        };
        (Self { plan, state, status: None }, order)
    }

    pub const fn plan(&self) -> &TransferPlan {
        &self.plan
    }

    /// The last status that the far side reported.
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the target is in a call with us, which must be let go when the transfer fails.
    pub const fn holds_target(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Briefing { .. } | State::Joining { .. })
    }

    pub fn handle(&mut self, event: &TransferEvent, now: Moment) -> Option<Step> {
        match event {
            TransferEvent::Impossible(why) => Some(Step::End(Verdict::Failed(TransferFailure::Failed, why.as_str()))),
            TransferEvent::Target(event) => self.target(event, now),
            _ if !matches!(self.state, State::Asked { .. } | State::Trying { .. } | State::Joining { .. }) => None,
            TransferEvent::Accepted => self.trying(),
            TransferEvent::Progress(status) => {
                self.status = Some(*status);
                self.trying()
            }
            TransferEvent::Refused(status) => {
                self.status = Some(*status);
                Some(Step::End(Verdict::Failed(TransferFailure::Failed, "refused")))
            }
            TransferEvent::Finished(status) => {
                self.status = Some(*status);
                Some(Step::End(verdict(*status)))
            }
        }
    }

    /// When [`Transfer::timeout`] is due.
    pub const fn deadline(&self) -> Moment {
        match self.state {
            State::Asked { until }
            | State::Trying { until }
            | State::Calling { until }
            | State::Briefing { until }
            | State::Joining { until } => until,
        }
    }

    /// The clock has reached `now`.
    pub fn timeout(&self, now: Moment) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        let rang = self.status.is_some_and(|status| status >= 180);
        let verdict = match self.state {
            State::Trying { .. } if rang => Verdict::Failed(TransferFailure::NoAnswer, "no_answer"),
            State::Calling { .. } => Verdict::Failed(TransferFailure::NoAnswer, "no_answer"),
            State::Briefing { .. } => Verdict::Failed(TransferFailure::Failed, "briefing_took_too_long"),
            State::Asked { .. } | State::Trying { .. } | State::Joining { .. } => {
                Verdict::Failed(TransferFailure::Failed, "no_report")
            }
        };
        Some(Step::End(verdict))
    }

    const fn trying(&mut self) -> Option<Step> {
        if let State::Asked { until } = self.state {
            self.state = State::Trying { until };
        }
        None
    }

    fn target(&mut self, event: &TargetEvent, now: Moment) -> Option<Step> {
        match (&self.state, event) {
            (State::Calling { .. }, TargetEvent::Ringing) => {
                self.status = Some(180);
                None
            }
            (State::Calling { .. }, TargetEvent::Answered) => {
                self.state = State::Briefing { until: now + LONGEST_BRIEF };
                None
            }
            (State::Briefing { .. }, TargetEvent::Briefed) => {
                self.state = State::Joining { until: now + LONGEST_JOIN };
                Some(Step::Do(Order::Join))
            }
            (State::Calling { .. } | State::Briefing { .. }, TargetEvent::Gone(reason)) => {
                let verdict = gone(reason);
                self.state = State::Asked { until: now };
                Some(Step::End(verdict))
            }
            // Whoever takes our place in the target's call ends ours: the report of success follows.
            _ => None,
        }
    }
}

impl Impossible {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTarget => "no_target",
            Self::ThisLine => "not_on_this_line",
            Self::NoCall => "no_call",
        }
    }
}

/// The longest word to the target.
const LONGEST_BRIEF: Duration = Duration::from_secs(60);

/// From the request to take our place to the report of it: one exchange of two sides that are both there.
const LONGEST_JOIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum State {
    /// The caller's side was asked to call the target. Left by its answer.
    Asked { until: Moment },
    /// The caller's side calls the target. Left by its last report.
    Trying { until: Moment },
    /// We call the target. Left by its answer.
    Calling { until: Moment },
    /// The target is told what it is about. Left when it knows.
    Briefing { until: Moment },
    /// The caller's side was asked to take our place. Left by its last report.
    Joining { until: Moment },
}

const fn verdict(status: u16) -> Verdict {
    match status {
        200..300 => Verdict::Succeeded,
        486 | 600 => Verdict::Failed(TransferFailure::Busy, "busy"),
        408 | 480 | 487 => Verdict::Failed(TransferFailure::NoAnswer, "no_answer"),
        _ => Verdict::Failed(TransferFailure::Failed, "not_reached"),
    }
}

const fn gone(reason: &EndReason) -> Verdict {
    match reason {
        EndReason::Busy => Verdict::Failed(TransferFailure::Busy, "busy"),
        EndReason::NoAnswer => Verdict::Failed(TransferFailure::NoAnswer, "no_answer"),
        EndReason::CalleeHungUp => Verdict::Failed(TransferFailure::Failed, "declined"),
        _ => Verdict::Failed(TransferFailure::Failed, "not_reached"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialog::TransferTo;

    const fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn begin(mode: TransferMode) -> (Transfer, Order) {
        let to = TransferTo::Name("desk".into());
        Transfer::begin(TransferPlan { to, mode, ring_timeout: at(20), brief: Vec::new() }, at(100))
    }

    fn failed(step: Option<Step>) -> &'static str {
        match step {
            Some(Step::End(Verdict::Failed(_, why))) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blind_transfer_succeeds_only_by_a_final_report() {
        let (mut transfer, order) = begin(TransferMode::Blind);
        assert_eq!(order, Order::Refer);
        assert_eq!(transfer.handle(&TransferEvent::Accepted, at(100)), None);
        assert_eq!(transfer.handle(&TransferEvent::Progress(180), at(101)), None);
        assert_eq!(transfer.timeout(at(119)), None);
        assert_eq!(transfer.handle(&TransferEvent::Finished(200), at(110)), Some(Step::End(Verdict::Succeeded)));
    }

    #[test]
    fn every_end_of_a_blind_transfer_has_its_reason() {
        let cases = [
            (vec![TransferEvent::Refused(603)], "refused"),
            (vec![TransferEvent::Accepted, TransferEvent::Finished(486)], "busy"),
            (vec![TransferEvent::Accepted, TransferEvent::Progress(180), TransferEvent::Finished(480)], "no_answer"),
            (vec![TransferEvent::Accepted, TransferEvent::Finished(404)], "not_reached"),
            (vec![TransferEvent::Impossible(Impossible::NoTarget)], "no_target"),
        ];
        for (events, why) in cases {
            let (mut transfer, _) = begin(TransferMode::Blind);
            let mut last = None;
            for event in &events {
                assert_eq!(last, None);
                last = transfer.handle(event, at(101));
            }
            assert_eq!(failed(last), why);
        }
    }

    #[test]
    fn silence_ends_a_transfer_too() {
        let (mut transfer, _) = begin(TransferMode::Blind);
        transfer.handle(&TransferEvent::Accepted, at(100));
        assert_eq!(failed(transfer.timeout(at(120))), "no_report");
        transfer.handle(&TransferEvent::Progress(180), at(105));
        assert_eq!(failed(transfer.timeout(at(120))), "no_answer");
    }

    #[test]
    fn an_attended_transfer_goes_through_its_states_in_order() {
        let (mut transfer, order) = begin(TransferMode::Attended);
        assert_eq!(order, Order::Call);
        let target = TransferEvent::Target;
        assert_eq!(transfer.handle(&target(TargetEvent::Briefed), at(101)), None, "nobody has answered yet");
        assert_eq!(transfer.handle(&target(TargetEvent::Ringing), at(101)), None);
        assert_eq!(transfer.handle(&target(TargetEvent::Answered), at(105)), None);
        assert_eq!(transfer.deadline(), at(165));
        assert_eq!(transfer.handle(&target(TargetEvent::Briefed), at(110)), Some(Step::Do(Order::Join)));
        let gone = TargetEvent::Gone(EndReason::CalleeHungUp);
        assert_eq!(transfer.handle(&target(gone), at(111)), None, "our place there was taken");
        assert_eq!(transfer.handle(&TransferEvent::Finished(200), at(111)), Some(Step::End(Verdict::Succeeded)));
    }

    #[test]
    fn a_target_that_hangs_up_while_it_is_told_has_declined() {
        let (mut transfer, _) = begin(TransferMode::Attended);
        transfer.handle(&TransferEvent::Target(TargetEvent::Answered), at(105));
        let gone = TransferEvent::Target(TargetEvent::Gone(EndReason::CalleeHungUp));
        assert_eq!(failed(transfer.handle(&gone, at(106))), "declined");
        let (mut transfer, _) = begin(TransferMode::Attended);
        let gone = TransferEvent::Target(TargetEvent::Gone(EndReason::Busy));
        assert_eq!(failed(transfer.handle(&gone, at(106))), "busy");
    }
}
