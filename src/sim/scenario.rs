//! Scenarios: what a simulated caller does and expects, and which figures must hold, as YAML.
//!
//! Parsing is strict: an unknown key, a step that cannot be meant, or a pass line without a limit is an error with
//! file, line and column. Deliberately absent: conditions and loops beyond `repeat`; a scenario is one straight path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use super::chaos::Chaos;
use super::metrics::{Limit, Metric, PassLine, Stat};
use super::turns::session::TurnTaking;

/// One scenario, ready to be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: Arc<str>,
    pub description: Arc<str>,
    /// The number that is called.
    pub called: Arc<str>,
    /// How often a mix plays this one for each time it plays one of weight 1.
    pub weight: u32,
    /// The longest a call of this scenario may take, in ms.
    pub patience_ms: u32,
    /// The vendors that it needs besides a voice.
    pub vendors: Vec<Vendor>,
    /// How long their stand-ins take, where it is not the usual.
    pub delays: Option<Delays>,
    /// Whether the server thinks of answers while callers pause.
    pub speculate: bool,
    pub steps: Arc<[Step]>,
    /// Trials of turn-taking in place of steps.
    pub turn_taking: Option<TurnTaking>,
    /// Vendors fail meanwhile, and a call may end early if it is with words.
    pub chaos: Option<Chaos>,
    pub pass: Vec<PassLine>,
    /// Where `audio:` names are looked up first: `../audio` beside the scenario's own directory.
    pub audio_dir: Option<PathBuf>,
}

impl Scenario {
    /// Parses one scenario; `file` names it in errors.
    ///
    /// # Errors
    /// `file:line:column: what is wrong`.
    pub fn parse(file: &str, yaml: &str) -> Result<Self, ScenarioError> {
        let raw: Raw = serde_saphyr::from_str(yaml).map_err(|e| ScenarioError::yaml(file, &e))?;
        let mut steps = Vec::new();
        for step in &raw.steps {
            flatten(file, step, &mut steps, 0)?;
        }
        if steps.is_empty() == raw.turn_taking.is_none() {
            let what = "steps: expected at least one step, or turn_taking in place of them";
            return Err(ScenarioError::at(file, raw.name.referenced, what));
        }
        let mut pass = Vec::new();
        for line in &raw.pass {
            pass.push(line.value.line().map_err(|what| ScenarioError::at(file, line.referenced, what))?);
        }
        if raw.call.value.is_empty()
            || !raw.call.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
        {
            return Err(ScenarioError::at(file, raw.call.referenced, "call: expected a number such as \"1000\""));
        }
        Ok(Self {
            name: raw.name.value.into(),
            description: raw.description.into(),
            called: raw.call.value.into(),
            weight: raw.weight,
            patience_ms: raw.patience_ms,
            vendors: raw.vendors,
            delays: raw.delays,
            speculate: raw.speculate,
            steps: steps.into(),
            turn_taking: raw.turn_taking,
            chaos: raw.chaos,
            pass,
            audio_dir: None,
        })
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    /// Names the file when it cannot be read, and line and column when it cannot be understood.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let yaml = std::fs::read_to_string(path).map_err(|e| ScenarioError(format!("{file}: {e}")))?;
        let mut scenario = Self::parse(&file, &yaml)?;
        scenario.audio_dir = path.parent().map(|dir| dir.join("..").join("audio"));
        Ok(scenario)
    }

    /// The names of all recordings that may be played.
    pub fn recordings(&self) -> impl Iterator<Item = &str> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Say(say) => say.audio.names(),
                _ => &[],
            })
            .map(String::as_str)
    }
}

/// A vendor that a server in this process has a stand-in for. A voice it always has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// A recogniser of speech.
    Stt,
    /// A language model.
    Llm,
}

/// How long the stand-ins for vendors take, in ms.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Delays {
    /// From the end of speech to its final words.
    pub stt_final_ms: u64,
    /// From a question to the model's first token.
    pub llm_first_token_ms: u64,
    /// From a text to the voice's first audio.
    pub tts_first_byte_ms: u64,
}

