//! Scripted conversations on virtual time: every kind of step, every re-prompt and every way out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use offhook::config::Consent;
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{
    BargeIn, CallFacts, Catalogue, Dialog, DialogInput, DialogOutput, Endpoint, Expected, Flow, Listening, Moment,
    PauseReason, RecordingOrder, RecordingPlan, TransferTo, Utterance, transcript,
};
use offhook::providers::{ReplyRequest, Role};
use offhook::safety::said::clear;
use offhook::telemetry::pii::Pii;
use offhook_media::dtmf::Digit;
use proptest::prelude::*;

/// The call around a dialog: a queue that plays at the speed of speech, a clock, and a caller who does as told.
struct Call {
    dialog: Dialog,
    now: Moment,
    queue: VecDeque<(String, Duration)>,
    playing_since: Moment,
    wake: Option<Moment>,
    /// Everything that was asked to be said, in order.
    said: Vec<String>,
    /// Seen by the test so far.
    read: usize,
    listening: Option<Listening>,
    replies: Vec<ReplyRequest>,
    events: Vec<&'static str>,
    recording: Vec<RecordingOrder>,
    abandoned: usize,
    end: Option<String>,
}

const MS_PER_CHAR: u64 = 60;

impl Call {
    fn new(flow: &str) -> Self {
        let flow = Flow::parse("test.yaml", flow, &NoAssets).unwrap_or_else(|error| panic!("{error}"));
        Self::with(Arc::new(flow), true, true)
    }

    fn with(flow: Arc<Flow>, has_ears: bool, has_model: bool) -> Self {
        let facts = CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears, has_model };
        Self::around(Dialog::new(flow, facts))
    }

    fn recorded(flow: &str, consent: Consent) -> Self {
        let flow = Flow::parse("test.yaml", flow, &NoAssets).unwrap_or_else(|error| panic!("{error}"));
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: true, has_model: false };
        Self::around(Dialog::new(Arc::new(flow), facts).recorded(RecordingPlan {
            consent,
            announcement: None,
            failure: None,
        }))
    }

    fn around(dialog: Dialog) -> Self {
        let mut call = Self {
            dialog,
            now: Duration::from_secs(100),
            queue: VecDeque::new(),
            playing_since: Duration::ZERO,
            wake: None,
            said: Vec::new(),
            read: 0,
            listening: None,
            replies: Vec::new(),
            events: Vec::new(),
            recording: Vec::new(),
            abandoned: 0,
            end: None,
        };
        call.feed(DialogInput::Started);
        call
    }

    fn feed(&mut self, input: DialogInput) -> &mut Self {
        self.dialog.handle(input, self.now);
        while let Some(output) = self.dialog.poll() {
            match output {
                DialogOutput::Listen(listening) => self.listening = Some(listening),
                DialogOutput::Say(utterance) => self.queue_utterance(utterance),
                DialogOutput::Reply(request) => self.replies.push(*request),
                DialogOutput::Abandon => {
                    self.abandoned += 1;
                    self.queue.clear();
                }
                DialogOutput::WakeAt(at) => self.wake = at,
                DialogOutput::Event { kind, .. } => self.events.push(kind),
                DialogOutput::Recording(order) => self.recording.push(order),
                DialogOutput::Transfer(plan) => {
                    self.end = Some(match plan.to {
                        TransferTo::Name(to) | TransferTo::Address(to) => to.to_string(),
                    });
                }
                DialogOutput::Hook(_) => {}
                DialogOutput::HangUp => self.end = Some("hangup".into()),
            }
        }
        if self.end.as_ref().is_some_and(|end| end != "hangup") {
            // The call was handed over.
            self.dialog.handle(DialogInput::Closed, self.now);
            while self.dialog.poll().is_some() {}
        }
        let waits = self.wake.is_some() || self.dialog.is_over();
        assert!(waits, "the dialog waits for nothing at {}", self.dialog.step_name());
        self
    }

    fn queue_utterance(&mut self, utterance: Utterance) {
        let (text, length) = match utterance {
            Utterance::Sentence { text, .. } => {
                let chars = u64::try_from(text.as_str().chars().count()).unwrap();
                (text.as_str().to_owned(), Duration::from_millis(chars * MS_PER_CHAR))
            }
            Utterance::Audio { samples, words } => {
                let text = words.map_or_else(|| "(sound)".to_owned(), |words| words.as_str().to_owned());
                (text, Duration::from_millis(u64::try_from(samples.len()).unwrap() / 8))
            }
        };
        if self.queue.is_empty() {
            self.playing_since = self.now;
        }
        self.said.push(text.clone());
        self.queue.push_back((text, length));
    }

    fn queue_ends(&self) -> Option<Moment> {
        (!self.queue.is_empty()).then(|| self.playing_since + self.queue.iter().map(|(_, length)| *length).sum())
    }

    /// Lets time pass: what is queued is played, what the dialog waits for comes.
    fn wait_ms(&mut self, ms: u64) -> &mut Self {
        let until = self.now + Duration::from_millis(ms);
        while let Some(next) = [self.queue_ends(), self.wake].into_iter().flatten().min().filter(|next| *next <= until)
        {
            self.now = self.now.max(next);
            if self.queue_ends() == Some(next) {
                self.spoken_out();
            } else {
                self.wake = None;
                self.feed(DialogInput::Timeout);
            }
        }
        self.now = until;
        self
    }

    fn spoken_out(&mut self) {
        let heard: Vec<String> = self.queue.drain(..).map(|(text, _)| text).collect();
        self.feed(DialogInput::SpokenOut { heard: heard.join(" "), whole: true });
    }

    /// Plays everything that is queued, and what follows at once.
    fn hear_out(&mut self) -> &mut Self {
        for _ in 0..20 {
            let Some(end) = self.queue_ends() else { break };
            self.now = self.now.max(end);
            self.spoken_out();
        }
        self
    }

    fn key(&mut self, key: char) -> &mut Self {
        self.feed(DialogInput::Digit(Digit::try_from(key).unwrap()))
    }

    fn keys(&mut self, keys: &str) -> &mut Self {
        keys.chars().for_each(|key| {
            self.key(key);
        });
        self
    }

    /// The caller speaks: over our words where that is allowed, else in the silence.
    fn says(&mut self, words: &str) -> &mut Self {
        let words = Some(Pii::new(words.to_owned()));
        self.turn(words)
    }

    fn mumbles(&mut self) -> &mut Self {
        self.turn(None)
    }

    fn turn(&mut self, words: Option<Pii<String>>) -> &mut Self {
        let may_interrupt =
            self.listening.as_ref().is_some_and(|l| matches!(l.barge_in, BargeIn::Speech | BargeIn::Words));
        if self.queue.is_empty() {
            self.feed(DialogInput::CallerSpeaking);
        } else if may_interrupt {
            self.interrupt();
        }
        self.wait_ms(700);
        self.feed(DialogInput::TurnEnded(words))
    }

    fn interrupt(&mut self) -> &mut Self {
        let mut played = u64::try_from((self.now - self.playing_since).as_millis()).unwrap() * 8;
        let queue: Vec<(String, u64)> =
            self.queue.drain(..).map(|(text, length)| (text, u64::try_from(length.as_millis()).unwrap() * 8)).collect();
        let spoken: Vec<transcript::Spoken> = queue
            .iter()
            .map(|(text, total)| {
                let part = played.min(*total);
                played -= part;
                transcript::Spoken {
                    text,
                    private: false,
                    times: &[],
                    total_samples: Some(*total),
                    played_samples: part,
                }
            })
            .collect();
        let transcript::Heard { heard, unheard, .. } = transcript::heard(&spoken);
        self.feed(DialogInput::Interrupted { heard, unheard })
    }

    fn answer(&mut self, sentence: &str) -> &mut Self {
        self.feed(DialogInput::AnswerSentence(clear(sentence)))
    }

    /// What was said since the last look.
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) -> &mut Self {
        let new: Vec<&str> = self.said[self.read..].iter().map(String::as_str).collect();
        assert_eq!(new, expected, "at step {}", self.dialog.step_name());
        self.read = self.said.len();
        self
    }

    fn skip(&mut self) -> &mut Self {
        self.read = self.said.len();
        self
    }

    #[track_caller]
    fn expect_step(&mut self, step: &str) -> &mut Self {
        assert_eq!(self.dialog.step_name(), step);
        self
    }

    #[track_caller]
    fn expect_end(&mut self, end: &str) -> &mut Self {
        assert_eq!(self.end.as_deref(), Some(end));
        assert!(self.dialog.is_over());
        self
    }

    fn history(&self) -> Vec<(Role, String)> {
        let last = self.replies.last().expect("a reply was asked for");
        last.messages.iter().map(|m| (m.role, m.content.expose().clone())).collect()
    }
}

