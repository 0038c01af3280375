//! Any bytes as an offer: no panic, and whatever is answered is a lawful answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::sdp::{Codec, Direction, LocalMedia, Session, SessionDescription, negotiate, read_answer};

fuzz_target!(|data: &[u8]| {
    let Ok(offer) = SessionDescription::parse(data) else { return };
    let local = LocalMedia {
        address: [10, 0, 0, 1].into(),
        port: 4000,
        codecs: &[Codec::Pcmu, Codec::Pcma],
        ptime_ms: 20,
        direction: Direction::SendRecv,
    };
    let _ = read_answer(&offer, &local);
    let Ok(taken) = negotiate(&offer, &local, Session { id: 1, version: 1 }) else { return };
    let answer = SessionDescription::parse(taken.answer.as_bytes()).expect("our answer reads back");
    assert_eq!(answer.media.len(), offer.media.len());
    assert!((10..=60).contains(&taken.agreed.ptime_ms));
    if let Some(remote) = taken.agreed.remote_rtp {
        assert!(remote.port() >= 1024 && !remote.ip().is_multicast() && !remote.ip().is_unspecified());
    }
});
