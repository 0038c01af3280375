//! Header field names this library knows, with their compact forms (RFC 3261 section 7.3.3).
//!
//! Unknown names stay in the message and are found by their text; only known ones have a variant.

/// A header field name. `Other` stands for every name not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderName {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Contact,
    ContentLength,
    ContentType,
    ContentEncoding,
    ContentDisposition,
    ContentLanguage,
    Route,
    RecordRoute,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Allow,
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    Expires,
    MinExpires,
    Reason,
    RetryAfter,
    UserAgent,
    Server,
    Subject,
    Event,
    AllowEvents,
    ReferTo,
    ReferredBy,
    ReferSub,
    SubscriptionState,
    Replaces,
    SessionExpires,
    MinSe,
    RSeq,
    RAck,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    PAssertedIdentity,
    PPreferredIdentity,
    Privacy,
    Diversion,
    HistoryInfo,
    Identity,
    Warning,
    Date,
    Timestamp,
    Organization,
    Priority,
    MimeVersion,
    AlertInfo,
    CallInfo,
    InfoPackage,
    RecvInfo,
    Path,
    ServiceRoute,
    /// A name this library has no rule for.
    Other,
}

impl HeaderName {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Other.index() + 1;

    /// The place in a table of all names.
    #[expect(clippy::as_conversions, reason = "an enum without fields, counted from 0")]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The canonical spelling; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::MaxForwards => "Max-Forwards",
            Self::Contact => "Contact",
            Self::ContentLength => "Content-Length",
            Self::ContentType => "Content-Type",
            Self::ContentEncoding => "Content-Encoding",
            Self::ContentDisposition => "Content-Disposition",
            Self::ContentLanguage => "Content-Language",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Require => "Require",
            Self::ProxyRequire => "Proxy-Require",
            Self::Supported => "Supported",
            Self::Unsupported => "Unsupported",
            Self::Allow => "Allow",
            Self::Accept => "Accept",
            Self::AcceptEncoding => "Accept-Encoding",
            Self::AcceptLanguage => "Accept-Language",
            Self::Expires => "Expires",
            Self::MinExpires => "Min-Expires",
            Self::Reason => "Reason",
            Self::RetryAfter => "Retry-After",
            Self::UserAgent => "User-Agent",
            Self::Server => "Server",
            Self::Subject => "Subject",
            Self::Event => "Event",
            Self::AllowEvents => "Allow-Events",
            Self::ReferTo => "Refer-To",
            Self::ReferredBy => "Referred-By",
            Self::ReferSub => "Refer-Sub",
            Self::SubscriptionState => "Subscription-State",
            Self::Replaces => "Replaces",
            Self::SessionExpires => "Session-Expires",
            Self::MinSe => "Min-SE",
            Self::RSeq => "RSeq",
            Self::RAck => "RAck",
            Self::Authorization => "Authorization",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::PAssertedIdentity => "P-Asserted-Identity",
            Self::PPreferredIdentity => "P-Preferred-Identity",
            Self::Privacy => "Privacy",
            Self::Diversion => "Diversion",
            Self::HistoryInfo => "History-Info",
            Self::Identity => "Identity",
            Self::Warning => "Warning",
            Self::Date => "Date",
            Self::Timestamp => "Timestamp",
            Self::Organization => "Organization",
            Self::Priority => "Priority",
            Self::MimeVersion => "MIME-Version",
            Self::AlertInfo => "Alert-Info",
            Self::CallInfo => "Call-Info",
            Self::InfoPackage => "Info-Package",
            Self::RecvInfo => "Recv-Info",
            Self::Path => "Path",
            Self::ServiceRoute => "Service-Route",
            Self::Other => "",
        }
    }

    /// Finds the name by its wire spelling, long or compact, in any case.
    pub fn from_wire(name: &[u8]) -> Self {
        if let [letter] = name {
            return Self::from_compact(letter.to_ascii_lowercase());
        }
        // Most candidates of a length differ in their last letter already.
        let last = name.last().map(u8::to_ascii_lowercase);
        let same = |candidate: &&HeaderName| {
            let candidate = candidate.as_str().as_bytes();
            let near = candidate.last().map(u8::to_ascii_lowercase) == last;
            near && (candidate == name || candidate.eq_ignore_ascii_case(name))
        };
        candidates(name.len()).iter().find(same).copied().unwrap_or(Self::Other)
    }

    /// True where RFC 3261 table 2 lets the field stand only once and this library relies on it.
    pub(crate) const fn is_single(self) -> bool {
        use HeaderName::*;
        matches!(self, From | To | CallId | CSeq | MaxForwards | ContentLength | ContentType | Expires)
    }

    const fn from_compact(letter: u8) -> Self {
        match letter {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'i' => Self::CallId,
            b'm' => Self::Contact,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'e' => Self::ContentEncoding,
            b'k' => Self::Supported,
            b's' => Self::Subject,
            b'o' => Self::Event,
            b'u' => Self::AllowEvents,
            b'r' => Self::ReferTo,
            b'b' => Self::ReferredBy,
            b'x' => Self::SessionExpires,
            b'y' => Self::Identity,
            _ => Self::Other,
        }
    }
}

/// Names of one length: a lookup compares a handful of texts, not all of them.
const fn candidates(length: usize) -> &'static [HeaderName] {
    use HeaderName::*;
    match length {
        2 => &[To],
        3 => &[Via],
        4 => &[From, CSeq, RSeq, RAck, Date, Path],
        5 => &[Route, Allow, Event],
        6 => &[Accept, Reason, Server, MinSe],
        7 => &[CallId, Contact, Require, Expires, Subject, Privacy, Warning],
        8 => &[ReferTo, Replaces, Identity, Priority],
        9 => &[Supported, Diversion, Timestamp, CallInfo, RecvInfo, ReferSub],
        10 => &[UserAgent, AlertInfo],
        11 => &[Unsupported, MinExpires, RetryAfter, ReferredBy],
        12 => {
            &[MaxForwards, ContentType, RecordRoute, AllowEvents, HistoryInfo, Organization, MimeVersion, InfoPackage]
        }
        13 => &[ProxyRequire, Authorization, ServiceRoute],
        14 => &[ContentLength],
        15 => &[AcceptEncoding, AcceptLanguage, SessionExpires],
        16 => &[ContentEncoding, ContentLanguage, WwwAuthenticate],
        18 => &[ProxyAuthenticate, SubscriptionState],
        19 => &[ContentDisposition, ProxyAuthorization, PAssertedIdentity],
        20 => &[PPreferredIdentity],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        let known = (0..32).flat_map(|length| candidates(length).iter().copied());
        let mut count = 0;
        for name in known {
            assert_eq!(HeaderName::from_wire(name.as_str().to_ascii_uppercase().as_bytes()), name);
            count += 1;
        }
        assert_eq!(count, 62);
    }

    #[test]
    fn compact_forms_and_strangers() {
        assert_eq!(HeaderName::from_wire(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_wire(b"x"), HeaderName::SessionExpires);
        assert_eq!(HeaderName::from_wire(b"z"), HeaderName::Other);
        assert_eq!(HeaderName::from_wire(b"Vias"), HeaderName::Other);
        assert_eq!(HeaderName::from_wire(b""), HeaderName::Other);
    }
}
