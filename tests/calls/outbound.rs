//! Calls of ours: nothing is said before somebody is there to hear it, and whoever answers may speak first.

use offhook::call::core::CallInput;
use offhook::store::record::EndReason;

use crate::harness::{at, ms, script};

const FLOW: &str = "
name: reminder
inputs: [day]
steps:
  talk: {say: This is the clinic. Your appointment is tomorrow at nine., goto: bye}
  bye: {hangup: Goodbye.}
";

#[test]
fn the_greeting_waits_for_the_answer_and_the_first_audio() {
    let call = script("placed").flow(FLOW).outbound(false, at(30.0), Some(at(6.0)));
    let early = || CallInput::EarlyMedia;
    let call = call.input(at(1.0), CallInput::Ringing).input(at(2.0), early()).input(at(3.0), early());
    let call = call.input(at(7.0), early()).run(at(9.0));
    assert_eq!((call.count("early_media"), call.event_at("early_media")), (1, Some(at(2.0))));
    call.expect_silence(at(0.0), at(6.0));
    assert_eq!(call.event_at("ringing"), Some(at(1.0)));
    let answered = call.event_at("answered").unwrap();
    assert!((at(6.0)..=at(6.06)).contains(&answered), "{answered:?}");
    call.expect_speaking(at(6.4), at(8.0));
}

#[test]
fn a_side_that_sends_nothing_is_spoken_to_after_half_a_second() {
    let call = script("no audio").flow(FLOW).outbound(true, at(30.0), Some(at(2.0))).line_dies(at(0.0)).run(at(5.0));
    assert_eq!(call.event_at("answered"), Some(at(2.5)));
}

#[test]
fn early_media_is_neither_speech_nor_keys() {
    let call = script("early media")
        .flow(FLOW)
        .outbound(false, at(30.0), Some(at(8.0)))
        .caller_says(at(2.0), "number-not-answering")
        .key(at(5.0), '1')
        .run(at(10.0));
    call.expect_silence(at(0.0), at(8.0));
    assert_eq!((call.counts.turns, call.count("digit")), (0, 0));
    assert_eq!(call.event_at("answered").map(|at| at.as_secs()), Some(8));
}

#[test]
fn whoever_answers_speaks_first_and_is_not_talked_over() {
    let call = script("hello").flow(FLOW).outbound(true, at(30.0), Some(at(2.0))).caller_says(at(2.8), "hello");
    let call = call.run(at(8.0));
    let hello = call.event_at("hello").unwrap();
    assert!((at(3.3)..=at(4.2)).contains(&hello), "{hello:?}");
    call.expect_silence(at(0.0), hello).expect_speaking(hello + ms(400), at(6.0));
    assert_eq!(call.counts.turns, 0, "a hello is no answer to anything");
}

#[test]
fn whoever_answers_without_a_word_is_spoken_to_after_two_seconds() {
    let call = script("no hello").flow(FLOW).outbound(true, at(30.0), Some(at(2.0))).run(at(8.0));
    let answered = call.event_at("answered").unwrap();
    assert!((at(4.0)..=at(4.06)).contains(&answered), "{answered:?}");
}

#[test]
fn a_call_that_nobody_answers_is_given_up() {
    let call =
        script("rings").flow(FLOW).outbound(true, at(20.0), None).input(at(1.0), CallInput::Ringing).run(at(60.0));
    call.expect_end(&EndReason::NoAnswer);
    assert_eq!(call.end.as_ref().unwrap().0, at(20.0));
    assert!(call.turns.is_empty());
}

#[test]
fn what_the_signalling_says_is_the_outcome() {
    for reason in [EndReason::Busy, EndReason::Rejected, EndReason::Unreachable] {
        let call = script("outcome").flow(FLOW).outbound(true, at(20.0), None);
        let call = call.input(at(3.0), CallInput::HungUp(reason.clone())).run(at(60.0));
        call.expect_end(&reason);
    }
}
