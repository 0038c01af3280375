//! What must never be, whatever was drawn.

use std::time::Duration;

use super::Came;
use super::words::{Half, Made};

/// Everything that is not as it should be.
pub fn faults(came: &Came) -> Vec<String> {
    let mut faults = came.wrong.clone();
    if came.end.is_none() {
        faults.push("the call did not end".to_owned());
    }
    for ((longest, since), most, what) in [
        (came.silence, MOST_SILENCE, "that nobody planned"),
        (came.wait, MOST_WAIT, "waiting for the caller"),
        (came.quiet, MOST_QUIET, "of both kinds"),
    ] {
        if longest > most {
            faults.push(format!("silence of {longest:?} from {since:?} {what}"));
        }
    }
    for told in &came.interruptions {
        let ordered = told.onset_ms <= told.held_ms && told.decided_ms.is_none_or(|at| told.held_ms <= at);
        if !ordered || told.decided_ms.is_some_and(|at| at > told.held_ms + MOST_DOUBT_MS) {
            faults.push(format!("times out of order: {told:?}"));
        }
    }
    if let Some(word) = &came.ledger.ghost {
        faults.push(format!("`{word}` was heard after it had been dropped"));
    }
    faults.extend(differs(&came.ledger.words, &came.recorded.join(" "), "in the record"));
    faults.extend(invented(came));
    faults
}

/// Where a text and the caller's ear differ. A word of which about half was heard may be there or not.
pub fn differs(words: &[Made], text: &str, place: &str) -> Option<String> {
    let told: Vec<&str> = text.split_whitespace().collect();
    // How many words of the text may have been accounted for.
    let mut reached = vec![0];
    for made in words {
        let (Some(word), half) = (made.text.as_deref(), made.half()) else { continue };
        let next = |at: &usize| told.get(*at).is_some_and(|told| *told == word).then_some(at + 1);
        let matched = reached.iter().filter_map(next);
        let mut after: Vec<usize> = match half {
            Half::Unheard => continue,
            Half::Heard => matched.collect(),
            Half::Unsure => matched.chain(reached.iter().copied()).collect(),
        };
        if after.is_empty() {
            let there: Vec<_> = reached.iter().map(|at| told.get(*at)).collect();
            return Some(format!("`{word}` was played and is not {place}, where {there:?} follows"));
        }
        after.sort_unstable();
        after.dedup();
        reached = after;
    }
    let furthest = reached.into_iter().max().unwrap_or_default();
    told.get(furthest).map(|word| format!("`{word}` is {place} and was not played"))
}

/// A word that the model was told was heard and that was not, to the end of the call.
fn invented(came: &Came) -> Option<String> {
    let mut played = came.ledger.words.iter().filter(|made| made.half() != Half::Unheard);
    let missing = came.told.split_whitespace().find(|word| !played.any(|made| made.text.as_deref() == Some(word)))?;
    Some(format!("the model was told of `{missing}`, which was not played"))
}

/// What callers take for a dead line.
const MOST_SILENCE: Duration = Duration::from_millis(4000);
/// A step waits for a silent caller by 3 s at most.
const MOST_WAIT: Duration = Duration::from_millis(3300);
/// One behind the other: 3.5 s that nobody planned and the longest wait.
const MOST_QUIET: Duration = Duration::from_millis(6700);
/// A doubt is decided within a second; one that begins as a quieter bot may be held after that.
const MOST_DOUBT_MS: f64 = 1100.0;
