//! Small words that learners of English leave out: found by rule, filled in, and told gently.
//!
//! What was said stays, word by word and in its order; words are only put between. Where a rule is not sure, nothing is
//! filled in: to be corrected wrongly discourages more than not to be corrected.

use std::sync::LazyLock;

use regex::Regex;

use crate::providers::Language;

/// A sentence with what was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    pub whole: String,
    /// The words that were filled in, in their order.
    pub missing: Vec<&'static str>,
}

impl Repair {
    /// The missing words as they are told: `'to'`, or `'to' and 'a'`.
    pub fn told(&self) -> String {
        self.missing.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" and ")
    }
}

/// Fills in what is missing; none where nothing is, or the language has no rules.
pub(super) fn repair(said: &str, language: &Language) -> Option<Repair> {
    if language.primary() != "en" {
        return None;
    }
    let mut whole = said.trim().to_owned();
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    for (pattern, word) in RULES.iter() {
        let places: Vec<usize> =
            pattern.captures_iter(&whole).filter_map(|hit| hit.get(1)).map(|before| before.end()).collect();
        for at in places.into_iter().rev() {
            whole.insert_str(at, &format!(" {word}"));
            found.iter_mut().filter(|(other, _)| *other >= at).for_each(|(other, _)| *other += word.len() + 1);
            found.push((at, word));
        }
        if found.len() > MOST {
            return None;
        }
    }
    found.sort_unstable();
    let missing = found.into_iter().map(|(_, word)| word).collect::<Vec<_>>();
    (!missing.is_empty()).then_some(Repair { whole, missing })
}

static RULES: LazyLock<Vec<(Regex, &'static str)>> =
    LazyLock::new(|| SOURCES.iter().filter_map(|(pattern, word)| Some((Regex::new(pattern).ok()?, *word))).collect());

/// Group 1 is what stands before the missing word.
const SOURCES: [(&str, &str); 13] = [
    // "I want go", "she likes eat", "we need buy".
    (
        r"(?i)\b((?:want|wants|wanted|need|needs|needed|like|likes|liked|love|loves|try|tries|tried|hope|plan|decided|learn))\s(?:go|eat|buy|play|learn|speak|read|write|see|visit|work|study|help|know|drink|sing|dance|cook|travel|sleep|become|be|have|make|watch|meet)\b",
        "to",
    ),
    // "I go market", "he went school", "we are going church".
    (
        r"(?i)\b((?:go|goes|went|going|walk|walked|come|came))\s(?:school|work|church|town|kigali|rwanda|market|home town|bed)\b",
        "to",
    ),
    // "listen music", "listen me".
    (r"(?i)\b((?:listen|listens|listened|listening))\s(?:music|me|him|her|you|the|my|radio|songs?)\b", "to"),
    // "wait me".
    (r"(?i)\b((?:wait|waited|waiting))\s(?:me|him|her|us|them|the bus|my)\b", "for"),
    // "she going", "they playing".
    (
        r"(?i)\b((?:he|she|it))\s(?:going|eating|playing|reading|writing|working|learning|speaking|sleeping|cooking|coming|talking)\b",
        "is",
    ),
    (
        r"(?i)\b((?:they|we|you))\s(?:going|eating|playing|reading|writing|working|learning|speaking|sleeping|cooking|coming|talking)\b",
        "are",
    ),
    (
        r"(?i)(?:^|[.!?]\s|\bbut\s)(I)\s(?:going|eating|playing|reading|writing|working|learning|speaking|sleeping|cooking|coming|talking)\b",
        "am",
    ),
    // "she happy", "I tired".
    (r"(?i)\b((?:he|she|it))\s(?:happy|sad|tired|hungry|sick|good|big|small|tall|beautiful|nice|late|ready)\b", "is"),
    (r"(?i)(?:^|[.!?]\s|\bbut\s)(I)\s(?:happy|sad|tired|hungry|sick|late|ready|from)\b", "am"),
    // "I am student", "she is teacher".
    (
        r"(?i)\b((?:I am|I'm|he is|he's|she is|she's|you are))\s(?:student|teacher|doctor|nurse|farmer|driver|boy|girl|mother|father|singer|pupil|tailor|merchant)\b",
        "a",
    ),
    (r"(?i)\b((?:I am|I'm|he is|he's|she is|she's|you are))\s(?:engineer|artist|actor|accountant|officer)\b", "an"),
    // "I live Kigali", "born Rwanda".
    (
        r"(?i)\b((?:live|lives|lived|living|born|stay|stays))\s(?:kigali|rwanda|huye|musanze|rubavu|africa|town|village)\b",
        "in",
    ),
    // "interested football".
    (r"(?i)\b((?:interested))\s(?:football|music|sports?|science|history|english|books|reading)\b", "in"),
];

/// A sentence that lacks more than this is not repaired but answered.
const MOST: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repaired(said: &str) -> Option<(String, String)> {
        repair(said, &Language::default()).map(|repair| (repair.whole.clone(), repair.told()))
    }

    #[test]
    fn every_rule_compiles() {
        assert_eq!(RULES.len(), SOURCES.len());
    }

    #[test]
    fn missing_words_are_filled_in() {
        let cases = [
            ("I want go to the market", "I want to go to the market", "'to'"),
            ("Yesterday I went school", "Yesterday I went to school", "'to'"),
            ("She going home", "She is going home", "'is'"),
            ("I am student and I like play football", "I am a student and I like to play football", "'a' and 'to'"),
            ("I live Kigali.", "I live in Kigali.", "'in'"),
            ("I listen music", "I listen to music", "'to'"),
            ("Please wait me", "Please wait for me", "'for'"),
            ("She is engineer", "She is an engineer", "'an'"),
            ("I happy", "I am happy", "'am'"),
        ];
        for (said, whole, told) in cases {
            assert_eq!(repaired(said), Some((whole.to_owned(), told.to_owned())), "{said}");
        }
    }

    #[test]
    fn what_is_right_or_unsure_stays() {
        let right = [
            "I want to go to the market",
            "I went to school",
            "She is going home",
            "I am a student",
            "I go home",
            "You and I going home is fun",
            "I like football",
            "Do you want coffee?",
            "",
        ];
        for said in right {
            assert_eq!(repaired(said), None, "{said}");
        }
        assert_eq!(repair("je veux go", &Language::parse("fr").unwrap()), None);
    }

    proptest! {
        #[test]
        fn the_caller_s_words_stay_in_their_order(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "I", "want", "go", "school", "she", "going", "am", "student", "listen", "music", "live", "Kigali",
                    "happy", "and", "to", "wait", "me", "é",
                ]),
                0..12,
            )
        ) {
            let said = words.join(" ");
            if let Some(repair) = repair(&said, &Language::default()) {
                let mut whole = repair.whole.split(' ');
                prop_assert!(words.iter().all(|word| whole.any(|other| other == *word)), "{}", repair.whole);
                prop_assert_eq!(repair.whole.split(' ').count(), words.len() + repair.missing.len());
            }
        }
    }
}
