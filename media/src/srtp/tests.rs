//! Whole packets: a published one, what an attacker may try, and every length.

use super::*;
use crate::rtp::{Header, write_header};
use proptest::prelude::*;

pub(super) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const KEY: [u8; LONGEST_KEY] = [0x5A; LONGEST_KEY];
const SSRC: u32 = 0xCAFE_BABE;

fn key(suite: Suite) -> &'static [u8] {
    &KEY[..suite.key_len() + 14]
}

fn pair(suite: Suite) -> (SrtpSender, SrtpReceiver) {
    (SrtpSender::new(suite, key(suite), SSRC).unwrap(), SrtpReceiver::new(suite, key(suite), None, 1 << 48).unwrap())
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header { marker: false, payload_type: 0, sequence, timestamp: u32::from(sequence) * 160, ssrc };
    [&write_header(&header), payload].concat()
}

fn protected(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut room = packet.to_vec();
    room.resize(packet.len() + MOST_GROWTH, 0);
    let length = sender.protect(&mut room, packet.len()).unwrap();
    room.truncate(length);
    room
}

fn protected_rtcp(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut room = packet.to_vec();
    room.resize(packet.len() + MOST_GROWTH, 0);
    let length = sender.protect_rtcp(&mut room, packet.len()).unwrap();
    room.truncate(length);
    room
}

fn taken(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut room = packet.to_vec();
    let outcome = receiver.unprotect(&mut room);
    if outcome.is_err() {
        assert_eq!(room, packet, "a refused packet is as it came");
    }
    outcome.map(|length| room[..length].to_vec())
}

const REPORT: [u8; 28] =
    [0x80, 200, 0, 6, 0xCA, 0xFE, 0xBA, 0xBE, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

#[test]
fn a_published_packet_comes_out_as_published() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
    let mut sender = SrtpSender::new(Suite::AesCm128Tag80, &key, SSRC).unwrap();
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let wanted = hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(protected(&mut sender, &plain), wanted);
    let mut receiver = SrtpReceiver::new(Suite::AesCm128Tag80, &key, None, 1 << 48).unwrap();
    assert_eq!(taken(&mut receiver, &wanted), Ok(plain));
}

#[test]
fn what_was_tampered_with_is_dropped_and_changes_nothing() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = pair(suite);
        let good = protected(&mut sender, &rtp(SSRC, 10, &[7; 160]));
        for at in 1..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(taken(&mut receiver, &bad).is_err(), "{suite:?} octet {at}");
        }
        for length in 0..good.len() {
            assert!(taken(&mut receiver, &good[..length]).is_err());
        }
        assert_eq!(taken(&mut receiver, &rtp(SSRC, 10, &[7; 160])), Err(SrtpError::Unauthentic), "in the clear");
        let mut other = SrtpSender::new(suite, &vec![1; suite.key_len() + 14], SSRC).unwrap();
        let foreign = protected(&mut other, &rtp(SSRC, 11, &[7; 160]));
        assert_eq!(taken(&mut receiver, &foreign), Err(SrtpError::Unauthentic));
        assert_eq!(taken(&mut receiver, &good), Ok(rtp(SSRC, 10, &[7; 160])));
        assert!(receiver.stats().unauthentic > 160 && receiver.stats().malformed > 10);
        assert_eq!(receiver.sources.iter().flatten().count(), 1, "forged sources are not remembered");
    }
}

#[test]
fn a_packet_is_taken_once_and_late_ones_within_the_window() {
    let (mut sender, mut receiver) = pair(Suite::AesCm128Tag80);
    let packets: Vec<_> = (0..300).map(|n| protected(&mut sender, &rtp(SSRC, n, &[1; 20]))).collect();
    for n in (0..300).rev().step_by(2) {
        let wanted = if n > 299 - 128 { Ok(()) } else { Err(SrtpError::Replayed) };
        assert_eq!(taken(&mut receiver, &packets[n]).map(|_| ()), wanted, "{n}");
        assert_eq!(taken(&mut receiver, &packets[n]), Err(SrtpError::Replayed));
    }
    assert_eq!(receiver.stats().replayed, 150 + 150 - 64);
}

