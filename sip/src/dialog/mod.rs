//! Dialog state (RFC 3261 section 12): who the two ends are, where requests go, how they are numbered.
//!
//! A dialog writes requests; when they are sent, and what they mean for a call, is the endpoint's.

mod progress;
mod replaces;

pub(crate) use progress::{SubscriptionState, fragment_status};
pub use replaces::{BadReplaces, Replaces};

use crate::message::{Essentials, HeaderName, Message, Method, ParseError, Scheme, Uri, Writer};
use std::net::{IpAddr, SocketAddr};

pub(crate) struct Dialog {
    call_id: String,
    local_tag: String,
    remote_tag: String,
    /// Our From value in requests, tag included.
    local: String,
    /// Our To value in requests, tag included.
    remote: String,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    route_set: Vec<String>,
    remote_target: String,
}

/// What identifies a dialog (RFC 3261 section 12): Call-ID, our tag, their tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DialogId {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
}

impl Dialog {
    /// The callee's dialog, from the INVITE (section 12.1.1).
    pub(crate) fn callee(invite: &Message, seen: &Essentials<'_>, local_tag: &str) -> Result<Self, ParseError> {
        let to = invite.text(HeaderName::To).unwrap_or_default();
        // An RFC 2543 caller may leave Contact out; its From is then all there is to go by.
        let target = seen.contact.as_ref().unwrap_or(&seen.from).uri().as_str();
        Ok(Self {
            call_id: seen.call_id.to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: seen.from.tag().unwrap_or_default().to_owned(),
            local: format!("{to};tag={local_tag}"),
            remote: invite.text(HeaderName::From).unwrap_or_default().into_owned(),
            local_cseq: 0,
            remote_cseq: Some(seen.cseq.number),
            route_set: record_route(invite)?,
            remote_target: target.to_owned(),
        })
    }

    /// The caller's dialog, from a response that carries a To tag (section 12.1.2).
    pub(crate) fn caller(response: &Message, seen: &Essentials<'_>) -> Result<Self, ParseError> {
        let mut route_set = record_route(response)?;
        route_set.reverse();
        let target = seen.contact.as_ref().unwrap_or(&seen.to).uri().as_str();
        Ok(Self {
            call_id: seen.call_id.to_owned(),
            local_tag: seen.from.tag().unwrap_or_default().to_owned(),
            remote_tag: seen.to.tag().unwrap_or_default().to_owned(),
            local: response.text(HeaderName::From).unwrap_or_default().into_owned(),
            remote: response.text(HeaderName::To).unwrap_or_default().into_owned(),
            local_cseq: seen.cseq.number,
            remote_cseq: None,
            route_set,
            remote_target: target.to_owned(),
        })
    }

    pub(crate) fn id(&self) -> DialogId {
        DialogId {
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
            remote_tag: self.remote_tag.clone(),
        }
    }

    /// True where the other side is to be reached by a SIPS URI.
    pub(crate) fn is_secure(&self) -> bool {
        Uri::parse(&self.remote_target).is_ok_and(|uri| uri.scheme() == Scheme::Sips)
    }

    pub(crate) fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// Takes over the numbering of the same dialog in its early state.
    pub(crate) fn inherit(&mut self, early: &Self) {
        if self.remote_tag == early.remote_tag {
            self.local_cseq = self.local_cseq.max(early.local_cseq);
            self.remote_cseq = early.remote_cseq;
        }
    }

    /// Notes the number of a request from the other side. False where it is not higher than the last
    /// (section 12.2.2: such a request is out of order).
    pub(crate) fn accept_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// Target refresh (section 12.2.1.2 and 12.2.2): the Contact of a re-INVITE, an UPDATE or their 2xx.
    pub(crate) fn refresh(&mut self, contact: &Uri<'_>) {
        self.remote_target = contact.as_str().to_owned();
    }

    /// A new request within the dialog (section 12.2.1.1) with the next number.
    pub(crate) fn request(&mut self, method: &Method, via: &str) -> Writer {
        let number = self.next_cseq();
        self.write(method, number, via)
    }

    /// The number of our last request.
    pub(crate) fn last_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// The number of a request that is sent again as a new one.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// The ACK of a 2xx, which repeats the INVITE's number (section 13.2.2.4).
    pub(crate) fn ack(&self, cseq: u32, via: &str) -> Writer {
        self.write(&Method::Ack, cseq, via)
    }

    /// Where requests go, if numbers alone can tell: the first route, or the remote target. Names are
    /// never resolved, and no message goes to an address that is not one host's: `None` leaves the
    /// way the dialog was made.
    pub(crate) fn next_hop(&self) -> Option<SocketAddr> {
        let route = self.route_set.first().map(|route| strip_brackets(route));
        let uri = Uri::parse(route.unwrap_or(&self.remote_target)).ok()?;
        let address = uri.host()?.ip()?;
        is_one_host(address).then(|| SocketAddr::new(address, uri.port().unwrap_or(default_port(&uri))))
    }

