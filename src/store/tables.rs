//! What is kept beside the records of calls: credentials and the registry of providers. Read and written in whole
//! transactions, by the server and by commands that run beside it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::columns::Columns as _;
use super::db::Db;
use super::row::time;
use super::session::{AnyRow, Session, Value};
use super::url::Place;
use super::{DataConfig, DatabaseConfig, DatabaseUrl, StoreError};

/// The tables; a clone is the same.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(super) db: Db,
}

/// A credential as the database knows it: of what it says, only its place can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCredential {
    pub provider: String,
    pub name: String,
    /// The key that it is encrypted under.
    pub key_id: String,
    pub nonce: Vec<u8>,
    pub sealed: Vec<u8>,
    /// RFC 3339.
    pub changed_at: String,
}

impl Tables {
    /// The tables of a database that a server may be running on.
    ///
    /// # Errors
    /// A database that cannot be used or does not answer.
    pub async fn beside(database: &DatabaseConfig, data: &DataConfig) -> Result<Self, StoreError> {
        let place = database.url.as_ref().map_or_else(|| Place::default_in(&data.dir), DatabaseUrl::place);
        if let Place::File(file) = &place
            && let Some(folder) = file.parent()
        {
            let failed = |error: std::io::Error| StoreError::Open { at: place.name(), what: error.to_string() };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        Ok(Self { db: Db::beside(&place).await? })
    }

    /// Whether the database was reached since the start.
    pub fn was_reached(&self) -> bool {
        self.db.is_prepared()
    }

    /// Every credential, by provider and name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn credentials(&self) -> Result<Vec<SealedCredential>, StoreError> {
        self.read(CREDENTIALS, &[]).await?.iter().map(credential).collect::<Result<_, _>>().map_err(|e| self.failed(&e))
    }

    /// # Errors
    /// The database cannot be read.
    pub async fn credential(&self, provider: &str, name: &str) -> Result<Option<SealedCredential>, StoreError> {
        let rows = self.read(CREDENTIAL, &[provider.into(), name.into()]).await?;
        rows.first().map(credential).transpose().map_err(|error| self.failed(&error))
    }

    /// Keeps a credential in place of the one of its name.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_credential(&self, credential: &SealedCredential) -> Result<(), StoreError> {
        let write = async {
            let mut session = self.begin().await?;
            put(&mut session, PUT_CREDENTIAL, credential).await?;
            session.commit().await
        };
        write.await.map_err(|error| self.failed(&error))
    }

    /// Changes every credential that `reseal` gives another form of, all or none. Whoever reads meanwhile sees those of
    /// before; nobody else writes one meanwhile. Returns how many were changed.
    ///
    /// # Errors
    /// The database cannot be written, or `reseal` fails.
    pub async fn reseal<E: From<StoreError>>(
        &self,
        reseal: impl Fn(&SealedCredential) -> Result<Option<SealedCredential>, E>,
    ) -> Result<usize, E> {
        let failed = |error: sqlx::Error| E::from(self.failed(&error));
        let mut session = self.begin().await.map_err(failed)?;
        session.keep_others_from_writing(LOCK_CREDENTIALS).await.map_err(failed)?;
        let rows = session.rows(CREDENTIALS, &[]).await.map_err(failed)?;
        let mut changed = 0;
        for row in &rows {
            if let Some(resealed) = reseal(&credential(row).map_err(failed)?)? {
                put(&mut session, PUT_CREDENTIAL, &resealed).await.map_err(failed)?;
                changed += 1;
            }
        }
        session.commit().await.map_err(failed)?;
        Ok(changed)
    }

    /// Forgets a credential; false when there was none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn drop_credential(&self, provider: &str, name: &str) -> Result<bool, StoreError> {
        let write = async {
            let mut session = self.begin().await?;
            let dropped = session.run(DROP_CREDENTIAL, &[provider.into(), name.into()]).await?;
            session.commit().await.map(|()| dropped > 0)
        };
        write.await.map_err(|error| self.failed(&error))
    }

    pub(super) async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<AnyRow>, StoreError> {
        let read = async { self.db.reading().await?.rows(sql, values).await };
        read.await.map_err(|error| self.db.unreadable(&error))
    }

    /// A transaction that writes, once no other one is in its way.
    pub(super) async fn begin(&self) -> Result<Session, sqlx::Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.db.writing().await {
                Err(error) if self.db.is_busy(&error) && Instant::now() < until => sleep(PAUSE).await,
                done => return done,
            }
        }
    }

    pub(super) fn failed(&self, error: &sqlx::Error) -> StoreError {
        self.db.unwritable(error)
    }
}

impl SealedCredential {
    /// One that was changed at this moment.
    pub fn now(provider: &str, name: &str, key_id: &str, nonce: Vec<u8>, sealed: Vec<u8>) -> Self {
        let (provider, name, key_id) = (provider.to_owned(), name.to_owned(), key_id.to_owned());
        Self { provider, name, key_id, nonce, sealed, changed_at: time(jiff::Timestamp::now()) }
    }
}

async fn put(session: &mut Session, sql: &'static str, credential: &SealedCredential) -> Result<u64, sqlx::Error> {
    let SealedCredential { provider, name, key_id, nonce, sealed, changed_at } = credential;
    let texts = [provider.as_str().into(), name.as_str().into(), key_id.as_str().into()];
    let [provider, name, key_id] = texts;
    let values = [provider, name, key_id, Value::Bytes(nonce), Value::Bytes(sealed), changed_at.as_str().into()];
    session.run(sql, &values).await
}

fn credential(row: &AnyRow) -> Result<SealedCredential, sqlx::Error> {
    Ok(SealedCredential {
        provider: row.name("provider")?,
        name: row.name("name")?,
        key_id: row.name("key_id")?,
        nonce: row.bytes("nonce")?,
        sealed: row.bytes("sealed")?,
        changed_at: row.name("changed_at")?,
    })
}

/// How long another transaction is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

const CREDENTIALS: &str = "SELECT * FROM credentials ORDER BY provider, name";
const CREDENTIAL: &str = "SELECT * FROM credentials WHERE provider = $1 AND name = $2";
const DROP_CREDENTIAL: &str = "DELETE FROM credentials WHERE provider = $1 AND name = $2";
const PUT_CREDENTIAL: &str = "INSERT INTO credentials (provider, name, key_id, nonce, sealed, changed_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (provider, name) DO UPDATE SET key_id = excluded.key_id, \
     nonce = excluded.nonce, sealed = excluded.sealed, changed_at = excluded.changed_at";
/// For PostgreSQL; a transaction of SQLite that writes keeps others out by itself.
const LOCK_CREDENTIALS: &str = "LOCK TABLE credentials IN SHARE ROW EXCLUSIVE MODE";
