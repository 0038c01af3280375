//! Any bytes as datagrams of one call, cut and timed by the input: no panic, a frame at every tick, bounded queues.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_media::FRAME;
use offhook_media::codec::CodecKind;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::rtp::Packet;

fuzz_target!(|data: &[u8]| {
    let _ = Packet::parse(data);
    let Some((&first, rest)) = data.split_first() else { return };
    let codec = CodecKind::ALL[usize::from(first) % CodecKind::ALL.len()];
    let config = InboundConfig {
        dtmf_payload_type: Some(101),
        comfort_noise_payload_type: Some(13),
        ..InboundConfig::new(codec, 0)
    };
    let (mut inbound, mut now, mut rest) = (RtpInbound::new(config), Duration::ZERO, rest);
    let mut frame = [0; FRAME];
    while let [length, wait, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        let _ = inbound.packet(packet, now);
        now += Duration::from_millis(u64::from(*wait));
        inbound.tick(now);
        let mut tapped = 0;
        while inbound.tap(&mut frame).is_some() {
            tapped += 1;
            assert!(tapped < 10_000, "the tap never ends");
        }
        while inbound.digit().is_some() {}
        inbound.pull(now, &mut frame);
        rest = tail;
    }
});
