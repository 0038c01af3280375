//! Arguments to configuration to server to exit code: 0 is success, 1 a failure while running, 2 wrong usage or
//! configuration, told in one line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use offhook::audition::Audition;
use offhook::client::{Client, Wish};
use offhook::config::{Config, Loaded, Sources, load};
use offhook::doctor::Options;
use offhook::providers;
use offhook::providers::Language;
use offhook::providers::models::fetch::{Fetched, fetch};
use offhook::providers::models::{ModelsConfig, Presence};
use offhook::server::chains;
use offhook::server::keys::{self, KeysCommand};
use offhook::server::named;
use zeroize::Zeroizing;

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
    /// Vendors' secrets, encrypted in the database; what the configuration or a variable says goes before them.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// The providers that the registry's file knows.
    Providers {
        #[command(subcommand)]
        command: ProvidersCommand,
    },
    /// Look at flows.
    Flow {
        #[command(subcommand)]
        what: FlowCommand,
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
    /// Voices to choose from.
    #[command(subcommand)]
    Voices(VoicesCommand),
    /// Files of weights for vendors that run on this machine.
    #[command(subcommand)]
    Models(ModelsCommand),
}

#[derive(Subcommand)]
enum VoicesCommand {
    /// Have voices say the same sentences into a directory, with a page to compare them by ear. Paid voices cost money.
    Audition {
        /// A language tag such as en or fr-CA.
        #[arg(long, value_name = "TAG", default_value = "en", value_parser = Language::parse)]
        language: Language,
        /// What is said; may be repeated.
        #[arg(long = "text", value_name = "SENTENCE")]
        sentences: Vec<String>,
        /// The vendor's name of a voice; may be repeated. Without it those that are known by name.
        #[arg(long = "voice", value_name = "NAME")]
        voices: Vec<String>,
        #[arg(long, value_name = "DIR", default_value = "reports/voices")]
        out: PathBuf,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// Show those that are known, and which of them are here.
    List(ConfigArgs),
    /// Bring files by name, going on where an earlier attempt broke off; each is checked before it gets its name.
    Fetch {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Subcommand)]
enum ProvidersCommand {
    /// Print what each can do, as the tables of docs/providers.md.
    Table(ConfigArgs),
}

#[derive(Subcommand)]
enum Keys {
    /// Make the key that secrets are encrypted under, in credentials.key_file.
    Generate(ConfigArgs),
    /// Keep a secret, which is read from standard input: offhook keys add deepgram < FILE.
    Add {
        /// As configuration calls it, such as deepgram.
        provider: String,
        #[arg(default_value = keys::API_KEY)]
        name: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Forget a secret.
    Remove {
        provider: String,
        #[arg(default_value = keys::API_KEY)]
        name: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Encrypt everything under another key, or end a rotation that was cut off.
    Rotate(ConfigArgs),
    /// Show which secrets there are and under which key, not what they say.
    List(ConfigArgs),
}

#[derive(Subcommand)]
enum FlowCommand {
    /// Print the JSON schema of flow files, for editors.
    Schema,
    /// Print a flow as a picture (SVG).
    Draw {
        #[command(flatten)]
        config: ConfigArgs,
        /// The flow's name.
        name: String,
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
        Command::Keys { command } => keys(command),
        Command::Providers { command: ProvidersCommand::Table(config) } => {
            let sources = Sources::of_process(config.config, config.env, config.set);
            let loaded = load(&sources).map_err(|error| Failure::Config(error.to_string()))?;
            let entries = chains::providers(&loaded.config).map_err(|error| Failure::Config(error.to_string()))?;
            let text = providers::registry::table::markdown(&entries);
            std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(error.into()))
        }
        Command::Flow { what } => flow(what),
        Command::Call { config, number, flow, line, trunk, caller_id, wait } => {
            let config = loaded(config)?.config;
            // A name is needed; the default line speaks where none is given.
            let line = if flow.is_none() { line.or_else(|| Some("default".to_owned())) } else { None };
            call(&config, &Wish { number, flow, line, trunk, caller_id }, wait).map_err(Failure::Running)
        }
        Command::Voices(VoicesCommand::Audition { language, sentences, voices, out, config }) => {
            audition(&loaded(config)?, &Audition { language, sentences, voices, out }).map_err(Failure::Running)
        }
        Command::Models(ModelsCommand::List(config)) => list_models(&models(config)?).map_err(Failure::Running),
        Command::Models(ModelsCommand::Fetch { names, config }) => fetch_models(&models(config)?, &names),
    }
}

/// The section alone: a vendor whose weights are not here yet must not stand in the way of fetching them.
fn models(args: ConfigArgs) -> Result<ModelsConfig, Failure> {
    let sources = Sources::of_process(args.config, args.env, args.set);
    let models = load(&sources).map_err(|error| Failure::Config(error.to_string()))?.config.models;
    models.validate().map_err(Failure::Config)?;
    Ok(models)
}

fn loaded(args: ConfigArgs) -> Result<Loaded, Failure> {
    let sources = Sources::of_process(args.config, args.env, args.set);
    let mut loaded = load(&sources).map_err(|error| Failure::Config(error.to_string()))?;
    let unread = waited_for(keys::supply(&mut loaded.config))?.err();
    let built = providers::config::build(&loaded.config.providers());
    if let Some(error) = unread {
        eprintln!("offhook: the credentials of the database are not used: {error:#}");
    }
    built.map_err(|error| blamed(&loaded, &error))?;
    Ok(loaded)
}

/// Runs what waits, for commands that need no more than one thread.
fn waited_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failure::Running(error.into()))?.block_on(work))
}

