//! What is wrong in a flow or line file is named by file, line and key; what is right is accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use offhook::dialog::flow::NoAssets;
use offhook::dialog::{Catalogue, Flow};
use proptest::prelude::*;

fn error(text: &str) -> String {
    match Flow::parse("f.yaml", text, &NoAssets) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A flow of which one line is replaced: the line numbers of the errors count from `name: f`.
const SOUND: &str = "\
name: f
defaults:
  endpoint_ms: 500
steps:
  hello:
    say: Hello.
    goto: main
  main:
    menu:
      prompt: Press one.
      choices:
        - key: 1
          words: [appointments]
          goto: number
        - {key: \"0\", goto: desk}
      max_tries: 2
      give_up: bye
  number:
    collect:
      prompt: Your number.
      into: number
      min: 2
      max: 4
    goto: read_back
  read_back:
    say: You keyed {number}.
    goto: more
  more:
    ask:
      prompt: Anything else?
      system_text: Be brief.
      keys: {\"0\": desk}
      unheard: Press 0.
      without_model: Press 0.
    goto: jingle
  jingle:
    play:
      tone: {hz: 440, ms: 500}
    goto: bye
  desk:
    transfer:
      target: \"+250788000000\"
      say: Please hold.
  bye:
    hangup: Goodbye.
";

fn with(line: &str, instead: &str) -> String {
    assert!(SOUND.contains(line), "{line}");
    error(&SOUND.replacen(line, instead, 1))
}

#[test]
fn the_sound_flow_is_accepted() {
    assert_eq!(error(SOUND), "accepted");
}

#[test]
fn every_mistake_is_named_by_file_line_and_key() {
    let cases = [
        ("name: f", "nome: f", "f.yaml:1: name: expected the flow's name, found nothing"),
        ("name: f", "name: F f", "f.yaml:1: name: expected a name of a-z, 0-9 and _, at most 48 long"),
        (
            "  endpoint_ms: 500",
            "  endpoint_ms: 50",
            "f.yaml:3: defaults.endpoint_ms: expected a whole number from 100 to 3000, found 50",
        ),
        (
            "  endpoint_ms: 500",
            "  endpoint_ms: fast",
            "f.yaml:3: defaults.endpoint_ms: expected a whole number from 100 to 3000, found text",
        ),
        (
            "  endpoint_ms: 500",
            "  listen: politely",
            "f.yaml:3: defaults.listen: expected open, yes_no, choice, digits, spelling or address, found `politely`",
        ),
        (
            "  endpoint_ms: 500",
            "  listen: open\n  endpoint_ms: 500",
            "f.yaml:3: defaults.listen: expected either `endpoint_ms` or `listen`",
        ),
        ("  endpoint_ms: 500", "  stop_words: stop", "f.yaml:3: defaults.stop_words: expected a list, found text"),
        (
            "  endpoint_ms: 500",
            "  backchannels: [\"!\"]",
            "f.yaml:3: defaults.backchannels[0]: expected a word or phrase",
        ),
        ("  endpoint_ms: 500", "  finish: maybe", "f.yaml:3: defaults.finish: expected true or false, found text"),
        ("  endpoint_ms: 500", "  rate: 9", "f.yaml:3: defaults.rate: expected a number from 0.5 to 2, found 9"),
        ("  endpoint_ms: 500", "  rate: .nan", "f.yaml:3: "),
        (
            "  endpoint_ms: 500",
            "  barge_in: loud",
            "f.yaml:3: defaults.barge_in: expected speech, words, stop_words, digits or off, found `loud`",
        ),
        (
            "  endpoint_ms: 500",
            "  language: english!",
            "f.yaml:3: defaults.language: expected a language tag such as en or fr-CA, found `english!`",
        ),
        ("  endpoint_ms: 500", "  language: fr", "f.yaml:1: phrases.filler: expected the words in `fr`, found nothing"),
        ("  endpoint_ms: 500", "  volume: 3", "f.yaml:3: defaults.volume: expected a known key (barge_in, "),
        ("    goto: main", "    goto: mian", "f.yaml:7: steps.hello.goto: expected the name of a step, found `mian`"),
        (
            "    goto: main\n",
            "",
            "f.yaml:5: steps.hello.goto: expected the name of a step, `self` or `hangup`, found nothing",
        ),
        ("    say: Hello.", "    say: 7", "f.yaml:6: steps.hello.say: expected text in quotes, found a number"),
        ("    say: Hello.", "    say: []", "f.yaml:6: steps.hello.say: expected words to say, found none"),
        (
            "    say: Hello.",
            "    say: You {are",
            "f.yaml:6: steps.hello.say: expected variables as {name}, found a brace that is none",
        ),
        (
            "    say: Hello.",
            "    say: \"{number} is yours.\"",
            "f.yaml:5: steps.hello: expected variables that were set on every way here, found {number}",
        ),
        ("    say: Hello.", "    sey: Hello.", "f.yaml:6: steps.hello.sey: expected a known key (say, menu, "),
        (
            "    say: Hello.",
            "    say: Hello.\n    hangup: Bye.",
            "f.yaml:7: steps.hello.hangup: expected one kind of step, found say, hangup, goto",
        ),
        (
            "    say: Hello.",
            "    say: Hello.\n    say: Again.",
            "f.yaml:7: say: expected one value, found the key twice",
        ),
        ("    goto: bye", "    goto: self", "f.yaml:36: steps.jingle: expected a way to the end"),
        (
            "        - key: 1",
            "        - key: 12",
            "f.yaml:12: steps.main.menu.choices[0].key: expected one key: 0 to 9",
        ),
        (
            "        - key: 1\n          words",
            "        - words",
            "f.yaml:12: steps.main.menu.choices[0].key: expected the key that serves callers who cannot speak, found nothing",
        ),
        (
            "{key: \"0\", goto: desk}",
            "{key: 1, goto: desk}",
            "f.yaml:15: steps.main.menu.choices[1]: expected a key of its own, found `1` again",
        ),
        (
            "{key: \"0\", goto: desk}",
            "{key: \"0\", words: [Appointments!], goto: desk}",
            "f.yaml:15: steps.main.menu.choices[1]: expected words of its own, found `appointments` again",
        ),
        (
            "          words: [appointments]",
            "          words: [5]",
            "f.yaml:13: steps.main.menu.choices[0].words[0]: expected text in quotes, found a number",
        ),
        (
            "      max_tries: 2",
            "      max_tries: 0",
            "f.yaml:16: steps.main.menu.max_tries: expected a whole number from 1 to 10, found 0",
        ),
        ("      max_tries: 2", "\tmax_tries: 2", "f.yaml:16: (file): expected YAML: "),
        (
            "      give_up: bye",
            "      give_up: main",
            "f.yaml:8: steps.main: expected a way to the end for a caller who says nothing",
        ),
        (
            "      into: number",
            "      into: other",
            "f.yaml:25: steps.read_back: expected variables that were set on every way here",
        ),
        (
            "      max: 4",
            "      max: 1",
            "f.yaml:23: steps.number.collect.max: expected a whole number from 2 to 32, found 1",
        ),
        (
            "      max: 4",
            "      max: 4\n      terminator: x",
            "f.yaml:24: steps.number.collect.terminator: expected one key",
        ),
        ("      keys: {\"0\": desk}", "      keys: {}", "f.yaml:32: steps.more.ask.keys: expected at least one key"),
        (
            "      keys: {\"0\": desk}\n",
            "",
            "f.yaml:29: steps.more.ask.keys: expected keys for callers who cannot be understood, found nothing",
        ),
        (
            "      unheard: Press 0.\n",
            "",
            "f.yaml:29: steps.more.ask.unheard: expected words for a line that cannot hear words, found nothing",
        ),
        ("      system_text: Be brief.", "      system: x.md", "f.yaml:31: steps.more.ask.system: expected no files"),
        ("      system_text: Be brief.\n", "", "f.yaml:29: steps.more.ask: expected either `system`"),
        ("hz: 440", "hz: 9000", "f.yaml:38: steps.jingle.play.tone.hz: expected a number from 100 to 3400, found 9000"),
        (
            "      target: \"+250788000000\"",
            "      target: nobody",
            "f.yaml:42: steps.desk.transfer.target: expected a number such as",
        ),
        (
            "  bye:\n",
            "  alone: {hangup: Bye.}\n  bye:\n",
            "f.yaml:44: steps.alone: expected a step that some other step leads to",
        ),
        ("  bye:\n", "  Bye now:\n", "f.yaml:44: steps.Bye now: expected a step name of a-z, 0-9 and _"),
        (
            "    hangup: Goodbye.",
            "    hangup: Goodbye.\n    barge_in: 3",
            "f.yaml:46: steps.bye.barge_in: expected text in quotes, found a number",
        ),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(line, instead, expected)| {
            let found = with(line, instead);
            (!found.starts_with(expected)).then(|| format!("{instead:?}\n  expected {expected}\n  found    {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_endless_flow_needs_a_pause_in_its_loop() {
    let flow = |wait: &str| format!("name: f\nendless: true\nsteps:\n  a:\n    say: Hi.\n    goto: self\n{wait}");
    assert!(error(&flow("")).starts_with("f.yaml:4: steps.a: expected a `wait_ms` in a loop"), "{}", error(&flow("")));
    assert_eq!(error(&flow("    wait_ms: 1000\n")), "accepted");
}

#[test]
fn prompts_are_bounded() {
    let flow = |words: &str| format!("name: f\nsteps:\n  a:\n    hangup: {words}\n");
    assert!(error(&flow(&"word ".repeat(900))).contains("and 4000 characters"));
    assert!(error(&flow(&"Word. ".repeat(60))).starts_with("f.yaml:4: steps.a.hangup: expected at most 40 sentences"));
}

#[test]
fn sound_is_bounded() {
    let steps = |count: usize| -> String {
        let step = |n: usize| {
            let next = if n + 1 == count { "hangup".to_owned() } else { format!("s{}", n + 1) };
            format!("  s{n}: {{play: {{tone: {{hz: 440, ms: 60000}}}}, goto: {next}}}\n")
        };
        format!("name: f\nsteps:\n{}", (0..count).map(step).collect::<String>())
    };
    assert_eq!(error(&steps(10)), "accepted");
    assert_eq!(error(&steps(11)), "f.yaml:13: steps.s10: expected at most 600 s of sound in a flow");
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("offhook-dialog-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn error(&self) -> String {
        let error = Catalogue::load(&self.0).err().map_or_else(|| "accepted".to_owned(), |e| e.to_string());
        error.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TINY: &str = "name: tiny\nsteps:\n  a:\n    hangup: Bye.\n";

#[test]
fn lines_choose_the_flow_by_number_prefix_and_default() {
    let dir = Dir::new("lines");
    dir.file("flows/tiny.yaml", TINY)
        .file("flows/other.yaml", TINY.replace("tiny", "other"))
        .file("flows/third.yaml", TINY.replace("tiny", "third"))
        .file("lines/default.yaml", "default: true\nflow: tiny\n")
        .file("lines/numbers.yaml", "numbers: [\"1000\", \"+250 788-1\"]\nflow: other\n")
        .file("lines/prefixes.yaml", "prefixes: [\"+250\", \"2507\"]\nflow: third\n");
    let catalogue = Catalogue::load(&dir.0).unwrap();
    let flow = |called: &str| catalogue.flow_for(called).name().to_string();
    assert_eq!(flow("1000"), "other");
    assert_eq!(flow("sip:1000@127.0.0.1:5060;transport=udp"), "other");
    assert_eq!(flow("tel:+2507881"), "other");
    assert_eq!(flow("+250 999"), "third");
    assert_eq!(flow("10001"), "tiny");
    assert_eq!(flow(""), "tiny");
}

#[test]
fn mistakes_in_lines_are_named() {
    let with_line = |name: &str, text: &str| {
        let dir = Dir::new(name);
        dir.file("flows/tiny.yaml", TINY).file("lines/a.yaml", "default: true\nflow: tiny\nnumbers: [\"1\"]\n");
        dir.file("lines/b.yaml", text).error()
    };
    assert_eq!(with_line("l1", "flow: tny\n"), "lines/b.yaml:1: flow: expected the name of a flow, found `tny`");
    assert_eq!(
        with_line("l2", "flow: tiny\ndefault: true\n"),
        "lines/b.yaml:2: default: expected one default line, found a second"
    );
    assert_eq!(
        with_line("l3", "flow: tiny\nnumbers: [\"1\"]\n"),
        "lines/b.yaml:2: numbers[0]: expected a number that no other line has"
    );
    assert_eq!(
        with_line("l4", "flow: tiny\nnumbers: [1000]\n"),
        "lines/b.yaml:2: numbers[0]: expected text in quotes, found a number"
    );
    assert!(with_line("l5", "flow: tiny\n").starts_with("lines/b.yaml:1: (file): expected `numbers`"));
    assert!(
        with_line("l6", "flow: tiny\nnumber: \"5\"\nnumbers: [\"7\"]\n")
            .starts_with("lines/b.yaml:2: number: expected a known key")
    );
    let dir = Dir::new("l7");
    dir.file("flows/tiny.yaml", TINY).file("lines/a.yaml", "flow: tiny\nnumbers: [\"1\"]\n");
    assert_eq!(dir.error(), "lines:1: default: expected one line with `default: true`, found none");
    let dir = Dir::new("l8");
    assert_eq!(dir.file("flows/tiny.yaml", TINY).error(), "lines:1: (file): expected a directory beside `flows`");
    let dir = Dir::new("l9");
    dir.file("flows/a.yaml", TINY).file("flows/b.yaml", TINY).file("lines/a.yaml", "flow: tiny\ndefault: true\n");
    assert_eq!(dir.error(), "flows/b.yaml:1: name: expected a name of its own, found `tiny` again");
}

#[test]
fn sounds_and_prompts_are_read_and_checked_at_load() {
    let sound = |name: &str, wav: &[u8], file: &str| {
        let dir = Dir::new(name);
        dir.file("sounds/x.wav", wav).file("lines/a.yaml", "flow: f\ndefault: true\n");
        let flow =
            format!("name: f\nsteps:\n  a:\n    play:\n      file: {file}\n      words: Ding.\n    goto: hangup\n");
        dir.file("flows/f.yaml", flow).error()
    };
    let mut wav =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0".to_vec();
    wav.extend([1, 0, 2, 0]);
    assert_eq!(sound("s1", &wav, "x.wav"), "accepted");
    assert_eq!(sound("s2", b"MP3", "x.wav"), "flows/f.yaml:5: steps.a.play.file: expected a RIFF WAVE file");
    wav[24] = 0;
    assert!(sound("s3", &wav, "x.wav").contains("expected PCM, mono, 8000 Hz, 16 bits, found format 1, 1 channels"));
    assert!(sound("s4", &wav, "../lines/a.yaml").contains("expected the plain name of a file in `sounds`"));
    assert!(sound("s5", &wav, "y.wav").contains("expected a readable file sounds/y.wav, found: "));
}

#[test]
fn the_language_is_documented() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flows.md")).unwrap();
    let first = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(error(first), "accepted");
    let keys = "name start endless defaults phrases steps barge_in endpoint_ms language voice rate temperature no_input_ms \
                max_tries filler canned no_input no_match unheard goodbye say play menu ask collect transfer hangup goto \
                wait_ms file tone words hz ms dbfs prompt choices key give_up into min max terminator digit_ms invalid \
                system system_text max_turns max_tokens keys done_words without_model target to mode ring_timeout_s announce on_busy \
                set branch when is is_not one_of none_of at_least at_most above below add variables hints type starts check \
                least most read_back examples line with turns bot not_bot says silence model model_fails step holds ends \
                on_no_answer on_failed inputs busy no_answer not_reached flow numbers prefixes default";
    let missing: Vec<&str> = keys
        .split_whitespace()
        .filter(|key| !guide.contains(&format!("`{key}`")) && !guide.contains(&format!("{key}:")))
        .collect();
    assert!(missing.is_empty(), "not in docs/flows.md: {missing:?}");
}

#[test]
fn the_shipped_files_are_the_built_in_ones() {
    let shipped = Catalogue::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap();
    let built_in = Catalogue::load(Path::new("/nonexistent/config")).unwrap();
    let names = |catalogue: &Catalogue| catalogue.flows().map(|flow| flow.name().to_string()).collect::<Vec<_>>();
    assert_eq!(names(&shipped), names(&built_in));
    for catalogue in [shipped, built_in] {
        assert_eq!(&**catalogue.flow_for("1000").name(), "bench");
        assert_eq!(&**catalogue.flow_for("0788").name(), "clinic_front_desk");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_flow_or_an_error_with_a_place(text in "\\PC{0,200}") {
        let found = error(&text);
        prop_assert!(found == "accepted" || found.starts_with("f.yaml:"), "{}", found);
    }

    #[test]
    fn any_damage_to_a_flow_is_survived(at in 0_usize..SOUND.len(), with in "[a-z0-9:\\[\\]{}\"\t\n*&!|> -]{0,6}", drop in 0_usize..20) {
        let mut text = SOUND.to_owned();
        let end = (at + drop).min(text.len());
        text.replace_range(at..end, &with);
        let found = error(&text);
        prop_assert!(found == "accepted" || found.starts_with("f.yaml:"), "{}", found);
    }
}
