//! An encrypted leg's 20 ms allocates nothing either: sockets, SRTP, source locking and RTCP, counted by the allocator.
//! Two legs talk to each other over loopback; their time is virtual, so that a minute of reports takes a moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use offhook::call::leg::{Leg, LegEvent};
use offhook::queue::bounded;
use offhook::transport::ports::{PortPool, RtpPort};
use offhook::transport::rtp::{Keys, RtcpPath, RtpLeg, Secure, Turnabout};
use offhook::transport::signalling::Signalling;
use offhook_media::codec::CodecKind;
use offhook_media::inbound::InboundConfig;
use offhook_media::outbound::OutboundConfig;
use offhook_media::srtp::{SrtpReceiver, SrtpSender, Suite};

/// A minute.
const TICKS: u32 = 3_000;

fn leg(port: RtpPort, far: u16, ssrc: u32, rtcp: RtcpPath) -> RtpLeg {
    let (_, turnabouts) = bounded(1);
    let (signalling, _) = Signalling::new(1);
    let (suite, key) = (Suite::AesCm128Tag80, [7; 30]);
    let secure = Secure {
        suite,
        sender: SrtpSender::new(suite, &key, ssrc).unwrap(),
        receiver: SrtpReceiver::new(suite, &key, None, 1 << 48).unwrap(),
    };
    let agreed = Turnabout {
        remote: Some(SocketAddr::from(([127, 0, 0, 1], far))),
        behind: None,
        sends: true,
        receives: true,
        inbound: InboundConfig::new(CodecKind::Pcmu, 0),
        outbound: OutboundConfig { ssrc, first_seq: 7, ..OutboundConfig::new(CodecKind::Pcmu, 0) },
        rtcp,
        keys: Keys::Both(Box::new(secure)),
    };
    RtpLeg::new(port, agreed, turnabouts, signalling, 1).unwrap()
}

#[test]
fn an_encrypted_leg_with_reports_allocates_nothing() {
    let pool = PortPool::new([127, 0, 0, 1].into(), "18200-18203".parse().unwrap());
    let (one, other) = (pool.bind().unwrap(), pool.bind().unwrap());
    let (first, second) = (one.number(), other.number());
    let report = |port: u16| RtcpPath::Separate(Some(SocketAddr::from(([127, 0, 0, 1], port + 1))));
    let mut legs = [leg(one, second, 1, report(second)), leg(other, first, 2, report(first))];
    let mut heard = 0;
    let mut allocations = 0;
    for tick in 1..=TICKS {
        let now = Duration::from_millis(20) * tick;
        let mut run = || {
            for leg in &mut legs {
                leg.drain(now, &mut |event| heard += u32::from(matches!(event, LegEvent::Tap { .. })));
                leg.send(Some(&[1000; 160]), now);
            }
        };
        allocations += allocation_counter::measure(&mut run).count_total;
    }
    assert_eq!(allocations, 0, "in {TICKS} ticks of two legs");
    assert!(heard > 0, "nothing was heard");
    for leg in &legs {
        let stats = leg.stats();
        assert_eq!((stats.unauthentic_packets, stats.packets_lost), (0, 0));
        assert!(stats.frames_received + 10 > u64::from(TICKS), "{stats:?}");
        assert!(stats.round_trip_ms.is_some(), "reports went to and fro: {stats:?}");
        assert_eq!(stats.srtp, Some("AES_CM_128_HMAC_SHA1_80"));
    }
}
