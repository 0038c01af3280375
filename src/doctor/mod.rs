//! `offhook doctor`: looks at this machine and its trunks as a technician would, and says in plain words what is wrong.
//!
//! It runs beside a server, on ports of its own, and changes nothing: a registration that it tries is taken back. Each
//! check gives findings; only problems make the command fail. Deliberately absent: repairs.

mod call;
mod certificates;
mod line;
mod listen;
mod nat;
mod sockets;
mod trunks;

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Config;
use line::Line;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The number to call; none calls the bench line of a server that runs here, if one does.
    pub call: Option<String>,
    /// The only trunk to call through.
    pub trunk: Option<String>,
    /// How long to listen to the call, in seconds.
    pub seconds: u64,
}

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `trunk carrier`.
    pub about: String,
    pub level: Level,
    /// What is so, in one sentence.
    pub what: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Good,
    /// Calls work, but not all of them or not for ever.
    Warning,
    /// Calls do not work.
    Problem,
}

/// Looks at everything.
pub async fn run(config: &Config, options: &Options) -> Report {
    let mut report = Report::default();
    sockets::check(config, &mut report).await;
    certificates::check(config, &mut report);
    match Line::open(config).await {
        Ok(mut line) => {
            let reached = trunks::check(config, &mut line, &mut report).await;
            nat::check(config, &reached, &mut report);
            call::check(config, options, &reached, &mut line, &mut report).await;
        }
        Err(error) => report.problem("sip", error),
    }
    report
}

impl Report {
    pub fn good(&mut self, about: impl Into<String>, what: impl Into<String>) {
        self.add(about, Level::Good, what);
    }

    pub fn warning(&mut self, about: impl Into<String>, what: impl Into<String>) {
        self.add(about, Level::Warning, what);
    }

    pub fn problem(&mut self, about: impl Into<String>, what: impl Into<String>) {
        self.add(about, Level::Problem, what);
    }

    /// Whether calls work as far as can be seen.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != Level::Problem)
    }

    /// One line for each finding.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Finding { about, level, what } in &self.findings {
            let mark = match level {
                Level::Good => "ok      ",
                Level::Warning => "warning ",
                Level::Problem => "PROBLEM ",
            };
            let _ = writeln!(text, "{mark} {about}: {what}");
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let _ = writeln!(text, "{} problems, {} warnings", count(Level::Problem), count(Level::Warning));
        text
    }

    /// All of it for machines.
    pub fn json(&self) -> String {
        let body = serde_json::json!({ "well": self.is_well(), "findings": self.findings });
        format!("{body:#}\n")
    }

    fn add(&mut self, about: impl Into<String>, level: Level, what: impl Into<String>) {
        self.findings.push(Finding { about: about.into(), level, what: what.into() });
    }
}
