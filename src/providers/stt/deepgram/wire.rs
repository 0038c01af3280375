//! Deepgram's messages as they are on the wire, read into closed types. Messages of a type unknown here are passed
//! over, since the vendor adds types; a known type with wrong content is an error.

use std::time::Duration;

use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use super::{ProviderError, Settings, VENDOR};
use crate::providers::Language;

/// What the vendor said.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Results(Results),
    /// No word for the configured time.
    UtteranceEnd,
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

impl Message {
    /// # Errors
    /// Says where the JSON is wrong, or which time or confidence is; never quotes it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind: Kind = read(text)?;
        Ok(match kind.kind.as_str() {
            "Results" => Self::Results(results(read(text)?)?),
            "UtteranceEnd" => Self::UtteranceEnd,
            "Metadata" => Self::Metadata,
            _ => Self::Other,
        })
    }
}

/// Asks the vendor to keep an idle session (it closes one after 10 s without audio).
pub(super) const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// Asks the vendor to work off what it has and to close.
pub(super) const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// The opening request: all settings are in its query, the key in a header.
pub(super) fn handshake(settings: &Settings, language: &Language, hints: &[String]) -> Result<Request, ProviderError> {
    let mut url = settings.url.clone();
    {
        let mut query = url.query_pairs_mut();
        for (name, value) in [
            ("model", settings.model.as_str()),
            ("language", language.tag()),
            ("encoding", "mulaw"),
            ("sample_rate", "8000"),
            ("channels", "1"),
            ("interim_results", "true"),
            ("punctuate", "true"),
            ("vad_events", "true"),
            ("endpointing", &settings.endpointing_ms.to_string()),
            ("utterance_end_ms", &settings.utterance_end_ms.to_string()),
        ] {
            query.append_pair(name, value);
        }
        // Nova-3 has key terms where older models have keywords.
        let hint = if settings.model.starts_with("nova-3") { "keyterm" } else { "keywords" };
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
    let transcript: String = best.transcript.chars().filter(|c| !c.is_control()).take(LONGEST_TRANSCRIPT).collect();
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
