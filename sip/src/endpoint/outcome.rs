//! What an answer to our INVITE tells beside its status: who answered, or why it was refused.
//!
//! Contacts of a redirect are only reported. Whether a call goes there is for whoever placed it to decide: a stranger's
//! 302 must not choose whom we pay to call.

use crate::message::{HeaderName, Message, UriBuf, decimal};
use crate::pii::Pii;

/// Who answered a call that we placed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// Which early dialog it was, as [`crate::Event::Progress`] numbers them; 0 where it was none of them.
    pub early: u32,
    /// The first P-Asserted-Identity. Only as true as the network it came through.
    pub identity: Option<Pii<String>>,
    /// Contact: where the call is now, such as for Refer-To.
    pub contact: Option<Pii<UriBuf>>,
    /// Values of header fields an application may ask for, as [`crate::IncomingInvite::headers`].
    pub headers: Vec<(String, Pii<String>)>,
}

/// A final answer that refuses our INVITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub kind: RefusalKind,
    /// Retry-After, in seconds.
    pub retry_after_s: Option<u32>,
    /// The first Warning.
    pub warning: Option<Warning>,
    /// Contacts of a 3xx in their order, at most 8. They are never called by the endpoint.
    pub contacts: Vec<Pii<UriBuf>>,
}

/// A Warning value (RFC 3261 section 20.43).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// 300 to 399.
    pub code: u16,
    /// At most 200 characters.
    pub text: Pii<String>,
}

/// What a refusal means for whoever placed the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// 3xx: it is to be called elsewhere.
    Redirected,
    /// 401, 407: credentials are missing or wrong.
    Unauthorized,
    /// 402, 403.
    Forbidden,
    /// 404, 410, 485, 604: there is no such number.
    NotFound,
    /// 484: the number is too short.
    Incomplete,
    /// 408, 480: nobody is there, or nobody answers.
    Unavailable,
    /// 486, 600.
    Busy,
    /// 603, 607, 608: the callee does not want the call.
    Declined,
    /// 406, 415, 488, 580, 606: no common media.
    NotAcceptable,
    /// 487: it was ended before it was answered.
    Terminated,
    /// 503: too much is asked of the server, or it drains.
    Overloaded,
    /// 5xx but 503 and 580.
    ServerFailure,
    /// Any other 4xx or 6xx: the request itself is at fault.
    Other,
}

impl RefusalKind {
    pub const fn of(status: u16) -> Self {
        match status {
            300..=399 => Self::Redirected,
            401 | 407 => Self::Unauthorized,
            402 | 403 => Self::Forbidden,
            404 | 410 | 485 | 604 => Self::NotFound,
            484 => Self::Incomplete,
            408 | 480 => Self::Unavailable,
            486 | 600 => Self::Busy,
            603 | 607 | 608 => Self::Declined,
            406 | 415 | 488 | 580 | 606 => Self::NotAcceptable,
            487 => Self::Terminated,
            503 => Self::Overloaded,
            500..600 => Self::ServerFailure,
            _ => Self::Other,
        }
    }
}

impl Refused {
    pub(super) fn read(status: u16, response: &Message) -> Self {
        let contacts = if status < 400 { contacts(response) } else { Vec::new() };
        let kind = RefusalKind::of(status);
        Self { status, kind, retry_after_s: retry_after(response), warning: Warning::read(response), contacts }
    }
}

impl Remote {
    pub(super) fn read(early: u32, response: &Message) -> Self {
        let identity = response.text(HeaderName::PAssertedIdentity).map(|value| Pii::new(value.into_owned()));
        let contact = response.contact().ok().flatten().and_then(|contact| UriBuf::parse(contact.uri().as_str()).ok());
        Self { early, identity, contact: contact.map(Pii::new), headers: selected(response) }
    }
}

