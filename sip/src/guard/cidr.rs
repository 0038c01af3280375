//! Networks by address and prefix length (RFC 4632 section 3.1, RFC 4291 section 2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    #[error("not an IP address")]
    Address,
    #[error("prefix length is not a number between 0 and 32 (IPv4) or 128 (IPv6)")]
    Prefix,
    #[error("the address has bits set behind its prefix length")]
    HostBits,
}

impl Cidr {
    pub(super) const LOOPBACK_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 };
    pub(super) const LOOPBACK_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 };
    pub(super) const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    pub(super) const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// Checks that the prefix fits the family and covers every bit that is set.
    ///
    /// # Errors
    /// See [`BadCidr`].
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, BadCidr> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if prefix > width {
            return Err(BadCidr::Prefix);
        }
        let network = Self { address, prefix };
        if bits(address) & !mask(prefix) != 0 {
            return Err(BadCidr::HostBits);
        }
        Ok(network)
    }

    /// An IPv4 address that came over an IPv6 socket counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mask = mask(self.prefix);
        address.is_ipv4() == self.address.is_ipv4() && bits(address) & mask == bits(self.address)
    }
}

impl From<IpAddr> for Cidr {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(|address: IpAddr| Self::from(address)).map_err(|_| BadCidr::Address);
        };
        let address = address.parse().map_err(|_| BadCidr::Address)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or(BadCidr::Prefix)?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Ones for the network part; both families begin at the top bit.
fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses_only() {
        let inside = |network: &str, address: &str| network.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.1.2") && !inside("10.0.0.0/8", "11.0.0.0"));
        assert!(inside("192.0.2.7", "192.0.2.7") && !inside("192.0.2.7", "192.0.2.6"));
        assert!(inside("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1") && !inside("2001:db8::/32", "2001:db9::1"));
        assert!(inside("0.0.0.0/0", "8.8.8.8") && !inside("0.0.0.0/0", "::1") && inside("::/0", "::1"));
    }

    #[test]
    fn a_bad_network_is_named() {
        for (text, wanted) in [
            ("", BadCidr::Address),
            ("example.com", BadCidr::Address),
            ("10.0.0.0/33", BadCidr::Prefix),
            ("10.0.0.0/", BadCidr::Prefix),
            ("10.0.0.0/+8", BadCidr::Prefix),
            ("::/129", BadCidr::Prefix),
            ("10.0.0.1/8", BadCidr::HostBits),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(wanted), "{text}");
        }
    }
}
