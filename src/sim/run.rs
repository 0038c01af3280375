//! One run of the harness: scenarios and seed to plans, plans to calls, calls to a report.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;

use super::analysis::measure;
use super::audio::Recording;
use super::caller::{Caller, Outcome, Recordings};
use super::chaos::Watch;
use super::clock::{Dice, RunClock, ms};
use super::driver::{Finished, OwnLateness, Plan, drive};
use super::leg::{Dialled, Leg};
use super::metrics::{Metric, PassLine, Samples};
use super::network::Profile;
use super::options::{Options, Via};
use super::records::{RecordSource, ServerCall, match_call};
use super::report::{CallReport, Report, Setting};
use super::scenario::{Scenario, ScenarioError};
use super::shipped;
use super::sip_leg::SipLeg;
use super::turns::session::Session;
use super::twilio_leg::{TwilioLeg, TwilioTarget};

/// Where the calls go.
#[derive(Clone, Debug)]
pub enum Target {
    Sip(SocketAddr),
    Twilio(TwilioTarget),
}

/// What a run needs to know besides its options.
#[derive(Clone)]
pub struct Server {
    pub target: Target,
    /// Where its records can be read, if they can.
    pub records: Option<RecordSource>,
    /// Who watches what the server says of its providers, where vendors fail.
    pub watch: Option<Arc<Watch>>,
}

impl Server {
    /// The server that the options name with `--target`.
    ///
    /// # Errors
    /// Says which address or setting cannot be used.
    pub fn from_options(options: &Options) -> Result<Self, String> {
        let address = options.target.clone().ok_or("--target: expected an address")?;
        let token = |name: &str| std::env::var(name).ok().filter(|t| !t.is_empty());
        let api = options.api.clone().or_else(|| (options.via == Via::Twilio).then(|| address.clone()));
        let records = api.map(|address| RecordSource { address, token: token("SECRET_KEY") });
        let target = match options.via {
            Via::Sip => Target::Sip(resolve(&address)?),
            Via::Twilio => {
                let public_url = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
                let auth_token = token("TWILIO_AUTH_TOKEN").unwrap_or_default().into();
                Target::Twilio(TwilioTarget {
                    address,
                    public_url: public_url.trim_end_matches('/').to_owned(),
                    auth_token,
                })
            }
        };
        Ok(Self { target, records, watch: None })
    }
}

/// The scenarios that the options name, or the shipped mix.
///
/// # Errors
/// Names the file and place of what cannot be understood or found.
pub fn scenarios(files: &[impl AsRef<Path>]) -> Result<Vec<Arc<Scenario>>, String> {
    let parsed: Result<Vec<_>, _> = match files {
        [] => shipped::SCENARIOS.iter().map(|(name, yaml)| Scenario::parse(name, yaml)).collect(),
        files => files.iter().map(|file| load(file.as_ref())).collect(),
    };
    Ok(parsed.map_err(|e| e.to_string())?.into_iter().map(Arc::new).collect())
}

/// A scenario by its file, or a shipped one by its name.
fn load(file: &Path) -> Result<Scenario, ScenarioError> {
    let shipped = file.to_str().filter(|_| !file.is_file()).and_then(shipped::scenario);
    shipped.map_or_else(|| Scenario::load(file), |(name, yaml)| Scenario::parse(name, yaml))
}

/// Every recording that the scenarios may play.
///
/// # Errors
/// Names the recording that is missing or cannot be used.
pub fn recordings(scenarios: &[Arc<Scenario>]) -> Result<Recordings, String> {
    let mut all = HashMap::new();
    for scenario in scenarios {
        for name in scenario.recordings() {
            if !all.contains_key(name) {
                all.insert(name.to_owned(), load_recording(scenario, name)?);
            }
        }
    }
    Ok(Arc::new(all))
}

