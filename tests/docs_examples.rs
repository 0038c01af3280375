//! Every YAML example in docs/ is read by whoever reads such files in earnest: a page that shows what is refused is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offhook::config::{Node, Sources, load};
use offhook::dialog::Flow;
use offhook::dialog::flow::Assets;
use offhook::sim::scenario::Scenario;

/// A YAML block with the place it stands at.
struct Example {
    place: String,
    text: String,
}

#[test]
fn every_example_of_the_documentation_is_accepted() {
    let sections = sections();
    let mut counts = [0; 5];
    for Example { place, text } in examples() {
        let keys = keys(&place, &text);
        let has = |key: &str| keys.contains(key);
        let kind = if keys.iter().all(|key| sections.contains(key)) {
            configuration(&place, &text);
            0
        } else if has("call") && (has("steps") || has("turn_taking")) {
            Scenario::parse(&place, &text).unwrap_or_else(|error| panic!("{place}: {error}"));
            1
        } else if has("steps") {
            flow(&place, &text);
            2
        } else if has("flow") {
            3
        } else {
            flow(&place, &around(&text, &keys));
            4
        };
        counts[kind] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "an example of each kind: {counts:?}");
}

fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    let mut found = Vec::new();
    for page in pages.into_iter().chain([root.join("README.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        let mut block: Option<Example> = None;
        for (number, line) in text.lines().enumerate() {
            match (&mut block, line.trim_start()) {
                (None, "```yaml") => {
                    let place = format!("{}:{}", page.file_name().unwrap().display(), number + 1);
                    block = Some(Example { place, text: String::new() });
                }
                (Some(_), "```") => found.extend(block.take()),
                (Some(block), _) => block.text.push_str(&format!("{line}\n")),
                (None, _) => {}
            }
        }
    }
    found
}

fn configuration(place: &str, text: &str) {
    let file = std::env::temp_dir().join(format!("offhook-example-{}.yaml", std::process::id()));
    fs::write(&file, text).unwrap();
    // Passwords come from where the comments say.
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| word.starts_with("OFFHOOK_") && word.ends_with("PASSWORD"));
    let variables = named.map(|name| (name.into(), "a password of the test".into())).collect();
    let loaded = load(&Sources { file: Some(file.clone()), variables, ..Sources::default() });
    fs::remove_file(&file).unwrap();
    if let Err(error) = loaded {
        panic!("{place}: {error}");
    }
}

fn flow(place: &str, text: &str) {
    let flow = Flow::parse(place, text, &AnyFile).unwrap_or_else(|error| panic!("{error}\n{text}"));
    if let Err(error) = Arc::new(flow).try_examples() {
        panic!("{error}\n{text}");
    }
}

/// A flow that some steps are a part of: whatever they lead to is there, and they are led to.
fn around(text: &str, own: &BTreeSet<String>) -> String {
    let mut names = BTreeSet::new();
    let said = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let words: Vec<&str> = said
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || "{},:".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    for pair in words.windows(2) {
        let leads = ["goto", "give_up", "on_busy", "on_no_answer", "on_failed", "\"0\"", "\"1\""].contains(&pair[0]);
        if leads && !["self", "hangup"].contains(&pair[1]) && !own.contains(pair[1]) {
            names.insert(pair[1]);
        }
    }
    let choices: Vec<String> =
        own.iter().enumerate().map(|(key, name)| format!("{{key: {}, goto: {name}}}", key + 1)).collect();
    let mut flow = format!(
        "name: example\nendless: true\nsteps:\n  entry: {{menu: {{prompt: Where?, choices: [{}]}}}}\n",
        choices.join(", ")
    );
    flow.extend(text.lines().map(|line| format!("  {line}\n")));
    flow.extend(names.iter().map(|name| format!("  {name}: {{say: Yes., goto: hangup}}\n")));
    flow
}

/// The sections of the configuration.
fn sections() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/offhook.yaml");
    keys("config/offhook.yaml", &fs::read_to_string(path).unwrap())
}

/// The keys at the top, after the whole was read as YAML.
fn keys(place: &str, text: &str) -> BTreeSet<String> {
    if let Err((origin, error)) = Node::parse_yaml(place, text) {
        panic!("{origin}: {error}");
    }
    let top = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    top.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

/// Files that an example names are as they should be.
struct AnyFile;

impl Assets for AnyFile {
    fn prompt(&self, _: &str) -> Result<String, String> {
        Ok("Be kind.".to_owned())
    }

    fn sound(&self, _: &str) -> Result<Vec<u8>, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human/hello.wav");
        fs::read(path).map_err(|error| error.to_string())
    }
}

/// docs/providers.md cannot say anything else than the registry's file.
#[test]
fn the_table_of_providers_is_the_registrys() {
    let entries =
        offhook::providers::registry::read("apis_database.yaml", include_str!("../config/apis_database.yaml"));
    let table = offhook::providers::registry::table::markdown(&entries.unwrap());
    let page = include_str!("../docs/providers.md");
    let (_, rest) = page.split_once("<!-- providers: table -->\n").unwrap();
    let (shown, _) = rest.split_once("<!-- providers: end -->").unwrap();
    assert_eq!(shown.trim(), table.trim(), "put in what `offhook providers table` prints");
}
