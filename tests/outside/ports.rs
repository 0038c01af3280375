//! Ports of loopback for the programs of one test, so that tests run beside each other and beside other runs of them.
//!
//! A lease is a stretch of ports below the range that the kernel hands out by itself, held by a locked file in the
//! temporary directory: no other run of these tests on the machine has it until the lease is dropped.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// A stretch of ports; the first part one by one for signalling, the rest for RTP.
pub struct Ports {
    first: u16,
    next: u16,
    _held: File,
}

impl Ports {
    /// The first stretch that nobody has.
    pub fn lease() -> Self {
        let begin = rand::random_range(0..STRETCHES);
        let mut order = (begin..STRETCHES).chain(0..begin);
        order.find_map(Self::take).expect("every stretch of ports is taken")
    }

    /// An address of loopback that nobody has for UDP or TCP at this moment, and whose neighbour above is free too.
    pub fn address(&mut self) -> SocketAddr {
        loop {
            let port = self.next;
            assert!(port < self.first + SIGNALLING, "a test wants more than {SIGNALLING} ports for signalling");
            self.next += 2;
            if [port, port + 1].into_iter().all(is_free) {
                return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            }
        }
    }

    /// The ports for RTP, as `first-last`.
    pub fn rtp(&self) -> String {
        format!("{}-{}", self.first + SIGNALLING, self.first + LENGTH - 1)
    }

    /// A port for audio that nobody listens to.
    pub fn rtp_port(&self) -> u16 {
        self.first + LENGTH - 2
    }

    /// Every port of the stretch, for whoever stands in front of the program that has it.
    pub fn all(&self) -> std::ops::Range<u16> {
        self.first..self.first + LENGTH
    }

    fn take(number: u16) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("offhook-test-ports-{number}.lock"));
        let held = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
        held.try_lock().ok()?;
        let first = LOWEST + number * LENGTH;
        Some(Self { first, next: first, _held: held })
    }
}

/// Whether neither UDP nor TCP has this port of loopback.
fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// Linux hands out ports from 32768 on.
const LOWEST: u16 = 12_000;
const LENGTH: u16 = 100;
const SIGNALLING: u16 = 40;
const STRETCHES: u16 = (32_700 - LOWEST) / LENGTH;
