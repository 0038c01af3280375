//! One ear on a synthetic line: recorded speech of the bot, its echo, a caller who cuts in, all of it through mu-law.
//!
//! `cargo test -p offhook-media --release --test ear -- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use lab::{Colour, Dice, EchoPath, noise, percentile, prompts, speech, sum, through_mu_law};
use offhook_media::FRAME;
use offhook_media::barge::{Ear, Evidence};
use offhook_media::silero::{Network, State, WINDOW};

/// Evidence with the time of the packet that completed it, ms.
fn listen(ear: &mut Ear, heard: &[i16], sent: &[i16]) -> Vec<(f32, Evidence)> {
    let packets = heard.as_chunks::<FRAME>().0.iter().zip(sent.as_chunks::<FRAME>().0);
    let timed = packets.enumerate().map(|(n, (heard, sent))| (20.0 * (n + 1) as f32, ear.packet(heard, sent)));
    timed.filter_map(|(ms, evidence)| Some((ms, evidence?))).collect()
}

struct Line {
    sent: Vec<f32>,
    background: Vec<f32>,
}

impl Line {
    fn new(dice: &mut Dice, seconds: usize, erl_db: Option<f32>) -> Self {
        let sent: Vec<f32> = through_mu_law(&speech(dice, seconds, -20.0)).into_iter().map(f32::from).collect();
        let mut background = noise(dice, Colour::Pink, sent.len(), -64.0);
        if let Some(erl) = erl_db {
            let delay_ms = 40 + dice.below(160);
            background = sum(&background, &EchoPath::new(dice, delay_ms, erl).echoes(&sent));
        }
        Self { sent, background }
    }

    fn sent(&self) -> Vec<i16> {
        self.sent.iter().map(|value| *value as i16).collect()
    }
}

#[test]
fn a_caller_is_heard_through_the_bots_echo() {
    let network = Network::shared().unwrap();
    let prompts = prompts();
    for (erl, most_p50, most_p95) in [(None, 100.0, 250.0), (Some(30.0), 110.0, 280.0), (Some(20.0), 120.0, 400.0)] {
        let (mut firsts, mut commits, mut early) = (Vec::new(), Vec::new(), 0);
        for trial in 0..40 {
            let mut dice = Dice::new(1000 + trial);
            let mut line = Line::new(&mut dice, 7, erl);
            let prompt = &prompts[dice.below(prompts.len())];
            let begins = 8 * (3500 + dice.below(1000));
            let gain = 10f32.powf((dice.between(-30.0, -22.0) - prompt.level) / 20.0);
            for (place, sample) in line.background[begins - prompt.begins..].iter_mut().zip(&prompt.wave) {
                *place += gain * sample;
            }
            let evidence = listen(&mut Ear::new(network), &through_mu_law(&line.background), &line.sent());
            let begins = begins as f32 / 8.0;
            early += evidence.iter().filter(|(ms, found)| found.first && *ms <= begins).count();
            let after = |wanted: fn(&Evidence) -> bool| {
                let found = evidence.iter().find(|(ms, found)| *ms > begins && wanted(found));
                found.map_or(1000.0, |(ms, _)| (ms - begins).min(1000.0))
            };
            firsts.push(after(|found| found.first || found.speech));
            commits.push(after(|found| found.commit));
        }
        let figures = [&firsts, &commits].map(|times| [50, 95].map(|percent| percentile(times, percent)));
        println!("ERL {erl:?}: first p50, p95 {:?}, commit {:?} ms; {early} before the caller", figures[0], figures[1]);
        assert!(figures[0][0] <= most_p50 && figures[0][1] <= most_p95, "{erl:?} {firsts:?}");
        assert!(figures[1][0] <= 350.0, "{commits:?}");
    }
}

