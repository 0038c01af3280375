//! The server goes down: callers are told, and hear it to its end.

use offhook::call::core::CallInput;
use offhook::config::DrainWords;
use offhook::dialog::LastWords;
use offhook::safety::said::clear;
use offhook::store::record::EndReason;

use crate::harness::{Voice, at, ms, script};

const WORDS: &str = "We have to stop for a moment. Please call again.";

fn goodbye() -> CallInput {
    CallInput::Close(Some(LastWords::Everywhere(clear(WORDS))))
}

#[test]
fn the_last_words_are_heard_whatever_goes_on() {
    let call =
        script("talking").input(at(3.0), goodbye()).caller_says(at(4.0), "hello").key(at(4.5), '1').run(at(30.0));
    call.expect_end(&EndReason::Drained).expect_speaking(at(3.3), at(6.0));
    let (_, turn) = call.turns.last().unwrap();
    assert_eq!(turn.heard.as_ref().unwrap().expose(), WORDS);
    let last = call.sent.iter().rfind(|slice| slice.is_voiced()).unwrap().at;
    let end = call.end.as_ref().unwrap().0;
    assert!((ms(300)..=ms(420)).contains(&(end - last)), "{:?} after the last words", end - last);
}

#[test]
fn the_last_words_are_in_the_callers_language() {
    let flow = "name: f\ndefaults: {language: fr}\nphrases: {filler: F., canned: C., no_input: N., no_match: M., unheard: U., goodbye: G.}\nsteps:\n  a: {say: Bonjour., wait_ms: 30000, goto: self}\nendless: true\n";
    let close = || CallInput::Close(LastWords::new(&DrainWords::default()));
    let call = script("french").flow(flow).input(at(5.0), close()).run(at(30.0));
    assert!(call.asked.iter().any(|asked| asked.text.starts_with("Je suis désolé")), "{}", call.story());
    call.expect_end(&EndReason::Drained);
}

#[test]
fn nothing_to_say_ends_the_call_at_once() {
    let call = script("empty").input(at(3.0), CallInput::Close(None)).run(at(30.0));
    call.expect_end(&EndReason::Drained);
    assert_eq!(call.end.as_ref().unwrap().0, at(3.0));
}

#[test]
fn a_held_or_unanswered_call_is_not_spoken_to() {
    let call = script("held").input(at(2.0), CallInput::Held(true)).input(at(3.0), goodbye()).run(at(30.0));
    call.expect_end(&EndReason::Drained);
    assert_eq!(call.end.as_ref().unwrap().0, at(3.0));
    let call = script("ringing").never_connected().input(at(3.0), goodbye()).run(at(30.0));
    call.expect_end(&EndReason::Drained);
}

#[test]
fn a_voice_that_is_gone_does_not_keep_the_server() {
    for voice in [Voice::Fails(ms(100)), Voice::Stalls] {
        let call = script("no voice").voice(voice).input(at(3.0), goodbye()).run(at(60.0));
        assert!(call.end.as_ref().unwrap().0 <= at(19.0), "{:?}", call.end);
    }
}