#[test]
fn the_rollover_counter_is_guessed_across_wraps_loss_and_reordering() {
    let (mut sender, mut receiver) = pair(Suite::Aes256CmTag32);
    let mut packets = Vec::new();
    for step in 0..200_000u32 {
        let packet = rtp(SSRC, (30_000 + step) as u16, &step.to_be_bytes());
        let sealed = protected(&mut sender, &packet);
        if step % 1000 < 20 {
            packets.push((packet, sealed));
        }
    }
    packets.chunks_mut(4).for_each(<[_]>::reverse);
    for (packet, sealed) in &packets {
        assert_eq!(taken(&mut receiver, sealed).as_ref(), Ok(packet));
    }
    assert_eq!(receiver.stats(), SrtpStats::default());
}

#[test]
fn a_forged_jump_does_not_move_the_rollover_counter() {
    let (mut sender, mut receiver) = pair(Suite::AesCm128Tag80);
    let first = protected(&mut sender, &rtp(SSRC, 100, &[1; 20]));
    taken(&mut receiver, &first).unwrap();
    for sequence in [0x7FFF, 0x8064, 0xFFFF, 99] {
        let mut forged = first.clone();
        forged[2..4].copy_from_slice(&u16::to_be_bytes(sequence));
        assert!(taken(&mut receiver, &forged).is_err());
    }
    let next = protected(&mut sender, &rtp(SSRC, 101, &[2; 20]));
    assert_eq!(taken(&mut receiver, &next), Ok(rtp(SSRC, 101, &[2; 20])));
}

#[test]
fn a_new_source_under_the_same_key_begins_anew_and_the_oldest_of_many_is_forgotten() {
    let suite = Suite::AesCm128Tag80;
    let mut receiver = SrtpReceiver::new(suite, key(suite), None, 1 << 48).unwrap();
    let sealed = |ssrc| {
        let mut sender = SrtpSender::new(suite, key(suite), ssrc).unwrap();
        protected(&mut sender, &rtp(ssrc, 5, &[3; 20]))
    };
    for ssrc in 0..20 {
        assert!(taken(&mut receiver, &sealed(ssrc)).is_ok());
        assert_eq!(taken(&mut receiver, &sealed(ssrc)), Err(SrtpError::Replayed));
    }
    assert_eq!(receiver.sources.iter().flatten().count(), MOST_SOURCES);
    assert_eq!(taken(&mut receiver, &sealed(19 - 7)), Err(SrtpError::Replayed));
}

#[test]
fn a_key_identifier_is_asked_for_and_taken_off() {
    let suite = Suite::AesCm128Tag80;
    let (mut sender, _) = pair(suite);
    let mut receiver = SrtpReceiver::new(suite, key(suite), Some(Mki { value: 0x0102, length: 4 }), 1 << 48).unwrap();
    let bare = protected(&mut sender, &rtp(SSRC, 1, &[1; 20]));
    assert_eq!(taken(&mut receiver, &bare), Err(SrtpError::OtherKey));
    let (body, tag) = bare.split_at(bare.len() - 10);
    let with = |mki: [u8; 4]| [body, &mki, tag].concat();
    assert_eq!(taken(&mut receiver, &with([0, 0, 1, 3])), Err(SrtpError::OtherKey));
    assert_eq!(taken(&mut receiver, &with([0, 0, 1, 2])), Ok(rtp(SSRC, 1, &[1; 20])));
}

