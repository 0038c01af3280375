//! Which flow answers which number. Everything is read and checked before the first call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::announcement::Announcement;
use super::flow::{Assets, Flow};
use super::yaml::{self, At, FlowError, MAX_BYTES};

/// All flows of this server and the numbers they answer.
#[derive(Clone, Debug)]
pub struct Catalogue {
    flows: BTreeMap<Arc<str>, Arc<Flow>>,
    numbers: BTreeMap<String, Line>,
    /// Longest first.
    prefixes: Vec<(String, Line)>,
    default: Line,
}

/// What a called number leads to.
#[derive(Clone, Debug)]
struct Line {
    flow: Arc<Flow>,
    early: Option<Announcement>,
}

impl Catalogue {
    /// Reads `dir/lines`, `dir/flows`, `dir/prompts` and `dir/sounds`; without `dir/lines` and `dir/flows` the flows
    /// that come with the program are taken.
    ///
    /// # Errors
    /// The first thing that is wrong in any file: `file:line: key: expected what`.
    pub fn load(dir: &Path) -> Result<Self, FlowError> {
        let (lines, flows) = (dir.join("lines"), dir.join("flows"));
        match (lines.is_dir(), flows.is_dir()) {
            (false, false) => Self::built_in(),
            (true, true) => {
                let assets = Files { dir };
                Self::build(&read_all(&lines)?, &read_all(&flows)?, &assets)
            }
            (false, true) => Err(At::file(&shown(&lines)).error("a directory beside `flows`")),
            (true, false) => Err(At::file(&shown(&flows)).error("a directory beside `lines`")),
        }
    }

    /// The flows and lines that come with the program.
    ///
    /// # Errors
    /// None in a program whose tests pass.
    pub fn built_in() -> Result<Self, FlowError> {
        let owned = |files: &[(&str, &str)]| -> Vec<(String, String)> {
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Self::build(&owned(&LINES), &owned(&FLOWS), &BuiltIn)
    }

    /// The flow for a called number: its own line, else the line with the longest fitting prefix, else the default.
    /// Takes numbers as they come: `1000`, `+250 788-1`, `sip:1000@host`, `tel:+250...`.
    pub fn flow_for(&self, called: &str) -> &Arc<Flow> {
        &self.line_for(called).flow
    }

    /// What callers of this number hear before the answer.
    pub fn announcement_for(&self, called: &str) -> Option<&Announcement> {
        self.line_for(called).early.as_ref()
    }

    /// All that is heard before an answer, on any line.
    pub fn announcements(&self) -> impl Iterator<Item = &Announcement> {
        let prefixes = self.prefixes.iter().map(|(_, line)| line);
        self.numbers.values().chain(prefixes).chain([&self.default]).filter_map(|line| line.early.as_ref())
    }

    /// The flow of this name.
    pub fn flow_named(&self, name: &str) -> Option<&Arc<Flow>> {
        self.flows.get(name)
    }

    /// Every flow, by name.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.flows.values()
    }

    fn line_for(&self, called: &str) -> &Line {
        let number = bare_number(called);
        if let Some(line) = self.numbers.get(&number) {
            return line;
        }
        let by_prefix = self.prefixes.iter().find(|(prefix, _)| number.starts_with(prefix.as_str()));
        by_prefix.map_or(&self.default, |(_, line)| line)
    }

    fn build(lines: &[(String, String)], flows: &[(String, String)], assets: &dyn Assets) -> Result<Self, FlowError> {
        let mut known: BTreeMap<Arc<str>, Arc<Flow>> = BTreeMap::new();
        for (file, text) in flows {
            let flow = Flow::parse(file, text, assets)?;
            let name = Arc::clone(flow.name());
            if known.insert(Arc::clone(&name), Arc::new(flow)).is_some() {
                return Err(At::file(file).child("name", 1).error(format!("a name of its own, found `{name}` again")));
            }
        }
        let mut draft = Lines::default();
        for (file, text) in lines {
            draft.read(file, text, &known, assets)?;
        }
        let missing = || At::file("lines").child("default", 1).error("one line with `default: true`, found none");
        let default = draft.default.ok_or_else(missing)?;
        draft.prefixes.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Ok(Self { flows: known, numbers: draft.numbers, prefixes: draft.prefixes, default })
    }
}

#[derive(Default)]
struct Lines {
    numbers: BTreeMap<String, Line>,
    prefixes: Vec<(String, Line)>,
    default: Option<Line>,
}

