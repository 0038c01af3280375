//! The rows of the table of what is promised, each from where it is measured best.

use super::answers::Answer;
use super::condition::{Counts, Network};
use super::pauses::{Met, Turn};
use super::run::Found;
use super::score::{Rates, Stops, stop_ms};
use super::table::{Figure, Promise};
use super::wire::WireRun;
use crate::sim::turns::judge::Judged;
use crate::sim::turns::offline::Line;

/// All that was measured; what is empty was not.
#[derive(Default)]
pub struct Measured<'a> {
    pub found: Option<&'a Found>,
    pub answers: &'a [Answer],
    pub turns: &'a [Turn],
    /// Calls in which noise holds the bot.
    pub resumed: &'a [Judged],
    /// Calls in which callers break in, by the line.
    pub heard: &'a [(Line, Vec<Judged>)],
    pub wire: &'a [WireRun],
}

/// Every row but that of the processor's time.
pub fn promises(measured: &Measured<'_>) -> Vec<Promise> {
    let mut rows = detection(measured);
    let networks = [
        over(measured, "the same over 20 ms of jitter, p50 / p95 / p99, ms", Network::Jitter20),
        over(measured, "the same over 3 % loss and 40 ms, p50 / p95 / p99, ms", Network::Loss3),
    ];
    rows.splice(1..1, networks);
    rows.extend([
        resumed(measured.resumed),
        answered(measured.answers),
        heard(measured.heard),
        ended(measured.turns),
        response(measured.wire),
        twilio(measured.wire),
    ]);
    rows
}

fn detection(measured: &Measured<'_>) -> Vec<Promise> {
    let core = stops(measured, Counts::is_core);
    let snr5 = stops(measured, |counts| counts == Counts::Snr5);
    let rates = |wanted: fn(Counts) -> bool| rates(measured, wanted);
    let (all, clean) = (rates(Counts::is_core), rates(|counts| counts == Counts::CoreClean));
    let jumps = rates(|counts| counts == Counts::Jumps);
    let (far, near) =
        (rates(|counts| counts == Counts::SecondVoice20), rates(|counts| counts == Counts::SecondVoice12));
    let holds = |rates: Rates| (rates.minutes > 0.0).then(|| rates.holds_per_minute());
    let commits = (all.minutes > 0.0).then(|| all.commits_per_minute());
    let share = |stops: &Stops, share: f32| (stops.n > 0).then_some(100.0 * share);
    vec![
        Promise::new(
            "barge-in stop on the wire, core, p50 / p95 / p99, ms",
            onsets(&core),
            vec![
                Figure::at_most(core.quantile(0.5), 80.0, 65.0, 0),
                Figure::at_most(core.quantile(0.95), 180.0, 150.0, 0),
                Figure::at_most(core.quantile(0.99), 280.0, 220.0, 0),
            ],
        ),
        Promise::new(
            "stopped within 250 ms, misses count as failures, %",
            onsets(&core),
            vec![Figure::at_least(share(&core, core.share_within(250.0)), 98.0, 99.5, 1)],
        ),
        Promise::new(
            "missed within 1 s: core / SNR 5 dB, %",
            format!("{}; {}", onsets(&core), onsets(&snr5)),
            vec![
                Figure::at_most(share(&core, core.share_missed()), 0.5, 0.1, 2),
                Figure::at_most(share(&snr5, snr5.share_missed()), 3.0, 1.0, 2),
            ],
        ),
        Promise::new(
            "false holds per minute of bot speech: core / clean line",
            format!("{:.0} min; {:.0} min", all.minutes, clean.minutes),
            vec![Figure::at_most(holds(all), 0.7, 0.2, 2), Figure::at_most(holds(clean), 0.0, 0.0, 2)],
        ),
        Promise::new("false commits per minute, core", minutes(all), vec![Figure::at_most(commits, 0.2, 0.03, 3)]),
        Promise::new(
            "echo path jumps every 5 s at ERL 15 to 25: false holds per minute",
            minutes(jumps),
            vec![Figure::at_most(holds(jumps), 4.0, 2.0, 2)],
        ),
        Promise::new(
            "second voice at -20 / -12 dB: false holds per minute",
            format!("{}; {}", minutes(far), minutes(near)),
            vec![Figure::at_most(holds(far), 1.0, 0.0, 2), Figure::reported(holds(near), 1.0, 2)],
        ),
    ]
}

/// Stops over a network, of noise, echo and short words.
fn over(measured: &Measured<'_>, metric: &'static str, network: Network) -> Promise {
    let all = measured.found.into_iter().flat_map(|found| &found.onsets);
    let stops = Stops::of(all.filter(|onset| onset.condition.network == network), stop_ms);
    let figures = [0.5, 0.95, 0.99].map(|share| Figure::told(stops.quantile(share), 0));
    Promise::new(metric, onsets(&stops), figures.into())
}

fn resumed(judged: &[Judged]) -> Promise {
    let words: Vec<_> = judged.iter().flat_map(|one| &one.false_holds).filter_map(|hold| hold.words).collect();
    let wrong = words.iter().filter(|(lost, repeated)| lost + repeated > 1).count();
    Promise::new(
        "false hold resumed with more than one word lost or repeated, %",
        format!("{} holds", words.len()),
        vec![Figure::at_most(percent(wrong, words.len()), 2.0, 0.0, 1)],
    )
}

