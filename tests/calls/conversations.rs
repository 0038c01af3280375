//! Conversations by chance: nothing is stuck, nobody is left in silence, and the record is what was heard.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::conversations::{Sum, flows, hold};

/// Of the seeds that `cargo bench --bench conversations` begins with.
const FEW: u64 = 1200;

#[test]
fn every_conversation_is_as_it_should_be() {
    let flows = flows();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut sum = Sum::default();
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < FEW) {
                    sum.add(seed, &hold(seed, &flows));
                }
                all.lock().join(sum);
            });
        }
    });
    let all = all.into_inner();
    assert!(all.failed.is_empty(), "by seed: {:#?}", all.failed);
    assert!(all.words > 0 && all.cut > 0, "{all:?}");
}
