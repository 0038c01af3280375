//! A bot that is held in doubt goes on where it was, and what was in doubt costs a caller nothing.

use std::sync::Arc;

use offhook::store::record::{CommittedBy, InterruptionOutcome, ResumedFor};
use offhook::turn::floor::Holder;

use crate::harness::sound::{self, Colour, noise};
use crate::harness::{Outcome, Script, at, ms, script};

/// A statement: nobody is asked anything.
const STATEMENT: &str = "
name: statement
steps:
  talk:
    say:
      - The clinic is open from Monday to Friday, from eight in the morning to five in the afternoon.
      - The laboratory takes samples on weekday mornings, and the pharmacy is open whenever the clinic is.
    goto: hangup
";

const SAID: &str = "The clinic is open from Monday to Friday, from eight in the morning to five in the afternoon. \
                    The laboratory takes samples on weekday mornings, and the pharmacy is open whenever the clinic is. Goodbye.";

fn statement() -> Script {
    script("statement").flow(STATEMENT)
}

/// The first `length` ms of a recorded phrase.
fn piece(phrase: &str, length: usize) -> Arc<[i16]> {
    let recording = sound::human(phrase);
    recording.samples.iter().skip(recording.onset).take(length * 8).copied().collect()
}

fn outcomes(call: &Outcome) -> Vec<InterruptionOutcome> {
    call.interruptions.iter().map(|told| told.outcome).collect()
}

/// Everything that was said, as the records have it.
fn all_heard(call: &Outcome) -> String {
    let heard = call.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref());
    heard.map(|text| text.expose().as_str()).collect::<Vec<_>>().join(" ")
}

/// Of a syllable the network makes speech or not; either way nothing came of it.
fn is_resumed(call: &Outcome) -> bool {
    use InterruptionOutcome::Resumed;
    matches!(outcomes(call)[..], [Resumed(ResumedFor::Silence | ResumedFor::NoWords)])
}

#[test]
fn a_syllable_holds_the_bot_and_its_silence_lets_it_go_on() {
    let call = statement().caller_makes(at(3.0), piece("im-sorry", 130)).run(at(20.0));
    assert!(is_resumed(&call), "{}", call.story());
    assert_eq!(call.counts.barge_ins, 0);
    let told = &call.interruptions[0];
    let stopped = call.falls_quiet_after(at(3.0), ms(60));
    assert!(stopped <= at(3.25), "{stopped:?}");
    let back = call.speaks_from(stopped + ms(20)).unwrap();
    assert!(back - stopped <= ms(800), "silent for {:?}", back - stopped);
    assert!(told.held_ms < told.decided_ms.unwrap(), "{told:?}");
    assert!(SAID.starts_with(&format!("{} {}", told.heard.expose(), told.unheard.expose())), "{told:?}");
    assert_eq!(all_heard(&call), SAID, "the record is that of a call without it");
    assert_eq!(call.asked.len(), 3, "no sentence is asked for twice");
}

/// What is said again is a word at most, and nothing is left out.
#[test]
fn no_word_is_lost_or_said_twice() {
    let whole = statement().run(at(30.0));
    let spoken = |call: &Outcome| call.sent.iter().filter(|slice| slice.is_voiced()).count() as i64 * 20;
    for (number, from) in [2.0, 2.37, 3.11, 4.9, 6.4, 7.7].into_iter().enumerate() {
        for network in ["", "loss=5%"] {
            let call = statement().caller_makes(at(from), piece("hello", 140));
            let call = if network.is_empty() { call } else { call.network(network, number as u64) };
            let call = call.run(at(30.0));
            if call.interruptions.is_empty() {
                continue;
            }
            let again = spoken(&call) - spoken(&whole);
            assert!((-40..=600).contains(&again), "at {from}, {network}: {again} ms more\n{}", call.story());
            assert_eq!(all_heard(&call), SAID);
        }
    }
}

