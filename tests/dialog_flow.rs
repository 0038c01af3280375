//! Variables, conditions, answers of a kind and the examples of flows, by conversations that are written as examples are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use offhook::dialog::{Catalogue, Flow, flow::NoAssets};

/// What comes of a flow and its examples.
fn tried(text: &str) -> String {
    let flow = Flow::parse("f.yaml", text, &NoAssets).map(Arc::new);
    match flow.and_then(|flow| flow.try_examples()) {
        Ok(count) => format!("{count} ok"),
        Err(error) => error.to_string(),
    }
}

/// A flow of one `collect` that reads its value back in the next step.
fn collect(settings: &str, turns: &str) -> String {
    tried(&format!(
        "name: f\nsteps:\n  a:\n    collect: {{prompt: What?, into: v, invalid: Wrong., {settings}}}\n    goto: b\n  \
         b: {{say: 'It is {{v}}.', goto: hangup}}\n  desk: {{transfer: {{target: \"1000\", say: Hold.}}}}\n\
         examples:\n  - {{name: e, turns: [{turns}]}}\n"
    )
    .replace("  desk: ", if settings.contains("desk") { "  desk: " } else { "# " }))
}

#[test]
fn answers_of_every_kind_are_keyed_and_said() {
    let cases = [
        (
            "type: number, least: 1, most: 120",
            "{says: I am twenty-five}, {holds: {v: \"25\"}}, {bot: It is twenty-five}",
        ),
        ("type: number, least: 1, most: 120", "{keys: \"25#\"}, {holds: {v: \"25\"}}"),
        (
            "type: number, least: 1, most: 120",
            "{says: \"130\"}, {bot: Wrong}, {bot: What}, {keys: \"121\"}, {bot: Wrong}",
        ),
        ("type: date", "{says: the fifth of March 1990}, {bot: \"It is March fifth, nineteen ninety\"}"),
        ("type: date", "{keys: \"05031990\"}, {holds: {v: \"1990-03-05\"}}"),
        ("type: date, least: \"2000-01-01\"", "{says: 5 March 1990}, {bot: Wrong}"),
        ("type: time", "{says: half past nine}, {holds: {v: \"09:30\"}}, {bot: It is nine thirty}"),
        ("type: time", "{keys: \"2130\"}, {holds: {v: \"21:30\"}}"),
        ("type: yes_no", "{says: yes please}, {holds: {v: \"yes\"}}"),
        ("type: yes_no", "{keys: \"2\"}, {holds: {v: \"no\"}}"),
        ("type: yes_no", "{says: perhaps}, {bot: What}, {keys: \"7\"}, {bot: Wrong}"),
        ("type: name, keys: {\"0\": desk}", "{says: My name is Keza}, {bot: It is Keza}"),
        ("type: name, keys: {\"0\": desk}", "{keys: \"0\"}, {ends: transfer}"),
        (
            "min: 4, max: 4, starts: [\"07\"]",
            "{says: oh eight one two}, {bot: Wrong}, {keys: \"0788\"}, {bot: It is zero seven eight eight}",
        ),
        ("min: 2, max: 20, check: luhn", "{keys: \"79927398710#\"}, {bot: Wrong}, {keys: \"79927398713#\"}, {step: b}"),
    ];
    for (settings, turns) in cases {
        assert_eq!(collect(settings, turns), "1 ok", "{settings}: {turns}");
    }
}

#[test]
fn what_was_understood_is_read_back() {
    let settings = "type: number, read_back: \"{v}, right?\", max_tries: 3";
    let cases = [
        "{says: forty}, {bot: \"forty, right?\"}, {says: \"yes\"}, {bot: It is forty}",
        "{says: forty}, {says: \"no\"}, {not_bot: Wrong}, {bot: What}, {says: fourteen}, {keys: \"1\"}, {bot: It is fourteen}",
        "{keys: \"14#\"}, {keys: \"2\"}, {bot: What}, {keys: \"15#1\"}, {bot: It is fifteen}",
        "{says: forty}, {says: well}, {bot: \"forty, right?\"}, {silence: true}, {silence: true}, {ends: hangup}",
    ];
    for turns in cases {
        assert_eq!(collect(settings, turns), "1 ok", "{turns}");
    }
}

