//! The only clock reads of the process. Everything else is told the time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Monotonic time since the first call of this function.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}