/// What a caller does next, or waits for. "The bot" is whatever is heard from the server.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Waits until the bot is heard; fails when that takes longer (from the step's beginning).
    WaitForSpeech(Within),
    /// Says a recording; the next step begins when the first sample is sent.
    Say(Say),
    /// Makes a noise that no bot should stop for; the next step begins when it begins.
    NoiseBurst(NoiseBurst),
    /// Presses a key; the next step begins when it is pressed.
    Key(Key),
    /// The bot must fall silent within this many ms of the caller's last action (the onset of speech, the key).
    ExpectSilenceWithinMs(u32),
    /// The bot must be heard within this many ms of the caller's last action (the end of speech, the key).
    ExpectSpeech(ExpectSpeech),
    /// The bot must be heard without a break for this many ms from the caller's last action.
    ExpectStillSpeaking(StillSpeaking),
    /// Listens until the bot has finished.
    HearToEnd(HearToEnd),
    /// Does nothing for this many ms.
    PauseMs(u32),
    /// The bot must hang up within this many ms of the step's beginning.
    ExpectHangUpWithinMs(u32),
    /// Hangs up.
    HangUp,
}

impl Step {
    /// The step's name as a scenario spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WaitForSpeech(_) => "wait_for_speech",
            Self::Say(_) => "say",
            Self::NoiseBurst(_) => "noise_burst",
            Self::Key(_) => "key",
            Self::ExpectSilenceWithinMs(_) => "expect_silence_within_ms",
            Self::ExpectSpeech(_) => "expect_speech",
            Self::ExpectStillSpeaking(_) => "expect_still_speaking",
            Self::HearToEnd(_) => "hear_to_end",
            Self::PauseMs(_) => "pause_ms",
            Self::ExpectHangUpWithinMs(_) => "expect_hang_up_within_ms",
            Self::HangUp => "hang_up",
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Within {
    pub within_ms: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// A recording's name, or several of which the seed picks one.
    pub audio: Audio,
    #[serde(default)]
    pub at: When,
    /// Active speech level; as recorded when absent.
    #[serde(default)]
    pub level_dbfs: Option<f64>,
}

/// When an action begins; at once when all is absent.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Not before the bot's present speech has lasted this long.
    #[serde(default)]
    pub after_speech_ms: Option<u32>,
    /// Not before this long after the step's beginning.
    #[serde(default)]
    pub after_ms: Option<u32>,
    /// Up to this much later, as the seed has it, so that calls don't act in step.
    #[serde(default)]
    pub spread_ms: u32,
}

/// One name or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio(Vec<String>);

