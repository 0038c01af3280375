//! A caller who begins to speak is heard at once, and what was cut off is not taken as said.

use offhook::store::record::{EndReason, InterruptionOutcome};
use offhook::turn::floor::Holder;

use crate::harness::sound::PHRASES;
use crate::harness::{ANSWER, ASK, Model, Outcome, at, ms, quantile, script};

fn answered() -> crate::harness::Script {
    script("long answer")
        .flow(ASK)
        .caller_says(at(2.0), "hello")
        .words(at(2.7), "When are you open?")
        .model(Model::says(ms(300), ANSWER))
}

/// From the caller's onset to the last voiced sample of ours.
fn stop_ms(call: &Outcome, onset: f64) -> f64 {
    (call.falls_quiet_after(at(onset), ms(60)) - at(onset)).as_secs_f64() * 1000.0
}

#[test]
fn every_phrase_stops_the_bot_within_250_ms() {
    let mut times = Vec::new();
    for phrase in PHRASES {
        // Another part of the frame, the hop and the sentence each time.
        for shift in [0.0, 0.009, 0.391] {
            let onset = 6.0 + shift;
            // In a statement words decide.
            let call = answered().caller_says(at(onset), phrase).interim(at(onset + 0.5), "Please wait").run(at(7.5));
            call.expect_speaking(at(5.0), at(onset));
            let took = stop_ms(&call, onset);
            assert!(took <= 250.0, "{phrase} at {onset}: {took} ms\n{}", call.story());
            call.expect_quiet_by(at(onset + 0.25)).expect_floor(at(onset + 0.25), Holder::Caller);
            assert_eq!((call.counts.barge_ins, call.count("barge_in")), (1, 1), "{phrase}");
            times.push(took);
        }
    }
    let figures = [0.5, 0.95, 1.0].map(|share| quantile(&mut times, share));
    println!(
        "barge-in of {} phrases, ms: p50 {:.0}, p95 {:.0}, max {:.0}",
        times.len(),
        figures[0],
        figures[1],
        figures[2]
    );
}

#[test]
fn a_bad_network_does_not_delay_the_stop() {
    let mut times = Vec::new();
    for seed in 0..40 {
        let phrase = PHRASES[seed as usize % PHRASES.len()];
        let network = "loss=5%,jitter=30ms,reorder=1%,duplicate=1%";
        let call = answered().network(network, seed).caller_says(at(6.0), phrase).run(at(7.0));
        call.expect_speaking(at(5.2), at(6.0));
        times.push(stop_ms(&call, 6.0));
    }
    let figures = [0.5, 0.95, 1.0].map(|share| quantile(&mut times, share));
    println!(
        "barge-in at 5 % loss, 30 ms jitter, ms: p50 {:.0}, p95 {:.0}, max {:.0}",
        figures[0], figures[1], figures[2]
    );
    assert!(figures[1] <= 250.0, "{times:?}");
}

#[test]
fn the_record_is_cut_at_the_word_that_was_heard() {
    let call = answered().caller_says(at(6.0), "im-sorry").run(at(9.0));
    let turn = call.turn_with("When are you open?").unwrap();
    let heard = turn.heard.as_ref().unwrap().expose().as_str();
    let unheard = turn.unheard.as_ref().unwrap().expose().as_str();
    let whole = ANSWER.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(format!("{heard} {unheard}"), whole);
    // The caller has heard the audio up to 40 ms before the stop: 60 ms of it are one character.
    let spoken = call.falls_quiet_after(at(6.0), ms(60)) - call.speaks_from(at(3.0)).unwrap();
    let characters = (spoken.as_secs_f64() - 0.04) / 0.06;
    assert!((heard.len() as f64 - characters).abs() <= 8.0, "{characters:.0} characters: {heard}");
    let took = turn.barge_in_ms.unwrap();
    let seen = stop_ms(&call, 6.0);
    assert!((took - seen).abs() <= 45.0, "recorded {took} ms, seen {seen} ms");
}

#[test]
fn the_model_is_told_what_was_heard_and_not_what_was_meant() {
    let call = answered()
        .caller_says(at(6.0), "im-sorry")
        .words(at(7.3), "And on Sunday?")
        .model(Model::says(ms(300), "We are closed on Sunday."))
        .run(at(12.0));
    assert_eq!(call.questions.len(), 2, "{}", call.story());
    let told = call.told_as_heard(1);
    assert!(told.starts_with("Good morning. Our opening hours"), "{told}");
    assert!(!told.contains("pharmacy"), "{told}");
    let (_, last) = call.turns.last().unwrap();
    assert_eq!(last.heard.as_ref().unwrap().expose(), "We are closed on Sunday.");
    assert_eq!(last.caller_words.as_ref().unwrap().expose(), "And on Sunday?");
    // "im-sorry" lasts 800 ms and its words come 500 ms later; the model thinks from then on, 300 ms, and then comes the voice.
    let total = last.total_ms.unwrap();
    assert!((1000.0..1100.0).contains(&total), "the fade of what was cut off is no answer: {total}");
}

#[test]
fn a_turn_has_the_times_of_its_stages() {
    let call = answered().run(at(16.0));
    let turn = call.turn_with("When are you open?").unwrap();
    // "hello" is silent from 590 ms on; its words came 700 ms after its onset.
    let asr = turn.asr_ms.unwrap();
    assert!((60.0..200.0).contains(&asr), "{asr}");
    assert_eq!(turn.llm_ms, Some(300.0));
    assert_eq!(turn.tts_ms, Some(150.0));
    let total = turn.total_ms.unwrap();
    let seen = (call.speaks_from(at(2.7)).unwrap() - at(2.59)).as_secs_f64() * 1000.0;
    assert!((total - seen).abs() <= 40.0, "recorded {total} ms, seen {seen} ms");
    assert_eq!(turn.barge_in_ms, None);
    assert_eq!(turn.unheard, None);
}

#[test]
fn a_caller_may_break_in_during_the_greeting_and_hang_up_over_it() {
    let call = script("impatient").caller_says(at(1.0), "im-sorry").hangs_up(at(1.3)).run(at(5.0));
    call.expect_quiet_by(at(1.25)).expect_end(&EndReason::CallerHungUp);
    // The bot was held, and it was never known for what.
    let outcomes: Vec<_> = call.interruptions.iter().map(|told| told.outcome).collect();
    assert_eq!(outcomes, [InterruptionOutcome::Undecided], "{}", call.story());
    assert_eq!(call.turns.iter().filter(|(_, turn)| turn.heard.is_some()).count(), 1);
}

#[test]
fn a_caller_who_hangs_up_in_the_moment_of_the_stop_leaves_one_record() {
    let whole = script("stopped").caller_says(at(1.0), "im-sorry").run(at(3.0));
    let stopped = whole.event_at("barge_in").unwrap();
    let call = script("stopped and gone").caller_says(at(1.0), "im-sorry").hangs_up(stopped).run(at(3.0));
    call.expect_end(&EndReason::CallerHungUp);
    let heard = call.turns.iter().filter(|(_, turn)| turn.heard.is_some()).count();
    assert_eq!(heard, 1, "{}", call.story());
}