const MENU: &str = "
name: menu
steps:
  hello:
    say: [Welcome to the line., It is a fine line.]
    goto: main
  main:
    menu:
      prompt: Press 1 for red or 2 for blue.
      choices:
        - {key: 1, words: [red], goto: red}
        - {key: 2, words: [blue, sky blue], goto: blue}
      no_input: [Are you there?, Still there?]
      no_match: [Sorry?, Sorry again?]
      no_input_ms: 5000
      max_tries: 3
      give_up: lost
    language: en
    voice: alice
    rate: 0.9
  red: {hangup: Red it is.}
  blue: {hangup: Blue it is.}
  lost: {hangup: We could not hear you.}
";

const WELCOME: [&str; 2] = ["Welcome to the line.", "It is a fine line."];
const QUESTION: &str = "Press 1 for red or 2 for blue.";

#[test]
fn a_menu_is_answered_by_a_key() {
    let mut call = Call::new(MENU);
    call.expect(&WELCOME).hear_out().expect(&[QUESTION]).key('2').expect(&["Blue it is."]).expect_end("hangup");
}

#[test]
fn a_key_interrupts_the_prompt() {
    let mut call = Call::new(MENU);
    call.hear_out().skip();
    let mut call = Call::new(MENU);
    call.hear_out();
    let mut early = Call::new(MENU);
    early.wait_ms(2500).expect_step("main").skip().key('1').expect(&["Red it is."]);
    assert_eq!(early.abandoned, 1);
}

#[test]
fn keys_typed_ahead_skip_statements_and_answer_the_menu() {
    let mut call = Call::new(MENU);
    call.expect(&WELCOME).wait_ms(300).key('1').expect(&["Red it is."]).expect_end("hangup");
    assert_eq!(call.abandoned, 1);
}

