//! The bad network as a relay: it stands at another loopback address on every port of the server, passes datagrams on
//! through [`Link`]s, and is a NAT on the way. No root, no change to either side: the server is told by
//! `sip.external_address` that it is reached there, which is what it is told behind any static NAT.
//!
//! A caller's flow (its address and the server's port) has a socket of its own towards the server, as in a NAT, and
//! loses it by [`Relay::rebind`]. TCP does not pass; a network of that kind needs a kernel's help.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::link::{Impairment, Link, Tally};

/// A running relay; it ends when this is dropped.
pub struct Relay {
    address: Ipv4Addr,
    shared: Arc<Mutex<Shared>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Stands in front of these ports of 127.0.0.1.
    ///
    /// `seed` makes the network, and its address, which no other relay of the machine should have.
    pub async fn start(ports: Range<u16>, seed: u64) -> Self {
        let (address, fronts) = fronts(ports).await;
        let shared = Arc::new(Mutex::new(Shared {
            up: Impairment::NONE,
            down: Impairment::NONE,
            deafens: false,
            links: [Link::new(seed), Link::new(seed ^ 0x5eed)],
            nat: nat_of(address, 0),
            generation: 0,
        }));
        let began = Instant::now();
        let (deliver, due) = mpsc::channel(QUEUE);
        let mut tasks = vec![tokio::spawn(delivery(due))];
        for front in fronts {
            let front = Front { socket: front, shared: shared.clone(), deliver: deliver.clone(), began };
            tasks.push(tokio::spawn(front.run()));
        }
        Self { address, shared, tasks }
    }

    /// Where callers find the server, on the server's own ports.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// From now on, both ways.
    pub fn impair(&self, with: Impairment) {
        let mut shared = self.shared.lock();
        (shared.up, shared.down) = (with, with);
    }

    /// From now on RTP and RTCP of callers do not arrive, as behind a firewall that lets only signalling in.
    pub fn loses_audio_on_the_way_up(&self) {
        self.shared.lock().deafens = true;
    }

    /// Every flow gets a new port towards the server with its next packet; answers to the old ones are lost.
    pub fn rebind(&self) {
        self.shared.lock().generation += 1;
    }

    /// Like [`Relay::rebind`], and the NAT has another address as well.
    pub fn move_to_another_address(&self) {
        let mut shared = self.shared.lock();
        shared.generation += 1;
        shared.nat = nat_of(self.address, shared.generation);
    }

    /// What became of the packets: from callers to the server, and back.
    pub fn tally(&self) -> [Tally; 2] {
        let shared = self.shared.lock();
        [shared.links[0].tally(), shared.links[1].tally()]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Shared {
    up: Impairment,
    down: Impairment,
    /// Nothing but signalling goes up.
    deafens: bool,
    /// Up and down.
    links: [Link; 2],
    /// The NAT's address, as the server sees it.
    nat: Ipv4Addr,
    /// Flows of an older one are gone.
    generation: u32,
}

/// One port of the server, from the outside.
struct Front {
    socket: Arc<UdpSocket>,
    shared: Arc<Mutex<Shared>>,
    deliver: mpsc::Sender<Waiting>,
    began: Instant,
}

struct Flow {
    socket: Arc<UdpSocket>,
    generation: u32,
    answers: JoinHandle<()>,
}

impl Front {
    async fn run(self) {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.socket.local_addr().unwrap().port()));
        let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
        let mut datagram = vec![0; 65_535];
        loop {
            // An error is the ICMP answer to something sent earlier.
            let Ok((length, caller)) = self.socket.recv_from(&mut datagram).await else { continue };
            let (generation, nat) = {
                let shared = self.shared.lock();
                (shared.generation, shared.nat)
            };
            if flows.get(&caller).is_none_or(|flow| flow.generation != generation) {
                let socket = Arc::new(UdpSocket::bind((nat, 0)).await.unwrap());
                let answers = tokio::spawn(self.answers(socket.clone(), caller));
                if let Some(old) = flows.insert(caller, Flow { socket, generation, answers }) {
                    old.answers.abort();
                }
            }
            let bytes = datagram[..length].to_vec();
            self.passes(0, flows[&caller].socket.clone(), server, bytes).await;
        }
    }

    /// What the server sends to one flow.
    fn answers(&self, from: Arc<UdpSocket>, caller: SocketAddr) -> impl Future<Output = ()> + use<> {
        let front = Self {
            socket: self.socket.clone(),
            shared: self.shared.clone(),
            deliver: self.deliver.clone(),
            began: self.began,
        };
        async move {
            let mut datagram = vec![0; 65_535];
            loop {
                let Ok((length, _)) = from.recv_from(&mut datagram).await else { continue };
                front.passes(1, front.socket.clone(), caller, datagram[..length].to_vec()).await;
            }
        }
    }

    async fn passes(&self, direction: usize, through: Arc<UdpSocket>, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.began.elapsed();
        let arrivals = {
            let mut shared = self.shared.lock();
            if direction == 0 && shared.deafens && bytes.first().is_some_and(|first| first >> 6 == RTP_VERSION) {
                return;
            }
            let with = [shared.up, shared.down][direction];
            shared.links[direction].enters(now, bytes.len(), &with)
        };
        for at in arrivals.into_iter().flatten() {
            if at <= now {
                let _ = through.try_send_to(&bytes, to);
                continue;
            }
            let waiting = Waiting { due: self.began + at, through: through.clone(), to, bytes: bytes.clone() };
            let _ = self.deliver.send(waiting).await;
        }
    }
}

struct Waiting {
    due: Instant,
    through: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Sends what waits when it is due.
async fn delivery(mut incoming: mpsc::Receiver<Waiting>) {
    let mut heap: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut waiting: HashMap<u64, Waiting> = HashMap::new();
    let mut count = 0;
    loop {
        let next = heap.peek().map(|Reverse((due, _))| *due);
        tokio::select! {
            packet = incoming.recv() => {
                let Some(packet) = packet else { return };
                count += 1;
                heap.push(Reverse((packet.due, count)));
                waiting.insert(count, packet);
            }
            () = sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))) => {
                let Some(Reverse((_, number))) = heap.pop() else { continue };
                let Some(packet) = waiting.remove(&number) else { continue };
                let _ = packet.through.try_send_to(&packet.bytes, packet.to);
            }
        }
    }
}

/// The first two bits of RTP and RTCP, which no letter of SIP has.
const RTP_VERSION: u8 = 2;

/// Packets on their way at once; more wait outside.
const QUEUE: usize = 4096;

/// A socket on each port, at the first address of loopback that has them all. Ports in use elsewhere do not matter: this
/// address is ours alone.
async fn fronts(ports: Range<u16>) -> (Ipv4Addr, Vec<Arc<UdpSocket>>) {
    'addresses: for _ in 0..50 {
        let address = Ipv4Addr::new(127, 80, rand::random(), rand::random_range(1..250));
        let mut fronts = Vec::new();
        for port in ports.clone() {
            match UdpSocket::bind((address, port)).await {
                Ok(socket) => fronts.push(Arc::new(socket)),
                Err(_) => continue 'addresses,
            }
        }
        return (address, fronts);
    }
    panic!("no address of 127.80.0.0/16 has the ports {ports:?} free")
}

/// The address behind which callers are hidden, another one for each generation.
fn nat_of(relay: Ipv4Addr, generation: u32) -> Ipv4Addr {
    let [_, _, c, d] = relay.octets();
    Ipv4Addr::new(127, 90_u8.wrapping_add(u8::try_from(generation % 100).unwrap()), c, d)
}
