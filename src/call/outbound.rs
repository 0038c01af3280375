//! Calls asked for from outside: the guard, the flow, the same answer to the same question, and then the dialler.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Moment;
use super::core::CallInput;
use super::guard::{Guard, GuardRefusal};
use super::handover::Targets;
use super::outgoing::{DialError, Dialers, Outgoing, Variables};
use super::registry::Registry;
use crate::config::OutboundConfig;
use crate::dialog::lines::Catalogue;
use crate::dialog::{Flow, TransferPlan, TransferTo};
use crate::store::record::{CallId, Direction, EndReason};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pii::Pii;

/// Places calls for operators and programs, and does to live calls what they ask.
pub struct Outbound {
    config: OutboundConfig,
    catalogue: Arc<Catalogue>,
    registry: Registry,
    dialers: Dialers,
    targets: Targets,
    metrics: Metrics,
    /// Held while a call is placed: the caps are exact.
    state: Mutex<State>,
}

/// A call as it is asked for.
#[derive(Clone, Debug, Hash)]
pub struct CallWish {
    pub to: Pii<String>,
    /// The flow by name, or by the number whose line it is.
    pub flow: Option<String>,
    pub line: Option<String>,
    pub trunk: Option<String>,
    pub caller_id: Option<Pii<String>>,
    /// Values for the flow's `inputs`: digits.
    pub variables: Vec<(String, Pii<String>)>,
}

/// Why a call is not placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error(transparent)]
    Guard(#[from] GuardRefusal),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("name a flow, or a line whose flow it is")]
    NoFlow,
    #[error("the flow takes other variables, or their values are not 1 to 32 digits")]
    BadVariables,
    #[error("the key was used for another call")]
    KeyReused,
}

/// What can be asked of a call that is going on.
#[derive(Clone, Debug)]
pub enum Control {
    HangUp,
    Hold,
    Resume,
    Transfer(TransferPlan),
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("no call that is going on has this id")]
    NoCall,
    #[error("transfer.targets has no such name")]
    NoTarget,
}

impl Outbound {
    pub fn new(
        config: OutboundConfig,
        catalogue: Arc<Catalogue>,
        registry: Registry,
        dialers: Dialers,
        targets: Targets,
        metrics: Metrics,
    ) -> Self {
        let state = Mutex::new(State { guard: Guard::new(config.clone()), keys: Keys::default() });
        Self { config, catalogue, registry, dialers, targets, metrics, state }
    }

    /// Places a call. The same `key` with the same wish gives the call that it gave before.
    ///
    /// # Errors
    /// Why no call was placed; what fails later is the end reason of the call.
    pub fn place(&self, wish: CallWish, key: Option<&str>, now: Moment) -> Result<CallId, PlaceError> {
        let placed = self.try_to_place(wish, key, now);
        placed.inspect_err(|error| self.metrics.outbound_refused(error.code()))
    }

    fn try_to_place(&self, wish: CallWish, key: Option<&str>, now: Moment) -> Result<CallId, PlaceError> {
        let mut state = self.state.lock();
        let print = fingerprint(&wish);
        if let Some(known) = key.and_then(|key| state.keys.find(key, now)) {
            return if known.print == print { Ok(known.call) } else { Err(PlaceError::KeyReused) };
        }
        let flow = self.flow(&wish)?;
        let variables = variables(&flow, &wish)?;
        let going_on = self.registry.all().iter().filter(|call| call.direction == Direction::Outbound).count();
        let to = state.guard.admit(wish.to.expose(), going_on, now)?;
        let id = CallId::fresh();
        self.dialers.dial(Outgoing {
            id,
            to: Pii::new(to),
            trunk: wish.trunk.as_deref().map(Arc::from),
            caller_id: wish.caller_id,
            flow,
            variables,
            ring_timeout: Duration::from_secs(self.config.ring_timeout_s),
            wait_for_hello: self.config.wait_for_hello,
            parent: None,
        })?;
        if let Some(key) = key {
            state.keys.keep(key.to_owned(), Known { print, call: id, at: now });
        }
        Ok(id)
    }

    /// Does something to a call that is going on.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn control(&self, id: CallId, control: Control) -> Result<(), ControlError> {
        let call = self.registry.find(id).ok_or(ControlError::NoCall)?;
        call.port.signal(match control {
            Control::HangUp => CallInput::HungUp(EndReason::Operator),
            Control::Hold => CallInput::Parked(true),
            Control::Resume => CallInput::Parked(false),
            Control::Transfer(plan) => {
                if !matches!(&plan.to, TransferTo::Name(name) if self.targets.contains_key(&**name)) {
                    return Err(ControlError::NoTarget);
                }
                CallInput::TransferTo(Box::new(plan))
            }
        });
        Ok(())
    }

    fn flow(&self, wish: &CallWish) -> Result<Arc<Flow>, PlaceError> {
        match (&wish.flow, &wish.line) {
            (Some(name), None) => self.catalogue.flow_named(name).cloned().ok_or(PlaceError::NoFlow),
            (None, Some(line)) => Ok(Arc::clone(self.catalogue.flow_for(line))),
            _ => Err(PlaceError::NoFlow),
        }
    }
}

