//! The shard's one timer, finer than the runtime's 1 ms wheel, and its thread's priority.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::call::Moment;
use crate::clock;

/// Waits until a moment, to some tens of microseconds.
pub struct Pacer(AsyncFd<Timer>);

impl Pacer {
    /// # Errors
    /// When the system has no timer to give.
    pub fn new() -> std::io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "the descriptor is the timer's own for as long as it lives; its successor is unsafe"
        )]
        let registered = AsyncFd::with_interest(Timer(timer), Interest::READABLE)?;
        Ok(Self(registered))
    }

    /// Returns at `due`, or at once when that has passed; never without a moment to wait for.
    ///
    /// # Errors
    /// When the timer fails.
    pub async fn wait_until(&self, due: Option<Moment>) -> std::io::Result<()> {
        let Some(due) = due else { return std::future::pending().await };
        let left = due.saturating_sub(clock::now());
        if left.is_zero() {
            return Ok(());
        }
        let timer = &self.0.get_ref().0;
        timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.0.readable().await?;
            if clock::now() >= due {
                ready.clear_ready();
                return Ok(());
            }
            // An expiry left over from a wait that was given up.
            ready.clear_ready();
        }
    }
}

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

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
