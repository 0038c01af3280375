//! Every figure the server exports, as handles that are plain atomics.
//!
//! A media thread may touch the counters and histograms that are fields; what takes a label beyond a [`Stage`] looks
//! it up under a lock and belongs to call setup, call end and failures. Label values are enums or `&'static str`, so
//! nothing that came from outside can become a time series.

use std::ops::Deref;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::histogram::LocalHistogram;
use super::process::Process;
use super::sip::SipMetrics;
use super::vendors::VendorMetrics;

/// The registry and all handles; a clone is the same registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Handles>);

impl Metrics {
    pub fn new() -> Self {
        Self(Arc::new(Handles::new()))
    }

    /// A call was accepted. `via` is a `Via::as_str`.
    pub fn call_started(&self, via: &'static str) {
        self.calls_active.get_or_create(&ViaLabel { via }).inc();
    }

    /// A call that was counted by [`Metrics::call_started`] is over. `end` is an `EndReason::as_str`.
    pub fn call_ended(&self, via: &'static str, end: &'static str) {
        self.calls_active.get_or_create(&ViaLabel { via }).dec();
        self.calls_total.get_or_create(&CallLabels { via, end }).inc();
    }

    /// The durations of one stage of a turn; free of locks.
    pub fn stage(&self, stage: Stage) -> &LocalHistogram {
        match stage {
            Stage::Asr => &self.asr_ms,
            Stage::Llm => &self.llm_ms,
            Stage::Tts => &self.tts_ms,
            Stage::Total => &self.total_ms,
        }
    }

    /// A vendor did not serve. `vendor` is a provider's `name()`.
    pub fn provider_failed(&self, vendor: &'static str, kind: FailureKind) {
        self.provider_failures.get_or_create(&FailureLabels { vendor, kind: kind.as_str() }).inc();
    }

    /// Another vendor took over from `vendor`.
    pub fn fell_back(&self, vendor: &'static str) {
        self.fallbacks.get_or_create(&VendorLabel { vendor }).inc();
    }

    /// A guardrail held something back; `rule` is its name in the code.
    pub fn guardrail(&self, rule: &'static str) {
        self.guardrails.get_or_create(&RuleLabel { rule }).inc();
    }

    /// Recordings that were not made or not whole, `more` of them. `why` is a recording fault's name.
    pub fn recording_failures(&self, why: &'static str, more: u64) {
        self.recording_failures.get_or_create(&WhyLabel { why }).inc_by(more);
    }

