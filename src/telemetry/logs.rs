//! The log: one line per event on standard output, JSON in production, readable in development.
//!
//! Every line carries the `request_id` and `session_id` of its spans. Text is scrubbed, capped and freed of control
//! characters here, as the last line of defence; `Pii` is the first. A closed or full standard output costs the line,
//! never the process. Deliberately absent: files and rotation, which are the supervisor's job.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::scrub::scrub;

/// The key `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`; also `info,offhook::call=debug`.
    #[serde(deserialize_with = "known_level")]
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Pretty }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Pretty,
    Json,
}

/// Why logging could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(
        "log.level: `{level}` is none of error, warn, info, debug, trace, off, nor a list such as `info,offhook=debug`"
    )]
    Level { level: String },
    #[error("logging has begun already")]
    Twice,
}

/// Begins to log to standard output; once in a process.
///
/// # Errors
/// An unknown level, or a second call.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let filter = filter(&config.level)?;
    let lines = Lines { format: config.format, out: io::stdout };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::Twice)
}

/// Writes one line for each event.
struct Lines<W> {
    format: LogFormat,
    out: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the innermost span outwards: the nearest value of a name wins.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        let metadata = event.metadata();
        let head = Head { at: Timestamp::now(), level: *metadata.level(), target: metadata.target() };
        let line = match self.format {
            LogFormat::Json => json_line(&head, fields),
            LogFormat::Pretty => pretty_line(&head, fields),
        };
        // A reader that went away must not take the server with it.
        let _ = self.out.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// What every line begins with.
struct Head<'a> {
    at: Timestamp,
    level: Level,
    target: &'a str,
}

/// Values by name, in the order they were given.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            *known = value;
        } else if self.0.len() < MOST_FIELDS {
            self.0.push((name, value));
        }
    }

    fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if *name != MESSAGE && self.0.len() < MOST_FIELDS && !self.0.iter().any(|(known, _)| known == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no not-a-number; said as text they are not lost.
        self.set(
            field,
            serde_json::Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number),
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::from(clean(Capped::of(format_args!("{value}")))));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, Value::from(clean(Capped::of(format_args!("{value}")))));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, Value::from(clean(Capped::of(format_args!("{value:?}")))));
    }
}

/// Takes what is printed into it up to a length, so that a huge value costs little.
struct Capped(String);

impl Capped {
    fn of(text: fmt::Arguments<'_>) -> String {
        let mut capped = Self(String::new());
        // An error means that the cap was reached, or that a Display of somebody's failed: what came so far is kept.
        let _ = capped.write_fmt(text);
        capped.0
    }
}

impl fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() >= READ_UP_TO {
                return Err(fmt::Error);
            }
            self.0.push(c);
        }
        Ok(())
    }
}

/// Scrubbed, on one line, harmless to a terminal, at most 1 KiB and a mark of the cut.
fn clean(text: String) -> String {
    let cut_early = text.len() >= READ_UP_TO;
    let scrubbed = scrub(&text);
    let mut clean = String::with_capacity(scrubbed.len());
    for c in scrubbed.chars() {
        if clean.len() >= LONGEST_VALUE {
            clean.push('…');
            return clean;
        }
        if c.is_control() || is_invisible(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    if cut_early {
        clean.push('…');
    }
    clean
}

/// Characters that reorder or hide what stands around them (Unicode UAX 9, and line separators).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn json_line(head: &Head<'_>, mut fields: Fields) -> String {
    let mut line = String::with_capacity(256);
    let first = [
        ("timestamp", Value::from(head.at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())),
        ("level", Value::from(head.level.as_str())),
        ("target", Value::from(head.target)),
        (MESSAGE, fields.take(MESSAGE).unwrap_or_default()),
    ];
    line.push('{');
    for (name, value) in &first {
        push_pair(&mut line, name, value);
    }
    for name in [REQUEST_ID, SESSION_ID] {
        if let Some(value) = fields.take(name) {
            push_pair(&mut line, name, &value);
        }
    }
    for (name, value) in &fields.0 {
        // A field must not pass itself off as one of the line's own.
        let taken = first.iter().any(|(own, _)| own == name);
        if taken { push_pair(&mut line, &format!("field_{name}"), value) } else { push_pair(&mut line, name, value) }
    }
    line.push_str("}\n");
    line
}

fn push_pair(line: &mut String, name: &str, value: &Value) {
    if !line.ends_with('{') {
        line.push(',');
    }
    // Writing to a String cannot fail.
    let _ = write!(line, "{}:{value}", Value::from(name));
}

fn pretty_line(head: &Head<'_>, mut fields: Fields) -> String {
    let time = head.at.strftime("%H:%M:%S%.3f");
    let mut line = format!("{time} {:5} {}: ", head.level.as_str(), head.target);
    match fields.take(MESSAGE) {
        Some(Value::String(message)) => line.push_str(&message),
        Some(other) => line.push_str(&other.to_string()),
        None => {}
    }
    for (name, value) in &fields.0 {
        let _ = write!(line, " {name}={value}");
    }
    line.push('\n');
    line
}

/// A word that is no level would be taken for a module's name and turn logging off.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    // `LevelFilter` would do to parse it, but takes numbers and nothing at all for levels, too.
    let unknown = || LogError::Level { level: level.to_owned() };
    for part in level.split(',').map(str::trim) {
        let named = part.rsplit_once('=').map_or(part, |(_, named)| named);
        if !LEVELS.iter().any(|known| named.eq_ignore_ascii_case(known)) {
            return Err(unknown());
        }
    }
    EnvFilter::try_new(level).map_err(|_| unknown())
}

