//! What hearing a caller costs: the speech network per 32 ms window, the echo filter per 10 ms block, all of it per second.
//!
//! `cargo bench -p offhook-media --bench barge_in`; a second is 50 packets of 20 ms.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]

use std::hint::black_box;

use divan::Bencher;
use offhook_media::barge::Ear;
use offhook_media::echo::{BLOCK, EchoFilter};
use offhook_media::silero::{Network, State, WINDOW};
use offhook_media::tone::ComfortNoise;
use offhook_media::wav::Wav;
use offhook_media::{FRAME, Frame, SILENCE};

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

/// What the bot says, and its echo 100 ms later at -20 dB with line noise.
fn line() -> (Vec<i16>, Vec<i16>) {
    let sent = voice(include_bytes!("../fixtures/audio/human/vm-tocallback.wav"));
    let mut heard = vec![0; sent.len()];
    ComfortNoise::new(1, -60.0).fill(&mut heard);
    for (place, sample) in heard[800..].iter_mut().zip(&sent) {
        *place += sample / 10;
    }
    (heard, sent)
}

#[divan::bench(sample_size = 1, sample_count = 5000)]
fn block_of_echo_filter(bencher: Bencher<'_, '_>) {
    let (heard, sent) = line();
    let (heard, sent) = (heard.as_chunks::<BLOCK>().0, sent.as_chunks::<BLOCK>().0);
    let (mut filter, mut tick) = (EchoFilter::new(), 0usize);
    bencher.bench_local(|| {
        tick += 1;
        let place = tick % heard.len();
        filter.process(&heard[place].map(f32::from), &sent[place].map(f32::from))
    });
}

fn seconds(bencher: Bencher<'_, '_>, heard: &[Frame], sent: &[Frame]) {
    let (mut ear, mut tick) = (Ear::new(Network::shared().unwrap()), 0usize);
    bencher.counter(divan::counter::ItemsCount::new(50usize)).bench_local(|| {
        for _ in 0..50 {
            tick += 1;
            black_box(ear.packet(&heard[tick % heard.len()], &sent[tick % sent.len()]));
        }
    });
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn second_while_the_bot_talks(bencher: Bencher<'_, '_>) {
    let (heard, sent) = line();
    seconds(bencher, heard.as_chunks::<FRAME>().0, sent.as_chunks::<FRAME>().0);
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn second_while_the_caller_talks_and_the_bot_is_silent(bencher: Bencher<'_, '_>) {
    let wave = voice(include_bytes!("../fixtures/audio/human/vm-sorry.wav"));
    seconds(bencher, wave.as_chunks::<FRAME>().0, &[SILENCE]);
}

#[divan::bench(sample_size = 1, sample_count = 200)]
fn second_while_both_are_silent(bencher: Bencher<'_, '_>) {
    let mut heard = vec![0; 200 * FRAME];
    ComfortNoise::new(1, -60.0).fill(&mut heard);
    seconds(bencher, heard.as_chunks::<FRAME>().0, &[SILENCE]);
}
