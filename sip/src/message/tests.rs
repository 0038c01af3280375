//! Parser rules in small; the torture messages stand in `sip/tests/`.

use super::*;

const INVITE: &str = "INVITE sip:1000@10.0.0.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2\r\n\
    f: \"A \\\"B\\\" C\" <sip:alice@10.0.0.2>;tag=a\r\n\
    To: <sip:1000@10.0.0.1>\r\nCall-ID: x@10.0.0.2\r\nCSeq: 007\r\n  INVITE\r\n\
    m: sip:alice@10.0.0.2;expires=5\r\nSupported: timer ,\r\n 100rel\r\nl: 4\r\n\r\nbodyTRAILING";

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
}

fn with(header: &str) -> Result<(), ParseError> {
    let text = INVITE.replace("l: 4\r\n", &format!("{header}\r\nl: 4\r\n"));
    let message = parse(&text)?;
    message.essentials().map(|_| ())
}

#[test]
fn typed_values_of_a_request() {
    let message = parse(INVITE).unwrap();
    let seen = message.essentials().unwrap();
    assert_eq!(message.method(), Some(&Method::Invite));
    assert_eq!(message.request_uri().unwrap().user(), Some("1000"));
    assert_eq!((seen.via.branch(), seen.via.port()), (Some("z9hG4bK1"), Some(5070)));
    assert!(seen.via.params().has("rport"));
    assert_eq!(seen.from.display(), "A \"B\" C");
    assert_eq!(seen.from.tag(), Some("a"));
    assert_eq!((seen.cseq.number, seen.cseq.method), (7, Method::Invite));
    let contact = seen.contact.unwrap();
    assert_eq!((contact.uri().as_str(), contact.params().value("expires")), ("sip:alice@10.0.0.2", Some("5")));
    assert_eq!(message.tokens(HeaderName::Supported).collect::<Vec<_>>(), ["timer", "100rel"]);
    assert_eq!(&message.body()[..], b"body");
}

#[test]
fn errors_name_header_offset_and_status() {
    let error = with("CSeq: 8 INVITE").unwrap_err();
    assert_eq!((error.place, error.problem), (Place::Header(HeaderName::CSeq), Problem::Duplicate));
    assert!(INVITE[..error.offset].ends_with("100rel\r\n"));
    let error = parse(&INVITE.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia")).unwrap_err();
    assert_eq!((error.status(), error.problem), (505, Problem::UnsupportedVersion));
    assert_eq!(error.to_string(), "start line: version is not SIP/2.0 (byte 0)");
}

#[test]
fn wrong_lengths_are_refused() {
    for length in ["-1", "+4", "4294967296", "99999999999999999999", "", "4 4", "0x4"] {
        let error = parse(&INVITE.replace("l: 4", &format!("l: {length}"))).unwrap_err();
        assert_eq!(error.problem, Problem::BadNumber, "{length}");
    }
    assert_eq!(parse(&INVITE.replace("l: 4", "l: 999")).unwrap_err().problem, Problem::BodyTruncated);
    assert_eq!(parse(&INVITE.replace("l: 4", "l: 70000")).unwrap_err().status(), 413);
    assert_eq!(with("Content-Length: 4").unwrap_err().problem, Problem::Duplicate);
}

#[test]
fn unbalanced_and_mismatched_values_are_refused() {
    let broken = [
        ("To: <sip:1000@10.0.0.1>", "To: \"x <sip:1000@10.0.0.1>", Problem::UnclosedQuote),
        ("To: <sip:1000@10.0.0.1>", "To: <sip:1000@10.0.0.1", Problem::UnclosedBracket),
        ("INVITE\r\n    m", "INVITE\r\nm", Problem::MethodMismatch),
        ("  INVITE\r\n", "  BYE\r\n", Problem::MethodMismatch),
        (";tag=a", ";tag=", Problem::BadParameter),
        (":5070", ":70000", Problem::BadNumber),
        ("007", "4294967296", Problem::BadNumber),
    ];
    for (from, to, problem) in broken {
        let text = INVITE.replace(from, to);
        if text == INVITE {
            continue;
        }
        let message = parse(&text).unwrap();
        assert_eq!(message.essentials().err().map(|error| error.problem), Some(problem), "{to}");
    }
}

#[test]
fn limits_hold() {
    let many = "X: y\r\n".repeat(MAX_HEADERS);
    assert_eq!(with(many.trim_end()).unwrap_err().status(), 513);
    let long = format!("X: {}", "y".repeat(MAX_HEAD));
    assert_eq!(with(&long).unwrap_err().problem, Problem::HeadTooLarge);
    assert_eq!(with("Bad Name: y").unwrap_err().problem, Problem::BadHeaderName);
    assert_eq!(with("X: a\nY: b").unwrap_err().problem, Problem::BareLineEnd);
}

#[test]
fn a_writer_lets_no_line_end_through() {
    assert_eq!(ExtraHeader::new("X", "a\r\nVia: b"), Err(BadHeader::Value));
    assert_eq!(ExtraHeader::new("v", "b"), Err(BadHeader::Reserved));
    let mut writer = Writer::request(&Method::Options, "sip:a@b");
    writer.header(HeaderName::Subject, "one\r\ntwo");
    let message = Message::parse(writer.finish(None)).unwrap();
    assert_eq!(message.text(HeaderName::Subject).unwrap(), "one  two");
}

#[test]
fn debug_shows_no_header() {
    assert_eq!(format!("{:?}", parse(INVITE).unwrap()), format!("INVITE ({} bytes)", INVITE.len()));
}