impl Audio {
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Audio {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Audio;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a recording such as human/hello.wav, or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Audio, E> {
                Ok(Audio(vec![name.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Audio, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Audio(names))
            }
        }
        d.deserialize_any(Names)
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NoiseBurst {
    pub kind: Noise,
    /// How long it lasts.
    pub ms: u32,
    /// RMS level.
    pub level_dbfs: f64,
    #[serde(default)]
    pub at: When,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    White,
}

/// `0`-`9`, `*`, `#`, `A`-`D`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Key(char);

impl Key {
    pub const fn symbol(self) -> char {
        self.0
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut symbols = text.chars();
        match (symbols.next(), symbols.next()) {
            (Some(c @ ('0'..='9' | '*' | '#' | 'A'..='D')), None) => Ok(Self(c)),
            _ => Err(format!("key `{text}`: expected one of 0-9 * # A-D")),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExpectSpeech {
    pub within_ms: u32,
    /// What of the gap is by design: endpoint silence plus the delays of the vendor stand-ins. With it the rest is
    /// measured as `response_overhead_ms`.
    #[serde(default)]
    pub known_delay_ms: Option<u32>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StillSpeaking {
    pub for_ms: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HearToEnd {
    /// The bot must have finished this long after the step's beginning.
    pub within_ms: u32,
    /// The bot must have been heard for at least this long.
    #[serde(default)]
    pub at_least_ms: u32,
    /// Silence that counts as the end.
    #[serde(default = "end_silence")]
    pub silence_ms: u32,
}

/// Why a scenario is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl ScenarioError {
    fn at(file: &str, location: Location, what: impl fmt::Display) -> Self {
        Self(format!("{file}:{}:{}: {what}", location.line(), location.column()))
    }

    fn yaml(file: &str, error: &serde_saphyr::Error) -> Self {
        let what = error.without_snippet().to_string();
        match error.location() {
            Some(location) => Self::at(file, location, what),
            None => Self(format!("{file}: {what}")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    call: Spanned<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default = "two_minutes")]
    patience_ms: u32,
    #[serde(default)]
    vendors: Vec<Vendor>,
    delays: Option<Delays>,
    #[serde(default = "yes")]
    speculate: bool,
    #[serde(default)]
    steps: Vec<Spanned<RawStep>>,
    turn_taking: Option<TurnTaking>,
    chaos: Option<Chaos>,
    #[serde(default)]
    pass: Vec<Spanned<RawPass>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawStep {
    WaitForSpeech(Within),
    Say(Say),
    NoiseBurst(NoiseBurst),
    Key(Key),
    ExpectSilenceWithinMs(u32),
    ExpectSpeech(ExpectSpeech),
    ExpectSpeechWithinMs(u32),
    ExpectStillSpeaking(StillSpeaking),
    HearToEnd(HearToEnd),
    PauseMs(u32),
    ExpectHangUpWithinMs(u32),
    HangUp,
    Repeat(Repeat),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    times: u32,
    steps: Vec<Spanned<RawStep>>,
}

/// `{metric: barge_in_ms, p50: 200, p95: 250}`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawPass {
    metric: Metric,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl RawPass {
    fn line(&self) -> Result<PassLine, &'static str> {
        let given = [(Stat::P50, self.p50), (Stat::P95, self.p95), (Stat::P99, self.p99), (Stat::Max, self.max)];
        let limits: Vec<Limit> =
            given.iter().filter_map(|&(stat, at_most)| Some(Limit { stat, at_most: at_most? })).collect();
        if limits.is_empty() {
            return Err("pass: expected at least one of p50, p95, p99, max");
        }
        Ok(PassLine { metric: self.metric, limits })
    }
}

fn flatten(file: &str, step: &Spanned<RawStep>, into: &mut Vec<Step>, depth: u32) -> Result<(), ScenarioError> {
    let bad = |what: String| Err(ScenarioError::at(file, step.referenced, what));
    if into.len() >= MOST_STEPS {
        return bad(format!("steps: more than {MOST_STEPS}"));
    }
    let plain = match &step.value {
        RawStep::Repeat(_) if depth > 0 => return bad("repeat: cannot be inside repeat".into()),
        RawStep::Repeat(repeat) => {
            for _ in 0..repeat.times {
                for inner in &repeat.steps {
                    flatten(file, inner, into, depth + 1)?;
                }
            }
            return Ok(());
        }
        RawStep::WaitForSpeech(v) => Step::WaitForSpeech(v.clone()),
        RawStep::Say(v) if v.audio.names().is_empty() => {
            return bad("say: audio: expected at least one recording".into());
        }
        RawStep::Say(v) => Step::Say(v.clone()),
        RawStep::NoiseBurst(v) if v.ms == 0 || v.ms > 10_000 => {
            return bad("noise_burst: ms: expected 1 to 10000".into());
        }
        RawStep::NoiseBurst(v) if !(-90.0..=0.0).contains(&v.level_dbfs) => {
            return bad("noise_burst: level_dbfs: expected -90 to 0".into());
        }
        RawStep::NoiseBurst(v) => Step::NoiseBurst(v.clone()),
        RawStep::Key(v) => Step::Key(*v),
        RawStep::ExpectSilenceWithinMs(v) => Step::ExpectSilenceWithinMs(*v),
        RawStep::ExpectSpeech(v) => Step::ExpectSpeech(v.clone()),
        RawStep::ExpectSpeechWithinMs(v) => Step::ExpectSpeech(ExpectSpeech { within_ms: *v, known_delay_ms: None }),
        RawStep::ExpectStillSpeaking(v) => Step::ExpectStillSpeaking(v.clone()),
        RawStep::HearToEnd(v) if v.silence_ms == 0 => return bad("hear_to_end: silence_ms: expected at least 1".into()),
        RawStep::HearToEnd(v) => Step::HearToEnd(v.clone()),
        RawStep::PauseMs(v) => Step::PauseMs(*v),
        RawStep::ExpectHangUpWithinMs(v) => Step::ExpectHangUpWithinMs(*v),
        RawStep::HangUp => Step::HangUp,
    };
    into.push(plain);
    Ok(())
}

const MOST_STEPS: usize = 1000;

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

const fn two_minutes() -> u32 {
    120_000
}

const fn end_silence() -> u32 {
    700
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name: barge-in
call: "1000"
steps:
  - wait_for_speech: { within_ms: 2000 }
  - repeat:
      times: 2
      steps:
        - say: { audio: [human/hello.wav, human/one.wav], at: { after_speech_ms: 1500, spread_ms: 400 } }
        - expect_silence_within_ms: 500
        - expect_speech: { within_ms: 900, known_delay_ms: 200 }
  - noise_burst: { kind: white, ms: 120, level_dbfs: -20 }
  - key: "*"
  - hang_up
pass:
  - { metric: barge_in_ms, p50: 200, p95: 250 }
"#;

    fn refused(yaml: &str) -> String {
        Scenario::parse("s.yaml", yaml).unwrap_err().to_string()
    }

    #[test]
    fn reads_steps_and_unrolls_repeats() {
        let scenario = Scenario::parse("s.yaml", WHOLE).unwrap();
        let names: Vec<_> = scenario.steps.iter().map(Step::name).collect();
        assert_eq!(
            names,
            [
                "wait_for_speech",
                "say",
                "expect_silence_within_ms",
                "expect_speech",
                "say",
                "expect_silence_within_ms",
                "expect_speech",
                "noise_burst",
                "key",
                "hang_up"
            ]
        );
        assert_eq!(scenario.recordings().count(), 4);
        assert_eq!(scenario.pass[0].limits[1], Limit { stat: Stat::P95, at_most: 250.0 });
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = refused(&WHOLE.replace("within_ms: 2000", "withn_ms: 2000"));
        assert!(unknown.starts_with("s.yaml:5:") && unknown.contains("withn_ms"), "{unknown}");
        let step = refused(&WHOLE.replace("hang_up", "hang_upp"));
        assert!(step.starts_with("s.yaml:14:") && step.contains("hang_upp"), "{step}");
        let metric = refused(&WHOLE.replace("barge_in_ms", "bargein"));
        assert!(metric.starts_with("s.yaml:16:") && metric.contains("bargein"), "{metric}");
        let key = refused(&WHOLE.replace("\"*\"", "\"12\""));
        assert!(key.starts_with("s.yaml:13:") && key.contains("0-9 * # A-D"), "{key}");
        let top = refused(&WHOLE.replace("steps:\n  - wait", "stps:\n  - wait"));
        assert!(top.contains("stps"), "{top}");
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        assert!(
            refused(&WHOLE.replace(", p50: 200, p95: 250", "")).contains("s.yaml:16:5: pass: expected at least one")
        );
        assert!(refused(&WHOLE.replace("ms: 120", "ms: 0")).starts_with("s.yaml:12:"));
        assert!(refused(&WHOLE.replace("\"1000\"", "\"a b\"")).contains("call: expected a number"));
        assert!(refused("name: x\ncall: \"1\"\nsteps: []\n").contains("at least one step"));
    }

    #[test]
    fn all_shipped_scenarios_parse() {
        for (name, yaml) in crate::sim::shipped::SCENARIOS.iter().chain(crate::sim::shipped::BY_NAME) {
            let scenario = Scenario::parse(name, yaml).unwrap();
            assert!(!scenario.pass.is_empty(), "{name} checks nothing");
            for audio in scenario.recordings() {
                assert!(crate::sim::shipped::recording(audio).is_some(), "{name}: no recording {audio}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = Scenario::parse("s", &text);
            let _ = Scenario::parse("s", &format!("name: x\ncall: \"1\"\nsteps:\n  - {text}\n"));
        }
    }
}
