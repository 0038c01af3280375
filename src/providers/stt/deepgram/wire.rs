//! Deepgram's messages as they are on the wire, read into closed types. Messages of a type unknown here are passed
//! over, since the vendor adds types; a known type with wrong content is an error.

use std::time::Duration;

use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use super::{Protocol, ProviderError, Settings, VENDOR};
use crate::providers::Language;

/// What the vendor said.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Results(Results),
    /// No word for the configured time.
    UtteranceEnd,
    /// Where a turn is (Flux).
    Turn(TurnInfo),
    /// The vendor gives up this connection, with its code for why (Flux).
    Error(String),
    /// All audio is worked off; the last message of a closed session.
    Metadata,
    /// Nothing that matters here; still a sign of life.
    Other,
}

/// A stretch of audio and its words; times count from the first audio of this connection.
#[derive(Debug, PartialEq)]
pub(super) struct Results {
    pub start: Duration,
    pub end: Duration,
    pub is_final: bool,
    /// The vendor's endpointing found the end of speech here.
    pub speech_final: bool,
    pub transcript: String,
    pub confidence: f32,
    pub words: Vec<Word>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Word {
    pub text: String,
    pub start: Duration,
    pub end: Duration,
}

/// A turn as far as it goes; times count from the first audio of this connection.
#[derive(Debug, PartialEq)]
pub(super) struct TurnInfo {
    pub event: TurnEvent,
    pub window_start: Duration,
    pub window_end: Duration,
    /// All words of the turn.
    pub transcript: String,
    /// Of the least certain word; 0 without words.
    pub confidence: f32,
    /// Start of the first word and end of the last one, where the vendor tells.
    pub first_word: Option<Duration>,
    pub last_word: Option<Duration>,
}

/// What has become of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum TurnEvent {
    Update,
    StartOfTurn,
    EagerEndOfTurn,
    TurnResumed,
    EndOfTurn,
}

impl Message {
    /// # Errors
    /// Says where the JSON is wrong, or which time or confidence is; never quotes it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind: Kind = read(text)?;
        Ok(match kind.kind.as_str() {
            "Results" => Self::Results(results(read(text)?)?),
            "UtteranceEnd" => Self::UtteranceEnd,
            "TurnInfo" => Self::Turn(turn(read(text)?)?),
            "Error" => Self::Error(code(read::<RawError>(text)?.code)),
            "Metadata" => Self::Metadata,
            _ => Self::Other,
        })
    }
}

/// Asks the vendor to keep an idle session (it closes one after 10 s without audio). Flux takes it for an error.
pub(super) const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// Asks the vendor to work off what it has and to close.
pub(super) const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// The opening request: all settings are in its query, the key in a header.
pub(super) fn handshake(settings: &Settings, language: &Language, hints: &[String]) -> Result<Request, ProviderError> {
    let mut url = settings.url.clone();
    {
        let mut query = url.query_pairs_mut();
        for (name, value) in [("model", settings.model.as_str()), ("encoding", "mulaw"), ("sample_rate", "8000")] {
            query.append_pair(name, value);
        }
        for (name, value) in match &settings.protocol {
            Protocol::Results { endpointing_ms, utterance_end_ms } => vec![
                ("language", language.tag().to_owned()),
                ("channels", "1".to_owned()),
                ("interim_results", "true".to_owned()),
                ("punctuate", "true".to_owned()),
                ("vad_events", "true".to_owned()),
                ("endpointing", endpointing_ms.to_string()),
                ("utterance_end_ms", utterance_end_ms.to_string()),
            ],
            Protocol::Turns { eot_threshold, eager_eot_threshold, eot_timeout_ms } => {
                let mut turns = vec![
                    ("eot_threshold", eot_threshold.to_string()),
                    ("eager_eot_threshold", eager_eot_threshold.to_string()),
                    ("eot_timeout_ms", eot_timeout_ms.to_string()),
                ];
                if settings.model.ends_with("-multi") {
                    turns.push(("language_hint", language.primary().to_owned()));
                }
                turns
            }
        } {
            query.append_pair(name, &value);
        }
        // Newer models have key terms where older ones have keywords.
        let newer = ["nova-3", "flux"].iter().any(|model| settings.model.starts_with(model));
        let hint = if newer { "keyterm" } else { "keywords" };
        for word in hints.iter().filter(|w| !w.is_empty() && w.len() <= LONGEST_HINT).take(MOST_HINTS) {
            query.append_pair(hint, word);
        }
    }
    let refused = |what: &str| ProviderError::NotConfigured { vendor: VENDOR, what: what.to_owned() };
    let mut request = url.as_str().into_client_request().map_err(|_| refused("deepgram.base_url"))?;
    request.headers_mut().insert("authorization", settings.authorization.clone());
    Ok(request)
}

