//! Twilio Media Streams messages, both ways (twilio.com/docs/voice/media-streams/websocket-messages).
//!
//! Events and formats are closed: an unknown one is an error. Added fields are passed over, as the vendor reserves the
//! right to add them. The media path allocates nothing: payloads are decoded into the caller's buffer and written
//! into a string that is used again. No socket here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::telemetry::pii::Pii;

/// Names a stream in every message of it: 1 to 64 of letters, digits, `-` and `_`, so it never needs escaping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamSid(Arc<str>);

impl StreamSid {
    /// # Errors
    /// [`WireError::BadSid`] for anything else than the above.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        sid(text, "streamSid").map(|text| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where one media payload is decoded to; one per connection, used again for every message.
pub type PayloadBuffer = [u8; MAX_PAYLOAD];

/// A message from Twilio.
#[derive(Debug, PartialEq)]
pub enum Inbound<'a> {
    /// The socket is open; no call is known yet.
    Connected,
    Start(Box<Start>),
    Media(Media),
    /// A key was pressed.
    Dtmf(char),
    /// Everything sent before this mark has been played, or was thrown away by `clear`.
    Mark(Cow<'a, str>),
    /// The call or the stream is over.
    Stop,
}

/// The call that a stream carries.
#[derive(Debug, PartialEq)]
pub struct Start {
    pub stream: StreamSid,
    pub call_sid: String,
    pub account_sid: Option<String>,
    /// The `<Parameter>`s of the TwiML; they may hold the caller's number.
    pub parameters: Pii<BTreeMap<String, String>>,
}

/// 8 kHz mu-law of the caller, decoded into the first `len` bytes of the buffer. One byte is 125 us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    pub len: usize,
    /// Counts the messages of the stream from 1; a gap is a lost message.
    pub sequence: Option<u64>,
    /// ms since the stream began.
    pub timestamp_ms: Option<u64>,
}

/// Parses one text message.
///
/// # Errors
/// What does not fit, and in which field. Never quotes what the caller said or keyed.
pub fn parse<'a>(text: &'a str, payload: &mut PayloadBuffer) -> Result<Inbound<'a>, WireError> {
    if text.len() > MAX_MESSAGE {
        return Err(WireError::TooLong { len: text.len() });
    }
    let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    match envelope.event.0.as_ref() {
        "connected" => Ok(Inbound::Connected),
        "media" => media_of(&envelope, payload),
        "start" => start_of(envelope),
        "dtmf" => dtmf_of(&envelope),
        "mark" => mark_of(envelope),
        "stop" => Ok(Inbound::Stop),
        other => Err(WireError::UnknownEvent { event: other.chars().take(32).collect() }),
    }
}

/// Writes a `media` message: 8 kHz mu-law to be played to the caller. `out` is cleared and its room used again.
pub fn write_media(out: &mut String, stream: &StreamSid, mulaw: &[u8]) {
    begin(out, "media", stream);
    out.push_str(",\"media\":{\"payload\":\"");
    STANDARD.encode_string(mulaw, out);
    out.push_str("\"}}");
}

/// Writes a `mark` message; Twilio sends it back when everything before it has been played or cleared.
pub fn write_mark(out: &mut String, stream: &StreamSid, mark: MarkName) {
    begin(out, "mark", stream);
    let _ = write!(out, ",\"mark\":{{\"name\":\"{mark}\"}}}}");
}

/// Writes a `clear` message: Twilio throws away what it has not played yet and sends every pending mark back.
pub fn write_clear(out: &mut String, stream: &StreamSid) {
    begin(out, "clear", stream);
    out.push('}');
}

/// Marks are numbered within a generation of playback; each `clear` begins a new one. So marks that come back because
/// of a clear are never taken for playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkName {
    pub generation: u32,
    pub number: u64,
}

