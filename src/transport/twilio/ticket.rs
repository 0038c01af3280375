//! The ticket that ties a stream to the webhook that asked for it: signed, short-lived, good once.
//!
//! Twilio hands the `<Parameter>`s of our TwiML back in the stream's `start`. The ticket among them is a signature
//! over the others, so any node of a cluster can check it without having seen the webhook.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::telemetry::pii::Pii;

/// Issues and checks tickets.
pub struct Tickets {
    key: SecretString,
    used: Mutex<BTreeMap<u64, Vec<String>>>,
}

/// Who a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub call_sid: String,
    pub called: String,
    pub caller: Pii<String>,
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("the stream carries no ticket of ours")]
    Missing,
    #[error("the stream's ticket is not ours or was changed")]
    Forged,
    #[error("the stream's ticket is too old")]
    Expired,
    #[error("the stream's ticket was used before")]
    Used,
}

impl Tickets {
    pub const fn new(key: SecretString) -> Self {
        Self { key, used: Mutex::new(BTreeMap::new()) }
    }

    /// The parameters to put into the TwiML. `wall` is the time since the Unix epoch.
    pub fn issue(&self, ticket: &Ticket, wall: Duration) -> Vec<(&'static str, String)> {
        let expires = (wall + LIFETIME).as_secs();
        vec![
            (CALLED, ticket.called.clone()),
            (CALLER, ticket.caller.expose().clone()),
            (EXPIRES, expires.to_string()),
            (SIGNATURE, hex(&self.sign(ticket, expires).finalize().into_bytes())),
        ]
    }

    /// Checks the parameters of a stream's `start` and uses the ticket up.
    ///
    /// # Errors
    /// Why the stream is refused.
    pub fn redeem(
        &self,
        call_sid: &str,
        given: &Pii<BTreeMap<String, String>>,
        wall: Duration,
    ) -> Result<Ticket, TicketError> {
        let value = |name: &str| given.expose().get(name).map(String::as_str).ok_or(TicketError::Missing);
        let ticket = Ticket {
            call_sid: call_sid.to_owned(),
            called: value(CALLED)?.to_owned(),
            caller: Pii::new(value(CALLER)?.to_owned()),
        };
        let expires: u64 = value(EXPIRES)?.parse().map_err(|_| TicketError::Forged)?;
        let signature = unhex(value(SIGNATURE)?).ok_or(TicketError::Forged)?;
        self.sign(&ticket, expires).verify_slice(&signature).map_err(|_| TicketError::Forged)?;
        if wall.as_secs() > expires {
            return Err(TicketError::Expired);
        }
        self.use_up(call_sid, expires, wall)?;
        Ok(ticket)
    }

    fn use_up(&self, call_sid: &str, expires: u64, wall: Duration) -> Result<(), TicketError> {
        let mut used = self.used.lock();
        *used = used.split_off(&wall.as_secs());
        let calls = used.entry(expires).or_default();
        if calls.iter().any(|sid| sid == call_sid) {
            return Err(TicketError::Used);
        }
        calls.push(call_sid.to_owned());
        Ok(())
    }

    fn sign(&self, ticket: &Ticket, expires: u64) -> Hmac<Sha256> {
        let mut mac = new_mac(self.key.expose_secret().as_bytes());
        for part in [ticket.call_sid.as_str(), &ticket.called, ticket.caller.expose(), &expires.to_string()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// Names of the parameters.
const CALLED: &str = "called";
const CALLER: &str = "caller";
const EXPIRES: &str = "expires";
const SIGNATURE: &str = "ticket";

/// Twilio opens the stream as soon as it has the TwiML.
const LIFETIME: Duration = Duration::from_secs(60);

/// HMAC takes keys of any length.
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn new_mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("any length")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn ticket() -> Ticket {
        Ticket { call_sid: "CA1".into(), called: "1000".into(), caller: Pii::new("+15550100".into()) }
    }

    fn given(tickets: &Tickets) -> BTreeMap<String, String> {
        tickets.issue(&ticket(), NOW).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn a_ticket_is_good_once_for_its_call() {
        let tickets = Tickets::new("key".to_owned().into());
        let parameters = Pii::new(given(&tickets));
        assert_eq!(tickets.redeem("CA2", &parameters, NOW), Err(TicketError::Forged));
        assert_eq!(tickets.redeem("CA1", &parameters, NOW), Ok(ticket()));
        assert_eq!(tickets.redeem("CA1", &parameters, NOW), Err(TicketError::Used));
    }

    #[test]
    fn a_changed_late_or_missing_ticket_is_refused() {
        let tickets = Tickets::new("key".to_owned().into());
        let mut changed = given(&tickets);
        changed.insert(CALLED.into(), "2000".into());
        assert_eq!(tickets.redeem("CA1", &Pii::new(changed), NOW), Err(TicketError::Forged));
        let late = NOW + LIFETIME + Duration::from_secs(1);
        assert_eq!(tickets.redeem("CA1", &Pii::new(given(&tickets)), late), Err(TicketError::Expired));
        assert_eq!(tickets.redeem("CA1", &Pii::default(), NOW), Err(TicketError::Missing));
        let other = Tickets::new("other key".to_owned().into());
        assert_eq!(other.redeem("CA1", &Pii::new(given(&tickets)), NOW), Err(TicketError::Forged));
    }
}
