//! The way into the store for calls: never waits, so a media thread may use it.
//!
//! When the queue is full the record is lost, counted and complained about; the call goes on. The figures of a turn are
//! observed here and nowhere else, so that Prometheus, the table and the CSV are told the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::record::{Interruption, InterruptionOutcome, Record, TurnRecord};
use crate::clock;
use crate::telemetry::metrics::{Metrics, Stage};

/// Takes records from anywhere; a clone fills the same queue.
#[derive(Clone, Debug)]
pub struct RecordSink {
    queue: mpsc::Sender<Message>,
    metrics: Metrics,
    complaints: Arc<Complaints>,
}

impl RecordSink {
    /// Hands a record to the writer without waiting. A record that finds the queue full or the writer gone is counted
    /// in `offhook_records_lost_total`.
    pub fn record(&self, record: Record) {
        match &record {
            Record::Turn { turn, .. } => observe(&self.metrics, turn),
            Record::Interruption { interruption, .. } => observe_interruption(&self.metrics, interruption),
            _ => {}
        }
        match self.queue.try_send(Message::Record(record)) {
            Ok(()) => drop(self.metrics.records_waiting.inc()),
            Err(_) => {
                self.metrics.records_lost.inc();
                self.complaints.complain(self.queue.is_closed());
            }
        }
    }

    /// Waits until everything recorded before is kept (in the database or the spool); false when the writer is gone.
    pub async fn flush(&self) -> bool {
        let (done, kept) = oneshot::channel();
        self.queue.send(Message::Flush(done)).await.is_ok() && kept.await.is_ok()
    }

    /// Whether a writer still empties the queue.
    pub(super) fn is_served(&self) -> bool {
        !self.queue.is_closed()
    }
}

/// What travels to the writer.
#[derive(Debug)]
pub(super) enum Message {
    Record(Record),
    /// Answered when everything before it is kept.
    Flush(oneshot::Sender<()>),
}

/// A sink and the queue that it fills.
pub(super) fn queue(capacity: usize, metrics: Metrics) -> (RecordSink, mpsc::Receiver<Message>) {
    let (queue, inbox) = mpsc::channel(capacity);
    let complaints =
        Arc::new(Complaints { began: clock::now(), next_ms: AtomicU64::new(0), silent: AtomicU64::new(0) });
    (RecordSink { queue, metrics, complaints }, inbox)
}

/// Records that may wait for the writer; a few hundred calls for several minutes.
pub const QUEUE: usize = 65_536;

fn observe(metrics: &Metrics, turn: &TurnRecord) {
    let stages = [
        (metrics.stage(Stage::Asr), turn.asr_ms),
        (metrics.stage(Stage::Llm), turn.llm_ms),
        (metrics.stage(Stage::Tts), turn.tts_ms),
        (metrics.stage(Stage::Total), turn.total_ms),
        (&metrics.barge_in_ms, turn.barge_in_ms),
    ];
    for (histogram, ms) in stages {
        if let Some(ms) = ms {
            histogram.observe(ms);
        }
    }
}

fn observe_interruption(metrics: &Metrics, told: &Interruption) {
    metrics.interruption(told.outcome.as_str());
    if let Some(decided_ms) = told.decided_ms {
        metrics.hold_decision_ms.observe(decided_ms - told.held_ms);
    }
    // How long the bot took to fall silent is a figure of the turn that was cut off.
    if matches!(told.outcome, InterruptionOutcome::Resumed(_) | InterruptionOutcome::Recovered) {
        metrics.false_holds.inc();
    }
}

/// Says that records are lost, at most once a second.
#[derive(Debug)]
struct Complaints {
    began: Duration,
    next_ms: AtomicU64,
    silent: AtomicU64,
}

