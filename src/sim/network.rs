//! A seeded network between the caller and its line: loss, jitter, reordering, duplicates and delay. Pure: packets and
//! times in, packets and due times out; the same seed gives the same network.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::clock::{Dice, Moment};

/// What the network does to packets, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Profile {
    /// Share of packets lost, 0.0 to 1.0.
    pub loss: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// Share of packets held back by 20 to 45 ms, so that later ones overtake them.
    pub reorder: f64,
    /// Largest extra delay in ms, evenly distributed; order is kept.
    pub jitter_ms: f64,
    /// Delay of every packet in ms.
    pub delay_ms: f64,
}

impl Profile {
    /// Whether packets pass untouched.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Profile {
    type Err = String;

    /// Reads `loss=2%,jitter=30ms,reorder=1%,duplicate=1%,delay=40ms`, or the name of a profile.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut profile = Self::default();
        let text = NAMED.iter().find(|(name, _)| *name == text.trim()).map_or(text, |(_, keys)| keys);
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("network `{part}`: expected key=value"))?;
            match key.trim() {
                "loss" => profile.loss = share(key, value)?,
                "duplicate" => profile.duplicate = share(key, value)?,
                "reorder" => profile.reorder = share(key, value)?,
                "jitter" => profile.jitter_ms = millis(key, value)?,
                "delay" => profile.delay_ms = millis(key, value)?,
                other => return Err(format!("network `{other}`: expected loss, jitter, reorder, duplicate or delay")),
            }
        }
        Ok(profile)
    }
}

/// One direction of one call.
#[derive(Debug)]
pub struct Network<T> {
    profile: Profile,
    dice: Dice,
    waiting: BinaryHeap<Reverse<Waiting<T>>>,
    last_due: Moment,
    order: u64,
}

impl<T: Clone> Network<T> {
    pub fn new(profile: Profile, dice: Dice) -> Self {
        Self { profile, dice, waiting: BinaryHeap::new(), last_due: Moment::ZERO, order: 0 }
    }

    /// A packet enters at `now`; it leaves by [`Network::pop`], or never.
    pub fn push(&mut self, now: Moment, packet: T) {
        // The same number of dice per packet, so that one key of the profile does not change what another does.
        let [loss, duplicate, reorder, jitter] = [(); 4].map(|()| self.dice.unit());
        if loss < self.profile.loss {
            return;
        }
        let delay = self.profile.delay_ms + self.profile.jitter_ms * jitter;
        let in_order = (now + millis_of(delay)).max(self.last_due);
        self.last_due = in_order;
        let due = if reorder < self.profile.reorder { in_order + millis_of(20.0 + 25.0 * jitter) } else { in_order };
        if duplicate < self.profile.duplicate {
            self.wait(due, packet.clone());
        }
        self.wait(due, packet);
    }

    /// When the next packet is due.
    pub fn due(&self) -> Option<Moment> {
        self.waiting.peek().map(|Reverse(w)| w.due)
    }

    /// The next packet due at or before `now`, with its time.
    pub fn pop(&mut self, now: Moment) -> Option<(Moment, T)> {
        if self.waiting.peek()?.0.due > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(w)| (w.due, w.packet))
    }

    fn wait(&mut self, due: Moment, packet: T) {
        self.order += 1;
        self.waiting.push(Reverse(Waiting { due, order: self.order, packet }));
    }
}

#[derive(Debug)]
struct Waiting<T> {
    due: Moment,
    order: u64,
    packet: T,
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

fn share(key: &str, value: &str) -> Result<f64, String> {
    let bad = || format!("network {key} `{value}`: expected a percentage such as 2%");
    let percent: f64 = value.trim().strip_suffix('%').ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(bad()) }
}

fn millis(key: &str, value: &str) -> Result<f64, String> {
    let bad = || format!("network {key} `{value}`: expected a time such as 30ms, at most 5000ms");
    let ms: f64 = value.trim().strip_suffix("ms").ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
    if (0.0..=5000.0).contains(&ms) { Ok(ms) } else { Err(bad()) }
}

/// The profiles that turn-taking is published for.
const NAMED: [(&str, &str); 3] = [("clean", ""), ("jitter20", "jitter=20ms"), ("loss3", "loss=3%,delay=40ms")];

fn millis_of(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(profile: &str, seed: u64) -> Vec<(Moment, u32)> {
        let mut network = Network::new(profile.parse().unwrap(), Dice::new(seed, 0, 0));
        let mut out = Vec::new();
        for n in 0..2000u32 {
            let now = Duration::from_millis(20 * u64::from(n));
            network.push(now, n);
            out.extend(std::iter::from_fn(|| network.pop(now)));
        }
        out
    }

    #[test]
    fn a_clean_network_changes_nothing() {
        let out = run("", 1);
        assert!(
            out.iter().enumerate().all(|(i, &(at, n))| n as usize == i && at == Duration::from_millis(20 * i as u64))
        );
    }

    #[test]
    fn the_same_seed_is_the_same_network() {
        let profile = "loss=2%,jitter=30ms,reorder=1%,duplicate=1%";
        assert_eq!(run(profile, 42), run(profile, 42));
        assert_ne!(run(profile, 42), run(profile, 43));
    }

    #[test]
    fn each_key_does_what_it_says() {
        let lost = 2000 - run("loss=5%", 3).len();
        assert!((60..=140).contains(&lost), "{lost}");
        let twice = run("duplicate=5%", 3).len() - 2000;
        assert!((60..=140).contains(&twice), "{twice}");
        let swapped = run("reorder=5%", 3).windows(2).filter(|w| w[0].1 > w[1].1).count();
        assert!(swapped > 40, "{swapped}");
        let jittered = run("jitter=30ms", 3);
        assert!(jittered.windows(2).all(|w| w[0].1 < w[1].1), "jitter alone keeps the order");
        assert!(jittered.iter().any(|&(at, n)| at > Duration::from_millis(20 * u64::from(n) + 25)));
    }

    #[test]
    fn refuses_unknown_keys_and_units() {
        assert!("los=2%".parse::<Profile>().unwrap_err().contains("`los`"));
        assert!("loss=2".parse::<Profile>().unwrap_err().contains("percentage"));
        assert!("jitter=30".parse::<Profile>().unwrap_err().contains("30ms"));
        assert_eq!("loss3".parse::<Profile>(), "loss=3%,delay=40ms".parse());
        assert_eq!("clean".parse(), Ok(Profile::default()));
        assert!("loss".parse::<Profile>().unwrap_err().contains("key=value"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<Profile>();
        }
    }
}
