//! The RTP ports of the machine: even ones, taken in turn, and none used again before its quarantine has passed, so
//! that a new call never hears the last packets of an old one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::call::Moment;
use crate::clock;
use crate::config::PortRange;

/// Ports free and in quarantine. Cheap to clone.
#[derive(Clone)]
pub struct PortPool(Arc<Pool>);

/// A bound RTP socket. Dropped, its port goes into quarantine if anybody was told of it, and is free at once otherwise:
/// offers that are refused must not use the ports up.
pub struct RtpPort {
    // Closed before the port is given back: fields are dropped in their order.
    pub socket: UdpSocket,
    lease: Lease,
}

struct Lease {
    port: u16,
    announced: bool,
    pool: Arc<Pool>,
}

impl PortPool {
    pub fn new(address: IpAddr, range: PortRange) -> Self {
        let free = range.even_ports().map(|port| (Moment::ZERO, port)).collect();
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
                Ok(socket) => {
                    let lease = Lease { port, announced: false, pool: Arc::clone(&self.0) };
                    return Ok(RtpPort { socket, lease });
                }
                Err(_) => self.0.give_back(port, clock::now()),
            }
        }
        Err(NoPort)
    }
}

impl RtpPort {
    pub const fn number(&self) -> u16 {
        self.lease.port
    }

    /// Binds the odd port above, for RTCP.
    ///
    /// # Errors
    /// When some other program holds it.
    pub fn bind_rtcp(&self) -> std::io::Result<UdpSocket> {
        // Pool ports are even, so that there is one above.
        bind(SocketAddr::new(self.lease.pool.address, self.lease.port | 1))
    }

    /// The far side is told of the port; packets may come to it from now on.
    pub const fn announce(&mut self) {
        self.lease.announced = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.announced {
            self.pool.give_back(self.port, clock::now());
        } else {
            self.pool.free.lock().push_front((Moment::ZERO, self.port));
        }
    }
}

/// Every RTP port is in use or resting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RTP port is free in rtp.ports")]
pub struct NoPort;

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
    fn a_port_rests_before_it_is_used_again() {
        let range = "41000-41003".parse().unwrap();
        let pool = PortPool::new("127.0.0.1".parse().unwrap(), range);
        let first = pool.0.take(Moment::ZERO).unwrap();
        pool.0.take(Moment::ZERO).unwrap();
        pool.0.give_back(first, Moment::from_secs(1));
        assert_eq!(pool.0.take(Moment::from_secs(5)), None);
        assert_eq!(pool.0.take(Moment::from_secs(6)), Some(first));
    }

    /// Of loopback, and no other process's: what runs beside this test cannot hold a port of it.
    fn own_address() -> IpAddr {
        let [high, middle, low, last] = std::process::id().to_be_bytes();
        IpAddr::from([127, 1 + (high ^ middle) % 254, low, last.max(2)])
    }

    #[test]
    fn only_an_announced_port_rests() {
        let pool = PortPool::new(own_address(), "41010-41011".parse().unwrap());
        drop(pool.bind().unwrap());
        let mut port = pool.bind().unwrap();
        port.announce();
        drop(port);
        assert_eq!(pool.bind().err(), Some(NoPort));
    }
}
