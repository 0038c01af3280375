//! What a process that was killed left behind: its spool, its unfinished calls, the turns that its CSV lacks.

use super::csv::day;
use super::record::CallId;
use super::writer::{PATIENCE, Writer};

/// Whether the earlier process's remains were seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The database has not answered since this process began, which was before this id.
    Due {
        before: CallId,
    },
    Done,
}

/// Brings home what can be, before this process records anything. What cannot be reached yet is left to [`late`].
///
/// # Errors
/// A database that answers and cannot be used.
pub(super) async fn at_start(writer: &mut Writer) -> Result<(), sqlx::Error> {
    writer.drain(PATIENCE).await;
    if writer.database.is_prepared() {
        bring_home(writer, None).await?;
        writer.recovery = Recovery::Done;
    }
    Ok(())
}

/// The same once a database answers that was away at the start. Calls of this process may be going on by now.
pub(super) async fn late(writer: &mut Writer) {
    let Recovery::Due { before } = writer.recovery else { return };
    if let Err(error) = writer.database.write(&[]).await {
        return tracing::debug!(%error, "the database is still away");
    }
    match bring_home(writer, Some(before)).await {
        Ok(()) => writer.recovery = Recovery::Done,
        Err(error) => tracing::warn!(%error, "what an earlier process left could not be looked at yet"),
    }
}

async fn bring_home(writer: &mut Writer, before: Option<CallId>) -> Result<(), sqlx::Error> {
    let closed = writer.database.close_unfinished(before).await?;
    if closed > 0 {
        tracing::warn!(calls = closed, "unfinished calls of an earlier process were closed as crash_recovered");
    }
    let Some(csv) = writer.csv.as_mut() else { return Ok(()) };
    let mut days = csv.days().unwrap_or_default();
    // A process killed at midnight may have left two days unfinished.
    days.truncate(2);
    if let Some(last) = writer.database.last_turn_at().await? {
        days.push(day(&last).to_owned());
    }
    days.sort_unstable();
    days.dedup();
    for day in days {
        let turns = writer.database.turns_of_day(&day).await?;
        match csv.make_equal(&day, &turns) {
            Ok(true) => tracing::warn!(day, "the CSV file lacked turns and was written again from the table"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, day, "the CSV file could not be compared with the table"),
        }
    }
    Ok(())
}