    /// An interruption is over. `outcome` is an `InterruptionOutcome::as_str`.
    pub fn interruption(&self, outcome: &'static str) {
        self.interruptions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A transfer is over. `outcome` is what the call's record says of it.
    pub fn transferred(&self, outcome: &'static str) {
        self.transfers.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A call of ours was asked for and not placed. `why` is the API's code for it.
    pub fn outbound_refused(&self, why: &'static str) {
        self.outbound_refused.get_or_create(&WhyLabel { why }).inc();
    }

    /// Something malformed or unlawful came from outside and was turned away.
    pub fn bad_input(&self, kind: BadInput) {
        self.bad_input_total.get_or_create(&KindLabel { kind: kind.as_str() }).inc();
    }

    /// A call ended that spoke `codec`, encrypted by `srtp` or `none`; both are names of closed sets.
    pub fn call_spoke(&self, codec: &'static str, srtp: &'static str) {
        self.calls_by_codec.get_or_create(&CodecLabels { codec, srtp }).inc();
    }

    /// A call heard nothing in its first two seconds. `cause` is a `NoAudioCause::as_str`.
    pub fn no_audio(&self, cause: &'static str) {
        self.calls_without_audio.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Everything as text, to be served with [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a String fails only if a metric does, and none of ours does.
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

/// The handles themselves, reached through [`Metrics`]. All are free of locks.
#[derive(Debug)]
pub struct Handles {
    /// Onset of the caller's speech to our last audible packet, ms.
    pub barge_in_ms: LocalHistogram,
    /// From a hold to the decision what it was for, ms.
    pub hold_decision_ms: LocalHistogram,
    /// How late a playout tick came, ms.
    pub pacing_error_ms: LocalHistogram,
    /// INVITE received to 200 sent, ms.
    pub sip_setup_ms: LocalHistogram,
    pub barge_ins: Counter,
    /// The bot paused for a sound that was no turn, and went on.
    pub false_holds: Counter,
    /// The bot began while the caller had not finished.
    pub cut_ins: Counter,
    /// Answers begun before it was sure that the caller's turn was over, and those of them that were spoken.
    pub speculations: Counter,
    pub speculations_used: Counter,
    pub digits: Counter,
    /// Times that either side held a call.
    pub holds: Counter,
    /// Records that reached neither the database nor the spool.
    pub records_lost: Counter,
    /// Records that had to wait in the spool file.
    pub records_spooled: Counter,
    /// Records accepted and not yet written.
    pub records_waiting: Gauge,
    /// Audio frames dropped because their reader was too slow.
    pub frames_dropped: Counter,
    pub rtp_packets_lost: Counter,
    /// Audio made up for lost packets, ms.
    pub concealed_ms: Counter,
    /// SRTP packets that no key opened, or that came twice.
    pub rtp_unauthentic: Counter,
    /// Mean opinion score of what we heard of a call (ITU-T G.107).
    pub call_mos: LocalHistogram,
    pub call_loss_percent: LocalHistogram,
    pub call_jitter_ms: LocalHistogram,
    pub call_round_trip_ms: LocalHistogram,
    /// Recordings that go on.
    pub recordings_active: Gauge,
    /// Bytes of audio written to recordings.
    pub recorded_bytes: Counter,
    /// Frames that were lost on the way to a recording.
    pub recording_frames_dropped: Counter,
    /// 1 while no new recording is begun for want of room.
    pub recording_alarm: Gauge,
    recording_failures: Family<WhyLabel, Counter>,
    outbound_refused: Family<WhyLabel, Counter>,
    interruptions: Family<OutcomeLabel, Counter>,
    transfers: Family<OutcomeLabel, Counter>,
    asr_ms: LocalHistogram,
    llm_ms: LocalHistogram,
    tts_ms: LocalHistogram,
    total_ms: LocalHistogram,
    calls_active: Family<ViaLabel, Gauge>,
    calls_total: Family<CallLabels, Counter>,
    calls_by_codec: Family<CodecLabels, Counter>,
    calls_without_audio: Family<CauseLabel, Counter>,
    provider_failures: Family<FailureLabels, Counter>,
    fallbacks: Family<VendorLabel, Counter>,
    guardrails: Family<RuleLabel, Counter>,
    bad_input_total: Family<KindLabel, Counter>,
    /// Trunks, accounts and the guard.
    pub sip: SipMetrics,
    /// How vendors are used and what keeps them from being asked.
    pub vendors: VendorMetrics,
    registry: Registry,
}

/// A stage of a turn that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Asr,
    Llm,
    Tts,
    Total,
}

/// Why a vendor did not serve, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    NotConfigured,
    Unauthorized,
    RateLimited,
    Status,
    Timeout,
    Connection,
    Protocol,
    Program,
}

impl FailureKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Protocol => "protocol",
            Self::Program => "program",
        }
    }
}

/// Where malformed or unlawful input arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInput {
    Sip,
    Sdp,
    Rtp,
    /// Media from an address or SSRC that is not the call's.
    StrangeMedia,
    Rtcp,
    /// Packets of an encrypted call that its key does not open.
    Srtp,
    Dtmf,
    TwilioMessage,
    TwilioAudio,
    Webhook,
    Http,
    ProviderReply,
}

impl BadInput {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Sdp => "sdp",
            Self::Rtp => "rtp",
            Self::StrangeMedia => "strange_media",
            Self::Rtcp => "rtcp",
            Self::Srtp => "srtp",
            Self::Dtmf => "dtmf",
            Self::TwilioMessage => "twilio_message",
            Self::TwilioAudio => "twilio_audio",
            Self::Webhook => "webhook",
            Self::Http => "http",
            Self::ProviderReply => "provider_reply",
        }
    }
}

