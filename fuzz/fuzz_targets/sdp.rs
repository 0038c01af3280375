//! Any bytes as an offer and as an answer: no panic, and whatever is answered is a lawful answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::sdp::{
    Codec, CryptoSuite, Exchange, LONGEST_KEY, LocalKey, LocalMedia, MasterKey, RtcpMode, SessionDescription, SrtpPolicy,
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let Ok(offer) = SessionDescription::parse(data) else { return };
    let mut local = LocalMedia::new([10, 0, 0, 1].into(), 4000, Codec::ALL);
    local.comfort_noise = choice & 1 == 1;
    local.rtcp = [RtcpMode::Off, RtcpMode::Separate, RtcpMode::Mux][usize::from(choice >> 1 & 3) % 3];
    local.srtp = [SrtpPolicy::Off, SrtpPolicy::Optional, SrtpPolicy::Required][usize::from(choice >> 3 & 3) % 3];
    let key = |suite| LocalKey { suite, key: MasterKey::new(suite, &[7; LONGEST_KEY]) };
    local.keys = CryptoSuite::ALL.map(key).to_vec();
    let mut asks = Exchange::new(local.clone(), 1);
    asks.offer();
    let _ = asks.answered(data);
    let mut answers = Exchange::new(local, 1);
    let Ok(taken) = answers.answer(data) else { return };
    let answer = SessionDescription::parse(taken.answer.as_bytes()).expect("our answer reads back");
    assert_eq!(answer.media.len(), offer.media.len());
    assert!([10, 20, 30, 40, 60].contains(&taken.agreed.ptime_ms));
    if let Some(remote) = taken.agreed.remote_rtp {
        assert!(remote.port() >= 1024 && !remote.ip().is_multicast() && !remote.ip().is_unspecified());
    }
    let next = answers.offer();
    let next = SessionDescription::parse(next.as_bytes()).expect("our next offer reads back");
    assert_eq!(next.media.len(), offer.media.len());
});
