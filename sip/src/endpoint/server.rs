//! Server transactions: the table, matching (RFC 3261 section 17.2.3) and answering.

use super::clock::Owner;
use super::io::{CallHandle, Flow, Output};
use super::{Endpoint, reply};
use crate::message::{CSeq, Essentials, HeaderName, Message, Method, Writer};
use crate::transaction::{Effect, Effects, InviteServer, NonInviteServer, ServerMachine, Timer};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Write as _;

pub(super) struct ServerTx {
    key: String,
    merge: Option<String>,
    /// Where answers go.
    pub(super) flow: Flow,
    /// Where the request came from.
    source: Flow,
    /// What is answered; given up with the final answer, so that a finished transaction is small.
    pub(super) request: Option<Message>,
    pub(super) to_tag: String,
    pub(super) machine: ServerMachine,
    pub(super) call: CallHandle,
}

#[derive(Default)]
pub(super) struct Servers {
    table: HashMap<u64, ServerTx>,
    by_key: HashMap<String, u64>,
    by_merge: HashMap<String, u64>,
}

impl ServerTx {
    /// True until the final answer.
    pub(super) fn is_open(&self) -> bool {
        self.request.is_some()
    }

    /// Method and number of the request, until the final answer.
    pub(super) fn cseq(&self) -> Option<CSeq> {
        self.request.as_ref()?.cseq().ok()
    }
}

impl Servers {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    /// True where the same request came on another way before (section 8.2.2.2).
    pub(super) fn is_merged(&self, merge: &str) -> bool {
        self.by_merge.contains_key(merge)
    }

    pub(super) fn peek(&self, id: u64) -> Option<&ServerTx> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut ServerTx> {
        self.table.get_mut(&id)
    }

    pub(super) fn on_connection(&self, connection: u64) -> Vec<u64> {
        let lost = |tx: &ServerTx| tx.flow.connection == Some(connection);
        self.table.iter().filter(|(_, tx)| lost(tx)).map(|(id, _)| *id).collect()
    }

    fn insert(&mut self, id: u64, tx: ServerTx) {
        self.by_key.insert(tx.key.clone(), id);
        if let Some(merge) = &tx.merge {
            self.by_merge.insert(merge.clone(), id);
        }
        self.table.insert(id, tx);
    }

    fn remove(&mut self, id: u64) {
        let Some(tx) = self.table.remove(&id) else { return };
        self.by_key.remove(&tx.key);
        if let Some(merge) = &tx.merge {
            self.by_merge.remove(merge);
        }
    }
}

/// The transaction a request belongs to; ACK and CANCEL are looked up as INVITE.
pub(super) fn key(request: &Message, seen: &Essentials<'_>, method: &Method) -> String {
    let mut key = String::with_capacity(96);
    let port = seen.via.port().unwrap_or(5060);
    match seen.via.branch().filter(|_| seen.via.has_magic_branch()) {
        Some(branch) => write!(key, "{branch}|{}|{port}|{method}", seen.via.host()),
        // RFC 2543 callers are matched by everything that stays the same between INVITE and ACK.
        None => write!(
            key,
            "|{}|{}|{}|{}|{}|{port}|{}|{method}",
            seen.call_id,
            seen.cseq.number,
            seen.from.tag().unwrap_or_default(),
            request.request_uri().map_or("", |uri| uri.as_str()),
            seen.via.host(),
            seen.via.branch().unwrap_or_default(),
        ),
    }
    .ok();
    key
}

/// What two copies of a request that came on different ways have in common.
pub(super) fn merge_key(seen: &Essentials<'_>) -> Option<String> {
    let tag = seen.from.tag().filter(|_| seen.to.tag().is_none())?;
    Some(format!("{tag}|{}|{}", seen.call_id, seen.cseq.number))
}

/// What opens a server transaction.
pub(super) struct Opening {
    pub(super) key: String,
    pub(super) merge: Option<String>,
    pub(super) flow: Flow,
    pub(super) to_tag: String,
    pub(super) call: CallHandle,
}

