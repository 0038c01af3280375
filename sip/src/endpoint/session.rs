//! Session timers, both roles (RFC 4028): a call whose other side has vanished is noticed by the refresh that nobody
//! answers, and does not stay for ever.
//!
//! A caller without session timers is refreshed by us all the same. A callee that answers without one sets none.

use super::call::Phase;
use super::io::{CallHandle, EndCause};
use super::offer::{By, OurOffer, because};
use super::screen::Refusal;
use super::{Endpoint, Owner};
use crate::message::{HeaderName, Message, Writer, decimal};
use crate::transaction::Timer;
use std::time::Duration;

/// What is wanted of session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    pub enabled: bool,
    /// Interval that we ask for, and the longest we grant, in seconds.
    pub expires_s: u32,
    /// Shortest interval that we take, in seconds; RFC 4028 section 4 allows nothing below 90.
    pub min_se_s: u32,
    /// Who refreshes where the other side leaves it to us.
    pub refresher: Refresher,
}

/// Who refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresher {
    /// The caller, as RFC 4028 section 9 recommends.
    #[default]
    Any,
    /// This endpoint.
    Local,
    /// The other side.
    Remote,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { enabled: true, expires_s: 1800, min_se_s: 90, refresher: Refresher::Any }
    }
}

/// The session timer of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    interval_s: u32,
    /// We refresh.
    ours: bool,
}

/// Fields of one message about the session timer.
#[derive(Default)]
pub(super) struct SessionFields {
    expires: Option<String>,
    min_se: Option<u32>,
    require: bool,
}

impl SessionFields {
    pub(super) fn fill(&self, writer: &mut Writer) {
        if let Some(expires) = &self.expires {
            writer.header(HeaderName::SessionExpires, expires);
        }
        if let Some(seconds) = self.min_se {
            writer.header(HeaderName::MinSe, seconds);
        }
        if self.require {
            writer.header(HeaderName::Require, "timer");
        }
    }
}

impl Endpoint {
    /// What our first INVITE asks for. `least_s` is the Min-SE that a 422 named.
    pub(super) fn ask_session(&self, least_s: u32) -> SessionFields {
        let timer = self.config.session_timer;
        if !timer.enabled {
            return SessionFields::default();
        }
        let min = timer.min_se_s.max(least_s);
        let refresher = match timer.refresher {
            Refresher::Any => "",
            Refresher::Local => ";refresher=uac",
            Refresher::Remote => ";refresher=uas",
        };
        let expires = Some(format!("{}{refresher}", timer.expires_s.max(min)));
        SessionFields { expires, min_se: Some(min), require: false }
    }

    /// What a re-INVITE or UPDATE of ours says of the timer that runs: the roles stay as they are.
    pub(super) fn propose_session(&self, handle: CallHandle) -> SessionFields {
        let Some(call) = self.calls.get(&handle) else { return SessionFields::default() };
        let Some(session) = call.session else { return SessionFields::default() };
        let refresher = if session.ours { "uac" } else { "uas" };
        let expires = Some(format!("{};refresher={refresher}", session.interval_s.max(call.least_s)));
        let min_se = Some(self.config.session_timer.min_se_s.max(call.least_s));
        SessionFields { expires, min_se, require: false }
    }

    /// Refuses an interval below ours with 422, where the sender knows what that means (section 9).
    pub(super) fn screen_session(&self, message: &Message) -> Result<(), Refusal> {
        let timer = self.config.session_timer;
        let Some(asked) = Asked::read(message)? else { return Ok(()) };
        if timer.enabled && asked.supported && asked.expires_s < timer.min_se_s {
            return Err(Refusal::with(422, HeaderName::MinSe, timer.min_se_s.to_string()));
        }
        Ok(())
    }

    /// Decides on the timer when their INVITE or UPDATE is accepted, and starts it. Asked before the final answer.
    pub(super) fn agree_session(&mut self, handle: CallHandle, server: u64) -> SessionFields {
        let timer = self.config.session_timer;
        let request = self.servers.peek(server).and_then(|tx| tx.request.as_ref());
        let (Some(request), true) = (request, timer.enabled) else { return SessionFields::default() };
        let supported = request.tokens(HeaderName::Supported).any(|option| option.eq_ignore_ascii_case("timer"));
        let asked = Asked::read(request).ok().flatten();
        let least = min_se(request).unwrap_or_default().max(timer.min_se_s);
        let longest = asked.as_ref().map_or(u32::MAX, |asked| asked.expires_s);
        let interval_s = timer.expires_s.max(least).min(longest).max(SHORTEST_S);
        let ours = match asked.and_then(|asked| asked.refresher) {
            _ if !supported => true,
            Some(ours) => ours,
            None => timer.refresher == Refresher::Local,
        };
        self.run_session(handle, Some(Session { interval_s, ours }));
        let refresher = if ours { "uas" } else { "uac" };
        SessionFields { expires: Some(format!("{interval_s};refresher={refresher}")), min_se: None, require: !ours }
    }

