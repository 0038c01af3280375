//! Networks in lists of sources. The rules of the notation are those of `offhook-sip`.

use std::net::IpAddr;

use offhook_sip::guard::Cidr;
use serde::de::{Deserialize, Deserializer, Error};

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(pub Cidr);

impl Network {
    /// Networks that no packet crosses the internet from: RFC 1918, RFC 4193, loopback and link-local.
    pub fn private() -> Vec<Self> {
        read(&PRIVATE)
    }

    /// This machine.
    pub fn loopback() -> Vec<Self> {
        read(&LOOPBACK)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = |why| format!("expected a network such as 203.0.113.0/24, or an address: {why}");
        text.parse().map(Self).map_err(|why| D::Error::custom(expected(why)))
    }
}

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

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

fn read(texts: &[&str]) -> Vec<Network> {
    texts.iter().filter_map(|text| text.parse().ok().map(Network)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lists_are_whole() {
        assert_eq!((Network::private().len(), Network::loopback().len()), (PRIVATE.len(), LOOPBACK.len()));
        assert!(Network::private().iter().any(|network| network.contains(IpAddr::from([172, 31, 255, 1]))));
    }
}
