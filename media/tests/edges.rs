//! How true the times are that the ear gives to onsets and offsets, while nothing is said to the caller and while something is.
//!
//! `cargo test -p offhook-media --release --test edges -- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{Colour, Dice, EchoPath, noise, percentile, prompts, speech, sum, through_mu_law, to_ms, trial};
use offhook_media::barge::Ear;
use offhook_media::silero::Network;
use offhook_media::speech::SpeechEdge;
use offhook_media::{FRAME, Moment};

fn edges(heard: &[f32], sent: &[f32]) -> Vec<SpeechEdge> {
    let (heard, sent) = (through_mu_law(heard), through_mu_law(sent));
    let mut ear = Ear::new(Network::shared().unwrap());
    let packets = heard.as_chunks::<FRAME>().0.iter().zip(sent.as_chunks::<FRAME>().0);
    packets.filter_map(|(heard, sent)| ear.packet(heard, sent)?.edge).collect()
}

/// Times against the labels of the clean recordings, ms.
#[derive(Default)]
struct Figures {
    decided: Vec<f32>,
    began: Vec<f32>,
    ended: Vec<f32>,
    offset: Vec<f32>,
    early: usize,
}

impl Figures {
    fn note(&mut self, edges: &[SpeechEdge], begins: f32, ends: f32) {
        assert!(
            edges.chunks(2).all(|pair| matches!(pair, [SpeechEdge::Onset { .. }, SpeechEdge::Offset { .. }])),
            "{edges:?}"
        );
        let onset = |edge: &SpeechEdge| match *edge {
            SpeechEdge::Onset { began, at } if to_ms(at) > begins => Some((to_ms(began), to_ms(at))),
            _ => None,
        };
        self.early +=
            edges.iter().filter(|edge| matches!(edge, SpeechEdge::Onset { at, .. } if to_ms(*at) <= begins)).count();
        let (began, at) = edges.iter().find_map(onset).unwrap_or((begins + 1000.0, begins + 1000.0));
        self.began.push(began - begins);
        self.decided.push(at - begins);
        if let Some(SpeechEdge::Offset { ended, at }) = edges.last() {
            self.ended.push(to_ms(*ended) - ends);
            self.offset.push(to_ms(*at) - ends);
        }
    }

    fn print(&self, name: &str) {
        println!("{name}: {} trials, {} early; p5 p50 p90 p95 p99, ms", self.began.len(), self.early);
        let rows = [
            ("onset decided", &self.decided),
            ("began", &self.began),
            ("ended", &self.ended),
            ("offset decided", &self.offset),
        ];
        for (row, values) in rows {
            println!("  {row:15} {:?}", [5, 50, 90, 95, 99].map(|percent| percentile(values, percent).round()));
        }
    }
}

fn measure(name: &str, background: Option<(Colour, f32)>, erl_db: Option<f32>) -> Figures {
    let prompts = prompts();
    let (mut dice, mut figures) = (Dice::new(21), Figures::default());
    for dbfs in [-20.0, -24.0, -28.0, -32.0] {
        for prompt in &prompts {
            let trial = trial(&mut dice, prompt, dbfs, background);
            let mut sent = vec![0.0; trial.wave.len()];
            let mut heard = trial.wave.clone();
            if let Some(erl) = erl_db {
                // The bot talks until the caller has talked for a second.
                let stops = (trial.begins_ms * 8.0) as usize + 8000;
                let talk = speech(&mut dice, sent.len() / 8000 + 1, -20.0);
                let said = stops.min(sent.len());
                sent[..said].copy_from_slice(&talk[..said]);
                heard = sum(&heard, &EchoPath::new(&mut dice, 80, erl).echoes(&sent));
            }
            figures.note(&edges(&heard, &sent), trial.begins_ms, trial.ends_ms);
        }
    }
    figures.print(name);
    figures
}

#[test]
fn edges_have_true_times_while_nothing_is_said() {
    for background in [None, Some((Colour::Pink, 20.0)), Some((Colour::White, 10.0))] {
        let figures = measure(&format!("{background:?}"), background, None);
        assert_eq!(figures.early, 0, "{background:?}");
        assert!(percentile(&figures.began, 50).abs() <= 30.0, "{background:?}");
        assert!(
            percentile(&figures.decided, 50) <= 120.0 && percentile(&figures.decided, 95) <= 260.0,
            "{background:?}"
        );
        // In noise the end of many words is below it.
        let hidden = if background == Some((Colour::White, 10.0)) { 120.0 } else { 40.0 };
        assert!(percentile(&figures.ended, 50).abs() <= hidden, "{background:?}");
        assert!(percentile(&figures.offset, 50) <= 140.0, "{background:?}");
    }
}

#[test]
fn edges_have_true_times_through_echo() {
    let figures = measure("ERL 25 dB", None, Some(25.0));
    assert!(percentile(&figures.began, 50).abs() <= 40.0);
    assert!(percentile(&figures.decided, 50) <= 130.0);
    assert!(percentile(&figures.ended, 50).abs() <= 40.0);
}

#[test]
fn the_ear_finds_by_itself_what_was_sent_when() {
    let (mut dice, network) = (Dice::new(23), Network::shared().unwrap());
    let sent = through_mu_law(&speech(&mut dice, 20, -20.0));
    let echo = EchoPath::new(&mut dice, 90, 20.0);
    let wave: Vec<f32> = sent.iter().map(|sample| f32::from(*sample)).collect();
    let heard = through_mu_law(&sum(&echo.echoes(&wave), &noise(&mut dice, Colour::Pink, wave.len(), -64.0)));
    let mut ear = Ear::new(network);
    let mut firsts = 0;
    let (sent, heard) = (sent.as_chunks::<FRAME>().0, heard.as_chunks::<FRAME>().0);
    for (tick, sent) in (50u64..).zip(sent) {
        ear.sent(sent, Moment::from_micros(20_000 * tick + dice.below(3000) as u64));
        // What was heard three ticks ago has been on its way for 30 to 40 ms.
        let Some(heard) = tick.checked_sub(52).and_then(|back| heard.get(back as usize)) else { continue };
        let arrival = Moment::from_micros(20_000 * tick - 10_000 + dice.below(10_000) as u64);
        firsts += usize::from(ear.heard(heard, arrival).is_some_and(|found| found.first));
    }
    let cleaned = ear.cleaned().unwrap();
    assert!(cleaned.erle_db > 10.0 && cleaned.erl_db.is_some(), "{} dB", cleaned.erle_db);
    assert!(firsts <= 1, "{firsts}");
}