#[test]
fn the_bot_does_not_interrupt_itself() {
    let network = Network::shared().unwrap();
    for (erl, most) in [(None, 0), (Some(35.0), 1), (Some(25.0), 3), (Some(15.0), 12)] {
        let mut mistakes = 0;
        for trial in 0..4 {
            let mut dice = Dice::new(2000 + trial);
            let line = Line::new(&mut dice, 30, erl);
            let evidence = listen(&mut Ear::new(network), &through_mu_law(&line.background), &line.sent());
            mistakes += evidence.iter().filter(|(_, found)| found.first).count();
        }
        println!("ERL {erl:?}: {mistakes} mistakes in 2 minutes of bot speech");
        assert!(mistakes <= most, "ERL {erl:?}: {mistakes}");
    }
}

/// The network sleeps through quiet and misses nothing by it.
#[test]
fn a_sleeping_network_wakes_in_time() {
    let network = Network::shared().unwrap();
    let (mut later, mut asked, mut all) = (Vec::new(), 0, 0);
    for (trial, prompt) in prompts().iter().enumerate() {
        let mut dice = Dice::new(3000 + trial as u64);
        let mut wave = noise(&mut dice, Colour::Pink, 40_000 + prompt.wave.len(), -62.0);
        let gain = 10f32.powf((-26.0 - prompt.level) / 20.0);
        for (place, sample) in wave[32_000..].iter_mut().zip(&prompt.wave) {
            *place += gain * sample;
        }
        let heard = through_mu_law(&wave);
        let evidence = listen(&mut Ear::new(network), &heard, &vec![0; heard.len()]);
        let mut always = State::new(network);
        let (windows, _) = heard.as_chunks::<WINDOW>();
        let probabilities = windows.iter().map(|window| always.probability(&window.map(|s| f32::from(s) / 32768.0)));
        let wide_awake = probabilities.enumerate().position(|(n, probability)| n > 100 && probability >= 0.5).unwrap();
        let found = evidence.iter().position(|(_, found)| found.probability >= 0.5).unwrap();
        later.push(found as f32 - wide_awake as f32);
        asked += evidence.iter().filter(|(_, found)| found.probability > 0.0).count();
        all += evidence.len();
    }
    println!("windows later than by a network that never sleeps: {later:?}; asked {asked} times of {all}");
    assert!(later.iter().all(|windows| windows.abs() <= 1.0) && percentile(&later, 50) == 0.0, "{later:?}");
    assert!(asked * 10 < all * 6, "{asked} of {all}");
}

#[test]
fn evidence_is_given_once_and_taken_back() {
    let network = Network::shared().unwrap();
    let mut dice = Dice::new(4000);
    let mut wave = vec![0.0; 16_000];
    wave.extend(speech(&mut dice, 2, -24.0));
    wave.extend(vec![0.0; 8000]);
    let heard = through_mu_law(&wave);
    let mut ear = Ear::new(network);
    let evidence = listen(&mut ear, &heard, &vec![0; heard.len()]);
    let count = |wanted: fn(&Evidence) -> bool| evidence.iter().filter(|(_, found)| wanted(found)).count();
    assert!(count(|found| found.first) >= 1 && count(|found| found.commit) >= 1);
    assert_eq!(count(|found| found.first), count(|found| found.released));
    assert!(evidence.iter().all(|(_, found)| !found.weakness.any()), "nothing was sent, so there is nothing to doubt");
    // Whoever speaks to a silent bot is the caller.
    assert!((ear.caller_dbfs().unwrap() + 24.0).abs() < 8.0, "{:?}", ear.caller_dbfs());
    ear.confirm_caller();
    assert!((ear.caller_dbfs().unwrap() + 24.0).abs() < 8.0, "{:?}", ear.caller_dbfs());
    ear.was_mistaken();
    assert!(ear.caller_dbfs().is_some() && ear.cleaned().is_some());
}

