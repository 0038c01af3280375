//! What the end of a SIP call means for its record.

use offhook_sip::{EndCause, RefusalKind};

use crate::store::record::{Direction, EndReason};

/// `answered`: media were agreed on.
pub(super) const fn end_reason(direction: Direction, answered: bool, cause: EndCause) -> EndReason {
    match (direction, cause) {
        (_, EndCause::LocalBye) => EndReason::FlowHungUp,
        (_, EndCause::NoAck) => EndReason::NoAck,
        (_, EndCause::SessionExpired) => EndReason::SessionExpired,
        (_, EndCause::NoSdp) => EndReason::NoMedia,
        (Direction::Outbound, cause) if !answered => unanswered(cause),
        (Direction::Inbound, EndCause::RemoteBye | EndCause::Forgotten | EndCause::Replaced) => EndReason::CallerHungUp,
        (Direction::Outbound, EndCause::RemoteBye | EndCause::Forgotten | EndCause::Replaced) => {
            EndReason::CalleeHungUp
        }
        (_, EndCause::Cancelled) => EndReason::Cancelled,
        (
            _,
            EndCause::Rejected(_)
            | EndCause::NoAnswer
            | EndCause::TransportLost
            | EndCause::TransactionTimeout
            | EndCause::NoPrack
            | EndCause::NotPlaced,
        ) => EndReason::TransportLost,
    }
}

/// Whether another way may still reach a callee who has not been: never after a person or their telephone has refused.
pub(super) const fn is_worth_another_way(cause: EndCause) -> bool {
    match cause {
        EndCause::TransportLost | EndCause::TransactionTimeout => true,
        EndCause::Rejected(status) => matches!(
            RefusalKind::of(status),
            RefusalKind::Overloaded | RefusalKind::ServerFailure | RefusalKind::Unauthorized
        ),
        _ => false,
    }
}

const fn unanswered(cause: EndCause) -> EndReason {
    match cause {
        EndCause::Rejected(status) => refused(status),
        EndCause::NoAnswer => EndReason::NoAnswer,
        EndCause::Cancelled => EndReason::Cancelled,
        EndCause::RemoteBye | EndCause::Replaced => EndReason::CalleeHungUp,
        _ => EndReason::Unreachable,
    }
}

const fn refused(status: u16) -> EndReason {
    match RefusalKind::of(status) {
        RefusalKind::Busy => EndReason::Busy,
        RefusalKind::Unavailable | RefusalKind::Terminated => EndReason::NoAnswer,
        RefusalKind::NotFound
        | RefusalKind::Incomplete
        | RefusalKind::Overloaded
        | RefusalKind::ServerFailure
        | RefusalKind::Redirected => EndReason::Unreachable,
        RefusalKind::NotAcceptable => EndReason::NoMedia,
        RefusalKind::Unauthorized | RefusalKind::Forbidden | RefusalKind::Declined | RefusalKind::Other => {
            EndReason::Rejected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_one_clear_outcome() {
        let cases = [
            (486, EndReason::Busy),
            (600, EndReason::Busy),
            (480, EndReason::NoAnswer),
            (408, EndReason::NoAnswer),
            (404, EndReason::Unreachable),
            (503, EndReason::Unreachable),
            (302, EndReason::Unreachable),
            (603, EndReason::Rejected),
            (403, EndReason::Rejected),
            (407, EndReason::Rejected),
            (488, EndReason::NoMedia),
        ];
        for (status, reason) in cases {
            assert_eq!(end_reason(Direction::Outbound, false, EndCause::Rejected(status)), reason, "{status}");
        }
        assert_eq!(end_reason(Direction::Outbound, true, EndCause::RemoteBye), EndReason::CalleeHungUp);
        assert_eq!(end_reason(Direction::Inbound, true, EndCause::RemoteBye), EndReason::CallerHungUp);
        assert_eq!(end_reason(Direction::Outbound, false, EndCause::TransactionTimeout), EndReason::Unreachable);
    }

    #[test]
    fn a_callee_who_refuses_is_not_called_again_by_another_way() {
        for status in [486, 603, 480, 404, 302, 487] {
            assert!(!is_worth_another_way(EndCause::Rejected(status)), "{status}");
        }
        assert!(is_worth_another_way(EndCause::Rejected(503)) && is_worth_another_way(EndCause::TransactionTimeout));
    }
}
