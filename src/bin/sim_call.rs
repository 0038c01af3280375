//! Arguments to a run of simulated calls to a report and an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use offhook::sim::embedded::Embedded;
use offhook::sim::options::Options;
use offhook::sim::report::{Report, table};
use offhook::sim::run;

fn main() -> ExitCode {
    let options = Options::parse();
    match make_calls(&options) {
        Ok(report) if report.passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "sim_call: {why}");
            ExitCode::from(2)
        }
    }
}

fn make_calls(options: &Options) -> Result<Report, String> {
    let scenarios = run::scenarios(&options.scenario)?;
    let report = if options.embedded {
        let embedded = Embedded::start(options, &scenarios)?;
        let report = run::run(options, &embedded.reach(options.via), &scenarios);
        embedded.stop();
        report?
    } else {
        run::run(options, &run::Server::from_options(options)?, &scenarios)?
    };
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(table(&report).as_bytes());
    if let Some(dir) = &options.report {
        report.write(dir)?;
        let _ = writeln!(stdout, "\nreport  {}", dir.join("report.html").display());
    }
    Ok(report)
}
