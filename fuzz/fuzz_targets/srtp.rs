//! Any bytes as datagrams of an encrypted call, among packets of the far side's own that the input orders: nothing that
//! was not sealed is opened, nothing is opened twice, and what is refused is left as it came.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use offhook_media::rtp::{Header, write_header};
use offhook_media::srtp::{MOST_GROWTH, Mki, SrtpReceiver, SrtpSender, Suite};

/// A key that any change of the input changes: the fuzzer sees the right tag in the comparison, and must not be able to
/// use it.
fn key_of(data: &[u8]) -> [u8; 46] {
    let mut state = data.iter().fold(0xCBF2_9CE4_8422_2325_u64, |state, octet| {
        (state ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01B3).rotate_left(23)
    });
    std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let suite = Suite::ALL[usize::from(first & 3)];
    let whole = key_of(data);
    let key = &whole[..suite.key_len() + 14];
    let mut receiver = SrtpReceiver::new(suite, key, None, 1 << 48).expect("the key fits");
    let mki = Some(Mki { value: u64::from(first), length: 1 + first % 8 });
    let mut marked = SrtpReceiver::new(suite, key, mki, 3).expect("the key fits");
    let (mut sequence, mut opened) = (u16::from(first) << 8, HashSet::new());
    let mut sender = SrtpSender::new(suite, key, 7).expect("the key fits");
    while let [length, step, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        let mut forged = bytes.to_vec();
        assert!(receiver.unprotect(&mut forged).is_err() && receiver.unprotect_rtcp(&mut forged).is_err());
        assert!(marked.unprotect(&mut forged).is_err() && marked.unprotect_rtcp(&mut forged).is_err());
        assert_eq!(forged, bytes);
        sequence = sequence.wrapping_add(u16::from(*step));
        let header = Header { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc: 7 };
        let mut sealed = [&write_header(&header)[..], bytes, &[0; MOST_GROWTH]].concat();
        if let Ok(length) = sender.protect(&mut sealed, 12 + bytes.len()) {
            let packet = sealed[..length].to_vec();
            let outcome = receiver.unprotect(&mut sealed[..length]);
            assert!(outcome.is_ok() && opened.insert(packet.clone()));
            assert!(receiver.unprotect(&mut packet.clone()).is_err(), "never twice");
        }
        rest = tail;
    }
});
