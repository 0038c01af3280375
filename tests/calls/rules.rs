//! What may interrupt is each step's own rule.

use offhook::turn::floor::Holder;

use crate::harness::{Script, at, ms, script};

fn menu(barge_in: &str) -> Script {
    let flow = format!(
        "
name: rules
steps:
  pick:
    menu:
      prompt:
        - Please listen closely since our menu has changed, and every word of this notice has to be heard.
        - Say sales or press one. Say repairs or press two.
      choices:
        - {{key: 1, words: [sales], goto: sales}}
        - {{key: 2, words: [repairs], goto: repairs}}
    barge_in: {barge_in}
    endpoint_ms: 600
  sales:
    say: Sales will call you back.
    goto: hangup
  repairs:
    say: Repairs will call you back.
    goto: hangup
"
    );
    script("rules").flow(&flow)
}

/// The menu's prompt is heard out by then.
const PROMPT_ENDS: f64 = 9.3;

#[test]
fn where_words_interrupt_a_cough_or_a_hum_does_not() {
    let call = menu("words").caller_says(at(2.0), "hello").run(at(8.0));
    call.expect_speaking(at(0.4), at(8.0));
    assert_eq!(call.counts.barge_ins, 0);
}

#[test]
fn where_words_interrupt_the_first_of_them_does() {
    let call =
        menu("words").caller_says(at(2.0), "hello").interim(at(2.5), "repairs").words(at(2.9), "repairs").run(at(5.0));
    assert!(call.falls_quiet_after(at(2.0), ms(60)) <= ms(2550), "{}", call.story());
    call.expect_floor(at(2.6), Holder::Caller).expect_steps(&["pick", "repairs"]);
    assert_eq!(call.counts.barge_ins, 1);
}

#[test]
fn where_keys_interrupt_neither_speech_nor_words_do() {
    let talk = menu("digits").caller_says(at(2.0), "hello").words(at(2.6), "repairs");
    let call = talk.run(at(8.0));
    call.expect_speaking(at(0.4), at(8.0)).expect_steps(&["pick"]);
    let call = menu("digits").key(at(2.0), '1').run(at(5.0));
    assert!(call.falls_quiet_after(at(2.0), ms(60)) <= ms(2250), "{}", call.story());
    call.expect_steps(&["pick", "sales"]);
}

#[test]
fn where_nothing_interrupts_a_key_is_used_after_the_prompt() {
    let call = menu("\"off\"").key(at(2.0), '2').run(at(14.0));
    call.expect_speaking(at(0.4), at(PROMPT_ENDS - 0.3)).expect_steps(&["pick", "repairs"]);
    assert!(call.asked_for("Repairs will").unwrap().at > at(PROMPT_ENDS - 1.0), "{}", call.story());
}

#[test]
fn speech_over_an_uninterruptible_prompt_is_answered_after_it() {
    for rule in ["\"off\"", "digits"] {
        let call = menu(rule).caller_says(at(2.0), "hello").words(at(2.8), "sales").run(at(12.0));
        call.expect_speaking(at(0.4), at(PROMPT_ENDS - 0.3)).expect_steps(&["pick", "sales"]);
        assert!(call.asked_for("did not get that").is_none(), "{rule}");
    }
}

#[test]
fn words_too_quiet_for_the_ear_are_answered_after_what_they_could_not_interrupt() {
    for barge_in in ["\"off\"", "digits"] {
        let call = menu(barge_in).words(at(3.0), "repairs").run(at(PROMPT_ENDS + 1.0));
        call.expect_speaking(at(0.4), at(8.0)).expect_steps(&["pick", "repairs"]);
    }
}