/// Refuses an unknown level where it is written.
fn known_level<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let level = String::deserialize(deserializer)?;
    let expected = "expected error, warn, info, debug, trace or off, or a list such as info,offhook=debug";
    filter(&level).map(|_| level).map_err(|_| serde::de::Error::custom(expected))
}

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];
const MESSAGE: &str = "message";
const REQUEST_ID: &str = "request_id";
const SESSION_ID: &str = "session_id";
/// Bytes of one value in a line.
const LONGEST_VALUE: usize = 1024;
/// Bytes of a value that are looked at: what is masked further on can only make it shorter.
const READ_UP_TO: usize = 4 * LONGEST_VALUE;
const MOST_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::{Span, info, info_span, subscriber, warn};

    use super::*;
    use crate::telemetry::pii::Pii;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, act: impl FnOnce()) -> String {
        let page = Page::default();
        let out = page.clone();
        let lines = Lines { format, out: move || out.clone() };
        subscriber::with_default(tracing_subscriber::registry().with(lines), act);
        let bytes = page.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn json(act: impl FnOnce()) -> Value {
        let text = logged(LogFormat::Json, act);
        assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_carries_the_ids_of_its_spans() {
        let line = json(|| {
            let request = info_span!("request", request_id = "r-1", path = "/v1/calls");
            let _outer = request.enter();
            let call = info_span!("call", session_id = tracing::field::Empty, path = "inner");
            let _inner = call.enter();
            Span::current().record("session_id", "0195d3a0-7c1e-7abc-8def-0123456789ab");
            warn!(ms = 12.5, lost = 3_u64, ok = false, odd = f64::NAN, "late");
        });
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "late");
        assert_eq!(line["request_id"], "r-1");
        assert_eq!(line["session_id"], "0195d3a0-7c1e-7abc-8def-0123456789ab");
        assert_eq!(line["path"], "inner", "the nearest wins");
        assert_eq!(
            (&line["ms"], &line["lost"], &line["ok"]),
            (&Value::from(12.5), &Value::from(3), &Value::from(false))
        );
        assert_eq!(line["odd"], "NaN");
        assert!(line["target"].as_str().unwrap().ends_with("logs::tests"));
        line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    }

    #[test]
    fn numbers_and_addresses_are_masked_wherever_they_stand() {
        let caller = Pii::new("+250788123456".to_owned());
        let act = || {
            let span = info_span!("call", who = "0788 123 456");
            let _in = span.enter();
            info!(caller = %caller, raw = "jean@example.org", debug = ?vec!["+250788123456"], "from {}", "+250788123456");
            info!(error = &io::Error::other("no route to 0788123456") as &dyn std::error::Error);
        };
        for format in [LogFormat::Json, LogFormat::Pretty] {
            let text = logged(format, act);
            for planted in ["0788", "788123456", "123 456", "jean", "example.org"] {
                assert!(!text.contains(planted), "`{planted}` in {text}");
            }
            assert!(text.contains("[pii]") && text.contains("[number]") && text.contains("[email]"), "{text}");
        }
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_is_capped() {
        let hostile = "a\n{\"level\":\"ERROR\"}\r\u{1b}[31mred\u{9b}\u{202e}\u{2028}";
        for format in [LogFormat::Json, LogFormat::Pretty] {
            let text = logged(format, || info!(value = hostile, "{hostile}"));
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control() && !is_invisible(c)), "{text:?}");
        }
        let line = json(|| info!(value = "é".repeat(100_000), level = "forged", many = ?vec![7; 100_000]));
        for name in ["value", "many"] {
            let value = line[name].as_str().unwrap();
            assert!(value.len() <= LONGEST_VALUE + 8 && value.ends_with('…'), "{} bytes", value.len());
        }
        assert_eq!((&line["level"], &line["field_level"]), (&Value::from("INFO"), &Value::from("forged")));
    }

    #[test]
    fn a_closed_output_is_no_reason_to_die() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let lines = Lines { format: LogFormat::Json, out: || Closed };
        subscriber::with_default(tracing_subscriber::registry().with(lines), || info!("nobody listens"));
    }

    #[test]
    fn a_mistyped_level_is_an_error() {
        for level in ["info", "off", "warn,offhook::call=debug", "DEBUG"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["inof", "", "1", "info,offhook", "offhook=lots", "info,"] {
            assert_eq!(filter(level).err(), Some(LogError::Level { level: level.to_owned() }));
        }
    }

    #[test]
    fn the_configuration_refuses_what_it_does_not_know() {
        let read = |text: &str| serde_json::from_str::<LogConfig>(text);
        assert_eq!(read("{}").unwrap(), LogConfig::default());
        assert_eq!(read(r#"{"format":"json"}"#).unwrap().format, LogFormat::Json);
        assert!(read(r#"{"format":"xml"}"#).is_err() && read(r#"{"colour":true}"#).is_err());
    }
}