impl MarkName {
    /// Reads a name made by `Display`; none for any other.
    pub fn parse(name: &str) -> Option<Self> {
        let (generation, number) = name.strip_prefix('g')?.split_once('.')?;
        let canonical = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
        if !canonical(generation) || !canonical(number) {
            return None;
        }
        Some(Self { generation: generation.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for MarkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}.{}", self.generation, self.number)
    }
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message of {len} bytes, at most {MAX_MESSAGE} are read")]
    TooLong { len: usize },
    #[error("not the JSON of a stream message at column {column}: {what}")]
    Malformed { column: usize, what: &'static str },
    #[error("unknown event `{event}`")]
    UnknownEvent { event: String },
    #[error("event `{event}` without `{field}`")]
    Missing { event: &'static str, field: &'static str },
    #[error("`{field}` is not 1 to 64 letters, digits, `-` or `_`")]
    BadSid { field: &'static str },
    #[error("`media.payload` of {len} characters, at most {MAX_PAYLOAD} bytes of audio are read")]
    PayloadTooLong { len: usize },
    #[error("`media.payload` is not base64")]
    PayloadNotBase64,
    #[error("`media.track` is not `inbound`")]
    NotInbound,
    #[error("`start.mediaFormat` is not audio/x-mulaw at 8000 Hz with 1 channel")]
    Format,
    #[error("`dtmf.digit` is not one of 0-9 A-D * #")]
    Digit,
    #[error("`mark.name` of {len} bytes, at most {MAX_MARK_NAME} are read")]
    MarkTooLong { len: usize },
}

/// Longest message read, in bytes. A `start` with many parameters is far below it.
pub const MAX_MESSAGE: usize = 32 * 1024;
/// Longest audio in one message, in bytes: 300 ms. Twilio sends 20 ms.
pub const MAX_PAYLOAD: usize = 2_400;
/// Longest name of a mark, in bytes.
pub const MAX_MARK_NAME: usize = 256;

/// The message as it stands on the wire; `event` says which of the optional parts must be there.
#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Text<'a>>,
    #[serde(rename = "sequenceNumber")]
    sequence: Option<Count>,
    #[serde(borrow)]
    start: Option<StartBody<'a>>,
    #[serde(borrow)]
    media: Option<MediaBody<'a>>,
    #[serde(borrow)]
    dtmf: Option<DtmfBody<'a>>,
    #[serde(borrow)]
    mark: Option<MarkBody<'a>>,
}

#[derive(serde::Deserialize)]
struct StartBody<'a> {
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Text<'a>>,
    #[serde(borrow, rename = "callSid")]
    call_sid: Option<Text<'a>>,
    #[serde(borrow, rename = "accountSid")]
    account_sid: Option<Text<'a>>,
    #[serde(borrow, rename = "mediaFormat")]
    format: Option<FormatBody<'a>>,
    #[serde(default, rename = "customParameters")]
    parameters: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct FormatBody<'a> {
    #[serde(borrow)]
    encoding: Text<'a>,
    #[serde(rename = "sampleRate")]
    sample_rate: Count,
    channels: Count,
}

#[derive(serde::Deserialize)]
struct MediaBody<'a> {
    #[serde(borrow)]
    payload: Option<Text<'a>>,
    #[serde(borrow)]
    track: Option<Text<'a>>,
    timestamp: Option<Count>,
}

#[derive(serde::Deserialize)]
struct DtmfBody<'a> {
    #[serde(borrow)]
    digit: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
struct MarkBody<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// Borrowed from the message unless it holds escapes. A newtype, because serde borrows a `Cow` only where it stands by
/// itself.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A number, which the vendor mostly writes as a string.
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
        Ok(Count(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Count, E> {
        text.parse().map(Count).map_err(|_| E::custom("not a count"))
    }
}

fn malformed(error: &serde_json::Error) -> WireError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "syntax",
        serde_json::error::Category::Data => "a field is missing, doubled or of another type",
        serde_json::error::Category::Io => "unreadable",
    };
    WireError::Malformed { column: error.column(), what }
}

fn media_of<'a>(envelope: &Envelope<'a>, buffer: &mut PayloadBuffer) -> Result<Inbound<'a>, WireError> {
    let missing = |field| WireError::Missing { event: "media", field };
    let media = envelope.media.as_ref().ok_or(missing("media"))?;
    if media.track.as_ref().is_some_and(|track| !matches!(track.0.as_ref(), "inbound" | "inbound_track")) {
        return Err(WireError::NotInbound);
    }
    let payload = media.payload.as_ref().ok_or(missing("media.payload"))?.0.as_bytes();
    if payload.len() > MAX_PAYLOAD / 3 * 4 {
        return Err(WireError::PayloadTooLong { len: payload.len() });
    }
    let len = STANDARD.decode_slice(payload, buffer).map_err(|_| WireError::PayloadNotBase64)?;
    let sequence = envelope.sequence.as_ref().map(|count| count.0);
    Ok(Inbound::Media(Media { len, sequence, timestamp_ms: media.timestamp.as_ref().map(|count| count.0) }))
}

