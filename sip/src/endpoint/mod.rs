//! The SIP engine behind one state machine: feed it with [`Endpoint::handle`], then drain
//! [`Endpoint::poll_output`], then wait until [`Endpoint::poll_timeout`].
//!
//! It never blocks, waits, resolves or connects. All of its tables are bounded by its configuration.
//! Requests that open no call are answered without keeping state, so a flood of them costs no memory.

mod call;
mod client;
mod clock;
mod config;
mod digest;
mod forks;
mod gate;
mod indialog;
mod io;
mod offer;
mod outcome;
mod ping;
mod random;
mod refer;
mod register;
mod reliable;
mod replaces;
mod reply;
mod screen;
mod server;
mod session;
mod uac;
mod uas;

pub use config::{Advertised, EndpointConfig};
pub use io::{CallHandle, Command, EndCause, Event, Flow, IncomingInvite, Input, OutboundInvite, Output, Transport};
pub use outcome::{RefusalKind, Refused, Remote, Warning};
pub use ping::{PingId, PingOutcome};
pub use register::{Registration, RegistrationFailure, RegistrationId, RegistrationState};
pub use session::{Refresher, SessionTimer};

use crate::Moment;
use crate::auth::Verifier;
use crate::dialog::DialogId;
use crate::guard::Guard;
use crate::message::{Essentials, HeaderName, Message, Method, ParseError, Scheme, salvage};
use crate::transaction::Timer;
use bytes::Bytes;
use call::{Call, Phase};
use client::Clients;
use clock::{Clock, Owner};
use gate::Gate;
use random::Random;
use register::Binding;
use screen::Refusal;
use server::Servers;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A user agent, server and client, for any number of calls.
pub struct Endpoint {
    config: EndpointConfig,
    random: Random,
    now: Moment,
    clock: Clock,
    outputs: VecDeque<Output>,
    servers: Servers,
    clients: Clients,
    calls: HashMap<CallHandle, Call>,
    dialogs: HashMap<DialogId, CallHandle>,
    bindings: HashMap<RegistrationId, Binding>,
    last_id: u64,
    /// Calls not yet answered.
    pending: usize,
    draining: Option<u32>,
    full: Option<u32>,
    /// Extensions a peer may require.
    supported: Vec<&'static str>,
    guard: Guard,
    /// Knows who may prove who they are.
    verifier: Option<Verifier>,
}