#[test]
fn a_key_serves_its_packets_and_no_more() {
    let suite = Suite::AesCm128Tag32;
    let (mut sender, _) = pair(suite);
    let mut receiver = SrtpReceiver::new(suite, key(suite), None, 2).unwrap();
    for sequence in 0..2 {
        assert!(taken(&mut receiver, &protected(&mut sender, &rtp(SSRC, sequence, &[1; 20]))).is_ok());
    }
    assert_eq!(taken(&mut receiver, &protected(&mut sender, &rtp(SSRC, 2, &[1; 20]))), Err(SrtpError::Expired));
    sender.last = Some(LAST_INDEX);
    let mut room = rtp(SSRC, 0, &[0; 40]);
    assert_eq!(sender.protect(&mut room, 20), Err(SrtpError::Expired));
    sender.rtcp_index = LAST_RTCP_INDEX;
    let mut room = REPORT.to_vec();
    assert_eq!(sender.protect_rtcp(&mut room, REPORT.len()), Err(SrtpError::Expired));
}

#[test]
fn no_key_stream_is_used_twice() {
    let (mut sender, _) = pair(Suite::AesCm128Tag80);
    protected(&mut sender, &rtp(SSRC, 7, &[1; 20]));
    for packet in [rtp(SSRC, 7, &[2; 40]), rtp(SSRC, 6, &[2; 40]), rtp(SSRC + 1, 8, &[2; 40])] {
        assert_eq!(sender.protect(&mut packet.clone(), 30), Err(SrtpError::Reused));
    }
    protected(&mut sender, &rtp(SSRC, 8, &[1; 20]));
}

#[test]
fn reports_are_encrypted_numbered_and_taken_once() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = pair(suite);
        let sealed = [protected_rtcp(&mut sender, &REPORT), protected_rtcp(&mut sender, &REPORT)];
        assert_ne!(sealed[0][8..28], REPORT[8..]);
        assert_ne!(sealed[0], sealed[1]);
        for packet in &sealed {
            let mut room = packet.clone();
            assert_eq!(receiver.unprotect_rtcp(&mut room), Ok(REPORT.len()));
            assert_eq!(room[..REPORT.len()], REPORT);
            assert_eq!(receiver.unprotect_rtcp(&mut packet.clone()), Err(SrtpError::Replayed));
        }
        for at in 1..sealed[0].len() {
            let mut bad = protected_rtcp(&mut sender, &REPORT);
            bad[at] ^= 1;
            assert!(receiver.unprotect_rtcp(&mut bad).is_err());
        }
        assert!(receiver.unprotect_rtcp(&mut REPORT.to_vec()).is_err());
    }
}

#[test]
fn keys_have_the_length_of_their_suite_and_are_never_printed() {
    assert_eq!(
        SrtpSender::new(Suite::Aes256CmTag80, &[0; 30], 1).err(),
        Some(SrtpError::KeyLength { expected: 46, found: 30 })
    );
    let (sender, receiver) = pair(Suite::Aes256CmTag80);
    assert!(!format!("{sender:?} {receiver:?}").contains("90"));
}

proptest! {
    #[test]
    fn every_packet_comes_back(
        payload in prop::collection::vec(any::<u8>(), 0..400),
        sequence: u16,
        flags in 0u8..16,
        which in 0usize..4,
    ) {
        let (mut sender, mut receiver) = pair(Suite::ALL[which]);
        let mut packet = rtp(SSRC, sequence, &payload);
        packet[0] |= flags & 3;
        let whole = usize::from(flags & 3) * 4 <= payload.len();
        let mut room = [&packet[..], &[0; MOST_GROWTH]].concat();
        match sender.protect(&mut room, packet.len()) {
            Ok(length) => prop_assert_eq!(taken(&mut receiver, &room[..length]), Ok(packet)),
            Err(error) => prop_assert!(!whole, "{}", error),
        }
    }

    #[test]
    fn nothing_forged_is_taken(packet in prop::collection::vec(any::<u8>(), 0..200), version: bool) {
        let (_, mut receiver) = pair(Suite::AesCm128Tag80);
        let mut packet = packet;
        if let Some(first) = packet.first_mut() && version { *first = *first & 0x3F | 0x80; }
        prop_assert!(receiver.unprotect(&mut packet).is_err());
        prop_assert!(receiver.unprotect_rtcp(&mut packet).is_err());
        prop_assert_eq!(receiver.stats().dropped(), 2);
    }
}
