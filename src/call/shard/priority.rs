//! The priority of a shard's thread.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Asks for round-robin scheduling, so that a busy machine does not make calls stutter.
pub fn ask_for_realtime() {
    let asked = ThreadPriority::try_from(PRIORITY).and_then(|priority| {
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
        set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|_| "refused by the system")
    });
    if let Err(reason) = asked {
        tracing::warn!(
            reason,
            "no real-time priority for media: calls may stutter when the machine is busy (needs CAP_SYS_NICE or an rtprio limit)"
        );
    }
}

/// Low in the real-time range: above everything ordinary, below the kernel's own threads.
const PRIORITY: u8 = 10;