impl PlaceError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Guard(refusal) => refusal.code(),
            Self::Dial(DialError::Full) => "server_full",
            Self::Dial(DialError::Draining) => "server_draining",
            Self::Dial(DialError::NoTransport) => "no_transport",
            Self::Dial(DialError::Overloaded) => "server_overloaded",
            Self::NoFlow => "no_such_flow",
            Self::BadVariables => "bad_variables",
            Self::KeyReused => "key_reused",
        }
    }
}

impl ControlError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCall => "no_such_call",
            Self::NoTarget => "no_such_target",
        }
    }
}

/// How long a key stands for its call.
const KEY_LIVES: Duration = Duration::from_secs(24 * 3600);

/// Keys that are remembered; beyond that the oldest are forgotten.
const MOST_KEYS: usize = 10_000;

struct State {
    guard: Guard,
    keys: Keys,
}

/// The calls by the keys that they were asked for with.
#[derive(Default)]
struct Keys {
    known: HashMap<String, Known>,
    in_order: VecDeque<String>,
}

#[derive(Clone, Copy)]
struct Known {
    print: u64,
    call: CallId,
    at: Moment,
}

impl Keys {
    fn find(&mut self, key: &str, now: Moment) -> Option<Known> {
        while let Some(oldest) = self.in_order.front() {
            if self.known.get(oldest).is_some_and(|known| now.saturating_sub(known.at) < KEY_LIVES) {
                break;
            }
            self.forget_oldest();
        }
        self.known.get(key).copied()
    }

    fn keep(&mut self, key: String, known: Known) {
        if self.in_order.len() >= MOST_KEYS {
            self.forget_oldest();
        }
        self.in_order.push_back(key.clone());
        self.known.insert(key, known);
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.in_order.pop_front() {
            self.known.remove(&oldest);
        }
    }
}

/// The same wish, the same print, within this process.
fn fingerprint(wish: &CallWish) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    wish.hash(&mut hasher);
    hasher.finish()
}

/// Every input of the flow has its value, and nothing else has.
fn variables(flow: &Flow, wish: &CallWish) -> Result<Variables, PlaceError> {
    let sound = |value: &str| (1..=32).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let value = |name: &Arc<str>| {
        let (_, value) = wish.variables.iter().find(|(given, _)| **given == **name)?;
        sound(value.expose()).then(|| (Arc::clone(name), value.clone()))
    };
    let all: Option<Variables> = flow.inputs().iter().map(value).collect();
    all.filter(|all| all.len() == wish.variables.len()).ok_or(PlaceError::BadVariables)
}

#[cfg(test)]
mod tests {
    use super::super::outgoing::Dialer;
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Outgoing>>);

    impl Dialer for Kept {
        fn dial(&self, call: Outgoing) -> Result<(), DialError> {
            self.0.lock().push(call);
            Ok(())
        }
    }

    fn outbound(dialer: &Arc<Kept>) -> Outbound {
        let config = OutboundConfig { enabled: true, allow: vec!["+250".into()], ..OutboundConfig::default() };
        let dialers = Dialers::default();
        dialers.set(Arc::<Kept>::clone(dialer));
        let catalogue = Arc::new(Catalogue::built_in().unwrap());
        Outbound::new(config, catalogue, Registry::default(), dialers, Targets::default(), Metrics::new())
    }

    fn wish(to: &str) -> CallWish {
        CallWish {
            to: Pii::new(to.into()),
            flow: Some("clinic_front_desk".into()),
            line: None,
            trunk: None,
            caller_id: None,
            variables: Vec::new(),
        }
    }

    #[test]
    fn the_same_key_places_one_call() {
        let dialer = Arc::new(Kept::default());
        let outbound = outbound(&dialer);
        let at = Duration::from_secs;
        let first = outbound.place(wish("+250788000001"), Some("a"), at(0)).unwrap();
        assert_eq!(outbound.place(wish("+250788000001"), Some("a"), at(9)), Ok(first));
        assert_eq!(outbound.place(wish("+250788000002"), Some("a"), at(9)), Err(PlaceError::KeyReused));
        assert_ne!(outbound.place(wish("+250788000001"), Some("b"), at(9)), Ok(first));
        assert_ne!(outbound.place(wish("+250788000001"), Some("a"), at(90_000)), Ok(first), "a day later");
        assert_eq!(dialer.0.lock().len(), 3);
    }

    #[test]
    fn a_wish_that_cannot_be_is_refused_before_anything_is_dialled() {
        let dialer = Arc::new(Kept::default());
        let outbound = outbound(&dialer);
        let refused = |wish| outbound.place(wish, None, Duration::ZERO).unwrap_err().code();
        assert_eq!(refused(wish("+255788000001")), "number_not_allowed");
        assert_eq!(refused(CallWish { flow: Some("nothing".into()), ..wish("+250788000001") }), "no_such_flow");
        assert_eq!(refused(CallWish { flow: None, ..wish("+250788000001") }), "no_such_flow");
        let variables = vec![("pin".to_owned(), Pii::new("1".to_owned()))];
        assert_eq!(refused(CallWish { variables, ..wish("+250788000001") }), "bad_variables");
        assert!(dialer.0.lock().is_empty());
        let metrics = outbound.metrics.encode();
        assert!(metrics.contains("offhook_outbound_refused_total{why=\"no_such_flow\"} 2"), "{metrics}");
    }

    #[test]
    fn a_call_that_is_not_there_cannot_be_controlled() {
        let outbound = outbound(&Arc::default());
        assert_eq!(outbound.control(CallId::fresh(), Control::HangUp), Err(ControlError::NoCall));
    }
}