fn keys(command: Keys) -> Result<(), Failure> {
    let (config, command) = match command {
        Keys::Generate(config) => (config, KeysCommand::Generate),
        Keys::Rotate(config) => (config, KeysCommand::Rotate),
        Keys::List(config) => (config, KeysCommand::List),
        Keys::Remove { provider, name, config } => (config, KeysCommand::Remove { provider, name }),
        Keys::Add { provider, name, config } => {
            let mut secret = String::new();
            std::io::stdin().read_line(&mut secret).map_err(|error| Failure::Running(error.into()))?;
            let secret = Zeroizing::new(secret);
            (config, KeysCommand::Add { provider, name, secret: secret.trim_end().into() })
        }
    };
    let sources = Sources::of_process(config.config, config.env, config.set);
    let loaded = load(&sources).map_err(|error| Failure::Config(error.to_string()))?;
    let text = waited_for(keys::run(&loaded.config, command))?.map_err(Failure::Running)?;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(error.into()))
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

fn flow(what: FlowCommand) -> Result<(), Failure> {
    let text = match what {
        FlowCommand::Schema => format!("{:#}\n", offhook::dialog::schema::schema()),
        FlowCommand::Draw { config, name } => {
            let catalogue = named::check(&loaded(config)?).map_err(Failure::Config)?;
            let known: Vec<String> = catalogue.flows().map(|flow| flow.name().to_string()).collect();
            let flow = catalogue.flow_named(&name);
            flow.ok_or_else(|| Failure::Config(format!("flow `{name}`: expected one of {}", known.join(", "))))?.draw()
        }
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(error.into()))
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

fn audition(loaded: &Loaded, audition: &Audition) -> anyhow::Result<()> {
    let chain = providers::config::build(&loaded.config.providers()).map_err(anyhow::Error::msg)?.tts;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let page = runtime.block_on(audition.hold(&chain))?;
    writeln!(std::io::stdout(), "{}", page.display())?;
    Ok(())
}

fn list_models(models: &ModelsConfig) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for model in models.all() {
        let presence = match models.presence(&model) {
            Presence::Absent => "-".to_owned(),
            Presence::Partly(bytes) => format!("{} % fetched", 100 * bytes / model.bytes),
            Presence::There => models.path(&model).display().to_string(),
            Presence::Wrong(bytes) => format!("{}: {bytes} bytes, not what it was", models.path(&model).display()),
        };
        writeln!(out, "{:<20} {:>6} MB  {:<8} {presence}", model.name, model.bytes / 1_000_000, model.licence)?;
    }
    Ok(())
}

fn fetch_models(models: &ModelsConfig, names: &[String]) -> Result<(), Failure> {
    let wanted: Result<Vec<_>, String> = names.iter().map(|name| models.find(name)).collect();
    let wanted = wanted.map_err(Failure::Config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Running(error.into()))?;
    for model in wanted {
        let mut told = 0;
        let progress = |there: u64| {
            let tenth = 10 * there / model.bytes;
            if tenth > std::mem::replace(&mut told, tenth) {
                eprintln!("{}: {} %", model.name, 10 * tenth);
            }
        };
        let fetched = runtime.block_on(fetch(models, &model, progress));
        let line = match fetched.map_err(|error| Failure::Running(anyhow::anyhow!(error)))? {
            Fetched::Already(path) => format!("{}: already in {}", model.name, path.display()),
            Fetched::Now { path, resumed: 0 } => format!("{}: in {}", model.name, path.display()),
            Fetched::Now { path, resumed } => {
                format!("{}: in {} ({resumed} bytes were there)", model.name, path.display())
            }
        };
        writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::Running(error.into()))?;
    }
    Ok(())
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
    let voices = built.tts.iter().map(|tts| (tts.vendor.name(), tts.vendor.check()));
    let others = built.stt.iter().map(|stt| (stt.vendor.name(), stt.vendor.check()));
    let others = others.chain(built.llm.iter().map(|llm| (llm.vendor.name(), llm.vendor.check())));
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
