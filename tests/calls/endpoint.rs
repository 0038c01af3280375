//! When the caller's turn is over: each step's own silence, final words where they come, the clock where they do not.

use offhook::turn::floor::Holder;

use crate::harness::{Script, at, script};

fn menu(endpoint_ms: u32) -> Script {
    let flow = format!(
        "
name: endpoint
steps:
  pick:
    menu:
      prompt: Sales or repairs?
      choices:
        - {{key: 1, words: [sales], goto: sales}}
        - {{key: 2, words: [repairs], goto: repairs}}
    endpoint_ms: {endpoint_ms}
  sales:
    say: Sales will call you back as soon as there is somebody who has the time for it.
    goto: hangup
  repairs:
    say: Repairs will call you back.
    goto: hangup
"
    );
    script("endpoint").flow(&flow)
}

/// From its onset to its end "hello" takes this long.
const HELLO: f64 = 0.59;

#[test]
fn each_step_has_its_own_silence() {
    for endpoint in [200, 600, 1200] {
        let call = menu(endpoint).caller_says(at(3.0), "hello").words(at(3.6), "sales").run(at(8.0));
        call.expect_steps(&["pick", "sales"]);
        let answered = call.asked_for("Sales will").unwrap().at.as_secs_f64();
        let expected = 3.0 + HELLO + f64::from(endpoint) / 1000.0;
        assert!((answered - expected).abs() <= 0.09, "{endpoint} ms: {answered} instead of {expected}");
        call.expect_floor(at(expected - 0.1), Holder::Caller).expect_floor(at(expected + 0.1), Holder::Bot);
    }
}

#[test]
fn a_pause_between_words_is_not_the_end() {
    let call = menu(600)
        .caller_says(at(3.0), "hello")
        .words(at(3.7), "I think")
        .caller_says(at(4.0), "one")
        .words(at(4.8), "repairs")
        .run(at(8.0));
    call.expect_steps(&["pick", "repairs"]).expect_silence(at(3.0), at(5.0));
    assert_eq!(call.counts.turns, 1);
    assert_eq!(call.turns.iter().filter(|(_, turn)| turn.caller_words.is_some()).count(), 1);
}

#[test]
fn late_words_end_the_turn_when_they_come() {
    let call = menu(200).caller_says(at(3.0), "hello").words(at(4.7), "sales").run(at(6.0));
    assert_eq!(call.asked_for("Sales will").unwrap().at, at(4.7));
    let call = menu(200).caller_says(at(3.0), "hello").words(at(4.7), "sales").run(at(15.0));
    let asr = call.turn_with("sales").unwrap().asr_ms.unwrap();
    assert!((asr - (4.7 - 3.0 - HELLO) * 1000.0).abs() <= 60.0, "{asr}");
}

#[test]
fn words_that_never_come_are_waited_for_1500_ms() {
    let call = menu(200).caller_says(at(3.0), "hello").run(at(8.0));
    let sorry = call.asked_for("did not get that").unwrap().at.as_secs_f64();
    assert!((sorry - (3.0 + HELLO + 0.2 + 1.5)).abs() <= 0.09, "{sorry}");
    assert_eq!(call.step(), "pick");
}

#[test]
fn words_that_never_settle_are_taken_as_they_are() {
    let call = menu(200).caller_says(at(3.0), "hello").interim(at(3.5), "repairs").run(at(8.0));
    call.expect_steps(&["pick", "repairs"]);
    assert!(call.turn_with("repairs").is_some());
}

#[test]
fn final_words_of_an_answered_turn_are_not_a_new_one() {
    let call = menu(200).caller_says(at(3.0), "hello").interim(at(3.5), "sales").words(at(6.0), "sales").run(at(8.0));
    call.expect_steps(&["pick", "sales"]).expect_speaking(at(5.6), at(8.0));
    assert_eq!((call.counts.turns, call.counts.barge_ins), (1, 0), "{}", call.story());
}

/// The recogniser's times: words reported at `at` began half a second before.
#[test]
fn new_words_after_an_answered_turn_are_a_new_one() {
    let call = menu(200)
        .caller_says(at(3.0), "hello")
        .interim(at(3.5), "sales")
        .caller_says(at(6.4), "one")
        .words(at(7.1), "repairs")
        .run(at(9.0));
    assert!(call.turn_with("sales").is_some(), "{}", call.story());
    assert_eq!((call.counts.turns, call.counts.barge_ins), (2, 1), "{}", call.story());
}

#[test]
fn a_caller_who_goes_on_while_words_are_awaited_is_not_talked_over() {
    let call = menu(200)
        .caller_says(at(3.0), "hello")
        .caller_says(at(4.5), "vm-tocallback")
        .words(at(7.9), "I would like to speak to repairs")
        .run(at(12.0));
    call.expect_silence(at(3.0), at(7.9)).expect_steps(&["pick", "repairs"]);
    assert_eq!(call.counts.turns, 1, "{}", call.story());
}

#[test]
fn a_line_without_a_recogniser_waits_for_no_words() {
    let call = menu(200).deaf().caller_says(at(3.0), "hello").run(at(8.0));
    let told = call.asked_for("can't understand").unwrap().at.as_secs_f64();
    assert!((told - (3.0 + HELLO + 0.2)).abs() <= 0.09, "{told}");
}

#[test]
fn a_caller_whose_audio_ceases_has_fallen_silent() {
    let call = script("ceased").caller_says(at(16.0), "vm-repeat").line_dies(at(16.6)).words(at(16.9), "opening hours");
    let call = call.run(at(20.0));
    assert_eq!(call.step(), "hours", "{}", call.story());
}
