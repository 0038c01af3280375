//! Durable records: what happened on every call, written as it happens.
//!
//! A call writes through [`RecordSink`], which never waits; the writer task owns the database.

pub mod record;