#[test]
fn a_menu_is_answered_by_words_also_over_its_prompt() {
    let mut call = Call::new(MENU);
    call.hear_out().skip().says("I'd like sky blue, please").expect(&["Blue it is."]).expect_end("hangup");
    let mut call = Call::new(MENU);
    call.wait_ms(2500).skip().says("red").expect(&["Red it is."]);
    assert!(call.replies.is_empty(), "no language model takes part in a menu");
}

#[test]
fn words_over_a_statement_answer_the_menu_behind_it() {
    let mut call = Call::new(MENU);
    call.wait_ms(300).skip().says("blue!").expect(&["Blue it is."]);
    let mut call = Call::new(MENU);
    call.wait_ms(300).skip().says("what?").expect(&[QUESTION]).expect_step("main");
}

#[test]
fn noise_over_a_statement_only_pauses_it() {
    let mut call = Call::new(MENU);
    call.wait_ms(600).skip().mumbles().expect(&["line.", "It is a fine line."]).hear_out().expect(&[QUESTION]);
    let deaf = Arc::new(Flow::parse("test.yaml", MENU, &NoAssets).unwrap());
    let mut call = Call::with(deaf, false, false);
    call.wait_ms(600).skip().mumbles().expect(&[QUESTION]);
}

#[test]
fn a_silent_caller_is_asked_again_and_then_let_go() {
    let mut call = Call::new(MENU);
    call.hear_out().skip();
    call.wait_ms(4999).expect(&[]).wait_ms(1).expect(&["Are you there?", QUESTION]);
    call.hear_out().wait_ms(5000).expect(&["Still there?", QUESTION]);
    call.hear_out().wait_ms(5000).expect(&["We could not hear you."]).expect_end("hangup");
    assert_eq!(call.events, ["gave_up"]);
}

#[test]
fn a_caller_who_is_not_understood_is_asked_again_and_then_let_go() {
    let mut call = Call::new(MENU);
    call.hear_out().skip();
    call.says("green").expect(&["Sorry?", QUESTION]).hear_out();
    call.key('7').expect(&["Sorry again?", QUESTION]).hear_out();
    call.mumbles().expect(&["We could not hear you."]).expect_end("hangup");
}

#[test]
fn speaking_keeps_the_re_prompt_away() {
    let mut call = Call::new(MENU);
    call.hear_out().skip().wait_ms(4900);
    call.feed(DialogInput::CallerSpeaking).wait_ms(2000).expect(&[]);
    call.feed(DialogInput::Partial(Pii::new("re".into()))).wait_ms(1000).expect(&[]);
    call.feed(DialogInput::TurnEnded(Some(Pii::new("red".into())))).expect(&["Red it is."]);
}

#[test]
fn a_turn_that_never_ends_is_ended() {
    let mut call = Call::new(MENU);
    call.hear_out().skip().feed(DialogInput::CallerSpeaking).wait_ms(15_000).expect(&["Sorry?", QUESTION]);
    call.wait_ms(500).interrupt().skip();
    for _ in 0..200 {
        call.wait_ms(1000).feed(DialogInput::Partial(Pii::new("and".into())));
    }
    assert!(!call.said[call.read..].is_empty(), "two minutes of talk are answered");
}

#[test]
fn without_a_recogniser_a_menu_points_to_the_keys() {
    let flow = Flow::parse("test.yaml", MENU, &NoAssets).unwrap();
    let mut call = Call::with(Arc::new(flow), false, false);
    call.hear_out().skip().mumbles();
    let unheard = ["I can't understand words on this line.", "Please use the keys of your phone.", QUESTION];
    call.expect(&unheard).hear_out().key('1').expect(&["Red it is."]);
}

#[test]
fn a_recogniser_that_fails_during_the_call_is_noticed() {
    let mut call = Call::new(MENU);
    call.hear_out().skip().mumbles().expect(&["Sorry?", QUESTION]).hear_out().mumbles();
    let unheard = ["I can't understand words on this line.", "Please use the keys of your phone.", QUESTION];
    call.expect(&unheard).hear_out().key('1').expect(&["Red it is."]);
    let mut call = Call::new(&ASK.replace("max_tries: 2", "max_tries: 4"));
    call.hear_out()
        .skip()
        .mumbles()
        .expect(&["I am sorry, I did not get that.", "Anything else?"])
        .hear_out()
        .mumbles();
    call.expect(&["I am sorry, I did not get that.", "I hear no words.", "Press 0."]);
    call.hear_out().says("Well?").answer("Well.").feed(DialogInput::AnswerEnded).skip().hear_out();
    call.mumbles().expect(&["I am sorry, I did not get that.", "Anything else?"]);
}

#[test]
fn the_step_says_how_to_listen_and_speak() {
    let mut call = Call::new(MENU);
    call.hear_out();
    let listening = call.listening.clone().unwrap();
    assert_eq!((&*listening.step, listening.barge_in), ("main", BargeIn::Speech));
    assert_eq!(listening.endpoint, Endpoint::Answer(Expected::Choice));
    assert_eq!(listening.hints.as_ref(), ["red", "blue", "sky blue"]);
}

