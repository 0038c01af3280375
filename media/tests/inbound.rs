//! The receiving side from datagrams to frames, digits and stream changes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use offhook_media::codec::{CodecError, CodecKind};
use offhook_media::dtmf::Digit;
use offhook_media::inbound::{Arrival, FrameKind, Ignored, InboundConfig, RtpInbound};
use offhook_media::level::rms_dbfs;
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::rtp::RtpError;
use offhook_media::tone::Tone;
use offhook_media::wav::Wav;
use offhook_media::{FRAME, Moment, SILENCE};
use proptest::prelude::*;

fn inbound() -> RtpInbound {
    RtpInbound::new(InboundConfig { dtmf_payload_type: Some(101), ..InboundConfig::new(CodecKind::Pcmu, 0) })
}

fn sender(ssrc: u32) -> RtpOutbound {
    RtpOutbound::new(OutboundConfig {
        dtmf_payload_type: Some(101),
        ssrc,
        first_seq: 100,
        first_ts: ssrc.wrapping_mul(77_777),
        ..OutboundConfig::new(CodecKind::Pcmu, 0)
    })
}

fn at(tick: u64) -> Moment {
    Moment::from_millis(20 * tick)
}

fn datagram(sender: &mut RtpOutbound, value: i16) -> Vec<u8> {
    let mut room = DATAGRAM;
    sender.frame(&[value; FRAME]);
    let length = sender.poll(&mut room).unwrap();
    room[..length].to_vec()
}

#[test]
fn audio_reaches_the_tap_at_once_and_the_pull_in_order() {
    let (mut inbound, mut sender, mut frame) = (inbound(), sender(1), SILENCE);
    let mut kinds = vec![];
    for tick in 0..50 {
        let packet = datagram(&mut sender, 1000);
        assert_eq!(inbound.packet(&packet, at(tick)), Ok(Arrival::Audio));
        inbound.tick(at(tick));
        assert_eq!(inbound.tap(&mut frame), Some(at(tick)));
        assert!((i32::from(frame[80]) - 1000).abs() < 32);
        assert_eq!(inbound.tap(&mut frame), None);
        kinds.push(inbound.pull(at(tick), &mut frame));
    }
    assert!(kinds[2..].iter().all(|kind| *kind == FrameKind::Played), "{kinds:?}");
    let stats = inbound.stats();
    assert_eq!((stats.jitter.received, stats.jitter.lost, stats.ignored, stats.malformed), (50, 0, 0, 0));
}

#[test]
fn digits_arrive_once_and_in_order_beside_the_audio() {
    let (mut inbound, mut sender) = (inbound(), sender(2));
    for key in "12#".chars() {
        sender.press(Digit::try_from(key).unwrap(), 80).unwrap();
    }
    let (mut pressed, mut released) = (String::new(), String::new());
    for tick in 0..60 {
        let packet = datagram(&mut sender, 10);
        for _ in 0..2 {
            if let Ok(Arrival::Digit(Some(digit))) = inbound.packet(&packet, at(tick)) {
                pressed.push(digit.as_char());
            }
        }
        inbound.tick(at(tick));
        released.extend(core::iter::from_fn(|| inbound.digit()).map(Digit::as_char));
    }
    assert_eq!((pressed.as_str(), released.as_str()), ("12#", "12#"));
}

#[test]
fn a_key_is_no_loss_and_nothing_is_made_up_for_it() {
    let (mut inbound, mut sender, mut frame) = (inbound(), sender(1), SILENCE);
    for tick in 0..100 {
        if tick == 40 {
            sender.press(Digit::D5, 100).unwrap();
        }
        inbound.packet(&datagram(&mut sender, 1000), at(tick)).unwrap();
        inbound.tick(at(tick));
        while inbound.tap(&mut frame).is_some() {}
        inbound.pull(at(tick), &mut frame);
    }
    let stats = inbound.stats().jitter;
    assert_eq!((stats.lost, stats.concealed_ms), (0, 0));
    assert_eq!(inbound.digit(), Some(Digit::D5));
}

#[test]
fn a_digit_whose_end_is_lost_comes_by_the_clock() {
    let (mut inbound, mut sender) = (inbound(), sender(2));
    sender.press(Digit::Star, 200).unwrap();
    inbound.packet(&datagram(&mut sender, 0), at(0)).unwrap();
    inbound.tick(at(5));
    assert_eq!(inbound.digit(), None);
    inbound.tick(at(6));
    assert_eq!(inbound.digit(), Some(Digit::Star));
}

