//! ROOM 1: the only sockets to callers. A transport carries a call; it never decides what the call does.

pub mod twilio;
