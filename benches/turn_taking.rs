//! Turn-taking against the table of what is promised, offline and at full speed: thousands of labelled onsets, hours of bot
//! speech without a caller, answers, pauses and interruptions, in noise, echo and loss. What `sim_call` has found on the wire
//! is read and stands in the same table.
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
use offhook::sim::lab::condition::ROOMS;
use offhook::sim::lab::promises::Measured;
use offhook::sim::lab::run::{Found, Plan, share_out};
use offhook::sim::lab::table::{Figure, Promise, Report};
use offhook::sim::lab::wire::WireRun;
use offhook::sim::lab::{QUIET, Split, Trial, Trials, Voices, answers, ear, pauses};
use offhook::sim::turns::judge::Judged;
use offhook::sim::turns::offline::{LINES, Line, Offline};
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
    /// Short answers.
    #[arg(long, default_value_t = 1800)]
    answers: usize,
    /// Turns of callers who pause.
    #[arg(long, default_value_t = 1800)]
    turns: usize,
    /// Calls of a minute or two in which callers break in, or noise holds the bot.
    #[arg(long, default_value_t = 90)]
    calls: usize,
    /// A twentieth of everything.
    #[arg(long)]
    quick: bool,
    /// Callers whose voices may be used for tuning, instead of those who judge.
    #[arg(long)]
    tuning: bool,
    /// The ear alone, without a call around it.
    #[arg(long)]
    ear: bool,
    /// Directory of `sim_call`'s reports, each in a directory of its own.
    #[arg(long, value_name = "DIR")]
    wire: Option<PathBuf>,
    /// The command that the report tells to be run again.
    #[arg(long, value_name = "COMMAND")]
    told_as: Option<String>,
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
    let network = Network::shared()?;
    let lab = Lab::new(&options, network)?;
    let found = lab.found()?;
    let wire = match &options.wire {
        Some(dir) => WireRun::read_all(dir).map_err(anyhow::Error::msg)?,
        None => Vec::new(),
    };
    let talk = if options.ear { Talk::default() } else { lab.talk()? };
    let measured = Measured {
        found: Some(&found),
        answers: &talk.answers,
        turns: &talk.turns,
        resumed: &talk.resumed,
        heard: &talk.heard,
        wire: &wire,
    };
    let mut report = Report::of(&measured, options.command(), options.seed, machine());
    report.promises.push(cost(network, &lab.trials));
    println!("{}", report.markdown());
    if let Some(dir) = &options.report {
        let at = || format!("{}", dir.display());
        std::fs::create_dir_all(dir).with_context(at)?;
        let texts = [("turn-taking.md", report.markdown()), ("table.md", report.table())];
        for (name, text) in texts.into_iter().chain([("conditions.md", report.conditions())]) {
            std::fs::write(dir.join(name), text).with_context(at)?;
        }
        std::fs::write(dir.join("turn-taking.json"), serde_json::to_vec_pretty(&report)?).with_context(at)?;
    }
    let missed = report.missed();
    println!("{} pass lines missed: {missed:?}", missed.len());
    Ok(ExitCode::from(u8::from(options.strict && !missed.is_empty())))
}

/// What is measured with, and how much of it.
struct Lab<'a> {
    options: &'a Options,
    network: &'static Network,
    data: PathBuf,
    trials: Trials,
    threads: usize,
}

/// What only a conversation shows.
#[derive(Default)]
struct Talk {
    answers: Vec<answers::Answer>,
    turns: Vec<pauses::Turn>,
    resumed: Vec<Judged>,
    heard: Vec<(Line, Vec<Judged>)>,
}

impl<'a> Lab<'a> {
    fn new(options: &'a Options, network: &'static Network) -> anyhow::Result<Self> {
        let committed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/human"));
        let data = options.data.clone().unwrap_or_else(committed);
        let split = if options.tuning { Split::Tuning } else { Split::HeldOut };
        let trials = Trials::new(Arc::new(Voices::load(&data)?), split, options.seed);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { options, network, data, trials, threads })
    }

    /// Onsets and minutes without a caller.
    fn found(&self) -> anyhow::Result<Found> {
        let minutes = if self.options.quick { 12.0 } else { self.options.minutes };
        let plan = Plan { onsets: self.part(self.options.trials), minutes, quiet_s: 30.0, threads: self.threads };
        if self.options.ear {
            return Ok(plan.run(&self.trials, |trial| ear::listen(self.network, trial)));
        }
        let calls = Calls::new(self.network).map_err(anyhow::Error::msg)?;
        Ok(plan.run(&self.trials, |trial| calls.play(trial)))
    }

    fn talk(&self) -> anyhow::Result<Talk> {
        let (answers, turns) = (self.part(self.options.answers), self.part(self.options.turns));
        let told = |e: String| anyhow::Error::msg(e);
        let heard: Vec<(Line, usize)> =
            (0..self.part(self.options.calls)).flat_map(|call| LINES.map(|line| (line, call))).collect();
        let heard_in = self.calls(&BROKEN_INTO, &heard)?;
        let of = |line: Line| {
            let calls = heard.iter().zip(&heard_in).filter(|((of, _), _)| of.name == line.name);
            (line, calls.flat_map(|(_, judged)| judged.clone()).collect())
        };
        let held: Vec<(Line, usize)> = (0..2 * self.part(self.options.calls)).map(|n| (LINES[n % 2], n / 2)).collect();
        Ok(Talk {
            answers: answers::answers(&self.trials, self.network, answers, self.threads).map_err(told)?,
            turns: pauses::turns(&pauses::KINDS, &ROOMS, &self.trials, self.network, turns, self.threads)
                .map_err(told)?,
            resumed: self.calls(&HELD_FOR, &held)?.concat(),
            heard: LINES.map(of).into(),
        })
    }

    fn calls(&self, conditions: &[&str], calls: &[(Line, usize)]) -> anyhow::Result<Vec<Vec<Judged>>> {
        let offline = Offline::new(self.trials.clone(), &self.data, self.network, self.options.seed, conditions);
        let offline = offline.map_err(anyhow::Error::msg)?;
        Ok(share_out(calls, self.threads, |&(line, call)| offline.play(call, line)))
    }

    fn part(&self, whole: usize) -> usize {
        if self.options.quick { whole.div_ceil(20) } else { whole }
    }
}

/// Conditions in which callers break in.
const BROKEN_INTO: [&str; 5] = ["clean", "SNR 20", "SNR 10", "ERL 25", "short words"];
/// Conditions in which the bot is held for nothing, and goes on.
const HELD_FOR: [&str; 10] = [
    "any noise 0",
    "babble 20",
    "babble 10",
    "coughs 0",
    "second voice 20, caller unknown",
    "second voice 12, caller unknown",
    "second voice 12",
    "echo 15",
    "echo 25, babble 10",
    "jumps, echo 15",
];

impl Options {
    fn command(&self) -> String {
        if let Some(command) = &self.told_as {
            return command.clone();
        }
        let mut command = format!("cargo bench --bench turn_taking -- --seed {}", self.seed);
        if self.data.is_some() {
            command += " --data DIR";
        }
        if self.quick {
            command += " --quick";
        } else {
            let Self { trials, minutes, answers, turns, calls, .. } = self;
            command +=
                &format!(" --trials {trials} --minutes {minutes} --answers {answers} --turns {turns} --calls {calls}");
        }
        for (name, set) in [(" --ear", self.ear), (" --tuning", self.tuning), (" --wire DIR", self.wire.is_some())] {
            command += if set { name } else { "" };
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