/// Makes all calls and measures them.
///
/// # Errors
/// Says what could not be had from the system or the scenarios.
pub fn run(options: &Options, server: &Server, scenarios: &[Arc<Scenario>]) -> Result<Report, String> {
    let recordings = recordings(scenarios)?;
    let session = Session::new(options, scenarios)?;
    if let Some(session) = session.as_ref().filter(|_| !options.quiet) {
        // Standard error is for people; that nobody reads it is no fault.
        let _ = writeln!(std::io::stderr(), "{}", session.patience(options));
    }
    let clock = RunClock::start();
    let began = Timestamp::now();
    let mix = mix(scenarios, options.calls as usize);
    let plans = plans(options, &mix, &recordings, session.as_ref());
    // Room for every call, so that the paced thread never waits for analysis.
    let (done, finished) = sync_channel(options.calls as usize);
    let collector = Collector::new(options, &mix, began, session.is_some());
    let (lateness, mut calls) = std::thread::scope(|scope| {
        let collecting = scope.spawn(move || collector.collect(&finished));
        let lateness = carry(options, server, clock, plans, &done);
        drop(done);
        let calls = collecting.join().map_err(|_| "analysis failed".to_owned())?;
        Ok::<_, String>((lateness?, calls))
    })?;
    calls.sort_by_key(|call| call.call);
    let (records, note) = read_records(options, server, began, calls.len());
    let mut samples = of_records(&records, &mut calls);
    if let Some(watch) = &server.watch {
        watch.findings(&mut samples);
        let kept = |call: &&CallReport| match_call(&records, &call.caller, call.placed_at).is_some();
        samples.add(Metric::Unrecorded, (calls.len() - calls.iter().filter(kept).count()) as f64);
    }
    calls.iter().for_each(|call| samples.merge(&call.samples));
    let turns = session.as_ref().map(|session| {
        let matched = calls.iter().filter_map(|c| Some((c.call, match_call(&records, &c.caller, c.placed_at)?)));
        let (report, figures) = session.report(&calls, &matched.collect::<Vec<_>>());
        samples.merge(&figures);
        report
    });
    let lines = pass_lines(options, scenarios);
    let setting = Setting::new(options, server, scenarios, began, ms(clock.now()), lateness, note);
    Ok(Report { setting, verdicts: samples.judge(&lines), samples, calls, turns })
}

/// What the scenarios demand. Loss at the socket stays demanded on an emulated network, because it is measured before
/// the emulation; what the emulated network makes of the sound is not.
fn pass_lines(options: &Options, scenarios: &[Arc<Scenario>]) -> Vec<PassLine> {
    let all = scenarios.iter().flat_map(|s| s.pass.iter().cloned());
    all.filter(|line| options.network.is_clean() || line.metric != Metric::UnderrunMs).collect()
}

/// The scenario of each call: by weight, dealt in turn.
fn mix(scenarios: &[Arc<Scenario>], calls: usize) -> Vec<Arc<Scenario>> {
    let hand: Vec<&Arc<Scenario>> =
        scenarios.iter().flat_map(|s| std::iter::repeat_n(s, s.weight.max(1) as usize)).collect();
    hand.into_iter().cycle().take(calls).cloned().collect()
}

fn plans(options: &Options, mix: &[Arc<Scenario>], recordings: &Recordings, session: Option<&Session>) -> Vec<Plan> {
    let every = Duration::from_secs_f64(1.0 / options.rate);
    let plan = |(call, scenario): (usize, &Arc<Scenario>)| Plan {
        call,
        caller: match session {
            Some(session) => Box::new(session.caller(call)),
            None => {
                let dice = Dice::new(options.seed, call as u64, 1);
                Box::new(Caller::new(Arc::clone(scenario), Arc::clone(recordings), dice))
            }
        },
        // Neighbours are seven slots apart, so that any twenty calls in a row fill all twenty slots.
        phase_ms: ((call * 7) % 20) as u8,
        not_before: every * u32::try_from(call).unwrap_or(u32::MAX),
    };
    mix.iter().enumerate().map(plan).collect()
}

/// The number that a simulated caller calls from.
pub fn caller_number(call: usize) -> String {
    format!("1555{call:07}")
}

fn carry(
    options: &Options,
    server: &Server,
    clock: RunClock,
    plans: Vec<Plan>,
    done: &SyncSender<Finished>,
) -> Result<OwnLateness, String> {
    let called: HashMap<usize, Arc<str>> = plans.iter().map(|p| (p.call, p.caller.called())).collect();
    let concurrency = options.concurrency.unwrap_or(options.calls) as usize;
    raise_file_limit();
    let (network, seed) = (options.network, options.seed);
    let mut dial = |call: usize, answers: &SyncSender<Dialled>| {
        let called = called.get(&call).cloned().unwrap_or_else(|| "".into());
        let dice = Dice::new(seed, call as u64, 2);
        match &server.target {
            Target::Sip(to) => dial_sip(*to, call, &called, network, dice, clock, answers),
            Target::Twilio(to) => dial_twilio(to.clone(), call, called, network, dice, clock, answers.clone()),
        }
    };
    drive(clock, plans, concurrency, &mut dial, done).map_err(|e| format!("cannot watch sockets: {e}"))
}

