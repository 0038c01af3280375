//! Networks in CIDR notation (RFC 4632 section 3.1), for lists of sources.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

/// A network, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address lies in it. An IPv4 address that is mapped into IPv6 counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                leading(u128::from(own.to_bits() ^ other.to_bits()), 32) >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                leading(own.to_bits() ^ other.to_bits(), 128) >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    /// Its first address, as it was written.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all of its addresses share.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Networks that no packet crosses the internet from: RFC 1918, RFC 4193, loopback and link-local.
    pub fn private() -> Vec<Self> {
        PRIVATE.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = |bits: &&str| bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            Some(bits) => Some(bits).filter(plain).and_then(|bits| bits.parse().ok()).ok_or(EXPECTED)?,
            None => most,
        };
        if bits > most {
            return Err(EXPECTED);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

const EXPECTED: &str = "expected an address or a network such as 203.0.113.0/24 or 2001:db8::/32";

const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// Leading bits of a `width`-bit difference that are zero.
const fn leading(difference: u128, width: u32) -> u32 {
    difference.leading_zeros().saturating_sub(128 - width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network_or_not() {
        let inside =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        for (network, address, expected) in [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::/0", "2001:db8::1", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ] {
            assert_eq!(inside(network, address), expected, "{network} {address}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0/8", "host", "10.0.0.0/8/8", " ::1"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_the_same(a: [u8; 4], bits in 0_u8..=32, b: [u8; 16], wide in 0_u8..=128) {
            for network in [Network { address: a.into(), bits }, Network { address: b.into(), bits: wide }] {
                proptest::prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
                proptest::prop_assert!(network.bits == 0 || network.address.to_canonical() != network.address
                    || network.contains(network.address));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9.:/]{0,20}") {
            let _ = text.parse::<Network>();
        }
    }
}
