//! What the ear and the floor together make of a trial, as in a call without a recogniser: quieter, held, given up, going on.

use std::time::Duration;

use offhook_media::barge::Ear;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

use super::score::{Act, Acts};
use super::trial::Trial;
use crate::turn::floor::{Decision, Floor, Mistake};
use crate::turn::{Interrupt, Rules};

/// Plays a trial to a fresh ear and floor, with the bot speaking from the end of its intro. Times are those of the packet that
/// completes the evidence, samples from the trial's begin.
pub fn play(network: &'static Network, trial: &Trial) -> Acts {
    let mut ear = Ear::new(network);
    let rules = Rules { interrupt: Interrupt::Speech, endpoint: Duration::from_secs(60), finish: false };
    let mut floor = Floor::new(rules, Duration::from_secs(600), false);
    let heard = trial.heard();
    let mut acts = Acts::default();
    let mut speaking = false;
    let (mut held, mut quiet) = (false, 0_u32);
    for (packet, arrival) in trial.arrivals().iter().enumerate() {
        let evidence = ear.packet(frame(&heard, packet), frame(&trial.bot, packet));
        let at = (packet + 1) * FRAME + arrival.late;
        let now = Duration::from_micros(at as u64 * 125);
        let Some(evidence) = evidence else { continue };
        if at <= trial.intro {
            continue;
        }
        if !std::mem::replace(&mut speaking, true) {
            // What was said before the bot spoke was a turn of the caller's.
            ear.confirm_caller();
            floor.bot_starts();
            continue;
        }
        quiet = if evidence.speech { 0 } else { quiet + 1 };
        if !floor.is_contested() && quiet >= TURN_OVER {
            // The bot of the trial has spoken on: the next hold is one more.
            acts.push(at, Act::Resumed);
            floor.bot_starts();
        }
        let decided = floor.timeout(now).or_else(|| floor.evidence(&evidence, now, now));
        match decided {
            Some(Decision::Hold { .. }) => {
                held = true;
                acts.push(at, Act::Held);
            }
            Some(Decision::Commit { .. }) => {
                acts.push(at, Act::Committed);
                held = false;
                ear.confirm_caller();
            }
            Some(Decision::Resume(mistake)) => {
                acts.push(at, Act::Resumed);
                if std::mem::take(&mut held) && mistake == Mistake::Silence {
                    ear.was_mistaken();
                }
            }
            Some(Decision::Duck | Decision::TurnEnded { .. }) | None => {}
        }
    }
    acts
}

fn frame(wave: &[i16], packet: usize) -> &Frame {
    wave.as_chunks::<FRAME>().0.get(packet).unwrap_or(&offhook_media::SILENCE)
}

/// Windows without speech after which a caller who took the floor is done: 256 ms.
const TURN_OVER: u32 = 8;
