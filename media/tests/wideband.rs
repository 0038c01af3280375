//! A leg of G.722 or Opus gives evidence when a leg of mu-law does: what is heard is 8 kHz on all of them.
//!
//! `cargo test -p offhook-media --release --test wideband -- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{Colour, Dice, noise, percentile, prompts};
use offhook_media::barge::Ear;
use offhook_media::codec::CodecKind;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::silero::Network;
use offhook_media::{FRAME, Moment, SILENCE};

/// When the first window of speech comes, ms.
fn first(codec: CodecKind, wave: &[i16]) -> f32 {
    let mut sender = RtpOutbound::new(OutboundConfig {
        dtmf_clock: codec.clock_hz(),
        ssrc: 1,
        first_seq: 1,
        first_ts: 1,
        ..OutboundConfig::new(codec, 96)
    });
    let mut inbound = RtpInbound::new(InboundConfig { dtmf_clock: codec.clock_hz(), ..InboundConfig::new(codec, 96) });
    let mut ear = Ear::new(Network::shared().unwrap());
    let (mut room, mut heard) = (DATAGRAM, SILENCE);
    for (tick, frame) in (1..).zip(wave.as_chunks::<FRAME>().0) {
        let now = Moment::from_millis(20 * tick);
        sender.frame(frame);
        while let Some(length) = sender.poll(&mut room) {
            inbound.packet(&room[..length], now).unwrap();
        }
        while let Some(arrival) = inbound.tap(&mut heard) {
            if ear.heard(&heard, arrival).is_some_and(|found| found.first) {
                return lab::to_ms(arrival);
            }
        }
    }
    f32::INFINITY
}

#[test]
fn wideband_legs_give_the_same_evidence() {
    let mut dice = Dice::new(41);
    let mut later = [Vec::new(), Vec::new()];
    for prompt in prompts() {
        let begins = 8000 + dice.below(800);
        let mut wave = noise(&mut dice, Colour::Pink, begins + prompt.wave.len(), -62.0);
        let gain = 10f32.powf((-26.0 - prompt.level) / 20.0);
        for (place, sample) in wave[begins..].iter_mut().zip(&prompt.wave) {
            *place += gain * sample;
        }
        let wave: Vec<i16> = wave.iter().map(|value| value.round() as i16).collect();
        let narrow = first(CodecKind::Pcmu, &wave);
        assert!(narrow.is_finite(), "{}", prompt.name);
        for (later, codec) in later.iter_mut().zip([CodecKind::G722, CodecKind::Opus]) {
            later.push(first(codec, &wave) - narrow);
        }
    }
    println!("evidence later than with mu-law, ms: G.722 {:?}, Opus {:?}", later[0], later[1]);
    for later in &later {
        let apart: Vec<f32> = later.iter().map(|ms| ms.abs()).collect();
        assert!(percentile(&apart, 90) <= 20.5 && percentile(&apart, 50) <= 1.0, "{later:?}");
    }
}
