//! Speech recognisers, one file per vendor.

pub mod deepgram;
pub mod denoised;
pub mod openai;
