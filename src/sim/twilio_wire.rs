//! The vendor's side of Twilio's webhook and Media Streams messages: what Twilio sends, and how it reads the answers.
//!
//! Written apart from the server's own encoding, from Twilio's documentation ("Media Streams - WebSocket messages",
//! "Webhooks security"), so that a misreading on one side is seen by the other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// The names that Twilio gives to one call.
#[derive(Clone, Debug)]
pub struct CallNames {
    pub account: String,
    pub call: String,
    pub stream: String,
}

impl CallNames {
    /// Names made from 64 random bits each.
    pub fn new(mut random: impl FnMut() -> u64) -> Self {
        let mut sid = |prefix: &str| format!("{prefix}{:016x}{:016x}", random(), random());
        Self { account: sid("AC"), call: sid("CA"), stream: sid("MZ") }
    }
}

/// What the server may send over the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum FromServer {
    /// G.711 mu-law to be played.
    Media(Vec<u8>),
    Mark(String),
    Clear,
}

/// Reads one message of the server.
///
/// # Errors
/// Says which field is missing or wrong, as Twilio's debugger would (error 31951, invalid message).
pub fn read(text: &str, stream: &str) -> Result<FromServer, String> {
    let message: Value = text.parse().map_err(|e| format!("not JSON: {e}"))?;
    let field = |path: &str| {
        message.pointer(path).and_then(Value::as_str).ok_or_else(|| format!("{path} is missing or no string"))
    };
    if field("/streamSid")? != stream {
        return Err("/streamSid is not this stream's".into());
    }
    match field("/event")? {
        "media" => {
            let octets = STANDARD.decode(field("/media/payload")?).map_err(|e| format!("/media/payload: {e}"))?;
            if octets.is_empty() { Err("/media/payload is empty".into()) } else { Ok(FromServer::Media(octets)) }
        }
        "mark" => Ok(FromServer::Mark(field("/mark/name")?.to_owned())),
        "clear" => Ok(FromServer::Clear),
        other => Err(format!("/event `{other}` is not media, mark or clear")),
    }
}

/// The messages of one stream in their order.
#[derive(Debug)]
pub struct Writer {
    names: CallNames,
    sequence: u64,
    chunk: u64,
}

impl Writer {
    pub const fn new(names: CallNames) -> Self {
        Self { names, sequence: 0, chunk: 0 }
    }

    pub fn connected(&self) -> String {
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}).to_string()
    }

    pub fn start(&mut self, parameters: &[(String, String)]) -> String {
        let custom: serde_json::Map<String, Value> = parameters.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let format = json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1});
        self.message(
            "start",
            "start",
            json!({
                "accountSid": self.names.account, "streamSid": self.names.stream, "callSid": self.names.call,
                "tracks": ["inbound"], "mediaFormat": format, "customParameters": custom,
            }),
        )
    }

    /// 20 ms of the caller; `timestamp_ms` counts from the stream's start.
    pub fn media(&mut self, timestamp_ms: u64, octets: &[u8]) -> String {
        self.sequence += 1;
        self.chunk += 1;
        let (sequence, chunk, payload, stream) =
            (self.sequence, self.chunk, STANDARD.encode(octets), &self.names.stream);
        format!(
            r#"{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp_ms}","payload":"{payload}"}},"streamSid":"{stream}"}}"#
        )
    }

    pub fn dtmf(&mut self, key: char) -> String {
        self.message("dtmf", "dtmf", json!({"track": "inbound_track", "digit": key.to_string()}))
    }

    pub fn mark(&mut self, name: &str) -> String {
        self.message("mark", "mark", json!({"name": name}))
    }

    pub fn stop(&mut self) -> String {
        self.message("stop", "stop", json!({"accountSid": self.names.account, "callSid": self.names.call}))
    }

    pub const fn names(&self) -> &CallNames {
        &self.names
    }

    fn message(&mut self, event: &str, key: &str, body: Value) -> String {
        self.sequence += 1;
        json!({"event": event, "sequenceNumber": self.sequence.to_string(), key: body, "streamSid": self.names.stream})
            .to_string()
    }
}

/// `X-Twilio-Signature`: the base64 of HMAC-SHA1 over the URL and, sorted by name, every parameter's name and value.
pub fn signature(token: &str, url: &str, parameters: &[(&str, &str)]) -> String {
    let mut sorted = parameters.to_vec();
    sorted.sort_unstable();
    let text = sorted.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    // HMAC takes keys of any length, so the error cannot occur.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else { return String::new() };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Where a TwiML answer connects the call's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTo {
    pub url: String,
    pub parameters: Vec<(String, String)>,
}

