//! The line to the caller: what it does to what we send, to what they say, and what of ours comes back.

use std::collections::VecDeque;
use std::time::Duration;

use offhook::call::Moment;
use offhook::call::leg::InFlight;
use offhook::sim::clock::Dice;
use offhook_media::{FRAME, Frame};

use super::words::Ledger;

pub const TICK: Duration = Duration::from_millis(20);

/// What the far side has not played yet.
pub enum Down {
    /// All that is sent is heard, this many frames later.
    Rtp { queue: VecDeque<Frame>, way: usize },
    /// A buffer that a clear empties.
    Buffered { queue: VecDeque<Frame>, cleared: Option<Moment> },
}

impl Down {
    pub fn draw(dice: &mut Dice) -> Self {
        match dice.below(2) {
            0 => Self::Rtp { queue: VecDeque::new(), way: 2 + dice.below(5) },
            _ => Self::Buffered { queue: VecDeque::new(), cleared: None },
        }
    }

    /// Frames that it takes in this tick.
    pub fn wants(&self) -> usize {
        match self {
            Self::Rtp { .. } => 1,
            Self::Buffered { queue, .. } => 5_usize.saturating_sub(queue.len()),
        }
    }

    pub fn in_flight(&self) -> InFlight {
        match self {
            Self::Rtp { way, .. } => InFlight { unheard: TICK * *way as u32, ahead: Duration::ZERO },
            Self::Buffered { queue, .. } => {
                let ahead = TICK * queue.len() as u32;
                InFlight { unheard: ahead, ahead }
            }
        }
    }

    pub fn send(&mut self, audible: bool, frame: &Frame, now: Moment) {
        match self {
            Self::Rtp { queue, .. } => queue.push_back(if audible { *frame } else { [0; FRAME] }),
            Self::Buffered { queue, cleared } => {
                let fades = cleared.take().is_some_and(|at| now - at < TICK);
                if audible && !fades {
                    queue.push_back(*frame);
                }
            }
        }
    }

    /// The caller hears 20 ms, or nothing.
    pub fn play(&mut self, ledger: &mut Ledger, now: Moment) -> Option<Frame> {
        let frame = match self {
            Self::Rtp { queue, way } if queue.len() < *way => return None,
            Self::Rtp { queue, .. } | Self::Buffered { queue, .. } => queue.pop_front(),
        };
        match &frame {
            Some(frame) => ledger.hear(frame, now),
            None => ledger.gap(),
        }
        frame
    }

    /// What was on its way as a call ended that had been cut off so shortly before.
    pub fn was_on_its_way(&self, since_cut: Duration) -> impl Iterator<Item = &Frame> {
        let queue = match self {
            Self::Rtp { queue, way } if since_cut < TICK * *way as u32 => Some(queue),
            _ => None,
        };
        queue.into_iter().flatten()
    }

    /// What is dropped.
    pub fn clear(&mut self, ledger: &mut Ledger, now: Moment) -> Duration {
        let dropped = self.in_flight().ahead;
        if let Self::Buffered { queue, cleared } = self
            && !queue.is_empty()
        {
            queue.clear();
            *cleared = Some(now);
            ledger.gap();
        }
        dropped
    }
}

/// What becomes of what the caller's telephone sends.
pub struct Up {
    /// The share of packets that are lost one by one.
    loss: f64,
    /// When all are lost for a while.
    bursts: Vec<(Moment, Moment)>,
    /// What comes back of ours: its gain, and what is still on its way.
    echo: f64,
    echoes: VecDeque<Option<Frame>>,
}

impl Up {
    pub fn draw(dice: &mut Dice, begins: Moment, lasts: Duration) -> Self {
        let loss = if dice.unit() < 0.5 { 0.0 } else { 0.1 * dice.unit() };
        let mut bursts = Vec::new();
        if dice.unit() < 0.3 {
            for _ in 0..1 + dice.below(4) {
                let from = begins + lasts.mul_f64(dice.unit());
                bursts.push((from, from + Duration::from_millis(100 + dice.below(1400) as u64)));
            }
        }
        if dice.below(60) == 0 {
            let from = begins + lasts.mul_f64(dice.unit());
            bursts.push((from, Moment::MAX));
        }
        // Down to a line on which a plain ear takes the bot for a caller.
        let echo = if dice.unit() < 0.7 { 0.0 } else { 0.4 * dice.unit() };
        Self { loss, bursts, echo, echoes: std::iter::repeat_n(None, 2 + dice.below(8)).collect() }
    }

    pub fn count(&self, count: &mut dyn FnMut(&str)) {
        if self.echo > 0.0 {
            count("line with echo");
        }
        if self.loss > 0.0 {
            count("line with loss");
        }
        self.bursts.iter().for_each(|(_, to)| count(if *to == Moment::MAX { "line dies" } else { "burst of loss" }));
    }

    pub fn is_lost(&self, dice: &mut Dice, now: Moment) -> bool {
        dice.unit() < self.loss || self.bursts.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Adds what comes back of what the caller hears now.
    pub fn echo(&mut self, heard: Option<Frame>, frame: &mut Frame) {
        self.echoes.push_back(heard.filter(|_| self.echo > 0.0));
        if let Some(Some(echo)) = self.echoes.pop_front() {
            for (sample, echo) in frame.iter_mut().zip(echo) {
                *sample = sample.saturating_add((f64::from(echo) * self.echo) as i16);
            }
        }
    }
}
