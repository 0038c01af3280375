//! What is checked before it is spoken. Caller text and tool calls have their own files when their rules exist.

pub mod said;
