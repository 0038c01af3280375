//! Packets to 20 ms frames and back, and what the frames say about speech. No I/O.

/// Sample rate of every frame, in Hz.
pub const RATE_HZ: u32 = 8000;
/// Samples in one 20 ms frame.
pub const FRAME: usize = 160;
/// One frame of 8 kHz mono linear PCM.
pub type Frame = [i16; FRAME];
