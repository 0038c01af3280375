//! The messages: headers as in HTTP, an empty line, and a body; binary ones begin with the length of their headers.

use std::time::Duration;

use jiff::Timestamp;
use offhook_media::Frame;
use serde::Deserialize;

use crate::providers::Recognised;
use crate::telemetry::pii::Pii;

/// What the vendor says.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Words that may change.
    Hypothesis(Recognised),
    /// Words that stay; the vendor has heard silence behind them.
    Phrase(Recognised),
    /// Nothing was understood, or nothing was said for a while.
    NoWords,
    /// The vendor cannot go on.
    Error(String),
    TurnEnd,
    /// Nothing that is used here.
    Other,
}

impl Message {
    /// # Errors
    /// What about the message cannot be understood; never its words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (head, body) = text.split_once("\r\n\r\n").ok_or("a message without an end of its headers")?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("path").then(|| value.trim().to_ascii_lowercase())
        };
        let path = head.lines().find_map(header).ok_or("a message without a path")?;
        match path.as_str() {
            "speech.hypothesis" | "speech.fragment" => {
                let Told { text, offset, duration, .. } = read(body)?;
                Ok(Self::Hypothesis(recognised(text.unwrap_or_default(), UNTOLD, offset, duration)))
            }
            "speech.phrase" => phrase(read(body)?),
            "turn.end" => Ok(Self::TurnEnd),
            _ => Ok(Self::Other),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    text: Option<String>,
    recognition_status: Option<String>,
    display_text: Option<String>,
    /// Hundreds of nanoseconds, both.
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    duration: u64,
    #[serde(rename = "NBest", default)]
    n_best: Vec<Best>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Best {
    confidence: Option<f32>,
    display: Option<String>,
}

fn read(body: &str) -> Result<Told, String> {
    // By place only: the text of a serde error may quote the words.
    serde_json::from_str(body)
        .map_err(|e| format!("JSON at line {} column {} ({:?})", e.line(), e.column(), e.classify()))
}

fn phrase(told: Told) -> Result<Message, String> {
    let Told { recognition_status, display_text, offset, duration, n_best, .. } = told;
    match recognition_status.as_deref() {
        Some("Success") => {
            let best = n_best.into_iter().next();
            let confidence = best.as_ref().and_then(|best| best.confidence).unwrap_or(UNTOLD);
            let text = best.and_then(|best| best.display).or(display_text).unwrap_or_default();
            if text.trim().is_empty() {
                return Ok(Message::NoWords);
            }
            Ok(Message::Phrase(recognised(text, confidence.clamp(0.0, 1.0), offset, duration)))
        }
        Some("NoMatch" | "InitialSilenceTimeout" | "BabbleTimeout" | "EndOfDictation") => Ok(Message::NoWords),
        Some(status) => Ok(Message::Error(status.chars().filter(char::is_ascii_alphanumeric).take(40).collect())),
        None => Err("a phrase without a status".to_owned()),
    }
}

fn recognised(text: String, confidence: f32, offset: u64, duration: u64) -> Recognised {
    let time = |ticks: u64| Duration::from_nanos(ticks.saturating_mul(100));
    let (start, end) = (time(offset), time(offset.saturating_add(duration)));
    Recognised { text: Pii::new(text), confidence, start, end }
}

/// The first message of a connection.
pub(super) fn speech_config() -> String {
    let body = serde_json::json!({
        "context": { "system": { "name": "offhook", "version": env!("CARGO_PKG_VERSION") } },
    });
    format!("{}\r\n{body}", headers("speech.config", None, "application/json; charset=utf-8"))
}

/// A piece of audio; none ends the stream.
pub(super) fn audio(request: &str, audio: &[u8]) -> Vec<u8> {
    let headers = headers("audio", Some(request), "audio/x-wav");
    let length = u16::try_from(headers.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), headers.as_bytes(), audio].concat()
}

/// Each line ended; the empty line is that of text messages.
fn headers(path: &str, request: Option<&str>, kind: &str) -> String {
    let request = request.map_or_else(String::new, |request| format!("X-RequestId: {request}\r\n"));
    format!("Path: {path}\r\n{request}X-Timestamp: {}\r\nContent-Type: {kind}\r\n", Timestamp::now())
}

/// The head of a WAV stream of 16-bit mono PCM at 8 kHz, whose length is not known.
pub(super) fn wav_head() -> Vec<u8> {
    let mut head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    head.extend(8000_u32.to_le_bytes());
    head.extend(16_000_u32.to_le_bytes());
    head.extend(b"\x02\0\x10\0data\0\0\0\0");
    head
}

pub(super) fn pcm(frame: &Frame) -> Vec<u8> {
    frame.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Where nothing is told of it.
const UNTOLD: f32 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &str, body: &str) -> String {
        format!("X-RequestId:123\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n{body}")
    }

    #[test]
    fn words_come_with_their_times() {
        let phrase = r#"{"RecognitionStatus":"Success","Offset":10000000,"Duration":5000000,
            "NBest":[{"Confidence":0.81,"Lexical":"two","Display":"Two."},{"Confidence":0.2,"Display":"To."}]}"#;
        let expected = recognised("Two.".into(), 0.81, 10_000_000, 5_000_000);
        assert_eq!((expected.start, expected.end), (Duration::from_secs(1), Duration::from_millis(1500)));
        assert_eq!(Message::parse(&message("speech.phrase", phrase)), Ok(Message::Phrase(expected)));
        let plain = r#"{"RecognitionStatus":"Success","DisplayText":"Two.","Offset":0,"Duration":1}"#;
        assert!(matches!(Message::parse(&message("Speech.Phrase", plain)), Ok(Message::Phrase(_))));
        let hypothesis = r#"{"Text":"two","Offset":0,"Duration":1}"#;
        assert!(matches!(Message::parse(&message("speech.hypothesis", hypothesis)), Ok(Message::Hypothesis(_))));
    }

    #[test]
    fn a_phrase_without_words_says_why() {
        for (status, expected) in [
            ("NoMatch", Message::NoWords),
            ("InitialSilenceTimeout", Message::NoWords),
            ("Error", Message::Error("Error".into())),
        ] {
            let body = format!(r#"{{"RecognitionStatus":"{status}","Offset":0,"Duration":0}}"#);
            assert_eq!(Message::parse(&message("speech.phrase", &body)), Ok(expected));
        }
        assert_eq!(Message::parse(&message("turn.start", "{}")), Ok(Message::Other));
        assert_eq!(Message::parse(&message("turn.end", "")), Ok(Message::TurnEnd));
    }

    #[test]
    fn what_is_no_message_is_told_without_its_words() {
        assert!(Message::parse("Path: turn.end").is_err());
        assert!(
            Message::parse(&message("speech.phrase", "{\"DisplayText\": \"hunter2\", oops"))
                .is_err_and(|e| !e.contains("hunter2"))
        );
    }

    #[test]
    fn audio_has_its_headers_before_it() {
        let told = audio("abc", &[1, 2, 3]);
        let length = usize::from(u16::from_be_bytes([told[0], told[1]]));
        let head = std::str::from_utf8(&told[2..2 + length]).unwrap();
        assert!(head.starts_with("Path: audio\r\nX-RequestId: abc\r\n") && head.ends_with("audio/x-wav\r\n"));
        assert_eq!(told[2 + length..], [1, 2, 3]);
        assert_eq!(wav_head().len(), 44);
        assert!(speech_config().contains("\r\n\r\n{"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = Message::parse(&text);
            let _ = Message::parse(&message("speech.phrase", &text));
        }
    }
}
