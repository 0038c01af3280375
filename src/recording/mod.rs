//! Call recordings: the caller left, Offhook right, as long as the call, on the disk half a second after they happen.
//!
//! A call hands its frames to a [`Recorder`], which never waits; one thread owns all files. What the rules are is in
//! pure files: `align` (which 20 ms), `tape` (their order, muted keys), `keys` (what a key sounds like). A full disk
//! ends recordings and never a call. Deliberately absent: how long recordings are kept, and who may hear them.

mod align;
mod disk;
mod files;
mod finish;
mod keys;
mod media;
mod ogg;
mod opus;
mod recorder;
mod tape;
mod wav;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Consent, RecordingConfig};
use crate::dialog::RecordingPlan;
use crate::queue::{self, Sender};
use crate::store::RecordSink;
use crate::store::record::{CallId, Record, RecordingEnded, RecordingName, RecordingState};
use crate::telemetry::metrics::Metrics;

pub use recorder::{FAILED, Note, Recorder};

use disk::Room;
use recorder::{Ends, Item};
use writer::{Begin, Message, Writer};

/// Where recordings are made; a clone is the same place.
#[derive(Clone, Debug)]
pub struct Recordings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inbox: mpsc::Sender<Message>,
    room: Arc<AtomicU8>,
    records: RecordSink,
    metrics: Metrics,
    runtime: tokio::runtime::Handle,
    config: RecordingConfig,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a recording was not made, or ended before its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file system has too little room.
    DiskFull,
    /// All recordings together have reached `recording.max_disk_bytes`.
    DiskBound,
    /// The file could not be written for another reason.
    Io,
    /// The thread that writes has too much to do.
    Busy,
    /// That the caller has agreed could not be put in the record.
    NotInRecord,
    /// The server ended before the file was done.
    Stopped,
}

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::DiskFull, Self::DiskBound, Self::Io, Self::Busy, Self::NotInRecord, Self::Stopped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::DiskBound => "disk_bound",
            Self::Io => "io_error",
            Self::Busy => "busy",
            Self::NotInRecord => "not_in_record",
            Self::Stopped => "stopped",
        }
    }
}

impl Recordings {
    /// Makes the folder, starts the writing thread and lets it bring home `unfinished` and whatever else lies there
    /// half done. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A folder that cannot be made or read, or a thread that cannot be started.
    pub fn start(
        config: &RecordingConfig,
        folder: &Path,
        unfinished: Vec<(CallId, RecordingName)>,
        records: RecordSink,
        metrics: Metrics,
    ) -> io::Result<Self> {
        files::make_folder(folder)?;
        for fault in Fault::ALL {
            metrics.recording_failures(fault.as_str(), 0);
        }
        let (inbox, messages) = mpsc::channel(INBOX);
        let room = Arc::new(AtomicU8::new(Room::Open.as_u8()));
        let writer = Writer::new(config.clone(), folder, Arc::clone(&room), records.clone(), metrics.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new().name("recordings".to_owned()).spawn(move || {
            runtime.block_on(writer.run(messages, unfinished));
        })?;
        Ok(Self(Arc::new(Inner {
            inbox,
            room,
            records,
            metrics,
            runtime: tokio::runtime::Handle::current(),
            config: config.clone(),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Whether a recording that began now could be made.
    ///
    /// # Errors
    /// Why not.
    pub fn can_begin(&self) -> Result<(), Fault> {
        match Room::from_u8(self.0.room.load(Ordering::Relaxed)) {
            Room::Open => Ok(()),
            Room::Full => Err(Fault::DiskFull),
            Room::AtBound => Err(Fault::DiskBound),
        }
    }

    /// How a call that begins now is recorded. `None` where no recording can be made: its caller is told of none, and
    /// the record says why.
    pub fn plan(&self, call: CallId) -> Option<RecordingPlan> {
        let config = &self.0.config;
        match self.can_begin() {
            Ok(()) => Some(plan(config)),
            Err(fault) => {
                let name = RecordingName { number: 1, format: config.format };
                self.failed(call, name, Consent::None, fault);
                None
            }
        }
    }

    /// Whether callers are told that they are recorded.
    pub fn tells(&self) -> bool {
        self.0.config.consent != Consent::None
    }

    /// Lets recordings whose calls are over come to their end, and ends the thread. False when that took longer than
    /// `patience`: what is left is brought home at the next start.
    pub async fn stop(&self, patience: Duration) -> bool {
        let (done, stopped) = oneshot::channel();
        let ended = async { self.0.inbox.send(Message::Stop(done)).await.is_ok() && stopped.await.is_ok() };
        let ended = tokio::time::timeout(patience, ended).await == Ok(true);
        if ended && let Some(thread) = self.0.thread.lock().take() {
            let _ = thread.join();
        }
        ended
    }

    /// A recording of this call begins once all that the call has put in the record before is kept.
    fn begin(&self, call: CallId, number: u32) -> Result<(Sender<Item>, Arc<Ends>), Fault> {
        let name = RecordingName { number, format: self.0.config.format };
        if let Err(fault) = self.can_begin() {
            self.failed(call, name, self.0.config.consent, fault);
            return Err(fault);
        }
        let (sender, queue) = queue::bounded(QUEUE);
        let ends = Arc::new(Ends::default());
        let begin = Box::new(Begin { call, name, queue, ends: Arc::clone(&ends) });
        let this = self.clone();
        // If it fails the queue goes with the message, and the call finds that out by itself.
        self.0.runtime.spawn(async move {
            if !this.0.records.flush().await {
                return this.failed(call, name, this.0.config.consent, Fault::NotInRecord);
            }
            if this.0.inbox.try_send(Message::Begin(begin)).is_err() {
                this.failed(call, name, this.0.config.consent, Fault::Busy);
            }
        });
        Ok((sender, ends))
    }

    /// Says in the record and to the metrics that there is no recording. With any `consent` but none the caller was told
    /// otherwise.
    fn failed(&self, call: CallId, name: RecordingName, consent: Consent, fault: Fault) {
        self.0.metrics.recording_failures(fault.as_str(), 1);
        let fault = Some(fault.as_str());
        let ended = RecordingEnded { consent, fault, ..RecordingEnded::new(name, RecordingState::Failed) };
        self.0.records.record(Record::RecordingEnded { call, at: Timestamp::now(), ended: Box::new(ended) });
    }
}

/// What is wrong when a flow has no words for what its callers must be told, with the keys.
pub fn no_words_in(flow: &str) -> String {
    format!(
        "recording.announcement: expected text here and in recording.failure, or phrases.recording and \
         phrases.not_recorded in the flow `{flow}`, which has no words of its own language for a recording"
    )
}

/// How calls are recorded by this configuration.
pub fn plan(config: &RecordingConfig) -> RecordingPlan {
    let (announcement, failure) = (config.announcement.clone(), config.failure.clone());
    RecordingPlan { consent: config.consent, announcement, failure }
}

/// Items that may wait for the writer: 3 s of both sides. What comes then is lost.
const QUEUE: usize = 300;
/// Recordings that may wait to begin; more are refused as busy.
const INBOX: usize = 1024;
