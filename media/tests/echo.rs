//! The echo filter on synthetic paths and recorded speech: how deep, how fast, what it does to the caller, and that
//! nothing makes it say what is no number.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{Colour, Dice, EchoPath, noise, percentile, speech, sum};
use offhook_media::echo::{BLOCK, Cleaned, EchoFilter};
use proptest::prelude::*;

fn run(filter: &mut EchoFilter, heard: &[f32], sent: &[f32]) -> Vec<Cleaned> {
    let blocks = heard.as_chunks::<BLOCK>().0.iter().zip(sent.as_chunks::<BLOCK>().0);
    blocks.map(|(heard, sent)| filter.process(heard, sent)).collect()
}

fn decibels(above: f32, below: f32) -> f32 {
    10.0 * (above / below.max(1.0)).log10()
}

fn energy(wave: &[f32]) -> f32 {
    wave.iter().map(|sample| sample * sample).sum()
}

/// By how much echo is lower in blocks `from..to` than before the filter, dB.
fn gain(echo: &[f32], cleaned: &[Cleaned], from: usize, to: usize) -> f32 {
    let left: f32 = cleaned[from..to].iter().map(|block| energy(&block.error)).sum();
    decibels(energy(&echo[from * BLOCK..to * BLOCK]), left)
}

#[test]
fn echo_of_speech_sinks_within_seconds() {
    let mut worst = f32::MAX;
    for (seed, delay_ms, erl_db) in [(1, 0, 10.0), (2, 45, 15.0), (3, 120, 20.0), (4, 200, 15.0), (5, 270, 15.0)] {
        let mut dice = Dice::new(seed);
        let sent = speech(&mut dice, 8, -20.0);
        let echo = EchoPath::new(&mut dice, delay_ms, erl_db).echoes(&sent);
        let heard = sum(&echo, &noise(&mut dice, Colour::Pink, sent.len(), -66.0));
        let cleaned = run(&mut EchoFilter::new(), &heard, &sent);
        let [first, second, late] =
            [(0, 100), (100, 200), (400, 800)].map(|(from, to)| gain(&echo, &cleaned, from, to));
        println!(
            "delay {delay_ms} ms, ERL {erl_db} dB: first second {first:.1} dB, next {second:.1}, from 4 s {late:.1}"
        );
        worst = worst.min(second);
        let last = cleaned.last().unwrap();
        assert!(late > 17.0 && last.erle_db > 7.0, "{late} {}", last.erle_db);
        let (found, tail) = (last.delay_ms.unwrap(), delay_ms as u32);
        assert!((tail.saturating_sub(10)..=tail + 10).contains(&found), "{found} {tail}");
        assert!((last.erl_db.unwrap() - erl_db).abs() < 6.0, "{:?} {erl_db}", last.erl_db);
        assert!(cleaned.iter().filter(|block| block.path_changed).count() <= 1);
    }
    assert!(worst > 4.0, "{worst}");
}

#[test]
fn a_caller_who_speaks_through_the_echo_stays_whole() {
    for seed in 10..16 {
        let mut dice = Dice::new(seed);
        let sent = speech(&mut dice, 10, -20.0);
        let echo = EchoPath::new(&mut dice, 80, 20.0).echoes(&sent);
        let mut caller = speech(&mut dice, 10, -26.0);
        caller[..4 * 8000].fill(0.0);
        let heard = sum(&sum(&echo, &caller), &noise(&mut dice, Colour::Pink, sent.len(), -66.0));
        let cleaned = run(&mut EchoFilter::new(), &heard, &sent);
        let (mut kept, mut wrong) = (0.0, 0.0);
        for (block, caller) in cleaned.iter().zip(caller.as_chunks::<BLOCK>().0).skip(400) {
            kept += energy(caller);
            wrong += block.error.iter().zip(caller).map(|(found, true_one)| (found - true_one).powi(2)).sum::<f32>();
        }
        let clear = decibels(kept, wrong);
        println!("caller over what is wrong with the caller: {clear:.1} dB");
        assert!(clear > 15.0, "{clear}");
        assert!(cleaned.iter().filter(|block| block.path_changed).count() <= 1);
    }
}

