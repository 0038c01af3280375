//! A media shard: one thread, its calls, one pacer. Nothing on it waits for anything but time and its inbox.
//!
//! Each call ticks every 20 ms in one of 20 slots of 1 ms, so that sends don't bunch; a call never moves. One timer
//! serves all calls of a shard: a timer per call costs 14-470 ms of lateness on a busy machine (docs/decisions).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::Moment;
use super::actor::{Actor, NewCall, Services};
use super::core::CallInput;
use crate::clock;
use crate::config::MediaConfig;
use inbox::{Inbox, Sender, inbox};

mod inbox;
mod priority;

/// The running shards; [`Shards::stop`] ends them.
pub struct Shards {
    shards: Vec<Shard>,
    next_key: AtomicU64,
}

/// The way to one call from any thread.
#[derive(Clone, Debug)]
pub struct CallPort {
    inbox: Sender<ShardMsg>,
    key: u64,
    overrun: Arc<AtomicBool>,
}

impl Shards {
    /// Starts the media threads.
    ///
    /// # Errors
    /// When a thread or its timer cannot be made.
    pub fn start(config: &MediaConfig, services: &Arc<Services>) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = config.shards.count(cores).get();
        let shards =
            (0..count).map(|n| Shard::start(n, config.realtime_priority, services)).collect::<Result<_, _>>()?;
        Ok(Self { shards, next_key: AtomicU64::new(1) })
    }

    /// A place on the shard that has the fewest calls.
    pub fn place(&self) -> Option<CallPort> {
        let shard = self.shards.iter().min_by_key(|shard| shard.calls.load(Ordering::Relaxed))?;
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        Some(CallPort { inbox: shard.inbox.clone(), key, overrun: Arc::default() })
    }

    /// Ends the threads; calls that still run are dropped without a word, so end them first.
    pub fn stop(&self) {
        for shard in &self.shards {
            shard.inbox.close();
            if let Some(thread) = shard.thread.lock().take() {
                let _ = thread.join();
            }
        }
    }
}

impl CallPort {
    /// Hands a call over to its shard. `false`: the shard is not keeping up, the call is not begun.
    #[must_use]
    pub fn begin(&self, call: NewCall) -> bool {
        let begin = ShardMsg::Begin { call: Box::new(call), port: self.clone() };
        self.inbox.try_send(begin).is_ok()
    }

    /// Tells the call something, waiting while its shard's inbox is full. For tasks that can wait.
    pub async fn send(&self, input: CallInput) {
        // A closed inbox means that the process is going down.
        self.inbox.send(ShardMsg::To(self.key, input)).await;
    }

    /// Tells the call something without waiting. A full inbox ends the call: control is never dropped silently.
    pub fn signal(&self, input: CallInput) {
        if self.inbox.try_send(ShardMsg::To(self.key, input)).is_err() {
            self.overrun.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn overrun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.overrun)
    }
}

/// Messages that may wait for one shard; see [`CallPort`] for what happens beyond.
const INBOX: usize = 8192;

/// Messages taken in one go before the clock is looked at again.
const BATCH: usize = 64;

const SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);

/// A shard that is later than this (a suspended machine) goes on from now instead of catching up.
const HOPELESSLY_LATE: Duration = Duration::from_millis(100);

enum ShardMsg {
    Begin { call: Box<NewCall>, port: CallPort },
    To(u64, CallInput),
}

