//! What nodes tell each other through Redis: which call was interrupted, and when.
//!
//! Nothing that a call needs is kept here. A call never waits for it, and without Redis, or while it is away, calls go
//! on as they are: a flag that cannot be written is counted and forgotten.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::record::CallId;
use crate::config::RedisConfig;

/// The way to the other nodes. Cheap to clone; does nothing where no Redis is configured.
#[derive(Clone, Default)]
pub struct Shared(Option<Link>);

/// Why Redis does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedError {
    #[error("redis.url: expected an address such as redis://host:6379")]
    Url,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The kind of failure; never its text, which may quote the address.
    #[error("{0}")]
    Failed(String),
}

impl Shared {
    /// Begins to serve; connects when there is something to say. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address is none.
    pub fn start(config: &RedisConfig) -> Result<Self, SharedError> {
        let Some(url) = &config.url else { return Ok(Self(None)) };
        let client = redis::Client::open(url.expose_secret()).map_err(|_| SharedError::Url)?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(RETRIES)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = client.get_connection_manager_lazy(settings).map_err(|error| failed(&error))?;
        let (notes, inbox) = mpsc::channel(NOTES);
        tokio::spawn(write(inbox, connection.clone()));
        Ok(Self(Some(Link { notes, connection })))
    }

    /// A caller broke in. `at_ms` counts since the call was answered.
    pub fn barged_in(&self, call: CallId, at_ms: f64) {
        if let Some(link) = &self.0 {
            // A full inbox means that Redis is slow or away: the flag is of use to nobody later.
            let _ = link.notes.try_send(BargedIn { call, at_ms });
        }
    }

    /// Whether Redis answers; `None` where none is configured.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn health(&self) -> Option<Result<(), SharedError>> {
        let mut connection = self.0.as_ref()?.connection.clone();
        let ping = async move { redis::cmd("PING").query_async::<String>(&mut connection).await };
        Some(match timeout(PATIENCE, ping).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(SharedError::Silent(PATIENCE)),
        })
    }
}

/// The channel on which interruptions are announced; the message is `<call id> <ms since answer>`.
pub const BARGE_IN_CHANNEL: &str = "offhook:barge_in";

/// The key that flags a call as interrupted, for [`FLAG_LIFE`].
pub fn barge_in_key(call: CallId) -> String {
    format!("{BARGE_IN_CHANNEL}:{call}")
}

/// How long a flag stays: longer than any answer that it interrupts.
pub const FLAG_LIFE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Link {
    notes: mpsc::Sender<BargedIn>,
    connection: ConnectionManager,
}

#[derive(Debug)]
struct BargedIn {
    call: CallId,
    at_ms: f64,
}

async fn write(mut inbox: mpsc::Receiver<BargedIn>, mut connection: ConnectionManager) {
    while let Some(BargedIn { call, at_ms }) = inbox.recv().await {
        let mut flag = redis::pipe();
        flag.set_ex(barge_in_key(call), at_ms, FLAG_LIFE.as_secs()).ignore();
        flag.publish(BARGE_IN_CHANNEL, format!("{call} {at_ms}")).ignore();
        if let Err(error) = flag.query_async::<()>(&mut connection).await {
            tracing::debug!(error = %failed(&error), "a barge-in flag was not shared");
        }
    }
}

fn failed(error: &redis::RedisError) -> SharedError {
    SharedError::Failed(format!("{:?}", error.kind()))
}

/// Flags that may wait.
const NOTES: usize = 1024;
const RETRIES: usize = 1;
const PATIENCE: Duration = Duration::from_secs(1);