#[test]
fn where_nothing_may_interrupt_keys_and_words_are_kept() {
    let flow = MENU.replace("    voice: alice", "    barge_in: \"off\"");
    let mut call = Call::new(&flow);
    call.wait_ms(2500).expect_step("main").skip().key('2').expect(&[]).hear_out().expect(&["Blue it is."]);
    assert_eq!(call.abandoned, 0);
    let mut call = Call::new(&flow);
    call.wait_ms(2300).expect_step("main").skip().says("red").expect(&[]).hear_out().expect(&["Red it is."]);
}

#[test]
fn where_only_keys_may_interrupt_words_are_kept() {
    let flow = MENU.replace("    voice: alice", "    barge_in: digits");
    let mut call = Call::new(&flow);
    call.wait_ms(2300).expect_step("main").skip().says("red").expect(&[]).hear_out().expect(&["Red it is."]);
    let mut call = Call::new(&flow);
    call.wait_ms(2300).skip().key('2').expect(&["Blue it is."]);
}

const COLLECT: &str = "
name: collect
steps:
  number:
    collect:
      prompt: Your number please.
      into: number
      min: 3
      max: 5
      digit_ms: 2000
      invalid: That was too short.
      no_input: Please key it in.
      no_input_ms: 4000
      max_tries: 2
      give_up: lost
    goto: check
  check:
    menu:
      prompt: \"{number}. Right?\"
      choices:
        - {key: 1, words: ['yes'], goto: done}
        - {key: \"#\", words: [again], goto: number}
  done: {hangup: \"Thank you, {number}.\"}
  lost: {hangup: We could not take your number.}
";

#[test]
fn digits_end_by_the_terminator_and_are_read_back_one_by_one() {
    let mut call = Call::new(COLLECT);
    call.expect(&["Your number please."]).hear_out().keys("1234#").expect(&["one two three four.", "Right?"]);
    call.hear_out().says("yes").expect(&["Thank you, one two three four."]).expect_end("hangup");
    assert_eq!(call.events, ["collected"]);
}

#[test]
fn digits_end_by_a_pause() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().keys("123").wait_ms(1999).expect(&[]).wait_ms(1).expect(&["one two three.", "Right?"]);
}

#[test]
fn the_silence_behind_a_cough_between_digits_is_part_of_the_pause_that_ends_them() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().keys("123").wait_ms(1000).feed(DialogInput::CallerSpeaking);
    call.dialog.fell_silent(call.now);
    call.wait_ms(1500).feed(DialogInput::TurnEnded(None));
    call.wait_ms(499).expect(&[]).wait_ms(1).expect(&["one two three.", "Right?"]);
}

#[test]
fn the_last_digit_ends_and_a_late_terminator_does_no_harm() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().keys("12345").expect(&["one two three, four five.", "Right?"]);
    call.wait_ms(300).key('#').expect(&[]).expect_step("check");
    call.key('#').expect_step("number");
}

#[test]
fn too_few_digits_are_asked_for_again() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().keys("1#").expect(&["That was too short.", "Your number please."]);
    call.hear_out().keys("12").wait_ms(2000).expect(&["We could not take your number."]).expect_end("hangup");
}

#[test]
fn no_digits_are_asked_for_again() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().wait_ms(4000).expect(&["Please key it in.", "Your number please."]);
    call.hear_out().wait_ms(4000).expect(&["We could not take your number."]);
}

#[test]
fn the_first_digit_stops_the_prompt() {
    let mut call = Call::new(COLLECT);
    call.wait_ms(200).keys("123#").skip().expect_step("check");
    assert_eq!(call.abandoned, 1);
}

#[test]
fn digits_may_be_spoken() {
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().says("one two").expect(&[]).says("three").expect_step("check");
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().says("I don't know").expect(&["I am sorry, I did not get that.", "Your number please."]);
    let mut call = Call::new(COLLECT);
    call.hear_out().skip().keys("12").says("er").expect(&[]).keys("3#").expect_step("check");
}

#[test]
fn a_whole_number_may_be_typed_ahead() {
    let flow = COLLECT.replace("steps:", "steps:\n  hello: {say: Welcome., goto: number}");
    let mut call = Call::new(&flow);
    call.expect(&["Welcome."]).wait_ms(100).keys("123#").expect(&["one two three.", "Right?"]);
    let flow = flow.replace("say: Welcome.", "barge_in: 'off', say: Welcome.");
    let mut call = Call::new(&flow);
    call.skip().wait_ms(100).keys("12345#1").expect(&[]).hear_out().expect(&["Thank you, one two three, four five."]);
}

