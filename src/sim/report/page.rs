//! The run as one self-contained HTML page: no script, no file beside it.

use std::fmt::Write;

use super::super::metrics::{Metric, Stat, Summary};
use super::plots::{has_turns, histogram, waterfall, waveform};
use super::svg::escape;
use super::{CallReport, Outcome, Report, ms_between};

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    // Writing into a String cannot fail.
    let _ = head(report, &mut body)
        .and_then(|()| verdicts(report, &mut body))
        .and_then(|()| figures(report, &mut body))
        .and_then(|()| failures(report, &mut body))
        .and_then(|()| distributions(report, &mut body))
        .and_then(|()| calls(report, &mut body));
    let title = format!("sim_call over {}: {} calls", report.setting.via, report.setting.calls);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
}

fn head(report: &Report, out: &mut String) -> std::fmt::Result {
    let s = &report.setting;
    let (class, verdict) =
        if report.passed() { ("ok", "every pass line holds") } else { ("bad", "a pass line is missed") };
    write!(out, "<header><h1>sim_call over {}</h1><p class=\"verdict {class}\">{verdict}</p>", s.via)?;
    let network = if s.network.is_clean() {
        "clean".to_owned()
    } else {
        let n = &s.network;
        format!(
            "loss {}%, jitter {} ms, reorder {}%, duplicate {}%, delay {} ms",
            n.loss * 100.0,
            n.jitter_ms,
            n.reorder * 100.0,
            n.duplicate * 100.0,
            n.delay_ms
        )
    };
    let facts = [
        ("calls", format!("{}, {} at once", s.calls, s.concurrency)),
        ("server", if s.embedded { format!("{} (in this process)", s.target) } else { s.target.clone() }),
        ("seed", s.seed.to_string()),
        ("network", network),
        ("began", s.began.clone()),
        ("took", format!("{:.1} s", s.took_ms / 1000.0)),
        ("machine", format!("{} CPUs, version {}", s.cpus, s.version)),
        (
            "harness",
            format!(
                "{} of {} frames sent over 5 ms late, at most {:.1} ms",
                s.own_lateness.over_5_ms, s.own_lateness.frames, s.own_lateness.max_ms
            ),
        ),
    ];
    out.push_str("<dl>");
    for (name, value) in facts {
        write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value))?;
    }
    out.push_str("</dl>");
    if report.turns.is_some() {
        out.push_str("<p><a href=\"trials.html\">Every trial, to be looked at and heard</a></p>");
    }
    s.note.iter().try_for_each(|note| write!(out, "<p class=\"note\">{}</p>", escape(note)))?;
    out.push_str("</header>");
    Ok(())
}

fn verdicts(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str("<section><h2>Pass lines</h2><div class=\"tiles\">");
    for v in &report.verdicts {
        let class = if v.ok { "ok" } else { "bad" };
        let stat = if v.metric == Metric::Failures { "" } else { v.stat.name() };
        let measured = v.measured.map_or("-".to_owned(), number);
        write!(
            out,
            "<div class=\"tile {class}\"><b>{measured}</b><span>{} {stat}</span><small>at most {}</small></div>",
            v.metric.name(),
            number(v.at_most)
        )?;
    }
    out.push_str("</div></section>");
    Ok(())
}

fn figures(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str("<section><h2>Figures</h2><table><thead><tr><th></th><th>n</th><th>p50</th><th>p95</th><th>p99</th><th>max</th></tr></thead><tbody>");
    for metric in Metric::ALL {
        let Some(Summary { n, p50, p95, p99, max }) = report.samples.summary(metric) else {
            if metric.is_of_turns() {
                continue;
            }
            write!(
                out,
                "<tr class=\"none\"><th>{}</th><td>0</td><td colspan=\"4\">not measured</td></tr>",
                metric.name()
            )?;
            continue;
        };
        if metric == Metric::Failures {
            write!(out, "<tr><th>failures</th><td>{n}</td><td colspan=\"3\"></td><td>{max}</td></tr>")?;
        } else {
            write!(
                out,
                "<tr><th>{}</th><td>{n}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                metric.name(),
                number(p50),
                number(p95),
                number(p99),
                number(max)
            )?;
        }
    }
    out.push_str("</tbody></table></section>");
    Ok(())
}

fn failures(report: &Report, out: &mut String) -> std::fmt::Result {
    let failed: Vec<&CallReport> = report.calls.iter().filter(|c| c.failed()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    out.push_str("<section><h2>Calls that did not go as the scenario says</h2><table class=\"left\"><thead><tr><th>call</th><th>scenario</th><th>at</th><th>step</th><th>why</th></tr></thead><tbody>");
    for call in failed {
        let Outcome::Failed(f) = &call.outcome else { continue };
        let at = ms_between(f.at, call.placed) / 1000.0;
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{at:.2} s</td><td>{}</td><td>{}</td></tr>",
            call.call,
            escape(&call.scenario),
            escape(&f.step),
            escape(&f.why)
        )?;
    }
    out.push_str("</tbody></table></section>");
    Ok(())
}

fn distributions(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str("<section><h2>Distributions</h2><p>Bars count values; the curve is their cumulative share; solid lines are p50 and p95, dashed lines the limits.</p><div class=\"plots\">");
    for metric in Metric::ALL {
        let values = report.samples.values(metric);
        let counted = matches!(metric, Metric::Failures | Metric::LostFrames | Metric::FalseStops | Metric::UnderrunMs)
            || metric.is_single();
        let Some(summary) = report.samples.summary(metric).filter(|_| !counted && values.len() > 1) else { continue };
        let own = [Stat::P50, Stat::P95]
            .map(|stat| (format!("{} {}", stat.name(), number(summary.stat(stat))), summary.stat(stat), "stat"));
        let limits = report.verdicts.iter().filter(|v| v.metric == metric);
        let lines: Vec<_> = own
            .into_iter()
            .chain(limits.map(|v| (format!("{} limit {}", v.stat.name(), v.at_most), v.at_most, "limit")))
            .collect();
        write!(
            out,
            "<figure><figcaption>{} <small>n = {}</small></figcaption>{}</figure>",
            metric.name(),
            values.len(),
            histogram(values, "ms", &lines)
        )?;
    }
    out.push_str("</div></section>");
    Ok(())
}

fn calls(report: &Report, out: &mut String) -> std::fmt::Result {
    out.push_str("<section><h2>Calls</h2><p>The first call of each scenario, the slowest barge-in, and the first failures. Time counts from the placing of the call.</p>");
    for call in &report.calls {
        let Some(timeline) = call.timeline.as_ref().filter(|_| drawn(report, call)) else { continue };
        let state = if call.failed() { "bad" } else { "ok" };
        write!(out, "<article><h3>Call {} <span class=\"{state}\">{}</span></h3>", call.call, escape(&call.scenario))?;
        if let Outcome::Failed(f) = &call.outcome {
            write!(out, "<p class=\"note\">Step {}: {}</p>", escape(&f.step), escape(&f.why))?;
        }
        out.push_str(&waveform(call, timeline));
        if has_turns(call) {
            write!(out, "<h4>Turns</h4>{}", waterfall(call))?;
        }
        out.push_str("</article>");
    }
    out.push_str("</section>");
    Ok(())
}

/// Calls of trials have a page of their own; one of them shows what a call is.
fn drawn(report: &Report, call: &CallReport) -> bool {
    report.turns.is_none() || call.failed() || call.first_of_its_kind
}

fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

const STYLE: &str = include_str!("style.css");
