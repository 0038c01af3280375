//! Why the store cannot be opened or read. Each says which database, and what to do where there is something to do.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong with the store. `at` is a file, or a server without user and password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("data.dir: cannot use `{}`: {what}", .dir.display())]
    Folder { dir: PathBuf, what: String },
    #[error("database `{at}` is in use by another server; give each its own")]
    InUse { at: String },
    #[error("database `{at}` cannot be opened: {what}")]
    Open { at: String, what: String },
    #[error("database `{at}` does not answer: {what}")]
    Away { at: String, what: String },
    #[error(
        "database `{at}` is damaged ({what}); it was left as it is. Restore a backup, or move it aside with its -wal and \
         -shm files to start afresh, or try `sqlite3 FILE .recover`"
    )]
    Damaged { at: String, what: String },
    #[error(
        "database `{at}` was made by a newer version (schema {found}; this one knows up to {known}); start that version, \
         or restore a backup, such as the copy that it left beside a SQLite file"
    )]
    Newer { at: String, found: i64, known: i64 },
    #[error(
        "database `{at}`: schema step {version} is not the one this version knows; it was left as it is. Start the \
         version that made it, or restore a backup"
    )]
    Edited { at: String, version: i64 },
    #[error("database `{at}`: cannot leave a copy at `{}` before changing the schema: {what}", .copy.display())]
    Copy { at: String, copy: PathBuf, what: String },
    #[error("database `{at}` cannot be read: {what}")]
    Read { at: String, what: String },
    #[error("database `{at}` cannot be written: {what}")]
    Write { at: String, what: String },
    #[error("the database takes no records; they wait in the spool file")]
    Spooling,
    #[error("the task that writes call records has ended")]
    WriterGone,
    #[error("the database gave no answer within {limit:?}")]
    Slow { limit: Duration },
}
