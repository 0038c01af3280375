//! Language models, one file per wire protocol.

pub mod openai;
