//! Arguments to configuration to server to exit code: 0 is success, 1 a failure while running, 2 wrong usage or
//! configuration, told in one line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use offhook::client::{Client, Wish};
use offhook::config::{Config, Loaded, Sources, load};
use offhook::doctor::Options;
use offhook::providers;
use offhook::server::named;

/// A telephony-first IVR media server: SIP and Twilio Media Streams in, speech out, interruptible.
#[derive(Parser)]
#[command(name = "offhook", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer calls until told to stop.
    Serve(ConfigArgs),
    /// Check the configuration and what it names, without starting anything.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print every key with its value and where it was set; secrets are `***`.
        #[arg(long)]
        print_config: bool,
    },
    /// Look at sockets, names, certificates, trunks and accounts, place a call, and say in plain words what is wrong.
    /// Runs beside a server. Exits 1 if calls do not work.
    Doctor {
        #[command(flatten)]
        config: ConfigArgs,
        /// Calls this number by each trunk, with audio; none calls the bench line of the server that runs here.
        #[arg(long, value_name = "NUMBER")]
        call: Option<String>,
        /// Calls by this trunk only.
        #[arg(long, value_name = "NAME", requires = "call")]
        trunk: Option<String>,
        /// How long to listen to the call.
        #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(3..=120))]
        seconds: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have the running server of this configuration call a number.
    Call {
        #[command(flatten)]
        config: ConfigArgs,
        /// In international form, such as +250788123456.
        number: String,
        /// The flow that speaks.
        #[arg(long, value_name = "NAME", conflicts_with = "line")]
        flow: Option<String>,
        /// The number whose line has the flow that speaks.
        #[arg(long, value_name = "NUMBER")]
        line: Option<String>,
        /// The only trunk that may carry the call.
        #[arg(long, value_name = "NAME")]
        trunk: Option<String>,
        /// The number to show.
        #[arg(long, value_name = "NUMBER")]
        caller_id: Option<String>,
        /// Stay until the call has ended; fails when nobody answered.
        #[arg(long)]
        wait: bool,
    },
}

/// Where the configuration comes from; later wins: defaults, file, environment file, variables, --set.
#[derive(Args)]
struct ConfigArgs {
    /// The configuration file; config/offhook.yaml is read if it exists and none is named.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reads NAME.yaml beside the configuration file on top of it; `production` refuses unsafe settings.
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Sets one key, such as sip.listen=127.0.0.1:5070; may be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,
}

/// Why the process ends without success.
enum Failure {
    /// Wrong configuration: exit code 2.
    Config(String),
    /// Something failed while running: exit code 1.
    Running(anyhow::Error),
}

// Frames and messages are small and short-lived, which the system's allocator is slower at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two crates bring a provider each; the first one installed is taken for all of TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(line)) => {
            eprintln!("offhook: {line}");
            ExitCode::from(2)
        }
        Err(Failure::Running(error)) => {
            eprintln!("offhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(config) => {
            let config = loaded(config)?;
            named::check(&config).map_err(Failure::Config)?;
            serve(config).map_err(Failure::Running)
        }
        Command::Check { config, print_config } => check(&loaded(config)?, print_config),
        Command::Doctor { config, call, trunk, seconds, json } => {
            doctor(&loaded(config)?, &Options { call, trunk, seconds }, json)
        }
        Command::Call { config, number, flow, line, trunk, caller_id, wait } => {
            let config = loaded(config)?.config;
            // A name is needed; the default line speaks where none is given.
            let line = if flow.is_none() { line.or_else(|| Some("default".to_owned())) } else { None };
            call(&config, &Wish { number, flow, line, trunk, caller_id }, wait).map_err(Failure::Running)
        }
    }
}

fn loaded(args: ConfigArgs) -> Result<Loaded, Failure> {
    let sources = Sources::of_process(args.config, args.env, args.set);
    let loaded = load(&sources).map_err(|error| Failure::Config(error.to_string()))?;
    providers::config::build(&loaded.config.providers()).map_err(|error| blamed(&loaded, &error))?;
    Ok(loaded)
}

fn serve(loaded: Loaded) -> anyhow::Result<()> {
    offhook::telemetry::logs::init(&loaded.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(offhook::server::run(loaded.config))
}

fn doctor(loaded: &Loaded, options: &Options, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Running(error.into()))?;
    let report = runtime.block_on(offhook::doctor::run(&loaded.config, options));
    let text = if json { report.json() } else { report.text() };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(error.into()))?;
    if report.is_well() { Ok(()) } else { Err(Failure::Running(anyhow::anyhow!("calls do not work: see above"))) }
}

fn call(config: &Config, wish: &Wish, wait: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(&config.http);
    runtime.block_on(async {
        let id = client.place(wish).await?;
        let mut out = std::io::stdout();
        writeln!(out, "{id}")?;
        if wait {
            let ended = client.wait(&id, |progress| eprintln!("{progress}")).await?;
            writeln!(out, "{ended}")?;
        }
        Ok(())
    })
}

fn check(loaded: &Loaded, print_config: bool) -> Result<(), Failure> {
    let catalogue = named::check(loaded).map_err(Failure::Config)?;
    let examples = catalogue.try_examples().map_err(|error| Failure::Config(error.to_string()))?;
    let text = if print_config {
        loaded.print()
    } else {
        let vendors = vendors_answer(loaded)?;
        let flows = catalogue.flows().count();
        let vendors = vendors.join(", ");
        format!("configuration: ok\nflows: {flows} ok\nexamples: {examples} ok\nproviders: {vendors} ok\n")
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(error.into()))
}

/// Whether the chosen vendors could serve: programs installed, keys set. Makes no paid call.
fn vendors_answer(loaded: &Loaded) -> Result<Vec<&'static str>, Failure> {
    let built = providers::config::build(&loaded.config.providers()).map_err(|error| blamed(loaded, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Running(error.into()))?;
    let voices = built.tts.iter().map(|tts| (tts.name(), tts.check()));
    let others = built.stt.iter().map(|stt| (stt.name(), stt.check()));
    let others = others.chain(built.llm.iter().map(|llm| (llm.name(), llm.check())));
    let mut names = Vec::new();
    for (name, check) in voices.chain(others) {
        runtime.block_on(check).map_err(|error| Failure::Config(error.to_string()))?;
        names.push(name);
    }
    Ok(names)
}

/// A room's complaint about its section, with the place where the key was written.
fn blamed(loaded: &Loaded, error: &str) -> Failure {
    Failure::Config(loaded.error(error).to_string())
}
