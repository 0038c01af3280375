//! The tutor that comes with the program: temperatures by state, moods, missing words, facts that do not come again, and what
//! is said when the model does not do what it should. On virtual time, with nobody on the line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use offhook::dialog::{CallFacts, Catalogue, Dialog, DialogInput, DialogOutput, Moment, Utterance};
use offhook::providers::ReplyRequest;
use offhook::safety::said::clear;
use offhook::telemetry::pii::Pii;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::built_in().unwrap());

/// What earlier calls of a caller were told.
type Before = Vec<(Arc<str>, u32)>;

struct Lesson {
    dialog: Dialog,
    now: Moment,
    wake: Option<Moment>,
    /// Sentences with their rates, since the caller's last turn.
    said: Vec<(String, f32)>,
    queued: Vec<String>,
    asked: Vec<ReplyRequest>,
    events: Vec<(&'static str, serde_json::Value)>,
    over: bool,
}

impl Lesson {
    fn begin(caller: &str, before: Before) -> Self {
        let flow = Arc::clone(CATALOGUE.flow_named("tutor").unwrap());
        let facts =
            CallFacts { called: "1200".into(), caller: Pii::new(caller.to_owned()), has_ears: true, has_model: true };
        let mut lesson = Self {
            dialog: Dialog::new(flow, facts).with_told(before),
            now: Moment::ZERO,
            wake: None,
            said: Vec::new(),
            queued: Vec::new(),
            asked: Vec::new(),
            events: Vec::new(),
            over: false,
        };
        lesson.feed(DialogInput::Started);
        lesson
    }

    /// As far as the lesson itself.
    fn at_work(caller: &str, before: Before) -> Self {
        let mut lesson = Self::begin(caller, before);
        lesson.says("I am very well thank you");
        lesson.model("Lovely.");
        assert_eq!(lesson.dialog.step_name(), "lesson");
        lesson
    }

    fn says(&mut self, words: &str) {
        self.says_after(words, 5000, 0.95);
    }

    /// Words that end so many ms after ours, of which the recogniser is so sure.
    fn says_after(&mut self, words: &str, after_ms: u64, confidence: f32) {
        self.said.clear();
        self.now += Duration::from_millis(after_ms);
        self.dialog.heard_with(Some(confidence));
        self.feed(DialogInput::TurnEnded(Some(Pii::new(words.to_owned()))));
    }

    fn model(&mut self, text: &str) {
        self.dialog.handle(DialogInput::AnswerSentence(clear(text)), self.now);
        self.feed(DialogInput::AnswerEnded);
    }

    /// Nothing comes until the dialog wakes by itself.
    fn wait(&mut self) {
        self.now = self.wake.unwrap();
        self.feed(DialogInput::Timeout);
    }

    fn feed(&mut self, input: DialogInput) {
        self.dialog.handle(input, self.now);
        loop {
            while let Some(output) = self.dialog.poll() {
                match output {
                    DialogOutput::Say(Utterance::Sentence { text, rate, .. }) => {
                        self.said.push((text.as_str().to_owned(), rate));
                        self.queued.push(text.as_str().to_owned());
                    }
                    DialogOutput::Reply(request) => self.asked.push(*request),
                    DialogOutput::Event { kind, detail } => {
                        self.events.push((kind, detail.map(Pii::into_exposed).unwrap_or_default()));
                    }
                    DialogOutput::WakeAt(at) => self.wake = at,
                    DialogOutput::HangUp => self.over = true,
                    _ => {}
                }
            }
            if self.queued.is_empty() || self.over {
                return;
            }
            self.now += Duration::from_secs(2);
            let heard = std::mem::take(&mut self.queued).join(" ");
            self.dialog.handle(DialogInput::SpokenOut { heard, whole: true }, self.now);
        }
    }

