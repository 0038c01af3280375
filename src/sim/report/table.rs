//! The run as a table for the terminal.

use std::fmt::Write;

use super::super::metrics::{Metric, Stat};
use super::{Outcome, Report, ms_between};

/// Figures, pass lines and the first failures.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = metrics(report, &mut out);
    let _ = conditions(report, &mut out);
    let _ = verdicts(report, &mut out);
    let _ = failures(report, &mut out);
    let _ = remarks(report, &mut out);
    out
}

fn metrics(report: &Report, out: &mut String) -> std::fmt::Result {
    let s = &report.setting;
    writeln!(
        out,
        "\nsim_call --via {}: {} calls to {}, {} at once, seed {}, {:.1} s",
        s.via,
        s.calls,
        s.target,
        s.concurrency,
        s.seed,
        s.took_ms / 1000.0
    )?;
    writeln!(out, "\n{:<32}{:>8}{:>10}{:>10}{:>10}{:>10}", "", "n", "p50", "p95", "p99", "max")?;
    for metric in Metric::ALL {
        let Some(m) = report.samples.summary(metric) else { continue };
        if metric == Metric::Failures {
            writeln!(out, "{:<32}{:>8}{:>40}", metric.name(), m.n, m.max)?;
        } else if metric.is_single() {
            writeln!(out, "{:<32}{:>48.2}", metric.name(), m.max)?;
        } else {
            writeln!(
                out,
                "{:<32}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}",
                metric.name(),
                m.n,
                m.p50,
                m.p95,
                m.p99,
                m.max
            )?;
        }
    }
    Ok(())
}

/// Trials of turn-taking by condition.
fn conditions(report: &Report, out: &mut String) -> std::fmt::Result {
    let Some(turns) = &report.turns else { return Ok(()) };
    let heads = ["onsets", "p50", "p95", "p99", "<=250 %", "missed", "early", "bot min", "holds", "commits"];
    write!(out, "\n{:<24}", "")?;
    heads.iter().try_for_each(|head| write!(out, "{head:>9}"))?;
    writeln!(out)?;
    for row in &turns.rows {
        let stop = |stat: Stat| row.stop.map_or(String::new(), |stop| format!("{:.0}", stop.stat(stat)));
        let share = row.within_250_percent.map_or(String::new(), |percent| format!("{percent:.1}"));
        let (p50, p95, p99) = (stop(Stat::P50), stop(Stat::P95), stop(Stat::P99));
        write!(out, "{:<24}{:>9}{p50:>9}{p95:>9}{p99:>9}{share:>9}", row.condition, row.onsets)?;
        let (missed, early, minutes) = (row.missed, row.early, row.minutes);
        writeln!(out, "{missed:>9}{early:>9}{minutes:>9.1}{:>9}{:>9}", row.false_holds, row.false_commits)?;
    }
    Ok(())
}

fn verdicts(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out)?;
    for v in &report.verdicts {
        let verdict = if v.ok { "pass" } else { "MISS" };
        let stat = if v.metric.is_single() { "" } else { v.stat.name() };
        let stat = if v.metric == Metric::Failures { "count" } else { stat };
        let measured = v.measured.map_or("nothing measured".to_owned(), |m| format!("{m:.1}"));
        writeln!(out, "{verdict}  {} {stat} <= {}: {measured}", v.metric.name(), v.at_most)?;
    }
    Ok(())
}

fn failures(report: &Report, out: &mut String) -> std::fmt::Result {
    let failed: Vec<_> = report.calls.iter().filter(|c| c.failed()).collect();
    for call in failed.iter().take(SHOWN) {
        let Outcome::Failed(f) = &call.outcome else { continue };
        let at = ms_between(f.at, call.placed) / 1000.0;
        writeln!(out, "failed  call {} ({}) at {at:.2} s, step {}: {}", call.call, call.scenario, f.step, f.why)?;
    }
    if failed.len() > SHOWN {
        writeln!(out, "        and {} more", failed.len() - SHOWN)?;
    }
    Ok(())
}

fn remarks(report: &Report, out: &mut String) -> std::fmt::Result {
    let late = &report.setting.own_lateness;
    if late.over_5_ms > 0 {
        writeln!(
            out,
            "note  the harness itself sent {} of {} frames more than 5 ms late (at most {:.1} ms): the machine is short of CPU",
            late.over_5_ms, late.frames, late.max_ms
        )?;
    }
    report.setting.note.iter().try_for_each(|note| writeln!(out, "note  {note}"))
}

const SHOWN: usize = 10;