/// Reads `<Response><Connect><Stream url="..">` with its `<Parameter>`s.
///
/// # Errors
/// Says what the answer holds instead.
pub fn stream_to(twiml: &str) -> Result<StreamTo, String> {
    let tags: Vec<&str> = twiml.split('<').skip(1).filter_map(|t| t.split('>').next()).collect();
    let named = |name: &'static str| tags.iter().filter(move |t| t.split([' ', '/', '\n', '\t']).next() == Some(name));
    if named("Response").next().is_none() {
        return Err("the answer is no TwiML <Response>".into());
    }
    if named("Connect").next().is_none() {
        let verbs: Vec<_> =
            tags.iter().skip(1).filter_map(|t| t.split([' ', '/']).next()).filter(|t| !t.is_empty()).collect();
        return Err(format!("the TwiML holds no <Connect> but {}", verbs.join(", ")));
    }
    let stream = named("Stream").next().ok_or("the TwiML holds no <Stream>")?;
    let url = attribute(stream, "url").ok_or("<Stream> has no url")?;
    let parameters = named("Parameter").filter_map(|t| Some((attribute(t, "name")?, attribute(t, "value")?))).collect();
    Ok(StreamTo { url, parameters })
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, after) = tag.split_once(&format!(" {name}="))?;
    let quote = after.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let value = after.get(1..)?.split(quote).next()?;
    let unescaped = value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(unescaped.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer::new(CallNames { account: "AC1".into(), call: "CA1".into(), stream: "MZ1".into() })
    }

    #[test]
    fn the_signature_is_that_of_twilios_own_example() {
        // Twilio, "Webhooks security": the worked example with token 12345.
        let parameters = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+12349013030"),
            ("Digits", "1234"),
            ("From", "+12349013030"),
            ("To", "+18005551212"),
        ];
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(signature("12345", url, &parameters), "0/KCTR6DLpKmkAf8muzZqo1nDgQ=");
    }

    #[test]
    fn messages_count_up_and_carry_what_twilio_documents() {
        let mut writer = writer();
        let start: Value = serde_json::from_str(&writer.start(&[("flow".into(), "x".into())])).unwrap();
        assert_eq!(start.pointer("/start/mediaFormat/encoding"), Some(&json!("audio/x-mulaw")));
        assert_eq!(start.pointer("/start/customParameters/flow"), Some(&json!("x")));
        let media: Value = serde_json::from_str(&writer.media(20, &[0xFF; 160])).unwrap();
        assert_eq!((&media["sequenceNumber"], &media["media"]["chunk"]), (&json!("2"), &json!("1")));
        assert_eq!(media["media"]["payload"].as_str().map(str::len), Some(216));
        let dtmf: Value = serde_json::from_str(&writer.dtmf('#')).unwrap();
        assert_eq!((&dtmf["dtmf"]["digit"], &dtmf["sequenceNumber"]), (&json!("#"), &json!("3")));
    }

    #[test]
    fn reads_the_servers_messages_and_names_what_is_wrong() {
        let media = r#"{"event":"media","streamSid":"MZ1","media":{"payload":"//8="}}"#;
        assert_eq!(read(media, "MZ1"), Ok(FromServer::Media(vec![255, 255])));
        assert_eq!(read(r#"{"event":"clear","streamSid":"MZ1"}"#, "MZ1"), Ok(FromServer::Clear));
        assert!(read(media, "MZ2").unwrap_err().contains("streamSid"));
        assert!(
            read(r#"{"event":"media","streamSid":"MZ1","media":{}}"#, "MZ1").unwrap_err().contains("/media/payload")
        );
        assert!(read(r#"{"event":"claer","streamSid":"MZ1"}"#, "MZ1").unwrap_err().contains("claer"));
    }

    #[test]
    fn reads_the_stream_out_of_twiml() {
        let twiml = r#"<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url="wss://h/webhook/media-stream?a=1&amp;b=2"><Parameter name="call" value="7"/></Stream></Connect></Response>"#;
        let found = stream_to(twiml).unwrap();
        assert_eq!(found.url, "wss://h/webhook/media-stream?a=1&b=2");
        assert_eq!(found.parameters, [("call".to_owned(), "7".to_owned())]);
        assert!(stream_to("<Response><Reject/></Response>").unwrap_err().contains("Reject"));
        assert!(stream_to("<html/>").unwrap_err().contains("no TwiML"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,200}") {
            let _ = read(&text, "MZ1");
            let _ = stream_to(&format!("<Response><Connect><Stream {text}"));
        }
    }
}
