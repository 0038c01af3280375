//! The SIP transport: UDP and TCP sockets around the pure endpoint, and RTP legs for the calls that it reports.
//!
//! One task owns the endpoint. Connections have a task each, bounded in number; everything they say goes through one
//! bounded inbox, so that a flood on one connection makes that connection wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Command, Endpoint, EndpointConfig, Event, Flow, Input, Output, Transport};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ports::PortPool;
use super::signalling::{FromLeg, Signalling};
use crate::call::reception::Reception;
use crate::clock;
use crate::config::{RtpConfig, SipConfig};
use calls::Calls;
use media::{MediaDesk, MediaSettings};
use place::{Dial, SipDialer};
use routes::Direct;
use streams::{FromStream, Streams};

mod calls;
mod ends;
mod guard;
pub mod media;
mod place;
mod refer;
mod routes;
mod streams;

/// The running transport; its tasks end when this is dropped.
pub struct SipServer {
    address: SocketAddr,
    driver: JoinHandle<()>,
    accept: JoinHandle<()>,
    finish: Option<oneshot::Sender<()>>,
}

impl SipServer {
    /// Binds and serves. `seed` makes tags and branches unguessable.
    ///
    /// # Errors
    /// When an address cannot be bound, named with its key.
    pub async fn start(
        config: &SipConfig,
        ports: PortPool,
        media_address: IpAddr,
        rtp: &RtpConfig,
        reception: Arc<Reception>,
        seed: u64,
    ) -> Result<Self, String> {
        let (udp, tcp) = bind(config.listen).await?;
        let address = udp.local_addr().map_err(|e| format!("sip.listen: {e}"))?;
        let (streams, from_streams) = Streams::new(address, config.max_connections);
        let (signalling, from_legs) = Signalling::new(FROM_LEGS);
        let (dialer, dials) = SipDialer::new(Arc::clone(&reception), signalling.clone());
        reception.services().dialers.set(Arc::new(dialer));
        let settings = MediaSettings::new(rtp, config.external_address);
        let media = MediaDesk::new(ports, media_address, signalling.clone(), settings);
        let routes = Box::new(Direct { local: address, user: config.user_agent.to_lowercase() });
        let calls = Calls::new(reception, media, signalling, routes, config.retry_after_s);
        let driver = Driver {
            endpoint: Endpoint::new(endpoint_config(config), seed),
            udp,
            address,
            streams: streams.clone(),
            calls,
        };
        let (finish, finished) = oneshot::channel();
        let driver = tokio::spawn(driver.run(Inboxes { from_streams, from_legs, dials }, finished));
        let accept = tokio::spawn(streams::accept(tcp, streams));
        Ok(Self { address, driver, accept, finish: Some(finish) })
    }

    /// Ends once every call that has ended has also been said goodbye to, at the latest after `patience`.
    pub async fn stop(mut self, patience: Duration) {
        if let Some(finish) = self.finish.take() {
            let _ = finish.send(());
        }
        if timeout(patience, &mut self.driver).await.is_err() {
            tracing::warn!("sip: some far sides have not acknowledged the end of their calls");
        }
    }

    /// The bound address, UDP and TCP.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SipServer {
    fn drop(&mut self) {
        self.driver.abort();
        self.accept.abort();
    }
}

/// What legs say that may wait for the driver: the ends of all calls of a server at once.
const FROM_LEGS: usize = 8192;

/// Ports tried when any free one will do.
const FREE_PORT_TRIES: u32 = 16;

/// Larger than any datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Datagrams taken before timers and other inboxes are looked at again.
const BATCH: usize = 32;

/// Without anything to wait for, the driver looks again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// What the driver waits for beside its sockets and the clock.
struct Inboxes {
    from_streams: mpsc::Receiver<FromStream>,
    from_legs: mpsc::Receiver<FromLeg>,
    dials: mpsc::Receiver<Dial>,
}

struct Driver {
    endpoint: Endpoint,
    udp: UdpSocket,
    address: SocketAddr,
    streams: Streams,
    calls: Calls,
}

impl Driver {
    async fn run(mut self, mut inboxes: Inboxes, mut finish: oneshot::Receiver<()>) {
        let mut datagram = vec![0; MAX_DATAGRAM];
        let mut finishing = false;
        while !(finishing && self.calls.is_empty() && self.endpoint.calls() == 0) {
            let due = self.endpoint.poll_timeout();
            let wait = due.map_or(IDLE, |at| at.saturating_sub(clock::now()));
            tokio::select! {
                received = self.udp.recv_from(&mut datagram) => self.datagrams(received, &mut datagram).await,
                Some(message) = inboxes.from_streams.recv() => self.stream(message),
                Some(message) = inboxes.from_legs.recv() => {
                    let commands = self.calls.leg_says(message);
                    self.command(commands);
                }
                Some(dial) = inboxes.dials.recv() => {
                    let commands = self.calls.dial(dial);
                    self.command(commands);
                }
                _ = &mut finish, if !finishing => finishing = true,
                () = tokio::time::sleep(wait) => self.endpoint.handle(Input::Timeout, clock::now()),
            }
            let kept = self.calls.sweep();
            self.command(kept);
            self.drain().await;
        }
    }

