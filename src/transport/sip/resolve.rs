//! From a trunk's address to the sockets to try, in order (RFC 3263 section 4, RFC 2782).
//!
//! Answers are kept for as long as they say (TTL). Literal addresses ask nobody. Deliberately absent: which of the
//! targets is alive; `trunks.rs` learns that by asking them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{RData, RecordType};
use offhook_sip::Transport;
use rand::RngExt;
use tokio::time::{Instant, timeout};

use crate::config::sip::{Host, SipAddress, SipTransport};

/// One socket to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub transport: Transport,
    pub address: SocketAddr,
    pub place: Place,
}

/// Where a socket stands among the servers of a service (RFC 2782); all of one server have the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Lower first.
    pub priority: u16,
    /// The share of calls among those of the same priority.
    pub weight: u16,
    /// Tells servers apart that are alike otherwise.
    pub server: usize,
}

/// The targets of an address, best first, and for how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub targets: Vec<Target>,
    /// How they were found, in words for `offhook doctor`.
    pub how: String,
    pub holds: Duration,
}

/// Why an address leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("no address found for {0}")]
    NoAddress(String),
    #[error("no name server answered about {0}")]
    NoAnswer(String),
    #[error("no name server is known")]
    NoServer,
}

/// Asks name servers. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Option<TokioResolver>);

impl Resolver {
    /// Asks these servers; without any, those of the system.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().ok()
        } else {
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
            Some(TokioResolver::builder_with_config(config, Default::default()))
        };
        let resolver = builder.and_then(|mut builder| {
            limits(builder.options_mut());
            builder.build().ok()
        });
        Self(resolver)
    }

    /// Everything that an address leads to.
    ///
    /// # Errors
    /// That it leads nowhere, and why.
    pub async fn targets(
        &self,
        address: &SipAddress,
        transport: Option<SipTransport>,
    ) -> Result<Resolved, ResolveError> {
        let transport = transport.or(address.transport);
        match &address.host {
            Host::Ip(ip) => {
                let transport = transport.unwrap_or(SipTransport::Udp);
                let port = address.port.unwrap_or(transport.default_port());
                let address = SocketAddr::new(*ip, port);
                let target = Target { transport: wire(transport), address, place: Place::default() };
                Ok(Resolved { targets: vec![target], how: "a literal address".to_owned(), holds: LONGEST })
            }
            Host::Name(name) => match timeout(ALL, self.named(name, address.port, transport)).await {
                Ok(resolved) => resolved,
                Err(_) => Err(ResolveError::NoAnswer(name.clone())),
            },
        }
    }

    async fn named(
        &self,
        name: &str,
        port: Option<u16>,
        transport: Option<SipTransport>,
    ) -> Result<Resolved, ResolveError> {
        if let Some(port) = port {
            let transport = transport.unwrap_or(SipTransport::Udp);
            return self.hosts(name, port, transport, "A and AAAA records, as a port is given").await;
        }
        for (service, transport, how) in self.services(name, transport).await {
            if let Some(found) = self.service(&service, transport, how).await {
                return Ok(found);
            }
        }
        let transport = transport.unwrap_or(SipTransport::Udp);
        self.hosts(name, transport.default_port(), transport, "A and AAAA records, as there is no SRV record").await
    }

    /// The SRV names to ask about, best first.
    async fn services(&self, name: &str, transport: Option<SipTransport>) -> Vec<(String, SipTransport, &'static str)> {
        if let Some(transport) = transport {
            return vec![(service_name(name, transport), transport, "SRV records")];
        }
        let records = self.lookup(name, RecordType::NAPTR).await;
        let naptr = records.iter().flatten().filter_map(|data| match data {
            RData::NAPTR(naptr) => Some(naptr),
            _ => None,
        });
        let services = by_naptr(naptr);
        if !services.is_empty() {
            return services.into_iter().map(|(name, transport)| (name, transport, "NAPTR and SRV records")).collect();
        }
        let all = [SipTransport::Udp, SipTransport::Tcp, SipTransport::Tls];
        all.into_iter().map(|transport| (service_name(name, transport), transport, "SRV records")).collect()
    }

    async fn service(&self, name: &str, transport: SipTransport, how: &str) -> Option<Resolved> {
        let began = Instant::now();
        let (records, holds) = self.lookup_for(name, RecordType::SRV).await.ok()?;
        let servers = records.iter().filter_map(|data| match data {
            RData::SRV(srv) => Some(srv.clone()),
            _ => None,
        });
        let mut targets = Vec::new();
        let mut holds = holds;
        let rank = |server: &SRV| (server.priority, server.weight);
        for (number, server) in
            in_order(servers.collect(), rank, |most| rand::rng().random_range(0..=most)).iter().enumerate()
        {
            // A single dot says that the service is not offered (RFC 2782).
            if server.target.is_root() || targets.len() >= MOST_TARGETS || began.elapsed() > ALL {
                continue;
            }
            if let Ok(found) = self.hosts(&server.target.to_utf8(), server.port, transport, how).await {
                let place = Place { priority: server.priority, weight: server.weight, server: number };
                targets.extend(found.targets.into_iter().map(|target| Target { place, ..target }));
                holds = holds.min(found.holds);
            }
        }
        targets.truncate(MOST_TARGETS);
        (!targets.is_empty()).then(|| Resolved { targets, how: format!("{how} of {name}"), holds })
    }

    async fn hosts(&self, name: &str, port: u16, transport: SipTransport, how: &str) -> Result<Resolved, ResolveError> {
        let resolver = self.0.as_ref().ok_or(ResolveError::NoServer)?;
        let found = resolver.lookup_ip(name).await;
        let found = found.map_err(|error| {
            if error.is_no_records_found() || error.is_nx_domain() {
                ResolveError::NoAddress(name.to_owned())
            } else {
                ResolveError::NoAnswer(name.to_owned())
            }
        })?;
        let holds = until(found.valid_until());
        let (transport, place) = (wire(transport), Place::default());
        let target = |ip: IpAddr| Target { transport, address: SocketAddr::new(ip, port), place };
        let targets: Vec<Target> = found.iter().take(MOST_TARGETS).map(target).collect();
        if targets.is_empty() {
            return Err(ResolveError::NoAddress(name.to_owned()));
        }
        Ok(Resolved { targets, how: format!("{how} of {name}"), holds })
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        self.lookup_for(name, kind).await.ok().map(|(records, _)| records)
    }

    async fn lookup_for(&self, name: &str, kind: RecordType) -> Result<(Vec<RData>, Duration), ResolveError> {
        let resolver = self.0.as_ref().ok_or(ResolveError::NoServer)?;
        let found = resolver.lookup(name, kind).await.map_err(|_| ResolveError::NoAddress(name.to_owned()))?;
        let records = found.answers().iter().take(MOST_RECORDS).map(|record| record.data.clone()).collect();
        Ok((records, until(found.valid_until())))
    }
}