#[test]
fn another_source_takes_over_after_two_packets_in_a_row() {
    let (mut inbound, mut old, mut new) = (inbound(), sender(7), sender(8));
    for tick in 0..20 {
        inbound.packet(&datagram(&mut old, 500), at(tick)).unwrap();
    }
    // A single stray packet between those of the old source changes nothing.
    assert_eq!(inbound.packet(&datagram(&mut new, 900), at(20)), Ok(Arrival::Ignored(Ignored::Source(8))));
    assert_eq!(inbound.packet(&datagram(&mut old, 500), at(20)), Ok(Arrival::Audio));
    assert_eq!(inbound.packet(&datagram(&mut new, 900), at(21)), Ok(Arrival::Ignored(Ignored::Source(8))));
    assert_eq!(inbound.packet(&datagram(&mut new, 900), at(22)), Ok(Arrival::Audio));
    assert_eq!(inbound.stats().source_changes, 1);
    let (mut frame, mut heard) = (SILENCE, 0);
    for tick in 23..60 {
        inbound.packet(&datagram(&mut new, 900), at(tick)).unwrap();
        heard += usize::from(inbound.pull(at(tick), &mut frame) == FrameKind::Played && frame[80] > 800);
    }
    assert!(heard >= 33, "{heard}");
    assert_eq!(inbound.stats().jitter.received, 21 + 38);
}

#[test]
fn what_is_not_for_us_is_named() {
    let mut inbound = inbound();
    let mut packet = datagram(&mut sender(3), 0);
    assert_eq!(inbound.packet(&[0x80, 200, 0, 6, 0, 0, 0, 1], at(0)), Ok(Arrival::Ignored(Ignored::Rtcp)));
    packet[1] = 13;
    assert_eq!(inbound.packet(&packet, at(0)), Ok(Arrival::Ignored(Ignored::PayloadType(13))));
    packet[1] = 0;
    assert_eq!(inbound.packet(&packet[..12], at(0)), Ok(Arrival::Ignored(Ignored::Empty)));
    assert!(matches!(inbound.packet(&packet[..7], at(0)), Err(RtpError::Truncated { offset: 4, .. })));
    packet.resize(12 + 961, 0xFF);
    let source = CodecError::TooLong { codec: "G.711", octets: 961, limit: 960 };
    assert_eq!(inbound.packet(&packet, at(0)), Err(RtpError::Payload { offset: 12, source }));
    packet.truncate(14);
    packet[1] = 101;
    let error = inbound.packet(&packet, at(0)).unwrap_err();
    assert_eq!(error.to_string(), "telephone event at offset 12: event needs 4 octets, 2 found");
    let stats = inbound.stats();
    assert_eq!((stats.ignored, stats.malformed), (3, 3));
}

#[test]
fn a_packet_of_60_ms_is_three_frames_at_the_tap() {
    let mut inbound = inbound();
    let mut packet = datagram(&mut sender(4), 0);
    packet.resize(12 + 480, 0x80);
    inbound.packet(&packet, at(3)).unwrap();
    let mut frame = SILENCE;
    for _ in 0..3 {
        assert_eq!(inbound.tap(&mut frame), Some(at(3)));
    }
    assert_eq!(inbound.tap(&mut frame), None);
}

#[test]
fn concealment_keeps_a_tone_going_through_a_lost_packet() {
    let (mut inbound, mut sender, mut frame) = (inbound(), sender(5), SILENCE);
    let mut tone = Tone::dual(200.0, 400.0, -20.0);
    let mut room = DATAGRAM;
    let mut concealed = vec![];
    for tick in 0..100 {
        tone.fill(&mut frame);
        sender.frame(&frame);
        let length = sender.poll(&mut room).unwrap();
        if tick % 20 != 19 {
            inbound.packet(&room[..length], at(tick)).unwrap();
        }
        if inbound.pull(at(tick) + Moment::from_millis(1), &mut frame) == FrameKind::Concealed {
            concealed.push(offhook_media::level::rms_dbfs(&frame));
        }
    }
    assert!((4..=6).contains(&concealed.len()), "{concealed:?}");
    assert!(concealed.iter().all(|level| (-21.0..-15.0).contains(level)), "{concealed:?}");
}

