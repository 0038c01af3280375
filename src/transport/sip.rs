//! The SIP transport: UDP and TCP sockets around the pure endpoint, and RTP legs for the calls that it reports.
//!
//! One task owns the endpoint. Connections have a task each, bounded in number; everything they say goes through one
//! bounded inbox, so that a flood on one connection makes that connection wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::{Command, Endpoint, Event, Flow, Input, Output, Transport};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ports::PortPool;
use super::signalling::{FromLeg, Signalling};
use crate::call::reception::Reception;
use crate::clock;
use crate::config::{RtpConfig, SipConfig};
use calls::Calls;
use faces::Faces;
use guard::Watch;
use incoming::FromTrunks;
use media::{MediaDesk, MediaSettings};
use place::{Dial, SipDialer};
use streams::{FromStream, Streams};
use tls::Tls;
use trunks::Trunks;
use upkeep::Upkeep;
use ways::ByTrunks;

mod calls;
mod early;
pub mod endpoint;
mod ends;
pub mod faces;
mod guard;
mod hold;
mod incoming;
pub mod media;
mod place;
mod refer;
pub mod resolve;
pub mod routes;
pub mod streams;
pub mod tls;
pub mod trunks;
pub mod upkeep;
mod ways;

/// The running transport; its tasks end when this is dropped.
pub struct SipServer {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    driver: JoinHandle<()>,
    accept: Vec<JoinHandle<()>>,
    finish: Option<oneshot::Sender<()>>,
    leave: Arc<Notify>,
    tls: Tls,
    trunks: Trunks,
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
        let tls = Tls::load(&config.tls)?;
        let (tls_listener, tls_address) = bind_tls(config).await?;
        let faces = Faces::new(config, address, tls_address);
        let (streams, from_streams) = Streams::new(config, tls.clone(), faces.clone());
        let metrics = reception.services().metrics.sip.clone();
        let trunks = Trunks::new(config, metrics.clone());
        let (signalling, from_legs) = Signalling::new(FROM_LEGS);
        let (dialer, dials) = SipDialer::new(Arc::clone(&reception), signalling.clone());
        reception.services().dialers.set(Arc::new(dialer));
        let settings = MediaSettings::new(rtp, config.external_address);
        let media = MediaDesk::new(ports, media_address, signalling.clone(), settings);
        let user = config.user_agent.to_lowercase();
        let routes = Box::new(ByTrunks::new(trunks.clone(), faces.clone(), address, user));
        let calls = Calls::new(reception, media, signalling, routes, config.retry_after_s);
        let leave = Arc::new(Notify::new());
        let driver = Driver {
            endpoint: Endpoint::new(endpoint::settings(config), seed),
            udp,
            upkeep: Upkeep::new(config, trunks.clone(), faces.clone(), streams.clone(), metrics.clone()),
            faces,
            streams: streams.clone(),
            calls,
            from_trunks: FromTrunks::new(trunks.clone(), config.retry_after_s),
            watch: Watch::new(metrics),
            leave: Arc::clone(&leave),
        };
        let (finish, finished) = oneshot::channel();
        let driver = tokio::spawn(driver.run(Inboxes { from_streams, from_legs, dials }, finished));
        let mut accept = vec![tokio::spawn(streams::accept(tcp, streams.clone()))];
        accept.extend(tls_listener.map(|listener| tokio::spawn(streams::accept_tls(listener, streams))));
        Ok(Self { address, tls_address, driver, accept, finish: Some(finish), leave, tls, trunks })
    }

    /// New calls are to go elsewhere: they are refused from now on, and accounts are taken back.
    pub fn drain(&self) {
        self.leave.notify_one();
    }

    /// Reads certificates again.
    ///
    /// # Errors
    /// What is wrong with them; those from before stay in use.
    pub fn reload(&self) -> Result<(), String> {
        self.tls.reload()
    }

    /// The trunks and accounts, and how they are.
    pub const fn trunks(&self) -> &Trunks {
        &self.trunks
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

    /// The bound address of the TLS listener.
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }
}

impl Drop for SipServer {
    fn drop(&mut self) {
        self.driver.abort();
        self.accept.iter().for_each(JoinHandle::abort);
    }
}

/// What legs say that may wait for the driver: the ends of all calls of a server at once.
const FROM_LEGS: usize = 8192;

/// Ports tried when any free one will do.
const FREE_PORT_TRIES: u32 = 16;

/// Larger than any datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Bytes of datagrams that may wait in the socket: some 2,000 INVITEs.
const RECEIVE_BUFFER: usize = 4 << 20;

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
    faces: Faces,
    streams: Streams,
    calls: Calls,
    upkeep: Upkeep,
    from_trunks: FromTrunks,
    watch: Watch,
    leave: Arc<Notify>,
}

