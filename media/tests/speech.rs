//! How fast and how surely speech is found: recorded voices against bursts of noise and clicks.
//!
//! `cargo test -p offhook-media --release --test speech -- --nocapture` prints the figures.

mod lab;

use lab::{COLOURS, Colour, Dice, detect, noise, percentile, prompts, to_ms, trial};
use offhook_media::speech::{SpeechConfig, SpeechEdge};

struct Figures {
    onset: Vec<f32>,
    began: Vec<f32>,
    ended: Vec<f32>,
    offset: Vec<f32>,
    missed: usize,
    early: usize,
}

fn measure(name: &str, background: impl Fn(&mut Dice) -> Option<(Colour, f32)>) -> Figures {
    let prompts = prompts();
    let mut dice = Dice::new(11);
    let mut figures = Figures { onset: vec![], began: vec![], ended: vec![], offset: vec![], missed: 0, early: 0 };
    for dbfs in [-20.0, -24.0, -28.0, -32.0] {
        for prompt in prompts.iter().cycle().take(prompts.len().max(60)) {
            let chosen = background(&mut dice);
            let trial = trial(&mut dice, prompt, dbfs, chosen);
            let trace = detect(&trial.wave, SpeechConfig::default());
            let mut found = false;
            let mut last = None;
            for edge in trace.edges {
                match edge {
                    SpeechEdge::Onset { at, .. } if to_ms(at) < trial.begins_ms => figures.early += 1,
                    SpeechEdge::Onset { began, at } if !found => {
                        found = true;
                        let late = to_ms(at) - trial.begins_ms;
                        if late > 1000.0 {
                            figures.missed += 1
                        }
                        figures.onset.push(late.min(1000.0));
                        figures.began.push(to_ms(began) - trial.begins_ms);
                    }
                    SpeechEdge::Onset { .. } => {}
                    SpeechEdge::Offset { ended, at } => last = Some((ended, at)),
                }
            }
            if !found {
                figures.missed += 1;
                figures.onset.push(1000.0)
            }
            if let Some((ended, at)) = last {
                figures.ended.push(to_ms(ended) - trial.ends_ms);
                figures.offset.push(to_ms(at) - trial.ends_ms);
            }
        }
    }
    let line = |values: &[f32]| [5, 50, 90, 95, 99].map(|percent| percentile(values, percent).round());
    println!("{name}: n {} missed {} early {}", figures.onset.len(), figures.missed, figures.early);
    println!("  onset decided  p5/50/90/95/99 {:?}", line(&figures.onset));
    println!("  onset began    p5/50/90/95/99 {:?}", line(&figures.began));
    println!("  offset ended   p5/50/90/95/99 {:?}", line(&figures.ended));
    println!("  offset decided p5/50/90/95/99 {:?}", line(&figures.offset));
    figures
}

#[test]
fn recorded_speech_is_found_in_time() {
    measure("clean", |_| None);
    measure("white 20 dB", |_| Some((Colour::White, 20.0)));
    measure("pink 20 dB", |_| Some((Colour::Pink, 20.0)));
    measure("brown 20 dB", |_| Some((Colour::Brown, 20.0)));
    measure("pink 10 dB", |_| Some((Colour::Pink, 10.0)));
}

#[test]
fn bursts() {
    let mut dice = Dice::new(5);
    let mut table = std::collections::BTreeMap::new();
    for round in 0..1200 {
        let colour = COLOURS[round % 3];
        let dbfs = dice.between(-30.0, -6.0);
        let edge = if round % 2 == 0 { 0 } else { 40 };
        let background = (round / 6 % 2 == 1).then(|| dice.between(-65.0, -45.0));
        let mut wave = match background {
            Some(level) => noise(&mut dice, Colour::Pink, 24_000, level),
            None => vec![0.0; 24_000],
        };
        let start = 12_000 + dice.below(800);
        let burst = noise(&mut dice, colour, 960, dbfs);
        for (index, value) in burst.iter().enumerate() {
            let ramp = if edge == 0 { 1.0 } else { (index.min(959 - index) as f32 / edge as f32).min(1.0) };
            wave[start + index] += ramp * value;
        }
        let trace = detect(&wave, SpeechConfig::default());
        let cell = table
            .entry(format!("{colour:?} edge {edge} bg {}", background.is_some()))
            .or_insert((0, 0, 0f32, 0f32, 0u32));
        cell.0 += 1;
        cell.1 += usize::from(!trace.edges.is_empty());
        let voiced: Vec<f32> = trace.samples.iter().map(|s| s.periodicity).collect();
        cell.2 = cell.2.max(voiced.iter().copied().fold(0.0, f32::max));
        cell.3 = cell.3.max(trace.samples.iter().map(|s| s.probability).fold(0.0, f32::max));
        cell.4 += trace.samples.iter().filter(|s| s.probability >= 0.5).count() as u32;
    }
    for (name, cell) in table {
        println!("{name}: {cell:?}")
    }
}

#[test]
fn steady() {
    let mut dice = Dice::new(6);
    for colour in COLOURS {
        for dbfs in [-60.0, -50.0, -40.0, -30.0, -20.0] {
            let mut wave = vec![0.0; 16_000];
            wave.extend(noise(&mut dice, colour, 30 * 8000, dbfs));
            let trace = detect(&wave, SpeechConfig::default());
            let per: Vec<f32> = trace.samples.iter().map(|s| s.periodicity).collect();
            let p: Vec<f32> = trace.samples.iter().map(|s| s.probability).collect();
            println!(
                "{colour:?} {dbfs}: edges {:?} per p99 {} max {} p>.5 {}",
                trace.edges.iter().take(2).collect::<Vec<_>>(),
                percentile(&per, 99),
                percentile(&per, 100),
                p.iter().filter(|p| **p >= 0.5).count()
            );
        }
    }
}
