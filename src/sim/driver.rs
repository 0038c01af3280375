//! Carries all calls of a run on one thread: every millisecond it reads what the sockets have, and each call's frame
//! goes out in its own of the 20 slots of a frame, by absolute deadlines.
//!
//! One thread and one epoll set instead of a timer per call, because the harness shares the machine with the server
//! that it measures. Dialling and analysis, which may take longer than a slot, are other threads' work.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::audio::{FRAME, SILENCE, ulaw};
use super::caller::{Action, Outcome};
use super::clock::{Moment, RunClock, ms_between};
use super::leg::{Dialled, Leg, LegEvent, Ready, Slot};
use super::party::{Heard, Notes, Party};
use super::timeline::{MarkKind, Timeline};

/// A call that may begin.
pub struct Plan {
    pub call: usize,
    pub caller: Box<dyn Party>,
    /// The slot of the frame, 0 to 19 ms, in which it sends.
    pub phase_ms: u8,
    /// When it may be placed, since the run's start.
    pub not_before: Moment,
}

/// A call that is over.
pub struct Finished {
    pub call: usize,
    pub outcome: Outcome,
    pub timeline: Timeline,
}

/// What the harness itself did to the figures: frames that it sent late because it was not run in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct OwnLateness {
    /// Whether the system let the harness run ahead of ordinary programs.
    pub realtime: bool,
    pub frames: u64,
    pub over_5_ms: u64,
    pub max_ms: f64,
}

/// How a run's calls are placed: given a call, answers on the channel, at once or later.
pub type Dial<'a> = dyn FnMut(usize, &SyncSender<Dialled>) + 'a;

/// Runs all plans, `concurrency` at a time, and hands each finished call to `done`.
///
/// # Errors
/// What the system says when no epoll set can be made.
pub fn drive(
    clock: RunClock,
    plans: Vec<Plan>,
    concurrency: usize,
    dial: &mut Dial<'_>,
    done: &SyncSender<Finished>,
) -> std::io::Result<OwnLateness> {
    let realtime = ask_for_realtime();
    let (answers, dialled) = sync_channel(concurrency.max(1));
    let mut driver = Driver {
        clock,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        live: Vec::new(),
        events: Vec::new(),
        lateness: OwnLateness { realtime, ..OwnLateness::default() },
    };
    let mut waiting: std::collections::VecDeque<Plan> = plans.into();
    let mut dialling: Vec<Plan> = Vec::new();
    let mut slot = clock.now();
    while !waiting.is_empty() || !dialling.is_empty() || !driver.live.is_empty() {
        let now = clock.now();
        let free = concurrency.saturating_sub(dialling.len() + driver.live.len());
        let may_dial = |plan: &mut Plan| free > 0 && plan.not_before <= now;
        if let Some(plan) = waiting.pop_front_if(may_dial) {
            dial(plan.call, &answers);
            dialling.push(plan);
        }
        driver.adopt(&dialled, &mut dialling, done);
        driver.slot(done);
        slot += SLOT;
        if slot + 20 * SLOT < clock.now() {
            slot = clock.now();
        }
        clock.sleep_until(slot);
    }
    Ok(driver.lateness)
}

struct Driver {
    clock: RunClock,
    epoll: Epoll,
    live: Vec<Live>,
    events: Vec<LegEvent>,
    lateness: OwnLateness,
}

struct Live {
    call: usize,
    caller: Box<dyn Party>,
    leg: Box<dyn Leg>,
    ready: Ready,
    /// When the leg wants to be served though nothing has arrived.
    due: Option<Moment>,
    phase_ms: u8,
    /// When the next frame is due; nothing is sent before the answer.
    next_frame: Option<Moment>,
    hung_up: Option<Moment>,
    timeline: Timeline,
    over: bool,
}

