//! Brings the schema up to date at start, or refuses to touch it.
//!
//! Each engine has its own steps; `schema_version` remembers each migration with its SHA-256. A schema that is newer than this program, or that was
//! made by other text, is refused: guessing would lose records. Each step is one transaction, so a process that is
//! killed half way leaves the version before.

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row as _};
use std::path::Path;

use super::StoreError;
use super::sqlite::failure;

/// A step of the schema, in the order they are applied.
pub(super) struct Migration {
    pub version: i64,
    pub sql: &'static str,
}

/// All steps of SQLite; one is only ever added at the end.
pub(super) const SQLITE: &[Migration] = &[
    Migration { version: 1, sql: include_str!("../../migrations/sqlite/0001_calls.sql") },
    Migration { version: 2, sql: include_str!("../../migrations/sqlite/0002_quality.sql") },
    Migration { version: 3, sql: include_str!("../../migrations/sqlite/0003_recordings.sql") },
    Migration { version: 4, sql: include_str!("../../migrations/sqlite/0004_outbound.sql") },
    Migration { version: 5, sql: include_str!("../../migrations/sqlite/0005_interruptions.sql") },
    Migration { version: 6, sql: include_str!("../../migrations/sqlite/0006_credentials.sql") },
    Migration { version: 7, sql: include_str!("../../migrations/sqlite/0007_registry.sql") },
];

/// All steps of PostgreSQL.
pub(super) const POSTGRES: &[Migration] = &[
    Migration { version: 1, sql: include_str!("../../migrations/postgres/0001_calls.sql") },
    Migration { version: 2, sql: include_str!("../../migrations/postgres/0002_credentials.sql") },
    Migration { version: 3, sql: include_str!("../../migrations/postgres/0003_registry.sql") },
];

/// Applies what is missing. Before an existing schema is changed, a copy of the database is left beside it.
///
/// # Errors
/// A schema that is newer or other than `migrations`, or a database that cannot be changed.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    file: &Path,
    migrations: &'static [Migration],
) -> Result<(), StoreError> {
    let broken = |error: sqlx::Error| failure(file, &error);
    let at = file.display().to_string();
    sqlx::query(CREATE).execute(&mut *connection).await.map_err(broken)?;
    let applied = sqlx::query(APPLIED).fetch_all(&mut *connection).await.map_err(broken)?;
    let known = applied.iter().map(|row| (row.get::<i64, _>(0), row.get::<String, _>(1)));
    let missing = missing(&at, known, migrations)?;
    if !applied.is_empty() && !missing.is_empty() {
        keep_copy(connection, file, applied.len()).await?;
    }
    for migration in missing {
        apply(connection, migration).await.map_err(broken)?;
    }
    Ok(())
}

/// The steps that are not among those `applied` yet.
///
/// # Errors
/// A schema that is newer or other than `migrations`.
pub(super) fn missing(
    at: &str,
    applied: impl Iterator<Item = (i64, String)>,
    migrations: &'static [Migration],
) -> Result<&'static [Migration], StoreError> {
    let newest = migrations.last().map_or(0, |last| last.version);
    let mut count = 0;
    for (version, checksum) in applied {
        count += 1;
        match migrations.iter().find(|known| known.version == version) {
            None => return Err(StoreError::Newer { at: at.to_owned(), found: version, known: newest }),
            Some(known) if self::checksum(known.sql) != checksum => {
                return Err(StoreError::Edited { at: at.to_owned(), version });
            }
            Some(_) => {}
        }
    }
    Ok(migrations.get(count..).unwrap_or_default())
}

async fn apply(connection: &mut SqliteConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    let mut step = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(migration.sql).execute(&mut *step).await?;
    sqlx::query(REMEMBER)
        .bind(migration.version)
        .bind(checksum(migration.sql))
        .bind(super::row::time(jiff::Timestamp::now()))
        .execute(&mut *step)
        .await?;
    step.commit().await
}

async fn keep_copy(connection: &mut SqliteConnection, file: &Path, version: usize) -> Result<(), StoreError> {
    let copy = file.with_extension(format!("before-schema-{}", version + 1));
    if copy.exists() {
        return Ok(());
    }
    let failed = |what: String| StoreError::Copy { at: file.display().to_string(), copy: copy.clone(), what };
    sqlx::query("VACUUM INTO ?")
        .bind(copy.to_string_lossy().into_owned())
        .execute(connection)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(())
}

pub(super) fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_version \
     (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT";
const APPLIED: &str = "SELECT version, checksum FROM schema_version ORDER BY version";
const REMEMBER: &str = "INSERT INTO schema_version (version, checksum, applied_at) VALUES (?, ?, ?)";

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;

    use super::super::testing::Folder;
    use super::*;

    const ONE: &[Migration] = &[Migration { version: 1, sql: "CREATE TABLE a (x TEXT)" }];
    const EDITED: &[Migration] = &[Migration { version: 1, sql: "CREATE TABLE a (y TEXT)" }];
    const TWO: &[Migration] = &[
        Migration { version: 1, sql: "CREATE TABLE a (x TEXT)" },
        Migration { version: 2, sql: "CREATE TABLE b (x TEXT); INSERT INTO b SELECT x FROM a" },
    ];
    const FAILING: &[Migration] = &[
        Migration { version: 1, sql: "CREATE TABLE a (x TEXT)" },
        Migration { version: 2, sql: "CREATE TABLE b (x TEXT); INSERT INTO nowhere VALUES (1)" },
    ];

    async fn run(file: &Path, migrations: &'static [Migration]) -> Result<(), StoreError> {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let done = migrate(&mut connection, file, migrations).await;
        connection.close().await.unwrap();
        done
    }

    #[tokio::test]
    async fn goes_forward_once_and_keeps_a_copy() {
        let folder = Folder::new();
        let file = folder.path().join("a.db");
        run(&file, ONE).await.unwrap();
        run(&file, ONE).await.unwrap();
        assert!(!file.with_extension("before-schema-2").exists());
        run(&file, TWO).await.unwrap();
        run(&file, TWO).await.unwrap();
        let copy = file.with_extension("before-schema-2");
        run(&copy, ONE).await.expect("the copy is the database as it was");
    }

    #[tokio::test]
    async fn refuses_a_newer_schema() {
        let folder = Folder::new();
        let file = folder.path().join("a.db");
        run(&file, TWO).await.unwrap();
        let error = run(&file, ONE).await.unwrap_err().to_string();
        assert!(error.contains("newer") && error.contains("schema 2") && error.contains("a.db"), "{error}");
    }

    #[tokio::test]
    async fn refuses_an_edited_schema() {
        let folder = Folder::new();
        let file = folder.path().join("a.db");
        run(&file, ONE).await.unwrap();
        let error = run(&file, EDITED).await.unwrap_err().to_string();
        assert!(error.contains("schema step 1"), "{error}");
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_the_version_before() {
        let folder = Folder::new();
        let file = folder.path().join("a.db");
        run(&file, ONE).await.unwrap();
        run(&file, FAILING).await.unwrap_err();
        run(&file, TWO).await.expect("table b was not half made");
    }
}