/// Servers in the order to try them: by priority, and within one at random by weight (RFC 2782). `rank` gives both of
/// them, `pick` a number from 0 to the one it is given.
pub fn in_order<T>(mut servers: Vec<T>, rank: impl Fn(&T) -> (u16, u16), mut pick: impl FnMut(u32) -> u32) -> Vec<T> {
    // Those without weight first, so that they have a small chance too.
    servers.sort_by_key(|server| (rank(server).0, rank(server).1 != 0));
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some((priority, _)) = servers.first().map(&rank) {
        let same = servers.iter().map(&rank).take_while(|(other, _)| *other == priority);
        let weights: Vec<u32> = same.map(|(_, weight)| u32::from(weight)).collect();
        let chosen = pick(weights.iter().sum());
        let mut sum = 0;
        let place = weights.iter().position(|weight| {
            sum += weight;
            sum >= chosen
        });
        ordered.push(servers.remove(place.unwrap_or(0)));
    }
    ordered
}

/// The SRV names of the services that we speak, best first.
fn by_naptr<'a>(records: impl Iterator<Item = &'a NAPTR>) -> Vec<(String, SipTransport)> {
    let mut known: Vec<(u16, u16, String, SipTransport)> = records
        .filter(|naptr| naptr.flags.eq_ignore_ascii_case(b"s"))
        .filter_map(|naptr| {
            let transport = match naptr.services.to_ascii_uppercase().as_slice() {
                b"SIP+D2U" => SipTransport::Udp,
                b"SIP+D2T" => SipTransport::Tcp,
                b"SIPS+D2T" => SipTransport::Tls,
                _ => return None,
            };
            Some((naptr.order, naptr.preference, naptr.replacement.to_utf8(), transport))
        })
        .collect();
    known.sort_by_key(|(order, preference, ..)| (*order, *preference));
    known.into_iter().take(MOST_RECORDS).map(|(_, _, name, transport)| (name, transport)).collect()
}

/// RFC 3263 section 4.1.
fn service_name(name: &str, transport: SipTransport) -> String {
    let service = match transport {
        SipTransport::Udp => "_sip._udp",
        SipTransport::Tcp => "_sip._tcp",
        SipTransport::Tls => "_sips._tcp",
    };
    format!("{service}.{name}.")
}

