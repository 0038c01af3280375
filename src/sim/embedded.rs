//! A server in this process, with everything that it keeps in a directory of its own that goes with it: what
//! `sim_call --embedded` calls, so that it runs with nothing configured.
//!
//! It is the product's own composition root on free loopback ports; only its addresses, its data and its secrets differ
//! from the defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};

use super::options::{Options, Via};
use super::records::RecordSource;
use super::run::{self, Target};
use super::twilio_leg::TwilioTarget;
use crate::config::Config;
use crate::server::Server;

/// A running server. [`Embedded::stop`] ends it and removes its data.
pub struct Embedded {
    runtime: Runtime,
    server: Server,
    data: PathBuf,
    token: String,
}

impl Embedded {
    /// Starts a server for as many calls as the options make at once.
    ///
    /// # Errors
    /// Says what the server could not have.
    pub fn start(options: &Options) -> Result<Self, String> {
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let data = std::env::temp_dir().join(format!("offhook-sim_call-{}-{unique}", std::process::id()));
        let token = format!("{unique:032x}");
        let config = configuration(options, &data, &token);
        let runtime = Builder::new_multi_thread().enable_all().build().map_err(|e| format!("--embedded: {e}"))?;
        let server = runtime.block_on(Server::start(&config)).map_err(|e| format!("--embedded: {e:#}"))?;
        Ok(Self { runtime, server, data, token })
    }

    /// Where calls and record readers reach it.
    pub fn reach(&self, via: Via) -> run::Server {
        let at = self.server.addresses();
        let http = at.http.to_string();
        let target = match via {
            Via::Sip => Target::Sip(at.sip),
            Via::Twilio => {
                let auth_token = self.token.as_str().into();
                Target::Twilio(TwilioTarget { public_url: format!("http://{http}"), address: http.clone(), auth_token })
            }
        };
        run::Server { target, records: Some(RecordSource { address: http, token: None }) }
    }

    /// Ends the server in order and removes what it kept.
    pub fn stop(self) {
        self.runtime.block_on(self.server.stop());
        // A directory that cannot be removed is left to the system's cleaning of its temporary files.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn configuration(options: &Options, data: &std::path::Path, token: &str) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.http.listen = anywhere;
    config.sip.listen = anywhere;
    config.data.dir = data.to_path_buf();
    // No such directory: the flows and lines that come with the program.
    config.flows.dir = data.join("flows-that-come-with-the-program");
    config.twilio.auth_token = Some(token.to_owned().into());
    config.limits.max_calls = config.limits.max_calls.max(options.concurrency.unwrap_or(options.calls) as usize + 10);
    config.limits.drain_timeout_s = 2;
    config
}
