//! Words before the answer: heard first, answered after them, and never in the way of a call.

use offhook::store::record::EndReason;

use crate::harness::vendors::Voice;
use crate::harness::{Script, at, ms, script};

const WORDS: &str = "This call is free of charge. It may be recorded.";

fn announced(name: &'static str) -> Script {
    script(name).announced(WORDS)
}

#[test]
fn the_call_is_answered_once_the_words_before_it_were_heard() {
    let call = announced("early").run(at(14.0));
    let answered = call.event_at("answered").expect("it is answered");
    assert_eq!((call.count("early_media"), call.count("early_media_too_long")), (1, 0));
    let (_, turn) = &call.turns[0];
    assert_eq!(&*turn.step, "early");
    assert_eq!(turn.heard.as_ref().map(|heard| heard.expose().as_str()), Some(WORDS));
    // What is said before and after the answer has silence between it, and a frame or two are on their way.
    let last = call.sent.iter().rfind(|slice| slice.is_voiced() && slice.at < answered);
    let last = last.map(|slice| slice.at).expect("something is heard before the answer");
    assert!(answered > last + ms(40) && answered < last + ms(700), "{answered:?} after {last:?}");
    call.expect_speaking(answered + ms(400), answered + ms(2_000));
    assert_eq!(call.steps()[0], "greeting", "the flow begins after the answer");
}

#[test]
fn a_caller_who_gives_up_meanwhile_was_never_answered() {
    let call = announced("gives up").hangs_up(at(1.0)).run(at(9.0));
    call.expect_end(&EndReason::CallerHungUp);
    assert_eq!(call.event_at("answered"), None);
    let (_, turn) = &call.turns[0];
    let heard = turn.heard.as_ref().map_or("", |heard| heard.expose().as_str());
    assert!(heard.starts_with("This") && heard.len() < WORDS.len() / 2, "{heard}");
}

#[test]
fn a_voice_that_fails_does_not_keep_the_call_from_its_answer() {
    for (voice, within) in [(Voice::Fails(ms(100)), at(2.0)), (Voice::Stalls, at(8.0))] {
        let call = announced("no voice").voice(voice).run(at(10.0));
        let answered = call.event_at("answered").expect("it is answered");
        assert!(answered < within, "{answered:?}");
    }
}

#[test]
fn keys_before_the_answer_are_none() {
    let call = announced("keys").key(at(0.5), '2').run(at(9.0));
    assert_eq!(call.count("digit"), 0);
    call.expect_steps(&["greeting"]);
}