fn results(raw: RawResults) -> Result<Results, String> {
    let start = time("start", raw.start)?;
    let end = start + time("duration", raw.duration)?;
    let Some(best) = raw.channel.alternatives.into_iter().next() else {
        return Err("Results without alternatives".to_owned());
    };
    if !(0.0..=1.0).contains(&best.confidence) {
        return Err(format!("confidence {}", best.confidence));
    }
    let words = best.words.into_iter().map(word).collect::<Result<_, _>>()?;
    let transcript = printable(&best.transcript);
    Ok(Results {
        start,
        end,
        is_final: raw.is_final,
        speech_final: raw.speech_final,
        transcript,
        confidence: best.confidence,
        words,
    })
}

fn word(raw: RawWord) -> Result<Word, String> {
    let text = raw.punctuated_word.unwrap_or(raw.word);
    Ok(Word { text, start: time("word start", raw.start)?, end: time("word end", raw.end)? })
}

fn turn(raw: RawTurn) -> Result<TurnInfo, String> {
    if let Some(word) = raw.words.iter().find(|word| !(0.0..=1.0).contains(&word.confidence)) {
        return Err(format!("confidence {}", word.confidence));
    }
    let confidence = raw.words.iter().map(|word| word.confidence).reduce(f32::min).unwrap_or(0.0);
    let at = |what, seconds: Option<f64>| seconds.map(|seconds| time(what, seconds)).transpose();
    Ok(TurnInfo {
        event: raw.event,
        window_start: time("audio_window_start", raw.audio_window_start)?,
        window_end: time("audio_window_end", raw.audio_window_end)?,
        transcript: printable(&raw.transcript),
        confidence,
        first_word: at("word start", raw.words.first().and_then(|word| word.start))?,
        last_word: at("word end", raw.words.last().and_then(|word| word.end))?,
    })
}

/// A vendor's code, as far as it is one: what else it may hold is not for a log.
fn code(code: String) -> String {
    let sound = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if sound { code } else { "unreadable".to_owned() }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_TRANSCRIPT).collect()
}