impl Endpoint {
    /// `seed` makes tags, branches and Call-IDs; give it from the system's random source in
    /// production, and a fixed one where a run is to be repeated.
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        let verifier = config.server_auth.clone().map(Verifier::new);
        let supported = screen::supported(&config);
        let guard = Guard::new(config.guard.clone(), seed);
        Self {
            config,
            random: Random::new(seed),
            now: Moment::ZERO,
            clock: Clock::default(),
            outputs: VecDeque::new(),
            servers: Servers::default(),
            clients: Clients::default(),
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            bindings: HashMap::new(),
            last_id: 0,
            pending: 0,
            draining: None,
            full: None,
            supported,
            guard,
            verifier,
        }
    }

    /// Takes one input. `now` never runs backwards; an earlier one counts as the latest seen.
    pub fn handle(&mut self, input: Input<'_>, now: Moment) {
        self.now = self.now.max(now);
        match input {
            Input::Message { flow, bytes } => self.on_bytes(flow, bytes),
            Input::StreamClosed { connection } => self.on_stream_closed(connection),
            Input::Unreachable { flow } => {
                for id in self.clients.where_flow(|other| other == flow) {
                    self.fail_client(id);
                }
            }
            Input::Timeout => self.on_timeout(),
            Input::Command(command) => self.on_command(command),
        }
    }

    /// The next thing to do; `None` when all is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle(Input::Timeout)`; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.clock.next()
    }

    /// Calls that are known, those that only finish their exchanges included.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Transactions at this moment, server and client.
    pub fn transactions(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Dialogs at this moment, early ones included.
    pub fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    /// Timers that run at this moment.
    pub fn timers(&self) -> usize {
        self.clock.len()
    }

    fn on_bytes(&mut self, flow: Flow, bytes: Bytes) {
        // Keep-alives over UDP are line ends or zeros (RFC 5626 section 3.5, RFC 3261 section 7.5).
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        match Message::parse(bytes.clone()) {
            Err(error) => self.refuse_malformed(flow, &bytes, error),
            Ok(message) if message.status().is_some() => self.on_response(&flow, &message),
            Ok(message) => self.on_request(flow, message),
        }
    }

    fn on_request(&mut self, flow: Flow, message: Message) {
        let Some(method) = message.method().cloned() else { return };
        let (target, seen) = match (message.request_uri(), message.essentials()) {
            (Ok(target), Ok(seen)) => (target, seen),
            (Err(error), _) | (_, Err(error)) => return self.refuse_malformed(flow, message.as_bytes(), error),
        };
        match method {
            Method::Ack => return self.on_ack(&flow, &message, &seen),
            Method::Cancel => return self.on_cancel(&flow, &message, &seen),
            _ => {}
        }
        let key = server::key(&message, &seen, &method);
        if let Some(id) = self.servers.find(&key) {
            return self.repeat_server(id);
        }
        let user = match self.find_dialog(&seen) {
            Some(_) => None,
            None => match self.passes_gate(&flow, &message, &method) {
                Gate::Open(user) => user,
                Gate::Shut => return,
            },
        };
        if let Err(refusal) = screen::any(&message, &method, &target, &self.supported) {
            return self.refuse(&flow, &message, refusal);
        }
        let verdict = if seen.to.tag().is_some() {
            self.on_dialog_request(&flow, &message, &seen, &method, key)
        } else {
            match method {
                Method::Invite => self.on_new_invite(&flow, &message, &seen, key, user),
                Method::Options => self.answer_options(&flow, &message),
                // Nobody without a call may send us anywhere.
                Method::Refer => Err(Refusal::bare(403)),
                _ => Err(Refusal::bare(481)),
            }
        };
        if let Err(refusal) = verdict {
            self.refuse(&flow, &message, refusal);
        }
    }

    /// OPTIONS outside a dialog, answered without a transaction and as an INVITE would be (section 11.2):
    /// balancers that ask this way stop sending calls to a host that drains.
    fn answer_options(&mut self, flow: &Flow, message: &Message) -> Result<(), Refusal> {
        self.check_draining()?;
        let supported = self.supported.join(", ");
        self.answer_stateless(flow, message, 200, |writer| fill_capabilities(writer, &supported));
        Ok(())
    }

    fn refuse(&mut self, flow: &Flow, message: &Message, refusal: Refusal) {
        let retry = self.config.retry_after_s;
        self.answer_stateless(flow, message, refusal.status, |writer| {
            if let Some((name, value)) = &refusal.field {
                writer.header(*name, value);
            } else if refusal.status == 503 {
                writer.header(HeaderName::RetryAfter, retry);
            }
        });
    }

    fn refuse_malformed(&mut self, flow: Flow, bytes: &Bytes, error: ParseError) {
        if self.may_complain(&flow, bytes)
            && let Some(request) = salvage(bytes)
        {
            self.answer_stateless(&flow, &request, error.status(), |_| {});
        }
    }

    /// Answers without keeping state (section 8.2.7): a repetition gets the same answer, tag included.
    fn answer_stateless(
        &mut self,
        flow: &Flow,
        request: &Message,
        status: u16,
        fill: impl Fn(&mut crate::message::Writer),
    ) {
        let tag = self.stateless_tag(request);
        let via = request.via().ok();
        let way = reply::destination(flow, via.as_ref(), self.config.force_rport);
        let write = |server: bool, fields: bool| {
            let mut writer = reply::begin(request, flow.remote, status, &tag);
            if server {
                writer.header(HeaderName::Server, &self.config.user_agent);
            }
            if fields {
                fill(&mut writer);
            }
            writer.finish(None)
        };
        let fits = |bytes: &Bytes| bytes.len() <= request.as_bytes().len() || !self.must_be_brief(flow);
        let bytes = [(true, true), (false, true)].into_iter().map(|(server, fields)| write(server, fields)).find(fits);
        let bytes = bytes.unwrap_or_else(|| write(false, gate::needs_fields(status)));
        self.outputs.push_back(Output::Transmit { flow: way, bytes });
    }

    /// The To tag of stateless answers: the same for every copy of a request, and for its CANCEL.
    fn stateless_tag(&self, request: &Message) -> String {
        let value = |name| request.values(name).next().unwrap_or_default();
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        self.random.token_of(&(value(HeaderName::CallId), value(HeaderName::From), number))
    }

    fn on_timeout(&mut self) {
        while let Some((owner, timer)) = self.clock.pop_due(self.now) {
            match owner {
                Owner::Server(id) => self.on_server_timer(id, timer),
                Owner::Client(id) => self.on_client_timer(id, timer),
                Owner::Call(number) => self.on_call_timer(CallHandle::from_u64(number), timer),
                Owner::Registration(number) => self.begin_register(RegistrationId(number)),
            }
        }
    }

    fn on_call_timer(&mut self, call: CallHandle, timer: Timer) {
        match timer {
            Timer::RepeatOk => self.repeat_ok(call),
            Timer::AwaitAck => self.on_missing_ack(call),
            Timer::Ring => self.on_ring_limit(call),
            Timer::Cancelled => self.on_cancel_unanswered(call),
            Timer::TheirOffer => self.answer_reinvite(call, Err(500)),
            Timer::OurOffer => self.on_offer_unanswered(call),
            Timer::Glare => self.send_offer(call),
            Timer::OwedAck => self.on_answer_missing(call),
            Timer::RepeatProvisional => self.repeat_provisional(call),
            Timer::AwaitPrack => self.on_missing_prack(call),
            Timer::Refresh => self.on_refresh_due(call),
            Timer::SessionExpiry => self.end_session(call),
            Timer::TheirRefer => self.answer_refer(call, Err(603)),
            Timer::Referral => self.on_referral_expired(call),
            Timer::Notified => self.on_refer_silence(call),
            _ => {}
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Ring { call, early_sdp, reliable } => self.ring(call, early_sdp, reliable),
            Command::Answer { call, sdp } => self.answer(call, &sdp),
            Command::Reject { call, status, headers } => self.reject(call, status, &headers),
            Command::AnswerReinvite { call, answer } => self.answer_reinvite(call, answer),
            Command::Reinvite { call, sdp } => self.reinvite(call, sdp),
            Command::Update { call, sdp } => self.update(call, sdp),
            Command::Acknowledge { call, sdp } => {
                self.send_owed_ack(call, Some(&sdp));
            }
            Command::Bye { call, reason } => self.hang_up(call, reason),
            Command::Invite(invite) => self.place(*invite),
            Command::Cancel { call } => self.give_up(call, EndCause::Cancelled),
            Command::Info { call, content_type, body } => self.send_info(call, &content_type, &body),
            Command::Refer { call, to, replaces, referred_by } => self.refer(call, &to, replaces, referred_by.as_ref()),
            Command::AnswerRefer { call, answer } => self.answer_refer(call, answer),
            Command::NotifyRefer { call, status } => self.notify_refer(call, status),
            Command::Drain { retry_after_s } => self.draining = retry_after_s,
            Command::Full { retry_after_s } => self.full = retry_after_s,
            Command::Register(registration) => self.register(*registration),
            Command::Unregister { id } => self.unregister(id),
            Command::Ping { id, flow, target } => self.ping(id, flow, &target),
            Command::SetPeers(peers) => self.guard.know(peers),
        }
    }

    /// A stream is gone: what waits on it fails; answered calls go on and find a new way.
    fn on_stream_closed(&mut self, connection: u64) {
        for id in self.clients.where_flow(|flow| flow.connection == Some(connection)) {
            self.fail_client(id);
        }
        let lost: Vec<CallHandle> = self
            .calls
            .iter_mut()
            .filter_map(|(handle, call)| {
                if call.flow.connection != Some(connection) {
                    return None;
                }
                call.flow.connection = None;
                matches!(call.phase, Phase::Ringing { .. }).then_some(*handle)
            })
            .collect();
        for call in lost {
            self.end(call, EndCause::TransportLost, None);
            self.forget_call(call);
        }
        for id in self.servers.on_connection(connection) {
            self.forget_server(id);
        }
        self.on_register_stream_closed(connection);
    }

    fn event(&mut self, call: CallHandle, event: Event) {
        if self.calls.get(&call).is_some_and(|call| !call.ended) {
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Reports the end of a call, once.
    fn end(&mut self, handle: CallHandle, cause: EndCause, reason: Option<String>) {
        self.end_refused(handle, cause, reason, None);
    }

    fn end_refused(
        &mut self,
        handle: CallHandle,
        cause: EndCause,
        reason: Option<String>,
        refused: Option<Box<Refused>>,
    ) {
        self.event(handle, Event::Ended { call: handle, cause, reason, refused });
        if let Some(call) = self.calls.get_mut(&handle) {
            call.ended = true;
        }
    }

    fn insert_call(&mut self, handle: CallHandle, call: Call) {
        self.pending += usize::from(call.is_pending());
        if let Some(dialog) = &call.dialog {
            self.dialogs.insert(dialog.id(), handle);
        }
        self.calls.insert(handle, call);
    }

    fn forget_call(&mut self, handle: CallHandle) {
        self.drop_refer(handle);
        let Some(call) = self.calls.remove(&handle) else { return };
        if let Some(server) = call.their_offer {
            self.respond(server, 487, None, |_| {});
        }
        if let Some(client) = call.our_offer.as_ref().and_then(|ours| ours.client) {
            self.abandon_client(client);
        }
        self.pending -= usize::from(call.is_pending()).min(self.pending);
        for dialog in call.dialog.iter().chain(call.forks.iter().map(|fork| &fork.dialog)) {
            self.dialogs.remove(&dialog.id());
        }
        self.clock.forget(Owner::Call(handle.as_u64()));
    }

    fn set_phase(&mut self, handle: CallHandle, phase: Phase) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let before = call.is_pending();
        call.phase = phase;
        if before && !call.is_pending() {
            self.pending = self.pending.saturating_sub(1);
            self.clock.stop(Owner::Call(handle.as_u64()), Timer::Ring);
        }
    }

    fn find_dialog(&self, seen: &Essentials<'_>) -> Option<CallHandle> {
        let id = DialogId {
            call_id: seen.call_id.to_owned(),
            local_tag: seen.to.tag()?.to_owned(),
            remote_tag: seen.from.tag().unwrap_or_default().to_owned(),
        };
        self.dialogs.get(&id).copied()
    }

    fn start_timer(&mut self, owner: Owner, timer: Timer, after: Duration) {
        self.clock.start(owner, timer, self.now.saturating_add(after));
    }

    fn start_call_timer(&mut self, call: CallHandle, timer: Timer, after: Duration) {
        self.start_timer(Owner::Call(call.as_u64()), timer, after);
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// Host and port that peers reach us at on this flow.
    fn sent_by(&self, flow: &Flow) -> String {
        match &self.config.advertised {
            Some(advertised) => {
                let port = advertised.port.filter(|_| flow.transport != Transport::Tls);
                format!("{}:{}", advertised.host, port.unwrap_or(flow.local.port()))
            }
            None => flow.local.to_string(),
        }
    }

    /// Our Contact. `secure` asks for a SIPS URI, as a request that was made to one does (section 8.1.1.8 and 12.1.1).
    fn contact(&self, flow: &Flow, secure: bool) -> String {
        self.contact_as(&self.config.contact_user, flow, secure)
    }

    fn contact_as(&self, user: &str, flow: &Flow, secure: bool) -> String {
        let (scheme, transport) = match flow.transport {
            _ if secure => ("sips", ""),
            Transport::Udp => ("sip", ""),
            Transport::Tcp => ("sip", ";transport=tcp"),
            Transport::Tls => ("sip", ";transport=tls"),
        };
        format!("<{scheme}:{user}@{}{transport}>", self.sent_by(flow))
    }

    /// A Via for a new request, and the branch in it.
    fn new_via(&mut self, flow: &Flow) -> (String, String) {
        let branch = format!("{}{}", crate::message::MAGIC, self.random.token());
        let via = format!("SIP/2.0/{} {};branch={branch};rport", flow.transport.as_str(), self.sent_by(flow));
        (via, branch)
    }
}

/// True for a request made to a SIPS URI, or on a route that begins with one (section 12.1.1).
fn is_secure(request: &Message) -> bool {
    let secure = |uri: &crate::message::Uri<'_>| uri.scheme() == Scheme::Sips;
    let routes = request.addresses(HeaderName::RecordRoute).unwrap_or_default();
    request.request_uri().is_ok_and(|uri| secure(&uri)) || routes.first().is_some_and(|route| secure(route.uri()))
}

/// What an endpoint can do (section 11.2).
fn fill_capabilities(writer: &mut crate::message::Writer, supported: &str) {
    writer
        .header(HeaderName::Allow, screen::ALLOW)
        .header(HeaderName::Accept, screen::ACCEPT)
        .header(HeaderName::AcceptEncoding, "identity")
        .header(HeaderName::AcceptLanguage, "en")
        .header(HeaderName::Supported, supported);
}
