//! What was made for an older turn is never heard, whenever it comes.

use offhook::call::TurnId;
use offhook::call::core::CallInput;
use offhook::safety::said::clear;
use offhook_media::playout::SentenceId;

use crate::harness::vendors::error;
use crate::harness::{ANSWER, ASK, Model, Script, Voice, at, ms, script};

fn answered(model: Model) -> Script {
    let script = script("stale").flow(ASK).late_vendors().caller_says(at(2.0), "hello");
    script.words(at(2.7), "When are you open?").model(model)
}

#[test]
fn audio_of_a_sentence_that_was_cut_off_is_not_heard() {
    let call = answered(Model::says(ms(300), ANSWER)).caller_says(at(4.2), "one").interim(at(4.6), "one").run(at(6.3));
    call.expect_speaking(at(3.9), at(4.2)).expect_silence(at(4.45), at(6.3));
}

#[test]
fn sentences_of_an_answer_that_was_cut_off_are_not_made() {
    let model = Model::Says(vec![(ms(300), ANSWER), (ms(2500), "Stale words.")]);
    let call = answered(model)
        .caller_says(at(4.5), "one")
        .words(at(5.2), "Never mind that.")
        .model(Model::says(ms(400), "As you wish."))
        .run(at(10.0));
    assert!(call.asked_for("Stale").is_none(), "{}", call.story());
    assert!(call.asked_for("As you wish").is_some());
    assert!(!call.told_as_heard(1).contains("Stale"));
}

#[test]
fn a_late_end_of_an_old_answer_does_not_end_the_new_one() {
    // The old answer's end comes at 6.6 s, while the model is at work on the new one.
    let call = answered(Model::Says(vec![(ms(300), ANSWER), (ms(3300), "Stale words.")]))
        .caller_says(at(4.5), "one")
        .words(at(5.2), "Never mind that.")
        .model(Model::says(ms(1300), "As you wish."))
        .run(at(10.0));
    assert!(call.asked_for("As you wish").is_some(), "{}", call.story());
    assert!(call.asked_for("can't answer").is_none());
}

#[test]
fn inputs_of_turns_that_never_were_do_nothing() {
    let quiet = script("strays").run(at(6.0));
    let mut call = script("strays");
    for turn in [TurnId(7), TurnId(u32::MAX)] {
        let (sentence, text) = (SentenceId(0), clear("Stray words."));
        for input in [
            CallInput::Speech { turn, sentence, samples: vec![9000; 800].into() },
            CallInput::SpeechEnded { turn, sentence },
            CallInput::SpeechFailed { turn, sentence, error: error("voice") },
            CallInput::Answer { turn, sentence: text },
            CallInput::AnswerEnded { turn },
            CallInput::AnswerFailed { turn, error: error("model") },
        ] {
            call = call.input(at(1.0), input);
        }
    }
    let call = call.run(at(6.0));
    assert_eq!(call.log, quiet.log);
    assert_eq!(call.audio_hash(), quiet.audio_hash());
}

#[test]
fn audio_of_a_sentence_that_was_given_up_is_not_heard_between_later_ones() {
    let sentences = "
name: two
steps:
  talk:
    say: [\"This sentence comes far too late.\", \"Our second sentence comes in time and is a long one.\", \"Third one.\"]
    wait_ms: 20000
    goto: hangup
";
    let good = script("late voice").flow(sentences).voice_of(0, Voice::Fails(ms(500))).run(at(12.0));
    let late = script("late voice").flow(sentences).late_vendors().voice_of(0, Voice::Speaks(ms(5000))).run(at(16.0));
    let spoken = |call: &crate::harness::Outcome| call.sent.iter().filter(|slice| slice.is_voiced()).count();
    assert_eq!(spoken(&late), spoken(&good), "{}", late.story());
}
