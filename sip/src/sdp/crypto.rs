//! Keys for SRTP inside a session description: `a=crypto` (RFC 4568), suites of RFC 4568 and RFC 6188.
//!
//! Keys are wiped when they are dropped and never printed. Deliberately absent: several keys in one attribute, key
//! derivation rates, and every parameter that would take encryption or authentication away; an attribute that asks for
//! one of these is passed over as RFC 4568 section 6.3.7 allows, as is one of a suite that is not listed here.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// How packets are encrypted and authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CryptoSuite {
    /// AES-128 in counter mode, tags of 80 bits (RFC 4568 section 6.2.1).
    AesCm128HmacSha1Tag80,
    /// AES-128 in counter mode, tags of 32 bits for RTP and 80 for RTCP (RFC 4568 section 6.2.2).
    AesCm128HmacSha1Tag32,
    /// AES-256 in counter mode, tags of 80 bits (RFC 6188 section 4).
    Aes256CmHmacSha1Tag80,
    /// AES-256 in counter mode, tags of 32 bits for RTP and 80 for RTCP (RFC 6188 section 4).
    Aes256CmHmacSha1Tag32,
}

impl CryptoSuite {
    /// Every suite, in the order in which we offer them: the one that everybody has comes first.
    pub const ALL: [Self; 4] = [
        Self::AesCm128HmacSha1Tag80,
        Self::Aes256CmHmacSha1Tag80,
        Self::AesCm128HmacSha1Tag32,
        Self::Aes256CmHmacSha1Tag32,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1Tag80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1Tag32 => "AES_256_CM_HMAC_SHA1_32",
        }
    }

    /// Octets of master key and master salt together.
    pub const fn key_and_salt(self) -> usize {
        match self {
            Self::AesCm128HmacSha1Tag80 | Self::AesCm128HmacSha1Tag32 => 16 + SALT,
            Self::Aes256CmHmacSha1Tag80 | Self::Aes256CmHmacSha1Tag32 => 32 + SALT,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }
}

/// A master key with its salt. Wiped when dropped; `Debug` says only how long it is.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    octets: Zeroizing<[u8; LONGEST]>,
    length: usize,
}

impl MasterKey {
    /// Takes the first octets of `random` that `suite` needs.
    pub fn new(suite: CryptoSuite, random: &[u8; LONGEST]) -> Self {
        let length = suite.key_and_salt();
        let mut octets = Zeroizing::new([0; LONGEST]);
        octets.iter_mut().zip(random).take(length).for_each(|(octet, random)| *octet = *random);
        Self { octets, length }
    }

    /// The key followed by the salt of 14 octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    fn from_base64(suite: CryptoSuite, text: &str) -> Option<Self> {
        let mut room = Zeroizing::new([0; LONGEST + 2]);
        let length = BASE64.decode_slice(text, room.as_mut_slice()).ok()?;
        let mut key = Self { octets: Zeroizing::new([0; LONGEST]), length };
        key.octets.iter_mut().zip(room.iter()).for_each(|(octet, read)| *octet = *read);
        (length == suite.key_and_salt()).then_some(key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({} octets)", self.length)
    }
}

/// A master key identifier: every packet carries it behind its payload (RFC 3711 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    pub value: u64,
    /// Octets in a packet, 1 to 8.
    pub length: u8,
}

/// One `a=crypto` that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: CryptoSuite,
    /// What the one who states it encrypts with.
    pub key: MasterKey,
    /// Packets that the key is good for, at most 2^48.
    pub lifetime: u64,
    pub mki: Option<Mki>,
}

/// A key of ours for one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalKey {
    pub suite: CryptoSuite,
    pub key: MasterKey,
}

/// What `a=crypto` turned out to be.
pub(super) enum Read {
    Usable(Crypto),
    /// Well formed, but with a suite or a parameter that is not ours.
    Foreign,
    Malformed,
}

/// Reads the value of `a=crypto` (RFC 4568 section 9.1).
pub(super) fn parse(value: &str) -> Read {
    let mut fields = value.split_ascii_whitespace();
    let (Some(tag), Some(suite), Some(keys)) = (fields.next(), fields.next(), fields.next()) else {
        return Read::Malformed;
    };
    let tag_fits = !tag.is_empty() && tag.len() <= 9 && tag.bytes().all(|byte| byte.is_ascii_digit());
    let Some(tag) = tag.parse().ok().filter(|_| tag_fits) else { return Read::Malformed };
    let Some(suite) = CryptoSuite::named(suite) else { return Read::Foreign };
    if keys.contains(';') || !fields.all(harmless) {
        return Read::Foreign;
    }
    match key_parameter(suite, keys) {
        Some((key, lifetime, mki)) => Read::Usable(Crypto { tag, suite, key, lifetime, mki }),
        None => Read::Malformed,
    }
}

