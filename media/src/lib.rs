//! Packets to 20 ms frames and back, and what the frames say about speech.
//!
//! Pure rules: no socket, no clock, no async, and no allocation per frame once a value is built.
//! Time is an argument (a [`Moment`]), so a thousand hours of calls run in minutes of virtual time.
//! Suppression of echo and noise and wide-band frames are deliberately absent.
#![forbid(unsafe_code)]

pub mod barge;
pub mod codec;
pub mod comfort;
pub mod conceal;
pub mod denoise;
pub mod digits;
pub mod dtmf;
pub mod echo;
pub mod g711;
pub mod gate;
pub mod inband;
pub mod inbound;
pub mod jitter;
pub mod level;
pub mod outbound;
pub mod playout;
pub mod quality;
pub mod reference;
pub mod resample;
pub mod rtcp;
pub mod rtp;
pub mod silero;
pub mod speech;
pub mod srtp;
pub mod tone;
pub mod vad;
pub mod voicing;
pub mod wav;

mod blocks;
mod caller;
mod delay;
mod edge;
mod fft;
mod sequencer;
mod tap;

/// Samples per second of every frame in this crate, Hz.
pub const RATE_HZ: u32 = 8000;
/// Samples in one frame.
pub const FRAME: usize = 160;
/// Length of one frame, ms.
pub const FRAME_MS: u32 = 20;

/// 20 ms of linear audio at 8 kHz.
pub type Frame = [i16; FRAME];

/// Time since an origin that the caller chooses and keeps for the whole call.
pub type Moment = core::time::Duration;

/// A frame of digital silence.
pub const SILENCE: Frame = [0; FRAME];

/// Samples per millisecond.
pub(crate) const PER_MS: usize = 8;

/// A moment as a count of samples since its origin (one sample lasts 125 us).
pub(crate) fn samples_at(moment: Moment) -> i64 {
    let whole = moment.as_secs().saturating_mul(u64::from(RATE_HZ));
    let part = u64::from(moment.subsec_nanos() / 125_000);
    i64::try_from(whole.saturating_add(part)).unwrap_or(i64::MAX)
}

/// A sample value from a computation in floating point, rounded and kept in range.
pub(crate) fn to_sample(value: f32) -> i16 {
    // A float to integer cast saturates, and maps NaN to 0. Rounded by hand because `round` is a call into the math
    // library on processors of the baseline.
    (value + 0.5f32.copysign(value)) as i16
}

/// Sum of products over whole lanes of sixteen, which the compiler turns into vector instructions.
///
/// A remainder shorter than a lane is left out: every caller's lengths are multiples of it.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, _), (b, _)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

pub(crate) const LANES: usize = 16;
