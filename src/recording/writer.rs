//! The one thread that owns the files of all recordings. It looks after each of them ten times a second.
//!
//! A disk that fails or is full ends the recordings it concerns, keeps what they hold, and says so once; it looks again
//! every second. Calls never wait for any of it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::disk::{Disk, Room};
use super::finish::Finishing;
use super::media::{self, Media};
use super::recorder::{Ends, Item, ms};
use super::tape::Tape;
use super::{Fault, files};
use crate::config::RecordingConfig;
use crate::queue::Receiver;
use crate::store::RecordSink;
use crate::store::record::{CallId, Record, RecordingBegan, RecordingEnded, RecordingName, RecordingState};
use crate::telemetry::metrics::Metrics;

/// What the thread is told.
pub(super) enum Message {
    Begin(Box<Begin>),
    /// Answered when nothing is left to do.
    Stop(oneshot::Sender<()>),
}

/// A recording to be made.
pub(super) struct Begin {
    pub call: CallId,
    pub name: RecordingName,
    pub queue: Receiver<Item>,
    pub ends: Arc<Ends>,
}

/// See the module's header.
pub(super) struct Writer {
    config: RecordingConfig,
    folder: PathBuf,
    disk: Disk,
    room: Arc<AtomicU8>,
    records: RecordSink,
    metrics: Metrics,
    running: Vec<Running>,
    finishing: VecDeque<Finishing>,
}

struct Running {
    call: CallId,
    name: RecordingName,
    queue: Receiver<Item>,
    ends: Arc<Ends>,
    tape: Tape,
    media: Media,
    rounds: u32,
}

