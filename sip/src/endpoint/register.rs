//! Registrations with other people's registrars (RFC 3261 section 10.2): made, refreshed, tried again, taken back.
//!
//! Each has one Call-ID and rising numbers (section 10.2.4), and at most one REGISTER under way. It never gives up: a
//! refusal that a human must mend is tried again slowly, anything else with a growing, jittered pause. Deliberately
//! absent: which registrar to ask next when one is gone, which is for whoever gave the flow.

mod answer;

use super::client::{Silence, User};
use super::io::{Event, Flow, Output};
use super::{Endpoint, Owner};
use crate::Moment;
use crate::auth::{Answerer, Credentials};
use crate::message::{HeaderName, Message, Method, Scheme, UriBuf, Writer};
use crate::pii::Pii;
use crate::transaction::Timer;
use answer::Granted;
use std::net::SocketAddr;
use std::time::Duration;

/// The application's number for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId(pub u64);

/// A registration to keep.
pub struct Registration {
    /// The application's own number. One that is known already is registered anew with these settings.
    pub id: RegistrationId,
    /// Where REGISTERs go.
    pub flow: Flow,
    /// The Request-URI: the registrar's domain, without a user.
    pub registrar: UriBuf,
    /// Whose calls are wanted: From and To.
    pub address: UriBuf,
    /// User part of Contact: what calls will ask for. `None`: that of the endpoint.
    pub contact_user: Option<String>,
    /// What challenges of the flow's host are answered with.
    pub credentials: Option<Credentials>,
    /// How long the registration is asked to last, in seconds.
    pub expires_s: u32,
}

/// How a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// It is made or refreshed.
    Registered {
        /// How long it lasts, in seconds.
        granted_s: u32,
        /// When it will be refreshed.
        refresh_in: Duration,
        /// Values of Service-Route, at most 8: where calls through this registrar go first (RFC 3608).
        service_route: Vec<Pii<String>>,
        /// Values of Path, at most 8: how calls will come (RFC 3327).
        path: Vec<Pii<String>>,
        /// Where the registrar saw us (`received` and `rport` of our Via); behind NAT it is not our own address.
        seen_at: Option<SocketAddr>,
    },
    /// It was not made or refreshed. Until `lapses_in` an earlier one still holds.
    Failed { failure: RegistrationFailure, retry_in: Duration, lapses_in: Option<Duration> },
    /// It was taken back, as far as the registrar could be told. Nothing more is said of it.
    Unregistered,
}

/// Why a registration was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationFailure {
    /// The credentials are wrong or missing, or not for this realm (401, 407).
    Unauthorized(u16),
    /// Refused with this status.
    Refused(u16),
    /// The registrar says no time (200 without us, or for 0 s), or too long a one (423).
    NoTime,
    /// Nobody answered.
    TimedOut,
    /// The registrar cannot be reached, or the connection was lost.
    Unreachable,
    /// More registrations than the endpoint keeps.
    TooMany,
}

/// A registration with its history.
pub(super) struct Binding {
    settings: Registration,
    answerer: Option<Box<Answerer>>,
    call_id: String,
    tag: String,
    cseq: u32,
    /// What is asked for; more than the settings say where a registrar wants that (423).
    expires_s: u32,
    /// Until when the last success holds.
    until: Option<Moment>,
    /// Failures since the last success.
    failures: u32,
    /// The REGISTER under way.
    client: Option<u64>,
    /// The connection the last answer came on.
    connection: Option<u64>,
    leaving: bool,
}

impl Endpoint {
    pub(super) fn register(&mut self, settings: Registration) {
        let id = settings.id;
        if let Some(client) = self.bindings.get_mut(&id).and_then(|binding| binding.client.take()) {
            self.forget_client(client);
        }
        if !self.bindings.contains_key(&id) && self.bindings.len() >= MAX_REGISTRATIONS {
            let failed = RegistrationState::Failed {
                failure: RegistrationFailure::TooMany,
                retry_in: Duration::MAX,
                lapses_in: None,
            };
            return self.tell_registration(id, failed);
        }
        let (call_id, tag) = (self.random.token() + &self.random.token(), self.random.token());
        let first = u32::try_from(self.random.below(1 << 16)).unwrap_or(0);
        let before = self.bindings.remove(&id);
        let (call_id, tag, cseq) = before.map_or((call_id, tag, first), |known| (known.call_id, known.tag, known.cseq));
        let answerer = settings.credentials.clone().map(|known| Box::new(Answerer::new(known)));
        let expires_s = settings.expires_s.clamp(MIN_EXPIRES_S, MAX_EXPIRES_S);
        let binding = Binding {
            settings,
            answerer,
            call_id,
            tag,
            cseq,
            expires_s,
            until: None,
            failures: 0,
            client: None,
            connection: None,
            leaving: false,
        };
        self.bindings.insert(id, binding);
        self.begin_register(id);
    }

