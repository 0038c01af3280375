//! Turn-taking against the table of what is promised, offline and at full speed: thousands of labelled onsets and hours of bot
//! speech without a caller, in noise, echo and loss.
//!
//! `cargo bench --bench turn_taking -- --data DIR` with DIR as `scripts/turn-taking` fills it; without it the small committed set
//! is used, whose figures mean little. See `--help`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nix::time::{ClockId, clock_gettime};
use offhook::sim::lab::call::Calls;
use offhook::sim::lab::run::Plan;
use offhook::sim::lab::table::{Figure, Promise, Report};
use offhook::sim::lab::{QUIET, Split, Trial, Trials, Voices, ear};
use offhook_media::FRAME;
use offhook_media::barge::Ear;
use offhook_media::silero::Network;

/// Measures turn-taking offline.
#[derive(Debug, Parser)]
#[command(name = "turn_taking")]
struct Options {
    /// What is drawn; one that no rule has been tuned on says most.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory of readers and music; the committed set if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Trials with a caller.
    #[arg(long, default_value_t = 2000)]
    trials: usize,
    /// Minutes of bot speech without a caller.
    #[arg(long, default_value_t = 150.0)]
    minutes: f32,
    /// 100 trials and 12 minutes.
    #[arg(long)]
    quick: bool,
    /// Callers whose voices may be used for tuning, instead of those who judge.
    #[arg(long)]
    tuning: bool,
    /// The ear alone, without a call around it.
    #[arg(long)]
    ear: bool,
    /// Where the report goes as JSON and markdown.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Exit with 1 when a pass line is missed.
    #[arg(long)]
    strict: bool,
    /// `cargo bench` says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let committed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human"));
    let voices = Voices::load(&options.data.clone().unwrap_or_else(committed))?;
    let split = if options.tuning { Split::Tuning } else { Split::HeldOut };
    let trials = Trials::new(Arc::new(voices), split, options.seed);
    let network = Network::shared()?;
    let (onsets, minutes) = if options.quick { (100, 12.0) } else { (options.trials, options.minutes) };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan { onsets, minutes, quiet_s: 30.0, threads };
    let calls = Calls::new(network).map_err(anyhow::Error::msg)?;
    let found = if options.ear {
        plan.run(&trials, |trial| ear::listen(network, trial))
    } else {
        plan.run(&trials, |trial| calls.play(trial))
    };
    let mut report = Report::of(&found, options.command(), options.seed, machine());
    report.promises.push(cost(network, &trials));
    println!("{}", report.markdown());
    if let Some(dir) = &options.report {
        let at = || format!("{}", dir.display());
        std::fs::create_dir_all(dir).with_context(at)?;
        std::fs::write(dir.join("turn-taking.md"), report.markdown()).with_context(at)?;
        std::fs::write(dir.join("turn-taking.json"), serde_json::to_vec_pretty(&report)?).with_context(at)?;
    }
    let missed = report.missed();
    println!("{} pass lines missed: {missed:?}", missed.len());
    Ok(ExitCode::from(u8::from(options.strict && !missed.is_empty())))
}

impl Options {
    fn command(&self) -> String {
        let mut command = format!("cargo bench --bench turn_taking -- --seed {}", self.seed);
        if self.data.is_some() {
            command += " --data DIR";
        }
        if self.quick {
            command += " --quick";
        } else {
            command += &format!(" --trials {} --minutes {}", self.trials, self.minutes);
        }
        if self.ear {
            command += " --ear";
        }
        if self.tuning {
            command += " --tuning";
        }
        command
    }
}

/// Processor time of the whole ear per 20 ms, us: while the bot talks and its echo comes back, and while nobody does.
fn cost(network: &'static Network, trials: &Trials) -> Promise {
    let echo = QUIET.iter().find(|condition| condition.name == "echo 25").unwrap_or(&QUIET[0]);
    let talking = trials.quiet(echo, 0, 20.0);
    let mut silent = trials.quiet(&QUIET[0], 0, 20.0);
    silent.bot = vec![0; silent.bot.len()].into();
    Promise::new(
        "CPU of the barge-in path per call and 20 ms: bot talks / is silent, us",
        "median of 15 runs of 20 s".into(),
        vec![
            Figure::at_most(Some(per_frame_us(network, &talking)), 80.0, 40.0, 1),
            Figure::at_most(Some(per_frame_us(network, &silent)), 10.0, 3.0, 1),
        ],
    )
}

fn per_frame_us(network: &'static Network, trial: &Trial) -> f32 {
    let heard = trial.heard();
    let (heard, sent) = (heard.as_chunks::<FRAME>().0, trial.bot.as_chunks::<FRAME>().0);
    let mut runs: Vec<f32> = (0..15)
        .map(|_| {
            let mut ear = Ear::new(network);
            let began = processor_time();
            for (heard, sent) in heard.iter().zip(sent) {
                std::hint::black_box(ear.packet(heard, sent));
            }
            (processor_time() - began).as_secs_f32() * 1e6 / heard.len() as f32
        })
        .collect();
    runs.sort_by(f32::total_cmp);
    runs[runs.len() / 2]
}

/// What this thread has used of a processor: other programs on the machine do not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What the figures of time were measured on.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{model}, {cores} cores, load average {}", load.split(' ').next().unwrap_or("unknown"))
}