impl Writer {
    pub(super) fn new(
        config: RecordingConfig,
        folder: &Path,
        room: Arc<AtomicU8>,
        records: RecordSink,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let disk = Disk::new(folder, &config)?;
        let folder = folder.to_owned();
        let (running, finishing) = (Vec::new(), VecDeque::new());
        let mut writer = Self { config, folder, disk, room, records, metrics, running, finishing };
        writer.publish_room();
        Ok(writer)
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>, left: Vec<(CallId, RecordingName)>) {
        self.bring_home(left);
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_look = Instant::now() + LOOK_EVERY;
        let mut next_count = Instant::now() + COUNT_EVERY;
        let mut stopping = None;
        loop {
            tokio::select! {
                biased;
                message = inbox.recv(), if stopping.is_none() => match message {
                    Some(Message::Begin(begin)) => self.begin(*begin),
                    Some(Message::Stop(done)) => stopping = Some(done),
                    None => return,
                },
                _ = round.tick() => {
                    self.go_round();
                    let now = Instant::now();
                    if now >= next_count && self.disk.count().is_ok() {
                        next_count = now + COUNT_EVERY;
                    }
                    if now >= next_look {
                        next_look = now + LOOK_EVERY;
                        self.disk.look();
                        self.publish_room();
                    }
                    if self.running.is_empty() && self.finishing.is_empty() && let Some(done) = stopping.take() {
                        // Whoever asked may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                }
            }
        }
    }

    fn begin(&mut self, begin: Begin) {
        let Begin { call, name, queue, ends } = begin;
        let path = files::unfinished(&self.folder, call, name);
        let made = match self.disk.room() {
            Room::Open => Media::create(name.format, &path).map_err(|error| self.fault(&error)),
            room => Err(fault_of(room)),
        };
        match made {
            Ok(media) => {
                let began = RecordingBegan { name, consent: self.config.consent };
                self.records.record(Record::RecordingBegan { call, at: Timestamp::now(), began });
                self.metrics.recordings_active.inc();
                let tape = Tape::new(self.config.mute_keys);
                self.running.push(Running { call, name, queue, ends, tape, media, rounds: 0 });
            }
            // The queue goes with this, and the call finds that out by itself.
            Err(fault) => self.note_end(call, self.ended(name, RecordingState::Failed, Some(fault))),
        }
    }

    /// Takes what has come for each recording, and goes on with those that end.
    fn go_round(&mut self) {
        for mut running in std::mem::take(&mut self.running) {
            // Looked at before the queue is emptied: nothing comes after it.
            let over = running.ends.over.load(Ordering::Acquire);
            running.take();
            running.rounds += 1;
            if running.ends.discarded.load(Ordering::Acquire) {
                self.discard(running);
            } else if over {
                running.run_out();
                let fault = self.flush(&mut running).err();
                self.finish(running, fault);
            } else if running.rounds.is_multiple_of(FLUSH_EVERY) {
                match self.flush(&mut running) {
                    Ok(()) => self.running.push(running),
                    Err(fault) => self.finish(running, Some(fault)),
                }
            } else {
                self.running.push(running);
            }
        }
        self.step_finishing();
    }

    fn flush(&mut self, running: &mut Running) -> Result<(), Fault> {
        let bytes = running.media.waiting();
        match self.disk.allows(bytes) {
            Room::Open => {}
            room => return Err(fault_of(room)),
        }
        running.media.flush().map_err(|error| self.fault(&error))?;
        self.disk.took(bytes);
        self.metrics.recorded_bytes.inc_by(bytes);
        Ok(())
    }

    fn finish(&mut self, running: Running, fault: Option<Fault>) {
        let Running { call, name, ends, tape, media, .. } = running;
        self.metrics.recordings_active.dec();
        let dropped = ends.dropped.load(Ordering::Relaxed);
        self.metrics.recording_frames_dropped.inc_by(dropped);
        // What the disk has, which is less than the call where it failed.
        let length = media.slots();
        debug_assert!(fault.is_some() || length == tape.length(), "everything was flushed");
        let ended = RecordingEnded {
            ms: ms(length),
            dropped_frames: dropped,
            pauses: ends.pauses(length),
            ..self.ended(name, RecordingState::Finished, fault)
        };
        // The file is whole as of its last flush, whatever the disk says now.
        if let Err(error) = media.finish() {
            tracing::warn!(%error, session_id = %call, "a recording may not survive a power cut");
        }
        let part = files::unfinished(&self.folder, call, name);
        self.queue_finishing(call, ended, part);
    }

    fn discard(&mut self, running: Running) {
        let Running { call, name, media, .. } = running;
        self.metrics.recordings_active.dec();
        drop(media);
        let path = files::unfinished(&self.folder, call, name);
        self.disk.gave_back(std::fs::metadata(&path).map_or(0, |metadata| metadata.len()));
        let fault = std::fs::remove_file(&path).err().map(|error| self.fault(&error));
        self.note_end(call, self.ended(name, RecordingState::Discarded, fault));
    }

    fn queue_finishing(&mut self, call: CallId, ended: RecordingEnded, from: PathBuf) {
        let to = files::finished(&self.folder, call, ended.name);
        match Finishing::new(call, ended.clone(), from, to) {
            Ok(finishing) => self.finishing.push_back(finishing),
            Err(error) => {
                let fault = self.fault(&error);
                self.note_end(call, RecordingEnded { fault: Some(fault.as_str()), ..ended });
            }
        }
    }

    fn step_finishing(&mut self) {
        let until = Instant::now() + FINISH_FOR;
        while let Some(mut first) = self.finishing.pop_front() {
            match first.step() {
                Ok(false) => self.finishing.push_back(first),
                Ok(true) => self.note_end(first.call, first.ended),
                Err(error) => {
                    let fault = self.fault(&error);
                    self.note_end(first.call, RecordingEnded { fault: Some(fault.as_str()), ..first.ended });
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// Makes whole what a process before this one left.
    fn bring_home(&mut self, mut left: Vec<(CallId, RecordingName)>) {
        match files::all_unfinished(&self.folder) {
            Ok(found) => left.extend(found),
            Err(error) => tracing::error!(%error, "the folder of recordings cannot be read"),
        }
        left.sort_unstable();
        left.dedup();
        for (call, name) in left {
            let part = files::unfinished(&self.folder, call, name);
            let done = files::finished(&self.folder, call, name);
            // It may have its name already, and only its record may be missing.
            let path = if part.exists() { part } else { done };
            match media::repair(name.format, &path) {
                Ok(slots) => {
                    let ended = RecordingEnded {
                        ms: ms(slots),
                        ..self.ended(name, RecordingState::Recovered, Some(Fault::Stopped))
                    };
                    self.queue_finishing(call, ended, path);
                }
                Err(error) => {
                    tracing::warn!(%error, session_id = %call, "an unfinished recording is lost");
                    self.note_end(call, self.ended(name, RecordingState::Lost, Some(Fault::Stopped)));
                }
            }
        }
    }

    fn ended(&self, name: RecordingName, state: RecordingState, fault: Option<Fault>) -> RecordingEnded {
        let fault = fault.map(Fault::as_str);
        RecordingEnded { consent: self.config.consent, fault, ..RecordingEnded::new(name, state) }
    }

    fn note_end(&self, call: CallId, ended: RecordingEnded) {
        if let Some(fault) = ended.fault {
            self.metrics.recording_failures(fault, 1);
        }
        self.records.record(Record::RecordingEnded { call, at: Timestamp::now(), ended: Box::new(ended) });
    }

    /// What an error of the disk means for a recording. A full disk is looked at again within a second.
    fn fault(&mut self, error: &io::Error) -> Fault {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            self.disk.look();
            self.publish_room();
            return Fault::DiskFull;
        }
        tracing::error!(%error, "a recording cannot be written");
        Fault::Io
    }

    /// Lets calls know whether a recording may begin, and says so once where that changes.
    fn publish_room(&mut self) {
        let room = self.disk.room();
        let before = Room::from_u8(self.room.swap(room.as_u8(), Ordering::Relaxed));
        self.metrics.recording_alarm.set(i64::from(room != Room::Open));
        match room {
            _ if room == before => {}
            Room::Open => tracing::info!("there is room for recordings again"),
            Room::Full => tracing::error!("no new recordings: the file system is full"),
            Room::AtBound => tracing::error!("no new recordings: recording.max_disk_bytes is reached"),
        }
    }
}

impl Running {
    fn take(&mut self) {
        let Self { queue, tape, media, .. } = self;
        let mut out = |block: &super::tape::Block| media.write(block);
        while let Some(item) = queue.try_recv() {
            match item {
                Item::Frame { tick, side, slot, samples } => {
                    tape.tick(tick, &mut out);
                    tape.put(side, slot, &samples);
                }
                Item::Cleared { tick, from } => {
                    tape.tick(tick, &mut out);
                    tape.clear(from);
                }
                Item::Tick(tick) => tape.tick(tick, &mut out),
            }
        }
    }

    fn run_out(&mut self) {
        let length = self.ends.length.load(Ordering::Relaxed);
        self.tape.finish(length, &mut |block| self.media.write(block));
    }
}

const fn fault_of(room: Room) -> Fault {
    match room {
        Room::Full | Room::Open => Fault::DiskFull,
        Room::AtBound => Fault::DiskBound,
    }
}

/// Between two looks at a recording's queue.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds between two writes to a file. With the tape's half second the file ends at most 0.8 s before the call, which
/// leaves 0.2 s for a machine that is busy.
const FLUSH_EVERY: u32 = 2;
/// Of each round, at most, for recordings that are over.
const FINISH_FOR: Duration = Duration::from_millis(40);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(10);