    fn command(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.endpoint.handle(Input::Command(command), clock::now());
        }
    }

    async fn datagrams(&mut self, first: std::io::Result<(usize, SocketAddr)>, datagram: &mut [u8]) {
        let mut received = first;
        for _ in 0..BATCH {
            // An error here is an ICMP answer to something sent earlier; the endpoint's timers see to that.
            if let Ok((length, remote)) = received {
                let bytes = Bytes::copy_from_slice(datagram.get(..length).unwrap_or_default());
                self.mind_the_door();
                let flow = Flow { transport: Transport::Udp, local: self.address, remote, connection: None };
                self.endpoint.handle(Input::Message { flow, bytes }, clock::now());
                self.drain().await;
            }
            match self.udp.try_recv_from(datagram) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                next => received = next,
            }
        }
    }

    fn mind_the_door(&mut self) {
        if let Some(command) = self.calls.door() {
            self.endpoint.handle(Input::Command(command), clock::now());
        }
    }

    fn stream(&mut self, message: FromStream) {
        self.mind_the_door();
        let input = match message {
            FromStream::Message { flow, bytes } => Input::Message { flow, bytes },
            FromStream::Closed { connection } => {
                self.streams.closed(connection);
                Input::StreamClosed { connection }
            }
        };
        self.endpoint.handle(input, clock::now());
    }

    /// Does what the endpoint asks until it asks nothing more.
    async fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => self.transmit(flow, bytes).await,
                Output::Event(event) => {
                    let commands = self.obey(event);
                    self.command(commands);
                }
            }
        }
    }

    async fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        let sent = match flow.transport {
            Transport::Udp => self.udp.send_to(&bytes, flow.remote).await.is_ok(),
            Transport::Tcp | Transport::Tls => self.streams.send(&flow, bytes),
        };
        if !sent {
            self.endpoint.handle(Input::Unreachable { flow: &flow }, clock::now());
        }
    }

    fn obey(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Incoming { call, flow, invite } => self.calls.incoming(call, &flow, &invite),
            Event::Confirmed { call, sdp } => self.calls.confirmed(call, sdp.as_deref()),
            Event::Progress { call, status, .. } => self.calls.progress(call, status),
            Event::Answered { call, sdp, remote } => self.calls.answered(call, sdp.as_deref(), &remote),
            Event::ReferProgress { call, status, done } => self.calls.refer_progress(call, status, done),
            Event::ReferRefused { call, status } => self.calls.refer_refused(call, status),
            Event::Reinvite { call, offer } => self.calls.reinvite(call, offer.as_deref()),
            Event::Info { call, content_type, body } => self.calls.info(call, &content_type, body.reveal()),
            Event::Ended { call, cause, .. } => self.calls.ended(call, cause),
            // Nobody may send us anywhere: a stranger's transfer would be called at our cost.
            Event::Referred { call, .. } => vec![Command::AnswerRefer { call, answer: Err(403) }],
            Event::ReinviteAnswered { call, answer } => {
                self.calls.reinvite_answered(call, answer.ok().flatten().as_deref())
            }
            Event::Registration { .. } | Event::Pong { .. } => Vec::new(),
        }
    }
}

/// One port for UDP and TCP. A free one, asked for by port 0, is chosen for UDP and may be taken for TCP: then another.
async fn bind(listen: SocketAddr) -> Result<(UdpSocket, TcpListener), String> {
    let failed = |what: &str, error: std::io::Error| format!("sip.listen: cannot bind {what} {listen}: {error}");
    let mut tries = if listen.port() == 0 { FREE_PORT_TRIES } else { 1 };
    loop {
        let udp = UdpSocket::bind(listen).await.map_err(|e| failed("UDP", e))?;
        let address = udp.local_addr().map_err(|e| failed("UDP", e))?;
        tries -= 1;
        match TcpListener::bind(address).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(failed("TCP", error)),
            Err(_) => {}
        }
    }
}

fn endpoint_config(config: &SipConfig) -> EndpointConfig {
    EndpointConfig {
        user_agent: config.user_agent.clone(),
        advertised: config.external_address.map(|address| offhook_sip::Advertised {
            host: match address {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => format!("[{v6}]"),
            },
            port: None,
        }),
        timings: offhook_sip::Timings {
            t1: Duration::from_millis(config.t1_ms),
            t2: Duration::from_millis(config.t2_ms),
            t4: Duration::from_millis(config.t4_ms),
        },
        max_calls_pending: config.max_pending,
        retry_after_s: config.retry_after_s,
        guard: guard::config(config),
        ..EndpointConfig::default()
    }
}