#[test]
fn another_path_is_noticed_and_learned_anew() {
    let (mut in_time, mut recoveries) = (0, Vec::new());
    for seed in 20..26 {
        let mut dice = Dice::new(seed);
        let sent = speech(&mut dice, 8, -20.0);
        let (before, after) = (EchoPath::new(&mut dice, 60, 15.0), EchoPath::new(&mut dice, 97, 15.0));
        let jump = 4 * 8000;
        let echo: Vec<f32> =
            (0..sent.len()).map(|at| if at < jump { before.echo(&sent, at) } else { after.echo(&sent, at) }).collect();
        let heard = sum(&echo, &noise(&mut dice, Colour::Pink, sent.len(), -66.0));
        let cleaned = run(&mut EchoFilter::new(), &heard, &sent);
        let noticed: Vec<_> = (0..cleaned.len()).filter(|&block| cleaned[block].path_changed).collect();
        let loud = (400..).find(|block| energy(&echo[block * BLOCK..][..BLOCK]) > 80.0 * 3000.0).unwrap();
        let recovered = gain(&echo, &cleaned, 500, 600);
        println!("echo again at {loud}, noticed at {noticed:?}, {recovered:.1} dB a second later");
        assert!(noticed.iter().filter(|&&block| block < 400).count() == 0, "{noticed:?}");
        in_time += usize::from(noticed.iter().any(|block| (400..loud + 60).contains(block)));
        recoveries.push(recovered);
    }
    let median = percentile(&recoveries, 50);
    println!("{in_time} of 6 in time, median {median:.1} dB");
    assert!(in_time >= 3 && median > 2.0);
}

#[test]
fn a_line_without_echo_is_left_alone() {
    let mut dice = Dice::new(30);
    let sent = speech(&mut dice, 6, -20.0);
    let caller = speech(&mut dice, 6, -26.0);
    let heard = sum(&caller, &noise(&mut dice, Colour::White, sent.len(), -66.0));
    let cleaned = run(&mut EchoFilter::new(), &heard, &sent);
    let mut wrong = 0.0;
    for (block, heard) in cleaned.iter().zip(heard.as_chunks::<BLOCK>().0) {
        wrong += block.error.iter().zip(heard).map(|(found, true_one)| (found - true_one).powi(2)).sum::<f32>();
    }
    let clear = decibels(energy(&heard), wrong);
    println!("{clear:.1} dB");
    assert!(clear > 20.0, "{clear}");
    let quiet = [0.0; BLOCK];
    let mut filter = EchoFilter::new();
    assert!(!filter.is_active());
    let block = heard.as_chunks::<BLOCK>().0[300];
    assert_eq!(filter.process(&block, &quiet).error, block);
}

#[derive(Clone, Debug)]
enum Kind {
    Silence,
    Extreme,
    Noise(i16),
    Tone(f32),
    NoNumber,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Silence),
        Just(Kind::Extreme),
        any::<i16>().prop_map(Kind::Noise),
        (10f32..4000.0).prop_map(Kind::Tone),
        Just(Kind::NoNumber),
    ]
}

fn block(kind: &Kind, dice: &mut Dice, at: usize) -> [f32; BLOCK] {
    core::array::from_fn(|n| match kind {
        Kind::Silence => 0.0,
        Kind::Extreme => [f32::MAX, f32::MIN, 32767.0, -32768.0][dice.below(4)],
        Kind::Noise(amplitude) => f32::from(*amplitude) * (2.0 * dice.uniform() - 1.0),
        Kind::Tone(hz) => 30_000.0 * (core::f32::consts::TAU * hz * (at * BLOCK + n) as f32 / 8000.0).sin(),
        Kind::NoNumber => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40][dice.below(4)],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, in stretches of some 10 blocks, errors are numbers and no larger than input and echo can be.
    #[test]
    fn no_input_makes_it_diverge(stretches in prop::collection::vec((kind(), kind(), 1usize..40), 1..30), seed: u64, copied: bool) {
        let (mut dice, mut filter, mut at) = (Dice::new(seed), EchoFilter::new(), 0);
        for (near, far, length) in stretches {
            for _ in 0..length {
                at += 1;
                let sent = block(&far, &mut dice, at);
                let heard = if copied { sent.map(|sample| -sample) } else { block(&near, &mut dice, at) };
                let cleaned = filter.process(&heard, &sent);
                prop_assert!(cleaned.error.iter().all(|sample| sample.abs() < 40.0 * 32768.0));
                prop_assert!(cleaned.erle_db.is_finite() && cleaned.echo_dbfs.is_finite());
            }
        }
        // After all of it the filter still lets a caller pass when nothing is sent.
        let caller: [f32; BLOCK] = core::array::from_fn(|n| 3000.0 * (n as f32 * 0.3).sin());
        for _ in 0..40 {
            filter.process(&caller, &[0.0; BLOCK]);
        }
        prop_assert_eq!(filter.process(&caller, &[0.0; BLOCK]).error, caller);
    }
}