/// A call with a codec over a network that loses, reorders and repeats: what was said, what was heard, and the counters.
fn line(codec: CodecKind, ptime_ms: u32, arrives: impl Fn(u64) -> Option<u64>) -> (Vec<i16>, Vec<i16>, RtpInbound) {
    let mut sender = RtpOutbound::new(OutboundConfig { ptime_ms, first_seq: 65_500, ..OutboundConfig::new(codec, 96) });
    let mut inbound = RtpInbound::new(InboundConfig { ptime_ms, ..InboundConfig::new(codec, 96) });
    let voice = Wav::parse(include_bytes!("../../fixtures/audio/human/invalid.wav")).unwrap().samples;
    let (mut said, mut heard, mut flying, mut packets) = (vec![], vec![], vec![], 0);
    for (tick, frame) in voice.as_chunks::<FRAME>().0.iter().enumerate() {
        let now = 20 * tick as u64;
        said.extend_from_slice(frame);
        sender.frame(frame);
        let mut room = DATAGRAM;
        while let Some(length) = sender.poll(&mut room) {
            if let Some(delay) = arrives(packets) {
                flying.push((now + delay, room[..length].to_vec()));
            }
            packets += 1;
        }
        flying.sort_by_key(|(at, _)| *at);
        while flying.first().is_some_and(|(at, _)| *at <= now) {
            let (at, datagram) = flying.remove(0);
            inbound.packet(&datagram, Moment::from_millis(at)).unwrap();
        }
        let (mut frame, now) = (SILENCE, Moment::from_millis(now + 3));
        inbound.tick(now);
        while inbound.tap(&mut frame).is_some() {}
        inbound.pull(now, &mut frame);
        heard.extend_from_slice(&frame);
    }
    (said, heard, inbound)
}

#[test]
fn every_codec_and_packet_time_carries_a_voice() {
    for codec in CodecKind::ALL {
        for ptime in [10, 20, 30, 40, 60] {
            let (said, heard, inbound) = line(codec, ptime, |_| Some(0));
            let stats = inbound.stats();
            let gain = rms_dbfs(&heard[8000..]) - rms_dbfs(&said[8000..]);
            assert!(gain.abs() < 1.5, "{codec:?} {ptime}: {gain} dB");
            let counts = (stats.jitter.lost, stats.jitter.concealed_ms, stats.jitter.late, stats.malformed);
            assert_eq!(counts, (0, 0, 0, 0), "{codec:?} {ptime}: {stats:?}");
        }
    }
}

#[test]
fn lost_packets_of_opus_come_back_from_the_next_ones() {
    let (_, _, inbound) = line(CodecKind::Opus, 20, |packet| (packet % 10 != 9).then_some(0));
    let stats = inbound.stats().jitter;
    assert!(stats.lost >= 18, "{stats:?}");
    assert!(stats.recovered_ms >= 10 * 20 && stats.recovered_ms + stats.concealed_ms <= 22 * 20, "{stats:?}");
}

#[test]
fn reordered_packets_of_opus_and_g722_are_decoded_in_order() {
    for codec in [CodecKind::G722, CodecKind::Opus] {
        // A little late at first, so that the buffer knows what to wait for, then behind the packet that follows.
        let delay = |packet: u64, late: u64| Some(30 + if packet % 7 == 3 { late } else { 0 });
        let (_, straight, _) = line(codec, 20, |packet| delay(packet, 19));
        let (_, shuffled, inbound) = line(codec, 20, |packet| delay(packet, if packet < 40 { 19 } else { 25 }));
        let stats = inbound.stats();
        assert_eq!(
            (stats.jitter.lost, stats.jitter.late, stats.jitter.concealed_ms),
            (0, 0, 0),
            "{codec:?}: {stats:?}"
        );
        assert_eq!(straight, shuffled, "{codec:?}");
    }
}