    fn write(&self, method: &Method, cseq: u32, via: &str) -> Writer {
        let strict = self.route_set.first().map(|route| strip_brackets(route)).filter(|route| !is_loose(route));
        let mut writer = Writer::request(method, strict.unwrap_or(&self.remote_target));
        writer.header(HeaderName::Via, via).header(HeaderName::MaxForwards, 70);
        // A strict router takes its own URI from the request line, so the target goes last.
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            writer.header(HeaderName::Route, route);
        }
        if strict.is_some() {
            let target = Uri::parse(&self.remote_target).map_or(&*self.remote_target, |uri| uri.without_headers());
            writer.header(HeaderName::Route, format_args!("<{target}>"));
        }
        writer
            .header(HeaderName::From, &self.local)
            .header(HeaderName::To, &self.remote)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{cseq} {method}"));
        writer
    }
}

/// Section 19.1.2 and 26.2.2.
fn default_port(uri: &Uri<'_>) -> u16 {
    let tls = uri.param("transport").flatten().is_some_and(|transport| transport.eq_ignore_ascii_case("tls"));
    if tls || uri.scheme() == Scheme::Sips { 5061 } else { 5060 }
}

fn record_route(message: &Message) -> Result<Vec<String>, ParseError> {
    let routes = message.addresses(HeaderName::RecordRoute)?;
    let text = |route: &crate::message::NameAddr<'_>| {
        format!("<{}>{}", route.uri().as_str(), String::from_utf8_lossy(route.params().raw()))
    };
    Ok(routes.iter().take(MAX_ROUTES).map(text).collect())
}

fn strip_brackets(route: &str) -> &str {
    let inside = route.strip_prefix('<').unwrap_or(route);
    inside.split_once('>').map_or(inside, |(uri, _)| uri)
}

fn is_loose(route: &str) -> bool {
    Uri::parse(route).is_ok_and(|uri| uri.is_loose_router())
}

/// False for addresses that stand for nobody or for many.
pub(crate) fn is_one_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

const MAX_ROUTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn dialog(routes: &str) -> Dialog {
        let text = format!(
            "INVITE sip:b@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1\r\n{routes}\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 INVITE\r\n\
             Contact: <sip:a@10.0.0.9:5080>\r\n\r\n"
        );
        let message = Message::parse(Bytes::from(text)).unwrap();
        let seen = message.essentials().unwrap();
        Dialog::callee(&message, &seen, "2").unwrap()
    }

    fn bye(dialog: &mut Dialog) -> Message {
        Message::parse(dialog.request(&Method::Bye, "SIP/2.0/UDP x;branch=z9hG4bK2").finish(None)).unwrap()
    }

    #[test]
    fn loose_routes_are_kept_in_order_and_the_target_is_called() {
        let mut dialog = dialog("Record-Route: <sip:10.0.0.3;lr>, <sip:10.0.0.4;lr>\r\n");
        let bye = bye(&mut dialog);
        assert_eq!(bye.request_uri().unwrap().as_str(), "sip:a@10.0.0.9:5080");
        let routes = bye.values(HeaderName::Route).collect::<Vec<_>>();
        assert_eq!(routes, [b"<sip:10.0.0.3;lr>".as_slice(), b"<sip:10.0.0.4;lr>"]);
        assert_eq!(dialog.next_hop(), Some("10.0.0.3:5060".parse().unwrap()));
        let seen = bye.essentials().unwrap();
        assert_eq!((seen.from.tag(), seen.to.tag(), seen.cseq.number), (Some("2"), Some("1"), 1));
    }

    #[test]
    fn a_strict_router_takes_the_request_line() {
        let mut dialog = dialog("Record-Route: <sip:10.0.0.3>\r\n");
        let bye = bye(&mut dialog);
        assert_eq!(bye.request_uri().unwrap().as_str(), "sip:10.0.0.3");
        assert_eq!(bye.values(HeaderName::Route).collect::<Vec<_>>(), [b"<sip:a@10.0.0.9:5080>"]);
    }

    #[test]
    fn numbers_must_rise_and_nobody_is_no_hop() {
        let mut dialog = dialog("");
        assert!(!dialog.accept_cseq(5) && dialog.accept_cseq(6) && !dialog.accept_cseq(6));
        for target in ["sip:a@0.0.0.0", "sip:a@255.255.255.255", "sip:a@239.1.1.1", "sip:a@host.example"] {
            dialog.refresh(&Uri::parse(target).unwrap());
            assert_eq!(dialog.next_hop(), None, "{target}");
        }
    }
}