fn dial_sip(
    to: SocketAddr,
    call: usize,
    called: &str,
    network: Profile,
    dice: Dice,
    clock: RunClock,
    answers: &SyncSender<Dialled>,
) {
    let placed = clock.now();
    let leg = SipLeg::place(to, &caller_number(call), called, network, dice, clock);
    let _ = answers.send(Dialled { call, placed, leg: leg.map(|leg| Box::new(leg) as Box<dyn Leg>) });
}

/// The webhook and the opening of the stream wait for the server, so they have a thread of their own.
fn dial_twilio(
    to: TwilioTarget,
    call: usize,
    called: Arc<str>,
    network: Profile,
    dice: Dice,
    clock: RunClock,
    answers: SyncSender<Dialled>,
) {
    std::thread::spawn(move || {
        let placed = clock.now();
        let leg = TwilioLeg::dial(&to, &format!("+{}", caller_number(call)), &called, network, dice, &clock);
        let _ = answers.send(Dialled { call, placed, leg: leg.map(|leg| Box::new(leg) as Box<dyn Leg>) });
    });
}

/// Two sockets a call are more than the customary limit of 1024 allows; where it cannot be raised, dialling says so.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Measures calls as they finish, on a thread of its own, and shows progress.
struct Collector {
    total: usize,
    mix: Vec<Arc<Scenario>>,
    began: Timestamp,
    show: bool,
    /// Keep every call's audio: all of it is judged.
    keep: bool,
    failures: usize,
    drawn: Vec<Arc<str>>,
    worst: Option<(usize, f64)>,
}

impl Collector {
    fn new(options: &Options, mix: &[Arc<Scenario>], began: Timestamp, keep: bool) -> Self {
        Self {
            total: mix.len(),
            mix: mix.to_vec(),
            began,
            show: !options.quiet,
            keep,
            failures: 0,
            drawn: Vec::new(),
            worst: None,
        }
    }

    fn collect(mut self, finished: &Receiver<Finished>) -> Vec<CallReport> {
        let mut calls: Vec<CallReport> = Vec::with_capacity(self.total);
        self.progress(0);
        for call in finished {
            let report = self.report(call, &mut calls);
            calls.push(report);
            self.progress(calls.len());
        }
        if self.show {
            let _ = writeln!(std::io::stderr());
        }
        calls
    }

    fn report(&mut self, call: Finished, before: &mut [CallReport]) -> CallReport {
        let scenario = self.mix.get(call.call).map_or_else(|| "".into(), |s| Arc::clone(&s.name));
        let measured = measure(&call.timeline);
        let mut samples = measured.samples;
        let failed = matches!(call.outcome, Outcome::Failed(_));
        samples.add(Metric::Failures, f64::from(u8::from(failed)));
        self.failures += usize::from(failed);
        let worst_here = samples.values(Metric::BargeInMs).iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_worst = worst_here > self.worst.map_or(0.0, |(_, ms)| ms);
        let first_of_its_kind = !self.drawn.contains(&scenario);
        let draw = self.keep || first_of_its_kind || is_worst || (failed && self.failures <= MOST_FAILURES_DRAWN);
        if is_worst && !self.keep {
            self.forget_worst(before);
            self.worst = Some((call.call, worst_here));
        }
        if draw && first_of_its_kind {
            self.drawn.push(Arc::clone(&scenario));
        }
        let placed = call.timeline.placed;
        CallReport {
            call: call.call,
            scenario,
            caller: caller_number(call.call),
            placed_at: self.began.checked_add(placed).unwrap_or(self.began),
            placed,
            answered: call.timeline.answered,
            over: call.timeline.over,
            outcome: call.outcome,
            samples,
            trials: measured.trials,
            bot: measured.bot,
            first_of_its_kind,
            timeline: draw.then_some(call.timeline),
            turns: Vec::new(),
        }
    }

    /// The waveform of what was the worst call until now is dropped, unless it is drawn for another reason.
    fn forget_worst(&self, calls: &mut [CallReport]) {
        let Some((worst, _)) = self.worst else { return };
        if let Some(call) = calls.iter_mut().find(|c| c.call == worst && !c.first_of_its_kind && !c.failed()) {
            call.timeline = None;
        }
    }

    fn progress(&self, finished: usize) {
        if !self.show {
            return;
        }
        let filled = (30 * finished).checked_div(self.total).unwrap_or(0);
        let bar = format!(
            "[{}{}] {finished}/{} calls, {} failed",
            "#".repeat(filled),
            "-".repeat(30 - filled),
            self.total,
            self.failures
        );
        let mut stderr = std::io::stderr();
        // A log file gets a line only now and then.
        let _ = if stderr.is_terminal() {
            write!(stderr, "\r{bar}").and_then(|()| stderr.flush())
        } else if finished == self.total || (finished > 0 && finished.is_multiple_of((self.total / 10).max(1))) {
            writeln!(stderr, "{bar}")
        } else {
            Ok(())
        };
    }
}

