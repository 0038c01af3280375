//! Finds the layers of the configuration and merges them: defaults, file, environment file, variables, `--set`.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::tree::{MAX_YAML_BYTES, Node, Origin, Value};
use super::{Config, Misfit, production, read};

/// Where to look. [`Sources::default`] looks nowhere: built-in defaults only.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; none takes [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// Whether [`DEFAULT_FILE`] is looked for at all when `file` is none.
    pub default_file: bool,
    /// `--env`: names a file beside the main one.
    pub environment: Option<String>,
    /// The process environment; variables that are not ours are passed over.
    pub variables: Vec<(OsString, OsString)>,
    /// `--set`, each `key.path=value`, in order.
    pub sets: Vec<String>,
}

impl Sources {
    /// The process environment and the default file, as every command begins with.
    pub fn of_process(file: Option<PathBuf>, environment: Option<String>, sets: Vec<String>) -> Self {
        Self { file, default_file: true, environment, variables: std::env::vars_os().collect(), sets }
    }
}

/// A configuration that holds together, and where each of its keys was written.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    effective: Node,
}

impl Loaded {
    /// Every key with its value and origin as YAML; secrets are `***`.
    pub fn print(&self) -> String {
        let mut text = String::new();
        print_section(&self.effective, 0, &mut text);
        text
    }

    /// The error for a message that a room begins with the key it is about, as in `tts.rate: expected ..`.
    pub fn error(&self, message: &str) -> ConfigError {
        let (key, message) = message.split_once(": ").unwrap_or(("", message));
        ConfigError { origin: self.origin(key), key: key.to_owned(), message: message.to_owned() }
    }

    /// Where a dotted key was written; one inside a list that was written whole is where the list is.
    pub fn origin(&self, key: &str) -> Origin {
        origin(&self.effective, key)
    }
}

fn origin(tree: &Node, mut key: &str) -> Origin {
    loop {
        match (tree.at(key), key.rfind(['.', '['])) {
            (Some(node), _) => return node.origin.clone(),
            (None, Some(end)) => key = key.get(..end).unwrap_or_default(),
            (None, None) => return tree.origin.clone(),
        }
    }
}

/// One line: where, which key, what was expected. The command exits 2 with it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    pub origin: Origin,
    /// Dotted; empty when the whole file is at fault.
    pub key: String,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.key.as_str() {
            "" => format!("{}: {}", self.origin, self.message),
            key => format!("{}: {key}: {}", self.origin, self.message),
        };
        // Quoted keys may hold anything, but an error stays one line.
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).try_for_each(|c| f.write_char(c))
    }
}

impl std::error::Error for ConfigError {}

impl From<Misfit> for ConfigError {
    fn from(misfit: Misfit) -> Self {
        let (key, origin) = misfit.place.unwrap_or((String::new(), Origin::BuiltIn));
        Self { origin, key, message: misfit.expected }
    }
}

/// Reads and merges every layer, then checks the whole.
///
/// # Errors
/// The first thing that does not hold, with its place.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut written = Node::empty();
    if let Some(layer) = main_file(sources)? {
        written.merge(layer);
    }
    if let Some(name) = &sources.environment {
        written.merge(environment_file(sources, name)?);
    }
    variables(&sources.variables, &mut written)?;
    for set in &sources.sets {
        apply_set(set, &mut written)?;
    }
    let config: Config = read::read(&written)?;
    let mut effective = built_in()?;
    effective.merge(written);
    let loaded = Loaded { config, effective };
    loaded.config.sip.check().map_err(|message| loaded.error(&message))?;
    production::check(&loaded, sources.environment.as_deref())?;
    Ok(loaded)
}

/// Reads one file's text by itself, as [`load`] reads a layer; `name` is what errors call it.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
    Ok(read::read(&layer(name, text)?)?)
}

/// A file of another room, with where each of its keys stands.
pub struct FileOf<T> {
    pub value: T,
    tree: Node,
}

impl<T> FileOf<T> {
    /// The error for what a key of it says.
    pub fn error(&self, key: &str, message: &str) -> ConfigError {
        ConfigError { origin: origin(&self.tree, key), key: key.to_owned(), message: message.to_owned() }
    }
}

/// Reads a file of another room as strictly as the configuration; `name` is what errors call it.
///
/// # Errors
/// As [`load`].
pub fn parse_file<T: DeserializeOwned>(name: &str, text: &str) -> Result<FileOf<T>, ConfigError> {
    let tree = layer(name, text)?;
    Ok(FileOf { value: read::read(&tree)?, tree })
}

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "config/offhook.yaml";

