//! What `sim_call --scenario turn-taking` has found on the wire: reads the reports of its runs, so that one table holds all.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct WireRun {
    /// Its directory's name.
    pub name: String,
    pub via: String,
    /// Nothing was done to its packets.
    pub clean: bool,
    pub calls: u32,
    pub concurrency: u32,
    pub seed: u64,
    pub failures: usize,
    /// Frames of all that the harness itself sent more than 5 ms late, %.
    pub late_frames: f32,
    pub metrics: BTreeMap<String, Summary>,
    pub conditions: Vec<Condition>,
}

/// A distribution's figures; none of them where nothing was measured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Summary {
    pub n: usize,
    pub p50: Option<f32>,
    pub p95: Option<f32>,
    pub p99: Option<f32>,
}

/// What went wrong under a condition.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Condition {
    pub condition: String,
    pub onsets: usize,
    pub within_250_percent: Option<f32>,
    pub missed: usize,
    pub minutes: f32,
    pub false_holds: u32,
    pub false_commits: u32,
}

impl WireRun {
    /// Every report in a directory below `dir`, by name. Other tools' files are passed over.
    ///
    /// # Errors
    /// Names the report that cannot be understood.
    pub fn read_all(dir: &Path) -> Result<Vec<Self>, String> {
        let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path().join("report.json")).collect();
        files.retain(|file| file.is_file());
        // Those over SIP first, and of each way the clean line: shorter names are.
        files.sort_by_key(|file| (file.as_os_str().len(), file.clone()));
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Result<Self, String> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let octets = std::fs::read(file).map_err(|e| named(&e))?;
        let raw: Raw = serde_json::from_slice(&octets).map_err(|e| named(&e))?;
        let Setting { via, calls, concurrency, seed, network, own_lateness } = raw.setting;
        let name = file.parent().and_then(Path::file_name).unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            via,
            clean: network.values().all(|value| *value == 0.0),
            calls,
            concurrency,
            seed,
            failures: raw.failures.len(),
            late_frames: 100.0 * own_lateness.over_5_ms as f32 / own_lateness.frames.max(1) as f32,
            metrics: raw.metrics,
            conditions: raw.turn_taking.unwrap_or_default(),
        })
    }

    pub fn metric(&self, name: &str) -> Summary {
        self.metrics.get(name).copied().unwrap_or_default()
    }
}

impl Condition {
    /// Onsets after which the bot was not silent within 250 ms.
    pub fn late(&self) -> usize {
        let within = self.within_250_percent.unwrap_or(100.0) / 100.0 * self.onsets as f32;
        self.onsets - (within.round() as usize).min(self.onsets)
    }
}

#[derive(Deserialize)]
struct Raw {
    setting: Setting,
    metrics: BTreeMap<String, Summary>,
    failures: Vec<serde::de::IgnoredAny>,
    turn_taking: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Setting {
    via: String,
    calls: u32,
    concurrency: u32,
    seed: u64,
    network: BTreeMap<String, f64>,
    own_lateness: Lateness,
}

#[derive(Deserialize)]
struct Lateness {
    frames: u64,
    over_5_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "setting": {"via": "sip", "calls": 6, "concurrency": 3, "seed": 7, "network": {"loss": 0.0, "jitter_ms": 20.0},
                    "own_lateness": {"realtime": true, "frames": 200, "over_5_ms": 1, "max_ms": 7.0}},
        "metrics": {"stop_ms": {"n": 3, "p50": 60.5, "p95": 90.0, "p99": 90.0, "max": 90.0},
                    "asr_ms": {"n": 0, "p50": null, "p95": null, "p99": null, "max": null}},
        "failures": [{"call": 1}],
        "turn_taking": [{"condition": "clean", "onsets": 8, "within_250_percent": 75.0, "missed": 1, "minutes": 1.5,
                         "false_holds": 0, "false_commits": 0}]
    }"#;

    #[test]
    fn reports_are_read_the_clean_line_first() {
        let dir = std::env::temp_dir().join(format!("offhook-wire-{}", std::process::id()));
        for (name, text) in
            [("sip-jitter20", REPORT.to_owned()), ("sip", REPORT.replace("\"jitter_ms\": 20.0", "\"jitter_ms\": 0.0"))]
        {
            std::fs::create_dir_all(dir.join(name)).unwrap();
            std::fs::write(dir.join(name).join("report.json"), text).unwrap();
        }
        let runs = WireRun::read_all(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let names: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.clean, run.failures)).collect();
        assert_eq!(names, [("sip", true, 1), ("sip-jitter20", false, 1)]);
        assert_eq!((runs[0].metric("stop_ms").p50, runs[0].metric("asr_ms").p50), (Some(60.5), None));
        assert_eq!((runs[0].conditions[0].late(), runs[0].late_frames), (2, 0.5));
        assert!(WireRun::read_all(&dir).unwrap_err().contains("offhook-wire"));
    }
}
