//! The TwiML that answers `POST /webhook/call`: connect the call to our stream, or say one sentence.
//!
//! Attributes and text are escaped here and nowhere else; there is no way to put raw markup in.

use std::fmt::Write as _;

/// `<Response><Connect><Stream url=".."><Parameter name=".." value=".."/>..</Stream></Connect></Response>`.
///
/// With `fallback`, a `<Say>` follows. Twilio goes on to it whenever the stream ends before the caller hangs up: when it
/// could not be opened, when it broke, and also when this side closed it at the end of a call. So the sentence must be
/// a farewell that fits all three, or none.
pub fn connect(stream_url: &str, parameters: &[(&str, &str)], fallback: Option<&str>) -> String {
    let mut xml = format!("{HEAD}<Connect><Stream url=\"{}\">", escape(stream_url));
    for (name, value) in parameters {
        let _ = write!(xml, "<Parameter name=\"{}\" value=\"{}\"/>", escape(name), escape(value));
    }
    xml.push_str("</Stream></Connect>");
    if let Some(sentence) = fallback {
        let _ = write!(xml, "<Say>{}</Say>", escape(sentence));
    }
    xml.push_str(TAIL);
    xml
}

/// One sentence by Twilio's own voice, then hang up: what is left when nothing of ours can speak.
pub fn say(sentence: &str) -> String {
    format!("{HEAD}<Say>{}</Say><Hangup/>{TAIL}", escape(sentence))
}

/// Refuses the call as busy, unbilled.
pub fn reject_busy() -> String {
    format!("{HEAD}<Reject reason=\"busy\"/>{TAIL}")
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>";
const TAIL: &str = "</Response>";

/// Escapes the five markup characters; characters that XML 1.0 does not allow (section 2.2) are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_to_the_stream_with_parameters_and_a_fallback() {
        assert_eq!(
            connect("wss://a/ws?x=1&y=2", &[("from", "+1\"<>'")], Some("Please call again & wait.")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Connect><Stream url=\"wss://a/ws?x=1&amp;y=2\">\
             <Parameter name=\"from\" value=\"+1&quot;&lt;&gt;&apos;\"/></Stream></Connect>\
             <Say>Please call again &amp; wait.</Say></Response>"
        );
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            say("</Say><Dial>1</Dial>\u{1}"),
            format!("{HEAD}<Say>&lt;/Say&gt;&lt;Dial&gt;1&lt;/Dial&gt;</Say><Hangup/>{TAIL}")
        );
    }
}
