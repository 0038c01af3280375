//! Client transactions: the table, matching (RFC 3261 section 17.1.3) and who hears the answer.

use super::Endpoint;
use super::clock::Owner;
use super::io::{CallHandle, Flow, Output};
use super::ping::PingId;
use super::register::RegistrationId;
use crate::Moment;
use crate::auth::Answerer;
use crate::message::{HeaderName, Message, Method, Writer};
use crate::transaction::{ClientMachine, Effect, Effects, InviteClient, NonInviteClient, Timer};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::IpAddr;

pub(super) struct ClientTx {
    key: String,
    pub(super) flow: Flow,
    pub(super) request: Bytes,
    machine: ClientMachine,
    pub(super) user: User,
    /// The challenges this request was sent with answers to.
    pub(super) answerer: Option<Box<Answerer>>,
    /// Where the last response came from.
    pub(super) heard_from: Option<IpAddr>,
    /// What acknowledged 2xx answers that made no call.
    pub(super) acks: Vec<Ack>,
}

/// The ACK of a 2xx that made no call, to be given again when the 2xx comes again.
pub(super) struct Ack {
    pub(super) tag: String,
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
}

/// Who sent the request, and so who hears the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Invite(CallHandle),
    /// A re-INVITE or UPDATE.
    Offer(CallHandle),
    Bye(CallHandle),
    Info(CallHandle),
    Refer(CallHandle),
    /// NOTIFY of the transfer with this CSeq number.
    Notify(CallHandle, u32),
    Prack(CallHandle),
    Register(RegistrationId),
    /// Sent at this time.
    Ping {
        id: PingId,
        at: Moment,
    },
    /// Nobody: CANCEL, and the BYE of a forked dialog.
    Nobody,
}

impl User {
    /// The call a request belongs to, if the call is known.
    pub(super) const fn call(self) -> Option<CallHandle> {
        match self {
            Self::Invite(call) | Self::Offer(call) | Self::Bye(call) | Self::Prack(call) => Some(call),
            Self::Info(call) | Self::Refer(call) | Self::Notify(call, _) => Some(call),
            Self::Register(_) | Self::Ping { .. } | Self::Nobody => None,
        }
    }
}

impl ClientTx {
    /// True where a provisional answer came, so that CANCEL may be sent.
    pub(super) fn is_heard(&self) -> bool {
        matches!(&self.machine, ClientMachine::Invite(machine) if machine.is_proceeding())
    }
}

#[derive(Default)]
pub(super) struct Clients {
    table: HashMap<u64, ClientTx>,
    by_key: HashMap<String, u64>,
}

impl Clients {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn peek(&self, id: u64) -> Option<&ClientTx> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut ClientTx> {
        self.table.get_mut(&id)
    }

    pub(super) fn where_flow(&self, lost: impl Fn(&Flow) -> bool) -> Vec<u64> {
        self.table.iter().filter(|(_, tx)| lost(&tx.flow)).map(|(id, _)| *id).collect()
    }

    /// Keeps an ACK with its INVITE; false where the transaction is gone or has `most` already.
    pub(super) fn note_ack(&mut self, id: u64, ack: Ack, most: usize) -> bool {
        let Some(tx) = self.table.get_mut(&id).filter(|tx| tx.acks.len() < most) else { return false };
        tx.acks.push(ack);
        true
    }

    fn remove(&mut self, id: u64) {
        if let Some(tx) = self.table.remove(&id) {
            self.by_key.remove(&tx.key);
        }
    }
}

/// Why a client transaction ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    TimedOut,
    TransportLost,
}

impl Endpoint {
    /// Sends a request in a new transaction. `branch` stands in the request's Via.
    pub(super) fn open_client(&mut self, method: &Method, branch: &str, flow: Flow, request: Bytes, user: User) -> u64 {
        let mut effects = Effects::default();
        let (timings, reliable) = (self.config.timings, flow.transport.is_reliable());
        let machine = if *method == Method::Invite {
            ClientMachine::Invite(InviteClient::start(&request, timings, reliable, &mut effects))
        } else {
            ClientMachine::NonInvite(NonInviteClient::start(&request, timings, reliable, &mut effects))
        };
        let (id, key) = (self.fresh_id(), format!("{branch}|{method}"));
        self.clients.by_key.insert(key.clone(), id);
        self.clients.table.insert(
            id,
            ClientTx { key, flow, request, machine, user, acks: Vec::new(), answerer: None, heard_from: None },
        );
        self.apply_client(id, effects, None);
        id
    }