    /// Takes a registration back. One that was never made is only forgotten.
    pub(super) fn unregister(&mut self, id: RegistrationId) {
        let now = self.now;
        let Some(binding) = self.bindings.get_mut(&id).filter(|binding| !binding.leaving) else { return };
        let holds = binding.client.is_some() || binding.until.is_some_and(|until| until > now);
        binding.leaving = true;
        if let Some(client) = binding.client.take() {
            self.forget_client(client);
        }
        if holds { self.begin_register(id) } else { self.forget_registration(id) }
    }

    /// The time has come to make the registration, or to refresh it.
    pub(super) fn begin_register(&mut self, id: RegistrationId) {
        if let Some(answerer) = self.bindings.get_mut(&id).and_then(|binding| binding.answerer.as_mut()) {
            answerer.begin();
        }
        self.send_register(id);
    }

    /// The last answer of a registration came on this connection, on which calls would come, too: it is made anew soon.
    pub(super) fn on_register_stream_closed(&mut self, connection: u64) {
        let lost = |binding: &Binding| binding.connection == Some(connection) && binding.client.is_none();
        let lost = self.bindings.iter().filter(|(_, binding)| lost(binding) && !binding.leaving);
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            let wait = Duration::from_millis(500 + self.random.below(1500));
            self.start_timer(Owner::Registration(id.0), Timer::Refresh, wait);
        }
    }

    fn send_register(&mut self, id: RegistrationId) {
        let Some(settings) = self.bindings.get(&id).map(|binding| &binding.settings) else { return };
        let flow = settings.flow;
        let contact = self.binding_contact(settings);
        let (via, branch) = self.new_via(&flow);
        let (cnonce, agent) = (self.random.token(), self.config.user_agent.clone());
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        binding.cseq = binding.cseq.saturating_add(1);
        let request = binding.write(&via, &contact, &agent, &cnonce);
        let client = self.open_client(&Method::Register, &branch, flow, request, User::Register(id));
        if let Some(binding) = self.bindings.get_mut(&id) {
            binding.client = Some(client);
        }
    }

    fn binding_contact(&self, settings: &Registration) -> String {
        let secure = settings.registrar.uri().scheme() == Scheme::Sips;
        let user = settings.contact_user.as_deref().unwrap_or(&self.config.contact_user);
        self.contact_as(user, &settings.flow, secure)
    }

    pub(super) fn on_register_answer(&mut self, client: u64, id: RegistrationId, status: u16, response: &Message) {
        let heard = self.clients.peek(client).map(|tx| (tx.flow, tx.heard_from));
        let Some(binding) = self.bindings.get_mut(&id).filter(|binding| binding.client == Some(client)) else { return };
        let Some((flow, heard_from)) = heard.filter(|_| status >= 200) else { return };
        binding.client = None;
        match status {
            200..300 => {
                binding.connection = flow.connection;
                self.on_registered(id, response);
            }
            401 | 407 => {
                let from_host = heard_from == Some(binding.settings.flow.remote.ip().to_canonical());
                let answerer = binding.answerer.as_mut().filter(|_| from_host);
                if answerer.is_some_and(|answerer| answerer.challenged(response).is_ok()) {
                    return self.send_register(id);
                }
                self.on_register_failure(id, RegistrationFailure::Unauthorized(status), None);
            }
            423 => self.on_too_brief(id, response),
            _ => {
                let pause = super::outcome::retry_after(response);
                self.on_register_failure(id, RegistrationFailure::Refused(status), pause);
            }
        }
    }

    pub(super) fn on_register_silence(&mut self, id: RegistrationId, silence: Silence) {
        let failure = match silence {
            Silence::TimedOut => RegistrationFailure::TimedOut,
            Silence::TransportLost => RegistrationFailure::Unreachable,
        };
        if let Some(binding) = self.bindings.get_mut(&id) {
            binding.client = None;
            self.on_register_failure(id, failure, None);
        }
    }

    fn on_registered(&mut self, id: RegistrationId, response: &Message) {
        let Some(binding) = self.bindings.get(&id) else { return };
        if binding.leaving {
            return self.forget_registration(id);
        }
        let granted = Granted::read(response, &self.binding_contact(&binding.settings), binding.expires_s);
        let Some(granted) = granted.filter(|granted| granted.seconds > 0) else {
            return self.on_register_failure(id, RegistrationFailure::NoTime, None);
        };
        let lasts = Duration::from_secs(granted.seconds.into());
        let refresh_in = self.refresh_after(lasts);
        let until = self.now.saturating_add(lasts);
        if let Some(binding) = self.bindings.get_mut(&id) {
            binding.until = Some(until);
            binding.failures = 0;
        }
        self.start_timer(Owner::Registration(id.0), Timer::Refresh, refresh_in);
        let Granted { seconds: granted_s, service_route, path, seen_at } = granted;
        let state = RegistrationState::Registered { granted_s, refresh_in, service_route, path, seen_at };
        self.tell_registration(id, state);
    }

    /// 423: the registrar wants longer registrations (section 10.3, step 7). It is asked once more, for what it says.
    fn on_too_brief(&mut self, id: RegistrationId, response: &Message) {
        let least = response.number(HeaderName::MinExpires).ok().flatten().unwrap_or(0);
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        if least > binding.expires_s && least <= MAX_EXPIRES_S && !binding.leaving {
            binding.expires_s = least;
            return self.send_register(id);
        }
        self.on_register_failure(id, RegistrationFailure::NoTime, None);
    }

    /// `pause_s` is what the registrar asks for.
    fn on_register_failure(&mut self, id: RegistrationId, failure: RegistrationFailure, pause_s: Option<u32>) {
        let now = self.now;
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        if binding.leaving {
            return self.forget_registration(id);
        }
        binding.failures = binding.failures.saturating_add(1);
        let (failures, until) = (binding.failures, binding.until);
        let retry_in = match pause_s.filter(|_| !failure.needs_human()) {
            Some(seconds) => Duration::from_secs(seconds.clamp(1, MAX_PAUSE_S).into()),
            None if failure.needs_human() => self.jittered(SLOW),
            None => {
                let longest = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(SLOW);
                self.jittered(longest)
            }
        };
        self.start_timer(Owner::Registration(id.0), Timer::Refresh, retry_in);
        let lapses_in = until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero());
        self.tell_registration(id, RegistrationState::Failed { failure, retry_in, lapses_in });
    }

    fn forget_registration(&mut self, id: RegistrationId) {
        self.bindings.remove(&id);
        self.clock.forget(Owner::Registration(id.0));
        self.tell_registration(id, RegistrationState::Unregistered);
    }

    /// At 75 to 85 % of a registration, earlier by half where it is a short one: many that began together drift apart.
    fn refresh_after(&mut self, lasts: Duration) -> Duration {
        let percent = if lasts <= SHORT { 50 } else { 75 };
        let percent = percent + u32::try_from(self.random.below(11)).unwrap_or(0);
        (lasts.saturating_mul(percent) / 100).max(Duration::from_secs(1).min(lasts))
    }

    /// Between half of a time and all of it.
    fn jittered(&mut self, time: Duration) -> Duration {
        let half = time / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        half + Duration::from_millis(self.random.below(spread.saturating_add(1)))
    }

    fn tell_registration(&mut self, id: RegistrationId, state: RegistrationState) {
        self.outputs.push_back(Output::Event(Event::Registration { id, state }));
    }
}