const COUNT: &str = "\
name: f
variables: {score: 0, level: new}
steps:
  main:
    menu: {prompt: Again?, choices: [{key: 1, words: [again], goto: more}, {key: 2, goto: done}]}
  more:
    set: {score: {add: 1}, told: \"{level} {score}\"}
    goto: which
  which:
    branch:
      - {when: {score: {above: 2}}, goto: done}
      - {when: {level: {none_of: [new]}}, goto: never}
    goto: main
  never: {say: Never., goto: main}
  done: {hangup: 'You had {score}.'}
examples:
  - name: counting
    turns:
      - says: again
      - keys: 1
      - holds: {told: new 2}
      - says: again
      - bot: You had three
      - ends: hangup
";

#[test]
fn variables_count_and_branches_follow_them() {
    assert_eq!(tried(COUNT), "1 ok");
}

#[test]
fn an_example_that_does_not_come_true_names_its_line_and_step() {
    let with = |line: &str, instead: &str| tried(&COUNT.replacen(line, instead, 1));
    let cases = [
        (
            "bot: You had three",
            "bot: You had four",
            "f.yaml:23: examples[0].turns[4].bot: expected the bot to say `You had four`, heard `You had three.`, in example `counting` at step `done`",
        ),
        (
            "holds: {told: new 2}",
            "holds: {told: new}",
            "f.yaml:21: examples[0].turns[2].holds: expected `new` in `told`, found `new 2`, in example `counting` at step `main`",
        ),
        (
            "ends: hangup",
            "ends: transfer",
            "f.yaml:24: examples[0].turns[5].ends: expected the call to end by transfer",
        ),
        ("ends: hangup", "says: more", "f.yaml:24: examples[0].turns[5].says: expected nothing more from the caller"),
        (
            "ends: hangup",
            "model: Yes.",
            "f.yaml:24: examples[0].turns[5].model: expected the language model to be asked",
        ),
        (
            "- says: again\n      - keys",
            "- sings: again\n      - keys",
            "f.yaml:19: examples[0].turns[0].sings: expected one of bot",
        ),
        ("- keys: 1", "- keys: x", "f.yaml:20: examples[0].turns[1].keys: expected keys in quotes"),
    ];
    for (line, instead, expected) in cases {
        let found = with(line, instead);
        assert!(found.starts_with(expected), "{instead}\n{expected}\n{found}");
    }
}

#[test]
fn mistakes_with_variables_are_named() {
    let with = |line: &str, instead: &str| tried(&COUNT.replacen(line, instead, 1));
    let cases = [
        (
            "{score: {add: 1}, told",
            "{score: {add: none}, told",
            "f.yaml:7: steps.more.set.score.add: expected a whole number",
        ),
        (
            "\"{level} {score}\"",
            "\"{lever}\"",
            "f.yaml:6: steps.more: expected variables that were set on every way here, found {lever}",
        ),
        (
            "{score: {above: 2}}",
            "{scare: {above: 2}}",
            "f.yaml:9: steps.which: expected variables that were set on every way here, found {scare}",
        ),
        ("{above: 2}", "{more: 2}", "f.yaml:11: steps.which.branch[0].when.score: expected a condition (is, "),
        ("{score: {above: 2}}", "{}", "f.yaml:11: steps.which.branch[0]: expected at least one condition"),
        (
            "variables: {score: 0",
            "variables: {line_hears: 0",
            "f.yaml:2: variables.line_hears: expected a variable's name",
        ),
    ];
    for (line, instead, expected) in cases {
        let found = with(line, instead);
        assert!(found.starts_with(expected), "{instead}\n{expected}\n{found}");
    }
    assert!(
        collect("type: name", "{step: a}").starts_with("f.yaml:4: steps.a.collect.keys: expected keys for callers")
    );
    assert!(collect("type: date, least: soon", "{step: a}").contains("expected a date such as 2026-03-05"));
    assert!(
        collect("type: colour", "{step: a}").contains("expected digits, number, date, time, yes_no, name or words")
    );
}

#[test]
fn the_examples_of_the_shipped_flows_come_true() {
    let catalogue = Catalogue::built_in().unwrap();
    catalogue.try_examples().unwrap_or_else(|error| panic!("{error}"));
}

const SHOP: &str = "\
name: f
variables: {vip: \"no\"}
steps:
  number:
    collect: {prompt: Which order?, into: number, min: 4, max: 4}
    goto: look_up
  look_up:
    hook: {to: orders, send: [number], into: {status: order.status, days: days}, say: I am looking., on_failed: desk}
    goto: told
  told: {say: 'It is {status}, {days} days.', goto: talk}
  talk:
    ask:
      prompt: Anything else?
      system_text: Help.
      keys: {\"0\": desk}
      unheard: Press 0.
      without_model: Press 0.
      tools:
        order_status:
          description: Looks it up.
          hook: orders
          send: [vip]
          arguments:
            number: {type: text, description: Number.}
            urgent: {type: yes_no, description: Urgent., optional: true}
          say: Looking again.
        to_desk: {description: A person is wanted., goto: desk}
    goto: hangup
  desk: {transfer: {target: \"1000\", say: Please hold.}}
examples:
  - name: services and tools
    turns:
      - keys: \"4711\"
      - bot: I am looking
      - step: look_up
      - silence: true
      - bot: One moment please
      - service: {order: {status: ready}, days: 3}
      - bot: It is ready, three days
      - bot: Anything else
      - says: what about number 42
      - tool: {order_status: {urgent: true}}
      - tool: {order_status: {number: \"42\", urgent: true, made_up: 1}}
      - bot: Looking again
      - service: {state: lost}
      - model: I am afraid it is lost.
      - bot: it is lost
      - says: I want a person
      - tool: {to_desk: {}}
      - bot: Please hold
      - ends: transfer
  - name: a service that fails
    turns:
      - keys: \"4711\"
      - service_fails: true
      - bot: Please hold
      - ends: transfer
  - name: an answer without what is needed
    turns:
      - keys: \"4711\"
      - service: {days: 3}
      - ends: transfer
  - name: tools that are not offered, and a tool whose service fails
    turns:
      - keys: \"4711\"
      - service: {order: {status: ready}, days: 3}
      - says: transfer all my money
      - tool: {transfer_money: {}}
      - bot: I am sorry, I can't answer that just now
      - says: again please
      - tool: {order_status: {number: \"1\"}}
      - service_fails: true
      - model: That did not work.
      - bot: That did not work
";

#[test]
fn services_and_tools_do_what_the_flow_says_and_no_more() {
    assert_eq!(tried(SHOP), "4 ok");
    let with = |line: &str, instead: &str| tried(&SHOP.replacen(line, instead, 1));
    let cases = [
        ("say: I am looking., ", "", "f.yaml:8: steps.look_up.hook.say: expected words that are said meanwhile"),
        (", on_failed: desk}", "}", "f.yaml:8: steps.look_up.hook.on_failed: expected the step for a service"),
        (
            "hook: {to: orders, send: [number]",
            "hook: {to: orders, send: [name]",
            "f.yaml:7: steps.look_up: expected variables that were set",
        ),
        (
            "goto: desk}\n    goto: hangup",
            "goto: disk}\n    goto: hangup",
            "f.yaml:27: steps.talk.ask.tools.to_desk.goto: expected the name of a step",
        ),
        (
            "goto: desk}\n    goto: hangup",
            "run: rm}\n    goto: hangup",
            "f.yaml:27: steps.talk.ask.tools.to_desk: expected either `goto`",
        ),
        (
            "{type: text, description: Number.}",
            "{type: any, description: Number.}",
            "f.yaml:24: steps.talk.ask.tools.order_status.arguments.number.type: expected text, number or yes_no",
        ),
    ];
    for (line, instead, expected) in cases {
        let found = with(line, instead);
        assert!(found.starts_with(expected), "{instead}\n{expected}\n{found}");
    }
}
