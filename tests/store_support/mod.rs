//! What the tests of the store share: a folder and a database that go away, and records with fixed times.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod postgres;

use std::fs;
use std::path::{Path, PathBuf};

use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use offhook::store::record::{CallId, CallSummary, EndReason, Record, TurnRecord, Via};
use offhook::store::{DataConfig, DatabaseConfig, RecordSink, Store, StoreConfig, StoreError, WriterHandle};
use offhook::telemetry::metrics::Metrics;
use offhook::telemetry::pii::Pii;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use self::postgres::Postgres;

pub type Opened = (Store, RecordSink, WriterHandle);

/// Each of these tests twice: on a SQLite file, and on a database of a real PostgreSQL.
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::store_support::Folder::new()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::store_support::Folder::on_postgres().await).await;
            })*
        }
    };
}

/// A data folder of its own, removed when dropped, and the database that belongs to it.
pub struct Folder {
    path: PathBuf,
    /// The server and the database's URL; none is a file of the folder.
    server: Option<(Arc<Postgres>, String)>,
}

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("offhook-records-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&path).unwrap();
        Self { path, server: None }
    }

    pub async fn on_postgres() -> Self {
        Self::on(Postgres::shared().await).await
    }

    pub async fn on(server: Arc<Postgres>) -> Self {
        let url = server.database().await;
        let mut folder = Self::new();
        folder.server = Some((server, url));
        folder
    }

    /// A folder of the same kind.
    pub async fn another(&self) -> Self {
        match &self.server {
            None => Self::new(),
            Some((server, _)) => Self::on(Arc::clone(server)).await,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn database(&self) -> PathBuf {
        self.path.join("offhook.db")
    }

    pub fn data(&self) -> DataConfig {
        DataConfig { dir: self.path.clone() }
    }

    /// What `database.url` is; none takes the file of the folder.
    pub fn url(&self) -> Option<&str> {
        self.server.as_ref().map(|(_, url)| url.as_str())
    }

    pub async fn open(&self) -> Result<Opened, StoreError> {
        self.open_with(Metrics::new()).await
    }

    pub async fn open_with(&self, metrics: Metrics) -> Result<Opened, StoreError> {
        open(&self.path, self.url(), metrics).await
    }

    /// Opens once a process or task that is dying has given the database back.
    pub async fn open_when_free(&self) -> Opened {
        loop {
            match self.open().await {
                Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
                done => return done.unwrap(),
            }
        }
    }

    /// Another program's connection to the database.
    pub async fn connect(&self) -> Other {
        match &self.server {
            None => {
                let options = SqliteConnectOptions::new().filename(self.database()).foreign_keys(true);
                Other::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            Some((_, url)) => Other::Postgres(PgConnection::connect(url).await.unwrap()),
        }
    }

    /// Another program that keeps everybody from writing until it rolls back.
    pub async fn locked(&self) -> Other {
        let mut other = self.connect().await;
        match &other {
            Other::Sqlite(_) => other.run("BEGIN IMMEDIATE").await,
            Other::Postgres(_) => {
                other.run("BEGIN").await;
                other.run("LOCK TABLE calls, user_sessions, events IN EXCLUSIVE MODE").await;
            }
        }
        other
    }

    pub fn csv(&self, day: &str) -> String {
        fs::read_to_string(self.path.join(format!("turns-{day}.csv"))).unwrap()
    }

    /// Whether any file of the folder, or the database, holds this text.
    pub fn holds(&self, text: &str) -> bool {
        // Another process looks: closing a file here would give up SQLite's locks on it (POSIX).
        let grep = Command::new("grep").args(["-rqaF", "--exclude=*.key", "--"]).arg(text).arg(&self.path).status();
        let in_a_file = match grep.unwrap().code() {
            Some(0) => true,
            Some(1) => false,
            other => panic!("grep ended with {other:?}"),
        };
        in_a_file || self.server.as_ref().is_some_and(|(server, url)| server.dump(url).contains(text))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Another program at the database.
pub enum Other {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Other {
    pub async fn run(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => drop(sql.execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sql.execute(connection).await.unwrap()),
        }
    }

    pub async fn count(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
        }
    }

    pub async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

pub async fn open(folder: &Path, url: Option<&str>, metrics: Metrics) -> Result<Opened, StoreError> {
    let data = DataConfig { dir: folder.to_owned() };
    let database = DatabaseConfig { url: url.map(|url| url.parse().unwrap()) };
    Store::open(&database, &data, &StoreConfig::default(), metrics).await
}

/// Noon of one day, and some seconds.
pub fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

pub fn started(call: CallId) -> Record {
    Record::CallStarted {
        call,
        at: at(0),
        via: Via::Twilio,
        direction: offhook::store::record::Direction::Inbound,
        called: "1000".into(),
        caller: Pii::new("+250788123456".into()),
        flow: "clinic".into(),
    }
}

pub fn turn(call: CallId, number: u32) -> Record {
    let turn = TurnRecord {
        number,
        step: "ask".into(),
        caller_words: Some(Pii::new(format!("turn {number}"))),
        total_ms: Some(f64::from(number)),
        ..TurnRecord::default()
    };
    Record::Turn { call, at: at(number.into()), turn: Box::new(turn) }
}

pub fn ended(call: CallId, reason: EndReason) -> Record {
    Record::CallEnded { call, at: at(60), reason, summary: CallSummary::default() }
}
