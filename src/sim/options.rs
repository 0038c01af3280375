//! The command line of `sim_call`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::network::Profile;

/// Calls a telephone server as callers do, on real sockets and in real time, and measures what they hear.
///
/// Exits 0 when every pass line holds, 1 when one is missed, 2 on wrong usage.
#[derive(Clone, Debug, Parser)]
#[command(name = "sim_call", version, group(clap::ArgGroup::new("server").required(true).args(["target", "embedded"])))]
pub struct Options {
    /// How calls reach the server.
    #[arg(long, value_enum)]
    pub via: Via,
    /// The server: its SIP address (sip) or its HTTP address (twilio), as host:port.
    #[arg(long, value_name = "ADDR")]
    pub target: Option<String>,
    /// Start a server and vendor stand-ins in this process.
    #[arg(long)]
    pub embedded: bool,
    /// How many calls to make.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub calls: u32,
    /// How many of them at once; all when absent.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: Option<u32>,
    /// A scenario to play: a file, or the name of a shipped one. May be given several times. Without it, a mix of the shipped
    /// ones.
    #[arg(long, value_name = "FILE")]
    pub scenario: Vec<PathBuf>,
    /// Chooses phrases, moments, phases and the network's dice.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// What the network does, e.g. loss=2%,jitter=30ms,reorder=1%,duplicate=1%,delay=40ms; or clean, jitter20, loss3.
    #[arg(long, value_name = "PROFILE", default_value = "")]
    pub network: Profile,
    /// Write report.json and report.html into this directory.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// New calls per second.
    #[arg(long, value_name = "CPS", default_value_t = 20.0, value_parser = positive)]
    pub rate: f64,
    /// Where the server's records are read from (host:port of its HTTP), for asr_ms, llm_ms, tts_ms and total_ms. The
    /// token, where one is needed, is taken from SECRET_KEY.
    #[arg(long, value_name = "ADDR")]
    pub api: Option<String>,
    /// The URL under which Twilio knows the server; signatures are made over it. http://ADDR when absent. The token
    /// that signs is taken from TWILIO_AUTH_TOKEN.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Recorded people for trials of turn-taking: a directory for each reader.
    #[arg(long, value_name = "DIR", default_value = "fixtures/audio/human")]
    pub voices: PathBuf,
    /// Keep quiet while the calls go on.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Sip,
    Twilio,
}

impl Via {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Twilio => "twilio",
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|cps| (0.01..=1000.0).contains(cps)).ok_or_else(|| "expected 0.01 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("sim_call").chain(line.split_whitespace()))
    }

    #[test]
    fn wrong_usage_is_told_and_has_exit_code_2() {
        for line in [
            "",
            "--via sip",
            "--via sip --embedded --target 127.0.0.1:5060",
            "--via carrier-pigeon --embedded",
            "--via sip --embedded --calls 0",
            "--via sip --embedded --network los=2%",
            "--via sip --embedded --rate 0",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn one_line_is_enough() {
        let options =
            parse("--via twilio --target 127.0.0.1:8080 --calls 50 --concurrency 50 --network loss=2%,jitter=30ms")
                .unwrap();
        assert_eq!((options.via, options.calls, options.concurrency, options.seed), (Via::Twilio, 50, Some(50), 1));
        assert!((options.network.loss - 0.02).abs() < 1e-9);
    }
}
