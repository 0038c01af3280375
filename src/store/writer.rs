//! The one task that writes: takes all waiting records into one transaction as soon as it is free.
//!
//! A busy database is tried again for up to 2 s. After that, and until it takes rows again, they wait in the spool, and
//! in the queue when even the disk is full. Calls never wait for any of it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::csv::CsvFiles;
use super::db::Db;
use super::record::Record;
use super::recover::{self, Recovery};
use super::row::{Privacy, Row, Turn};
use super::sink::Message;
use super::spool::Spool;
use crate::telemetry::metrics::Metrics;

/// The running writer; whoever holds it decides when it ends. Dropping it ends the writer too, without waiting.
#[derive(Debug)]
pub struct WriterHandle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    metrics: Metrics,
}

impl WriterHandle {
    /// Takes no more records, writes those accepted so far, and closes the database. False when that took longer than
    /// `patience`; records still waiting then are counted as lost.
    pub async fn shutdown(mut self, patience: Duration) -> bool {
        // An error means that the task is gone already; the wait below says so.
        let _ = self.stop.send(());
        let ended = timeout(patience, &mut self.task).await;
        if ended.is_err() {
            self.task.abort();
            let waiting = u64::try_from(self.metrics.records_waiting.get()).unwrap_or(0);
            self.metrics.records_lost.inc_by(waiting);
            tracing::error!(waiting, "call records were not all written at shutdown");
        }
        matches!(ended, Ok(Ok(())))
    }
}

/// The writer's parts.
pub(super) struct Writer {
    pub database: Db,
    pub spool: Spool,
    pub csv: Option<CsvFiles>,
    pub privacy: Privacy,
    pub metrics: Metrics,
    /// Tells the store's health that records wait in the spool.
    pub degraded: Arc<AtomicBool>,
    pub recovery: Recovery,
    /// Held for as long as this process may write to a file.
    pub lock: Option<File>,
}

