//! We began to answer a caller who had only paused: the answer is withdrawn, and what they say becomes one turn.

use offhook::providers::Role;

use crate::harness::{Model, Outcome, Script, at, ms, script};

const ASK: &str = "
name: cut_in
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

/// The caller seems to have finished at 2.59 s; the answer can be heard from about 3.1 s on.
fn paused() -> Script {
    let call = script("cut in").flow(ASK).caller_says(at(2.0), "hello").words(at(2.7), "I need a doctor.");
    call.model(Model::says(ms(50), "Of course, I can help you with that, when would you like to come?"))
}

fn asked(call: &Outcome, question: usize) -> Vec<String> {
    let messages = &call.questions[question].request.messages;
    let said = messages.iter().filter(|message| message.role == Role::User);
    said.map(|message| message.content.expose().clone()).collect()
}

#[test]
fn a_caller_who_goes_on_as_we_begin_to_answer_is_heard_as_one_turn() {
    for onset in [3.0, 3.1, 3.2] {
        let call = paused()
            .caller_says(at(onset), "im-sorry")
            .words(at(onset + 1.0), "For my son, please.")
            .model(Model::says(ms(50), "What is his name?"))
            .run(at(9.0));
        assert_eq!(call.count("cut_in"), 1, "{onset}: {}", call.story());
        assert_eq!((call.count("barge_in"), call.counts.barge_ins, call.counts.turns), (0, 0, 1), "{onset}");
        let last = call.questions.len() - 1;
        assert_eq!(asked(&call, last), ["I need a doctor. For my son, please."], "{onset}");
        assert!(call.turn_with("I need a doctor. For my son, please.").is_some(), "{onset}: {}", call.story());
        assert!(call.turn_with("I need a doctor.").is_none(), "{onset}");
        assert!(call.asked_for("What is his name?").is_some(), "{onset}");
    }
}

#[test]
fn a_caller_who_was_cut_in_on_is_given_more_time() {
    let call = paused()
        .caller_says(at(3.2), "im-sorry")
        .words(at(4.2), "For my son")
        .model(Model::says(ms(50), "What is his name?"))
        .run(at(9.0));
    // "im-sorry" ends at 4.0 s; 600 ms become 780, and 2.2 times that where marks are put and this one has none.
    let answered = call.asked_for("What is his name?").unwrap().at;
    assert!(answered >= at(4.0) + ms(1700), "{answered:?}\n{}", call.story());
}

#[test]
fn an_answer_that_was_heard_is_interrupted_and_not_withdrawn() {
    let call = paused()
        .caller_says(at(4.6), "im-sorry")
        .words(at(5.6), "No, wait.")
        .model(Model::says(ms(50), "Yes?"))
        .run(at(9.0));
    assert_eq!((call.count("cut_in"), call.counts.barge_ins, call.counts.turns), (0, 1, 2), "{}", call.story());
    assert!(call.turn_with("I need a doctor.").is_some());
}

#[test]
fn a_step_that_was_entered_too_early_is_left_again() {
    let flow = "
name: cut_in
steps:
  pick:
    menu:
      prompt: Sales or repairs?
      choices:
        - {key: 1, words: [sales], goto: sales}
        - {key: 2, words: [repairs, sales of repairs], goto: repairs}
  sales:
    say: Sales will call you back as soon as there is somebody who has the time for it.
    goto: hangup
  repairs:
    say: Repairs will call you back.
    goto: hangup
";
    let call = script("menu").flow(flow).caller_says(at(3.0), "hello").words(at(3.65), "Sales.");
    let call = call.caller_says(at(4.1), "one").words(at(4.8), "of repairs").run(at(9.0));
    call.expect_steps(&["pick", "sales", "pick", "repairs"]);
    assert_eq!((call.count("cut_in"), call.counts.turns, call.counts.barge_ins), (1, 1, 0), "{}", call.story());
}

/// A line on which our own first syllable comes back as a voice.
#[test]
fn a_turn_is_not_taken_back_for_ever() {
    let long = "name: cut_in\nphrases: {no_match: Unfortunately nothing whatsoever was understood.}";
    let flow = ASK.replace("name: cut_in", long);
    let mut voices = vec![at(2.0)];
    for _ in 0..5 {
        let says = |call: Script, onset: &_| call.caller_says(*onset, "hello");
        let call = voices.iter().fold(script("echo").flow(&flow).deaf(), says);
        let last = *voices.last().unwrap();
        let call = call.run(last + at(6.0));
        let answer = call.speaks_from(last + at(0.9)).unwrap_or_else(|| panic!("{}", call.story()));
        voices.push(answer + ms(50));
        assert!(call.counts.cut_ins <= 3, "{}", call.story());
        if call.count("barge_in") > 0 {
            assert_eq!(call.counts.cut_ins, 3, "{}", call.story());
            return;
        }
    }
    panic!("the last one is an interruption");
}
