//! What an ear alone makes of a trial: pause at first evidence, commit, let go. No call around it, so that detection can be
//! judged by itself.

use offhook_media::barge::Ear;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

use super::score::{Act, Acts};
use super::signal::between;
use super::trial::Trial;
use crate::sim::clock::Dice;

/// Plays a trial to a fresh ear. Times are those of the packet that completes the evidence, samples from the trial's begin.
pub fn listen(network: &'static Network, trial: &Trial) -> Acts {
    let mut ear = Ear::new(network);
    let heard = trial.heard();
    let mut acts = Acts::default();
    // A decision takes effect at the next tick of the call's clock, whose phase has nothing to do with the caller's packets: the
    // last packet of the bot ends up to 20 ms after it.
    let phase = between(&mut Dice::new(trial.id, 2, 2), 0.0, FRAME as f32) as usize;
    let (mut committed, mut before) = (false, false);
    for (packet, arrival) in trial.arrivals().iter().enumerate() {
        let evidence = ear.packet(frame(&heard, packet), frame(&trial.bot, packet));
        let at = (packet + 1) * FRAME + arrival.late;
        let Some(evidence) = evidence else { continue };
        if at <= trial.intro {
            before = true;
            continue;
        }
        if core::mem::take(&mut before) {
            // What was said before the bot spoke was a turn of the caller's.
            ear.confirm_caller();
            ear.let_go();
            continue;
        }
        if evidence.commit {
            committed = true;
            ear.confirm_caller();
        }
        if evidence.released && !core::mem::take(&mut committed) {
            ear.was_mistaken();
        }
        let done = [(evidence.first, Act::Held), (evidence.commit, Act::Committed), (evidence.released, Act::Resumed)];
        if evidence.first {
            acts.push(at + phase, Act::Silent);
        }
        done.into_iter().filter(|(done, _)| *done).for_each(|(_, act)| acts.push(at, act));
    }
    acts
}

fn frame(wave: &[i16], packet: usize) -> &Frame {
    wave.as_chunks::<FRAME>().0.get(packet).unwrap_or(&offhook_media::SILENCE)
}
