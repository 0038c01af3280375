//! The first words: they wait for the caller's side, but not for long.

use offhook::store::record::EndReason;

use crate::harness::{at, ms, script};

#[test]
fn the_greeting_begins_with_the_first_audio_of_the_caller() {
    let call = script("greeting").run(at(2.0));
    let begins = call.event_at("answered").unwrap();
    assert!(begins <= ms(60), "{begins:?}");
    let speaks = call.speaks_from(at(0.0)).unwrap();
    assert!(speaks <= begins + ms(190), "first audio of the voice goes out at the next tick: {speaks:?}");
}

#[test]
fn a_caller_who_sends_nothing_is_greeted_after_250_ms() {
    let call = script("silent side").line_dies(at(0.0)).run(at(2.0));
    assert_eq!(call.event_at("answered"), Some(ms(250)));
    assert_eq!(call.speaks_from(at(0.0)), Some(ms(400)));
}

#[test]
fn nothing_is_said_before_the_call_is_connected() {
    let call = script("no ACK").never_connected().key(at(1.0), '1').caller_says(at(2.0), "hello").run(at(30.0));
    assert!(call.log.is_empty(), "{}", call.story());
    assert!(call.sent.iter().all(|slice| !slice.is_voiced()));
}

#[test]
fn a_call_that_is_never_acknowledged_ends_by_what_its_transport_says() {
    let no_ack = offhook::call::core::CallInput::HungUp(EndReason::NoAck);
    let call = script("no ACK").never_connected().input(at(32.0), no_ack).run(at(40.0));
    call.expect_end(&EndReason::NoAck);
    assert!(call.turns.is_empty());
}

#[test]
fn a_hang_up_during_the_greeting_leaves_what_was_heard_of_it() {
    let call = script("hang-up").hangs_up(at(2.0)).run(at(5.0));
    call.expect_end(&EndReason::CallerHungUp);
    let (_, turn) = call.turns.last().unwrap();
    let heard = turn.heard.as_ref().unwrap().expose();
    assert!("Hello, this is the clinic. If this is an emergency".starts_with(heard.as_str()), "{heard}");
    assert!(turn.unheard.as_ref().unwrap().expose().contains("local emergency number"));
}