/// Every key at its default; tests hold this file to [`Config::default`].
const BUILT_IN: &str = include_str!("../../config/offhook.yaml");

/// Names that other software uses for the same things. Set but empty counts as not set: container files often pass
/// them on that way.
const CUSTOMARY: &[(&str, &str)] = &[
    ("TWILIO_AUTH_TOKEN", "twilio.auth_token"),
    ("TWILIO_ACCOUNT_SID", "twilio.account_sid"),
    ("DEEPGRAM_API_KEY", "deepgram.api_key"),
    ("OPENAI_API_KEY", "openai.api_key"),
    ("ANTHROPIC_API_KEY", "anthropic.api_key"),
    ("ELEVENLABS_API_KEY", "elevenlabs.api_key"),
    ("AZURE_SPEECH_KEY", "azure.api_key"),
    ("AZURE_SPEECH_REGION", "azure.region"),
    ("ASR_PROVIDER", "stt.provider"),
    ("TTS_PROVIDER", "tts.provider"),
    ("TTS_VOICE", "tts.voice"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("LOG_LEVEL", "log.level"),
    ("SECRET_KEY", "http.secret_key"),
];

const PREFIX: &str = "OFFHOOK_";

fn built_in() -> Result<Node, ConfigError> {
    let mut node = layer("built-in default", BUILT_IN)?;
    forget_origins(&mut node);
    Ok(node)
}

fn forget_origins(node: &mut Node) {
    node.origin = Origin::BuiltIn;
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().for_each(|entry| forget_origins(&mut entry.node)),
        Value::Seq(items) => items.iter_mut().for_each(forget_origins),
        _ => {}
    }
}

fn layer(name: &str, text: &str) -> Result<Node, ConfigError> {
    let node = Node::parse_yaml(name, text).map_err(|(origin, message)| ConfigError {
        origin,
        key: String::new(),
        message,
    })?;
    match node.value {
        Value::Map(_) | Value::Null => Ok(node),
        _ => Err(ConfigError {
            origin: node.origin,
            key: String::new(),
            message: "expected sections such as `sip:`".to_owned(),
        }),
    }
}

fn main_file(sources: &Sources) -> Result<Option<Node>, ConfigError> {
    match &sources.file {
        Some(path) => read_file(path, "named by --config").map(Some),
        None if sources.default_file && Path::new(DEFAULT_FILE).exists() => {
            read_file(Path::new(DEFAULT_FILE), "the default file").map(Some)
        }
        None => Ok(None),
    }
}

fn environment_file(sources: &Sources, name: &str) -> Result<Node, ConfigError> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !plain {
        let message = format!("expected a name such as `production` after --env, found `{name}`");
        return Err(ConfigError { origin: Origin::BuiltIn, key: String::new(), message });
    }
    let main = sources.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    read_file(&main.with_file_name(format!("{name}.yaml")), "named by --env")
}

fn read_file(path: &Path, why: &str) -> Result<Node, ConfigError> {
    let name = path.display().to_string();
    let refuse = |message: String| ConfigError {
        origin: Origin::File { path: name.as_str().into(), line: 1 },
        key: String::new(),
        message,
    };
    let size = std::fs::metadata(path).map(|meta| meta.len());
    if size.is_ok_and(|size| size > MAX_YAML_BYTES as u64) {
        return Err(refuse(format!("larger than {MAX_YAML_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => refuse(format!("no such file ({why})")),
        ErrorKind::InvalidData => refuse("expected UTF-8 text".to_owned()),
        _ => refuse(format!("cannot be read ({error})")),
    })?;
    layer(&name, &text)
}

fn variables(variables: &[(OsString, OsString)], written: &mut Node) -> Result<(), ConfigError> {
    let mut known: Vec<(&str, &OsString)> =
        variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value))).collect();
    known.sort_unstable();
    for (name, path) in CUSTOMARY {
        if let Some((_, value)) = known.iter().find(|(known, value)| known == name && !value.is_empty()) {
            insert_variable(name, &path.split('.').collect::<Vec<_>>(), value, written)?;
        }
    }
    for (name, value) in known {
        if let Some(path) = name.strip_prefix(PREFIX) {
            let path = path.to_ascii_lowercase();
            insert_variable(name, &path.split("__").collect::<Vec<_>>(), value, written)?;
        }
    }
    Ok(())
}

