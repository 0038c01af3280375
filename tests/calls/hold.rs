//! Hold: the call's time stands still, nothing that a held caller does not say counts, and the interrupted sentence is
//! said again.

use offhook::call::core::CallInput;
use offhook::store::record::EndReason;
use offhook::turn::floor::Holder;

use crate::harness::{Outcome, Script, at, ms, script};

fn held(script: Script, from: f64, to: f64) -> Script {
    script.input(at(from), CallInput::Held(true)).input(at(to), CallInput::Held(false))
}

#[test]
fn the_sentence_that_was_interrupted_is_said_again_from_its_beginning() {
    let plain = script("plain").run(at(12.0));
    let held = held(script("held"), 3.0, 33.0).run(at(42.0));
    held.expect_silence(at(3.02), at(33.0)).expect_speaking(at(33.1), at(36.0));
    assert_eq!(held.counts.holds, 1);
    assert_eq!((held.count("held"), held.count("resumed")), (1, 1));
    // The sentence that goes on at 3 s is whole after the hold.
    let (_, since) = plain.longest_silence(at(1.5), at(3.0));
    assert!(since > at(0.5), "the greeting has sentences");
    let heard: Vec<_> = held.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref()).collect();
    assert!(heard.iter().all(|words| !words.expose().contains("local emergency number. Hello")), "{heard:?}");
    held.expect_steps(&["greeting", "main"]);
}

#[test]
fn silence_on_hold_is_no_silence_of_the_caller() {
    // The main menu waits 6 s for an answer; two of these are over when the hold begins.
    let until = script("how long").run(at(60.0));
    let menu_ends = until.asked_for("I did not hear you").unwrap().at;
    let hold_from = menu_ends.as_secs_f64() - 4.0;
    let held = held(script("held"), hold_from, hold_from + 100.0).run(at(180.0));
    let asked = held.asked_for("I did not hear you").unwrap().at;
    let moved = (asked - menu_ends).as_secs_f64();
    assert!((99.9..=100.1).contains(&moved), "asked again {moved} s later than without the hold");
}

#[test]
fn a_line_without_packets_on_hold_is_no_dead_line() {
    let call =
        script("quiet hold").no_media(at(5.0)).line_dies(at(4.0)).input(at(4.0), CallInput::Held(true)).run(at(100.0));
    assert!(call.end.is_none(), "{:?}", call.end);
}

#[test]
fn a_hold_that_never_ends_does_end() {
    let call = script("for ever")
        .longest_hold(at(300.0))
        .input(at(5.0), CallInput::Held(true))
        .longest(at(1800.0))
        .run(at(400.0));
    call.expect_end(&EndReason::HeldTooLong);
    assert_eq!(call.end.as_ref().unwrap().0, at(305.0));
}

#[test]
fn keys_of_a_held_telephone_are_not_meant_for_us() {
    let call = held(script("keys").key(at(6.0), '2'), 5.0, 10.0).run(at(20.0));
    call.expect_steps(&["greeting", "main"]);
    assert_eq!(call.count("digit"), 0);
}

#[test]
fn what_the_caller_had_said_before_the_hold_is_answered_after_it() {
    let call = held(script("words").caller_says(at(16.0), "hello").words(at(16.6), "opening hours"), 16.7, 26.0);
    let call = call.run(at(40.0));
    assert_eq!(call.step(), "hours", "{}", call.story());
    call.expect_silence(at(16.8), at(26.0)).expect_speaking(at(26.3), at(29.0));
    call.expect_floor(at(27.0), Holder::Bot);
}

#[test]
fn a_caller_whom_we_have_wait_hears_that_the_line_is_alive() {
    let call = script("parked")
        .input(at(3.0), CallInput::Parked(true))
        .input(at(23.0), CallInput::Parked(false))
        .run(at(30.0));
    let (silence, since) = call.longest_silence(at(3.0), at(23.0));
    assert!(silence <= ms(5100), "{silence:?} from {since:?}");
    let voiced = call.sent.iter().filter(|slice| slice.is_voiced() && (at(3.1)..at(23.0)).contains(&slice.at)).count();
    assert!((36..=60).contains(&voiced), "a short tone each 5 s: {voiced} frames of 20 ms");
    call.expect_speaking(at(23.1), at(26.0));
    assert_eq!(call.holds, [(at(3.0), true), (at(23.0), false)], "the far side is told");
}

#[test]
fn a_caller_whom_we_forget_is_taken_back() {
    let call = script("forgotten").longest_hold(at(10.0)).input(at(3.0), CallInput::Parked(true)).run(at(16.0));
    assert_eq!(call.event_at("resumed"), Some(at(13.0)));
    call.expect_speaking(at(13.1), at(15.0));
}

#[test]
fn both_sides_may_hold_and_the_last_one_lets_go() {
    let call = held(script("both"), 3.0, 8.0)
        .input(at(5.0), CallInput::Parked(true))
        .input(at(12.0), CallInput::Parked(false))
        .run(at(16.0));
    assert_eq!((call.count("held"), call.count("resumed")), (1, 1));
    assert_eq!(call.event_at("resumed"), Some(at(12.0)));
}

#[test]
fn a_held_caller_may_hang_up() {
    let call = script("gone").input(at(3.0), CallInput::Held(true)).hangs_up(at(5.0)).run(at(9.0));
    call.expect_end(&EndReason::CallerHungUp);
}

#[test]
fn what_was_heard_before_a_hold_stays_heard_when_its_sentence_is_said_again() {
    let heard = |call: &Outcome| -> String {
        let turns = call.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref());
        turns.map(|words| words.expose().as_str()).collect::<Vec<_>>().join(" ")
    };
    let plain = heard(&script("plain").hangs_up(at(3.0)).run(at(9.0)));
    let held = heard(&held(script("held"), 3.0, 6.0).hangs_up(at(6.2)).run(at(9.0)));
    assert!(plain.split(' ').count() >= 6, "{plain}");
    assert!(held.starts_with(&plain), "{held:?} after {plain:?}");
}

#[test]
fn all_that_was_said_before_a_hold_has_been_heard_when_the_caller_hangs_up_during_it() {
    let heard = |script: Script| -> usize {
        let call = script.run(at(9.0));
        let turns = call.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref());
        turns.map(|words| words.expose().split(' ').count()).sum()
    };
    for step in 0..12 {
        let from = at(2.5) + ms(40) * step;
        let held = heard(script("held").input(from, CallInput::Held(true)).hangs_up(from + at(2.0)));
        // What is in flight as the caller hangs up is not heard.
        let plain = heard(script("plain").hangs_up(from + ms(40)));
        assert!(held >= plain, "from {from:?}: {held} words, and {plain} without the hold");
    }
}

#[test]
fn words_that_broke_in_just_before_a_hold_are_answered_after_it() {
    let call = held(script("broke in").words(at(9.005), "opening hours"), 9.01, 14.0).run(at(20.0));
    assert_eq!(call.step(), "hours", "{}", call.story());
}
