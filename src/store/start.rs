//! Opening the store: which database, whose it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::csv::CsvFiles;
use super::db::Db;
use super::record::CallId;
use super::recover::{self, Recovery};
use super::row::Privacy;
use super::sink::{QUEUE, RecordSink, queue};
use super::spool::{LIMIT, Spool};
use super::url::Place;
use super::writer::{Writer, WriterHandle};
use super::{DataConfig, DatabaseConfig, DatabaseUrl, Store, StoreConfig, StoreError};
use crate::telemetry::metrics::Metrics;

pub(super) async fn open(
    database: &DatabaseConfig,
    data: &DataConfig,
    config: &StoreConfig,
    metrics: Metrics,
) -> Result<(Store, RecordSink, WriterHandle), StoreError> {
    let place = database.url.as_ref().map_or_else(|| Place::default_in(&data.dir), DatabaseUrl::place);
    let folder = |error: io::Error| StoreError::Folder { dir: data.dir.clone(), what: error.to_string() };
    fs::create_dir_all(&data.dir).map_err(folder)?;
    // A server's database is locked by the connection that writes.
    let lock = match &place {
        Place::File(file) => Some(take(file).await?),
        Place::Server(_) => None,
    };
    let db = Db::open(&place).await?;
    let degraded = Arc::new(AtomicBool::new(false));
    let mut writer = Writer {
        database: db.clone(),
        spool: Spool::open(&data.dir, LIMIT).map_err(folder)?,
        csv: config.csv.then(|| CsvFiles::new(&data.dir)),
        privacy: Privacy::new(caller_key(&data.dir).map_err(folder)?, config.keep_caller_numbers),
        metrics: metrics.clone(),
        degraded: Arc::clone(&degraded),
        recovery: Recovery::Due { before: CallId::fresh() },
        lock,
    };
    recover::at_start(&mut writer).await.map_err(|error| db.unusable(&error))?;
    degraded.store(!writer.is_well(), Relaxed);
    let (sink, inbox) = queue(QUEUE, metrics);
    let handle = writer.start(inbox);
    Ok((Store { db, sink: sink.clone(), degraded }, sink, handle))
}

/// Makes sure that no other server closes this one's calls as crashed. The kernel gives the lock back at any death,
/// which may take a moment: a program that the dead one was just starting holds it until it runs.
async fn take(file: &Path) -> Result<File, StoreError> {
    let unusable = |error: io::Error| StoreError::Open { at: file.display().to_string(), what: error.to_string() };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(name).map_err(unusable)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_PAUSE).await,
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { at: file.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
}

/// The key of this installation's caller pseudonyms: made once, readable by the owner only, apart from the database.
fn caller_key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join("caller.key");
    match fs::read(&path) {
        Ok(found) => <[u8; 32]>::try_from(found.as_slice())
            .map_err(|_| io::Error::other(format!("{} is not a key of 32 bytes", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; 32] = rand::random();
            // Whole or not at all: a killed process must not leave half a key.
            let new = dir.join("caller.key.new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&key)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
