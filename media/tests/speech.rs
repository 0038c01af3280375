//! How fast and how surely speech is found: recorded voices against bursts of noise and clicks.
//!
//! `cargo test -p offhook-media --release --test speech -- --nocapture` prints the figures.
//! `OFFHOOK_SPEECH_DIR` names a directory of other recordings (8 kHz WAV) to measure instead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{COLOURS, Colour, Dice, detect, noise, percentile, prompts, to_ms, trial};
use offhook_media::speech::{SpeechConfig, SpeechEdge};

/// Times against the labels of the clean recordings, ms.
#[derive(Default)]
struct Figures {
    onset: Vec<f32>,
    began: Vec<f32>,
    ended: Vec<f32>,
    offset: Vec<f32>,
    missed: usize,
    early: usize,
}

impl Figures {
    fn note(&mut self, edges: &[SpeechEdge], begins: f32, ends: f32) {
        let onsets = edges.iter().filter_map(|edge| match *edge {
            SpeechEdge::Onset { began, at } => Some((to_ms(began), to_ms(at))),
            SpeechEdge::Offset { .. } => None,
        });
        let (early, true_ones): (Vec<_>, Vec<_>) = onsets.partition(|(_, at)| *at < begins);
        self.early += early.len();
        match true_ones.first() {
            Some((began, at)) if at - begins <= 1000.0 => {
                self.onset.push(at - begins);
                self.began.push(began - begins);
            }
            _ => {
                self.onset.push(1000.0);
                self.missed += 1;
            }
        }
        if let Some(SpeechEdge::Offset { ended, at }) = edges.last() {
            self.ended.push(to_ms(*ended) - ends);
            self.offset.push(to_ms(*at) - ends);
        }
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: {} trials, {} missed, {} early; p5 p50 p90 p95 p99",
            self.onset.len(),
            self.missed,
            self.early
        );
        let rows = [("onset decided", &self.onset), ("onset began", &self.began)];
        for (row, values) in rows.into_iter().chain([("offset ended", &self.ended), ("offset decided", &self.offset)]) {
            println!("  {row:15} {:?}", [5, 50, 90, 95, 99].map(|percent| percentile(values, percent).round()));
        }
    }
}

fn measure(name: &str, background: Option<(Colour, f32)>) -> Figures {
    let prompts = prompts();
    let mut dice = Dice::new(11);
    let mut figures = Figures::default();
    for dbfs in [-20.0, -24.0, -28.0, -32.0] {
        for prompt in prompts.iter().cycle().take(prompts.len().max(27)) {
            let trial = trial(&mut dice, prompt, dbfs, background);
            let trace = detect(&trial.wave, SpeechConfig::default());
            figures.note(&trace.edges, trial.begins_ms, trial.ends_ms);
        }
    }
    figures.print(name);
    figures
}

#[test]
fn recorded_speech_is_found_in_time() {
    let noises = COLOURS.map(|colour| Some((colour, 20.0)));
    for background in [None].into_iter().chain(noises) {
        let figures = measure(&format!("{background:?}"), background);
        assert_eq!((figures.missed, figures.early), (0, 0), "{background:?}");
        assert!(percentile(&figures.onset, 50) <= 110.0, "{background:?}");
        assert!(percentile(&figures.onset, 95) <= 200.0, "{background:?}");
        assert!(percentile(&figures.began, 50).abs() <= 15.0, "{background:?}");
        if background.is_none() {
            assert!(percentile(&figures.ended, 50).abs() <= 40.0);
            assert!(percentile(&figures.offset, 50) <= 80.0);
        }
    }
}

#[test]
fn speech_in_noise_of_10_db_is_found_too() {
    let figures = measure("pink 10 dB", Some((Colour::Pink, 10.0)));
    assert!(figures.missed * 50 <= figures.onset.len());
    assert!(percentile(&figures.onset, 95) <= 250.0);
}

/// The line before and after a sound: nothing, or quiet noise.
fn line(dice: &mut Dice, quiet: bool) -> Vec<f32> {
    let level = dice.between(-65.0, -45.0);
    if quiet { vec![0.0; 24_000] } else { noise(dice, Colour::Pink, 24_000, level) }
}

#[test]
fn a_burst_of_noise_is_never_speech() {
    let mut dice = Dice::new(5);
    for round in 0..1200 {
        let (colour, ramp) = (COLOURS[round % 3], if round % 2 == 0 { 0.0f32 } else { 40.0 });
        let dbfs = dice.between(-30.0, -6.0);
        let mut wave = line(&mut dice, round / 6 % 2 == 0);
        let start = 12_000 + dice.below(800);
        for (index, value) in noise(&mut dice, colour, 960, dbfs).iter().enumerate() {
            let edge = index.min(959 - index) as f32;
            wave[start + index] += value * if edge < ramp { edge / ramp } else { 1.0 };
        }
        let trace = detect(&wave, SpeechConfig::default());
        assert_eq!(trace.edges, [], "round {round}: {colour:?} at {dbfs} dBFS, ramp {ramp}");
    }
}

#[test]
fn a_key_click_is_never_speech() {
    let mut dice = Dice::new(8);
    for round in 0..400 {
        let mut wave = line(&mut dice, round % 2 == 0);
        // Down and up: two short resonances some 100 ms apart.
        for offset in [0, 600 + dice.below(500)] {
            let (hz, decay, peak) =
                (dice.between(900.0, 3000.0), dice.between(0.5, 4.0), dice.between(2000.0, 25_000.0));
            for index in 0..200 {
                let time = index as f32 / 8.0;
                let tone = (core::f32::consts::TAU * hz * time / 1000.0).sin();
                wave[12_000 + offset + index] += peak * (-time / decay).exp() * (0.6 * tone + 0.4 * dice.normal());
            }
        }
        assert_eq!(detect(&wave, SpeechConfig::default()).edges, [], "round {round}");
    }
}

#[test]
fn steady_noise_is_never_speech() {
    let mut dice = Dice::new(6);
    for colour in COLOURS {
        for dbfs in [-60.0, -50.0, -40.0, -30.0, -20.0] {
            let mut wave = vec![0.0; 16_000];
            wave.extend(noise(&mut dice, colour, 30 * 8000, dbfs));
            assert_eq!(detect(&wave, SpeechConfig::default()).edges, [], "{colour:?} at {dbfs} dBFS");
        }
    }
}

#[test]
fn silence_costs_no_network() {
    let trace = detect(&vec![0.0; 80_000], SpeechConfig::default());
    assert!(trace.samples.iter().all(|sample| sample.probability == 0.0 && sample.periodicity == 0.0));
    assert_eq!(trace.samples.len(), 80_000 / 128);
}
