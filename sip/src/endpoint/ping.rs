//! OPTIONS that ask whether a host is there (RFC 3261 section 11): any answer at all says so.

use super::Endpoint;
use super::client::{Silence, User};
use super::io::{Event, Flow, Output};
use crate::Moment;
use crate::message::{HeaderName, Method, UriBuf, Writer};
use std::time::Duration;

/// The application's number for a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingId(pub u64);

/// What became of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingOutcome {
    /// The final status, after this round trip; lost datagrams make it longer by the repetition.
    Answered { status: u16, rtt: Duration },
    /// Nobody answered within 64*T1.
    TimedOut,
    /// It could not be sent, or the connection was lost.
    Unreachable,
}

impl Endpoint {
    pub(super) fn ping(&mut self, id: PingId, flow: Flow, target: &UriBuf) {
        if self.clients.len() >= self.config.max_transactions {
            return self.tell_ping(id, PingOutcome::Unreachable);
        }
        let (via, branch) = self.new_via(&flow);
        let (tag, call_id, user) = (self.random.token(), self.random.token(), &self.config.contact_user);
        let mut writer = Writer::request(&Method::Options, target.as_str());
        writer
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("<sip:{user}@{}>;tag={tag}", self.sent_by(&flow)))
            .header(HeaderName::To, format_args!("<{}>", target.as_str()))
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, "1 OPTIONS")
            .header(HeaderName::Accept, super::screen::ACCEPT)
            .header(HeaderName::UserAgent, &self.config.user_agent);
        let user = User::Ping { id, at: self.now };
        self.open_client(&Method::Options, &branch, flow, writer.finish(None), user);
    }

    pub(super) fn on_pong(&mut self, id: PingId, at: Moment, status: u16) {
        if status >= 200 {
            let rtt = self.now.saturating_sub(at);
            self.tell_ping(id, PingOutcome::Answered { status, rtt });
        }
    }

    pub(super) fn on_ping_silence(&mut self, id: PingId, silence: Silence) {
        let outcome = match silence {
            Silence::TimedOut => PingOutcome::TimedOut,
            Silence::TransportLost => PingOutcome::Unreachable,
        };
        self.tell_ping(id, outcome);
    }

    fn tell_ping(&mut self, id: PingId, outcome: PingOutcome) {
        self.outputs.push_back(Output::Event(Event::Pong { id, outcome }));
    }
}
