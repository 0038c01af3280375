//! What was used of each provider today, and which ones fail: kept in memory, written to the database a little later.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::select::Standing;
use crate::store::{HealthChange, ProviderUsage};

/// See the module's header. Time is told: `now` since the server began, `at` by the calendar.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Of today, what the database knows included.
    today: BTreeMap<String, Counts>,
    day: String,
    /// What the database has not been told yet.
    fresh: BTreeMap<(String, String), Counts>,
    health: BTreeMap<String, Health>,
    changes: Vec<HealthChange>,
    is_resumed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub requests: u64,
    pub failures: u64,
    pub units: f64,
    pub usd: f64,
}

#[derive(Debug, Default)]
struct Health {
    in_a_row: u32,
    /// Since when it is left alone, and for what.
    failing: Option<(Duration, String)>,
}

impl Ledger {
    /// Takes what an earlier process used of the day.
    pub fn resume(&mut self, day: &str, used: &[ProviderUsage]) {
        self.is_resumed = true;
        self.turn_to(day);
        for one in used.iter().filter(|one| one.day == day) {
            let counts = Counts { requests: one.requests, failures: one.failures, units: one.units, usd: one.usd };
            self.today.entry(one.provider.clone()).or_default().add(&counts);
        }
    }

    /// Whether it knows what an earlier process used.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Counts a use.
    pub fn used(&mut self, id: &str, at: Timestamp, counts: Counts) {
        let day = day(at);
        self.turn_to(&day);
        self.today.entry(id.to_owned()).or_default().add(&counts);
        self.fresh.entry((day, id.to_owned())).or_default().add(&counts);
    }

    /// It served.
    pub fn served(&mut self, id: &str, at: Timestamp) {
        let health = self.health.entry(id.to_owned()).or_default();
        health.in_a_row = 0;
        if health.failing.take().is_some() {
            self.note(id, at, None);
        }
    }

    /// It did not serve.
    pub fn failed(&mut self, id: &str, at: Timestamp, now: Duration, why: String) {
        self.used(id, at, Counts { failures: 1, ..Counts::default() });
        let health = self.health.entry(id.to_owned()).or_default();
        health.in_a_row = health.in_a_row.saturating_add(1);
        if health.in_a_row >= IN_A_ROW {
            let was_failing = health.failing.replace((now, why.clone())).is_some();
            if !was_failing {
                self.note(id, at, Some(why));
            }
        }
    }

    /// How a provider stands, as far as this book knows.
    pub fn standing(&self, id: &str, at: Timestamp, now: Duration) -> Standing {
        let failing = self.health.get(id).and_then(|health| health.failing.as_ref());
        let failing = failing.filter(|(since, _)| now.saturating_sub(*since) < PAUSE).map(|(_, why)| why.clone());
        Standing { failing, spent_usd: self.of_today(id, at).usd, ..Standing::default() }
    }

    /// What was used of one today.
    pub fn of_today(&self, id: &str, at: Timestamp) -> Counts {
        if self.day == day(at) { self.today.get(id).copied().unwrap_or_default() } else { Counts::default() }
    }

    /// US dollars for all today.
    pub fn spent_today(&self, at: Timestamp) -> f64 {
        if self.day == day(at) { self.today.values().map(|counts| counts.usd).sum() } else { 0.0 }
    }

    /// Whether it failed the last time that it was asked so often that it was left alone.
    pub fn failing(&self, id: &str) -> Option<&str> {
        self.health.get(id)?.failing.as_ref().map(|(_, why)| why.as_str())
    }

    /// What the database is to be told; given back by [`Ledger::keep`] when it does not listen.
    pub fn take(&mut self) -> (Vec<ProviderUsage>, Vec<HealthChange>) {
        let used = std::mem::take(&mut self.fresh).into_iter().map(|((day, provider), counts)| {
            let Counts { requests, failures, units, usd } = counts;
            ProviderUsage { day, provider, requests, failures, units, usd }
        });
        (used.collect(), std::mem::take(&mut self.changes))
    }

