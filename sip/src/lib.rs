//! SIP and SDP rules without I/O: bytes and time in, messages and events out.
