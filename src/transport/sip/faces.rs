//! The address that a peer knows this server by: what goes into Via, Contact and session descriptions for it.
//!
//! Behind NAT that is `sip.external_address` for everybody but the peers of `sip.local_networks`; on a wildcard bind it
//! is the address that packets to the peer leave from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use offhook_sip::{Flow, Transport};
use parking_lot::Mutex;

use crate::config::SipConfig;
use crate::config::sip::Network;

/// The faces of this server. Cheap to clone.
#[derive(Clone)]
pub struct Faces(Arc<Inner>);

struct Inner {
    /// UDP and TCP.
    bound: SocketAddr,
    /// Where peers reach us over TLS; without a listener, the address of TCP.
    tls_bound: SocketAddr,
    external: Option<IpAddr>,
    local_networks: Vec<Network>,
    /// Only asked where a listener is bound to every address.
    leaves_from: Mutex<HashMap<IpAddr, IpAddr>>,
}

impl Faces {
    pub fn new(config: &SipConfig, bound: SocketAddr, tls_bound: Option<SocketAddr>) -> Self {
        Self(Arc::new(Inner {
            bound,
            tls_bound: tls_bound.unwrap_or(bound),
            external: config.external_address,
            local_networks: config.local_networks.clone(),
            leaves_from: Mutex::default(),
        }))
    }

    /// The way to a peer, as the endpoint is told of it.
    pub fn flow(&self, transport: Transport, remote: SocketAddr, connection: Option<u64>) -> Flow {
        let bound = if transport == Transport::Tls { self.0.tls_bound } else { self.0.bound };
        let local = SocketAddr::new(self.address(bound.ip(), remote), bound.port());
        Flow { transport, local, remote, connection }
    }

    fn address(&self, bound: IpAddr, remote: SocketAddr) -> IpAddr {
        let peer = remote.ip().to_canonical();
        if let Some(external) = self.0.external
            && external.is_ipv4() == peer.is_ipv4()
            && !self.0.local_networks.iter().any(|network| network.contains(peer))
        {
            return external;
        }
        if !bound.is_unspecified() {
            return bound;
        }
        let mut known = self.0.leaves_from.lock();
        if let Some(address) = known.get(&peer) {
            return *address;
        }
        // Addresses can be forged and networks change: what is known is bounded and not kept for ever.
        if known.len() >= MOST_PEERS {
            known.clear();
        }
        let address = leaves_from(bound, remote).unwrap_or(bound);
        known.insert(peer, address);
        address
    }
}

/// The address of ours that packets to `remote` carry: connecting a UDP socket sends nothing, the system only chooses.
pub fn leaves_from(bound: IpAddr, remote: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(bound, 0)).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|address| address.ip().to_canonical())
}

const MOST_PEERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn face(sip: &str, bound: &str, remote: &str) -> String {
        let config = crate::config::parse("a.yaml", sip).unwrap().sip;
        let faces = Faces::new(&config, bound.parse().unwrap(), None);
        faces.flow(Transport::Udp, remote.parse().unwrap(), None).local.to_string()
    }

    #[test]
    fn strangers_see_the_external_address_and_neighbours_the_local_one() {
        let nat = "sip: {external_address: 203.0.113.7}\n";
        assert_eq!(face(nat, "10.0.0.5:5060", "198.51.100.1:5060"), "203.0.113.7:5060");
        assert_eq!(face(nat, "10.0.0.5:5060", "10.9.9.9:5060"), "10.0.0.5:5060");
        assert_eq!(face(nat, "0.0.0.0:5060", "127.0.0.1:9"), "127.0.0.1:5060");
        assert_eq!(face(nat, "[::1]:5060", "[2001:db8::1]:5060"), "[::1]:5060");
        assert_eq!(face("sip: {}\n", "0.0.0.0:5060", "127.0.0.1:9"), "127.0.0.1:5060");
        let all = "sip: {external_address: 203.0.113.7, local_networks: []}\n";
        assert_eq!(face(all, "127.0.0.1:5060", "127.0.0.1:9"), "203.0.113.7:5060");
    }
}
