//! Speech recognisers, one file per vendor.

pub mod azure;
mod by_stretch;
pub mod chain;
pub mod deepgram;
pub mod denoised;
pub mod openai;
mod stretches;
#[cfg(feature = "stt-whisper")]
pub mod whisper;
