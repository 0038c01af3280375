//! A flood of INVITEs beside calls that go on: five times as many each second as the server has places, all of which are
//! taken. The flood comes from another address and acknowledges nothing, as floods do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook::sim::clock::{Moment, RunClock};

use crate::wire::{Wire, offer};

/// What the flood got.
#[derive(Debug, Default)]
pub struct Answers {
    pub sent: usize,
    pub refused: usize,
    /// Anything but 503: above all a 200.
    pub other: usize,
}

/// The source of a flood; it acts when it is told the time.
pub struct Flood {
    clock: RunClock,
    wires: Vec<Wire>,
    gap: Duration,
    due: Moment,
    answers: Answers,
}

impl Flood {
    pub fn new(per_second: u32, server: SocketAddrV4) -> Result<Self, String> {
        let clock = RunClock::start();
        let wires: Result<Vec<Wire>, String> = (0..SOURCES).map(|_| Wire::new(FROM, server)).collect();
        let due = clock.now();
        Ok(Self { clock, wires: wires?, gap: Duration::from_secs(1) / per_second, due, answers: Answers::default() })
    }

    /// Sends what is due and reads what has come.
    pub fn act(&mut self) {
        let now = self.clock.now();
        while self.due <= now {
            self.due += self.gap;
            let index = self.answers.sent;
            if let Some(wire) = self.wires.get(index % SOURCES) {
                wire.request("INVITE", index, 1, "", &offer(index, 9));
            }
            self.answers.sent += 1;
        }
        self.read();
    }

    pub fn answers(self) -> Answers {
        self.answers
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let (wall, now) = (self.clock.wall(), self.clock.now());
        for wire in &mut self.wires {
            while let Some((text, _)) = wire.receive(&mut buffer, wall, now) {
                match text.get(8..11) {
                    Some("100") => {}
                    Some("503") => self.answers.refused += 1,
                    _ => self.answers.other += 1,
                }
            }
        }
    }
}

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SOURCES: usize = 8;