fn answered(answers: &[Answer]) -> Promise {
    let core: Vec<_> = answers.iter().filter(|answer| answer.condition.counts.is_core()).collect();
    let accepted = core.iter().filter(|answer| answer.accepted).count();
    Promise::new(
        "short answers accepted while a question is open, %",
        format!("{} answers", core.len()),
        vec![Figure::at_least(percent(accepted, core.len()), 98.0, 99.5, 1)],
    )
}

/// Of the line on which most is wrong.
fn heard(lines: &[(Line, Vec<Judged>)]) -> Promise {
    let counted = lines.iter().filter(|(line, _)| line.counts);
    let all: Vec<Values> = counted.map(|(_, judged)| heard_errors(judged)).collect();
    let worst = |share: f32| all.iter().filter_map(|errors| errors.quantile(share)).max_by(f32::total_cmp);
    let cuts: usize = all.iter().map(Values::n).sum();
    Promise::new(
        "heard text, words off: p50 / p95",
        format!("{cuts} cuts, the worst of {} lines", all.len()),
        vec![Figure::at_most(worst(0.5), 0.0, 0.0, 0), Figure::at_most(worst(0.95), 1.0, 0.0, 0)],
    )
}

fn ended(turns: &[Turn]) -> Promise {
    let waits = waits(turns.iter().filter(|turn| turn.kind.counts));
    let pauses: usize = turns.iter().filter(|turn| turn.kind.counts).map(|turn| turn.pauses).sum();
    let cut_ins = turns.iter().filter(|turn| turn.kind.counts && matches!(turn.met, Met::CutIn { .. })).count();
    Promise::new(
        "end of turn after the last word: median / p95, ms; cut-ins, %",
        format!("{} turns; {pauses} pauses", waits.n()),
        vec![
            Figure::at_most(waits.quantile(0.5), 450.0, 300.0, 0),
            Figure::at_most(waits.quantile(0.95), 1200.0, 700.0, 0),
            Figure::at_most(percent(cut_ins, pauses), 5.0, 1.0, 1),
        ],
    )
}

fn response(wire: &[WireRun]) -> Promise {
    let gaps = wire.iter().filter(|run| run.via == "sip" && run.clean).map(|run| run.metric("response_overhead_ms"));
    let gap = gaps.max_by_key(|gap| gap.n).unwrap_or_default();
    Promise::new(
        "response gap added by the engine: p50 / p99, ms",
        format!("{} answers over SIP", gap.n),
        vec![Figure::at_most(gap.p50, 15.0, 10.0, 0), Figure::at_most(gap.p99, 40.0, 20.0, 0)],
    )
}

fn twilio(wire: &[WireRun]) -> Promise {
    let (sip, twilio) = (clean(wire, "sip"), clean(wire, "twilio"));
    let of = |run: Option<&WireRun>, metric| run.map(|run| run.metric(metric)).unwrap_or_default();
    let base = of(sip, "stop_ms");
    let later = |metric| {
        let far = of(twilio, metric);
        [far.p50.zip(base.p50), far.p95.zip(base.p95)].map(|pair| pair.map(|(far, near)| far - near))
    };
    let figures = [later("stop_ms"), later("stop_heard_ms")].concat();
    Promise::new(
        "Twilio, later than SIP: `clear` sent p50 / p95, heard stop p50 / p95, ms",
        format!("{} and {} onsets", of(twilio, "stop_ms").n, base.n),
        figures.into_iter().map(|found| Figure::at_most(found, 20.0, 20.0, 0)).collect(),
    )
}

fn clean<'a>(wire: &'a [WireRun], via: &str) -> Option<&'a WireRun> {
    wire.iter().find(|run| run.via == via && run.clean)
}

/// Sorted values.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<f32>);

impl Values {
    pub fn of(values: impl Iterator<Item = f32>) -> Self {
        let mut sorted: Vec<f32> = values.collect();
        sorted.sort_by(f32::total_cmp);
        Self(sorted)
    }

    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The value below which this share lies, by nearest rank; none of none.
    pub fn quantile(&self, share: f32) -> Option<f32> {
        let place = (share * self.0.len() as f32).ceil() as usize;
        self.0.get(place.max(1) - 1).copied()
    }
}

/// Words by which what is believed to have been heard is wrong.
pub fn heard_errors(judged: &[Judged]) -> Values {
    Values::of(judged.iter().filter_map(|one| one.heard_error).map(|words| words as f32))
}

/// How long callers waited who had ended; one who waited for nothing waited for 4 s.
pub fn waits<'a>(turns: impl Iterator<Item = &'a Turn>) -> Values {
    Values::of(turns.filter_map(|turn| match turn.met {
        Met::Waited(ms) => Some(ms),
        Met::Missed => Some(4000.0),
        Met::CutIn { .. } => None,
    }))
}

/// Stops of the conditions that count for something.
pub fn stops(measured: &Measured<'_>, wanted: impl Fn(Counts) -> bool) -> Stops {
    let all = measured.found.into_iter().flat_map(|found| &found.onsets);
    Stops::of(all.filter(|onset| wanted(onset.condition.counts)), stop_ms)
}

fn rates(measured: &Measured<'_>, wanted: impl Fn(Counts) -> bool) -> Rates {
    let all = measured.found.into_iter().flat_map(|found| &found.quiets);
    Rates::of(all.filter(|quiet| wanted(quiet.condition.counts)))
}

/// None of none.
pub fn percent(count: usize, of: usize) -> Option<f32> {
    (of > 0).then(|| 100.0 * count as f32 / of as f32)
}

fn onsets(stops: &Stops) -> String {
    format!("{} onsets", stops.n)
}

fn minutes(rates: Rates) -> String {
    format!("{:.0} min", rates.minutes)
}
