//! Language models that are slow, silent, empty or broken: something is said within 4 s, and the caller can go on.

use std::time::Duration;

use crate::harness::{Model, Outcome, Script, at, ms, script};

const ASK: &str = "
name: ask
phrases: {canned: \"I can not answer that just now.\"}
steps:
  talk:
    ask:
      prompt: Good morning.
      system_text: Be brief.
      keys: {\"0\": bye}
      unheard: Press zero.
      without_model: Press zero.
    endpoint_ms: 700
    goto: bye
  bye:
    hangup: Goodbye then.
";

/// The caller's speech ends at 2.59 s, their turn at 3.29 s.
fn asked(model: Model) -> Script {
    let script = script("model").flow(ASK).caller_says(at(2.0), "hello");
    script.words(at(2.7), "When are you open?").model(model)
}

fn longest_silence(call: &Outcome, to: Duration) -> Duration {
    call.longest_silence(at(2.6), to).0
}

#[test]
fn a_model_that_stalls_is_covered_by_a_filler_and_then_by_the_flows_words() {
    let call = asked(Model::stalls()).run(at(9.0));
    let filler = call.asked_for("One moment").unwrap().at;
    assert!((ms(4450)..=ms(4550)).contains(&filler), "{filler:?}");
    let canned = call.asked_for("can not answer").unwrap().at;
    assert!((ms(7050)..=ms(7150)).contains(&canned), "{canned:?}");
    assert!(longest_silence(&call, at(9.0)) <= ms(4000));
    assert_eq!(call.count("model_slow"), 1);
}

#[test]
fn a_question_after_a_stall_is_answered() {
    let call = asked(Model::stalls())
        .caller_says(at(11.0), "hello")
        .words(at(11.7), "Are you open today?")
        .model(Model::says(ms(300), "Yes, we are."))
        .run(at(15.0));
    let turn = call.turn_with("Are you open today?").unwrap();
    assert_eq!(turn.heard.as_ref().unwrap().expose(), "Yes, we are.");
    assert!(call.told_as_heard(1).contains("One moment please. I can not answer that just now."));
}

#[test]
fn a_model_that_fails_is_covered_at_once() {
    // It is asked once while the turn may go on and once when it has ended.
    let call = asked(Model::fails()).model(Model::fails()).run(at(9.0));
    assert!(call.asked_for("can not answer").unwrap().at <= at(3.6), "{}", call.story());
    let turn = call.turn_with("When are you open?").unwrap();
    assert_eq!(turn.error.as_deref(), Some("model: HTTP 503"));
}

#[test]
fn an_empty_answer_is_covered_at_once() {
    let call = asked(Model::empty()).run(at(9.0));
    assert!(call.asked_for("can not answer").unwrap().at <= at(3.6), "{}", call.story());
    assert_eq!(call.count("model_empty"), 1);
}

#[test]
fn a_model_that_breaks_off_after_a_sentence_is_covered() {
    for model in [
        Model::SaysAndStalls(vec![(ms(300), "We open at eight.")]),
        Model::SaysAndFails(vec![(ms(300), "We open at eight.")]),
    ] {
        let call = asked(model.clone()).model(model).run(at(14.0));
        assert!(call.asked_for("can not answer").is_some(), "{}", call.story());
        let (silence, since) = call.longest_silence(at(2.6), at(10.0));
        assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
        let turn = call.turn_with("When are you open?").unwrap();
        assert!(turn.heard.as_ref().unwrap().expose().starts_with("We open at eight."));
    }
}

#[test]
fn keys_work_while_the_model_is_awaited() {
    let call = asked(Model::stalls()).key(at(5.5), '0').run(at(15.0));
    call.expect_steps(&["talk", "bye"]);
    assert!(call.asked_for("Goodbye then.").unwrap().at <= at(5.8), "{}", call.story());
    assert!(call.end.is_some());
}

#[test]
fn a_caller_who_goes_on_before_the_answer_begins_is_not_talked_over() {
    let call = asked(Model::says(ms(1200), "We open at eight."))
        .caller_says(at(3.7), "vm-tocallback")
        .words(at(7.0), "and when do you close?")
        .model(Model::says(ms(300), "We close at five."))
        .run(at(12.0));
    call.expect_silence(at(3.0), at(7.0));
    assert!(call.asked_for("We open").is_none(), "{}", call.story());
    assert!(call.asked_for("We close").is_some());
    assert_eq!(call.counts.barge_ins, 0, "nothing was audible");
}