pub const fn wire(transport: SipTransport) -> Transport {
    match transport {
        SipTransport::Udp => Transport::Udp,
        SipTransport::Tcp => Transport::Tcp,
        SipTransport::Tls => Transport::Tls,
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn limits(options: &mut ResolverOpts) {
    options.timeout = ONE;
    options.attempts = 1;
    options.cache_size = 1024;
    options.negative_max_ttl = Some(Duration::from_secs(30));
}

fn until(at: std::time::Instant) -> Duration {
    at.saturating_duration_since(Instant::now().into_std()).clamp(SHORTEST, LONGEST)
}

/// Longest wait for one server's answer.
const ONE: Duration = Duration::from_secs(1);

/// Longest wait for everything that an address leads to.
const ALL: Duration = Duration::from_secs(4);

/// However short a TTL is, nobody is asked more often.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);

const MOST_TARGETS: usize = 16;
const MOST_RECORDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;

    fn srv(priority: u16, weight: u16, port: u16) -> SRV {
        SRV::new(priority, weight, port, Name::from_ascii("a.example.net.").unwrap())
    }

    fn rank(server: &SRV) -> (u16, u16) {
        (server.priority, server.weight)
    }

    fn ports(servers: Vec<SRV>, picks: &[u32]) -> Vec<u16> {
        let mut picks = picks.iter();
        let ordered = in_order(servers, rank, |most| picks.next().copied().unwrap().min(most));
        ordered.iter().map(|server| server.port).collect()
    }

    #[test]
    fn servers_are_tried_by_priority_then_by_weight() {
        let servers = || vec![srv(20, 0, 5), srv(10, 60, 1), srv(10, 20, 2), srv(10, 0, 3), srv(20, 0, 6)];
        assert_eq!(ports(servers(), &[0, 0, 0, 0, 0]), [3, 1, 2, 5, 6]);
        assert_eq!(ports(servers(), &[80, 60, 0, 0, 0]), [2, 1, 3, 5, 6]);
        assert_eq!(ports(servers(), &[61, 1, 0, 0, 0]), [2, 1, 3, 5, 6]);
        assert_eq!(ports(Vec::new(), &[]), [0_u16; 0]);
    }

    #[test]
    fn weights_are_shares() {
        let mut rng = rand::rng();
        let firsts = |share: u16, rng: &mut rand::rngs::ThreadRng| {
            (0..2000)
                .filter(|_| {
                    let servers = vec![srv(1, share, 1), srv(1, 100 - share, 2)];
                    in_order(servers, rank, |most| rng.random_range(0..=most))[0].port == 1
                })
                .count()
        };
        let three_quarters = firsts(75, &mut rng);
        assert!((1380..1620).contains(&three_quarters), "{three_quarters} of 2000");
    }

    #[test]
    fn naptr_orders_the_transports_we_speak() {
        let naptr = |order, preference, flags: &[u8], service: &[u8], to: &str| {
            let to = Name::from_ascii(to).unwrap();
            NAPTR::new(order, preference, flags.into(), service.into(), Box::default(), to)
        };
        let records = [
            naptr(50, 50, b"s", b"SIP+D2T", "_sip._tcp.example.net."),
            naptr(50, 40, b"S", b"sips+d2t", "_sips._tcp.example.net."),
            naptr(10, 10, b"s", b"SIP+D2S", "_sip._sctp.example.net."),
            naptr(10, 90, b"u", b"SIP+D2U", "x.example.net."),
            naptr(90, 50, b"s", b"SIP+D2U", "_sip._udp.example.net."),
        ];
        let order: Vec<SipTransport> = by_naptr(records.iter()).into_iter().map(|(_, transport)| transport).collect();
        assert_eq!(order, [SipTransport::Tls, SipTransport::Tcp, SipTransport::Udp]);
    }

    #[tokio::test]
    async fn a_literal_asks_nobody() {
        let resolver = Resolver(None);
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:5060"),
            ("sips:192.0.2.1", "192.0.2.1:5061"),
            ("[2001:db8::1]:5070", "[2001:db8::1]:5070"),
        ] {
            let found = resolver.targets(&text.parse().unwrap(), None).await.unwrap();
            assert_eq!(found.targets[0].address.to_string(), expected);
        }
        let error = resolver.targets(&"example.net".parse().unwrap(), None).await.unwrap_err();
        assert_eq!(error, ResolveError::NoServer);
    }
}
