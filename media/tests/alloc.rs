//! After construction a 20 ms frame allocates nothing, on any stage of the way in and out, with any codec.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

use std::sync::Arc;

use offhook_media::barge::Ear;
use offhook_media::codec::CodecKind;
use offhook_media::denoise::NoiseSuppressor;
use offhook_media::dtmf::Digit;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::playout::{Playout, PlayoutConfig, SentenceId};
use offhook_media::silero::Network;
use offhook_media::speech::{SpeechConfig, SpeechDetector};
use offhook_media::tone::{ComfortNoise, Tone};
use offhook_media::vad::Earshot;
use offhook_media::{Moment, SILENCE};

const FRAMES: u64 = 5000;

#[test]
fn five_thousand_frames_allocate_nothing() {
    for (codec, ptime_ms, dtx) in [
        (CodecKind::Pcmu, 20, false),
        (CodecKind::Pcma, 30, true),
        (CodecKind::G722, 20, true),
        (CodecKind::G722, 10, false),
        (CodecKind::Opus, 20, false),
        (CodecKind::Opus, 60, true),
    ] {
        a_call_allocates_nothing(codec, ptime_ms, dtx);
    }
}

fn a_call_allocates_nothing(codec: CodecKind, ptime_ms: u32, dtx: bool) {
    let mut sender = RtpOutbound::new(OutboundConfig {
        ptime_ms,
        dtx,
        dtmf_payload_type: Some(101),
        dtmf_clock: codec.clock_hz(),
        comfort_noise_payload_type: Some(13),
        ssrc: 1,
        first_seq: 65_000,
        first_ts: u32::MAX - 8000,
        ..OutboundConfig::new(codec, 96)
    });
    let mut inbound = RtpInbound::new(InboundConfig {
        ptime_ms,
        dtmf_payload_type: Some(101),
        dtmf_clock: codec.clock_hz(),
        comfort_noise_payload_type: Some(13),
        ..InboundConfig::new(codec, 96)
    });
    let mut detector = SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default());
    let (mut ear, mut suppressor) = (Ear::new(Network::shared().unwrap()), NoiseSuppressor::new());
    let mut playout = Playout::new(PlayoutConfig::default());
    let mut voice = Tone::dual(180.0, 720.0, -20.0);
    let mut noise = ComfortNoise::new(1, -50.0);
    let chunk: Arc<[i16]> = vec![500; 1234].into();
    let (mut frame, mut room, mut seen, mut packets) = (SILENCE, DATAGRAM, 0u64, 0u64);

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
            match tick / 100 % 3 {
                0 => voice.fill(&mut frame),
                1 => noise.fill(&mut frame),
                _ => frame = SILENCE,
            }
            ear.sent(&frame, now);
            if tick % 400 == 100 {
                ear.cleared(now);
            }
            sender.frame(&frame);
            while let Some(length) = sender.poll(&mut room) {
                packets += 1;
                // One packet in thirteen is lost, one in seventeen comes twice.
                if packets % 13 != 0 {
                    inbound.packet(&room[..length], now).unwrap();
                }
                if packets % 17 == 0 {
                    inbound.packet(&room[..length], now).unwrap();
                }
            }
            inbound.tick(now);
            while let Some(at) = inbound.tap(&mut frame) {
                seen += detector.push(&frame, at).samples().len() as u64;
                seen += u64::from(ear.heard(&frame, at).is_some());
            }
            inbound.pull(now, &mut frame);
            suppressor.run(&mut frame);
            seen += u64::from(inbound.digit().is_some());
        }
    });
    assert_eq!(counted.count_total, 0, "{codec:?}: {} octets", counted.bytes_total);
    assert!(seen > FRAMES, "{codec:?}: {seen}");
    let stats = inbound.stats();
    assert!(stats.jitter.duplicates > 0 && stats.jitter.lost > 0 && stats.malformed == 0, "{codec:?}: {stats:?}");
}