fn insert_variable(name: &str, path: &[&str], value: &OsString, written: &mut Node) -> Result<(), ConfigError> {
    let origin = Origin::Variable(name.into());
    let Some(text) = value.to_str() else {
        return Err(ConfigError { origin, key: path.join("."), message: "expected UTF-8 text".to_owned() });
    };
    if path.iter().any(|key| key.is_empty()) || path.len() > MAX_DEPTH {
        let message = "expected a name such as OFFHOOK_SIP__LISTEN".to_owned();
        return Err(ConfigError { origin, key: String::new(), message });
    }
    written.insert(path, text, &origin);
    Ok(())
}

/// Longest dotted path of a variable or `--set`, in keys.
const MAX_DEPTH: usize = 16;

fn apply_set(set: &str, written: &mut Node) -> Result<(), ConfigError> {
    let refuse = |path: &str| ConfigError {
        origin: Origin::Set(path.into()),
        key: String::new(),
        message: "expected key.path=value, such as sip.listen=127.0.0.1:5070".to_owned(),
    };
    let Some((path, value)) = set.split_once('=') else {
        return Err(refuse("(no `=`)"));
    };
    let keys: Vec<&str> = path.split('.').collect();
    if keys.iter().any(|key| key.is_empty()) || keys.len() > MAX_DEPTH {
        return Err(refuse(path));
    }
    written.insert(&keys, value, &Origin::Set(path.into()));
    Ok(())
}

fn print_section(node: &Node, depth: usize, text: &mut String) {
    let Value::Map(entries) = &node.value else { return };
    let indent = "  ".repeat(depth);
    for entry in entries {
        match &entry.node.value {
            Value::Map(_) => {
                text.push_str(&format!("{indent}{}:\n", entry.key));
                print_section(&entry.node, depth + 1, text);
            }
            value => {
                let value = if is_secret(&entry.key) { masked(value) } else { printed(value) };
                text.push_str(&format!("{indent}{}: {value}  # {}\n", entry.key, entry.node.origin));
            }
        }
    }
}

/// Keys are secret by the last word of their name, and so are all URLs with a user in them.
fn is_secret(key: &str) -> bool {
    key.rsplit('_').next().is_some_and(|word| ["token", "secret", "password", "key"].contains(&word))
}

fn masked(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        _ => "***".to_owned(),
    }
}

fn printed(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        // A list or section in one piece may hold secrets of its own.
        Value::Text(text) if text.starts_with(['[', '{']) => {
            Node::parse_yaml("", text).map_or_else(|_| "***".to_owned(), |node| printed(&node.value))
        }
        Value::Str(text) | Value::Text(text) if text.contains("://") && text.contains('@') => "***".to_owned(),
        Value::Str(text) | Value::Text(text) => format!("{text:?}"),
        Value::Seq(items) => {
            format!("[{}]", items.iter().map(|item| printed(&item.value)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                let value = &entry.node.value;
                format!("{}: {}", entry.key, if is_secret(&entry.key) { masked(value) } else { printed(value) })
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_is_the_defaults_and_names_every_key() {
        let (config, absent) = read::read_noting_absent::<Config>(&built_in().unwrap()).unwrap();
        assert_eq!(absent, Vec::<String>::new(), "keys missing in config/offhook.yaml");
        assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
    }

    #[test]
    fn secrets_are_known_by_the_last_word_of_their_key() {
        assert!(["api_key", "auth_token", "secret_key", "password"].into_iter().all(is_secret));
        assert!(
            !["max_tokens", "token_limit_field", "first_token_timeout_ms", "keep_caller_numbers"]
                .into_iter()
                .any(is_secret)
        );
    }

    #[test]
    fn a_path_of_a_variable_must_name_keys() {
        for name in ["OFFHOOK_", "OFFHOOK___SIP", "OFFHOOK_SIP____LISTEN"] {
            let sources = Sources { variables: vec![(name.into(), "x".into())], ..Sources::default() };
            let line = load(&sources).unwrap_err().to_string();
            assert!(line.starts_with(&format!("environment variable {name}: ")), "{line}");
        }
    }
    proptest::proptest! {
        #[test]
        fn any_file_is_read_or_refused_in_one_line(
            text in "\\PC*|((sip|rtp|http|\"s\\\\np\"):\n?  ?(listen|ports|x|\"\\\\r\"): [0-9a-z:\\-\\[{&*!'\"]{0,9}\n){0,4}",
        ) {
            if let Err(error) = parse("a.yaml", &text) {
                proptest::prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }
}
