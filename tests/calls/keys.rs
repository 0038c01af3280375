//! Keys interrupt at once and select; those pressed ahead are used where they belong.

use offhook::store::record::EndReason;

use crate::harness::{at, ms, script};

#[test]
fn a_key_interrupts_the_greeting_and_selects_in_the_menu_behind_it() {
    let call = script("key 2").key(at(1.5), '2').run(at(5.0));
    call.expect_steps(&["greeting", "main", "hours"]);
    assert!(call.falls_quiet_after(at(1.5), ms(60)) <= at(1.75), "{}", call.story());
    call.expect_speaking(at(2.1), at(5.0));
    let keyed: Vec<_> = call.turns.iter().filter_map(|(_, turn)| turn.keys.as_ref()).collect();
    assert!(keyed.is_empty(), "the answer to the key still goes on");
    assert_eq!(call.counts.barge_ins, 0, "a key is no barge-in by speech");
}

#[test]
fn the_answer_to_a_key_is_timed_from_the_key() {
    let call = script("key 2").key(at(1.5), '2').key(at(6.0), '1').run(at(8.0));
    let turn = call.turns.iter().map(|(_, turn)| turn).find(|turn| turn.keys.is_some()).unwrap();
    assert_eq!(turn.keys.as_ref().unwrap().expose(), "2");
    assert_eq!(&*turn.step, "hours");
    let total = turn.total_ms.unwrap();
    assert!((140.0..=200.0).contains(&total), "voice and tick: {total} ms");
    assert!(turn.unheard.as_ref().unwrap().expose().contains("district hospital"));
}

#[test]
fn a_key_that_selects_nothing_is_said_so() {
    let call = script("key 9").key(at(10.0), '9').run(at(14.0));
    assert_eq!(call.step(), "main");
    assert!(call.asked_for("I did not get that").is_some(), "{}", call.story());
    call.expect_speaking(at(10.5), at(13.0));
}

#[test]
fn digits_may_be_keyed_before_they_are_asked_for() {
    let mut call = script("typed ahead");
    for (n, key) in "1010119805551234#".chars().enumerate() {
        call = call.key(at(1.0 + 0.25 * n as f64), key);
    }
    let call = call.run(at(12.0));
    assert_eq!(call.step(), "confirm", "{}", call.story());
    assert_eq!(call.count("collected"), 2);
    assert!(call.asked_for("Your number is").is_some(), "{}", call.story());
}

#[test]
fn keys_lead_to_a_person_and_the_words_before_that_are_heard() {
    let call = script("person").key(at(3.0), '0').run(at(20.0));
    call.expect_end(&EndReason::Transferred);
    let (_, last) = call.turns.last().unwrap();
    assert_eq!(last.unheard, None);
    assert!(last.heard.as_ref().unwrap().expose().ends_with("stay on the line."));
}

#[test]
fn a_key_ends_what_the_caller_was_saying() {
    // Words of before the key come late: they are no answer to what the key has selected.
    let call = script("word and key")
        .caller_says(at(3.0), "hello")
        .interim(at(3.5), "I need")
        .key(at(4.0), '2')
        .words(at(5.6), "I need a doctor")
        .run(at(9.0));
    call.expect_steps(&["greeting", "main", "hours"]).expect_speaking(at(4.6), at(9.0));
}

#[test]
fn a_key_of_a_caller_in_whose_favour_we_were_silent_keeps_the_times_in_order() {
    let call = script("held, then a key").caller_says(at(1.5), "hello").key(at(1.75), '2').run(at(6.0));
    call.expect_steps(&["greeting", "main", "hours"]);
    let told = call.interruptions.first().unwrap_or_else(|| panic!("{}", call.story()));
    assert!(told.onset_ms <= told.held_ms && told.held_ms + 50.0 < told.decided_ms.unwrap(), "{told:?}");
}
