//! Speech recognisers, one file per vendor.

mod by_stretch;
pub mod deepgram;
pub mod denoised;
pub mod openai;
mod stretches;
#[cfg(feature = "stt-whisper")]
pub mod whisper;
