//! Any datagram is an RTP packet or an error, and a stream of them never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_media::g711::G711;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::rtp::Packet;
use offhook_media::{Moment, SILENCE};

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = Packet::parse(data) {
        assert!(packet.payload.len() + packet.csrcs.len() < data.len());
    }
    let config = InboundConfig { codec: G711::Ulaw, payload_type: 0, dtmf_payload_type: Some(101) };
    let mut inbound = RtpInbound::new(config);
    let mut frame = SILENCE;
    for (index, datagram) in data.chunks(64).enumerate() {
        let now = Moment::from_millis(20 * index as u64);
        let _ = inbound.packet(datagram, now);
        inbound.tick(now);
        while inbound.tap(&mut frame).is_some() {}
        inbound.pull(now, &mut frame);
        while inbound.digit().is_some() {}
    }
});
