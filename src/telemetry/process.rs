//! What the kernel knows of this process, read when metrics are asked for.
//!
//! A figure that cannot be read is left out rather than reported as 0.

use std::fmt;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::clock;

/// Memory, descriptors, threads and age of this process.
#[derive(Debug)]
pub(super) struct Process {
    began: Duration,
    began_at: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { began: clock::now(), began_at: Timestamp::now().as_millisecond() as f64 / 1000.0 }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let figures = [
            ("process_resident_memory_bytes", "Resident memory.", status_line(&status, "VmRSS:").map(|kb| kb * 1024)),
            ("process_threads", "Threads.", status_line(&status, "Threads:")),
            ("process_open_fds", "Open file descriptors.", open_descriptors()),
        ];
        for (name, help, value) in figures {
            if let Some(value) = value {
                gauge(&mut encoder, name, help, value as f64)?;
            }
        }
        gauge(&mut encoder, "process_start_time_seconds", "Start of the process, Unix time.", self.began_at)?;
        gauge(
            &mut encoder,
            "offhook_uptime_seconds",
            "Age of the process.",
            clock::now().saturating_sub(self.began).as_secs_f64(),
        )
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// The number after `key` in the text of proc_pid_status(5).
fn status_line(status: &str, key: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<u64> {
    // The listing itself holds one descriptor open.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_text() {
        let status = "Name:\toffhook\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        assert_eq!(status_line(status, "VmRSS:"), Some(2048));
        assert_eq!(status_line(status, "Threads:"), Some(7));
        assert_eq!(status_line(status, "VmSwap:"), None);
        assert_eq!(status_line("VmRSS:\tmany kB\n", "VmRSS:"), None);
    }
}