/// Somebody in the room speaks over the bot, 6 dB below the caller, and is taken for them.
#[test]
fn a_bystander_hardly_lowers_the_callers_level() {
    let mut dice = Dice::new(4500);
    let mut ear = Ear::new(Network::shared().unwrap());
    let mut wave = speech(&mut dice, 4, -22.0);
    wave.extend(vec![0.0; 8000]);
    let heard = through_mu_law(&wave);
    listen(&mut ear, &heard, &vec![0; heard.len()]);
    let known = ear.caller_dbfs().unwrap();
    let bot = through_mu_law(&speech(&mut dice, 4, -20.0));
    let mut line = noise(&mut dice, Colour::Pink, bot.len(), -64.0);
    line = sum(&line, &speech(&mut dice, 4, -28.0));
    let evidence = listen(&mut ear, &through_mu_law(&line), &bot);
    assert!(evidence.iter().filter(|(_, found)| found.speech).count() >= 10);
    ear.confirm_caller();
    let lowered = known - ear.caller_dbfs().unwrap();
    assert!((0.0..=1.6).contains(&lowered), "{lowered} dB from {known}");
}

#[test]
fn ten_seconds_allocate_nothing() {
    let mut dice = Dice::new(5000);
    let line = Line::new(&mut dice, 10, Some(20.0));
    let (heard, sent) = (through_mu_law(&line.background), line.sent());
    let mut ear = Ear::new(Network::shared().unwrap());
    let packets = || heard.as_chunks::<FRAME>().0.iter().zip(sent.as_chunks::<FRAME>().0);
    let counted = allocation_counter::measure(|| {
        for (heard, sent) in packets() {
            ear.packet(heard, sent);
        }
    });
    assert_eq!(counted.count_total, 0, "{} octets", counted.bytes_total);
}

#[test]
fn a_key_is_no_caller() {
    let mut wave = vec![0.0; 16_000];
    for (key, [low, high]) in
        [[697.0, 1209.0], [770.0, 1336.0], [941.0, 1477.0], [852.0, 1209.0]].into_iter().enumerate()
    {
        for n in 0..1200 {
            let turn = |hz: f32| (core::f32::consts::TAU * hz * n as f32 / 8000.0).sin();
            wave[4000 + 2400 * key + n] = 4000.0 * (turn(low) + turn(high));
        }
    }
    let heard = through_mu_law(&wave);
    let evidence = listen(&mut Ear::new(Network::shared().unwrap()), &heard, &vec![0; heard.len()]);
    let asked = evidence.iter().filter(|(_, found)| found.probability > 0.0).count();
    assert!(asked > 10 && evidence.iter().all(|(_, found)| !found.first && found.edge.is_none()));
}

/// A buffer on the way grows: the same path, later.
#[test]
fn an_echo_that_moves_is_followed() {
    let network = Network::shared().unwrap();
    let (mut firsts, mut left) = (0, Vec::new());
    for trial in 0..6 {
        let mut dice = Dice::new(6000 + trial);
        let line = Line::new(&mut dice, 12, None);
        let path = EchoPath::new(&mut dice, 60, 20.0);
        let mut echo = path.echoes(&line.sent);
        let later = 8 * (25 + dice.below(40));
        let moved: Vec<f32> = (64_000 - later..echo.len() - later).map(|at| echo[at]).collect();
        echo[64_000..].copy_from_slice(&moved);
        let heard = through_mu_law(&sum(&line.background, &echo));
        let mut ear = Ear::new(network);
        let packets = heard.as_chunks::<FRAME>().0.iter().zip(line.sent().as_chunks::<FRAME>().0.to_vec());
        for (tick, (heard, sent)) in packets.enumerate() {
            let found = ear.packet(heard, &sent).is_some_and(|found| found.first);
            firsts += usize::from(found && tick >= 400);
        }
        left.push(ear.cleaned().unwrap().erle_db);
    }
    println!("{firsts} holds after 6 moves of the echo; ERLE 4 s later {left:?} dB");
    assert!(firsts <= 3, "{firsts}");
    assert!(percentile(&left, 50) >= 10.0, "{left:?}");
}
