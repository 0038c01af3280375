//! Answers 401 and 407 to requests of ours (RFC 3261 section 22), so that applications hear only what became of a call.
//!
//! Credentials go to one host: that which the INVITE went to. A challenge to a request in a call that came in is never
//! answered, whoever sends it: a caller could otherwise have our password hashed for it (CVE-2021-41158).

use super::Endpoint;
use super::call::{Cancel, Phase};
use super::client::User;
use super::io::{CallHandle, Flow};
use crate::auth::{Answer, Answerer, Credentials};
use crate::message::{HeaderName, Message, Method, Writer};
use bytes::Bytes;
use std::net::IpAddr;

/// What a call that we placed may answer challenges with.
pub(super) struct Proof {
    credentials: Credentials,
    /// Where the INVITE went.
    host: IpAddr,
    /// What the INVITE with this number was accepted with; its ACK says the same (section 22.1).
    last: Option<(u32, Vec<Answer>)>,
}

impl Proof {
    pub(super) fn new(credentials: Credentials, host: IpAddr) -> Self {
        Self { credentials, host: host.to_canonical(), last: None }
    }
}

impl Endpoint {
    /// Sends a refused request again with the answer to its challenge. False where the refusal stands.
    pub(super) fn answer_challenge(&mut self, id: u64, response: &Message) -> bool {
        if !matches!(response.status(), Some(401 | 407)) {
            return false;
        }
        let Some(handle) = self.clients.peek(id).and_then(|tx| tx.user.call()) else { return false };
        if !self.may_answer(id, handle) {
            return false;
        }
        let Some(tx) = self.clients.get_mut(id) else { return false };
        let (flow, request, user, before) = (tx.flow, tx.request.clone(), tx.user, tx.answerer.take());
        let credentials = || Some(self.calls.get(&handle)?.proof.as_ref()?.credentials.clone());
        let Some(mut answerer) = before.or_else(|| credentials().map(|known| Box::new(Answerer::new(known)))) else {
            return false;
        };
        answerer.challenged(response).is_ok() && self.send_again(flow, user, &request, answerer).is_some()
    }

    /// The answer came from the host that is trusted with the credentials, and somebody still wants the request.
    fn may_answer(&self, id: u64, handle: CallHandle) -> bool {
        let (Some(tx), Some(call)) = (self.clients.peek(id), self.calls.get(&handle)) else { return false };
        let Some(proof) = call.proof.as_ref().filter(|_| handle.is_outbound()) else { return false };
        let wanted = match (tx.user, &call.phase) {
            (User::Invite(_), Phase::Calling { client, cancel }) => *client == id && *cancel == Cancel::No,
            (User::Invite(_), _) => false,
            _ => true,
        };
        let host = tx.flow.remote.ip().to_canonical();
        wanted && host == proof.host && tx.heard_from == Some(host)
    }

    fn send_again(&mut self, flow: Flow, user: User, request: &Bytes, mut answerer: Box<Answerer>) -> Option<()> {
        let handle = user.call()?;
        let before = Message::parse(request.clone()).ok()?;
        let seen = before.essentials().ok()?;
        let method = before.method()?.clone();
        let call = self.calls.get_mut(&handle)?;
        let dialog = seen.to.tag().and_then(|tag| call.dialog_mut(tag));
        let number = dialog.map_or(seen.cseq.number.saturating_add(1), |dialog| dialog.next_cseq());
        let answers = answerer.fields(&method, before.request_uri().ok()?.as_str(), &self.random.token());
        let (via, branch) = self.new_via(&flow);
        let again = rewrite(&before, &via, number, &answers)?;
        let client = self.open_client(&method, &branch, flow, again, user);
        if let Some(tx) = self.clients.get_mut(client) {
            tx.answerer = Some(answerer);
        }
        let call = self.calls.get_mut(&handle)?;
        if let (Method::Invite, Some(proof)) = (&method, &mut call.proof) {
            proof.last = Some((number, answers));
        }
        match user {
            User::Invite(_) => {
                self.drop_forks(handle);
                self.set_phase(handle, Phase::Calling { client, cancel: Cancel::No });
            }
            User::Offer(_) => {
                if let Some(ours) = &mut call.our_offer {
                    ours.client = Some(client);
                }
            }
            User::Refer(_) => {
                if let Some(referring) = &mut call.referring {
                    referring.renumber(number);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// What the ACK of a 2xx carries: the credentials of its INVITE.
    pub(super) fn proof_of(&self, handle: CallHandle, invite: u32) -> Vec<Answer> {
        let proof = self.calls.get(&handle).and_then(|call| call.proof.as_ref());
        let last = proof.and_then(|proof| proof.last.as_ref()).filter(|(number, _)| *number == invite);
        last.map(|(_, answers)| answers.clone()).unwrap_or_default()
    }
}

/// The same request as a new transaction: own Via, next number, and these answers in place of earlier ones.
fn rewrite(before: &Message, via: &str, number: u32, answers: &[Answer]) -> Option<Bytes> {
    let method = before.method()?;
    let mut writer = Writer::request(method, before.request_uri().ok()?.as_str());
    writer.header(HeaderName::Via, via);
    for (name, spelled, value) in before.iter() {
        match name {
            HeaderName::Via | HeaderName::ContentLength | HeaderName::ContentType => {}
            HeaderName::Authorization | HeaderName::ProxyAuthorization => {}
            HeaderName::CSeq => {
                writer.header(name, format_args!("{number} {method}"));
                for answer in answers {
                    writer.header(answer.name, &answer.value);
                }
            }
            HeaderName::Other => {
                writer.copy_field(spelled, value);
            }
            _ => {
                writer.copy(name, value);
            }
        }
    }
    let content_type = before.text(HeaderName::ContentType).unwrap_or_default();
    Some(writer.finish(Some((&content_type, before.body()))))
}