    pub fn keep(&mut self, used: Vec<ProviderUsage>, mut changes: Vec<HealthChange>) {
        for one in used {
            let counts = Counts { requests: one.requests, failures: one.failures, units: one.units, usd: one.usd };
            self.fresh.entry((one.day, one.provider)).or_default().add(&counts);
        }
        changes.append(&mut self.changes);
        changes.drain(..changes.len().saturating_sub(MOST_CHANGES));
        self.changes = changes;
    }

    fn turn_to(&mut self, day: &str) {
        if self.day != day {
            day.clone_into(&mut self.day);
            self.today.clear();
        }
    }

    fn note(&mut self, id: &str, at: Timestamp, failing: Option<String>) {
        if self.changes.len() < MOST_CHANGES {
            self.changes.push(HealthChange { provider: id.to_owned(), at, failing });
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.units += other.units;
        self.usd += other.usd;
    }
}

/// The UTC day: `2026-11-21`.
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Failures one after the other after which a provider is left alone.
const IN_A_ROW: u32 = 3;
/// For how long. Then it is asked again, and one more failure begins another pause.
const PAUSE: Duration = Duration::from_secs(120);
/// Changes that wait for a database that is away.
const MOST_CHANGES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-21T12:00:00Z";

    fn noon() -> Timestamp {
        NOON.parse().unwrap()
    }

    #[test]
    fn three_failures_in_a_row_are_a_pause_and_one_success_its_end() {
        let mut ledger = Ledger::default();
        let s = Duration::from_secs;
        let failing = |ledger: &Ledger, now| ledger.standing("a", noon(), s(now)).failing;
        ledger.failed("a", noon(), s(1), "HTTP 500".into());
        ledger.served("a", noon());
        for now in 2..4 {
            ledger.failed("a", noon(), s(now), "HTTP 500".into());
        }
        assert_eq!(failing(&ledger, 4), None);
        ledger.failed("a", noon(), s(4), "HTTP 503".into());
        assert_eq!(failing(&ledger, 123).as_deref(), Some("HTTP 503"));
        assert_eq!(failing(&ledger, 124), None, "asked again");
        ledger.failed("a", noon(), s(125), "HTTP 503".into());
        assert!(failing(&ledger, 126).is_some(), "once more is enough");
        ledger.served("a", noon());
        assert_eq!(failing(&ledger, 126), None);
        let (used, changes) = ledger.take();
        assert_eq!((used[0].failures, changes.len()), (5, 2), "{changes:?}");
        assert_eq!((changes[0].failing.as_deref(), &changes[1].failing), (Some("HTTP 503"), &None));
    }

    #[test]
    fn a_day_begins_at_nothing_and_what_was_not_written_is_kept() {
        let mut ledger = Ledger::default();
        let earlier =
            ProviderUsage { day: "2026-11-21".into(), provider: "a".into(), usd: 1.5, ..ProviderUsage::default() };
        ledger.resume("2026-11-21", &[earlier]);
        let counts = Counts { requests: 1, units: 2.0, usd: 0.25, ..Counts::default() };
        ledger.used("a", noon(), counts);
        assert_eq!(ledger.standing("a", noon(), Duration::ZERO).spent_usd, 1.75);
        assert_eq!(ledger.spent_today(noon()), 1.75);
        let tomorrow: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        assert_eq!(ledger.spent_today(tomorrow), 0.0);
        ledger.used("a", tomorrow, counts);
        assert_eq!(ledger.of_today("a", tomorrow), counts);
        let (used, changes) = ledger.take();
        assert_eq!(
            used.iter().map(|one| (one.day.as_str(), one.usd)).collect::<Vec<_>>(),
            [("2026-11-21", 0.25), ("2026-11-22", 0.25)]
        );
        ledger.used("a", tomorrow, counts);
        ledger.keep(used, changes);
        assert_eq!(ledger.take().0[1].usd, 0.5);
        assert_eq!(ledger.take().0, []);
    }
}
