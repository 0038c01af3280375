//! After construction a 20 ms frame allocates nothing, on any stage of the way in and out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

use std::sync::Arc;

use offhook_media::dtmf::Digit;
use offhook_media::g711::G711;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{OutboundConfig, RtpOutbound};
use offhook_media::playout::{Playout, PlayoutConfig, SentenceId};
use offhook_media::speech::{SpeechConfig, SpeechDetector};
use offhook_media::tone::{ComfortNoise, Tone};
use offhook_media::vad::Earshot;
use offhook_media::{Moment, SILENCE};

const FRAMES: u64 = 10_000;

#[test]
fn ten_thousand_frames_allocate_nothing() {
    let mut sender = RtpOutbound::new(OutboundConfig {
        codec: G711::Ulaw,
        payload_type: 0,
        dtmf_payload_type: Some(101),
        ssrc: 1,
        first_seq: 65_000,
        first_ts: u32::MAX - 8000,
    });
    let mut inbound =
        RtpInbound::new(InboundConfig { codec: G711::Ulaw, payload_type: 0, dtmf_payload_type: Some(101) });
    let mut detector = SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default());
    let mut playout = Playout::new(PlayoutConfig::default());
    let mut voice = Tone::dual(180.0, 720.0, -20.0);
    let mut noise = ComfortNoise::new(1, -50.0);
    let chunk: Arc<[i16]> = vec![500; 1234].into();
    let (mut frame, mut room, mut seen) = (SILENCE, [0; 200], 0u64);

    let counted = allocation_counter::measure(|| {
        for tick in 0..FRAMES {
            let now = Moment::from_millis(20 * tick);
            if playout.queued_ms() < 200 {
                playout.push(SentenceId(tick as u32 / 50), Arc::clone(&chunk), tick % 50 == 0).unwrap();
                playout.push_silence(20).unwrap();
            }
            seen += playout.pull(&mut frame).voiced as u64;
            match tick % 400 {
                100 => drop(playout.stop()),
                200 => playout.pause(),
                220 => playout.resume(),
                300 => sender.press(Digit::D7, 100).unwrap(),
                _ => {}
            }
            if tick / 100 % 2 == 0 {
                voice.fill(&mut frame)
            } else {
                noise.fill(&mut frame)
            }
            let length = sender.frame(&frame, &mut room);
            // One packet in thirteen is lost, one in seventeen comes twice.
            if tick % 13 != 0 {
                inbound.packet(&room[..length], now).unwrap();
            }
            if tick % 17 == 0 {
                inbound.packet(&room[..length], now).unwrap();
            }
            inbound.tick(now);
            while let Some(at) = inbound.tap(&mut frame) {
                seen += detector.push(&frame, at).samples().len() as u64;
            }
            inbound.pull(now, &mut frame);
            seen += u64::from(inbound.digit().is_some());
        }
    });
    assert_eq!(counted.count_total, 0, "{} octets", counted.bytes_total);
    assert!(seen > FRAMES);
    let stats = inbound.stats();
    assert!(stats.jitter.duplicates > 0 && stats.jitter.lost > 0 && stats.jitter.concealed_ms > 0, "{stats:?}");
}
