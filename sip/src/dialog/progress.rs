//! What a NOTIFY of a transfer says (RFC 3515 section 2.4.5, RFC 6665 section 8.4): the state of the subscription,
//! and the status line in a `message/sipfrag` body (RFC 3420).
//!
//! Of a fragment only the status line counts; what follows it is not looked at.

/// The value of Subscription-State, as far as a transfer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscriptionState {
    /// `active` and `pending`, with the seconds that are left where they are said.
    Active {
        expires_s: Option<u32>,
    },
    Terminated,
}

impl SubscriptionState {
    /// `None` where the value is no state. A state without a meaning here counts as active, as section 4.1.3 of RFC
    /// 6665 asks.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let state = parts.next().filter(|state| is_token(state))?;
        if state.eq_ignore_ascii_case("terminated") {
            return Some(Self::Terminated);
        }
        let named = parts.filter_map(|part| part.split_once('='));
        let mut expires = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("expires"));
        let expires_s = match expires.next() {
            Some((_, seconds)) => Some(crate::message::decimal(seconds.trim().as_bytes())?),
            None => None,
        };
        Some(Self::Active { expires_s })
    }
}

/// The status of a fragment that begins with a Status-Line: `SIP/2.0 180 Ringing`. `None` for anything else.
pub(crate) fn fragment_status(body: &[u8]) -> Option<u16> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty())?;
    let (version, rest) = line.split_at_checked(8)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0 ") {
        return None;
    }
    let (digits, after) = rest.split_at_checked(3)?;
    if !matches!(after.first(), None | Some(b' ')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = crate::message::decimal(digits).and_then(|status| u16::try_from(status).ok())?;
    (100..700).contains(&status).then_some(status)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn states_are_read() {
        use SubscriptionState::{Active, Terminated};
        for (text, wanted) in [
            ("active;expires=60", Some(Active { expires_s: Some(60) })),
            ("Active ; Expires = 5 ;x=y", Some(Active { expires_s: Some(5) })),
            ("pending", Some(Active { expires_s: None })),
            ("terminated;reason=noresource", Some(Terminated)),
            ("TERMINATED", Some(Terminated)),
            ("waiting", Some(Active { expires_s: None })),
            ("active;expires=x", None),
            ("active;expires=99999999999", None),
            ("", None),
            (";expires=1", None),
        ] {
            assert_eq!(SubscriptionState::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn only_a_status_line_has_a_status() {
        for (text, wanted) in [
            ("SIP/2.0 100 Trying\r\n", Some(100)),
            ("SIP/2.0 603 Declined", Some(603)),
            ("sip/2.0 200", Some(200)),
            ("\r\nSIP/2.0 180 Ringing\r\nTo: x\r\n", Some(180)),
            ("SIP/2.0 99 x", None),
            ("SIP/2.0 700 x", None),
            ("SIP/2.0 2000", None),
            ("SIP/2.0 +20 x", None),
            ("SIP/3.0 200 OK", None),
            ("INVITE sip:a@b SIP/2.0", None),
            ("", None),
        ] {
            assert_eq!(fragment_status(text.as_bytes()), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "\\PC{0,40}", tail in "[ -~]{0,20}") {
            fragment_status(&bytes);
            SubscriptionState::parse(&text);
            prop_assert_eq!(fragment_status(format!("SIP/2.0 486 {tail}").as_bytes()), Some(486));
        }
    }
}