const ASK: &str = "
name: ask
steps:
  more:
    ask:
      prompt: Anything else?
      system_text: Be brief.
      max_turns: 4
      max_tokens: 99
      keys: {\"0\": person, \"*\": self}
      done_words: [\"no\", that's all]
      unheard: I hear no words. Press 0.
      without_model: No questions now. Press 0.
      canned: I can't say.
      no_input: Are you there?
      no_input_ms: 5000
      max_tries: 2
    temperature: 1.5
    goto: bye
  person: {transfer: {target: 'sip:desk@example.org', say: Hold on.}}
  bye: {hangup: Bye.}
";

#[test]
fn a_question_goes_to_the_model_and_its_sentences_are_said() {
    let mut call = Call::new(ASK);
    call.expect(&["Anything else?"]).hear_out().says("When do you open?");
    let request = &call.replies[0];
    assert_eq!((request.temperature, request.max_tokens), (1.5, 99));
    let expected = [
        (Role::System, "Be brief.".to_owned()),
        (Role::Assistant, "Anything else?".into()),
        (Role::User, "When do you open?".into()),
    ];
    assert_eq!(call.history(), expected);
    call.wait_ms(400).answer("At nine.").answer("Until five.").feed(DialogInput::AnswerEnded);
    call.expect(&["At nine.", "Until five."]).hear_out().expect(&[]).says("No, thank you.").expect(&["Bye."]);
}

#[test]
fn the_model_is_told_what_was_heard_not_what_was_meant() {
    let mut call = Call::new(ASK);
    call.hear_out().says("Tell me all").answer("We open at nine every day.").answer("We close at five.");
    call.wait_ms(700).says("stop");
    assert_eq!(call.abandoned, 1, "the answer that is still being made is dropped");
    let history = call.history();
    assert_eq!(history[3], (Role::Assistant, "We open at nine".to_owned()));
    assert_eq!(history[4], (Role::User, "stop".to_owned()));
}

#[test]
fn a_slow_model_gets_a_filler_and_then_the_flow_speaks() {
    let mut call = Call::new(ASK);
    call.hear_out().skip().says("Well?");
    call.wait_ms(1199).expect(&[]).wait_ms(1).expect(&["One moment please."]);
    call.wait_ms(2599).expect(&[]).wait_ms(1).expect(&["I can't say."]);
    assert_eq!((call.abandoned, call.events.as_slice()), (1, ["model_slow"].as_slice()));
    call.answer("Too late.").expect(&[]).hear_out().wait_ms(5000).expect(&["Are you there?", "Anything else?"]);
}

#[test]
fn a_model_that_stalls_between_sentences_is_covered() {
    let mut call = Call::new(ASK);
    call.hear_out().skip().says("Well?").answer("First,").expect(&["First,"]).hear_out();
    call.wait_ms(1500).expect(&["One moment please."]).wait_ms(1200).answer("second.").expect(&["second."]);
    call.hear_out().wait_ms(4000).expect(&["One moment please.", "I can't say."]);
}

#[test]
fn a_failed_or_empty_answer_is_replaced_at_once() {
    let mut call = Call::new(ASK);
    call.hear_out().skip().says("Well?").feed(DialogInput::AnswerFailed).expect(&["I can't say."]);
    call.hear_out().says("And?").feed(DialogInput::AnswerEnded);
    // Twice in a row: the keypad is offered as well.
    call.expect(&["I can't say.", "No questions now.", "Press 0."]);
    assert_eq!(call.events, ["model_failed", "model_empty"]);
    // A model that has recovered is used again.
    call.hear_out().says("Well?").answer("Half an").answer("answer.").feed(DialogInput::AnswerEnded).skip().hear_out();
    call.says("And?").answer("Half").feed(DialogInput::AnswerFailed).expect(&["Half", "I can't say."]);
}

#[test]
fn a_conversation_ends_after_its_turns() {
    let mut call = Call::new(ASK);
    for _ in 0..4 {
        call.hear_out().expect_step("more").says("More!").answer("Fine.").feed(DialogInput::AnswerEnded);
    }
    call.skip().hear_out().expect(&["Bye."]).expect_end("hangup");
}

#[test]
fn a_question_over_a_statement_goes_to_the_model_at_once() {
    let flow = ASK.replace("steps:", "steps:\n  hours: {say: We open at nine on every working day., goto: more}");
    let mut call = Call::new(&flow);
    call.skip().wait_ms(500).says("is there any parking").expect(&[]).expect_step("more");
    assert_eq!(call.history().last(), Some(&(Role::User, "is there any parking".to_owned())));
    let mut call = Call::new(&flow);
    call.skip().wait_ms(500).says("okay stop").expect(&["Anything else?"]);
}

#[test]
fn keys_lead_out_of_a_conversation_also_during_an_answer() {
    let mut call = Call::new(ASK);
    call.hear_out().says("Well?").answer("A very long answer indeed.").wait_ms(200).skip();
    call.key('0').expect(&["Hold on."]).hear_out().expect_end("sip:desk@example.org");
    let mut call = Call::new(ASK);
    call.hear_out().skip().key('5');
    call.expect(&["I am sorry, I did not get that.", "Anything else?"]);
}

#[test]
fn silence_and_noise_end_a_conversation() {
    let mut call = Call::new(ASK);
    call.hear_out().skip().wait_ms(5000).expect(&["Are you there?", "Anything else?"]).hear_out().mumbles();
    call.expect(&["Goodbye."]).expect_end("hangup");
}

#[test]
fn without_a_model_the_flow_uses_its_own_words() {
    let flow = Arc::new(Flow::parse("test.yaml", ASK, &NoAssets).unwrap());
    let mut call = Call::with(Arc::clone(&flow), true, false);
    call.expect(&["No questions now.", "Press 0."]);
    call.hear_out().says("When do you open?");
    call.expect(&["I am sorry, I did not get that.", "No questions now.", "Press 0."]);
    assert!(call.replies.is_empty());
    call.hear_out().says("no").expect(&["Bye."]);
    let mut call = Call::with(flow, false, true);
    call.expect(&["I hear no words.", "Press 0."]).hear_out().key('0').expect(&["Hold on."]);
}

#[test]
fn the_bench_line_plays_again_and_again() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut call = Call::with(Arc::clone(catalogue.flow_for("1000")), false, false);
    assert_eq!(call.listening.as_ref().unwrap().endpoint, Endpoint::Silence(Duration::from_millis(200)));
    call.expect(&["(sound)"]).wait_ms(9999).expect(&[]).wait_ms(1 + 2999).expect(&[]).wait_ms(1).expect(&["(sound)"]);
    for _ in 0..500 {
        // An interruption: again at once when the turn has ended.
        call.wait_ms(3000).interrupt().wait_ms(800).expect(&[]).feed(DialogInput::TurnEnded(None)).expect(&["(sound)"]);
        // A turn in the pause: again at once.
        call.hear_out().wait_ms(1000).mumbles().expect(&["(sound)"]);
        // A key counts as a turn.
        call.wait_ms(500).key('5').expect(&["(sound)"]);
        // Nobody: again after 3 s.
        call.wait_ms(13_000).expect(&["(sound)"]);
    }
    assert!(call.end.is_none());
    for _ in 0..500 {
        call.wait_ms(13_000).expect(&["(sound)"]);
    }
    assert!(call.end.is_none(), "nothing but the call's longest time ends the line");
}

#[test]
fn when_every_voice_fails_a_tone_is_heard_and_the_call_ends() {
    let mut call = Call::new(MENU);
    for (text, in_a_row) in WELCOME.into_iter().zip(1..) {
        call.feed(DialogInput::SpeechFailed { text: clear(text), in_a_row });
    }
    call.queue.clear();
    call.skip().feed(DialogInput::SpokenOut { heard: String::new(), whole: false }).expect(&[QUESTION]);
    call.feed(DialogInput::SpeechFailed { text: clear(QUESTION), in_a_row: 3 })
        .expect(&["(sound)"])
        .expect_end("hangup");
    assert_eq!(call.events, ["no_voice"]);
}

#[test]
fn a_lost_report_of_playing_holds_nothing_up() {
    let mut call = Call::new(MENU);
    call.queue.clear();
    call.skip().wait_ms(30_000);
    assert_eq!(call.said[call.read], QUESTION);
    assert_eq!(call.events, ["playout_lost"]);
}

#[test]
fn a_caller_of_the_clinic_books_an_appointment() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut call = Call::with(Arc::clone(catalogue.flow_for("555")), true, true);
    call.hear_out().expect_step("main").says("I need to see a doctor").expect_step("appointment");
    call.hear_out().keys("12051980").expect_step("callback").hear_out().keys("0788123456#").skip();
    call.expect_step("confirm");
    assert!(call.said.iter().any(|s| s == "Your date of birth is one two, zero five, one nine eight zero."));
    assert!(call.said.iter().any(|s| s == "Your number is zero seven eight, eight one two, three four five six."));
    call.hear_out().key('1').expect_step("booked").hear_out().expect_step("more").hear_out().says("no thanks");
    call.expect_step("goodbye").expect_end("hangup");
}

