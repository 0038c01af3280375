//! What the tests of the store share: a folder that goes away, and records with fixed times.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use offhook::store::record::{CallId, CallSummary, EndReason, Record, TurnRecord, Via};
use offhook::store::{DataConfig, DatabaseConfig, RecordSink, Store, StoreConfig, StoreError, WriterHandle};
use offhook::telemetry::metrics::Metrics;
use offhook::telemetry::pii::Pii;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

pub type Opened = (Store, RecordSink, WriterHandle);

/// A data folder of its own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("offhook-records-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("offhook.db")
    }

    pub fn data(&self) -> DataConfig {
        DataConfig { dir: self.0.clone() }
    }

    pub async fn open(&self) -> Result<Opened, StoreError> {
        self.open_with(Metrics::new()).await
    }

    pub async fn open_with(&self, metrics: Metrics) -> Result<Opened, StoreError> {
        open(&self.0, metrics).await
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
    pub async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(self.database())).await.unwrap()
    }

    /// Another program that holds the write lock until it rolls back.
    pub async fn locked(&self) -> SqliteConnection {
        let mut other = self.connect().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        other
    }

    pub fn csv(&self, day: &str) -> String {
        fs::read_to_string(self.0.join(format!("turns-{day}.csv"))).unwrap()
    }

    /// Whether any file of the folder holds these bytes.
    pub fn holds(&self, text: &str) -> bool {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_none_or(|e| e != "key")).any(|path| {
            fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub async fn open(folder: &Path, metrics: Metrics) -> Result<Opened, StoreError> {
    let data = DataConfig { dir: folder.to_owned() };
    Store::open(&DatabaseConfig::default(), &data, &StoreConfig::default(), metrics).await
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
