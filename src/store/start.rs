//! Opening the store: which file, whose it is, what the process before left behind.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::csv::{CsvFiles, day};
use super::row::Privacy;
use super::sink::{QUEUE, RecordSink, queue};
use super::spool::{LIMIT, Spool};
use super::sqlite::Sqlite;
use super::writer::{PATIENCE, Writer, WriterHandle};
use super::{DataConfig, DatabaseConfig, Db, Store, StoreConfig, StoreError};
use crate::telemetry::metrics::Metrics;

pub(super) async fn open(
    database: &DatabaseConfig,
    data: &DataConfig,
    config: &StoreConfig,
    metrics: Metrics,
) -> Result<(Store, RecordSink, WriterHandle), StoreError> {
    let file = database_file(database.url.as_deref(), &data.dir)?;
    let folder = |error: io::Error| StoreError::Folder { dir: data.dir.clone(), what: error.to_string() };
    fs::create_dir_all(&data.dir).map_err(folder)?;
    let lock = take(&file).await?;
    let db = Sqlite::open(&file).await?;
    let degraded = Arc::new(AtomicBool::new(false));
    let mut writer = Writer {
        database: db.clone(),
        spool: Spool::open(&data.dir, LIMIT).map_err(folder)?,
        csv: config.csv.then(|| CsvFiles::new(&data.dir)),
        privacy: Privacy::new(caller_key(&data.dir).map_err(folder)?, config.keep_caller_numbers),
        metrics: metrics.clone(),
        degraded: Arc::clone(&degraded),
        lock,
    };
    recover(&mut writer, &file).await?;
    let (sink, inbox) = queue(QUEUE, metrics);
    let handle = writer.start(inbox);
    Ok((Store { db: Db::Sqlite(db), sink: sink.clone(), degraded }, sink, handle))
}

/// Brings home what a killed process left: its spool, its unfinished calls, the rows its CSV lacks.
async fn recover(writer: &mut Writer, file: &Path) -> Result<(), StoreError> {
    writer.drain(PATIENCE).await;
    writer.degraded.store(!writer.spool.is_empty(), Relaxed);
    let failed = |error: sqlx::Error| StoreError::open(file, &error);
    let closed = writer.database.close_unfinished().await.map_err(failed)?;
    if closed > 0 {
        tracing::warn!(calls = closed, "unfinished calls of an earlier process were closed as crash_recovered");
    }
    let Some(csv) = writer.csv.as_mut() else { return Ok(()) };
    let mut days = csv.days().unwrap_or_default();
    // A process killed at midnight may have left two days unfinished.
    days.truncate(2);
    if let Some(last) = writer.database.last_turn_at().await.map_err(failed)? {
        days.push(day(&last).to_owned());
    }
    days.sort_unstable();
    days.dedup();
    for day in days {
        let turns = writer.database.turns_of_day(&day).await.map_err(failed)?;
        match csv.make_equal(&day, &turns) {
            Ok(true) => tracing::warn!(day, "the CSV file lacked turns and was written again from the table"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, day, "the CSV file could not be compared with the table"),
        }
    }
    Ok(())
}

fn database_file(url: Option<&str>, dir: &Path) -> Result<PathBuf, StoreError> {
    let Some(url) = url else { return Ok(dir.join("offhook.db")) };
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(StoreError::Scheme { scheme: "none".to_owned() });
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match scheme {
        "sqlite" if !path.is_empty() && !path.starts_with([':', '?']) && !path.contains('?') => Ok(PathBuf::from(path)),
        "postgres" | "postgresql" => Err(StoreError::Postgres),
        "sqlite" => Err(StoreError::Scheme { scheme: "sqlite without a plain path".to_owned() }),
        // Only the scheme is named: the rest may hold a password.
        other => Err(StoreError::Scheme { scheme: other.to_owned() }),
    }
}

/// Makes sure that no other server closes this one's calls as crashed. The kernel gives the lock back at any death,
/// which may take a moment: a program that the dead one was just starting holds it until it runs.
async fn take(file: &Path) -> Result<File, StoreError> {
    let unusable = |error: io::Error| StoreError::Open { file: file.to_owned(), what: error.to_string() };
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
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { file: file.to_owned() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_file_or_are_refused_without_their_secret() {
        let file = |url| database_file(url, Path::new("data")).map_err(|error| error.to_string());
        assert_eq!(file(None), Ok(PathBuf::from("data/offhook.db")));
        assert_eq!(file(Some("sqlite:a/b.db")), Ok(PathBuf::from("a/b.db")));
        assert_eq!(file(Some("sqlite:///var/b.db")), Ok(PathBuf::from("/var/b.db")));
        assert!(file(Some("postgres://u:hunter2@h/d")).unwrap_err().contains("PostgreSQL is not supported yet"));
        for url in ["mysql://u:hunter2@h/d", "sqlite:", "sqlite::memory:", "sqlite:a?mode=ro", "offhook.db"] {
            let error = file(Some(url)).unwrap_err();
            assert!(error.contains("expected `sqlite:PATH`") && !error.contains("hunter2"), "{error}");
        }
    }
}