fn start_of(envelope: Envelope<'_>) -> Result<Inbound<'_>, WireError> {
    let missing = |field| WireError::Missing { event: "start", field };
    let start = envelope.start.ok_or(missing("start"))?;
    let stream = start.stream_sid.or(envelope.stream_sid).ok_or(missing("streamSid"))?;
    let call_sid = start.call_sid.ok_or(missing("start.callSid"))?;
    // The vendor documents one format only, so a start that names none is of that format.
    if start.format.is_some_and(|f| f.encoding.0 != "audio/x-mulaw" || f.sample_rate.0 != 8_000 || f.channels.0 != 1) {
        return Err(WireError::Format);
    }
    let account_sid = start.account_sid.map(|text| sid(&text.0, "start.accountSid").map(str::to_owned)).transpose()?;
    Ok(Inbound::Start(Box::new(Start {
        stream: StreamSid::parse(&stream.0)?,
        call_sid: sid(&call_sid.0, "start.callSid")?.to_owned(),
        account_sid,
        parameters: Pii::new(start.parameters),
    })))
}

fn dtmf_of<'a>(envelope: &Envelope<'a>) -> Result<Inbound<'a>, WireError> {
    let digit = envelope.dtmf.as_ref().and_then(|dtmf| dtmf.digit.as_ref());
    let digit = digit.ok_or(WireError::Missing { event: "dtmf", field: "dtmf.digit" })?;
    let mut chars = digit.0.chars();
    match (chars.next(), chars.next()) {
        (Some(key @ ('0'..='9' | 'A'..='D' | '*' | '#')), None) => Ok(Inbound::Dtmf(key)),
        _ => Err(WireError::Digit),
    }
}

