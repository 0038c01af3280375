//! Which numbers may be called, and how often: what stands between an API token and the telephone bill. Pure.
//!
//! Everything is refused unless it is allowed, and ranges that fraud lives on (premium rate, satellite) need an entry
//! of their own even then. Deliberately absent: a number that a caller or a model chose; transfers go by names.

use std::collections::VecDeque;
use std::time::Duration;

use super::Moment;
use crate::config::OutboundConfig;

/// Decides about each call to be placed.
#[derive(Debug)]
pub struct Guard {
    config: OutboundConfig,
    /// When the calls of the last minute were let through.
    recent: VecDeque<Moment>,
}

/// Why a call is not placed. Closed: each has its code in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    #[error("calls of ours are switched off: outbound.enabled")]
    Disabled,
    #[error("not a number in international form, such as +250788123456")]
    BadNumber,
    #[error("the number is in no range of outbound.allow")]
    NotAllowed,
    #[error("premium-rate and satellite numbers need an entry in outbound.allow_blocked")]
    Blocked,
    #[error("outbound.max_calls are going on")]
    TooMany,
    #[error("outbound.calls_per_minute were placed in the last minute")]
    TooFast,
}

impl Guard {
    pub const fn new(config: OutboundConfig) -> Self {
        Self { config, recent: VecDeque::new() }
    }

    /// Lets a call to `number` through, while `going_on` calls of ours are. Gives the number as it is to be dialled.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, number: &str, going_on: usize, now: Moment) -> Result<String, GuardRefusal> {
        if !self.config.enabled {
            return Err(GuardRefusal::Disabled);
        }
        let number = international(number).ok_or(GuardRefusal::BadNumber)?;
        self.check_range(&number)?;
        if going_on >= usize::try_from(self.config.max_calls).unwrap_or(usize::MAX) {
            return Err(GuardRefusal::TooMany);
        }
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= MINUTE) {
            self.recent.pop_front();
        }
        if self.recent.len() >= usize::try_from(self.config.calls_per_minute).unwrap_or(usize::MAX) {
            return Err(GuardRefusal::TooFast);
        }
        self.recent.push_back(now);
        Ok(number)
    }

    fn check_range(&self, number: &str) -> Result<(), GuardRefusal> {
        let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| number.starts_with(prefix.as_str()));
        if !begins(&self.config.allow) {
            return Err(GuardRefusal::NotAllowed);
        }
        if BLOCKED.iter().any(|prefix| number.starts_with(prefix)) && !begins(&self.config.allow_blocked) {
            return Err(GuardRefusal::Blocked);
        }
        Ok(())
    }
}

impl GuardRefusal {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Disabled => "outbound_disabled",
            Self::BadNumber => "bad_number",
            Self::NotAllowed => "number_not_allowed",
            Self::Blocked => "number_blocked",
            Self::TooMany => "too_many_calls",
            Self::TooFast => "too_many_calls_per_minute",
        }
    }
}

/// `+` and 7 to 15 digits, the first one not 0 (ITU-T E.164); spaces, hyphens, dots and brackets between them are taken
/// out.
fn international(number: &str) -> Option<String> {
    if number.len() > LONGEST_TEXT || !number.starts_with('+') {
        return None;
    }
    let plain: String = number.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = plain.strip_prefix('+')?;
    let sound =
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    sound.then_some(plain)
}

/// Ranges in which a minute costs what others cost in an hour: shared-cost and premium rate (international +979, +808,
/// and national ones), satellite and global networks (+870, +878, +881, +882, +883, +888), and the national premium
/// ranges that fraud is reported for most.
const BLOCKED: [&str; 32] = [
    "+1900", "+1976", "+1809", "+1829", "+1849", "+1876", "+1473", "+1284", "+1664", "+1649", "+1784", "+1767", "+979",
    "+808", "+870", "+878", "+881", "+882", "+883", "+888", "+4490", "+449", "+4487", "+4470", "+49900", "+49137",
    "+3389", "+3906", "+39899", "+43900", "+41900", "+675",
];

const MINUTE: Duration = Duration::from_secs(60);

/// A number with all its separators.
const LONGEST_TEXT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], allow_blocked: &[&str]) -> Guard {
        let own = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Guard::new(OutboundConfig {
            enabled: true,
            allow: own(allow),
            allow_blocked: own(allow_blocked),
            calls_per_minute: 3,
            max_calls: 2,
            ..OutboundConfig::default()
        })
    }

    fn verdict(guard: &mut Guard, number: &str) -> Result<String, GuardRefusal> {
        guard.admit(number, 0, Duration::ZERO)
    }

    #[test]
    fn nothing_is_called_unless_it_is_switched_on_and_allowed() {
        let mut off = Guard::new(OutboundConfig::default());
        assert_eq!(verdict(&mut off, "+250788123456"), Err(GuardRefusal::Disabled));
        assert_eq!(verdict(&mut guard(&[], &[]), "+250788123456"), Err(GuardRefusal::NotAllowed));
        let mut rwanda = guard(&["+250"], &[]);
        assert_eq!(verdict(&mut rwanda, "+250 788-123.456"), Ok("+250788123456".into()));
        assert_eq!(verdict(&mut rwanda, "+255788123456"), Err(GuardRefusal::NotAllowed));
    }

    #[test]
    fn what_is_no_international_number_is_refused() {
        let long = format!("+250{}", "1".repeat(40));
        for number in
            ["", "112", "0788123456", "00250788123456", "+0788123456", "+25a", "+250", "sip:x@y", "++2507881234"]
        {
            assert_eq!(verdict(&mut guard(&["+2", "+1"], &[]), number), Err(GuardRefusal::BadNumber), "{number}");
        }
        assert_eq!(verdict(&mut guard(&["+2"], &[]), &long), Err(GuardRefusal::BadNumber));
    }

    #[test]
    fn premium_and_satellite_ranges_need_an_entry_of_their_own() {
        let mut world: Vec<&str> = vec!["+1", "+2", "+3", "+4", "+5", "+6", "+7", "+8", "+9"];
        for number in
            ["+19005551234", "+881612345678", "+88213123456", "+883510012345", "+979123456789", "+870773111111"]
        {
            assert_eq!(verdict(&mut guard(&world, &[]), number), Err(GuardRefusal::Blocked), "{number}");
        }
        assert!(verdict(&mut guard(&world, &["+8816"]), "+881612345678").is_ok());
        assert_eq!(verdict(&mut guard(&world, &["+8816"]), "+19005551234"), Err(GuardRefusal::Blocked));
        world.clear();
        assert_eq!(verdict(&mut guard(&world, &["+8816"]), "+881612345678"), Err(GuardRefusal::NotAllowed));
    }

    #[test]
    fn calls_are_counted_at_once_and_by_the_minute() {
        let mut guard = guard(&["+250"], &[]);
        let second = Duration::from_secs;
        let mut at = |seconds: u64, going_on| guard.admit("+250788123456", going_on, second(seconds)).map(drop);
        assert_eq!(at(0, 2), Err(GuardRefusal::TooMany));
        assert_eq!([at(0, 0), at(1, 1), at(2, 1)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(at(59, 0), Err(GuardRefusal::TooFast));
        assert_eq!(at(60, 0), Ok(()), "the first one is a minute ago");
        assert_eq!(at(60, 0), Err(GuardRefusal::TooFast));
    }
}
