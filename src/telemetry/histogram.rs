//! A histogram of fixed buckets that a media thread may observe 50 times a second per call.
//!
//! `prometheus_client`'s own takes a lock for each observation. This one adds to two atomics, so it neither waits nor
//! allocates. Deliberately absent: exemplars, and a count of its own (it is the sum of the buckets).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Durations in ms. A clone observes into the same buckets.
#[derive(Clone, Debug)]
pub struct LocalHistogram(Arc<Buckets>);

impl LocalHistogram {
    /// `bounds` are the upper ends of the buckets in ms, ascending; a last bucket without an end is added.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum_us: AtomicU64::new(0) }))
    }

    /// Counts one duration. A negative one counts as 0; what is not a number is not counted.
    pub fn observe(&self, ms: f64) {
        if ms.is_nan() {
            return;
        }
        let ms = ms.max(0.0);
        let bucket = self.0.bounds.partition_point(|bound| *bound < ms);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        // A float-to-integer `as` saturates, and no duration in ms comes near the end of u64 in microseconds.
        self.0.sum_us.fetch_add((ms * 1000.0).round() as u64, Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All durations together, in ms.
    pub fn sum(&self) -> f64 {
        self.0.sum_us.load(Relaxed) as f64 / 1000.0
    }

    /// The duration in ms that a share `q` (0.0 to 1.0) of all stays under, taken evenly within its bucket; `None`
    /// before the first. In the last bucket it is that bucket's lower end: the histogram knows no more.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let counts: Vec<u64> = self.0.counts.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (index, count) in counts.iter().enumerate() {
            let count = *count as f64;
            let lower = index.checked_sub(1).and_then(|i| self.0.bounds.get(i)).copied().unwrap_or(0.0);
            let Some(upper) = self.0.bounds.get(index) else { return Some(lower) };
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
        }
        None
    }
}

impl EncodeMetric for LocalHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let bounds = self.0.bounds.iter().copied().chain(std::iter::once(f64::INFINITY));
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.counts.iter().map(|count| count.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for LocalHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 100.0];

    #[test]
    fn counts_each_duration_in_the_first_bucket_that_holds_it() {
        let histogram = LocalHistogram::new(BOUNDS);
        for ms in [0.0, 1.0, 1.001, 99.0, 100.5, -3.0, f64::NAN] {
            histogram.observe(ms);
        }
        assert_eq!(histogram.count(), 6, "what is not a number is not counted");
        assert!((histogram.sum() - 201.501).abs() < 1e-9, "{}", histogram.sum());
        let counts: Vec<u64> = histogram.0.counts.iter().map(|c| c.load(Relaxed)).collect();
        assert_eq!(counts, [3, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn percentiles_are_readable() {
        let histogram = LocalHistogram::new(BOUNDS);
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..98 {
            histogram.observe(1.5);
        }
        histogram.observe(50.0);
        histogram.observe(5_000.0);
        let median = histogram.quantile(0.5).unwrap();
        assert!((1.0..=2.0).contains(&median), "{median}");
        let p99 = histogram.quantile(0.99).unwrap();
        assert!((10.0..=100.0).contains(&p99), "{p99}");
        assert_eq!(histogram.quantile(1.0), Some(100.0), "the open bucket says its lower end");
    }

    #[test]
    fn threads_lose_nothing() {
        let histogram = LocalHistogram::new(BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|i| histogram.observe(f64::from(i % 7))));
            }
        });
        assert_eq!(histogram.count(), 40_000);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_in_the_bucket_of_the_true_one(mut all in prop::collection::vec(0.0..100.0f64, 1..200), q in 0.01..1.0f64) {
            let histogram = LocalHistogram::new(BOUNDS);
            all.iter().for_each(|ms| histogram.observe(*ms));
            all.sort_by(f64::total_cmp);
            let rank = ((q * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let exact = all[rank - 1];
            let bucket = BOUNDS.partition_point(|b| *b < exact);
            let lower = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] };
            let read = histogram.quantile(q).unwrap();
            prop_assert!(read >= lower - 1e-9 && read <= BOUNDS[bucket] + 1e-9, "{read} for {exact}");
        }
    }
}
