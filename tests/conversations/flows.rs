//! The flows between which a conversation chooses: every kind of step, with short waits, under every rule of interruption.

use std::sync::Arc;

use offhook::dialog::Flow;
use offhook::dialog::flow::NoAssets;

/// One for each rule and way of handing over.
pub fn flows() -> Vec<Arc<Flow>> {
    let rules = ["speech", "speech", "words", "stop_words", "digits", "\"off\""];
    let modes = ["blind", "attended"].into_iter().cycle();
    let flow = |(barge_in, mode): (&str, &str)| {
        let yaml = FLOW.replace("BARGE_IN", barge_in).replace("MODE", mode);
        Arc::new(Flow::parse("conversation.yaml", &yaml, &NoAssets).unwrap_or_else(|error| panic!("{error}")))
    };
    rules.into_iter().zip(modes).map(flow).collect()
}

/// The longest that a step waits for a silent caller: `digit_ms`.
const FLOW: &str = "
name: conversation
defaults: {no_input_ms: 2500, max_tries: 2, barge_in: BARGE_IN}
steps:
  hello: {say: 'Good morning, this is the exchange of the northern district.', goto: pick}
  pick:
    menu:
      prompt: 'For lamps say one, for chairs say two, or ask me anything.'
      choices:
        - {key: 1, words: [one], goto: notice}
        - {key: 2, words: [two], goto: number}
        - {key: 3, words: [anything], goto: talk}
        - {key: 4, words: [person], goto: person}
        - {key: 5, words: [secret], goto: pin}
        - {key: 6, words: [news], goto: news}
      give_up: talk
  notice:
    say: 'What follows cannot be cut short, please bear with us until it has ended.'
    barge_in: \"off\"
    goto: talk
  news:
    say: ['The road to the upper valley is open again. It was closed for nine days.', 'Trains run as usual.']
    finish: true
    goto: pause
  pause: {say: 'Take a moment to think.', wait_ms: 2000, goto: jingle}
  jingle: {play: {tone: {hz: 600, ms: 900}}, goto: talk}
  number:
    collect: {prompt: 'What is the number on the label?', into: n, min: 2, max: 6, give_up: talk}
    goto: talk
  pin:
    collect: {prompt: 'Key in your secret number, please.', into: pin, min: 2, max: 4, sensitive: true, give_up: talk}
    goto: read_back
  read_back: {say: 'You have told me {pin}, thank you for that.', goto: talk}
  person:
    transfer:
      target: \"sip:desk@example.org\"
      mode: MODE
      ring_timeout_s: 12
      say: 'I am putting you through to a colleague.'
      on_failed: talk
  talk:
    ask:
      prompt: 'How can I help you today?'
      system_text: Be brief.
      keys: {\"0\": bye, \"9\": pick, \"4\": person}
      unheard: 'Press zero to leave.'
      without_model: 'Press zero to leave, nobody can answer now.'
      max_turns: 6
      give_up: bye
    goto: bye
  bye: {hangup: 'Thank you for calling and goodbye.'}
";
