//! Which providers serve, and in which order: a pure decision that says of each candidate why it was taken or passed
//! over.

use serde::{Deserialize, Serialize};

use super::entry::{Category, Entry};
use crate::providers::Language;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Question {
    pub category: Category,
    /// None takes any.
    pub language: Option<Language>,
    pub region: Option<String>,
    pub prefer: Prefer,
}

/// What goes before the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    #[default]
    Quality,
    Price,
}

/// How a provider stands at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Why an operator switched it off.
    pub disabled: Option<String>,
    /// Why it cannot be asked: no key, a bad setting.
    pub unusable: Option<String>,
    /// Why it is left alone for a moment.
    pub failing: Option<String>,
    /// US dollars on it in this day.
    pub spent_usd: f64,
    /// What is left of the day's money for all; none is no bound.
    pub purse_usd: Option<f64>,
}

/// What was decided of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    pub id: String,
    /// From 1; none was passed over.
    pub rank: Option<usize>,
    pub why: String,
}

/// Decides. Those taken come first in their order, then the others as they were known.
pub fn select(entries: &[&Entry], question: &Question, standing: impl Fn(&Entry) -> Standing) -> Vec<Considered> {
    let (mut taken, mut passed) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|entry| entry.category == question.category) {
        match reason_against(entry, question, &standing(entry)) {
            Some(why) => passed.push(Considered { id: entry.id.as_str().to_owned(), rank: None, why }),
            None => taken.push(*entry),
        }
    }
    taken.sort_by(|a, b| order(a, question).partial_cmp(&order(b, question)).unwrap_or(std::cmp::Ordering::Equal));
    let ranked = (1..).zip(taken).map(|(rank, entry)| Considered {
        id: entry.id.as_str().to_owned(),
        rank: Some(rank),
        why: reason_for(entry, question),
    });
    ranked.chain(passed).collect()
}

fn reason_against(entry: &Entry, question: &Question, standing: &Standing) -> Option<String> {
    if let Some(why) = &standing.disabled {
        return Some(format!("disabled: {why}"));
    }
    if entry.client.is_none() {
        return Some("known only: no client of this program speaks to it".to_owned());
    }
    if let Some(language) = &question.language
        && speaks(entry, language).is_none()
    {
        return Some(format!("does not serve the language {}", language.tag()));
    }
    if let Some(region) = &question.region
        && !entry.regions.is_empty()
        && !entry.regions.iter().any(|known| known.as_str() == region)
    {
        return Some(format!("is not served from {region}"));
    }
    if let Some(why) = &standing.unusable {
        return Some(format!("cannot be used: {why}"));
    }
    if let Some(budget) = entry.limits.usd_per_day.filter(|budget| standing.spent_usd >= budget.0) {
        return Some(format!("its budget of ${} for the day is spent", budget.0));
    }
    if is_paid(entry) && standing.purse_usd.is_some_and(|left| left <= 0.0) {
        return Some("the day's budget for all providers is spent, and it is not free".to_owned());
    }
    standing.failing.as_ref().map(|why| format!("left alone: {why}"))
}

/// The better comes first: its own language before every language, then as is preferred, then by name.
fn order(entry: &Entry, question: &Question) -> (u8, f64, f64, String) {
    let language = question.language.as_ref().and_then(|language| speaks(entry, language)).unwrap_or(0);
    let quality = -f64::from(entry.quality.0);
    let (first, second) = match question.prefer {
        Prefer::Quality => (quality, price(entry)),
        Prefer::Price => (price(entry), quality),
    };
    (language, first, second, entry.id.as_str().to_owned())
}

fn reason_for(entry: &Entry, question: &Question) -> String {
    let price = match &entry.price {
        Some(price) if is_paid(entry) => format!("${} a {}", price.typical_usd(), price.per.as_str()),
        _ => "free".to_owned(),
    };
    let by = match question.prefer {
        Prefer::Quality => format!("quality {} of 5, {price}", entry.quality.0),
        Prefer::Price => format!("{price}, quality {} of 5", entry.quality.0),
    };
    match &question.language {
        Some(language) if entry.languages.is_empty() => {
            format!("serves every language, {} among them; {by}", language.tag())
        }
        Some(language) => format!("serves {}; {by}", language.tag()),
        None => by,
    }
}

/// How well it serves a language, the best 0: the very tag, the language of the tag, or every language.
fn speaks(entry: &Entry, language: &Language) -> Option<u8> {
    if entry.languages.is_empty() {
        return Some(1);
    }
    let known = |tag: &super::entry::Tag| {
        tag.0.tag() == language.tag() || (tag.0.primary() == language.primary() && is_general(tag, language))
    };
    entry.languages.iter().any(known).then_some(0)
}

