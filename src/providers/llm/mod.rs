//! Language models, one file per wire protocol, and the chain that asks the next one when one fails.

pub mod anthropic;
pub mod chain;
pub mod openai;
mod streamed;