/// What the far side had in hand when the bot was held was emptied, and is said after all.
#[test]
fn what_a_far_buffer_dropped_is_said_again() {
    let heard = |call: &Outcome| call.heard.iter().filter(|slice| slice.is_voiced()).count() as i64 * 20;
    let whole = statement().far_buffer().run(at(30.0));
    for from in [2.0, 3.11, 4.9, 6.47, 7.7] {
        let call = statement().far_buffer().caller_makes(at(from), piece("im-sorry", 130)).run(at(30.0));
        assert!(is_resumed(&call), "at {from}: {}", call.story());
        let again = heard(&call) - heard(&whole);
        assert!((-40..=600).contains(&again), "at {from}: {again} ms more");
        assert_eq!(all_heard(&call), SAID);
    }
}

#[test]
fn a_held_far_side_is_silent_within_a_quarter_of_a_second() {
    let call = statement().far_buffer().caller_says(at(3.0), "im-sorry").words(at(4.2), "wait").run(at(6.0));
    let loud = call.heard.iter().rfind(|slice| slice.is_voiced() && slice.at < at(4.0)).unwrap();
    assert!(loud.at + loud.loud_for <= at(3.25), "{loud:?}");
}

#[test]
fn bursts_of_noise_cost_no_words() {
    for dbfs in [-15.0, -25.0] {
        let call = statement().caller_makes(at(3.0), noise(Colour::White, 120, dbfs, 1)).run(at(30.0));
        assert_eq!(call.counts.barge_ins, 0, "{}", call.story());
        assert_eq!(all_heard(&call), SAID);
    }
}

#[test]
fn the_bot_is_held_within_a_quarter_of_a_second_and_gives_up_later() {
    let call = statement().caller_says(at(3.0), "to-call-this-number").words(at(4.6), "book me in").run(at(8.0));
    assert!(call.falls_quiet_after(at(3.0), ms(60)) <= at(3.25), "{}", call.story());
    call.expect_floor(at(3.3), Holder::Caller);
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::Cap)]);
    let told = &call.interruptions[0];
    let held = told.decided_ms.unwrap() - told.held_ms;
    assert!((680.0..=740.0).contains(&held), "held for {held} ms");
    let seen = (call.falls_quiet_after(at(3.0), ms(60)) - at(3.0)).as_secs_f64() * 1000.0;
    assert!((told.stop_ms.unwrap() - seen).abs() <= 45.0, "told {:?}, seen {seen}", told.stop_ms);
}

#[test]
fn without_a_recogniser_sound_alone_decides() {
    let call = statement().deaf().caller_says(at(3.0), "to-call-this-number").run(at(8.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::Speech)], "{}", call.story());
    let told = &call.interruptions[0];
    assert!(told.decided_ms.unwrap() - told.held_ms <= 320.0, "{told:?}");
}

#[test]
fn a_word_that_stops_needs_no_more_sound() {
    let call = statement().caller_says(at(3.0), "hello").interim(at(3.35), "stop").words(at(3.8), "Stop.").run(at(6.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Committed(CommittedBy::StopWord)], "{}", call.story());
    assert!(call.interruptions[0].decided_ms.unwrap() <= 3400.0);
}

#[test]
fn a_key_gives_up_the_floor_of_a_held_bot() {
    let call = statement().caller_makes(at(3.0), piece("hello", 140)).key(at(3.15), '1').run(at(6.0));
    let told = call.interruptions.iter().map(|told| told.outcome).collect::<Vec<_>>();
    assert!(told.contains(&InterruptionOutcome::Committed(CommittedBy::Key)), "{}", call.story());
}

#[test]
fn a_caller_without_words_is_waited_for_and_then_the_rest_is_said() {
    let call = statement().caller_says(at(3.0), "to-call-this-number").run(at(30.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Recovered], "{}", call.story());
    assert_eq!(call.count("recovered"), 1);
    let (longest, since) = call.longest_silence(at(3.5), at(10.0));
    assert!(longest <= at(4.2), "{longest:?} of silence from {since:?}");
    let words = all_heard(&call);
    assert_eq!(words, SAID, "{}", call.story());
}

#[test]
fn a_call_that_ends_in_doubt_says_so() {
    let call = statement().caller_says(at(3.0), "to-call-this-number").hangs_up(at(3.4)).run(at(8.0));
    assert_eq!(outcomes(&call), [InterruptionOutcome::Undecided], "{}", call.story());
    assert_eq!(call.interruptions[0].decided_ms, None);
}