#[test]
fn a_caller_of_the_clinic_interrupts_the_hours() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut call = Call::with(Arc::clone(catalogue.flow_for("555")), true, true);
    call.hear_out().key('2').expect_step("hours").skip().wait_ms(9000).says("stop").expect_step("more");
    call.expect(&["Is there anything else that I can help you with?"]);
}

#[test]
fn the_clinic_works_by_keys_alone() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut call = Call::with(Arc::clone(catalogue.flow_for("555")), false, false);
    call.hear_out().key('3').hear_out().keys("4711#").expect_step("prescribed").hear_out().expect_step("more");
    call.hear_out().key('1').expect_step("main").key('2').hear_out().expect_step("more").key('0').expect_step("person");
    call.hear_out().expect_end("front_desk");
}

/// One thing that may happen to a call.
#[derive(Clone, Debug)]
enum Happening {
    Key(char),
    Turn(Option<String>),
    Partial,
    CallerSpeaking,
    SpokenOut,
    Interrupted,
    Sentence,
    AnswerEnded,
    AnswerFailed,
    SpeechFailed,
    Timeout,
    Started,
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let words =
        prop::sample::select(vec!["yes", "no", "appointment", "1 2 3", "red", "hours", "", "that's all", "blah"]);
    prop_oneof![
        prop::sample::select("0123456789*#ABCD".chars().collect::<Vec<_>>()).prop_map(Happening::Key),
        words.prop_map(|words| Happening::Turn(Some(words.to_owned()))),
        Just(Happening::Turn(None)),
        Just(Happening::Partial),
        Just(Happening::CallerSpeaking),
        Just(Happening::SpokenOut),
        Just(Happening::Interrupted),
        Just(Happening::Sentence),
        Just(Happening::AnswerEnded),
        Just(Happening::AnswerFailed),
        Just(Happening::SpeechFailed),
        Just(Happening::Timeout),
        Just(Happening::Started),
        (0_u64..20_000).prop_map(Happening::Pass),
        (0_u64..2_000).prop_map(Happening::Pass),
    ]
}

