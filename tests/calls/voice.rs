//! Voices that fail, break off or fall silent: the caller is never left in silence, and never for long without an end.

use offhook::store::record::EndReason;

use crate::harness::{ASK, Model, Voice, at, ms, script, sound};

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
fn a_sentence_that_is_ready_is_heard_within_a_frame() {
    let call = script("ready").flow(ONE).voice(Voice::Speaks(ms(0))).run(at(2.0));
    let asked = call.asked.first().unwrap().at;
    let begun = call.sent.iter().find(|slice| slice.is_voiced()).unwrap().at;
    assert!(begun <= asked + ms(20), "asked for at {asked:?}, heard at {begun:?}");
}

#[test]
fn a_sentence_that_another_voice_goes_on_with_is_heard_whole() {
    for (wait, played) in [(ms(100), "before it was played"), (ms(2600), "after it was played")] {
        let call = script("changed").flow(ONE).voice_of(0, Voice::Changes(wait)).run(at(8.0));
        let (_, turn) = call.turns.first().unwrap();
        assert_eq!(turn.heard.as_ref().unwrap().expose(), WHOLE, "{played}");
        assert_eq!((&turn.unheard, &turn.error), (&None, &None));
        assert_eq!((call.count("voice_changed"), call.count("voice_failed")), (1, 0));
        let voiced = call.heard.iter().filter(|slice| slice.is_voiced()).count() as f64 * 0.02;
        let whole = sound::voice(WHOLE).len() as f64 / 8000.0;
        // What came of the word that was not whole is said again only where it was out already.
        let again = if played.starts_with("before") { 0.0 } else { whole / 20.0 };
        assert!((voiced - whole - again).abs() < 0.1, "{voiced} s heard of {whole} s and {again} s {played}");
    }
}

#[test]
fn who_breaks_in_after_the_voice_has_changed_has_heard_what_was_played() {
    let call = script("cut").flow(ONE).voice_of(0, Voice::Changes(ms(2600))).caller_says(at(4.6), "hello").run(at(9.0));
    let (_, turn) = call.turns.first().unwrap();
    let (heard, unheard) = (turn.heard.as_ref().unwrap().expose(), turn.unheard.as_ref().unwrap().expose());
    assert_eq!(format!("{heard} {unheard}"), WHOLE);
    assert!(heard.split_whitespace().count() > WHOLE.split_whitespace().count() / 2, "{heard}");
}

const WHOLE: &str = "Our opening hours are from eight in the morning to five in the afternoon on weekdays.";
const ONE: &str = "
name: one
steps:
  talk:
    say: Our opening hours are from eight in the morning to five in the afternoon on weekdays.
    wait_ms: 3000
    goto: hangup
";

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

#[test]
fn voices_that_stall_one_after_the_other_leave_no_more_than_4_s_of_silence() {
    let call = script("two stalled").voice_of(0, Voice::Stalls).voice_of(1, Voice::Stalls).run(at(14.0));
    let (silence, since) = call.longest_silence(at(0.0), at(14.0));
    assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
    assert_eq!((call.count("voice_failed"), call.count("sign_of_life")), (2, 1));
}

#[test]
fn a_voice_that_is_in_time_is_not_preceded_by_a_tone() {
    let call = script("slow").voice(Voice::Speaks(ms(900))).run(at(40.0));
    assert_eq!(call.count("sign_of_life"), 0, "{}", call.story());
}

#[test]
fn a_voice_that_makes_nothing_has_failed() {
    let call = script("mute").voice(Voice::Mute(ms(200))).run(at(20.0));
    call.expect_end(&EndReason::NoVoice);
    assert_eq!(call.count("voice_failed"), 3);
}

const QUESTION: &str = "
name: question
defaults: {no_input_ms: 5000, max_tries: 2}
steps:
  pick:
    menu:
      prompt: For lamps press one.
      choices: [{key: 1, goto: hangup}]
";

#[test]
fn a_question_that_no_voice_could_make_is_asked_again_at_once() {
    for voice in [Voice::Fails(ms(300)), Voice::Breaks(ms(100)), Voice::Mute(ms(200))] {
        let call = script("unsaid").flow(QUESTION).voice_of(0, voice).run(at(9.0));
        let asked: Vec<&str> = call.asked.iter().map(|asked| asked.text.as_str()).collect();
        assert_eq!(asked[..2], ["For lamps press one."; 2], "{}", call.story());
        assert!(call.asked[1].at <= at(2.0), "{}", call.story());
    }
}

#[test]
fn a_question_that_no_voice_can_make_is_given_up() {
    let call = script("unsaid").flow(QUESTION).voice_of(0, Voice::Fails(ms(300))).voice_of(1, Voice::Fails(ms(300)));
    let call = call.run(at(9.0));
    assert_eq!(call.count("gave_up"), 1, "{}", call.story());
    call.expect_end(&EndReason::FlowHungUp);
}

#[test]
fn an_answer_that_no_voice_could_make_is_owned_up_to() {
    let call = script("unspoken")
        .flow(ASK)
        .caller_says(at(2.0), "hello")
        .words(at(2.7), "When are you open?")
        .model(Model::says(ms(300), "From eight to five."))
        .voice_of(1, Voice::Fails(ms(200)))
        .run(at(12.0));
    let answer = call.asked_for("From eight").unwrap().at;
    let sorry = call.asked_for("I am sorry, I can't answer that").unwrap_or_else(|| panic!("{}", call.story())).at;
    assert!(sorry <= answer + ms(300), "{sorry:?}");
    assert_eq!(call.count("answer_unspoken"), 1);
}

#[test]
fn a_filler_that_no_voice_makes_leaves_no_more_than_4_s_of_silence() {
    let call = script("stalled filler")
        .flow(ASK)
        .caller_says(at(2.0), "hello")
        .words(at(2.7), "When are you open?")
        .voice_of(1, Voice::Stalls)
        .voice_of(2, Voice::Stalls)
        .run(at(20.0));
    // From the end of the caller's speech to the end of the call, but for what the step waits for the caller.
    let (silence, since) = call.longest_silence(at(2.6), call.asked_for("sorry").unwrap().at + at(3.0));
    assert!(silence <= ms(4000), "{silence:?} from {since:?}\n{}", call.story());
    assert!(call.count("sign_of_life") >= 1);
}

#[test]
fn a_tone_that_a_far_buffer_drops_takes_no_words_with_it() {
    let heard = |script: crate::harness::Script| -> String {
        let script = script.voice(Voice::Stalls).voice_of(0, Voice::Hangs(ms(150)));
        let tone = script.run(at(14.0));
        tone.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref()).map(|words| words.expose().clone()).collect()
    };
    let tone = script("when").voice(Voice::Stalls).voice_of(0, Voice::Hangs(ms(150))).run(at(14.0));
    let tone = tone.event_at("sign_of_life").unwrap();
    let plain = heard(script("to its end").far_buffer());
    let cut = heard(script("into the tone").far_buffer().caller_says(tone + ms(40), "hello"));
    assert!(!plain.is_empty());
    assert_eq!(cut, plain);
}
