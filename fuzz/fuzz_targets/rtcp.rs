//! Any bytes as RTCP datagrams of one call, cut and timed by the input: no panic, and figures stay on their scales.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_media::rtcp::{Cname, Compound, MOST_REPORT, Packet, ReceptionMeter, RtcpSession, Sent};

fuzz_target!(|data: &[u8]| {
    let wall = Duration::from_secs(1_800_000_000);
    let mut session = RtcpSession::new(1, Cname::new(7), wall, 9, Duration::ZERO);
    let (mut meter, mut now, mut rest) = (ReceptionMeter::new(8000), Duration::ZERO, data);
    let mut room = [0; MOST_REPORT];
    while let [length, wait, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        now += Duration::from_millis(u64::from(*wait) * 8);
        if let Ok(compound) = Compound::parse(packet) {
            for part in compound {
                if let Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } = part {
                    assert!(reports.iter().count() < 32);
                }
            }
        }
        let _ = session.take(packet, now);
        if let [a, b, c, d, e, f, ..] = *packet {
            meter.note(u32::from(a & 1), u16::from_be_bytes([b, c]), u32::from_be_bytes([0, d, e, f]), now, a & 2 == 0);
        }
        if session.is_due(now) {
            let sent = Sent { packets: u64::from(*length), octets: 0, timestamp: 0, active: wait & 1 == 0 };
            let written = session.report(now, &sent, &mut meter, &mut room);
            assert!(Compound::parse(&room[..written]).is_ok(), "our own report reads back");
        }
        rest = tail;
    }
    let (view, so_far) = (session.their_view(), meter.so_far());
    assert!((0.0..=100.0).contains(&view.loss_percent) && so_far.burst_ratio >= 1.0 && so_far.jitter_ms.is_finite());
});