impl Warning {
    fn read(response: &Message) -> Option<Self> {
        let value = response.text(HeaderName::Warning)?;
        let (code, rest) = value.trim().split_once(' ')?;
        let code = decimal(code.as_bytes()).and_then(|code| u16::try_from(code).ok())?;
        if !(300..400).contains(&code) {
            return None;
        }
        let text = rest.split('"').nth(1).unwrap_or_default();
        let text = text.chars().filter(|letter| !letter.is_control()).take(MAX_WARNING).collect();
        Some(Self { code, text: Pii::new(text) })
    }
}

/// Seconds of Retry-After; what follows the number is not looked at.
pub(super) fn retry_after(response: &Message) -> Option<u32> {
    let value = response.values(HeaderName::RetryAfter).next()?;
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    decimal(value.get(..end)?)
}

/// Fields an application may ask for: identity, diversion, subject, and every extension field.
pub(super) fn selected(message: &Message) -> Vec<(String, Pii<String>)> {
    use HeaderName::*;
    let wanted = |name: HeaderName| {
        let identity = matches!(name, PAssertedIdentity | PPreferredIdentity | Privacy | Identity | ReferredBy);
        let routing = matches!(name, Diversion | HistoryInfo | Subject | Priority | AlertInfo | CallInfo | UserAgent);
        identity || routing || name == Other
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = message.iter().filter(|(name, ..)| wanted(*name)).take(MAX_SELECTED);
    fields
        .map(|(name, spelled, value)| {
            let name = if name == Other { text(spelled) } else { name.as_str().to_owned() };
            (name, Pii::new(text(value)))
        })
        .collect()
}

fn contacts(response: &Message) -> Vec<Pii<UriBuf>> {
    let addresses = response.addresses(HeaderName::Contact).unwrap_or_default();
    let uris = addresses.iter().take(MAX_CONTACTS).filter_map(|address| UriBuf::parse(address.uri().as_str()).ok());
    uris.map(Pii::new).collect()
}

const MAX_SELECTED: usize = 64;
const MAX_CONTACTS: usize = 8;
const MAX_WARNING: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn refused(status: u16, fields: &str) -> Refused {
        let text = format!("SIP/2.0 {status} x\r\n{fields}\r\n");
        Refused::read(status, &Message::parse(Bytes::from(text)).unwrap())
    }

    #[test]
    fn what_explains_a_refusal_is_read() {
        let busy = refused(503, "Retry-After: 120 (later);duration=5\r\nWarning: 399 host \"full, sorry\"\r\n");
        assert_eq!((busy.kind, busy.retry_after_s), (RefusalKind::Overloaded, Some(120)));
        let warning = busy.warning.unwrap();
        assert_eq!((warning.code, warning.text.reveal().as_str()), (399, "full, sorry"));
        let odd = refused(500, "Retry-After: soon\r\nWarning: none\r\nContact: <sip:a@b>\r\n");
        assert_eq!((odd.retry_after_s, odd.warning, odd.contacts.len()), (None, None, 0));
    }

    #[test]
    fn contacts_of_a_redirect_are_bounded() {
        let moved = refused(302, "Contact: <sip:a@b>;q=0.5, tel:+123\r\n");
        let contacts: Vec<_> = moved.contacts.iter().map(|contact| contact.reveal().as_str()).collect();
        assert_eq!((moved.kind, contacts), (RefusalKind::Redirected, vec!["sip:a@b", "tel:+123"]));
        assert_eq!(refused(300, &"Contact: <sip:a@b>\r\n".repeat(40)).contacts.len(), MAX_CONTACTS);
    }

    #[test]
    fn every_status_has_one_meaning() {
        for status in 300..700 {
            let kind = RefusalKind::of(status);
            assert_eq!(kind == RefusalKind::Redirected, status < 400, "{status}");
        }
        assert_eq!(RefusalKind::of(699), RefusalKind::Other);
        assert_eq!(RefusalKind::of(599), RefusalKind::ServerFailure);
    }
}
