//! What the noise filter does to voice and noise: recorded speech in made noise, before and after, against the clean voice.
//!
//! `cargo test -p offhook-media --release --test denoise -- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{Colour, Dice, noise, percentile, prompts, speech};
use offhook_media::denoise::NoiseSuppressor;
use offhook_media::level::power_dbfs;
use offhook_media::{FRAME, Frame, SILENCE};

/// What comes out for what goes in, moved back by the filter's 10 ms.
fn filtered(wave: &[f32]) -> Vec<f32> {
    let mut suppressor = NoiseSuppressor::new();
    let frames = wave.as_chunks::<FRAME>().0.iter().chain([&[0.0; FRAME]]);
    let out = frames.flat_map(|frame| {
        let mut frame: Frame = frame.map(|sample| sample.round() as i16);
        suppressor.run(&mut frame);
        frame.map(f32::from)
    });
    out.skip(80).take(wave.len() / FRAME * FRAME).collect()
}

fn power(wave: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = wave.fold((0.0, 0usize), |(sum, count), value| (sum + value * value, count + 1));
    sum / count.max(1) as f32
}

/// Ratio of the voice to what differs from it, in 20 ms blocks that hold voice, dB: the median.
fn segmental(clean: &[f32], other: &[f32]) -> f32 {
    let loud = power_dbfs(power(clean.iter().copied())) - 15.0;
    let blocks = clean.chunks_exact(FRAME).zip(other.chunks_exact(FRAME));
    let ratios: Vec<f32> = blocks
        .filter(|(clean, _)| power_dbfs(power(clean.iter().copied())) > loud)
        .map(|(clean, other)| {
            let wrong = power(clean.iter().zip(other).map(|(a, b)| a - b));
            power_dbfs(power(clean.iter().copied())) - power_dbfs(wrong.max(1e-3))
        })
        .collect();
    percentile(&ratios, 50)
}

fn babble(dice: &mut Dice, length: usize, dbfs: f32) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    for _ in 0..8 {
        let voice = speech(dice, length / 8000 + 2, -26.0);
        let from = dice.below(8000);
        for (place, sample) in wave.iter_mut().zip(&voice[from..]) {
            *place += sample;
        }
    }
    let gain = 10f32.powf((dbfs - power_dbfs(power(wave.iter().copied()))) / 20.0);
    wave.iter().map(|value| gain * value).collect()
}

#[test]
fn noise_is_lowered_and_the_voice_is_kept() {
    let mut dice = Dice::new(31);
    let clean = speech(&mut dice, 20, -26.0);
    let mut lead = vec![0.0; 8000];
    lead.extend(&clean);
    let clean = lead;
    for (name, least_10, least_5) in [("white", 3.0, 4.0), ("pink", 2.0, 3.0), ("babble", 0.0, 0.0)] {
        for (snr, least) in [(10.0, least_10), (5.0, least_5)] {
            let added = match name {
                "white" => noise(&mut dice, Colour::White, clean.len(), -26.0 - snr),
                "pink" => noise(&mut dice, Colour::Pink, clean.len(), -26.0 - snr),
                _ => babble(&mut dice, clean.len(), -26.0 - snr),
            };
            let heard = lab::sum(&clean, &added);
            let out = filtered(&heard);
            let (before, after) = (segmental(&clean, &heard), segmental(&clean, &out));
            let pause = 4000..7900;
            let lower =
                power_dbfs(power(heard[pause.clone()].iter().copied())) - power_dbfs(power(out[pause].iter().copied()));
            println!(
                "{name} {snr} dB: voice over all else {before:.1} -> {after:.1} dB; between words {lower:.1} dB lower"
            );
            assert!(after - before >= least, "{name} {snr}: {before} {after}");
            assert!(lower >= if name == "babble" { 1.0 } else { 5.0 }, "{name} {snr}: {lower}");
        }
    }
}

#[test]
fn a_clean_voice_stays_as_it_is() {
    let mut ratios = Vec::new();
    for prompt in prompts() {
        let mut wave = vec![0.0; 4000];
        wave.extend(&prompt.wave);
        ratios.push(segmental(&wave, &filtered(&wave)));
    }
    println!(
        "distortion of clean voices: {:?} dB below them (p5, p50)",
        [5, 50].map(|percent| percentile(&ratios, percent))
    );
    assert!(percentile(&ratios, 5) >= 15.0 && percentile(&ratios, 50) >= 20.0, "{ratios:?}");
}

#[test]
fn it_is_10_ms_late_and_allocates_nothing() {
    let mut suppressor = NoiseSuppressor::new();
    let mut frame = SILENCE;
    frame[0] = 20_000;
    suppressor.run(&mut frame);
    let place = frame.iter().enumerate().max_by_key(|(_, sample)| sample.unsigned_abs()).map(|(place, _)| place);
    assert_eq!(place, Some(80));
    let mut voice = noise(&mut Dice::new(3), Colour::Pink, 80_000, -30.0).iter().map(|s| *s as i16).collect::<Vec<_>>();
    let counted = allocation_counter::measure(|| {
        for frame in voice.as_chunks_mut::<FRAME>().0 {
            suppressor.run(frame);
        }
    });
    assert_eq!(counted.count_total, 0);
}
