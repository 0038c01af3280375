//! What a request must pass before it is given to a call (RFC 3261 section 8.2.1 to 8.2.3).

use super::EndpointConfig;
use crate::message::{Essentials, HeaderName, Message, Method, Scheme, Uri};
use std::fmt::Write as _;

/// A refusal with the field that explains it.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) field: Option<(HeaderName, String)>,
}

impl Refusal {
    pub(super) const fn bare(status: u16) -> Self {
        Self { status, field: None }
    }

    pub(super) fn with(status: u16, name: HeaderName, value: impl Into<String>) -> Self {
        Self { status, field: Some((name, value.into())) }
    }
}

/// Methods an endpoint serves; the text of Allow.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";
/// Body types an INVITE may carry; the text of Accept.
pub(super) const ACCEPT: &str = "application/sdp";
/// Extensions a peer may require; the text of Supported.
pub(super) fn supported(config: &EndpointConfig) -> Vec<&'static str> {
    let mut options = vec!["replaces", "norefersub"];
    if config.reliable_provisionals {
        options.push("100rel");
    }
    if config.session_timer.enabled {
        options.push("timer");
    }
    options
}

/// Checks that hold for every request: method, scheme, extensions.
pub(super) fn any(request: &Message, method: &Method, target: &Uri<'_>, supported: &[&str]) -> Result<(), Refusal> {
    use Method::{Ack, Bye, Cancel, Info, Invite, Notify, Options, Prack, Refer, Update};
    if !matches!(method, Invite | Ack | Bye | Cancel | Options | Info | Update | Prack | Refer | Notify) {
        let status = if method.is_known() { 405 } else { 501 };
        return Err(Refusal::with(status, HeaderName::Allow, ALLOW));
    }
    if target.scheme() == Scheme::Other {
        return Err(Refusal::bare(416));
    }
    let tagged = || request.address(HeaderName::To).is_ok_and(|to| to.tag().is_some());
    if request.has(HeaderName::Replaces) && (*method != Invite || tagged()) {
        // RFC 3891 section 3: only a new call takes the place of another.
        return Err(Refusal::bare(400));
    }
    let mut unknown = String::new();
    for option in request.tokens(HeaderName::Require).filter(|option| !is_one_of(supported, option)) {
        let comma = if unknown.is_empty() { "" } else { ", " };
        write!(unknown, "{comma}{option}").ok();
    }
    if !unknown.is_empty() {
        return Err(Refusal::with(420, HeaderName::Unsupported, unknown));
    }
    Ok(())
}

/// Checks on the offer of an INVITE or UPDATE, and on what the caller can take in return.
pub(super) fn offer(request: &Message) -> Result<(), Refusal> {
    let plain = |coding: &str| coding.eq_ignore_ascii_case("identity");
    if !request.tokens(HeaderName::ContentEncoding).all(plain) {
        return Err(Refusal::with(415, HeaderName::AcceptEncoding, "identity"));
    }
    let sdp = request.content_type().is_some_and(|media| media == ACCEPT);
    if !request.body().is_empty() && !sdp {
        return Err(Refusal::with(415, HeaderName::Accept, ACCEPT));
    }
    let takes = |media: &str| {
        let media = media.to_ascii_lowercase();
        matches!(media.as_str(), "application/sdp" | "application/*" | "*/*")
    };
    if request.has(HeaderName::Accept) && !request.tokens(HeaderName::Accept).any(takes) {
        return Err(Refusal::bare(406));
    }
    Ok(())
}

/// A new call needs an address to reach the caller at. RFC 2543 callers may leave it out.
pub(super) fn contact(seen: &Essentials<'_>) -> Result<(), Refusal> {
    if seen.contact.is_none() && seen.via.has_magic_branch() {
        return Err(Refusal::bare(400));
    }
    Ok(())
}

fn is_one_of(supported: &[&str], option: &str) -> bool {
    supported.iter().any(|known| known.eq_ignore_ascii_case(option))
}