impl Writer {
    pub(super) fn start(self, inbox: mpsc::Receiver<Message>) -> WriterHandle {
        let (stop, stopped) = oneshot::channel();
        let metrics = self.metrics.clone();
        WriterHandle { stop, task: tokio::spawn(self.run(inbox, stopped)), metrics }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::new();
        let mut stopping = false;
        let mut next_drain = Instant::now();
        let mut last_kept: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                // A handle that was dropped stops the writer as well: nobody could do so later.
                _ = &mut stopped, if !stopping => {
                    inbox.close();
                    stopping = true;
                }
                // Before the queue, which under load is never empty.
                () = sleep_until(next_drain), if !self.is_well() => {
                    self.drain(Duration::ZERO).await;
                    // Counted from its end: a slow attempt must not be followed by the next one at once.
                    next_drain = Instant::now() + DRAIN_EVERY;
                }
                taken = inbox.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    // A transaction costs as much as many rows: on a busy server they are gathered for a moment.
                    if last_kept.is_some_and(|at| at.elapsed() < GATHER) && taken < BATCH && !stopping {
                        sleep(GATHER).await;
                        while batch.len() < BATCH && let Ok(message) = inbox.try_recv() {
                            batch.push(message);
                        }
                    }
                    self.keep(std::mem::take(&mut batch)).await;
                    last_kept = Some(Instant::now());
                }
            }
        }
        self.drain(PATIENCE).await;
        self.database.close().await;
        drop(self.lock);
    }

    async fn keep(&mut self, batch: Vec<Message>) {
        let mut rows = Vec::with_capacity(batch.len());
        let mut waiting = Vec::new();
        for message in batch {
            match message {
                Message::Record(record) => {
                    log(&record);
                    rows.push(self.privacy.row(record));
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !rows.is_empty() {
            self.keep_rows(&rows).await;
            self.metrics.records_waiting.dec_by(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        }
        for done in waiting {
            // Whoever asked may have given up waiting.
            let _ = done.send(());
        }
    }

    /// Comes back when the rows are in the database or in the spool.
    async fn keep_rows(&mut self, rows: &[Row]) {
        let mut complained = false;
        loop {
            // What waits in the spool is older and goes first.
            if self.spool.is_empty() && self.write(rows, PATIENCE).await {
                return;
            }
            match self.append_to_spool(rows).await {
                Ok(()) => return,
                Err(error) if !complained => {
                    complained = true;
                    tracing::error!(%error, rows = rows.len(), "call records can be kept nowhere, trying again");
                }
                Err(_) => {}
            }
            sleep(DRAIN_EVERY).await;
            self.drain(Duration::ZERO).await;
        }
    }

    async fn append_to_spool(&mut self, rows: &[Row]) -> io::Result<()> {
        self.spool.append(rows).await?;
        self.metrics.records_spooled.inc_by(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        if !self.degraded.swap(true, Relaxed) {
            tracing::error!("the database takes no records; they wait in the spool file");
        }
        Ok(())
    }

    /// Moves what waits in the spool to the database, as far as that works; `patience` is for a busy one.
    pub(super) async fn drain(&mut self, patience: Duration) {
        while !self.spool.is_empty() {
            let (rows, mark, unreadable) = match self.spool.next(BATCH) {
                Ok(next) => next,
                Err(error) => return tracing::error!(%error, "the spool file cannot be read"),
            };
            if !self.write(&rows, patience).await {
                return;
            }
            if unreadable > 0 {
                self.lose(unreadable, "lines of the spool file are no records");
            }
            if let Err(error) = self.spool.done(mark) {
                return tracing::error!(%error, "the spool file cannot be emptied");
            }
        }
        recover::late(self).await;
        if self.is_well() && self.degraded.swap(false, Relaxed) {
            tracing::info!("the database takes records again; the spool is empty");
        }
    }

    /// Whether nothing waits for the database.
    pub(super) fn is_well(&self) -> bool {
        self.spool.is_empty() && self.recovery == Recovery::Done
    }

    /// True when the rows are in the database, save those that it refuses for what they are.
    async fn write(&mut self, rows: &[Row], patience: Duration) -> bool {
        match self.write_patiently(rows, patience).await {
            Ok(fresh) => self.append_to_csv(fresh).await,
            Err(error) if self.database.is_about_rows(&error) => return self.write_singly(rows, patience).await,
            Err(error) => {
                tracing::warn!(%error, rows = rows.len(), "call records could not be written");
                return false;
            }
        }
        true
    }

    /// One bad row must not keep the rest of its batch out for ever.
    async fn write_singly(&mut self, rows: &[Row], patience: Duration) -> bool {
        for row in rows {
            match self.write_patiently(std::slice::from_ref(row), patience).await {
                Ok(fresh) => self.append_to_csv(fresh).await,
                Err(error) if self.database.is_about_rows(&error) => {
                    tracing::error!(%error, session_id = row.call(), "the database refuses a record");
                    self.lose(1, "refused by the database");
                }
                Err(_) => return false,
            }
        }
        true
    }

    async fn write_patiently(&self, rows: &[Row], patience: Duration) -> Result<Vec<Turn>, sqlx::Error> {
        let until = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.database.write(rows).await {
                Err(error) if self.database.is_busy(&error) && Instant::now() + pause < until => {
                    sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// What fails here is in the table all the same; the file is made equal at the next start.
    async fn append_to_csv(&mut self, fresh: Vec<Turn>) {
        if fresh.is_empty() {
            return;
        }
        let Some(mut csv) = self.csv.take() else { return };
        // The disk is waited for on a thread of its own.
        match spawn_blocking(move || (csv.append(&fresh), csv)).await {
            Ok((done, csv)) => {
                self.csv = Some(csv);
                if let Err(error) = done {
                    tracing::error!(%error, "turns could not be appended to the CSV file");
                }
            }
            Err(error) => tracing::error!(%error, "no more turns are written to CSV"),
        }
    }

    fn lose(&self, count: u64, why: &'static str) {
        self.metrics.records_lost.inc_by(count);
        tracing::error!(count, why, "call records lost");
    }
}

/// A call's beginning, turns and end as log lines: written here because a media thread must not wait for standard
/// output.
fn log(record: &Record) {
    match record {
        Record::CallStarted { call, via, flow, .. } => {
            tracing::info!(session_id = %call, via = via.as_str(), %flow, "call began");
        }
        Record::Turn { call, turn, .. } => tracing::info!(
            session_id = %call,
            turn = turn.number,
            step = %turn.step,
            asr_ms = turn.asr_ms,
            llm_ms = turn.llm_ms,
            tts_ms = turn.tts_ms,
            total_ms = turn.total_ms,
            barge_in_ms = turn.barge_in_ms,
            error = turn.error,
            "turn"
        ),
        Record::Interruption { call, interruption, .. } => tracing::info!(
            session_id = %call,
            outcome = interruption.outcome.as_str(),
            why = interruption.outcome.why(),
            onset_ms = interruption.onset_ms,
            held_ms = interruption.held_ms,
            decided_ms = interruption.decided_ms,
            stop_ms = interruption.stop_ms,
            "interruption"
        ),
        Record::Event { .. } | Record::RecordingBegan { .. } => {}
        Record::RecordingEnded { call, ended, .. } => tracing::info!(
            session_id = %call,
            recording = ended.name.number,
            state = ended.state.as_str(),
            ms = ended.ms,
            bytes = ended.bytes,
            fault = ended.fault,
            "recording ended"
        ),
        Record::CallEnded { call, reason, summary, .. } => tracing::info!(
            session_id = %call,
            reason = reason.as_str(),
            duration_ms = summary.duration_ms,
            turns = summary.turns,
            barge_ins = summary.barge_ins,
            packets_lost = summary.packets_lost,
            "call ended"
        ),
    }
}

/// Most records of one transaction.
const BATCH: usize = 1024;
/// How long a record waits for others when one was written just before it.
const GATHER: Duration = Duration::from_millis(20);
const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// How long a busy database is tried again before its rows go to the spool.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(300);