/// Writes the line that states `key` under `tag`, with its line end.
pub(super) fn write(text: &mut String, tag: u32, suite: CryptoSuite, key: &MasterKey) {
    write!(text, "a=crypto:{tag} {} inline:", suite.name()).ok();
    BASE64.encode_string(key.octets(), text);
    text.push_str("\r\n");
}

/// Octets of the longest key with its salt.
pub const LONGEST: usize = 46;

const SALT: usize = 14;

/// RFC 3711 section 9.2: no key serves more packets.
const MOST_PACKETS: u64 = 1 << 48;

/// Whoever leaves the padding out is understood too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Session parameters that change nothing for us: a derivation rate of none, a hint about the window, and extensions
/// marked as optional.
fn harmless(parameter: &str) -> bool {
    parameter == "KDR=0" || parameter.starts_with("WSH=") || parameter.starts_with('-')
}

/// `inline:<key><salt>[|lifetime][|MKI:length]`.
fn key_parameter(suite: CryptoSuite, text: &str) -> Option<(MasterKey, u64, Option<Mki>)> {
    let mut parts = text.strip_prefix("inline:")?.split('|');
    let key = MasterKey::from_base64(suite, parts.next()?)?;
    let (mut packets, mut identifier) = (MOST_PACKETS, None);
    let mut next = parts.next();
    if let Some(part) = next.filter(|part| !part.contains(':')) {
        packets = lifetime(part)?;
        next = parts.next();
    }
    if let Some(part) = next {
        identifier = Some(mki(part)?);
        next = parts.next();
    }
    next.is_none().then_some((key, packets, identifier))
}

fn lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1u64.checked_shl(power.parse::<u32>().ok()?)?,
        None => text.parse().ok()?,
    };
    (1..=MOST_PACKETS).contains(&packets).then_some(packets)
}

fn mki(text: &str) -> Option<Mki> {
    let (value, length) = text.split_once(':')?;
    let (value, length) = (value.parse().ok()?, length.parse::<u8>().ok()?);
    let fits = matches!(length, 1..=8) && (length == 8 || value < 1u64 << (8 * u32::from(length)));
    fits.then_some(Mki { value, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn usable(value: &str) -> Option<Crypto> {
        match parse(value) {
            Read::Usable(crypto) => Some(crypto),
            Read::Foreign | Read::Malformed => None,
        }
    }

    #[test]
    fn reads_the_examples_of_the_rfc() {
        let crypto = usable(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4")).unwrap();
        assert_eq!((crypto.tag, crypto.suite), (1, CryptoSuite::AesCm128HmacSha1Tag80));
        assert_eq!((crypto.lifetime, crypto.mki), (1 << 20, Some(Mki { value: 1, length: 4 })));
        assert_eq!(crypto.key.octets().len(), 30);
        let crypto = usable(&format!("21 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|1:4 WSH=128 -x=y KDR=0")).unwrap();
        assert_eq!((crypto.lifetime, crypto.mki), (1 << 48, Some(Mki { value: 1, length: 4 })));
        let long = BASE64.encode([7; 46]);
        for text in [long.as_str(), long.trim_end_matches('=')] {
            let crypto = usable(&format!("9 AES_256_CM_HMAC_SHA1_80 inline:{text}")).unwrap();
            assert_eq!(crypto.key.octets(), [7; 46]);
        }
    }

    #[test]
    fn what_is_not_ours_is_passed_over_and_what_is_broken_is_named() {
        let foreign = [
            "1 F8_128_HMAC_SHA1_80 inline:x".to_owned(),
            "1 AEAD_AES_128_GCM inline:x".to_owned(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} FEC_ORDER=FEC_SRTP"),
        ];
        assert!(foreign.iter().all(|value| matches!(parse(value), Read::Foreign)));
        let malformed = [
            String::new(),
            "1".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".to_owned(),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{KEY}{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|0"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^4294967297"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:0"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|256:1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4|1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4|2^20"),
        ];
        for value in malformed {
            assert!(matches!(parse(&value), Read::Malformed), "{value}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let crypto = usable(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        let printed = format!("{crypto:?}");
        assert!(printed.contains("MasterKey(30 octets)") && !printed.contains("89"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_key_is_read_back(random in proptest::array::uniform32(any::<u8>()), tag in 0u32..1_000_000_000) {
            let mut octets = [0; LONGEST];
            octets[..32].copy_from_slice(&random);
            for suite in CryptoSuite::ALL {
                let (key, mut text) = (MasterKey::new(suite, &octets), String::new());
                write(&mut text, tag, suite, &key);
                let read = usable(text.trim_end().strip_prefix("a=crypto:").unwrap()).unwrap();
                prop_assert_eq!((read.tag, read.suite, read.key), (tag, suite, key));
            }
        }

        #[test]
        fn nothing_panics(text in "[ -~]{0,120}", tail in "[0-9^:|;A-Za-z=]{0,40}") {
            parse(&text);
            parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|{tail}"));
        }
    }
}
