//! The RTP ports of the machine: even ones, taken in turn, and none used again before its quarantine has passed, so
//! that a new call never hears the last packets of an old one.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::call::Moment;
use crate::clock;

/// An inclusive range of UDP ports, written `20000-29999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The `rtp` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtpConfig {
    /// The even ones of these are used, one per call; the odd one above each is RTCP's.
    pub ports: PortRange,
    /// The address to bind; none takes that of `sip.listen`.
    pub listen: Option<IpAddr>,
}

impl Default for RtpConfig {
    fn default() -> Self {
        Self { ports: PortRange { first: 20_000, last: 29_999 }, listen: None }
    }
}

/// Ports free and in quarantine. Cheap to clone.
#[derive(Clone)]
pub struct PortPool(Arc<Pool>);

/// A bound RTP socket; its port goes into quarantine when this is dropped.
pub struct RtpPort {
    pub socket: UdpSocket,
    port: u16,
    pool: Arc<Pool>,
}

impl PortPool {
    pub fn new(address: IpAddr, range: PortRange) -> Self {
        let even = (range.first..=range.last).filter(|port| port % 2 == 0);
        let free = even.map(|port| (Moment::ZERO, port)).collect();
        Self(Arc::new(Pool { address, free: Mutex::new(free) }))
    }

    /// Binds the port that has rested longest. Ports that some other program holds are passed over.
    ///
    /// # Errors
    /// When no port is free.
    pub fn bind(&self) -> Result<RtpPort, NoPort> {
        let tries = self.0.free.lock().len();
        for _ in 0..tries.min(MOST_TRIES) {
            let port = self.0.take(clock::now()).ok_or(NoPort)?;
            match bind(SocketAddr::new(self.0.address, port)) {
                Ok(socket) => return Ok(RtpPort { socket, port, pool: Arc::clone(&self.0) }),
                Err(_) => self.0.give_back(port, clock::now()),
            }
        }
        Err(NoPort)
    }
}

impl RtpPort {
    pub const fn number(&self) -> u16 {
        self.port
    }
}

impl Drop for RtpPort {
    fn drop(&mut self) {
        self.pool.give_back(self.port, clock::now());
    }
}

/// Every RTP port is in use or resting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RTP port is free in rtp.ports")]
pub struct NoPort;

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range of ports such as `20000-29999` (first at least 1024, at least 2 ports)");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first = first.trim().parse().map_err(|_| wrong())?;
        let last = last.trim().parse().map_err(|_| wrong())?;
        if first < 1024 || last <= first {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A port rests this long before it is used again.
const QUARANTINE: Duration = Duration::from_secs(5);

/// Ports held by other programs that are passed over in one go.
const MOST_TRIES: usize = 64;

struct Pool {
    address: IpAddr,
    /// Oldest release first.
    free: Mutex<VecDeque<(Moment, u16)>>,
}

impl Pool {
    fn take(&self, now: Moment) -> Option<u16> {
        let mut free = self.free.lock();
        let (usable_from, port) = free.front().copied()?;
        if usable_from > now {
            return None;
        }
        free.pop_front();
        Some(port)
    }

    fn give_back(&self, port: u16, now: Moment) {
        self.free.lock().push_back((now + QUARANTINE, port));
    }
}

fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_none_is_named() {
        assert_eq!("20000-29999".parse::<PortRange>().unwrap().to_string(), "20000-29999");
        for wrong in ["", "20000", "80-90", "30000-20000", "20000-x", "20000-20000"] {
            assert!(wrong.parse::<PortRange>().unwrap_err().contains("not a range of ports"), "{wrong}");
        }
    }

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let range = "41000-41003".parse().unwrap();
        let pool = PortPool::new("127.0.0.1".parse().unwrap(), range);
        let first = pool.0.take(Moment::ZERO).unwrap();
        pool.0.take(Moment::ZERO).unwrap();
        pool.0.give_back(first, Moment::from_secs(1));
        assert_eq!(pool.0.take(Moment::from_secs(5)), None);
        assert_eq!(pool.0.take(Moment::from_secs(6)), Some(first));
    }
}