impl Binding {
    fn write(&mut self, via: &str, contact: &str, agent: &str, cnonce: &str) -> bytes::Bytes {
        let (registrar, address) = (self.settings.registrar.as_str(), self.settings.address.as_str());
        let expires_s = if self.leaving { 0 } else { self.expires_s };
        let mut writer = Writer::request(&Method::Register, registrar);
        writer
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("<{address}>;tag={}", self.tag))
            .header(HeaderName::To, format_args!("<{address}>"))
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} REGISTER", self.cseq))
            .header(HeaderName::Contact, format_args!("{contact};expires={expires_s}"))
            .header(HeaderName::Expires, expires_s)
            .header(HeaderName::Supported, "path")
            .header(HeaderName::UserAgent, agent);
        if let Some(answerer) = &mut self.answerer {
            for answer in answerer.fields(&Method::Register, registrar, cnonce) {
                writer.header(answer.name, &answer.value);
            }
        }
        writer.finish(None)
    }
}

impl RegistrationFailure {
    /// Trying again soon would change nothing, or lock the account.
    const fn needs_human(self) -> bool {
        match self {
            Self::Unauthorized(_) | Self::TooMany => true,
            Self::Refused(status) => !matches!(status, 408 | 429 | 480 | 486 | 491 | 500..600),
            Self::NoTime | Self::TimedOut | Self::Unreachable => false,
        }
    }
}

/// The first pause after a failure; it doubles up to `SLOW`.
const PAUSE: Duration = Duration::from_secs(4);
/// The pause after a failure that a human must mend.
const SLOW: Duration = Duration::from_secs(600);
/// Longest pause that a registrar may ask for, in seconds.
const MAX_PAUSE_S: u32 = 3600;
/// Registrations up to this long are refreshed at their half.
const SHORT: Duration = Duration::from_secs(60);
const MIN_EXPIRES_S: u32 = 10;
const MAX_EXPIRES_S: u32 = 7 * 86_400;
const MAX_REGISTRATIONS: usize = 1000;