/// Whether one of the two says nothing of a region, so that the other one's will do.
fn is_general(tag: &super::entry::Tag, language: &Language) -> bool {
    tag.0.tag() == tag.0.primary() || language.tag() == language.primary()
}

fn price(entry: &Entry) -> f64 {
    entry.price.as_ref().map_or(0.0, super::entry::Price::typical_usd)
}

fn is_paid(entry: &Entry) -> bool {
    price(entry) > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let text = r#"[
            {"id":"good","category":"stt","title":"Good","client":"deepgram","languages":["en","fr-CA"],
             "regions":["us"],"quality":5,"price":{"usd":0.01,"per":"minute"},"limits":{"usd_per_day":2}},
            {"id":"cheap","category":"stt","title":"Cheap","client":"openai","quality":3,"price":{"usd":0.001,"per":"minute"}},
            {"id":"free","category":"stt","title":"Free","client":"openai","languages":["en"],"quality":1},
            {"id":"known","category":"stt","title":"Known","quality":4},
            {"id":"model","category":"llm","title":"Model","client":"anthropic","quality":4}]"#;
        serde_json::from_str(text).unwrap()
    }

    fn decided(ask: impl Fn(&mut Question), standing: impl Fn(&Entry) -> Standing) -> (Vec<String>, Vec<String>) {
        let mut question = Question {
            category: Category::Stt,
            language: Some(Language::parse("en").unwrap()),
            region: None,
            prefer: Prefer::Quality,
        };
        ask(&mut question);
        let all = entries();
        let decision = select(&all.iter().collect::<Vec<_>>(), &question, standing);
        let taken = decision.iter().filter(|one| one.rank.is_some()).map(|one| one.id.clone()).collect();
        let passed = decision.iter().filter(|one| one.rank.is_none());
        (taken, passed.map(|one| format!("{}: {}", one.id, one.why)).collect())
    }

    #[test]
    fn the_better_comes_first_by_language_quality_and_price() {
        let well = |_: &Entry| Standing::default();
        assert_eq!(decided(|_| (), well).0, ["good", "free", "cheap"], "its own language goes before any language");
        assert_eq!(decided(|q| q.prefer = Prefer::Price, well).0, ["free", "good", "cheap"]);
        assert_eq!(decided(|q| q.language = None, well).0, ["good", "cheap", "free"]);
        let (taken, passed) = decided(|q| q.language = Some(Language::parse("rw").unwrap()), well);
        assert_eq!(taken, ["cheap"]);
        assert!(passed.contains(&"good: does not serve the language rw".to_owned()), "{passed:?}");
        assert!(passed.contains(&"known: known only: no client of this program speaks to it".to_owned()));
        assert_eq!(decided(|q| q.language = Some(Language::parse("fr-CA").unwrap()), well).0, ["good", "cheap"]);
        assert_eq!(decided(|q| q.language = Some(Language::parse("fr-FR").unwrap()), well).0, ["cheap"]);
        assert_eq!(
            decided(|q| q.language = Some(Language::parse("en-GB").unwrap()), well).0,
            ["good", "free", "cheap"]
        );
        let (taken, passed) = decided(|q| q.region = Some("eu".to_owned()), well);
        assert_eq!(
            (taken, passed[0].as_str()),
            (vec!["free".to_owned(), "cheap".to_owned()], "good: is not served from eu")
        );
    }

    #[test]
    fn each_way_of_standing_badly_is_a_reason() {
        let only = |id: &'static str, bad: Standing| {
            move |entry: &Entry| match entry.id.as_str() == id {
                true => bad.clone(),
                false => Standing::default(),
            }
        };
        for (bad, why) in [
            (Standing { disabled: Some("too dear".into()), ..Standing::default() }, "good: disabled: too dear"),
            (Standing { unusable: Some("no key".into()), ..Standing::default() }, "good: cannot be used: no key"),
            (Standing { failing: Some("HTTP 500".into()), ..Standing::default() }, "good: left alone: HTTP 500"),
            (Standing { spent_usd: 2.0, ..Standing::default() }, "good: its budget of $2 for the day is spent"),
        ] {
            let (taken, passed) = decided(|_| (), only("good", bad));
            assert_eq!((taken.len(), passed[0].as_str()), (2, why));
        }
        let (taken, passed) = decided(|_| (), |_| Standing { purse_usd: Some(0.0), ..Standing::default() });
        assert_eq!(taken, ["free"]);
        assert!(passed[0].contains("the day's budget for all providers is spent"), "{passed:?}");
    }
}