struct Shard {
    inbox: Sender<ShardMsg>,
    calls: Arc<AtomicU32>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shard {
    fn start(number: usize, realtime: bool, services: &Arc<Services>) -> std::io::Result<Self> {
        let (sender, messages) = inbox(INBOX)?;
        let calls = Arc::new(AtomicU32::new(0));
        let wheel = Wheel::new(Arc::clone(services), Arc::clone(&calls));
        let thread = std::thread::Builder::new().name(format!("media-{number}")).spawn(move || {
            if realtime {
                priority::ask_for_realtime();
            }
            if let Err(error) = run(wheel, messages) {
                tracing::error!(%error, "media shard ended: the system cannot wait");
            }
        })?;
        Ok(Self { inbox: sender, calls, thread: Mutex::new(Some(thread)) })
    }
}

fn run(mut wheel: Wheel, mut inbox: Inbox<ShardMsg>) -> std::io::Result<()> {
    while !inbox.is_closed() {
        inbox.wait(wheel.next_due())?;
        for message in std::iter::from_fn(|| inbox.pop()).take(BATCH) {
            wheel.take(message);
        }
        wheel.run_due(clock::now());
    }
    Ok(())
}

/// The shard's calls, by slot and by due timer.
struct Wheel {
    services: Arc<Services>,
    calls: HashMap<u64, Box<Actor>>,
    slots: [Vec<u64>; SLOTS],
    /// The next slot to run, and when.
    at: (usize, Moment),
    timers: BinaryHeap<Reverse<(Moment, u64)>>,
    count: Arc<AtomicU32>,
}

impl Wheel {
    fn new(services: Arc<Services>, count: Arc<AtomicU32>) -> Self {
        Self {
            services,
            calls: HashMap::new(),
            slots: Default::default(),
            at: (0, clock::now()),
            timers: BinaryHeap::new(),
            count,
        }
    }

    fn take(&mut self, message: ShardMsg) {
        let now = clock::now();
        match message {
            ShardMsg::Begin { call, port } => self.begin(*call, port, now),
            ShardMsg::To(key, input) => {
                self.with(key, now, |actor| actor.deliver(input, now));
            }
        }
    }

    fn begin(&mut self, call: NewCall, port: CallPort, now: Moment) {
        if self.calls.is_empty() {
            self.at.1 = now;
        }
        let key = port.key;
        let actor = Actor::new(call, port, Arc::clone(&self.services), now);
        self.calls.insert(key, Box::new(actor));
        if let Some(slot) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
            slot.push(key);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// When something is to be done.
    fn next_due(&self) -> Option<Moment> {
        let (slot, at) = self.at;
        let busy = (0u32..).zip(self.slots.iter().cycle().skip(slot).take(SLOTS)).find(|(_, calls)| !calls.is_empty());
        let tick = busy.map(|(ahead, _)| at + SLOT * ahead);
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        tick.into_iter().chain(timer).min()
    }

    fn run_due(&mut self, now: Moment) {
        while let Some(&Reverse((at, key))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.with(key, now, |actor| actor.timeout(now));
        }
        if now.saturating_sub(self.at.1) > HOPELESSLY_LATE {
            self.at.1 = now;
        }
        while self.at.1 <= now {
            let (slot, planned) = self.at;
            self.tick(slot, planned);
            self.at = ((slot + 1) % SLOTS, planned + SLOT);
        }
    }

    fn tick(&mut self, slot: usize, planned: Moment) {
        let mut position = 0;
        while let Some(&key) = self.slots.get(slot).and_then(|keys| keys.get(position)) {
            let now = clock::now();
            // A call that ended has left the slot, and another one stands in its place.
            if self.with(key, now, |actor| actor.tick(planned, now)) {
                position += 1;
            }
        }
    }

    /// Lets one call do something, keeps its next timer, and removes it once it is over. A panic ends that call only.
    /// Whether the call goes on.
    fn with(&mut self, key: u64, now: Moment, act: impl FnOnce(&mut Actor)) -> bool {
        let Some(actor) = self.calls.get_mut(&key) else { return false };
        if catch_unwind(AssertUnwindSafe(|| act(actor))).is_err() {
            tracing::error!("a call failed inside; it is ended, the others go on");
            actor.abort(now);
        }
        if actor.is_over() {
            self.remove(key);
            return false;
        }
        // Ticks look at the timers anyway; only what is due before the next one needs the heap.
        if let Some(at) = actor.wake_at().filter(|at| *at < now + SLOT * SLOTS as u32) {
            self.timers.push(Reverse((at.max(now + Duration::from_micros(1)), key)));
        }
        true
    }

    fn remove(&mut self, key: u64) {
        self.calls.remove(&key);
        for slot in &mut self.slots {
            if let Some(position) = slot.iter().position(|k| *k == key) {
                slot.swap_remove(position);
            }
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