#[test]
fn announced_silence_is_neither_lost_nor_dead() {
    let mut inbound = RtpInbound::new(InboundConfig {
        comfort_noise_payload_type: Some(13),
        ..InboundConfig::new(CodecKind::Pcmu, 0)
    });
    let mut sender = RtpOutbound::new(OutboundConfig {
        comfort_noise_payload_type: Some(13),
        dtx: true,
        ..OutboundConfig::new(CodecKind::Pcmu, 0)
    });
    let (mut room, mut frame, mut tapped) = (DATAGRAM, SILENCE, 0);
    for tick in 0..500 {
        let voice = if (100..450).contains(&tick) { SILENCE } else { [2000; FRAME] };
        sender.frame(&voice);
        while let Some(length) = sender.poll(&mut room) {
            inbound.packet(&room[..length], at(tick)).unwrap();
        }
        assert_eq!(inbound.silence_announced(), (109..450).contains(&tick), "{tick}");
        inbound.tick(at(tick));
        while inbound.tap(&mut frame).is_some() {
            tapped += 1;
        }
        inbound.pull(at(tick), &mut frame);
    }
    let stats = inbound.stats().jitter;
    assert_eq!((stats.lost, stats.concealed_ms, stats.late), (0, 0, 0), "{stats:?}");
    assert!((490..=500).contains(&tapped), "{tapped}");
}

#[test]
fn a_codec_changed_in_mid_call_is_heard_at_once() {
    let mut inbound = inbound();
    let mut sender = sender(6);
    let (mut frame, mut heard) = (SILENCE, 0);
    for tick in 0..150 {
        if tick == 50 {
            inbound.reconfigure(InboundConfig::new(CodecKind::Opus, 111));
            sender.reconfigure(OutboundConfig::new(CodecKind::Opus, 111));
        }
        if tick == 100 {
            inbound.reconfigure(InboundConfig::new(CodecKind::G722, 9));
            sender.reconfigure(OutboundConfig::new(CodecKind::G722, 9));
        }
        inbound.packet(&datagram(&mut sender, 1000), at(tick)).unwrap();
        heard += usize::from(inbound.pull(at(tick), &mut frame) == FrameKind::Played);
    }
    assert!(heard > 138, "{heard} {:?}", inbound.stats());
    assert_eq!(inbound.stats().malformed, 0);
}

#[test]
fn keys_in_the_audio_count_where_no_events_were_agreed() {
    let mut inbound = RtpInbound::new(InboundConfig::new(CodecKind::Pcma, 8));
    let mut sender = RtpOutbound::new(OutboundConfig::new(CodecKind::Pcma, 8));
    let (mut key, mut room, mut pulled) = (Tone::dual(941.0, 1336.0, -16.0), DATAGRAM, SILENCE);
    for tick in 0..100 {
        let mut frame = SILENCE;
        if (40..46).contains(&tick) {
            key.fill(&mut frame);
        }
        sender.frame(&frame);
        let length = sender.poll(&mut room).unwrap();
        inbound.packet(&room[..length], at(tick)).unwrap();
        inbound.tick(at(tick));
        inbound.pull(at(tick), &mut pulled);
        if tick == 60 {
            inbound.info(Digit::D0, at(tick));
        }
    }
    assert_eq!((inbound.digit(), inbound.digit()), (Some(Digit::D0), None));
}

proptest! {
    #[test]
    fn no_datagram_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..40)) {
        let codec = CodecKind::ALL[datagrams.len() % 4];
        let config = InboundConfig {
            dtmf_payload_type: Some(101),
            comfort_noise_payload_type: Some(13),
            ..InboundConfig::new(codec, 0)
        };
        let (mut inbound, mut frame) = (RtpInbound::new(config), SILENCE);
        for (tick, mut bytes) in datagrams.into_iter().enumerate() {
            // Most of them get past the version and payload type checks.
            if tick % 4 != 0 && bytes.len() > 2 {
                bytes[0] = 0x80 | bytes[0] & 0x10;
                bytes[1] = [0, 101, 13][tick % 3];
                // Of one source, and a numbering that is sometimes in order.
                if bytes.len() > 12 && tick % 5 != 0 {
                    bytes[2..4].copy_from_slice(&(tick as u16).to_be_bytes());
                    bytes[4..12].fill(0);
                    bytes[6..8].copy_from_slice(&(tick as u16 * 160).to_be_bytes());
                }
            }
            let now = at(tick as u64 * 3);
            let _ = inbound.packet(&bytes, now);
            inbound.tick(now);
            while inbound.tap(&mut frame).is_some() {}
            inbound.pull(now, &mut frame);
            while inbound.digit().is_some() {}
        }
    }
}
