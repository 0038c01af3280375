//! A transaction on either engine: statements whose SQL both understand, with values in and rows out.
//!
//! sqlx numbers parameters (`$1`) the same way for both. What an engine does its own way (a batch of records, a schema)
//! is in the engine's file.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Row as _, Transaction};

use super::columns::Columns;

/// A transaction; rolled back when dropped.
pub(super) enum Session {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Whole(Option<i64>),
    Real(Option<f64>),
    Bytes(&'a [u8]),
}

/// A row that was read.
pub(super) enum AnyRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// The values in their order; a macro because the query's type is the engine's.
macro_rules! bound {
    ($query:expr, $values:expr) => {
        $values.iter().fold($query, |query, value| match *value {
            Value::Text(text) => query.bind(text),
            Value::Whole(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    };
}
impl Session {
    pub(super) async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<AnyRow>, sqlx::Error> {
        match self {
            Self::Sqlite(open) => {
                let query = bound!(sqlx::query(sql), values);
                Ok(query.fetch_all(&mut **open).await?.into_iter().map(AnyRow::Sqlite).collect())
            }
            Self::Postgres(open) => {
                let query = bound!(sqlx::query(sql), values);
                Ok(query.fetch_all(&mut **open).await?.into_iter().map(AnyRow::Postgres).collect())
            }
        }
    }

    /// How many rows were written.
    pub(super) async fn run(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(open) => Ok(bound!(sqlx::query(sql), values).execute(&mut **open).await?.rows_affected()),
            Self::Postgres(open) => Ok(bound!(sqlx::query(sql), values).execute(&mut **open).await?.rows_affected()),
        }
    }

    /// For PostgreSQL, by its statement `lock`; a transaction of SQLite that writes keeps others out by itself.
    pub(super) async fn keep_others_from_writing(&mut self, lock: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => self.run(lock, &[]).await.map(drop),
        }
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(open) => open.commit().await,
            Self::Postgres(open) => open.commit().await,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Whole(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Whole(Some(number.into()))
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}

impl Columns for AnyRow {
    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    fn whole(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    fn real(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}
