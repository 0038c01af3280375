//! The network of the storm: by seed it loses up to 20 %, repeats up to 10 %, and delays by up to 2 s, so that messages
//! overtake each other. Calls can be cut off from it for good.

use super::{Flow, Message, Moment, Transport};
use bytes::Bytes;
use offhook_sip::Refresher;
use offhook_sip::message::HeaderName;
use std::collections::{BTreeMap, HashMap};

pub struct Network {
    transport: Transport,
    loss: u64,
    repeat: u64,
    delay_ms: u64,
    flying: BTreeMap<(Moment, u64), (usize, Bytes)>,
    sent: u64,
    /// Call-IDs of which nothing passes any more, or nothing from one side.
    silent: HashMap<String, Option<usize>>,
}

impl Network {
    pub fn new(dice: &mut Dice) -> Self {
        let reliable = dice.percent(20);
        let transport = if reliable { Transport::Tcp } else { Transport::Udp };
        let loss = if reliable { 0 } else { dice.below(21) };
        let repeat = if reliable { 0 } else { dice.below(11) };
        let delay_ms = [5, 50, 300, 2000][usize::try_from(dice.below(4)).unwrap()];
        Self { transport, loss, repeat, delay_ms, flying: BTreeMap::new(), sent: 0, silent: HashMap::new() }
    }

    pub fn flow(&self, side: usize) -> Flow {
        let address = |side: usize| format!("10.0.0.{}:5060", side + 1).parse().unwrap();
        let connection = self.transport.is_reliable().then_some(1);
        Flow { transport: self.transport, local: address(side), remote: address(1 - side), connection }
    }

    pub fn cut(&mut self, call_id: String, from: Option<usize>) {
        self.silent.insert(call_id, from);
    }

    pub fn next(&self) -> Option<Moment> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    pub fn send(&mut self, from: usize, bytes: Bytes, now: Moment, dice: &mut Dice) {
        if !self.silent.is_empty() {
            let message = Message::parse(bytes.clone()).expect("endpoints write well-formed messages");
            let cut = message.text(HeaderName::CallId).and_then(|id| self.silent.get(&*id));
            if cut.is_some_and(|side| side.is_none_or(|side| side == from)) {
                return;
            }
        }
        if dice.percent(self.loss) {
            return;
        }
        for _ in 0..1 + u64::from(dice.percent(self.repeat)) {
            self.sent += 1;
            let at = now + Moment::from_millis(1 + dice.below(self.delay_ms));
            self.flying.insert((at, self.sent), (1 - from, bytes.clone()));
        }
    }

    pub fn arrived(&mut self, now: Moment) -> Option<(usize, Flow, Bytes)> {
        let first = self.flying.first_entry().filter(|first| first.key().0 <= now)?;
        let (side, bytes) = first.remove();
        Some((side, self.flow(side), bytes))
    }
}

/// Seeded chance.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn refresher(&mut self) -> Refresher {
        [Refresher::Any, Refresher::Local, Refresher::Remote][usize::try_from(self.below(3)).unwrap()]
    }
}
