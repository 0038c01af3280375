//! What strangers do with the server, a file for each subject; each test is named after who does it.

mod admission;
mod audio;
mod callers;
mod commands;
mod crossing;
mod dialogs;
mod doctor;
mod drain;
mod encrypted;
mod keys;
mod names;
mod network;
mod outbound;
mod proxy;
mod registrar;
mod strangers;
mod suites;
mod table;
mod tls;
mod transfer;
mod waiting;
mod web;

/// Quieter than any voice on a telephone line, louder than any noise of ours.
const AUDIBLE_DBFS: f32 = -40.0;

/// Real time passes: the caller on the other program's line listens.
async fn listen_for(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}
