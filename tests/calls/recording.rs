//! A recording that was announced and then fails: the caller learns so in the next words of ours, once.

use offhook::call::core::CallInput;
use offhook::config::Consent;
use offhook::store::record::EndReason;

use crate::harness::{Outcome, at, script};

const FLOW: &str = "
name: f
phrases: {recording: We record., not_recorded: We stopped recording.}
steps:
  main:
    menu:
      prompt: Press 1 or wait.
      choices: [{key: 1, goto: one}]
      no_input: Still there?
      no_input_ms: 5000
      give_up: bye
  one: {say: You pressed one., goto: main}
  bye: {say: Nothing more., goto: hangup}
";

fn asked(call: &Outcome) -> Vec<&str> {
    call.asked.iter().map(|asked| asked.text.as_str()).collect()
}

#[test]
fn the_next_words_tell_of_it_and_the_call_goes_on() {
    let call = script("disk full")
        .flow(FLOW)
        .recorded(Consent::Announce)
        .input(at(5.0), CallInput::RecordingFailed)
        .input(at(5.1), CallInput::RecordingFailed)
        .key(at(6.0), '1')
        .run(at(40.0));
    let told = call.asked.iter().find(|asked| asked.text == "We stopped recording.").unwrap();
    assert!(told.at >= at(6.0) && told.at < at(6.2), "with the next words, not in the caller's silence: {:?}", told.at);
    let after: Vec<&str> = asked(&call).into_iter().skip_while(|text| *text != "We stopped recording.").collect();
    assert_eq!(after[..3], ["We stopped recording.", "You pressed one.", "Press 1 or wait."]);
    assert_eq!(after.iter().filter(|text| text.contains("stopped")).count(), 1, "once");
    assert_eq!(call.count("recording_failure_told"), 1);
    call.expect_end(&EndReason::FlowHungUp);
}

#[test]
fn who_broke_in_on_it_was_not_told_and_hears_it_again() {
    let call = script("broken in on")
        .flow(FLOW)
        .recorded(Consent::Announce)
        .input(at(4.0), CallInput::RecordingFailed)
        .key(at(6.0), '1')
        .key(at(6.6), '1')
        .run(at(40.0));
    let told = asked(&call).iter().filter(|text| text.contains("stopped")).count();
    assert_eq!((told, call.count("recording_failure_told")), (2, 1), "{}", call.story());
}

#[test]
fn who_was_promised_nothing_hears_nothing_of_it() {
    for consent in [None, Some(Consent::None)] {
        let call = script("no promise").flow(FLOW);
        let call = match consent {
            Some(consent) => call.recorded(consent),
            None => call,
        };
        let call = call.input(at(6.0), CallInput::RecordingFailed).key(at(7.0), '1').run(at(40.0));
        assert!(!asked(&call).iter().any(|text| text.contains("stopped")), "{}", call.story());
    }
}
