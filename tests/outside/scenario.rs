//! What SIPp is told to do, written as a script and turned into its XML. The file is left in the test's directory, so
//! that a failed scenario can be run by hand.
//!
//! A scenario is one side of one call: the caller's (SIPp sends the INVITE) or the callee's. Headers that are the same in
//! every request of a dialog are filled in here; what a test is about is given by the test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A scenario in the making: every method adds a step.
pub struct Scenario {
    name: &'static str,
    steps: String,
    variables: Vec<String>,
    calls: bool,
    /// Of our next request.
    cseq: u32,
    /// Requests received so far.
    received: u32,
    /// Steps behind the end of the call, which only a label leads to.
    after: String,
}

/// What a message that comes must, or must not, hold. Regular expressions of POSIX.
#[derive(Clone, Copy)]
pub enum Check<'a> {
    Holds(&'a str),
    Lacks(&'a str),
    /// Keep what the expression finds in this header as `[$name]`.
    Saves(&'a str, &'a str, &'a str),
    /// Whether the digest in it is that of this user and password, for [`Scenario::goes_on_if_authorized`].
    Authorizes(&'a str, &'a str),
}

impl Scenario {
    /// SIPp calls.
    pub fn caller(name: &'static str) -> Self {
        Self {
            name,
            steps: String::new(),
            variables: Vec::new(),
            calls: true,
            cseq: 0,
            received: 0,
            after: String::new(),
        }
    }

    /// SIPp is called.
    pub fn callee(name: &'static str) -> Self {
        Self { calls: false, ..Self::caller(name) }
    }

    /// The INVITE that begins the call; without a description it asks the far side for an offer.
    pub fn invites(self, headers: &str, sdp: Option<&str>) -> Self {
        self.invites_as("", headers, sdp)
    }

    /// The same, with `;tag=..` or another parameter in To.
    pub fn invites_as(mut self, to: &str, headers: &str, sdp: Option<&str>) -> Self {
        self.cseq += 1;
        let first = format!("INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}", self.own_headers(to));
        let cseq = format!("CSeq: {} INVITE", self.cseq);
        self.sends(&message(&[&first, &cseq, CONTACT, headers], sdp.map(|sdp| ("application/sdp", sdp))), true)
    }

    /// A request in the dialog.
    pub fn requests(mut self, method: &str, headers: &str, body: Option<(&str, &str)>) -> Self {
        self.cseq += 1;
        let cseq = self.cseq;
        let text = self.in_dialog(method, cseq, headers, body);
        self.sends(&text, true)
    }

    /// The ACK of the last INVITE; with a description where that brings the answer.
    pub fn acks(self, sdp: Option<&str>) -> Self {
        let text = self.in_dialog("ACK", self.cseq, "", sdp.map(|sdp| ("application/sdp", sdp)));
        self.sends(&text, false)
    }

    /// The ACK of the INVITE with this number, after other requests were sent.
    pub fn acks_number(self, cseq: u32) -> Self {
        let text = self.in_dialog("ACK", cseq, "", None);
        self.sends(&text, false)
    }

    /// The ACK of a refusal, in the INVITE's own transaction.
    pub fn acks_refusal(self) -> Self {
        let first =
            format!("ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}", self.own_headers("[peer_tag_param]"));
        let cseq = format!("CSeq: {} ACK", self.cseq);
        let text = message(&[&first, &cseq], None).replace("[branch]", "[branch-1]");
        self.sends(&text, false)
    }

    /// Hangs up and waits for the agreement.
    pub fn hangs_up(self) -> Self {
        self.requests("BYE", "", None).expects(200, &[])
    }

    /// A response that must come.
    pub fn expects(self, status: u16, checks: &[Check]) -> Self {
        self.receives_xml(&format!("response=\"{status}\" rrs=\"true\""), checks)
    }

    /// Responses that may come before the next one that must.
    pub fn may_get(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let _ = writeln!(self.steps, "  <recv response=\"{status}\" optional=\"true\" />");
        }
        self
    }

    /// The usual beginning of a call: provisional responses as they come, then 200 and its ACK.
    pub fn gets_through(self, checks: &[Check]) -> Self {
        self.may_get(&[100, 180, 183]).expects(200, checks).acks(None)
    }

    /// A request that must come.
    pub fn receives(mut self, method: &str, checks: &[Check]) -> Self {
        self.received += 1;
        // OPTIONS begin no dialog (RFC 3261 11): there may be no Contact.
        if self.received == 1 && !self.calls && method != "OPTIONS" {
            let mut all = vec![
                Check::Saves("remote", "From", ".*"),
                Check::Saves("local", "To", ".*"),
                Check::Saves("target", "Contact", "sips?:[^>]*"),
                Check::Saves("via", "Via", ".*"),
                Check::Saves("sequence", "CSeq", ".*"),
            ];
            all.extend(checks);
            return self.receives_xml(&format!("request=\"{method}\" rrs=\"true\""), &all);
        }
        self.receives_xml(&format!("request=\"{method}\""), checks)
    }

    /// OPTIONS may come instead of the call: they are answered, and that was it. To stand before the first step.
    pub fn may_be_pinged(mut self) -> Self {
        let _ = writeln!(self.steps, "  <recv request=\"OPTIONS\" optional=\"true\" next=\"pinged\" />");
        let pong = Self { received: 1, ..Self::callee("pong") }.replies(200, "", None);
        let _ = write!(self.after, "  <nop next=\"over\" />\n  <label id=\"pinged\" />\n{}", pong.steps);
        self.after.push_str("  <label id=\"over\" />\n  <nop />\n");
        self
    }

    /// The same, and what its response copies is kept for [`Scenario::replies_to_what_was_kept`].
    pub fn receives_and_keeps(self, method: &str, checks: &[Check]) -> Self {
        let kept = [("via", "Via"), ("remote", "From"), ("local", "To"), ("sequence", "CSeq")];
        let mut all: Vec<Check> = kept.into_iter().map(|(name, header)| Check::Saves(name, header, ".*")).collect();
        all.extend(checks);
        self.receives(method, &all)
    }

    /// The response to the request just received.
    pub fn replies(self, status: u16, headers: &str, sdp: Option<&str>) -> Self {
        // The first request has no tag of ours in its To yet.
        let tag = if self.received == 1 && !self.calls && status > 100 { TAGGED } else { "" };
        let copied =
            format!("[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n[last_CSeq:]");
        self.responds(status, &copied, headers, sdp)
    }

    /// The response to the INVITE that began the call, after other requests have come.
    pub fn replies_to_the_invite(self, status: u16, sdp: Option<&str>) -> Self {
        let copied = format!("Via:[$via]\nFrom:[$remote]\nTo:[$local]{TAGGED}\n[last_Call-ID:]\nCSeq:[$sequence]");
        self.responds(status, &copied, "", sdp)
    }

    /// The response to a request inside the dialog, after other messages have come.
    pub fn replies_to_what_was_kept(self, status: u16, headers: &str, sdp: Option<&str>) -> Self {
        let copied = "Via:[$via]\nFrom:[$remote]\nTo:[$local]\n[last_Call-ID:]\nCSeq:[$sequence]";
        self.responds(status, copied, headers, sdp)
    }

    /// Sends a file of bare mu-law from the scenario's directory, in the pace of speech, while the scenario goes on.
    pub fn streams(mut self, file: &str) -> Self {
        let _ = writeln!(self.steps, "  <nop><action><exec rtp_stream=\"{file},1,0\" /></action></nop>");
        self
    }

    /// Fails where the last [`Check::Authorizes`] did not find what it looked for.
    pub fn goes_on_if_authorized(mut self) -> Self {
        let _ = writeln!(self.steps, "  <nop test=\"authorized\" next=\"authorized\" />");
        let _ = writeln!(self.steps, "  <recv request=\"NEVER\" timeout=\"100\" />\n  <label id=\"authorized\" />");
        self
    }

    fn responds(self, status: u16, copied: &str, headers: &str, sdp: Option<&str>) -> Self {
        let first = format!("SIP/2.0 {status} {}", reason(status));
        // RFC 3261 12.1.1: what makes or refreshes a dialog says where we are; what redirects says where to go.
        let contact = if status < 300 { CONTACT } else { "" };
        let text = message(&[&first, copied, contact, headers], sdp.map(|sdp| ("application/sdp", sdp)));
        self.sends(&text, false)
    }

    pub fn pauses(mut self, ms: u32) -> Self {
        let _ = writeln!(self.steps, "  <pause milliseconds=\"{ms}\" />");
        self
    }

    /// Writes the file and says where.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"{}\">\n", self.name);
        text.push_str(&self.steps);
        text.push_str(&self.after);
        if !self.variables.is_empty() {
            let _ = writeln!(text, "  <Reference variables=\"{}\" />", self.variables.join(","));
        }
        text.push_str("</scenario>\n");
        let path = dir.join(format!("{}.xml", self.name));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn own_headers(&self, to: &str) -> String {
        format!(
            "{VIA}\nFrom: \"Caller\" <sip:+250788123456@[local_ip]:[local_port]>;tag={TAG}\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>{to}\nCall-ID: [call_id]"
        )
    }

    fn in_dialog(&self, method: &str, cseq: u32, headers: &str, body: Option<(&str, &str)>) -> String {
        let cseq = format!("CSeq: {cseq} {method}");
        if self.calls {
            let first = format!("{method} [next_url] SIP/2.0\n{}\n[routes]", self.own_headers("[peer_tag_param]"));
            return message(&[&first, &cseq, CONTACT, headers], body);
        }
        let first =
            format!("{method} [$target] SIP/2.0\n{VIA}\nFrom:[$local];tag={TAG}\nTo:[$remote]\nCall-ID: [call_id]");
        message(&[&first, &cseq, CONTACT, headers], body)
    }

    fn sends(mut self, text: &str, again: bool) -> Self {
        let retrans = if again { " retrans=\"500\"" } else { "" };
        let _ = writeln!(self.steps, "  <send{retrans}>\n    <![CDATA[\n{text}\n    ]]>\n  </send>");
        self
    }

    fn receives_xml(mut self, attributes: &str, checks: &[Check]) -> Self {
        let mut actions = String::new();
        for (number, check) in checks.iter().enumerate() {
            let junk = format!("found_{}_{number}", self.steps.len());
            let (name, rest) = match check {
                Check::Holds(text) => {
                    (junk, format!("search_in=\"msg\" regexp=\"{}\" check_it=\"true\"", escaped(text)))
                }
                Check::Lacks(text) => {
                    (junk, format!("search_in=\"msg\" regexp=\"{}\" check_it_inverse=\"true\"", escaped(text)))
                }
                Check::Saves(name, header, text) => (
                    (*name).to_owned(),
                    format!("search_in=\"hdr\" header=\"{header}:\" regexp=\"{}\" check_it=\"true\"", escaped(text)),
                ),
                Check::Authorizes(user, password) => {
                    let who = format!("username=\"{user}\" password=\"{password}\"");
                    let _ = writeln!(actions, "    <verifyauth assign_to=\"authorized\" {who} />");
                    continue;
                }
            };
            let _ = writeln!(actions, "    <ereg {rest} assign_to=\"{name}\" />");
            self.variables.push(name);
        }
        let _ = match actions.is_empty() {
            true => writeln!(self.steps, "  <recv {attributes} />"),
            false => writeln!(self.steps, "  <recv {attributes}>\n   <action>\n{actions}   </action>\n  </recv>"),
        };
        self
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// An offer or answer of one audio stream at this port of loopback. `formats` such as `0 101`, further lines such as
/// `a=sendonly`.
pub fn sdp(port: u16, formats: &str, lines: &str) -> String {
    let mut text = format!(
        "v=0\no=far 53655765 2353687637 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n\
         m=audio {port} RTP/AVP {formats}\n"
    );
    for format in formats.split(' ') {
        let _ = match format {
            "0" => writeln!(text, "a=rtpmap:0 PCMU/8000"),
            "8" => writeln!(text, "a=rtpmap:8 PCMA/8000"),
            "9" => writeln!(text, "a=rtpmap:9 G722/8000"),
            "13" => writeln!(text, "a=rtpmap:13 CN/8000"),
            keys => writeln!(text, "a=rtpmap:{keys} telephone-event/8000\na=fmtp:{keys} 0-15"),
        };
    }
    text.push_str("a=ptime:20\n");
    text.push_str(lines);
    text.trim_end().to_owned()
}

const VIA: &str = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\nMax-Forwards: 70";
const CONTACT: &str = "Contact: <sip:far@[local_ip]:[local_port];transport=[transport]>";
const TAG: &str = "[pid]-[call_number]";
const TAGGED: &str = ";tag=[pid]-[call_number]";

/// The parts that are not empty, a line each, and the body.
fn message(head: &[&str], body: Option<(&str, &str)>) -> String {
    let mut text: String = head.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n")).collect();
    match body {
        Some((kind, body)) => {
            let _ = write!(text, "Content-Type: {kind}\nContent-Length: [len]\n\n{body}");
        }
        None => text.push_str("Content-Length: 0\n"),
    }
    text
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        487 => "Request Terminated",
        491 => "Request Pending",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Whatever",
    }
}
