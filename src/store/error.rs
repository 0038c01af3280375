//! Why the store cannot be opened or read. Each says which file, and what to do where there is something to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database.url: PostgreSQL is not supported yet; use `sqlite:PATH` or leave the key out")]
    Postgres,
    #[error("database.url: expected `sqlite:PATH`, found the scheme `{scheme}`")]
    Scheme { scheme: String },
    #[error("data.dir: cannot use `{}`: {what}", .dir.display())]
    Folder { dir: PathBuf, what: String },
    #[error("database `{}` is in use by another server; give each its own data.dir", .file.display())]
    InUse { file: PathBuf },
    #[error("database `{}` cannot be opened: {what}", .file.display())]
    Open { file: PathBuf, what: String },
    #[error(
        "database `{}` is damaged ({what}); it was left as it is. Restore a backup, or move it aside with its -wal and \
         -shm files to start afresh, or try `sqlite3 FILE .recover`", .file.display()
    )]
    Damaged { file: PathBuf, what: String },
    #[error(
        "database `{}` was made by a newer version (schema {found}; this one knows up to {known}); start that version, \
         or restore the copy that it left beside the database", .file.display()
    )]
    Newer { file: PathBuf, found: i64, known: i64 },
    #[error(
        "database `{}`: schema step {version} is not the one this version knows; it was left as it is. Start the \
         version that made it, or restore a backup", .file.display()
    )]
    Edited { file: PathBuf, version: i64 },
    #[error("database `{}`: cannot leave a copy at `{}` before changing the schema: {what}", .file.display(), .copy.display())]
    Copy { file: PathBuf, copy: PathBuf, what: String },
    #[error("database `{}` cannot be read: {what}", .file.display())]
    Read { file: PathBuf, what: String },
    #[error("the database takes no records; they wait in the spool file")]
    Spooling,
    #[error("the task that writes call records has ended")]
    WriterGone,
    #[error("the database gave no answer within {limit:?}")]
    Slow { limit: Duration },
}

impl StoreError {
    pub(super) fn open(file: &Path, error: &sqlx::Error) -> Self {
        Self::Open { file: file.to_owned(), what: error.to_string() }
    }

    pub(super) fn damaged(file: &Path, error: &sqlx::Error) -> Self {
        Self::Damaged { file: file.to_owned(), what: error.to_string() }
    }
}
