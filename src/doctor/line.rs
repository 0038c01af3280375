//! A line of the doctor's own: the SIP endpoint on a free port, driven until an answer comes.
//!
//! One question at a time, so there is no task: whoever asks, waits.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Command, Endpoint, EndpointConfig, Event, Input, Output, Transport};
use rand::RngExt;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::config::Config;
use crate::transport::sip::endpoint;
use crate::transport::sip::faces::Faces;
use crate::transport::sip::resolve::Resolver;
use crate::transport::sip::streams::{FromStream, Streams};
use crate::transport::sip::tls::Tls;

pub struct Line {
    endpoint: Endpoint,
    udp: UdpSocket,
    pub faces: Faces,
    pub streams: Streams,
    from_streams: mpsc::Receiver<FromStream>,
    events: VecDeque<Event>,
    pub resolver: Resolver,
    pub last_id: u64,
}

impl Line {
    pub async fn open(config: &Config) -> Result<Self, String> {
        let any = SocketAddr::new(config.sip.listen.ip(), 0);
        let udp = UdpSocket::bind(any).await.map_err(|error| format!("cannot open a UDP socket on {any}: {error}"))?;
        let bound = udp.local_addr().map_err(|error| error.to_string())?;
        let faces = Faces::new(&config.sip, bound, None);
        // A certificate that is not good was told of already; trunks over TLS will say that it is missing.
        let tls = Tls::load(&config.sip.tls).or_else(|_| Tls::load(&Default::default()))?;
        let (streams, from_streams) = Streams::new(&config.sip, tls, faces.clone());
        let settings = EndpointConfig { max_calls: 4, ..endpoint::settings(&config.sip) };
        Ok(Self {
            endpoint: Endpoint::new(settings, rand::rng().random()),
            udp,
            faces,
            streams,
            from_streams,
            events: VecDeque::new(),
            resolver: Resolver::new(&config.sip.dns_servers),
            last_id: 0,
        })
    }

    pub async fn command(&mut self, command: Command) {
        self.endpoint.handle(Input::Command(command), clock::now());
        self.drain().await;
    }

    /// The next event that `wanted` takes, within `patience`; others are dropped.
    pub async fn until<T>(&mut self, patience: Duration, mut wanted: impl FnMut(Event) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = wanted(event) {
                    return Some(found);
                }
            }
            if Instant::now() >= end {
                return None;
            }
            self.turn(end).await;
        }
    }

    /// The address of ours that packets to `remote` leave from, and what the far side is told instead.
    pub fn told_to(&self, remote: SocketAddr) -> IpAddr {
        self.faces.flow(Transport::Udp, remote, None).local.ip()
    }

    /// Waits for one thing, at the longest until `end`.
    async fn turn(&mut self, end: Instant) {
        let due = self.endpoint.poll_timeout().map(|at| Instant::now() + at.saturating_sub(clock::now()));
        let mut datagram = vec![0; 65_535];
        tokio::select! {
            received = self.udp.recv_from(&mut datagram) => if let Ok((length, remote)) = received {
                let bytes = Bytes::copy_from_slice(datagram.get(..length).unwrap_or_default());
                let flow = self.faces.flow(Transport::Udp, remote, None);
                self.endpoint.handle(Input::Message { flow, bytes }, clock::now());
            },
            Some(message) = self.from_streams.recv() => match message {
                FromStream::Message { flow, bytes } => {
                    self.endpoint.handle(Input::Message { flow, bytes }, clock::now());
                }
                FromStream::Closed { connection } => {
                    self.streams.closed(connection);
                    self.endpoint.handle(Input::StreamClosed { connection }, clock::now());
                }
                FromStream::Lost { transport, remote } => {
                    let flow = self.faces.flow(transport, remote, None);
                    self.endpoint.handle(Input::Unreachable { flow: &flow }, clock::now());
                }
            },
            () = sleep_until(due.map_or(end, |due| due.min(end))) => {
                self.endpoint.handle(Input::Timeout, clock::now());
            }
        }
        self.drain().await;
    }

    async fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => {
                    let sent = match flow.transport {
                        Transport::Udp => self.udp.send_to(&bytes, flow.remote).await.is_ok(),
                        Transport::Tcp | Transport::Tls => self.streams.send(&flow, bytes),
                    };
                    if !sent {
                        self.endpoint.handle(Input::Unreachable { flow: &flow }, clock::now());
                    }
                }
                // The doctor calls; it is not called.
                Output::Event(Event::Incoming { call, .. }) => {
                    let refused = Command::Reject { call, status: 480, headers: Vec::new() };
                    self.endpoint.handle(Input::Command(refused), clock::now());
                }
                Output::Event(event) => self.events.push_back(event),
            }
        }
    }
}