    /// Takes what a 2xx to our INVITE, re-INVITE or UPDATE says of the timer (section 7.2).
    pub(super) fn on_session_answer(&mut self, handle: CallHandle, response: &Message) {
        let Some(call) = self.calls.get(&handle) else { return };
        if !self.config.session_timer.enabled || !matches!(call.phase, Phase::Established) {
            return;
        }
        let session = match Asked::read(response) {
            Ok(Some(asked)) => {
                let ours = asked.refresher.is_none_or(|uas| !uas);
                Some(Session { interval_s: asked.expires_s.max(SHORTEST_S), ours })
            }
            // Who does not know session timers does not end them either: our own refreshing goes on.
            _ => call.session.filter(|session| session.ours),
        };
        self.run_session(handle, session);
    }

    /// A 422 to our INVITE, re-INVITE or UPDATE names the interval that is wanted. False where it asks for nothing new.
    pub(super) fn raise_session(&mut self, handle: CallHandle, response: &Message) -> bool {
        let Some(call) = self.calls.get_mut(&handle) else { return false };
        let wanted = min_se(response).unwrap_or_default();
        if wanted <= call.least_s || wanted > LONGEST_S || call.raises >= MAX_RAISES {
            return false;
        }
        call.least_s = wanted;
        call.raises += 1;
        true
    }

    fn run_session(&mut self, handle: CallHandle, session: Option<Session>) {
        let owner = Owner::Call(handle.as_u64());
        self.clock.stop(owner, Timer::Refresh);
        self.clock.stop(owner, Timer::SessionExpiry);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.session = session;
        let Some(Session { interval_s, ours }) = session else { return };
        if ours {
            self.start_call_timer(handle, Timer::Refresh, Duration::from_secs((interval_s / 2).into()));
        }
        // Section 10: a little before the end, so that both sides agree on it.
        let last = interval_s - (interval_s / 3).min(32);
        self.start_call_timer(handle, Timer::SessionExpiry, Duration::from_secs(last.into()));
    }

    pub(super) fn on_refresh_due(&mut self, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if !matches!(call.phase, Phase::Established) || call.ended {
            return;
        }
        if call.is_negotiating() {
            return self.refresh_later(handle);
        }
        if !call.peer.update {
            return self.refresh_by_reinvite(handle);
        }
        let ours = OurOffer { sdp: Default::default(), by: By::Update, client: None, tries: 0, refresh: true };
        call.our_offer = Some(ours);
        self.send_offer(handle);
    }

    /// Offers what was offered or answered last, its version unchanged, to a peer that does not take UPDATE.
    pub(super) fn refresh_by_reinvite(&mut self, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.peer.update = false;
        let Some(sdp) = call.local_sdp.clone() else { return };
        call.our_offer = Some(OurOffer { sdp, by: By::Reinvite, client: None, tries: 0, refresh: true });
        self.send_offer(handle);
    }

    /// A refresh that was refused or found no room is tried again while there is time.
    pub(super) fn refresh_later(&mut self, handle: CallHandle) {
        let interval = self.calls.get(&handle).and_then(|call| call.session).map(|session| session.interval_s);
        if let Some(interval_s) = interval {
            self.start_call_timer(handle, Timer::Refresh, Duration::from_secs((interval_s / 16).max(1).into()));
        }
    }

    /// Nobody refreshed the session, or our refresh was not answered.
    pub(super) fn end_session(&mut self, handle: CallHandle) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Established)) {
            self.give_back_offers(handle);
            self.end(handle, EndCause::SessionExpired, None);
            self.leave(handle, because(408, "session expired"));
        }
    }
}

/// A Session-Expires value.
struct Asked {
    expires_s: u32,
    /// The server side of the transaction refreshes.
    refresher: Option<bool>,
    /// Supported names session timers.
    supported: bool,
}

impl Asked {
    fn read(message: &Message) -> Result<Option<Self>, Refusal> {
        let Some(value) = message.text(HeaderName::SessionExpires) else { return Ok(None) };
        let mut parts = value.split(';').map(str::trim);
        let expires = parts.next().and_then(|seconds| decimal(seconds.as_bytes())).filter(|seconds| *seconds > 0);
        let expires_s = expires.ok_or(Refusal::bare(400))?;
        let named = parts.filter_map(|part| part.split_once('='));
        let mut roles = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("refresher"));
        let refresher = match roles.next().map(|(_, role)| role.trim().to_ascii_lowercase()) {
            None => None,
            Some(role) if role == "uas" => Some(true),
            Some(role) if role == "uac" => Some(false),
            Some(_) => return Err(Refusal::bare(400)),
        };
        let supported = message.tokens(HeaderName::Supported).any(|option| option.eq_ignore_ascii_case("timer"));
        Ok(Some(Self { expires_s, refresher, supported }))
    }
}

fn min_se(message: &Message) -> Option<u32> {
    let value = message.text(HeaderName::MinSe)?;
    decimal(value.split(';').next()?.trim().as_bytes())
}

/// No interval is shorter, whatever a proxy wrote: it would be a flood of our own.
const SHORTEST_S: u32 = 30;
/// How often one call gives in to 422: a way through several proxies, each with a limit of its own.
const MAX_RAISES: u8 = 4;
/// No 422 makes us ask for more: a day.
const LONGEST_S: u32 = 86_400;