impl Driver {
    /// Takes over calls that have a line now.
    fn adopt(&mut self, dialled: &Receiver<Dialled>, dialling: &mut Vec<Plan>, done: &SyncSender<Finished>) {
        loop {
            let answer = match dialled.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            };
            let Some(at) = dialling.iter().position(|plan| plan.call == answer.call) else { continue };
            let plan = dialling.swap_remove(at);
            let timeline = Timeline { placed: answer.placed, ..Timeline::default() };
            match answer.leg {
                Ok(leg) => self.watch(plan, leg, timeline),
                Err(why) => fail_setup(plan, timeline, &why, self.clock.now(), done),
            }
        }
    }

    fn watch(&mut self, plan: Plan, leg: Box<dyn Leg>, timeline: Timeline) {
        for (index, socket) in leg.sockets().into_iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, plan.call as u64 * 2 + index as u64);
            // Only a lack of kernel memory can refuse a fresh socket; the call then fails for hearing nothing.
            let _ = self.epoll.add(socket, event);
        }
        self.live.push(Live {
            call: plan.call,
            caller: plan.caller,
            leg,
            ready: Ready { first: true, second: true },
            due: Some(Moment::ZERO),
            phase_ms: plan.phase_ms,
            next_frame: None,
            hung_up: None,
            timeline,
            over: false,
        });
    }

    fn slot(&mut self, done: &SyncSender<Finished>) {
        let mut ready = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut ready, EpollTimeout::ZERO).unwrap_or(0);
        for event in ready.iter().take(count) {
            if let Some(live) = self.live.iter_mut().find(|live| live.call as u64 == event.data() / 2) {
                live.ready.first |= event.data() % 2 == 0;
                live.ready.second |= event.data() % 2 == 1;
            }
        }
        let slot = Slot { now: self.clock.now(), wall: self.clock.wall() };
        for live in &mut self.live {
            live.service(slot, &mut self.events);
            live.frame(&self.clock, slot.now, &mut self.lateness);
        }
        for index in (0..self.live.len()).rev() {
            if self.live.get(index).is_some_and(|live| live.over) {
                self.retire(index, done);
            }
        }
    }

    fn retire(&mut self, index: usize, done: &SyncSender<Finished>) {
        let live = self.live.swap_remove(index);
        for socket in live.leg.sockets() {
            let _ = self.epoll.delete(socket);
        }
        // Nobody listening means that the run was given up.
        let _ = done.send(live.finish(self.clock.now()));
    }
}

impl Live {
    fn service(&mut self, slot: Slot, events: &mut Vec<LegEvent>) {
        if !self.ready.any() && self.due.is_none_or(|due| due > slot.now) {
            return;
        }
        let ready = std::mem::take(&mut self.ready);
        self.leg.service(slot, ready, events);
        self.due = self.leg.due();
        for event in events.drain(..) {
            self.take(event);
        }
    }

    fn take(&mut self, event: LegEvent) {
        match event {
            LegEvent::Answered(at) => {
                self.timeline.answered = Some(at);
                self.caller.answered(at);
                self.next_frame = Some(first_slot(at, self.phase_ms));
            }
            LegEvent::Arrived(arrival) => self.timeline.arrivals.push(arrival),
            LegEvent::Heard { at, timestamp, octets } if self.hung_up.is_none() => {
                self.caller.hear(Heard { at, timestamp, octets: &octets });
                self.timeline.heard.push(at, &octets);
            }
            LegEvent::Delivered { at, octets } if self.hung_up.is_none() => self.timeline.delivered.push(at, &octets),
            LegEvent::Heard { .. } | LegEvent::Delivered { .. } => {}
            LegEvent::Cleared(at) => self.caller.mark(at, MarkKind::Cleared),
            LegEvent::Played { at, name } => self.caller.mark(at, MarkKind::Played(name)),
            LegEvent::Underrun { ms, .. } => self.timeline.underrun_ms += ms,
            LegEvent::Ended { at, by_caller, why } => {
                self.over = true;
                self.timeline.over = at;
                if !by_caller {
                    self.caller.ended(at, &why);
                }
            }
        }
    }

