//! Where are the trunks, do they answer, and do the accounts hold?

use std::time::Duration;

use offhook_sip::auth::{Credentials, Secret};
use offhook_sip::message::UriBuf;
use offhook_sip::{Command, Event, PingId, PingOutcome, Registration, RegistrationId, RegistrationState, Transport};
use secrecy::ExposeSecret;

use super::Report;
use super::line::Line;
use crate::config::Config;
use crate::config::sip::{RegistrationConfig, SipAddress, TrunkConfig};
use crate::transport::sip::resolve::Target;
use crate::transport::sip::tls::server_name;
use crate::transport::sip::upkeep::{host_and_port, in_words};

/// A trunk and the sockets of it that answered.
pub struct Reached {
    pub trunk: TrunkConfig,
    pub targets: Vec<Target>,
}

/// Looks at every trunk and account; gives the trunks in the order of the configuration.
pub async fn check(config: &Config, line: &mut Line, report: &mut Report) -> Vec<Reached> {
    let mut reached = Vec::new();
    for trunk in &config.sip.trunks {
        let about = format!("trunk {}", trunk.name);
        let targets = find(&about, &trunk.address, trunk.transport, line, report).await;
        let mut alive = Vec::new();
        for target in targets {
            if ping(&about, &trunk.address, target, line, report).await {
                alive.push(target);
            }
        }
        reached.push(Reached { trunk: trunk.clone(), targets: alive });
    }
    if config.sip.trunks.is_empty() {
        report.good("trunks", "none is configured: calls come in only");
    }
    for account in &config.sip.registrations {
        register(account, line, report).await;
    }
    reached
}

async fn find(
    about: &str,
    address: &SipAddress,
    transport: Option<crate::config::sip::SipTransport>,
    line: &Line,
    report: &mut Report,
) -> Vec<Target> {
    match line.resolver.targets(address, transport).await {
        Ok(found) => {
            let list: Vec<String> = found
                .targets
                .iter()
                .map(|target| format!("{} {}", target.transport.as_str(), target.address))
                .collect();
            report.good(about, format!("{} is {}, by {}", address, list.join(", "), found.how));
            for target in found.targets.iter().filter(|target| target.transport == Transport::Tls) {
                if let Some(name) = server_name(&address.host) {
                    line.streams.expect_name(target.address, name);
                }
            }
            found.targets
        }
        Err(error) => {
            report.problem(about, format!("{error}: check the name, and sip.dns_servers"));
            Vec::new()
        }
    }
}

async fn ping(about: &str, address: &SipAddress, target: Target, line: &mut Line, report: &mut Report) -> bool {
    let at = format!("{} {}", target.transport.as_str(), target.address);
    if target.transport == Transport::Tls
        && let Err(why) = line.streams.try_tls(target.address).await
    {
        report.problem(about, format!("no TLS with {at}: {why}"));
        return false;
    }
    let Ok(uri) = UriBuf::parse(format!("sip:{}", host_and_port(address))) else { return false };
    line.last_id += 1;
    let id = PingId(line.last_id);
    let flow = line.faces.flow(target.transport, target.address, None);
    line.command(Command::Ping { id, flow, target: uri }).await;
    let outcome = line
        .until(PING_WAIT, |event| match event {
            Event::Pong { id: other, outcome } if other == id => Some(outcome),
            _ => None,
        })
        .await;
    match outcome {
        Some(PingOutcome::Answered { status: 503, .. }) => {
            report.problem(about, format!("{at} answers OPTIONS with 503: it takes no calls now"));
            false
        }
        Some(PingOutcome::Answered { status, rtt }) => {
            report.good(about, format!("{at} answers OPTIONS with {status} after {} ms", rtt.as_millis()));
            true
        }
        Some(PingOutcome::Unreachable) => {
            report.problem(about, format!("no connection to {at}: nothing listens there, or a firewall refuses"));
            false
        }
        Some(PingOutcome::TimedOut) | None => {
            let why = "nothing answers OPTIONS within 4 s: wrong address or port, a firewall, or we are not in the \
                       trunk's allow list";
            report.problem(about, format!("{at}: {why}"));
            false
        }
    }
}

async fn register(account: &RegistrationConfig, line: &mut Line, report: &mut Report) {
    let about = format!("account {}", account.username);
    let targets = find(&about, &account.registrar, account.transport, line, report).await;
    let Some(target) = targets.first() else { return };
    let host = &account.registrar.host;
    let (Ok(registrar), Ok(address)) = (
        UriBuf::parse(format!("sip:{}", host_and_port(&account.registrar))),
        UriBuf::parse(format!("sip:{}@{host}", account.username)),
    ) else {
        return;
    };
    line.last_id += 1;
    let id = RegistrationId(line.last_id);
    let flow = line.faces.flow(target.transport, target.address, None);
    let (username, realm) = (account.username.clone(), account.realm.clone());
    let password = Secret::new(account.password.expose_secret());
    let registration = Registration {
        id,
        flow,
        registrar,
        address,
        // Beside the server's own contact, and for a moment only.
        contact_user: Some("offhook-doctor".to_owned()),
        credentials: Some(Credentials { username, password, realm }),
        expires_s: 60,
    };
    line.command(Command::Register(Box::new(registration))).await;
    let state = line.until(PING_WAIT, |event| told(id, event)).await;
    match state {
        Some(RegistrationState::Registered { granted_s, seen_at, .. }) => {
            report.good(&about, format!("registered, for {granted_s} s of 60"));
            if let Some(seen) = seen_at.filter(|seen| seen.ip() != flow.local.ip()) {
                let told = flow.local.ip();
                let what = format!("the registrar sees us as {seen}, we tell it {told}: set sip.external_address");
                report.warning(&about, what);
            }
        }
        Some(RegistrationState::Failed { failure, .. }) => report.problem(&about, in_words(failure)),
        Some(RegistrationState::Unregistered) | None => report.problem(&about, "the registrar does not answer"),
    }
    line.command(Command::Unregister { id }).await;
    line.until(Duration::from_secs(2), |event| {
        told(id, event).filter(|state| *state == RegistrationState::Unregistered)
    })
    .await;
}

fn told(id: RegistrationId, event: Event) -> Option<RegistrationState> {
    match event {
        Event::Registration { id: other, state } if other == id => Some(state),
        _ => None,
    }
}

const PING_WAIT: Duration = Duration::from_secs(4);