fn read_records(
    options: &Options,
    server: &Server,
    began: Timestamp,
    calls: usize,
) -> (Vec<ServerCall>, Option<String>) {
    let Some(source) = &server.records else { return (Vec::new(), None) };
    match read_when_written(source, options.via.name(), began, calls) {
        Ok(found) => (found, None),
        Err(why) => (Vec::new(), Some(format!("the server's records could not be read: {why}"))),
    }
}

/// The figures that only the server knows; the calls that are drawn get their turns.
fn of_records(found: &[ServerCall], calls: &mut [CallReport]) -> Samples {
    let mut samples = Samples::default();
    for turn in found.iter().flat_map(|call| &call.turns) {
        let figures = [
            (Metric::AsrMs, turn.asr_ms),
            (Metric::LlmMs, turn.llm_ms),
            (Metric::TtsMs, turn.tts_ms),
            (Metric::TotalMs, turn.total_ms),
        ];
        figures.iter().for_each(|&(metric, value)| value.into_iter().for_each(|v| samples.add(metric, v)));
    }
    for call in calls.iter_mut().filter(|c| c.timeline.is_some()) {
        call.turns = match_call(found, &call.caller, call.placed_at).map(|c| c.turns.clone()).unwrap_or_default();
    }
    samples
}

/// A server writes its records behind its calls, so the last ones are waited for a little.
fn read_when_written(
    source: &RecordSource,
    via: &str,
    began: Timestamp,
    expected: usize,
) -> Result<Vec<ServerCall>, String> {
    let clock = RunClock::start();
    let mut found = source.calls(via, began, Timestamp::now())?;
    for _ in 0..RECORD_TRIES {
        if found.len() >= expected {
            break;
        }
        clock.sleep_until(clock.now() + Duration::from_millis(200));
        found = source.calls(via, began, Timestamp::now())?;
    }
    Ok(found)
}

fn load_recording(scenario: &Scenario, name: &str) -> Result<Recording, String> {
    let own = scenario.audio_dir.iter().flat_map(|dir| [dir.join(name), dir.join("../scenarios").join(name)]);
    for path in own {
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            return Recording::from_wav(&path.display().to_string(), &bytes);
        }
    }
    let bytes =
        shipped::recording(name).ok_or_else(|| format!("scenario `{}`: no recording `{name}`", scenario.name))?;
    Recording::from_wav(name, bytes)
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let mut found = address.to_socket_addrs().map_err(|e| format!("--target {address}: expected host:port ({e})"))?;
    found.next().ok_or_else(|| format!("--target {address}: no such host"))
}

const MOST_FAILURES_DRAWN: usize = 6;
const RECORD_TRIES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_deals_by_weight() {
        let all = scenarios(&[] as &[&str]).unwrap();
        let total: usize = all.iter().map(|s| s.weight as usize).sum();
        let dealt = mix(&all, 50);
        let barge_ins = dealt.iter().filter(|s| &*s.name == "barge-in mid-sentence").count();
        assert!(barge_ins >= 50 / total * 3 && dealt.len() == 50, "{barge_ins}");
        for scenario in &all {
            assert!(dealt.iter().any(|s| s.name == scenario.name), "{}", scenario.name);
        }
    }

    #[test]
    fn phases_fill_the_frame() {
        let all = scenarios(&[] as &[&str]).unwrap();
        let options =
            <Options as clap::Parser>::parse_from(["sim_call", "--via", "sip", "--embedded", "--calls", "20"]);
        let plans = plans(&options, &mix(&all, 20), &recordings(&all).unwrap(), None);
        let mut phases: Vec<u8> = plans.iter().map(|p| p.phase_ms).collect();
        phases.sort_unstable();
        assert_eq!(phases, (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn a_missing_scenario_or_recording_is_named() {
        assert!(scenarios(&["nowhere.yaml"]).unwrap_err().contains("nowhere.yaml"));
        let yaml = "name: x\ncall: \"1\"\nsteps:\n  - say: {audio: human/nobody.wav}\n";
        let scenario = Arc::new(Scenario::parse("x.yaml", yaml).unwrap());
        assert!(recordings(&[scenario]).unwrap_err().contains("human/nobody.wav"));
    }
}
