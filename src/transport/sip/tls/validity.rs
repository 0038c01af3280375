//! From when until when a certificate holds: just so much of X.509 (RFC 5280 section 4.1) as that takes.
//!
//! Deliberately absent: names, signatures and everything else; rustls judges those.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The time in which a certificate holds, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// Reads it out of a certificate in DER; none where the bytes are no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der, SEQUENCE)?;
        let (_, mut fields, _) = element(certificate, SEQUENCE)?;
        // version [0], serialNumber, signature, issuer: all of them before the validity.
        if let Some((_, _, rest)) = element(fields, VERSION) {
            fields = rest;
        }
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, _, fields) = element(fields, tag)?;
        }
        let (_, validity, _) = element(fields, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The element at the front: its tag, its content, and what follows it. Lengths of up to four bytes (X.690 section 8.1).
fn element(bytes: &[u8], wanted: u8) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    if *tag != wanted {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (number, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (number.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A time at the front, and what follows it (RFC 5280 section 4.1.2.5).
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    if let Some((_, text, rest)) = element(bytes, UTC_TIME) {
        let (year, others) = text.split_at_checked(2)?;
        let year = number(year)?;
        return Some((moment(if year < 50 { 2000 + year } else { 1900 + year }, others)?, rest));
    }
    let (_, text, rest) = element(bytes, GENERALIZED_TIME)?;
    let (year, others) = text.split_at_checked(4)?;
    Some((moment(number(year)?, others)?, rest))
}

/// `MMDDHHMMSSZ` of a year.
fn moment(year: i16, rest: &[u8]) -> Option<Timestamp> {
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut parts = [0_i8; 5];
    for (part, pair) in parts.iter_mut().zip(digits.chunks(2)) {
        *part = i8::try_from(number(pair)?).ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let date = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn number(digits: &[u8]) -> Option<i16> {
    let lawful = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| lawful)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["sip.example.net".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2055, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let validity = Validity::read(&certificate()).unwrap();
        assert_eq!(validity.not_before.to_string(), "2020-02-29T00:00:00Z");
        assert_eq!(validity.not_after.to_string(), "2055-12-31T00:00:00Z");
    }

    #[test]
    fn a_certificate_cut_short_is_none() {
        let whole = certificate();
        for length in 0..100 {
            assert_eq!(Validity::read(&whole[..length]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0_usize..200, byte: u8, length in 0_usize..600) {
            let mut bytes = certificate();
            bytes[at] = byte;
            bytes.truncate(length);
            let _ = Validity::read(&bytes);
        }
    }
}
