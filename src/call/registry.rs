//! The live calls by id, for whoever outside the media shards must find one: signalling, the API, the drain.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;

use super::core::CallInput;
use super::shard::CallPort;
use crate::dialog::LastWords;
use crate::store::record::{CallId, Direction, EndReason, Via};
use crate::telemetry::pii::Pii;

/// What is known of a live call from outside.
#[derive(Clone, Debug)]
pub struct LiveCall {
    pub id: CallId,
    pub via: Via,
    pub direction: Direction,
    pub called: String,
    pub caller: Pii<String>,
    pub flow: Arc<str>,
    pub started: Timestamp,
    pub port: CallPort,
}

/// Cheap to clone; every clone is the same registry.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<RwLock<HashMap<CallId, LiveCall>>>);

impl Registry {
    pub fn add(&self, call: LiveCall) {
        self.0.write().insert(call.id, call);
    }

    pub fn remove(&self, id: CallId) {
        self.0.write().remove(&id);
    }

    pub fn find(&self, id: CallId) -> Option<LiveCall> {
        self.0.read().get(&id).cloned()
    }

    /// All live calls, oldest first.
    pub fn all(&self) -> Vec<LiveCall> {
        let mut calls: Vec<_> = self.0.read().values().cloned().collect();
        calls.sort_by_key(|call| call.id);
        calls
    }

    /// Tells every live call that the server goes down: these words, and then the end.
    pub fn close_all(&self, words: Option<&LastWords>) {
        for call in self.all() {
            call.port.signal(CallInput::Close(words.cloned()));
        }
    }

    /// Ends every live call.
    pub fn end_all(&self, reason: &EndReason) {
        for call in self.all() {
            call.port.signal(CallInput::HungUp(reason.clone()));
        }
    }
}