/// The `Content-Type` of [`Metrics::encode`]: the OpenMetrics text that Prometheus scrapes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Handles {
    fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        r.register("offhook_build", "What runs.", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        r.register_collector(Box::new(Process::new()));
        let stages = Family::<StageLabel, LocalHistogram, fn() -> LocalHistogram>::new_with_constructor(|| {
            LocalHistogram::new(TURN_MS)
        });
        let stage = |stage| stages.get_or_create_owned(&StageLabel { stage });
        let (asr_ms, llm_ms, tts_ms, total_ms) = (stage("asr"), stage("llm"), stage("tts"), stage("total"));
        r.register("offhook_stage_ms", "Stages of a turn, ms.", stages);
        let handles = Self {
            asr_ms,
            llm_ms,
            tts_ms,
            total_ms,
            barge_in_ms: histogram(r, "offhook_barge_in_ms", "Caller's speech to our silence, ms.", BARGE_IN_MS),
            hold_decision_ms: histogram(r, "offhook_hold_decision_ms", "Hold to decision, ms.", DECISION_MS),
            pacing_error_ms: histogram(r, "offhook_pacing_error_ms", "How late a playout tick came, ms.", PACING_MS),
            sip_setup_ms: histogram(r, "offhook_sip_setup_ms", "INVITE received to 200 sent, ms.", SETUP_MS),
            barge_ins: add(r, "offhook_barge_ins", "Times a caller interrupted the bot."),
            false_holds: add(r, "offhook_false_holds", "Pauses for a sound that was no turn."),
            cut_ins: add(r, "offhook_cut_ins", "Times the bot began while the caller had not finished."),
            speculations: add(r, "offhook_speculations", "Answers begun before the turn was surely over."),
            speculations_used: add(r, "offhook_speculations_used", "Answers begun early that were spoken."),
            interruptions: add(r, "offhook_interruptions", "Interruptions that are over, by outcome."),
            digits: add(r, "offhook_digits", "Keys pressed."),
            holds: add(r, "offhook_holds", "Times that either side held a call."),
            transfers: add(r, "offhook_transfers", "Transfers that are over, by outcome."),
            outbound_refused: add(r, "offhook_outbound_refused", "Calls of ours not placed, by reason."),
            records_lost: add(r, "offhook_records_lost", "Records that reached no storage."),
            records_spooled: add(r, "offhook_records_spooled", "Records that waited in the spool file."),
            records_waiting: add(r, "offhook_records_waiting", "Records accepted and not yet written."),
            frames_dropped: add(r, "offhook_frames_dropped", "Audio frames a slow reader missed."),
            rtp_packets_lost: add(r, "offhook_rtp_packets_lost", "RTP packets that never came."),
            concealed_ms: add(r, "offhook_concealed_ms", "Audio made up for lost packets, ms."),
            recordings_active: add(r, "offhook_recordings_active", "Recordings that go on."),
            recorded_bytes: add(r, "offhook_recorded_bytes", "Bytes of audio written to recordings."),
            recording_frames_dropped: add(r, "offhook_recording_frames_dropped", "Frames lost on the way to a file."),
            recording_alarm: add(r, "offhook_recording_alarm", "1 while there is no room for new recordings."),
            recording_failures: add(r, "offhook_recording_failures", "Recordings not made or not whole, by reason."),
            rtp_unauthentic: add(r, "offhook_rtp_unauthentic", "SRTP packets that did not authenticate."),
            call_mos: histogram(r, "offhook_call_mos", "Mean opinion score of calls (ITU-T G.107).", MOS),
            call_loss_percent: histogram(
                r,
                "offhook_call_loss_percent",
                "Packets that calls missed, percent.",
                PERCENT,
            ),
            call_jitter_ms: histogram(r, "offhook_call_jitter_ms", "Interarrival jitter of calls, ms.", NETWORK_MS),
            call_round_trip_ms: histogram(r, "offhook_call_round_trip_ms", "Round trip by RTCP, ms.", NETWORK_MS),
            calls_by_codec: add(r, "offhook_calls_by_codec", "Calls that ended, by codec and encryption."),
            calls_without_audio: add(r, "offhook_calls_without_audio", "Calls silent for two seconds, by cause."),
            calls_active: add(r, "offhook_calls_active", "Calls in progress."),
            calls_total: add(r, "offhook_calls", "Calls that ended, by reason."),
            provider_failures: add(r, "offhook_provider_failures", "Times a vendor did not serve."),
            fallbacks: add(r, "offhook_provider_fallbacks", "Times another vendor took over."),
            guardrails: add(r, "offhook_guardrail_triggers", "Times a guardrail held something back."),
            bad_input_total: add(r, "offhook_bad_input", "Malformed or unlawful input turned away."),
            sip: SipMetrics::register(r),
            vendors: VendorMetrics::register(r),
            registry: Registry::default(),
        };
        // A scrape before the first call says 0 rather than nothing.
        for via in ["sip", "twilio"] {
            drop(handles.calls_active.get_or_create(&ViaLabel { via }));
        }
        for outcome in ["committed", "resumed", "recovered", "undecided"] {
            drop(handles.interruptions.get_or_create(&OutcomeLabel { outcome }));
        }
        Self { registry, ..handles }
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn histogram(registry: &mut Registry, name: &str, help: &str, bounds: &'static [f64]) -> LocalHistogram {
    let histogram = LocalHistogram::new(bounds);
    registry.register(name, help, histogram.clone());
    histogram
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViaLabel {
    via: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    via: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodecLabels {
    codec: &'static str,
    srtp: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    vendor: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VendorLabel {
    vendor: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Finest around the second that a caller notices.
const TURN_MS: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0, 1250.0, 1500.0, 2000.0,
    3000.0, 4000.0, 6000.0, 10_000.0, 30_000.0,
];
/// Finest around 250 ms, the longest that a caller should hear us talk on.
const BARGE_IN_MS: &[f64] =
    &[20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 225.0, 250.0, 300.0, 400.0, 600.0, 1000.0];
/// A hold lasts 700 ms at most; a turn without words is known for one seconds later.
const DECISION_MS: &[f64] =
    &[20.0, 40.0, 80.0, 120.0, 160.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 700.0, 1000.0, 2000.0, 4000.0];
/// A tick is 20 ms; 5 ms late is counted as late.
const PACING_MS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 40.0, 60.0, 100.0, 500.0];
/// Below 3.6 many users are dissatisfied (ITU-T G.107 table B.1).
const MOS: &[f64] = &[1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.1, 4.2, 4.3, 4.35, 4.4];
const PERCENT: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 50.0];
const NETWORK_MS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0];
const SETUP_MS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_counted() {
        let metrics = Metrics::new();
        metrics.call_started("sip");
        metrics.call_started("sip");
        metrics.call_ended("sip", "caller_hung_up");
        metrics.stage(Stage::Asr).observe(120.0);
        metrics.pacing_error_ms.observe(0.3);
        metrics.provider_failed("deepgram", FailureKind::Timeout);
        metrics.bad_input(BadInput::Sdp);
        metrics.concealed_ms.inc_by(40);
        let text = metrics.encode();
        for line in [
            r#"offhook_calls_active{via="sip"} 1"#,
            r#"offhook_calls_active{via="twilio"} 0"#,
            r#"offhook_calls_total{via="sip",end="caller_hung_up"} 1"#,
            r#"offhook_stage_ms_bucket{le="150.0",stage="asr"} 1"#,
            r#"offhook_stage_ms_count{stage="llm"} 0"#,
            r#"offhook_pacing_error_ms_bucket{le="0.5"} 1"#,
            r#"offhook_provider_failures_total{vendor="deepgram",kind="timeout"} 1"#,
            r#"offhook_bad_input_total{kind="sdp"} 1"#,
            "offhook_concealed_ms_total 40",
            "offhook_records_lost_total 0",
            concat!(r#"offhook_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn says_how_the_process_is() {
        let text = Metrics::new().encode();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("offhook_uptime_seconds") >= 0.0);
    }

    /// Selectors and names in an expression of Prometheus, such as `offhook_stage_ms_count` and `stage="total"`.
    fn named(expression: &str) -> Vec<&str> {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '=' | '"' | '.');
        let names = |word: &&str| word.starts_with("offhook_") || word.contains("=\"");
        expression.split(|c| !is_part(c)).filter(names).collect()
    }

    #[test]
    fn alerts_watch_only_what_is_served() {
        let rules: serde_json::Value =
            serde_saphyr::from_str(include_str!("../../deploy/prometheus/alerts.yaml")).unwrap();
        let text = Metrics::new().encode();
        let mut names = Vec::new();
        for group in rules["groups"].as_array().unwrap() {
            assert!(group["name"].is_string());
            for rule in group["rules"].as_array().unwrap() {
                for key in ["alert", "expr", "for"] {
                    assert!(rule[key].is_string(), "{key} of {rule}");
                }
                assert!(rule["labels"]["severity"].is_string() && rule["annotations"]["summary"].is_string());
                let named = named(rule["expr"].as_str().unwrap());
                assert!(!named.is_empty(), "{rule}");
                for part in named {
                    let served = |line: &str| match line.strip_prefix(part) {
                        Some(rest) => rest.starts_with(['{', ' ']),
                        None => part.contains('=') && line.contains(part),
                    };
                    assert!(text.lines().any(served), "`{part}` of {} is not served", rule["alert"]);
                    names.push(part.to_owned());
                }
            }
        }
        for wanted in ["offhook_barge_in_ms_bucket", "offhook_false_holds_total", "offhook_cut_ins_total"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted}");
        }
        assert_eq!(named(r#"rate(offhook_a_bucket{le="1.0"}[5m]) > 2"#), ["offhook_a_bucket", r#"le="1.0""#]);
    }

    #[test]
    fn every_name_is_registered_once() {
        let text = Metrics::new().encode();
        let mut names: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
