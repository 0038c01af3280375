//! The telephone of a trial: a microphone that picks up its own loudspeaker, and a network that delays and loses.

use std::sync::Arc;

use offhook_media::{FRAME, Frame, SILENCE};

use super::echo::{EchoPath, LiveEcho};
use super::signal::{MobileCoding, add, through_mu_law, to_pcm};
use super::stage::ORIGIN;
use super::trial::{Arrival, Trial};
use crate::call::Moment;
use crate::sim::clock::samples;

/// Sends a trial packet by packet.
pub struct Phone {
    caller: Arc<[i16]>,
    arrivals: Vec<Arrival>,
    echo: Option<LiveEcho>,
    coding: Option<MobileCoding>,
    /// When the trial's first sample is spoken.
    begins: Moment,
    packet: usize,
}

impl Phone {
    pub fn new(trial: &Trial, begins: Moment) -> Self {
        Self {
            caller: Arc::clone(&trial.caller),
            arrivals: trial.arrivals(),
            echo: trial.echo.as_ref().map(EchoPath::live),
            coding: trial.mobile.then(MobileCoding::new),
            begins,
            packet: 0,
        }
    }

    pub fn is_on(&self) -> bool {
        self.packet < self.arrivals.len()
    }

    /// The next packet that has arrived by `now`. `sent` is what the loudspeaker was sent from [`ORIGIN`] on.
    pub fn next(&mut self, sent: &[i16], now: Moment) -> Option<(Frame, Moment)> {
        let fate = *self.arrivals.get(self.packet)?;
        let arrival = self.begins + samples((self.packet + 1) * FRAME + fate.late);
        if arrival > now {
            return None;
        }
        let first = self.packet * FRAME;
        let mut wave: Vec<f32> = self.caller.iter().skip(first).take(FRAME).map(|&sample| f32::from(sample)).collect();
        self.pick_up(&mut wave, sent, first);
        if let Some(coding) = &mut self.coding {
            coding.run(&mut wave);
        }
        self.packet += 1;
        let mut frame = SILENCE;
        if !fate.lost {
            frame.iter_mut().zip(through_mu_law(&to_pcm(&wave))).for_each(|(place, sample)| *place = sample);
        }
        Some((frame, arrival))
    }

    fn pick_up(&mut self, wave: &mut [f32], sent: &[i16], first: usize) {
        let Some(echo) = &mut self.echo else { return };
        let from = (self.begins.saturating_sub(ORIGIN).as_micros() / 125) as usize + first;
        let played: Vec<f32> = (from..from + FRAME).map(|at| sent.get(at).copied().map_or(0.0, f32::from)).collect();
        let mut back = [0.0; FRAME];
        echo.block(&played, &mut back);
        add(wave, &back);
    }
}
