//! The registry of providers in the database: entries as JSON, use by day, and when each began and ceased to fail.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::columns::{Columns as _, unexpected};
use super::row::time;
use super::session::{AnyRow, Session};
use super::{StoreError, Tables};

/// A provider as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptProvider {
    pub id: String,
    pub category: String,
    pub origin: Origin,
    /// JSON, as in the file.
    pub entry: String,
    /// Why it is switched off.
    pub disabled: Option<String>,
}

/// Who said that there is such a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    File,
    Api,
}

/// What was used of a provider on a UTC day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderUsage {
    /// `2026-11-21`.
    pub day: String,
    pub provider: String,
    pub requests: u64,
    pub failures: u64,
    /// As its price counts.
    pub units: f64,
    pub usd: f64,
}

/// A provider began to fail, or ceased to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    pub provider: String,
    pub at: jiff::Timestamp,
    /// What it fails of; none where it serves again.
    pub failing: Option<String>,
}

impl Tables {
    /// Every provider, by id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn providers(&self) -> Result<Vec<KeptProvider>, StoreError> {
        self.read(PROVIDERS, &[]).await?.iter().map(provider).collect::<Result<_, _>>().map_err(|e| self.failed(&e))
    }

    /// Makes the providers of the file be those that are given; others stay, and so does what was switched off.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn replace_file_providers(&self, entries: &[KeptProvider]) -> Result<(), StoreError> {
        let write = async {
            let mut session = self.begin().await?;
            let known = session.rows(PROVIDERS, &[]).await?;
            for row in &known {
                let row = provider(row)?;
                if row.origin == Origin::File && !entries.iter().any(|entry| entry.id == row.id) {
                    session.run(DROP_PROVIDER, &[row.id.as_str().into()]).await?;
                }
            }
            for entry in entries {
                put(&mut session, entry).await?;
            }
            session.commit().await
        };
        write.await.map_err(|error| self.failed(&error))
    }

    /// Adds a provider, or changes one of its id.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_provider(&self, entry: &KeptProvider) -> Result<(), StoreError> {
        let write = async {
            let mut session = self.begin().await?;
            put(&mut session, entry).await?;
            session.commit().await
        };
        write.await.map_err(|error| self.failed(&error))
    }

    /// Switches a provider off for a reason, or on; false when there is none of this id.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn disable_provider(&self, id: &str, why: Option<&str>) -> Result<bool, StoreError> {
        let now = time(jiff::Timestamp::now());
        let write = async {
            let mut session = self.begin().await?;
            let found = session.run(DISABLE_PROVIDER, &[id.into(), why.into(), now.as_str().into()]).await?;
            session.commit().await.map(|()| found > 0)
        };
        write.await.map_err(|error| self.failed(&error))
    }

    /// Adds to what was used, and keeps the changes of health, all or none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn add_usage(&self, used: &[ProviderUsage], changes: &[HealthChange]) -> Result<(), StoreError> {
        let write = async {
            let mut session = self.begin().await?;
            for one in used {
                let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
                let place = [one.day.as_str().into(), one.provider.as_str().into()];
                let counts = [whole(one.requests).into(), whole(one.failures).into()];
                let [day, provider] = place;
                let [requests, failures] = counts;
                session.run(ADD_USAGE, &[day, provider, requests, failures, one.units.into(), one.usd.into()]).await?;
            }
            for change in changes {
                let (id, at) = (Uuid::now_v7().to_string(), time(change.at));
                let values = [
                    id.as_str().into(),
                    change.provider.as_str().into(),
                    at.as_str().into(),
                    change.failing.as_deref().into(),
                ];
                session.run(ADD_HEALTH, &values).await?;
            }
            session.commit().await
        };
        write.await.map_err(|error| self.failed(&error))
    }

    /// What was used on a UTC day (`2026-11-21`), by provider.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage_of_day(&self, day: &str) -> Result<Vec<ProviderUsage>, StoreError> {
        self.read(USAGE, &[day.into()]).await?.iter().map(usage).collect::<Result<_, _>>().map_err(|e| self.failed(&e))
    }

    /// The latest changes of health of all providers, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn health_changes(&self, most: u32) -> Result<Vec<HealthChange>, StoreError> {
        self.read(HEALTH, &[most.into()])
            .await?
            .iter()
            .map(change)
            .collect::<Result<_, _>>()
            .map_err(|e| self.failed(&e))
    }
}

async fn put(session: &mut Session, entry: &KeptProvider) -> Result<u64, sqlx::Error> {
    let origin = match entry.origin {
        Origin::File => "file",
        Origin::Api => "api",
    };
    let now = time(jiff::Timestamp::now());
    let values = [
        entry.id.as_str().into(),
        entry.category.as_str().into(),
        origin.into(),
        entry.entry.as_str().into(),
        now.as_str().into(),
    ];
    session.run(PUT_PROVIDER, &values).await
}

fn provider(row: &AnyRow) -> Result<KeptProvider, sqlx::Error> {
    let origin = match row.name("origin")?.as_str() {
        "file" => Origin::File,
        "api" => Origin::Api,
        other => return Err(unexpected(format!("origin: `{other}`"))),
    };
    Ok(KeptProvider {
        id: row.name("id")?,
        category: row.name("category")?,
        origin,
        entry: row.name("entry")?,
        disabled: row.text("disabled")?,
    })
}

fn usage(row: &AnyRow) -> Result<ProviderUsage, sqlx::Error> {
    Ok(ProviderUsage {
        day: row.name("day")?,
        provider: row.name("provider")?,
        requests: row.count("requests")?.unwrap_or_default(),
        failures: row.count("failures")?.unwrap_or_default(),
        units: row.ms("units")?,
        usd: row.ms("usd")?,
    })
}

fn change(row: &AnyRow) -> Result<HealthChange, sqlx::Error> {
    Ok(HealthChange { provider: row.name("provider")?, at: row.at("at")?, failing: row.text("failing")? })
}

const PROVIDERS: &str = "SELECT * FROM providers ORDER BY id";
const DROP_PROVIDER: &str = "DELETE FROM providers WHERE id = $1";
const PUT_PROVIDER: &str = "INSERT INTO providers (id, category, origin, entry, changed_at) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (id) DO UPDATE SET category = excluded.category, origin = excluded.origin, entry = excluded.entry, \
     changed_at = excluded.changed_at";
const DISABLE_PROVIDER: &str = "UPDATE providers SET disabled = $2, changed_at = $3 WHERE id = $1";
const ADD_USAGE: &str = "INSERT INTO provider_usage (day, provider, requests, failures, units, usd) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (day, provider) DO UPDATE SET \
     requests = provider_usage.requests + excluded.requests, failures = provider_usage.failures + excluded.failures, \
     units = provider_usage.units + excluded.units, usd = provider_usage.usd + excluded.usd";
const USAGE: &str = "SELECT * FROM provider_usage WHERE day = $1 ORDER BY provider";
const ADD_HEALTH: &str = "INSERT INTO provider_health (id, provider, at, failing) VALUES ($1, $2, $3, $4)";
const HEALTH: &str = "SELECT * FROM provider_health ORDER BY id DESC LIMIT $1";