    fn all(&self) -> String {
        self.said.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn told(&self) -> u32 {
        let told = self.events.iter().find(|(kind, _)| *kind == "told").unwrap();
        u32::try_from(told.1["item"].as_u64().unwrap()).unwrap()
    }

    fn event(&self, kind: &str) -> Option<&serde_json::Value> {
        self.events.iter().rev().find(|(other, _)| *other == kind).map(|(_, detail)| detail)
    }
}

#[test]
fn each_state_has_its_temperature() {
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says("I visited my grandmother yesterday");
    lesson.model("How is she?");
    lesson.says("goodbye");
    let temperatures: Vec<f32> = lesson.asked.iter().map(|request| request.temperature).collect();
    assert_eq!(temperatures, [0.4, 0.9, 1.6]);
}

#[test]
fn a_missing_word_is_filled_in_and_told_gently_but_not_each_time() {
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says("Yesterday I went market");
    assert_eq!(lesson.all(), "Good try! I filled in the missing word 'to'.");
    let event = lesson.event("repaired").unwrap();
    assert_eq!(
        (event["missing"][0].as_str(), event["whole"].as_str()),
        (Some("to"), Some("Yesterday I went to market"))
    );
    let asked = lesson.asked.last().unwrap().messages.first().unwrap().content.expose().clone();
    assert!(asked.contains("The caller left out: 'to'"), "{asked}");
    lesson.model("You went to the market! What did you buy?");
    lesson.says("I want buy shoes");
    assert_eq!(lesson.all(), "", "just corrected");
    lesson.model("Shoes! Which colour?");
    lesson.says("I am student");
    assert_eq!(lesson.all(), "Good try! I filled in the missing word 'a'.");
}

#[test]
fn a_frustrated_caller_is_slowed_down_for_and_encouraged() {
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says("I don't understand this is too hard I want go");
    assert_eq!(lesson.event("mood").unwrap()["mood"], "frustrated");
    assert_eq!(lesson.event("mood").unwrap()["why"], "words");
    assert!(lesson.all().starts_with("You are doing well."), "{}", lesson.all());
    assert!(lesson.event("repaired").is_none(), "no corrections now");
    let rates: Vec<f32> = lesson.said.iter().map(|(_, rate)| *rate).collect();
    assert!(rates.iter().all(|rate| (rate - 0.95 * 0.85).abs() < 0.001), "{rates:?}");
    let system = lesson.asked.last().unwrap().messages.first().unwrap().content.expose().clone();
    assert!(system.contains("The caller is frustrated"), "{system}");
    lesson.model("You speak clearly. Do you like tea?");
    lesson.says("Thank you, I like tea very much");
    assert_eq!(lesson.event("mood").unwrap()["mood"], "calm");
    lesson.model("Tea from Rwanda is famous. Do you drink it with milk?");
    assert!(lesson.said.iter().all(|(_, rate)| (rate - 0.95).abs() < 0.001));
}

#[test]
fn low_confidence_and_curt_answers_together_are_a_sign_of_frustration() {
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says_after("the big one over there", 4000, 0.3);
    lesson.model("Which one?");
    assert!(lesson.event("mood").is_none(), "one sign is none");
    lesson.says_after("that", 500, 0.9);
    assert_eq!(lesson.event("mood").unwrap()["why"], "curt");
    assert!(lesson.all().starts_with("You are doing well."));
}

#[test]
fn a_fact_is_told_in_the_models_words_only_if_they_say_it() {
    let plain = |answer: &str| {
        let mut lesson = Lesson::at_work("1", Vec::new());
        lesson.says("goodbye");
        let fact = lesson.asked.last().unwrap().messages.last().unwrap().content.expose().clone();
        lesson.said.clear();
        lesson.model(&answer.replace("{fact}", &fact));
        assert!(lesson.over, "{}", lesson.all());
        (lesson.all(), lesson.event("told_plainly").is_some())
    };
    let (said, plainly) = plain("Listen to this! {fact}");
    assert!(said.starts_with("Listen to this!") && !plainly, "{said}");
    for wrong in ["Did you know that the moon is far?", "", "{fact} Do you want to hear more?"] {
        let (said, plainly) = plain(wrong);
        assert!(plainly && !said.contains("moon") && said.ends_with("Goodbye!") && said.len() > 60, "{said}");
    }
}

#[test]
fn a_model_that_is_slow_or_fails_is_not_waited_for() {
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says("goodbye");
    lesson.said.clear();
    let since = lesson.now;
    let quiet = lesson.wake.unwrap() - since;
    assert!(quiet <= Duration::from_secs(2), "{quiet:?}");
    lesson.wait();
    assert!(lesson.over && lesson.said.len() >= 2, "{}", lesson.all());
    let mut lesson = Lesson::at_work("1", Vec::new());
    lesson.says("goodbye");
    lesson.feed(DialogInput::AnswerFailed);
    assert!(lesson.over && lesson.event("model_failed").is_some());
}

#[test]
fn no_fact_comes_again_to_a_caller_before_the_others_were_told() {
    for caller in ["+250788000001", "+250788000002", "anonymous"] {
        let mut before: Before = Vec::new();
        let mut heard = Vec::new();
        for _ in 0..60 {
            let mut lesson = Lesson::at_work(caller, before.clone());
            lesson.says("goodbye");
            heard.push(lesson.told());
            before.insert(0, ("tutor/fact".into(), lesson.told()));
        }
        for window in heard.windows(25) {
            let different: HashSet<u32> = window.iter().copied().collect();
            assert_eq!(different.len(), 25, "{caller}: {window:?}");
        }
        assert!(heard.iter().copied().collect::<HashSet<u32>>().len() >= 20);
    }
    let first = |caller: &str| {
        let mut lesson = Lesson::at_work(caller, Vec::new());
        lesson.says("goodbye");
        lesson.told()
    };
    let firsts: HashSet<u32> = (0..20).map(|n| first(&format!("+25078800{n:04}"))).collect();
    assert!(firsts.len() > 5, "callers begin at places of their own: {firsts:?}");
}
