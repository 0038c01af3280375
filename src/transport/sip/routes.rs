//! The ways on which a call of ours may go out, as whoever knows the trunks gives them.
//!
//! Deliberately absent: whether the number may be called at all, which is decided before.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use offhook_sip::auth::Credentials;
use offhook_sip::message::{ExtraHeader, UriBuf};
use offhook_sip::{Flow, Transport};

use super::media::MediaProfile;

/// One way out.
#[derive(Clone, Debug)]
pub struct Route {
    pub flow: Flow,
    /// The Request-URI.
    pub target: UriBuf,
    /// The number that we show.
    pub from: UriBuf,
    /// The display name beside it.
    pub from_display: Option<String>,
    /// What the trunk is to have besides.
    pub headers: Vec<ExtraHeader>,
    /// What the trunk's calls agree on in place of the server's own.
    pub profile: Option<MediaProfile>,
    /// For a next hop that asks who we are.
    pub credentials: Option<Credentials>,
    /// Where the route is a trunk's.
    pub trunk: Option<Arc<str>>,
}

/// What is to be called.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// A number, or a SIP address of the operator's own.
    pub to: &'a str,
    /// The only trunk that may carry it.
    pub trunk: Option<&'a str>,
    pub caller_id: Option<&'a str>,
}

/// Knows the ways out.
pub trait Routes: Send {
    /// All ways, the best one first; none when there is no way now.
    fn route(&mut self, wanted: Wanted<'_>) -> Vec<Route>;

    /// What calls that come from this address agree on, where it is a trunk's.
    fn profile_of(&self, _source: IpAddr) -> Option<MediaProfile> {
        None
    }

    /// The trunk whose calls come from this address.
    fn trunk_of(&self, _source: IpAddr) -> Option<Arc<str>> {
        None
    }

    /// Takes a place on this trunk for a call; `false` when it has none left.
    fn begin(&mut self, _trunk: &str) -> bool {
        true
    }

    /// A call over this trunk is over.
    fn ended(&mut self, _trunk: &str) {}
}

/// Without trunks only SIP addresses with an IP address for a host can be reached.
pub struct Direct {
    /// Where our SIP socket is bound.
    pub local: SocketAddr,
    pub user: String,
}

impl Routes for Direct {
    fn route(&mut self, wanted: Wanted<'_>) -> Vec<Route> {
        let Ok(target) = UriBuf::parse(wanted.to) else { return Vec::new() };
        let Some(remote) = literal(&target).filter(|_| wanted.trunk.is_none()) else { return Vec::new() };
        let flow = Flow { transport: Transport::Udp, local: self.local, remote, connection: None };
        let user = wanted.caller_id.unwrap_or(&self.user);
        let Ok(from) = UriBuf::parse(format!("sip:{user}@{}", self.local)) else { return Vec::new() };
        vec![Route {
            flow,
            target,
            from,
            credentials: None,
            trunk: None,
            from_display: None,
            headers: Vec::new(),
            profile: None,
        }]
    }
}

/// RFC 3261 section 19.1.2.
const SIP_PORT: u16 = 5060;

/// The address of a URI whose host is one.
fn literal(target: &UriBuf) -> Option<SocketAddr> {
    let uri = target.uri();
    Some(SocketAddr::new(uri.host()?.ip()?, uri.port().unwrap_or(SIP_PORT)))
}

/// The address of ours from which packets go to `remote`: what an offer names where we are bound to any address.
pub fn source_address(local: SocketAddr, remote: SocketAddr) -> IpAddr {
    if !local.ip().is_unspecified() {
        return local.ip();
    }
    // Connecting a UDP socket sends nothing: the system only chooses the way.
    let any = SocketAddr::new(local.ip(), 0);
    let chosen = std::net::UdpSocket::bind(any).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    chosen.map_or(local.ip(), |address| address.ip())
}
