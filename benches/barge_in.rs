//! What hearing a caller costs: the speech network, per 32 ms window.
//!
//! `cargo bench -p offhook-media --bench barge_in`; medians of single windows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]

use std::hint::black_box;

use divan::Bencher;
use offhook_media::silero::{Network, State, WINDOW};
use offhook_media::wav::Wav;

fn main() {
    divan::main();
}

fn voice(file: &[u8]) -> Vec<i16> {
    Wav::parse(file).unwrap_or_else(|error| panic!("{error}")).samples.to_vec()
}

fn windows() -> Vec<[f32; WINDOW]> {
    let wave = voice(include_bytes!("../fixtures/audio/human/vm-sorry.wav"));
    wave.as_chunks::<WINDOW>().0.iter().map(|window| window.map(|sample| f32::from(sample) / 32768.0)).collect()
}

fn network(bencher: Bencher<'_, '_>, network: &'static Network) {
    let (mut state, windows, mut tick) = (State::new(network), windows(), 0usize);
    bencher.bench_local(|| {
        tick += 1;
        state.probability(black_box(&windows[tick % windows.len()]))
    });
}

#[divan::bench(sample_size = 1, sample_count = 5000)]
fn window_best_instructions(bencher: Bencher<'_, '_>) {
    network(bencher, Network::shared().unwrap());
}

#[divan::bench(sample_size = 1, sample_count = 5000)]
fn window_baseline_instructions(bencher: Bencher<'_, '_>) {
    network(bencher, Box::leak(Box::new(Network::baseline(Network::compiled_in()).unwrap())));
}
