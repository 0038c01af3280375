//! Rows of either engine as what they stand for. An engine says how a column is read; what the columns mean is said here.

use jiff::Timestamp;

use super::read::{CallRow, EventRow, TurnRow};
use super::record::{CallId, CallSummary, Quality};
use super::row::Turn;
use crate::telemetry::pii::Pii;

type Decoded<T> = Result<T, sqlx::Error>;

/// A row that was read. What is NULL is `None`.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Decoded<Option<String>>;
    fn whole(&self, column: &str) -> Decoded<Option<i64>>;
    fn real(&self, column: &str) -> Decoded<Option<f64>>;
    fn flag(&self, column: &str) -> Decoded<bool>;
    fn bytes(&self, column: &str) -> Decoded<Vec<u8>>;

    /// A text that is never NULL.
    fn name(&self, column: &str) -> Decoded<String> {
        self.text(column)?.ok_or_else(|| unexpected(format!("{column}: NULL")))
    }

    /// A count that is never below 0.
    fn count(&self, column: &str) -> Decoded<Option<u64>> {
        let count = self.whole(column)?.map(u64::try_from).transpose();
        count.map_err(|error| unexpected(format!("{column}: {error}")))
    }

    fn small(&self, column: &str) -> Decoded<Option<u32>> {
        let count = self.whole(column)?.map(u32::try_from).transpose();
        count.map_err(|error| unexpected(format!("{column}: {error}")))
    }

    fn number(&self, column: &str) -> Decoded<u32> {
        self.small(column)?.ok_or_else(|| unexpected(format!("{column}: NULL")))
    }

    /// Milliseconds that are never NULL.
    fn ms(&self, column: &str) -> Decoded<f64> {
        self.real(column)?.ok_or_else(|| unexpected(format!("{column}: NULL")))
    }

    fn moment(&self, column: &str) -> Decoded<Option<Timestamp>> {
        let at = self.text(column)?.map(|text| text.parse()).transpose();
        at.map_err(|error: jiff::Error| unexpected(format!("{column}: {error}")))
    }

    /// A moment that is never NULL.
    fn at(&self, column: &str) -> Decoded<Timestamp> {
        self.moment(column)?.ok_or_else(|| unexpected(format!("{column}: NULL")))
    }

    fn words(&self, column: &str) -> Decoded<Option<Pii<String>>> {
        Ok(self.text(column)?.map(Pii::new))
    }
}

pub(super) fn unexpected(what: String) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

pub(super) fn call(row: &impl Columns) -> Decoded<CallRow> {
    let ended_at = row.moment("ended_at")?;
    Ok(CallRow {
        id: CallId::parse(&row.name("id")?).map_err(unexpected)?,
        via: row.name("via")?,
        direction: row.name("direction")?,
        trunk: row.text("trunk")?,
        transfer: row.text("transfer")?,
        called: Pii::new(row.name("called")?),
        caller: Pii::new(row.name("caller")?),
        flow: row.name("flow")?,
        started_at: row.at("started_at")?,
        summary: ended_at.map(|_| summary(row)).transpose()?,
        ended_at,
        end_reason: row.text("end_reason")?,
    })
}

fn summary(row: &impl Columns) -> Decoded<CallSummary> {
    let count = |column: &str| row.count(column).map(Option::unwrap_or_default);
    let small = |column: &str| row.small(column).map(Option::unwrap_or_default);
    let ms = |column: &str| row.real(column).map(Option::unwrap_or_default);
    Ok(CallSummary {
        duration_ms: ms("duration_ms")?,
        turns: small("turns")?,
        barge_ins: small("barge_ins")?,
        frames_sent: count("frames_sent")?,
        frames_received: count("frames_received")?,
        packets_lost: count("packets_lost")?,
        concealed_ms: count("concealed_ms")?,
        jitter_ms: ms("jitter_ms")?,
        late_ticks: count("late_ticks")?,
        holds: small("holds")?,
        held_ms: ms("held_ms")?,
        quality: Box::new(Quality {
            loss_percent: row.real("loss_percent")?,
            far_loss_percent: row.real("far_loss_percent")?,
            round_trip_ms: row.real("round_trip_ms")?,
            r_factor: row.real("r_factor")?,
            mos: row.real("mos")?,
            codec: row.text("codec")?,
            srtp: row.text("srtp")?,
        }),
        ..CallSummary::default()
    })
}

pub(super) fn turn(row: &impl Columns) -> Decoded<TurnRow> {
    Ok(TurnRow {
        number: row.number("number")?,
        at: row.at("at")?,
        step: row.name("step")?,
        caller_words: row.words("caller_words")?,
        keys_pressed: row.small("keys_pressed")?,
        heard: row.words("heard")?,
        unheard: row.words("unheard")?,
        asr_ms: row.real("asr_ms")?,
        llm_ms: row.real("llm_ms")?,
        tts_ms: row.real("tts_ms")?,
        total_ms: row.real("total_ms")?,
        barge_in_ms: row.real("barge_in_ms")?,
        error: row.text("error")?,
    })
}

/// A turn as the CSV keeps it.
pub(super) fn kept_turn(row: &impl Columns) -> Decoded<Turn> {
    Ok(Turn {
        call: row.name("call_id")?,
        number: row.number("number")?,
        at: row.name("at")?,
        step: row.name("step")?,
        caller_words: row.text("caller_words")?,
        keys_pressed: row.small("keys_pressed")?,
        heard: row.text("heard")?,
        unheard: row.text("unheard")?,
        asr_ms: row.real("asr_ms")?,
        llm_ms: row.real("llm_ms")?,
        tts_ms: row.real("tts_ms")?,
        total_ms: row.real("total_ms")?,
        barge_in_ms: row.real("barge_in_ms")?,
        error: row.text("error")?,
    })
}

pub(super) fn event(row: &impl Columns) -> Decoded<EventRow> {
    // A detail that was cut for its length is no JSON any more; it is still worth reading.
    let detail = row.text("detail")?;
    let detail = detail.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)));
    Ok(EventRow { at: row.at("at")?, at_ms: row.ms("at_ms")?, kind: row.name("kind")?, detail: detail.map(Pii::new) })
}
