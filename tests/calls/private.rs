//! What a caller is asked for in confidence: heard, used, spoken, and in no record and no question to the model.

use offhook::providers::Role;

use crate::harness::{at, script};

const FLOW: &str = "
name: f
steps:
  card:
    collect: {prompt: Your card., into: card, min: 4, max: 4, sensitive: true}
    goto: back
  back: {say: 'You said {card}.', goto: talk}
  talk:
    ask: {prompt: What else?, system_text: Be kind., keys: {'0': hangup}, unheard: Press zero., without_model: Press zero.}
    goto: hangup
";

const FORMS: [&str; 3] = ["4711", "four seven", "one one"];

#[test]
fn spoken_digits_are_in_no_record_and_the_model_is_not_told() {
    let out = script("a card by words")
        .flow(FLOW)
        .caller_says(at(3.0), "to-call-this-number")
        .words(at(6.0), "it is four seven one one")
        .caller_says(at(16.0), "please-try-again")
        .words(at(18.0), "what time do you open")
        .run(at(30.0));
    assert!(out.asked.iter().any(|asked| asked.text == "You said four seven one one."), "{}", out.story());
    let kept: Vec<String> = out
        .turns
        .iter()
        .flat_map(|(_, turn)| [&turn.caller_words, &turn.heard, &turn.unheard])
        .flatten()
        .map(|words| words.expose().clone())
        .chain(out.events.iter().filter_map(|(_, event)| Some(event.detail.as_ref()?.expose().to_string())))
        .collect();
    let said: Vec<(Role, String)> = out
        .questions
        .iter()
        .flat_map(|question| &question.request.messages)
        .map(|message| (message.role, message.content.expose().clone()))
        .collect();
    assert!(!said.is_empty(), "the model was asked: {}", out.story());
    for form in FORMS {
        assert_eq!(kept.iter().find(|text| text.contains(form)), None, "{}", out.story());
        assert_eq!(said.iter().find(|(_, text)| text.contains(form)), None, "{}", out.story());
    }
    assert!(kept.iter().any(|text| text == "[withheld]"), "{kept:?}");
    assert!(kept.iter().any(|text| text == "what time do you open"), "later words are kept: {kept:?}");
    let asked = (Role::User, "what time do you open".to_owned());
    assert!(said.contains(&asked), "{said:?}");
}
