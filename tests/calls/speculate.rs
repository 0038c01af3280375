//! Answers that are thought of while the caller may still go on: said at once if they do not, and dropped without a trace
//! if they do.

use offhook::providers::Role;
use offhook::turn::TurnConfig;

use crate::harness::{Model, Outcome, Script, at, ms, script};

const ASK: &str = "
name: speculate
steps:
  talk:
    ask:
      prompt: Good morning.
      system_text: Be brief.
      keys: {\"0\": hangup}
      unheard: Press zero.
      without_model: Press zero.
    goto: hangup
";

/// The caller's speech ends at 2.59 s.
fn hello() -> Script {
    script("speculate").flow(ASK).caller_says(at(2.0), "hello")
}

/// All that the caller said, as the model was told with the question of this number.
fn asked(call: &Outcome, question: usize) -> String {
    let messages = &call.questions[question].request.messages;
    let said = messages.iter().filter(|message| message.role == Role::User);
    said.map(|message| message.content.expose().as_str()).collect::<Vec<_>>().join(" / ")
}

#[test]
fn an_answer_that_was_thought_of_is_said_as_soon_as_the_turn_has_ended() {
    let call = hello().interim(at(2.65), "when are you open").words(at(2.85), "When are you open?");
    let call = call.model(Model::says(ms(150), "We open at eight.")).run(at(8.0));
    assert_eq!(call.questions.len(), 1, "{}", call.story());
    let thought = call.questions[0].at;
    assert!((ms(2690)..ms(2760)).contains(&thought), "{thought:?}");
    let voice = call.asked_for("We open").unwrap().at;
    assert!((ms(2880)..ms(2950)).contains(&voice), "the turn ends 300 ms behind the words: {voice:?}");
    assert_eq!((call.counts.speculations, call.counts.speculations_used), (1, 1));
    let turn = call.turn_with("When are you open?").unwrap();
    assert_eq!(turn.heard.as_ref().unwrap().expose(), "We open at eight.");
    assert_eq!(turn.llm_ms, Some(150.0));
}

#[test]
fn an_answer_that_is_still_on_its_way_is_awaited() {
    let call =
        hello().words(at(2.7), "When are you open?").model(Model::says(ms(900), "We open at eight.")).run(at(8.0));
    assert_eq!(call.questions.len(), 1, "{}", call.story());
    let expected = call.questions[0].at + ms(900);
    assert_eq!(call.asked_for("We open").unwrap().at, expected);
}

#[test]
fn a_caller_who_goes_on_leaves_no_trace_of_what_was_thought() {
    for late in [false, true] {
        let call = hello()
            .interim(at(2.65), "I need to")
            .caller_says(at(3.4), "one")
            .words(at(4.2), "I need to see a doctor.")
            .model(Model::says(ms(300), "This was never asked."))
            .model(Model::says(ms(100), "When would you like to come?"));
        let call = if late { call.late_vendors() } else { call }.run(at(9.0));
        assert_eq!(call.questions.len(), 2, "{}", call.story());
        assert_eq!((call.counts.speculations, call.counts.speculations_used), (2, 1));
        assert_eq!(asked(&call, 1), "I need to see a doctor.");
        assert!(call.asked_for("never asked").is_none() && call.asked_for("When would").is_some());
        assert!(call.turn_with("I need to").is_none() && call.turn_with("I need to see a doctor.").is_some());
        assert!(!call.told_as_heard(1).contains("never"), "{}", call.told_as_heard(1));
        assert_eq!(call.counts.turns, 1);
    }
}

#[test]
fn other_words_are_another_question() {
    let call = hello()
        .interim(at(2.6), "when are you")
        .words(at(2.75), "Where are you?")
        .model(Model::says(ms(500), "We open at eight."))
        .model(Model::says(ms(100), "In Kigali."))
        .run(at(8.0));
    assert_eq!((call.counts.speculations, call.counts.speculations_used), (2, 1), "{}", call.story());
    assert_eq!(asked(&call, 1), "Where are you?");
    assert!(call.asked_for("We open").is_none() && call.asked_for("In Kigali.").is_some());
}

#[test]
fn a_guess_that_fails_is_asked_again_when_the_turn_has_ended() {
    let call = hello()
        .words(at(2.7), "I would like to")
        .model(Model::fails())
        .model(Model::says(ms(100), "Yes?"))
        .run(at(9.0));
    assert_eq!((call.counts.speculations, call.counts.speculations_used), (1, 0), "{}", call.story());
    assert!(call.asked_for("Yes?").is_some());
    assert_eq!(call.count("model_failed"), 0);
}

#[test]
fn a_turn_is_thought_about_a_few_times_at_most() {
    let mut call = hello();
    for (n, words) in
        ["I", "I was", "I was in", "I was in the", "I was in the old", "I was in the old house and"].iter().enumerate()
    {
        call = call.interim(at(2.7 + 0.2 * n as f64), words).model(Model::stalls());
    }
    let call = call.run(at(4.5));
    assert_eq!(call.counts.speculations, 3, "{}", call.story());
}

#[test]
fn what_needs_no_model_is_not_thought_about_and_nothing_is_where_it_is_turned_off() {
    let off = TurnConfig { speculate: false, ..TurnConfig::default() };
    let ask =
        hello().turn(off).words(at(2.7), "When are you open?").model(Model::says(ms(150), "At eight.")).run(at(6.0));
    assert_eq!((ask.counts.speculations, ask.questions.len()), (0, 1));
    assert!(ask.questions[0].at >= at(2.85), "{:?}", ask.questions[0].at);
    let menu = "name: m\nsteps:\n  a: {menu: {prompt: Which?, choices: [{key: 1, words: [sales], goto: hangup}]}}\n";
    let menu = script("menu").flow(menu).caller_says(at(2.0), "hello").interim(at(2.65), "sales").run(at(5.0));
    assert_eq!((menu.counts.speculations, menu.questions.len()), (0, 0));
    assert_eq!(menu.counts.turns, 1);
}

#[test]
fn a_recogniser_that_hears_the_end_coming_is_believed() {
    use offhook::call::core::CallInput::Heard;
    use offhook::providers::SttEvent;
    let call = hello()
        .interim(at(2.7), "When are you open?")
        .input(at(2.72), Heard(SttEvent::EagerTurnEnd))
        .words(at(2.78), "When are you open?")
        .input(at(2.78), Heard(SttEvent::TurnEnded))
        .model(Model::says(ms(50), "We open at eight."))
        .run(at(8.0));
    assert_eq!(call.questions[0].at, at(2.72), "{}", call.story());
    assert_eq!(call.asked_for("We open").unwrap().at, at(2.78), "190 ms of silence, where the rules want 300");
}