impl Driver {
    async fn run(mut self, mut inboxes: Inboxes, mut finish: oneshot::Receiver<()>) {
        let mut datagram = vec![0; MAX_DATAGRAM];
        let mut finishing = false;
        while !(finishing && self.calls.is_empty() && self.endpoint.calls() == 0) {
            let due = [self.endpoint.poll_timeout(), self.upkeep.next(), self.watch.next(), self.calls.next()];
            let due = due.into_iter().flatten().min();
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
                found = self.upkeep.found() => self.upkeep.take(found),
                () = self.leave.notified() => {
                    self.mind_the_door();
                    let commands = self.upkeep.leave();
                    self.command(commands);
                }
                _ = &mut finish, if !finishing => finishing = true,
                () = tokio::time::sleep(wait) => self.endpoint.handle(Input::Timeout, clock::now()),
            }
            let kept = self.calls.sweep();
            self.command(kept);
            let commands = self.upkeep.due(clock::now());
            self.command(commands);
            let commands = self.calls.due(clock::now());
            self.command(commands);
            self.drain().await;
            self.watch.look(&self.endpoint.guard_counts(), clock::now());
        }
    }

    fn command(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.endpoint.handle(Input::Command(command), clock::now());
        }
    }

    async fn datagrams(&mut self, first: std::io::Result<(usize, SocketAddr)>, datagram: &mut [u8]) {
        let mut received = first;
        for taken in 1..=BATCH {
            // An error here is an ICMP answer to something sent earlier; the endpoint's timers see to that.
            if let Ok((length, remote)) = received {
                let bytes = Bytes::copy_from_slice(datagram.get(..length).unwrap_or_default());
                self.mind_the_door();
                let flow = self.faces.flow(Transport::Udp, remote, None);
                self.endpoint.handle(Input::Message { flow, bytes }, clock::now());
                self.drain().await;
            }
            if taken == BATCH {
                // What is read here must be taken here: the rest waits in the socket.
                return;
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
            FromStream::Lost { transport, remote } => {
                let flow = self.faces.flow(transport, remote, None);
                return self.endpoint.handle(Input::Unreachable { flow: &flow }, clock::now());
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
            Event::Incoming { call, flow, invite } => match self.from_trunks.admit(call, &flow) {
                Ok(()) => self.calls.incoming(call, &flow, &invite),
                Err(refusal) => vec![refusal],
            },
            Event::Confirmed { call, sdp } => self.calls.confirmed(call, sdp.as_deref()),
            Event::Progress { call, status, sdp, .. } => self.calls.progress(call, status, sdp.is_some()),
            Event::Answered { call, sdp, remote } => self.calls.answered(call, sdp.as_deref(), &remote),
            Event::ReferProgress { call, status, done } => self.calls.refer_progress(call, status, done),
            Event::ReferRefused { call, status } => self.calls.refer_refused(call, status),
            Event::Reinvite { call, offer } => self.calls.reinvite(call, offer.as_deref()),
            Event::Info { call, content_type, body } => self.calls.info(call, &content_type, body.reveal()),
            Event::Ended { call, cause, .. } => {
                self.from_trunks.ended(call);
                self.calls.ended(call, cause)
            }
            Event::Pong { id, outcome } => {
                self.upkeep.pong(id, outcome, clock::now());
                Vec::new()
            }
            Event::Registration { id, state } => {
                self.upkeep.registration(id, &state, clock::now());
                self.upkeep.due(clock::now())
            }
            // Nobody may send us anywhere: a stranger's transfer would be called at our cost.
            Event::Referred { call, .. } => vec![Command::AnswerRefer { call, answer: Err(403) }],
            Event::ReinviteAnswered { call, answer } => self.calls.reinvite_answered(call, answer),
        }
    }
}

/// One port for UDP and TCP. A free one, asked for by port 0, is chosen for UDP and may be taken for TCP: then another.
async fn bind(listen: SocketAddr) -> Result<(UdpSocket, TcpListener), String> {
    let failed = |what: &str, error: std::io::Error| format!("sip.listen: cannot bind {what} {listen}: {error}");
    let mut tries = if listen.port() == 0 { FREE_PORT_TRIES } else { 1 };
    loop {
        let udp = UdpSocket::bind(listen).await.map_err(|e| failed("UDP", e))?;
        roomy(&udp);
        let address = udp.local_addr().map_err(|e| failed("UDP", e))?;
        tries -= 1;
        match TcpListener::bind(address).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(failed("TCP", error)),
            Err(_) => {}
        }
    }
}

/// A burst of calls waits in the socket while the driver is busy; the system may grant less.
fn roomy(udp: &UdpSocket) {
    let _ = socket2::SockRef::from(udp).set_recv_buffer_size(RECEIVE_BUFFER);
}

async fn bind_tls(config: &SipConfig) -> Result<(Option<TcpListener>, Option<SocketAddr>), String> {
    let Some(listen) = config.tls.listen else { return Ok((None, None)) };
    let failed = |error: std::io::Error| format!("sip.tls.listen: cannot bind TCP {listen}: {error}");
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((Some(listener), Some(address)))
}