fn happen(call: &mut Call, what: Happening) {
    let input = match what {
        Happening::Key(key) => DialogInput::Digit(Digit::try_from(key).unwrap()),
        Happening::Turn(words) => DialogInput::TurnEnded(words.map(Pii::new)),
        Happening::Partial => DialogInput::Partial(Pii::new("er".into())),
        Happening::CallerSpeaking => DialogInput::CallerSpeaking,
        Happening::SpokenOut => DialogInput::SpokenOut { heard: "x".into(), whole: true },
        Happening::Interrupted => DialogInput::Interrupted { heard: "x".into(), unheard: "y".into() },
        Happening::Sentence => DialogInput::AnswerSentence(clear("An answer.")),
        Happening::AnswerEnded => DialogInput::AnswerEnded,
        Happening::AnswerFailed => DialogInput::AnswerFailed,
        Happening::SpeechFailed => DialogInput::SpeechFailed { text: clear("x"), in_a_row: 1 },
        Happening::Timeout => DialogInput::Timeout,
        Happening::Started => DialogInput::Started,
        Happening::Pass(ms) => {
            call.wait_ms(ms);
            return;
        }
    };
    call.feed(input);
}

static FLOWS: LazyLock<Vec<Arc<Flow>>> = LazyLock::new(|| {
    let catalogue = Catalogue::built_in().unwrap();
    let own = [ASK, COLLECT, MENU].map(|text| Arc::new(Flow::parse("t", text, &NoAssets).unwrap()));
    let built_in = [catalogue.flow_for("1000"), catalogue.flow_for("1")].map(Arc::clone);
    built_in.into_iter().chain(own).collect()
});

/// Two statements and a menu between them.
const RECORDED: &str = "
name: f
steps:
  hello: {say: Hello., goto: main}
  main:
    menu:
      prompt: Press 1.
      choices: [{key: 1, words: [one], goto: bye}]
    recording: on
  bye: {say: Bye., goto: hangup}
";

use PauseReason::{Sensitive, Step};
use RecordingOrder::{Begin, Discard, End, Pause, Resume};

#[test]
fn without_consent_needed_a_call_is_recorded_from_its_first_word() {
    let call = Call::recorded(RECORDED, Consent::None);
    assert_eq!(call.recording, [Begin]);
    assert_eq!(call.said, ["Hello."]);
}

#[test]
fn nothing_is_recorded_before_the_announcement_was_heard() {
    let mut call = Call::recorded(RECORDED, Consent::Announce);
    assert_eq!(call.said, ["This call is recorded."]);
    assert_eq!(call.listening.as_ref().unwrap().barge_in, BargeIn::Off);
    call.key('1');
    assert!(call.recording.is_empty(), "a key does not skip it");
    call.wait_ms(200);
    assert!(call.recording.is_empty());
    call.hear_out();
    assert_eq!(call.recording, [Begin]);
    assert_eq!(call.events, ["recording_announced"], "kept before the beginning");
    assert_eq!(call.said[1..], ["Bye.", "Goodbye."], "and the key was not lost");
}

#[test]
fn an_announcement_that_no_voice_made_is_none() {
    let mut call = Call::recorded(RECORDED, Consent::Announce);
    call.feed(DialogInput::SpeechFailed { text: clear("This call is recorded."), in_a_row: 1 });
    call.queue.clear();
    call.feed(DialogInput::SpokenOut { heard: String::new(), whole: false });
    assert_eq!(call.events, ["recording_refused"]);
    call.hear_out().key('1').hear_out();
    assert!(call.recording.is_empty(), "{:?}", call.recording);
    assert_eq!(call.end.as_deref(), Some("hangup"), "the call goes on without it");
}

#[test]
fn a_playout_that_is_lost_has_announced_nothing() {
    let mut call = Call::recorded(RECORDED, Consent::Announce);
    call.queue.clear();
    call.wait_ms(60_000);
    assert!(call.recording.is_empty() && call.events.contains(&"recording_refused"), "{:?}", call.events);
}

#[test]
fn a_caller_who_is_asked_agrees_by_key_or_word() {
    for agree in ["1", "yes please", "okay", "one"] {
        let mut call = Call::recorded(RECORDED, Consent::Ask);
        call.hear_out();
        assert!(call.recording.is_empty(), "silence is no consent");
        if agree == "1" {
            call.key('1')
        } else {
            call.says(agree)
        };
        assert_eq!(call.recording, [Begin], "{agree}");
        assert!(call.events.ends_with(&["recording_agreed"]));
        assert_eq!(call.said.last().unwrap(), "Hello.");
    }
}

#[test]
fn a_caller_who_is_asked_may_answer_over_the_question() {
    let mut call = Call::recorded(RECORDED, Consent::Ask);
    call.wait_ms(300).interrupt().key('1');
    assert_eq!(call.recording, [Begin]);
}