impl Complaints {
    fn complain(&self, writer_gone: bool) {
        let now = u64::try_from(clock::now().saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Relaxed);
        let mine = now >= next && self.next_ms.compare_exchange(next, now + 1000, Relaxed, Relaxed).is_ok();
        if !mine {
            self.silent.fetch_add(1, Relaxed);
            return;
        }
        let lost = self.silent.swap(0, Relaxed) + 1;
        tracing::error!(lost, writer_gone, "call records lost: the record queue takes no more");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::record::{CallEvent, CallId, CommittedBy, EndReason, ResumedFor};
    use super::*;
    use crate::telemetry::pii::Pii;

    fn event() -> Record {
        let event = CallEvent { kind: "answered", at_ms: 0.0, detail: None };
        Record::Event { call: CallId::fresh(), at: Timestamp::UNIX_EPOCH, event }
    }

    #[test]
    fn a_full_queue_loses_and_counts_but_never_waits() {
        let metrics = Metrics::new();
        let (sink, mut inbox) = queue(3, metrics.clone());
        for _ in 0..10 {
            sink.record(event());
        }
        assert_eq!(metrics.records_lost.get(), 7);
        assert_eq!(metrics.records_waiting.get(), 3);
        assert!(inbox.try_recv().is_ok());
        sink.record(event());
        assert_eq!(metrics.records_lost.get(), 7, "there was room again");
        drop(inbox);
        sink.record(event());
        assert_eq!(metrics.records_lost.get(), 8, "nobody reads any more");
        assert!(!sink.is_served());
    }

    #[test]
    fn complains_at_most_once_a_second() {
        let (sink, _inbox) = queue(1, Metrics::new());
        for _ in 0..1000 {
            sink.record(event());
        }
        let until = sink.complaints.next_ms.load(Relaxed);
        assert!(until >= 1000, "the next complaint may come a second after the first");
        assert!(sink.complaints.silent.load(Relaxed) > 0);
    }

    #[test]
    fn the_figures_of_interruptions_reach_prometheus() {
        let metrics = Metrics::new();
        let (sink, _inbox) = queue(8, metrics.clone());
        let committed = |by| (InterruptionOutcome::Committed(by), Some(150.0));
        for (outcome, stop_ms) in [
            committed(CommittedBy::Speech),
            committed(CommittedBy::Key),
            (InterruptionOutcome::Resumed(ResumedFor::Silence), Some(90.0)),
            (InterruptionOutcome::Undecided, None),
        ] {
            let decided_ms = (outcome != InterruptionOutcome::Undecided).then_some(1300.0);
            let interruption = Interruption {
                onset_ms: 1000.0,
                held_ms: 1060.0,
                decided_ms,
                outcome,
                ducked: false,
                stop_ms,
                heard: Pii::new("We are".into()),
                unheard: Pii::new("open.".into()),
            };
            let (call, at) = (CallId::fresh(), Timestamp::UNIX_EPOCH);
            sink.record(Record::Interruption { call, at, interruption: Box::new(interruption) });
        }
        assert_eq!((metrics.hold_decision_ms.count(), metrics.hold_decision_ms.sum() as u32), (3, 720));
        assert_eq!(metrics.false_holds.get(), 1);
        let text = metrics.encode();
        assert!(text.contains(r#"offhook_interruptions_total{outcome="committed"} 2"#), "{text}");
        assert!(text.contains(r#"offhook_interruptions_total{outcome="recovered"} 0"#), "{text}");
    }

    #[test]
    fn the_figures_of_a_turn_reach_prometheus() {
        let metrics = Metrics::new();
        let (sink, _inbox) = queue(8, metrics.clone());
        let turn = TurnRecord { asr_ms: Some(120.0), total_ms: Some(800.0), ..TurnRecord::default() };
        sink.record(Record::Turn { call: CallId::fresh(), at: Timestamp::UNIX_EPOCH, turn: Box::new(turn) });
        sink.record(Record::CallEnded {
            call: CallId::fresh(),
            at: Timestamp::UNIX_EPOCH,
            reason: EndReason::FlowHungUp,
            summary: Default::default(),
        });
        assert_eq!(metrics.stage(Stage::Asr).count(), 1);
        assert!((metrics.stage(Stage::Total).sum() - 800.0).abs() < 1e-9);
        assert_eq!(metrics.stage(Stage::Llm).count(), 0, "a stage that took no part is not counted as 0 ms");
    }
}