    /// Takes a response. One that matches nothing, is malformed, or went through others on its way
    /// back is dropped (section 8.1.3.3, 17.1.3, 18.1.2).
    pub(super) fn on_response(&mut self, flow: &Flow, response: &Message) {
        let (Ok(seen), Some(status)) = (response.essentials(), response.status()) else { return };
        let value = response.value_range(HeaderName::Via);
        let alone =
            response.values(HeaderName::Via).count() == 1 && value.is_some_and(|value| value.end == seen.via.end());
        let Some(branch) = seen.via.branch().filter(|_| alone) else { return };
        let key = format!("{branch}|{}", seen.cseq.method);
        let Some(id) = self.clients.by_key.get(&key).copied() else { return };
        let Some(tx) = self.clients.table.get_mut(&id) else { return };
        tx.heard_from = Some(flow.remote.ip().to_canonical());
        if flow.connection.is_some() {
            // The driver has chosen or made a connection: what follows stays on it.
            tx.flow = *flow;
        }
        let mut effects = Effects::default();
        match &mut tx.machine {
            ClientMachine::NonInvite(machine) => machine.on_response(status, &mut effects),
            ClientMachine::Invite(machine) => match status {
                ..200 => machine.on_provisional(&mut effects),
                200..300 => machine.on_success(&mut effects),
                _ => {
                    let ack = follow_up(&Method::Ack, &tx.request, response.values(HeaderName::To).next());
                    machine.on_refusal(ack, &mut effects);
                }
            },
        }
        self.apply_client(id, effects, Some(response));
    }

    pub(super) fn on_client_timer(&mut self, id: u64, timer: Timer) {
        let mut effects = Effects::default();
        if let Some(tx) = self.clients.table.get_mut(&id) {
            tx.machine.on_timer(timer, &mut effects);
        }
        self.apply_client(id, effects, None);
    }

    /// Ends a client transaction whose transport failed (section 17.1.4).
    pub(super) fn fail_client(&mut self, id: u64) {
        let Some(user) = self.clients.peek(id).map(|tx| tx.user) else { return };
        self.forget_client(id);
        self.on_silence(user, Silence::TransportLost);
    }

    /// Lets an INVITE whose call is gone acknowledge a late refusal, but not for ever.
    pub(super) fn abandon_client(&mut self, id: u64) {
        self.start_timer(Owner::Client(id), Timer::M, self.config.timings.lifetime());
    }

    pub(super) fn forget_client(&mut self, id: u64) {
        self.clients.remove(id);
        self.clock.forget(Owner::Client(id));
    }

    fn apply_client(&mut self, id: u64, effects: Effects, response: Option<&Message>) {
        let Some((flow, user)) = self.clients.peek(id).map(|tx| (tx.flow, tx.user)) else { return };
        for effect in effects.0 {
            match effect {
                Effect::Transmit(bytes) => self.outputs.push_back(Output::Transmit { flow, bytes }),
                Effect::Start(timer, after) => self.start_timer(Owner::Client(id), timer, after),
                Effect::Stop(timer) => self.clock.stop(Owner::Client(id), timer),
                Effect::Deliver => {
                    if let Some(response) = response
                        && !self.answer_challenge(id, response)
                    {
                        self.on_answer(id, user, flow, response);
                    }
                }
                Effect::TimedOut => self.on_silence(user, Silence::TimedOut),
                Effect::Terminated => self.forget_client(id),
            }
        }
    }
}

/// The request that follows an INVITE hop by hop: CANCEL (section 9.1), or the ACK of a refusal
/// (section 17.1.1.3), which takes its To from the response.
pub(super) fn follow_up(method: &Method, invite: &Bytes, to: Option<&[u8]>) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let number = invite.cseq().ok()?.number;
    let mut writer = Writer::request(method, invite.request_uri().ok()?.as_str());
    writer.copy(HeaderName::Via, invite.values(HeaderName::Via).next()?);
    writer.header(HeaderName::MaxForwards, 70);
    for route in invite.values(HeaderName::Route) {
        writer.copy(HeaderName::Route, route);
    }
    writer.copy(HeaderName::From, invite.values(HeaderName::From).next()?);
    writer.copy(HeaderName::To, to.or(invite.values(HeaderName::To).next())?);
    writer.copy(HeaderName::CallId, invite.values(HeaderName::CallId).next()?);
    writer.header(HeaderName::CSeq, format_args!("{number} {method}"));
    Some(writer.finish(None))
}
