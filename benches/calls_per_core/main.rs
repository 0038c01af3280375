//! How many calls one core carries: the real `offhook` binary pinned to one core, this driver on another, over loopback.
//!
//! `cargo bench --bench calls_per_core [-- STEPS.. [--seconds N]]`, such as `-- 100 300 1000`. Each step starts a fresh
//! server. Every call dials the bench line (1000), sends 20 ms PCMU frames in its own phase and hears the 10 s tone,
//! which it interrupts by recorded human speech. Deliberately absent: vendors, TLS, a network that loses packets.

mod calls;
mod figures;
mod rtp;
mod server;
mod voice;

use std::io::Write as _;
use std::time::Duration;

use figures::{Row, facts, table};

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
    let mut rows: Vec<Row> = Vec::new();
    for &calls in &options.steps {
        let row = step(calls, options.seconds, &script)?;
        say(&table(std::slice::from_ref(&row)));
        rows.push(row);
    }
    if rows.len() > 1 {
        say(&table(&rows));
    }
    Ok(())
}

fn step(calls: usize, seconds: u64, script: &voice::Script) -> Result<Row, String> {
    let server = server::Server::start(calls, SERVER_CORE)?;
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

/// What is asked for on the command line.
struct Options {
    steps: Vec<usize>,
    seconds: u64,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut steps, mut seconds) = (Vec::new(), SECONDS);
        // Cargo adds `--bench`.
        let mut rest = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = rest.next() {
            let number = |text: &str| {
                text.parse::<u64>().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| {
                    format!("`{text}`: expected a number of calls (1 to 10000), or --seconds and a number")
                })
            };
            match argument.as_str() {
                "--seconds" => seconds = number(&rest.next().unwrap_or_default())?,
                calls => steps.push(usize::try_from(number(calls)?).unwrap_or(usize::MAX)),
            }
        }
        if steps.is_empty() {
            steps.extend(STEPS);
        }
        Ok(Self { steps, seconds })
    }
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

const STEPS: [usize; 3] = [100, 300, 1000];
const SECONDS: u64 = 15;
const WARM_UP: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(500);
const CALLS_PER_SECOND: u32 = 100;
const DRIVER_CORE: usize = 0;
const SERVER_CORE: usize = 1;
/// Above the server's media threads: on a core of its own it can only delay itself.
const DRIVER_PRIORITY: u8 = 20;
