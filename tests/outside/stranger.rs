//! Somebody who was not asked: a socket of the test's own that sends what it likes and counts what comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// At an address of loopback that nothing else of the test has.
pub struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    pub async fn at(address: Ipv4Addr) -> Self {
        Self { socket: UdpSocket::bind((address, 0)).await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub async fn sends(&self, to: SocketAddr, datagram: &[u8]) {
        self.socket.send_to(datagram, to).await.unwrap();
    }

    /// The datagrams that come until nothing has come for `quiet`.
    pub async fn gets(&self, quiet: Duration) -> Vec<Vec<u8>> {
        let (mut all, mut datagram) = (Vec::new(), vec![0; 65_535]);
        while let Ok(received) = timeout(quiet, self.socket.recv_from(&mut datagram)).await {
            let Ok((length, _)) = received else { continue };
            all.push(datagram[..length].to_vec());
        }
        all
    }

    /// Sends mu-law noise of full strength to a port for some time, 500 packets a second.
    pub async fn shouts_at(&self, to: SocketAddr, time: Duration) {
        let until = Instant::now() + time;
        let mut number = 0_u16;
        while Instant::now() < until {
            for _ in 0..10 {
                number = number.wrapping_add(1);
                let mut packet = vec![0x80, 0];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 160).to_be_bytes());
                packet.extend(0x0bad_u32.to_be_bytes());
                packet.extend((0..160).map(|n| if n % 2 == 0 { 0x00_u8 } else { 0x80 }));
                let _ = self.socket.send_to(&packet, to).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What scanners send: a request of their usual kind, with the tool's name.
pub fn scan(method: &str, from: SocketAddr, server: SocketAddr, number: u32) -> String {
    format!(
        "{method} sip:{}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"sipvicious\"<sip:100@1.1.1.1>;tag={number:x}\r\nTo: \"sipvicious\"<sip:100@1.1.1.1>\r\n\
         Call-ID: {number}@scan\r\nCSeq: 1 {method}\r\nContact: <sip:100@{from}>\r\nAccept: application/sdp\r\n\
         User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n",
        100 + number
    )
}
