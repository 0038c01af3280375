//! How many files the process may have open: every call holds sockets, and the customary limit of 1024 ends at some
//! hundreds of calls.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the process's own limit as far as the system lets it, and says in one line when that does not suffice for
/// `calls` calls.
pub fn raise_limit(calls: usize) {
    let needed = needed(calls);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard) } else { soft }
    });
    match raised {
        Ok(allowed) if allowed >= needed => {}
        Ok(allowed) => tracing::warn!(allowed, needed, "too few open files for limits.max_calls: raise RLIMIT_NOFILE"),
        Err(error) => tracing::warn!(%error, needed, "the limit of open files is not known"),
    }
}

/// Files that so many calls take.
pub fn needed(calls: usize) -> u64 {
    u64::try_from(calls).unwrap_or(u64::MAX).saturating_mul(PER_CALL).saturating_add(OTHERS)
}

/// The line to the caller and its reports, a recogniser, and a voice or a model.
const PER_CALL: u64 = 4;

/// Listeners, the store, HTTP clients, logs.
const OTHERS: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_at_the_hard_one_afterwards() {
        raise_limit(1);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
