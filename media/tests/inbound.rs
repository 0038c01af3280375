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
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::rtp::RtpError;
use offhook_media::tone::Tone;
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

proptest! {
    #[test]
    fn no_datagram_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..40)) {
        let (mut inbound, mut frame) = (inbound(), SILENCE);
        for (tick, mut bytes) in datagrams.into_iter().enumerate() {
            // Most of them get past the version and payload type checks.
            if tick % 4 != 0 && bytes.len() > 2 {
                bytes[0] = 0x80 | bytes[0] & 0x10;
                bytes[1] = if tick % 2 == 0 { 0 } else { 101 };
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