#[test]
fn no_and_silence_and_mumbling_are_no_consent() {
    let refuse: [fn(&mut Call) -> &mut Call; 5] = [
        |call| call.key('2'),
        |call| call.says("no thank you"),
        |call| call.says("that is not okay"),
        |call| call.wait_ms(6_100).hear_out().wait_ms(6_100),
        |call| call.says("what").hear_out().mumbles(),
    ];
    for (n, refuse) in refuse.into_iter().enumerate() {
        let mut call = Call::recorded(RECORDED, Consent::Ask);
        call.hear_out();
        refuse(&mut call);
        assert!(call.events.contains(&"recording_refused"), "{n}: {:?}", call.events);
        assert_eq!(call.said.last().unwrap(), "Hello.", "{n}: the call goes on");
        call.hear_out().key('1').hear_out();
        assert!(call.recording.is_empty(), "{n}: {:?}", call.recording);
        assert_eq!(call.end.as_deref(), Some("hangup"));
    }
}

#[test]
fn steps_steer_the_recording() {
    let flow = "
name: f
recorded: false
steps:
  hello: {say: Hello., goto: on}
  on: {say: On., recording: on, goto: pause}
  pause: {say: Pause., recording: pause, goto: resume}
  resume: {say: Resume., recording: resume, goto: off}
  off: {say: Off., recording: off, goto: again}
  again: {say: Again., recording: on, goto: discard}
  discard: {say: Discard., recording: discard, goto: last}
  last: {say: Last., goto: hangup}
";
    let mut call = Call::recorded(flow, Consent::Announce);
    assert_eq!(call.said, ["Hello."], "nobody is told of a recording that is not made");
    call.hear_out();
    assert_eq!(call.said[1..3], ["This call is recorded.", "On."]);
    assert_eq!(call.recording, [Begin, Pause(Step), Resume(Step), End, Begin, Discard]);
    assert_eq!(call.said.iter().filter(|said| said.contains("recorded")).count(), 1, "told once");
}

#[test]
fn sensitive_digits_are_not_recorded_nor_read_back_into_a_recording() {
    let flow = "
name: f
steps:
  card:
    collect: {prompt: Your card number., into: card, min: 4, max: 4, sensitive: true}
    goto: back
  back: {say: 'You said {card}.', goto: thanks}
  thanks: {say: Thanks., goto: hangup}
";
    let mut call = Call::recorded(flow, Consent::Announce);
    call.hear_out();
    assert_eq!(call.recording, [Pause(Sensitive), Begin], "paused before it begins");
    call.keys("4711");
    assert_eq!(call.said.last().unwrap(), "You said four seven one one.");
    assert_eq!(call.recording.len(), 2, "reading them back is as sensitive");
    call.hear_out();
    assert_eq!(call.recording[2..], [Resume(Sensitive)]);
}

#[test]
fn a_flow_in_another_language_brings_its_own_words() {
    let phrases = "filler: F., canned: C., no_input: N., no_match: M., unheard: U., goodbye: G.";
    let flow = |extra: &str| {
        let text = format!(
            "name: f\ndefaults: {{language: de}}\nphrases: {{{phrases}{extra}}}\nsteps:\n  a: {{say: Hallo., goto: hangup}}\n"
        );
        Flow::parse("f.yaml", &text, &NoAssets).unwrap()
    };
    let plan = |words: &[&str]| RecordingPlan {
        consent: Consent::Announce,
        announcement: words.first().map(|text| (*text).to_owned()),
        failure: words.get(1).map(|text| (*text).to_owned()),
    };
    assert!(!flow("").can_tell(&plan(&[])));
    assert!(!flow("").can_tell(&plan(&["Wird aufgezeichnet."])), "and should it fail?");
    assert!(flow("").can_tell(&plan(&["Wird aufgezeichnet.", "Wird nicht aufgezeichnet."])));
    assert!(flow(", recording: Ja., not_recorded: Nein.").can_tell(&plan(&[])));
    assert!(flow("").can_tell(&RecordingPlan { consent: Consent::None, ..plan(&[]) }));
}

proptest! {
    // `Call::feed` asserts after every input that the dialog waits for a moment or is over.
    #[test]
    fn nothing_leaves_a_call_stuck(
        which in 0_usize..5, ears in any::<bool>(), model in any::<bool>(),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut call = Call::with(Arc::clone(&FLOWS[which]), ears, model);
        for what in happenings {
            happen(&mut call, what);
        }
        // From here the caller is silent: every flow but the endless one comes to its end by itself.
        call.queue.clear();
        call.wait_ms(600_000);
        prop_assert!(which == 0 || call.dialog.is_over(), "still at {}", call.dialog.step_name());
    }

    #[test]
    fn a_caller_who_is_listened_to_never_hears_more_than_four_seconds_of_nothing(
        happenings in prop::collection::vec(0_u64..6_000, 1..12), sentences in 0_usize..3, ends in any::<bool>(),
    ) {
        let mut call = Call::new(ASK);
        call.hear_out().says("Well?");
        let mut quiet_since = call.now;
        for (index, pause) in happenings.into_iter().enumerate() {
            for _ in 0..pause / 100 {
                call.wait_ms(100);
                let waits_for_caller = !call.dialog.is_speaking() && call.events.contains(&"model_slow");
                if call.queue.is_empty() && !waits_for_caller && !call.dialog.is_over() {
                    prop_assert!(call.now - quiet_since <= Duration::from_millis(4100), "{:?}", call.said);
                } else {
                    quiet_since = call.now;
                }
            }
            if index < sentences {
                call.answer("A sentence of the answer.");
            } else if ends {
                break;
            }
        }
    }
}