    /// Sends the frame that is due.
    fn frame(&mut self, clock: &RunClock, slot: Moment, lateness: &mut OwnLateness) {
        let sending = self.hung_up.is_none() && !self.over;
        let Some(due) = self.next_frame.filter(|&due| sending && due <= slot) else { return };
        let now = clock.now();
        self.next_frame = Some(due + FRAME_TIME);
        lateness.note(ms_between(now, due));
        let tick = self.caller.tick(now);
        match tick.action {
            Some(Action::Press(key)) => self.leg.press(now, key),
            Some(Action::HangUp) => {
                self.hung_up = Some(now);
                self.leg.hang_up(now);
                self.due = self.leg.due();
                return;
            }
            None => {}
        }
        let mut octets = [SILENCE; FRAME];
        if let Some(frame) = tick.frame {
            octets.iter_mut().zip(frame).for_each(|(octet, sample)| *octet = ulaw(sample));
            self.timeline.sent.push(now, &octets);
        }
        self.leg.send(now, &octets);
        self.due = self.leg.due();
    }

    fn finish(mut self, now: Moment) -> Finished {
        let last = self.timeline.arrivals.last().map(|a| a.at);
        self.caller.ended(now, "the line ended without a word");
        let mut outcome = self.caller.outcome().cloned().unwrap_or(Outcome::AsScripted);
        if let (Outcome::AsScripted, Some(hung_up), Some(last)) = (&outcome, self.hung_up, last) {
            let after = ms_between(last, hung_up);
            if after > MOST_AFTER_HANG_UP_MS {
                outcome = Outcome::Failed(super::caller::Failure {
                    at: last,
                    step: "after hang_up".into(),
                    why: format!("audio still came {after:.0} ms after the call was hung up"),
                });
            }
        }
        let Notes { marks, trials, bouts } = self.caller.into_notes();
        Finished { call: self.call, outcome, timeline: Timeline { marks, trials, bouts, ..self.timeline } }
    }
}

impl OwnLateness {
    fn note(&mut self, late_ms: f64) {
        self.frames += 1;
        self.over_5_ms += u64::from(late_ms > 5.0);
        self.max_ms = self.max_ms.max(late_ms);
    }
}

/// Asks to run ahead of ordinary programs, because a caller that stutters measures itself; but behind a server's own
/// real-time threads, because they are what is measured.
fn ask_for_realtime() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let lowest = ThreadPriority::try_from(1u8);
    lowest.is_ok_and(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok())
}

fn fail_setup(plan: Plan, timeline: Timeline, why: &str, now: Moment, done: &SyncSender<Finished>) {
    let mut caller = plan.caller;
    caller.ended(now, why);
    let outcome = caller.outcome().cloned().unwrap_or(Outcome::AsScripted);
    let _ = done.send(Finished { call: plan.call, outcome, timeline: Timeline { over: now, ..timeline } });
}

/// The first moment from `at` on that lies in the call's slot of the run's 20 ms frames.
fn first_slot(at: Moment, phase_ms: u8) -> Moment {
    let frame = at.as_millis() as u64 / 20;
    let candidate = Duration::from_millis(frame * 20 + u64::from(phase_ms));
    if candidate >= at { candidate } else { candidate + FRAME_TIME }
}

const SLOT: Duration = Duration::from_millis(1);
const FRAME_TIME: Duration = Duration::from_millis(20);
/// Audio in flight when a call is hung up is nobody's fault; more than this is.
const MOST_AFTER_HANG_UP_MS: f64 = 200.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_in_their_own_slot() {
        let ms = Duration::from_millis;
        assert_eq!(first_slot(ms(1000), 7), ms(1007));
        assert_eq!(first_slot(ms(1010), 7), ms(1027));
        assert_eq!(first_slot(ms(1007), 7), ms(1007));
        assert_eq!(first_slot(ms(1019) + Duration::from_micros(1), 19), ms(1039));
    }
}