impl Endpoint {
    pub(super) fn open_server(&mut self, request: Message, opening: Opening) -> u64 {
        let Opening { key, merge, flow: source, to_tag, call } = opening;
        let reliable = source.transport.is_reliable();
        let machine = match request.method() {
            Some(Method::Invite) => ServerMachine::Invite(InviteServer::new(self.config.timings, reliable)),
            _ => ServerMachine::NonInvite(NonInviteServer::new(self.config.timings, reliable)),
        };
        let flow = reply::destination(&source, request.via().ok().as_ref(), self.config.force_rport);
        let id = self.fresh_id();
        self.servers.insert(id, ServerTx { key, merge, flow, source, request: Some(request), to_tag, machine, call });
        id
    }

    /// Answers through the transaction and gives back the bytes; `None` where it was answered finally
    /// before. `fill` adds header fields.
    pub(super) fn respond(
        &mut self,
        id: u64,
        status: u16,
        body: Option<&Bytes>,
        fill: impl FnOnce(&mut Writer),
    ) -> Option<Bytes> {
        let tx = self.servers.table.get_mut(&id)?;
        let request = tx.request.take()?;
        let mut writer = reply::begin(&request, tx.source.remote, status, &tx.to_tag);
        tx.request = Some(request).filter(|_| status < 200);
        if status > 100 {
            writer.header(HeaderName::Server, &self.config.user_agent);
        }
        fill(&mut writer);
        let bytes = writer.finish(body.map(|body| (super::screen::ACCEPT, body.as_ref())));
        let mut effects = Effects::default();
        tx.machine.respond(status, &bytes, &mut effects);
        self.apply_server(id, effects);
        Some(bytes)
    }

    /// Record-Route, Contact and Allow of a response that makes or keeps a dialog (section 12.1.1).
    pub(super) fn fill_dialog(&self, id: u64) -> impl FnOnce(&mut Writer) + use<> {
        let tx = self.servers.peek(id);
        let routes: Vec<Bytes> = tx.and_then(|tx| tx.request.as_ref()).map_or(Vec::new(), |request| {
            request.values(HeaderName::RecordRoute).map(|value| request.as_bytes().slice_ref(value)).collect()
        });
        let secure = tx.and_then(|tx| tx.request.as_ref()).is_some_and(super::is_secure);
        let contact = tx.map(|tx| self.contact(&tx.source, secure));
        move |writer: &mut Writer| {
            for route in &routes {
                writer.copy(HeaderName::RecordRoute, route);
            }
            if let Some(contact) = contact {
                writer.header(HeaderName::Contact, contact);
            }
            writer.header(HeaderName::Allow, super::screen::ALLOW);
        }
    }

    pub(super) fn repeat_server(&mut self, id: u64) {
        let mut effects = Effects::default();
        if let Some(tx) = self.servers.get_mut(id) {
            tx.machine.on_request(&mut effects);
        }
        self.apply_server(id, effects);
    }

    pub(super) fn on_server_timer(&mut self, id: u64, timer: Timer) {
        let mut effects = Effects::default();
        if let Some(tx) = self.servers.get_mut(id) {
            tx.machine.on_timer(timer, &mut effects);
        }
        self.apply_server(id, effects);
    }

    pub(super) fn apply_server(&mut self, id: u64, effects: Effects) {
        let Some(flow) = self.servers.peek(id).map(|tx| tx.flow) else { return };
        for effect in effects.0 {
            match effect {
                Effect::Transmit(bytes) => self.outputs.push_back(Output::Transmit { flow, bytes }),
                Effect::Start(timer, after) => self.start_timer(Owner::Server(id), timer, after),
                Effect::Stop(timer) => self.clock.stop(Owner::Server(id), timer),
                Effect::Terminated => self.forget_server(id),
                Effect::Deliver | Effect::TimedOut => {}
            }
        }
    }

    pub(super) fn forget_server(&mut self, id: u64) {
        self.servers.remove(id);
        self.clock.forget(Owner::Server(id));
    }
}
