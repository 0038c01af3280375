//! How calls end: by the flow when all was heard, by the clock, by the line.

use offhook::store::record::EndReason;

use crate::harness::{at, ms, script};

const SHORT: &str = "
name: short
steps:
  talk:
    say: Hello.
    goto: bye
  bye:
    hangup: Thank you for calling us and have a very good day.
";

#[test]
fn the_goodbye_is_heard_to_its_end_before_the_call_is_hung_up() {
    let call = script("goodbye").flow(SHORT).network("jitter=30ms,delay=40ms", 3).run(at(20.0));
    call.expect_end(&EndReason::FlowHungUp);
    let end = call.end.as_ref().unwrap().0;
    let last = call.sent.iter().rfind(|slice| slice.is_voiced()).unwrap().at;
    assert!((ms(300)..=ms(420)).contains(&(end - last)), "{:?} after the last words", end - last);
    let heard = call.heard.iter().filter(|slice| slice.is_voiced()).count();
    let sent = call.sent.iter().filter(|slice| slice.is_voiced()).count();
    assert!(heard + 2 >= sent, "{heard} of {sent} frames reached the caller");
    let (_, turn) = call.turns.last().unwrap();
    assert!(turn.heard.as_ref().unwrap().expose().ends_with("have a very good day."));
    assert_eq!(turn.unheard, None);
}

#[test]
fn speech_over_the_last_words_does_not_cut_them() {
    let call = script("goodbye").flow(SHORT).caller_says(at(2.0), "goodbye").run(at(20.0));
    call.expect_end(&EndReason::FlowHungUp).expect_speaking(at(1.2), at(4.0));
    assert_eq!(call.counts.barge_ins, 0);
}

#[test]
fn a_caller_who_never_says_anything_reaches_a_person() {
    let call = script("silent").run(at(120.0));
    call.expect_end(&EndReason::Transferred);
    let (silence, since) = call.longest_silence(at(0.0), call.end.as_ref().unwrap().0);
    assert!(silence <= ms(6600), "{silence:?} from {since:?}");
}

#[test]
fn a_line_that_has_died_ends_the_call() {
    let call = script("dead line").line_dies(at(5.0)).no_media(at(10.0)).run(at(60.0));
    call.expect_end(&EndReason::MediaTimeout);
    let end = call.end.as_ref().unwrap().0;
    assert!((at(14.9)..=at(18.0)).contains(&end), "{end:?}");
}

#[test]
fn a_line_that_never_lived_ends_the_call() {
    let call = script("no media").line_dies(at(0.0)).no_media(at(10.0)).run(at(60.0));
    call.expect_end(&EndReason::MediaTimeout);
    assert_eq!(call.end.as_ref().unwrap().0, at(10.0));
}

#[test]
fn the_longest_call_ends_in_the_middle_of_a_word() {
    let call = script("endless").line("1000").longest(at(25.0)).run(at(60.0));
    call.expect_end(&EndReason::TooLong);
    assert_eq!(call.end.as_ref().unwrap().0, at(25.0));
    call.expect_speaking(at(13.5), at(23.0));
}

#[test]
fn nothing_happens_after_the_end() {
    let call = script("gone").hangs_up(at(3.0)).key(at(3.0), '1').words(at(3.1), "hello").run(at(10.0));
    call.expect_end(&EndReason::CallerHungUp);
    assert!(call.log.last().unwrap().contains("HangUp"), "{}", call.story());
}

#[test]
fn the_bench_line_goes_on_200_ms_after_the_caller() {
    let call = script("bench").line("1000").deaf().caller_says(at(3.0), "hello").run(at(8.0));
    call.expect_quiet_by(at(3.25)).expect_speaking(at(4.0), at(8.0));
    let again = call.speaks_from(at(3.3)).unwrap().as_secs_f64();
    assert!((again - (3.59 + 0.2)).abs() <= 0.09, "{again}");
    let turn = call.turns.iter().map(|(_, turn)| turn).find(|turn| turn.barge_in_ms.is_some()).unwrap();
    assert_eq!(&*turn.step, "tone");
}
