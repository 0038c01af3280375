//! Voices that fail, break off or fall silent: the caller is never left in silence, and never for long without an end.

use offhook::store::record::EndReason;

use crate::harness::{ASK, Model, Voice, at, ms, script};

#[test]
fn one_failure_costs_one_sentence() {
    let call = script("one failure").voice_of(0, Voice::Fails(ms(400))).run(at(12.0));
    call.expect_speaking(at(0.8), at(12.0));
    assert_eq!(call.count("voice_failed"), 1);
    assert!(call.end.is_none());
    let (_, turn) = call.turns.first().unwrap();
    assert_eq!(turn.error.as_deref(), Some("voice: HTTP 503"));
    assert!(!turn.heard.as_ref().unwrap().expose().contains("Hello, this is the clinic."));
}

#[test]
fn three_failures_in_a_row_end_the_call_with_a_tone() {
    let call = script("no voice").voice(Voice::Fails(ms(200))).run(at(20.0));
    call.expect_end(&EndReason::NoVoice);
    assert_eq!(call.count("voice_failed"), 3);
    assert!(call.is_voiced_between(at(0.5), at(2.0)), "the tone that says so");
    let heard = call.heard.iter().filter(|slice| slice.is_voiced()).count();
    assert!((38..=42).contains(&heard), "800 ms of tone reached the caller: {heard} frames");
}

#[test]
fn failures_that_are_not_in_a_row_do_not_end_the_call() {
    let mut call = script("flaky");
    for sentence in [0, 1, 3, 4, 6] {
        call = call.voice_of(sentence, Voice::Fails(ms(200)));
    }
    let call = call.run(at(40.0));
    assert!(call.count("voice_failed") >= 5, "{}", call.story());
    assert_ne!(call.end.map(|(_, reason)| reason), Some(EndReason::NoVoice));
}

#[test]
fn a_voice_that_breaks_off_is_followed_by_the_next_sentence() {
    let call = script("broken").voice_of(0, Voice::Breaks(ms(150))).run(at(8.0));
    call.expect_speaking(at(0.4), at(8.0));
    assert_eq!(call.count("voice_failed"), 1);
    let (_, turn) = call.turns.first().unwrap();
    assert!(turn.heard.as_ref().unwrap().expose().starts_with("Hello, this If this is"), "{:?}", turn.heard);
    assert_eq!(turn.unheard.as_ref().unwrap().expose(), "is the clinic.");
}

#[test]
fn a_voice_that_stalls_once_leaves_no_more_than_4_s_of_silence() {
    let call = script("stalled").voice_of(0, Voice::Stalls).run(at(12.0));
    let (silence, since) = call.longest_silence(at(0.0), at(12.0));
    assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
    assert_eq!(call.count("voice_failed"), 1);
}

#[test]
fn a_voice_that_falls_silent_in_a_sentence_leaves_no_more_than_4_s_of_silence() {
    let call = script("hung").voice_of(0, Voice::Hangs(ms(150))).run(at(14.0));
    let (silence, since) = call.longest_silence(at(0.0), at(14.0));
    assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
    let (_, turn) = call.turns.first().unwrap();
    assert!(turn.error.is_some(), "{turn:?}");
}

#[test]
fn a_voice_that_never_answers_ends_the_call() {
    let call = script("dead voice").voice(Voice::Stalls).run(at(60.0));
    call.expect_end(&EndReason::NoVoice);
    let tone = call.speaks_from(at(0.0)).unwrap();
    assert!(tone <= at(6.2), "the tone came at {tone:?}");
    assert!(call.end.unwrap().0 <= at(7.5));
}

#[test]
fn speech_into_the_silence_of_a_failing_voice_is_no_barge_in() {
    let call = script("nothing to interrupt").voice(Voice::Stalls).voice_of(0, Voice::Fails(ms(200)));
    let call = call.caller_says(at(1.0), "hello").run(at(3.0));
    assert_eq!((call.counts.barge_ins, call.count("barge_in")), (0, 0), "{}", call.story());
    assert!(call.turns.iter().all(|(_, turn)| turn.barge_in_ms.is_none() && turn.total_ms.is_none()));
}

#[test]
fn the_model_goes_on_when_a_voice_stalls_over_its_first_sentence() {
    let call = script("stalled answer")
        .flow(ASK)
        .caller_says(at(2.0), "hello")
        .words(at(2.7), "When are you open?")
        .model(Model::Says(vec![(ms(300), "The first sentence is lost."), (ms(900), "From eight to five.")]))
        .voice_of(1, Voice::Stalls)
        .run(at(12.0));
    // From the end of the caller's turn on; their own pause is theirs.
    let (silence, since) = call.longest_silence(at(3.29), at(8.0));
    assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
    let turn = call.turn_with("When are you open?").unwrap_or_else(|| panic!("{}", call.story()));
    assert_eq!(turn.heard.as_ref().unwrap().expose(), "From eight to five.");
    assert_eq!(turn.unheard.as_ref().unwrap().expose(), "The first sentence is lost.");
}

#[test]
fn between_two_sentences_there_is_a_pause_of_200_ms() {
    let two = "
name: two
steps:
  talk:
    say: [\"Our first sentence.\", \"Our second sentence.\"]
    wait_ms: 5000
    goto: hangup
";
    let call = script("pause").flow(two).run(at(4.0));
    assert_pause(&call, at(0.3), at(2.5));
}

#[test]
fn a_sentence_that_comes_while_another_plays_is_set_apart_as_well() {
    let call = script("streamed")
        .flow(ASK)
        .caller_says(at(2.0), "hello")
        .words(at(2.7), "When are you open?")
        .model(Model::Says(vec![(ms(300), "We open at eight in the morning."), (ms(1500), "We close at five.")]))
        .run(at(9.0));
    assert_pause(&call, call.speaks_from(at(3.0)).unwrap(), at(6.0));
}

#[track_caller]
fn assert_pause(call: &crate::harness::Outcome, from: std::time::Duration, to: std::time::Duration) {
    let (pause, since) = call.longest_silence(from, to);
    assert!((ms(180)..=ms(260)).contains(&pause), "{pause:?} from {since:?}\n{}", call.story());
}
