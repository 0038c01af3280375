//! How many calls one core carries: the real `offhook` binary pinned to one core, this driver on another, over loopback.
//!
//! `cargo bench --bench calls_per_core [-- [MODE] STEPS.. [--seconds N]]`, such as `-- 100 300 1000`. Each step starts a
//! fresh server. Every call dials the bench line (1000). By mode:
//! - none: STEPS calls at once send 20 ms PCMU frames, each in its own phase, and hear the 10 s tone, which they
//!   interrupt by recorded human speech;
//! - `rate`: STEPS calls a second are set up, stay for a second without sending audio, and hang up;
//! - `flood`: as none, while five times STEPS INVITEs a second come from elsewhere.
//!
//! Deliberately absent: vendors, TLS, a network that loses packets.

mod calls;
mod figures;
mod flood;
mod rate;
mod rtp;
mod server;
mod voice;
mod wire;

use std::io::Write as _;
use std::time::Duration;

use figures::{Flooded, Rate, Row, facts, flooded, rates, table};

fn main() {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => fail(&why),
    };
    if let Err(why) = run(&options) {
        fail(&why);
    }
}

fn run(options: &Options) -> Result<(), String> {
    let script = voice::script()?;
    say(&facts(&script));
    server::pin_self(DRIVER_CORE)?;
    let own_priority = server::ask_for_realtime(DRIVER_PRIORITY);
    say(&format!("driver: core {DRIVER_CORE}, real-time priority {own_priority}; server: core {SERVER_CORE}\n"));
    match options.mode {
        Mode::Calls => steps(options, |calls| step(calls, options.seconds, &script), table),
        Mode::Rate => steps(options, |per_second| rate_step(per_second, options.seconds), rates),
        Mode::Flood => steps(options, |calls| flood_step(calls, options.seconds, &script), flooded),
    }
}

/// Prints each step as it is done, and all of them side by side at the end.
fn steps<R>(
    options: &Options,
    step: impl Fn(usize) -> Result<R, String>,
    table: impl Fn(&[R]) -> String,
) -> Result<(), String> {
    let mut rows = Vec::new();
    for &number in &options.steps {
        let row = step(number)?;
        say(&table(std::slice::from_ref(&row)));
        rows.push(row);
    }
    if rows.len() > 1 {
        say(&table(&rows));
    }
    Ok(())
}

fn step(calls: usize, seconds: u64, script: &voice::Script) -> Result<Row, String> {
    let server = server::Server::start(calls + SPARE_PLACES, SERVER_CORE)?;
    let idle = server.usage()?;
    let mut driver = calls::Driver::new(calls, server.sip(), script)?;
    driver.dial(CALLS_PER_SECOND)?;
    driver.run_for(WARM_UP);
    let barge_ins = server.counter("offhook_barge_ins_total")?;
    // The driver catches up with what it missed while it asked.
    driver.run_for(SETTLE);
    let before = server.usage()?;
    driver.measure(true);
    driver.run_for(Duration::from_secs(seconds));
    driver.measure(false);
    let after = server.usage()?;
    let barge_ins_after = server.counter("offhook_barge_ins_total")?;
    let outcome = driver.hang_up();
    Ok(Row {
        calls,
        realtime: server.realtime(),
        used: after.since(&before),
        rss_kb_per_call: (after.rss_kb as f64 - idle.rss_kb as f64) / calls as f64,
        idle_rss_kb: idle.rss_kb,
        barge_ins: barge_ins_after - barge_ins,
        outcome,
    })
}

fn rate_step(per_second: usize, seconds: u64) -> Result<Rate, String> {
    let server = server::Server::start(per_second * 3, SERVER_CORE)?;
    let calls = per_second * usize::try_from(seconds).unwrap_or(usize::MAX);
    let rate = u32::try_from(per_second).unwrap_or(u32::MAX);
    // Pools, tables and the allocator grow to their size.
    rate::RateDriver::new(server.sip())?.run(rate, per_second * 2);
    let before = server.usage()?;
    let outcome = rate::RateDriver::new(server.sip())?.run(rate, calls);
    let after = server.usage()?;
    Ok(Rate { per_second, used: after.since(&before), rss_kb: (before.rss_kb, after.rss_kb), outcome })
}

fn flood_step(calls: usize, seconds: u64, script: &voice::Script) -> Result<Flooded, String> {
    let server = server::Server::start(calls, SERVER_CORE)?;
    let mut driver = calls::Driver::new(calls, server.sip(), script)?;
    driver.dial(CALLS_PER_SECOND)?;
    driver.run_for(WARM_UP);
    let mut flood = flood::Flood::new(u32::try_from(calls * FLOOD).unwrap_or(u32::MAX), server.sip())?;
    let before = server.usage()?;
    let mut rss_kb = vec![before.rss_kb];
    driver.measure(true);
    for _ in 0..RSS_READINGS {
        let end = driver.now() + Duration::from_secs(seconds) / RSS_READINGS;
        while driver.now() < end {
            driver.run_slot();
            flood.act();
        }
        rss_kb.push(server.usage()?.rss_kb);
    }
    driver.measure(false);
    let used = server.usage()?.since(&before);
    driver.run_for(AFTER_FLOOD);
    rss_kb.push(server.usage()?.rss_kb);
    Ok(Flooded { calls, used, rss_kb, answers: flood.answers(), outcome: driver.hang_up() })
}

/// What is asked for on the command line.
struct Options {
    mode: Mode,
    steps: Vec<usize>,
    seconds: u64,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut mode, mut steps, mut seconds) = (Mode::Calls, Vec::new(), SECONDS);
        // Cargo adds `--bench`.
        let mut rest = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = rest.next() {
            let number = |text: &str| {
                text.parse::<u64>().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| {
                    format!("`{text}`: expected rate, flood, a number of calls (1 to 10000), or --seconds and a number")
                })
            };
            match argument.as_str() {
                "rate" => mode = Mode::Rate,
                "flood" => mode = Mode::Flood,
                "--seconds" => seconds = number(&rest.next().unwrap_or_default())?,
                calls => steps.push(usize::try_from(number(calls)?).unwrap_or(usize::MAX)),
            }
        }
        if steps.is_empty() {
            steps.extend(match mode {
                Mode::Calls => STEPS,
                Mode::Rate => RATES,
                Mode::Flood => FLOODED,
            });
        }
        Ok(Self { mode, steps, seconds })
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Calls,
    Rate,
    Flood,
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    // Nobody reads any more: there is nobody to tell.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn fail(why: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "calls_per_core: {why}");
    std::process::exit(1)
}

const STEPS: &[usize] = &[100, 300, 1000];
const RATES: &[usize] = &[100, 200, 400];
const FLOODED: &[usize] = &[100, 300];
/// INVITEs of a flood for each place that the server has, a second.
const FLOOD: usize = 5;
const RSS_READINGS: u32 = 4;
/// Longer than a transaction that is never acknowledged lives (64 * T1).
const AFTER_FLOOD: Duration = Duration::from_secs(35);
const SPARE_PLACES: usize = 10;
const SECONDS: u64 = 15;
const WARM_UP: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(500);
const CALLS_PER_SECOND: u32 = 100;
const DRIVER_CORE: usize = 0;
const SERVER_CORE: usize = 1;
/// Above the server's media threads: on a core of its own it can only delay itself.
const DRIVER_PRIORITY: u8 = 20;