/// Seconds of a session that lasts at most a day.
fn time(what: &str, seconds: f64) -> Result<Duration, String> {
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(format!("{what} {seconds} s"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{what} {seconds} s"))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text)
        .map_err(|e| format!("JSON at line {} column {} ({:?})", e.line(), e.column(), e.classify()))
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawResults {
    start: f64,
    duration: f64,
    is_final: bool,
    #[serde(default)]
    speech_final: bool,
    channel: RawChannel,
}

#[derive(Deserialize)]
struct RawChannel {
    alternatives: Vec<RawAlternative>,
}

#[derive(Deserialize)]
struct RawAlternative {
    transcript: String,
    confidence: f32,
    #[serde(default)]
    words: Vec<RawWord>,
}

#[derive(Deserialize)]
struct RawWord {
    word: String,
    start: f64,
    end: f64,
    punctuated_word: Option<String>,
}

#[derive(Deserialize)]
struct RawTurn {
    event: TurnEvent,
    audio_window_start: f64,
    audio_window_end: f64,
    transcript: String,
    words: Vec<RawTurnWord>,
}

#[derive(Deserialize)]
struct RawTurnWord {
    confidence: f32,
    start: Option<f64>,
    end: Option<f64>,
}

#[derive(Deserialize)]
struct RawError {
    code: String,
}

const MOST_HINTS: usize = 50;
const LONGEST_HINT: usize = 100;
/// Characters of one stretch; a caller says far less in one breath.
const LONGEST_TRANSCRIPT: usize = 2000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESULTS: &str = r#"{"type":"Results","channel_index":[0,1],"duration":1.5,"start":2.0,"is_final":true,
        "speech_final":true,"channel":{"alternatives":[{"transcript":"Yes.","confidence":0.98,"words":[
        {"word":"yes","start":2.1,"end":2.5,"confidence":0.98,"punctuated_word":"Yes."}]}]},"from_finalize":false}"#;

    #[test]
    fn results_are_read() {
        let Ok(Message::Results(results)) = Message::parse(RESULTS) else { panic!("{:?}", Message::parse(RESULTS)) };
        assert_eq!((results.start, results.end), (Duration::from_secs(2), Duration::from_millis(3500)));
        assert!(results.is_final && results.speech_final);
        assert_eq!((results.transcript.as_str(), results.words[0].text.as_str()), ("Yes.", "Yes."));
    }

    #[test]
    fn other_messages_are_told_apart() {
        assert_eq!(
            Message::parse(r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":2.4}"#),
            Ok(Message::UtteranceEnd)
        );
        assert_eq!(Message::parse(r#"{"type":"Metadata","request_id":"x"}"#), Ok(Message::Metadata));
        assert_eq!(Message::parse(r#"{"type":"SpeechStarted","timestamp":1}"#), Ok(Message::Other));
        assert_eq!(Message::parse(r#"{"type":"New","x":[]}"#), Ok(Message::Other));
    }

    const TURN: &str = r#"{"type":"TurnInfo","request_id":"x","sequence_id":7,"event":"EagerEndOfTurn","turn_index":0,
        "audio_window_start":0.5,"audio_window_end":1.75,"transcript":"Yes, please.","words":[
        {"word":"Yes,","confidence":0.9,"start":0.75,"end":1.0},{"word":"please.","confidence":0.7}],
        "end_of_turn_confidence":0.55}"#;

    #[test]
    fn turns_are_read() {
        let Ok(Message::Turn(turn)) = Message::parse(TURN) else { panic!("{:?}", Message::parse(TURN)) };
        assert_eq!((turn.event, turn.transcript.as_str()), (TurnEvent::EagerEndOfTurn, "Yes, please."));
        assert_eq!((turn.window_start, turn.window_end), (Duration::from_millis(500), Duration::from_millis(1750)));
        assert_eq!((turn.first_word, turn.last_word), (Some(Duration::from_millis(750)), None));
        assert!((turn.confidence - 0.7).abs() < 1e-6);
        for (from, to) in [("Eager", "Later"), ("1.75", "-1"), ("0.9", "9"), ("0.75", "1e300")] {
            let error = Message::parse(&TURN.replace(from, to)).unwrap_err();
            assert!(!error.contains("please"), "{error}");
        }
        let error = |code: &str| format!(r#"{{"type":"Error","sequence_id":3,"code":"{code}","description":"so"}}"#);
        assert_eq!(Message::parse(&error("NET-0001")), Ok(Message::Error("NET-0001".into())));
        assert_eq!(Message::parse(&error("call 0788 now")), Ok(Message::Error("unreadable".into())));
    }

    #[test]
    fn wrong_content_is_an_error_that_quotes_nothing() {
        for (from, to) in [
            ("\"start\":2.0", "\"start\":-1"),
            ("\"start\":2.0", "\"start\":1e300"),
            ("\"confidence\":0.98,\"words\"", "\"confidence\":7,\"words\""),
            ("\"is_final\":true", "\"is_final\":\"maybe\""),
            ("\"end\":2.5", "\"end\":null"),
        ] {
            let error = Message::parse(&RESULTS.replace(from, to)).unwrap_err();
            assert!(!error.contains("Yes") && !error.contains("maybe"), "{error}");
        }
        assert!(Message::parse("{\"type\":").unwrap_err().contains("line 1"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in ".{0,200}", at in 0usize..400) {
            let _ = Message::parse(&text);
            let mut cut = RESULTS.to_owned();
            cut.truncate(at);
            let _ = Message::parse(&cut);
            let _ = Message::parse(&format!("{cut}{text}"));
        }
    }
}