impl Lines {
    fn read(
        &mut self,
        file: &str,
        text: &str,
        flows: &BTreeMap<Arc<str>, Arc<Flow>>,
        assets: &dyn Assets,
    ) -> Result<(), FlowError> {
        let mut fields = yaml::parse(file, text)?.fields()?;
        let flow_node = fields.need("flow", "the name of a flow")?;
        let name = flow_node.text()?;
        let flow = flows.get(name).ok_or_else(|| flow_node.at.error(format!("the name of a flow, found `{name}`")))?;
        let numbers = fields.take("numbers").map_or(Ok(Vec::new()), |node| node.list())?;
        let prefixes = fields.take("prefixes").map_or(Ok(Vec::new()), |node| node.list())?;
        let default = fields.take("default");
        let early = fields.take("early").map(|node| Announcement::read(&node, flow, assets)).transpose()?;
        let line = Line { flow: Arc::clone(flow), early };
        for node in &numbers {
            let number = called_number(node)?;
            if self.numbers.insert(number, line.clone()).is_some() {
                return Err(node.at.error("a number that no other line has"));
            }
        }
        for node in &prefixes {
            let prefix = called_number(node)?;
            if self.prefixes.iter().any(|(other, _)| *other == prefix) {
                return Err(node.at.error("a prefix that no other line has"));
            }
            self.prefixes.push((prefix, line.clone()));
        }
        let is_default = default.as_ref().map_or(Ok(false), yaml::Node::truth)?;
        if let Some(node) = default.filter(|_| is_default)
            && self.default.replace(line).is_some()
        {
            return Err(node.at.error("one default line, found a second"));
        }
        if numbers.is_empty() && prefixes.is_empty() && !is_default {
            return Err(fields.at.error("`numbers`, `prefixes` or `default: true`"));
        }
        fields.finish("flow, numbers, prefixes, default, early")
    }
}

fn called_number(node: &yaml::Node) -> Result<String, FlowError> {
    let text = node.text()?;
    let number = bare_number(text);
    let sound =
        (1..=40).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_alphanumeric() || b"*#_".contains(&b));
    if sound { Ok(number) } else { Err(node.at.error(format!("a called number or name, found `{text}`"))) }
}

/// The user part without scheme, parameters, a leading plus and separators.
fn bare_number(called: &str) -> String {
    let scheme = ["sip:", "sips:", "tel:"].into_iter().find_map(|scheme| called.trim().strip_prefix(scheme));
    let user = scheme.unwrap_or(called).split(['@', ';']).next().unwrap_or_default();
    user.chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '.' | '(' | ')')).take(64).collect()
}

/// Files of a configuration directory.
struct Files<'a> {
    dir: &'a Path,
}

impl Assets for Files<'_> {
    fn prompt(&self, name: &str) -> Result<String, String> {
        let bytes = self.read("prompts", name, MAX_BYTES)?;
        String::from_utf8(bytes).map_err(|_| "a file of UTF-8 text".to_owned())
    }

    fn sound(&self, name: &str) -> Result<Vec<u8>, String> {
        self.read("sounds", name, MAX_SOUND)
    }
}

impl Files<'_> {
    fn read(&self, folder: &str, name: &str, most: usize) -> Result<Vec<u8>, String> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(sound) {
            return Err(format!("the plain name of a file in `{folder}`, found `{name}`"));
        }
        let path = self.dir.join(folder).join(name);
        let bytes =
            std::fs::read(&path).map_err(|error| format!("a readable file {}, found: {error}", shown(&path)))?;
        if bytes.len() > most { Err(format!("a file of at most {most} bytes")) } else { Ok(bytes) }
    }
}

struct BuiltIn;

impl Assets for BuiltIn {
    fn prompt(&self, name: &str) -> Result<String, String> {
        let found = PROMPTS.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| format!("a built-in prompt, found `{name}`"))
    }

    fn sound(&self, name: &str) -> Result<Vec<u8>, String> {
        Err(format!("a built-in sound, found `{name}`"))
    }
}

/// Every `*.yaml` of a directory with its text, by name.
fn read_all(dir: &Path) -> Result<Vec<(String, String)>, FlowError> {
    let unreadable =
        |path: &Path, error: &std::io::Error| At::file(&shown(path)).error(format!("to be readable: {error}"));
    let entries = std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(dir, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let length = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        if length > u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) {
            return Err(At::file(&shown(&path)).error(format!("at most {MAX_BYTES} bytes, found {length}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        files.push((shown(&path), text));
    }
    Ok(files)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

const MAX_SOUND: usize = 4_000_000;

const FLOWS: [(&str, &str); 3] = [
    ("config/flows/bench.yaml", include_str!("../../config/flows/bench.yaml")),
    ("config/flows/clinic_front_desk.yaml", include_str!("../../config/flows/clinic_front_desk.yaml")),
    ("config/flows/tutor.yaml", include_str!("../../config/flows/tutor.yaml")),
];
const LINES: [(&str, &str); 3] = [
    ("config/lines/bench.yaml", include_str!("../../config/lines/bench.yaml")),
    ("config/lines/default.yaml", include_str!("../../config/lines/default.yaml")),
    ("config/lines/tutor.yaml", include_str!("../../config/lines/tutor.yaml")),
];
const PROMPTS: [(&str, &str); 4] = [
    ("clinic_front_desk.md", include_str!("../../config/prompts/clinic_front_desk.md")),
    ("tutor_fact.md", include_str!("../../config/prompts/tutor_fact.md")),
    ("tutor_lesson.md", include_str!("../../config/prompts/tutor_lesson.md")),
    ("tutor_welcome.md", include_str!("../../config/prompts/tutor_welcome.md")),
];