fn mark_of(envelope: Envelope<'_>) -> Result<Inbound<'_>, WireError> {
    let name = envelope.mark.and_then(|mark| mark.name);
    let name = name.ok_or(WireError::Missing { event: "mark", field: "mark.name" })?.0;
    if name.len() > MAX_MARK_NAME {
        return Err(WireError::MarkTooLong { len: name.len() });
    }
    Ok(Inbound::Mark(name))
}

fn sid<'a>(text: &'a str, field: &'static str) -> Result<&'a str, WireError> {
    let sound =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if sound { Ok(text) } else { Err(WireError::BadSid { field }) }
}

fn begin(out: &mut String, event: &str, stream: &StreamSid) {
    out.clear();
    out.push_str("{\"event\":\"");
    out.push_str(event);
    out.push_str("\",\"streamSid\":\"");
    out.push_str(&stream.0);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: &str = r#"{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1",
        "callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},
        "customParameters":{"from":"+250788123456"},"added":{"later":[1]}},"streamSid":"MZ1"}"#;

    fn read(text: &str) -> Result<Inbound<'_>, WireError> {
        parse(text, &mut [0; MAX_PAYLOAD])
    }

    fn stream() -> StreamSid {
        StreamSid::parse("MZ1").unwrap()
    }

    #[test]
    fn reads_the_messages_of_the_vendor_documentation() {
        let Inbound::Start(start) = read(START).unwrap() else { panic!("start") };
        assert_eq!((start.stream.as_str(), start.call_sid.as_str()), ("MZ1", "CA1"));
        assert_eq!(start.parameters.expose()["from"], "+250788123456");
        assert!(!format!("{start:?}").contains("250788"));
        assert_eq!(read(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#), Ok(Inbound::Connected));
        assert_eq!(
            read(
                r#"{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"*"}}"#
            ),
            Ok(Inbound::Dtmf('*'))
        );
        assert_eq!(
            read(r#"{"event":"stop","sequenceNumber":"5","stop":{"accountSid":"A","callSid":"C"},"streamSid":"MZ1"}"#),
            Ok(Inbound::Stop)
        );
    }

    #[test]
    fn media_is_decoded_into_the_buffer_and_marks_are_borrowed() {
        let mut buffer = [0; MAX_PAYLOAD];
        let text = r#"{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5",
            "payload":"no+J"},"streamSid":"MZ1"}"#;
        let media = parse(text, &mut buffer).unwrap();
        assert_eq!(media, Inbound::Media(Media { len: 3, sequence: Some(3), timestamp_ms: Some(5) }));
        assert_eq!(buffer[..3], [0x9e, 0x8f, 0x89]);
        let mark = r#"{"event":"mark","sequenceNumber":"4","streamSid":"MZ1","mark":{"name":"g1.2"}}"#;
        assert!(matches!(read(mark), Ok(Inbound::Mark(Cow::Borrowed("g1.2")))));
    }

    #[test]
    fn a_slash_may_be_escaped() {
        assert!(matches!(
            read(r#"{"event":"media","media":{"payload":"\/\/\/\/"}}"#),
            Ok(Inbound::Media(Media { len: 3, sequence: None, timestamp_ms: None }))
        ));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, "A".repeat(3_204));
        let mark = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "m".repeat(257));
        let other_format = START.replace("x-mulaw", "x-l16");
        let cases = [
            (r#"{"event":"medio"}"#, "unknown event `medio`"),
            (r#"{"media":{}}"#, "not the JSON of a stream message at column 12: a field is missing"),
            (r#"{"event":"media"#, "not the JSON of a stream message at column 15: it ends too early"),
            (r#"{"event":"media"}"#, "event `media` without `media`"),
            (r#"{"event":"media","media":{}}"#, "event `media` without `media.payload`"),
            (r#"{"event":"media","media":{"payload":"%%%%"}}"#, "`media.payload` is not base64"),
            (r#"{"event":"media","media":{"track":"outbound","payload":""}}"#, "`media.track` is not `inbound`"),
            (r#"{"event":"start"}"#, "event `start` without `start`"),
            (r#"{"event":"start","streamSid":"MZ\"","start":{"callSid":"CA"}}"#, "`streamSid` is not 1 to 64"),
            (r#"{"event":"dtmf","dtmf":{"digit":"12"}}"#, "`dtmf.digit` is not one of"),
            (&long, "`media.payload` of 3204 characters"),
            (&mark, "`mark.name` of 257 bytes"),
            (&other_format, "`start.mediaFormat` is not"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text} gave {error}");
        }
        assert_eq!(read(&" ".repeat(MAX_MESSAGE + 1)), Err(WireError::TooLong { len: MAX_MESSAGE + 1 }));
    }

    #[test]
    fn messages_are_written_as_documented_into_the_same_room() {
        let mut out = String::with_capacity(512);
        let room = (out.as_ptr(), out.capacity());
        write_media(&mut out, &stream(), &[0xff; 160]);
        let media: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(media["event"], "media");
        assert_eq!(STANDARD.decode(media["media"]["payload"].as_str().unwrap()).unwrap(), [0xff; 160]);
        write_mark(&mut out, &stream(), MarkName { generation: 7, number: 9 });
        assert_eq!(out, r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"g7.9"}}"#);
        write_clear(&mut out, &stream());
        assert_eq!(out, r#"{"event":"clear","streamSid":"MZ1"}"#);
        assert_eq!((out.as_ptr(), out.capacity()), room, "the string moved");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = read(&text);
        }

        #[test]
        fn json_of_any_shape_is_read_or_refused(
            event in "connected|start|media|dtmf|mark|stop|x",
            field in "start|media|dtmf|mark|streamSid|sequenceNumber",
            value in r#"[0-9]{1,22}|-1|null|\[\]|\{\}|"[a-z]{0,5}"|\{"(payload|name|digit|callSid|timestamp)":("[0-9A=/+]{0,9}"|1|null)\}"#,
        ) {
            let _ = read(&format!(r#"{{"event":"{event}","{field}":{value}}}"#));
        }

        #[test]
        fn written_media_reads_back(audio in prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD)) {
            let (mut out, mut buffer) = (String::new(), [0; MAX_PAYLOAD]);
            write_media(&mut out, &stream(), &audio);
            let Ok(Inbound::Media(media)) = parse(&out, &mut buffer) else { panic!("media") };
            prop_assert_eq!(&buffer[..media.len], &audio[..]);
        }

        #[test]
        fn mark_names_read_back(generation: u32, number: u64) {
            let mark = MarkName { generation, number };
            prop_assert_eq!(MarkName::parse(&mark.to_string()), Some(mark));
        }
    }
}
