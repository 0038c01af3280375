//! Voices, one file per vendor, and what they share: audio of any rate made into 8 kHz samples.

pub mod azure;
pub mod chain;
mod continued;
pub mod deepgram;
pub mod elevenlabs;
pub mod embedded;
pub mod known;
pub mod openai;
mod pcm;
pub mod piper;
mod segments;
mod streamed;
#[cfg(test)]
mod streamed_tests;
mod trim;
mod wav;
pub(super) mod whole;
