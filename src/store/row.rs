//! Records as they are kept: numbers of people masked, their words scrubbed, keys counted.
//!
//! Everything that leaves the process for the database, the spool or the CSV goes through [`Privacy::row`]. Deliberately
//! absent: any way to make a row that skips it.

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;

use super::interruptions;
use super::record::{CallEvent, CallId, CallSummary, Record, RecordingEnded, TurnRecord};
use crate::telemetry::pii::Pii;
use crate::telemetry::scrub::{DIGITS, NUMBER, scrub};

/// One row for a table, as the spool file keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub(super) enum Row {
    Started {
        call: String,
        at: String,
        via: String,
        #[serde(default = "inbound")]
        direction: String,
        called: String,
        caller: String,
        flow: String,
    },
    Turn(Box<Turn>),
    Interruption(Box<interruptions::Kept>),
    Event {
        id: String,
        call: String,
        at: String,
        at_ms: f64,
        kind: String,
        detail: Option<String>,
    },
    Ended {
        call: String,
        at: String,
        reason: String,
        summary: Summary,
    },
    RecordingBegan {
        call: String,
        at: String,
        number: u32,
        format: String,
        consent: String,
    },
    RecordingEnded(Box<Recording>),
}

impl Row {
    /// The call that the row belongs to.
    pub(super) fn call(&self) -> &str {
        match self {
            Self::Started { call, .. }
            | Self::Event { call, .. }
            | Self::Ended { call, .. }
            | Self::RecordingBegan { call, .. } => call,
            Self::Turn(turn) => &turn.call,
            Self::Interruption(kept) => &kept.call,
            Self::RecordingEnded(recording) => &recording.call,
        }
    }

    /// When it happened.
    pub(super) fn at(&self) -> &str {
        match self {
            Self::Started { at, .. }
            | Self::Event { at, .. }
            | Self::Ended { at, .. }
            | Self::RecordingBegan { at, .. } => at,
            Self::Turn(turn) => &turn.at,
            Self::Interruption(kept) => &kept.at,
            Self::RecordingEnded(recording) => &recording.at,
        }
    }
}

/// A turn as table and CSV keep it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub call: String,
    pub number: u32,
    pub at: String,
    pub step: String,
    pub caller_words: Option<String>,
    /// How many, never which.
    pub keys_pressed: Option<u32>,
    pub heard: Option<String>,
    pub unheard: Option<String>,
    pub asr_ms: Option<f64>,
    pub llm_ms: Option<f64>,
    pub tts_ms: Option<f64>,
    pub total_ms: Option<f64>,
    pub barge_in_ms: Option<f64>,
    pub error: Option<String>,
}

/// A recording that is over, as the table keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Recording {
    pub call: String,
    pub at: String,
    pub number: u32,
    pub state: String,
    pub format: String,
    pub consent: String,
    pub ms: i64,
    pub bytes: i64,
    pub sha256: Option<String>,
    pub dropped_frames: i64,
    pub pauses: String,
    pub fault: Option<String>,
}

/// [`CallSummary`] in the database's integers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub duration_ms: f64,
    pub turns: i64,
    pub barge_ins: i64,
    pub frames_sent: i64,
    pub frames_received: i64,
    pub packets_lost: i64,
    pub concealed_ms: i64,
    pub jitter_ms: f64,
    pub late_ticks: i64,
    #[serde(default)]
    pub holds: i64,
    #[serde(default)]
    pub held_ms: f64,
    #[serde(default)]
    pub transfer: Option<String>,
    #[serde(default)]
    pub trunk: Option<String>,
    // Rows that an older version left in the spool know nothing of these.
    #[serde(default)]
    pub loss_percent: Option<f64>,
    #[serde(default)]
    pub far_loss_percent: Option<f64>,
    #[serde(default)]
    pub round_trip_ms: Option<f64>,
    #[serde(default)]
    pub r_factor: Option<f64>,
    #[serde(default)]
    pub mos: Option<f64>,
    #[serde(default)]
    pub codec: Option<String>,
    #[serde(default)]
    pub srtp: Option<String>,
}

/// How personal data is kept.
pub(super) struct Privacy {
    key: [u8; 32],
    keep_numbers: bool,
}

impl Privacy {
    /// `key` makes the same number the same pseudonym, and means nothing without this installation's key file.
    pub(super) const fn new(key: [u8; 32], keep_numbers: bool) -> Self {
        Self { key, keep_numbers }
    }

    /// The record as it is kept.
    pub(super) fn row(&self, record: Record) -> Row {
        match record {
            Record::CallStarted { call, at, via, direction, called, caller, flow } => Row::Started {
                call: call.to_string(),
                at: time(at),
                via: via.as_str().to_owned(),
                direction: direction.as_str().to_owned(),
                called: if is_short(&called) { called } else { self.number(&called) },
                caller: self.number(caller.expose()),
                flow: flow.to_string(),
            },
            Record::Turn { call, at, turn } => Row::Turn(Box::new(turn_row(call, at, *turn))),
            Record::Interruption { call, at, interruption } => {
                Row::Interruption(Box::new(interruptions::kept(call, at, *interruption)))
            }
            Record::Event { call, at, event } => event_row(call, at, event),
            Record::CallEnded { call, at, reason, summary } => Row::Ended {
                call: call.to_string(),
                at: time(at),
                reason: reason.as_str().to_owned(),
                summary: summary_row(&summary),
            },
            Record::RecordingBegan { call, at, began } => Row::RecordingBegan {
                call: call.to_string(),
                at: time(at),
                number: began.name.number,
                format: began.name.format.as_str().to_owned(),
                consent: began.consent.as_str().to_owned(),
            },
            Record::RecordingEnded { call, at, ended } => {
                Row::RecordingEnded(Box::new(recording_row(call, at, *ended)))
            }
        }
    }

    /// A number or address of a person: a pseudonym in letters and the last two digits, such as
    /// `#kdjfhgnbmcaelopi..56`.
    fn number(&self, number: &str) -> String {
        if self.keep_numbers || number.is_empty() {
            return number.to_owned();
        }
        let plain: String = number.chars().filter(|c| c.is_alphanumeric()).collect();
        // HMAC takes a key of any length, so this cannot fail; were it to, the number is still not kept.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "#".to_owned() };
        mac.update(plain.as_bytes());
        let digest = mac.finalize().into_bytes();
        // Letters only: a digest in digits reads like a phone number to whoever searches for leaks.
        let letter = |nibble: u8| char::from(b'a' + nibble);
        let name: String = digest.iter().take(8).flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]).collect();
        format!("#{name}..{}", last_two_digits(&plain))
    }
}

/// RFC 3339 in UTC, always six digits of a second: sorts as text.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Extensions and line numbers name no person.
fn is_short(number: &str) -> bool {
    number.len() < DIGITS && number.bytes().all(|b| b.is_ascii_digit())
}

fn last_two_digits(plain: &str) -> String {
    let digits: Vec<char> = plain.chars().filter(char::is_ascii_digit).collect();
    if digits.len() < DIGITS {
        return String::new();
    }
    digits.iter().rev().take(2).rev().collect()
}

fn turn_row(call: CallId, at: Timestamp, turn: TurnRecord) -> Turn {
    let words = |words: Option<Pii<String>>| words.map(|words| kept_words(&words));
    Turn {
        call: call.to_string(),
        number: turn.number,
        at: time(at),
        step: turn.step.to_string(),
        caller_words: words(turn.caller_words),
        keys_pressed: turn.keys.map(|keys| u32::try_from(keys.expose().chars().count()).unwrap_or(u32::MAX)),
        heard: words(turn.heard),
        unheard: words(turn.unheard),
        asr_ms: figure(turn.asr_ms),
        llm_ms: figure(turn.llm_ms),
        tts_ms: figure(turn.tts_ms),
        total_ms: figure(turn.total_ms),
        barge_in_ms: figure(turn.barge_in_ms),
        error: turn.error.map(|error| cap(scrub(&error).into_owned())),
    }
}

/// Words as they may be kept.
pub(super) fn kept_words(words: &Pii<String>) -> String {
    cap(scrub(words.expose()).into_owned())
}

/// A duration in ms to the microsecond. The database has no infinity and no not-a-number.
pub(super) fn figure(ms: Option<f64>) -> Option<f64> {
    ms.filter(|ms| ms.is_finite()).map(|ms| (ms * 1000.0).round() / 1000.0)
}

fn event_row(call: CallId, at: Timestamp, event: CallEvent) -> Row {
    // Which keys were pressed may be a PIN; that one was pressed is enough.
    let names_keys = is_about_keys(event.kind);
    let detail = event.detail.filter(|_| !names_keys).map(|detail| cap(scrub_json(detail.into_exposed()).to_string()));
    Row::Event {
        id: Uuid::now_v7().to_string(),
        call: call.to_string(),
        at: time(at),
        at_ms: figure(Some(event.at_ms)).unwrap_or_default(),
        kind: event.kind.to_owned(),
        detail,
    }
}

fn is_about_keys(name: &str) -> bool {
    matches!(name, "digit" | "digits" | "key" | "keys" | "dtmf" | "pin")
}

fn scrub_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(scrub(&text).into_owned()),
        Value::Number(number) if number.to_string().bytes().filter(u8::is_ascii_digit).count() >= DIGITS => {
            match number.as_f64() {
                Some(ms) if number.is_f64() && ms.abs() < 1e6 => Value::from((ms * 1000.0).round() / 1000.0),
                _ => Value::from(NUMBER),
            }
        }
        Value::Array(all) => all.into_iter().map(scrub_json).collect(),
        Value::Object(all) => {
            let kept = |(name, value): (String, Value)| {
                let value = if is_about_keys(&name) { Value::Null } else { scrub_json(value) };
                (scrub(&name).into_owned(), value)
            };
            Value::Object(all.into_iter().map(kept).collect())
        }
        other => other,
    }
}

fn recording_row(call: CallId, at: Timestamp, ended: RecordingEnded) -> Recording {
    Recording {
        call: call.to_string(),
        at: time(at),
        number: ended.name.number,
        state: ended.state.as_str().to_owned(),
        format: ended.name.format.as_str().to_owned(),
        consent: ended.consent.as_str().to_owned(),
        ms: whole(ended.ms),
        bytes: whole(ended.bytes),
        sha256: ended.sha256,
        dropped_frames: whole(ended.dropped_frames),
        // Numbers in a list: nothing that JSON cannot say.
        pauses: serde_json::to_string(&ended.pauses).unwrap_or_default(),
        fault: ended.fault.map(str::to_owned),
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn summary_row(summary: &CallSummary) -> Summary {
    let quality = &summary.quality;
    Summary {
        duration_ms: figure(Some(summary.duration_ms)).unwrap_or_default(),
        turns: summary.turns.into(),
        barge_ins: summary.barge_ins.into(),
        frames_sent: whole(summary.frames_sent),
        frames_received: whole(summary.frames_received),
        packets_lost: whole(summary.packets_lost),
        concealed_ms: whole(summary.concealed_ms),
        jitter_ms: figure(Some(summary.jitter_ms)).unwrap_or_default(),
        late_ticks: whole(summary.late_ticks),
        holds: summary.holds.into(),
        held_ms: figure(Some(summary.held_ms)).unwrap_or_default(),
        transfer: summary.transfer.map(str::to_owned),
        trunk: summary.trunk.as_deref().map(str::to_owned),
        loss_percent: figure(quality.loss_percent),
        far_loss_percent: figure(quality.far_loss_percent),
        round_trip_ms: figure(quality.round_trip_ms),
        r_factor: figure(quality.r_factor),
        mos: figure(quality.mos),
        codec: quality.codec.clone(),
        srtp: quality.srtp.clone(),
    }
}

/// What a row of before directions were kept is about.
fn inbound() -> String {
    "inbound".to_owned()
}

/// Cuts a text that no caller could have said in a turn, so that one row stays small.
fn cap(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Bytes of one text cell.
const LONGEST_TEXT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::record::{Direction, Via};
    use super::*;

    fn privacy(keep: bool) -> Privacy {
        Privacy::new([7; 32], keep)
    }

    fn started(called: &str, caller: &str) -> Record {
        Record::CallStarted {
            call: CallId::from_uuid(Uuid::from_u128(1)),
            at: Timestamp::UNIX_EPOCH,
            via: Via::Sip,
            direction: Direction::Inbound,
            called: called.to_owned(),
            caller: Pii::new(caller.to_owned()),
            flow: Arc::from("clinic"),
        }
    }

    fn numbers(privacy: &Privacy, called: &str, caller: &str) -> (String, String) {
        match privacy.row(started(called, caller)) {
            Row::Started { called, caller, .. } => (called, caller),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_caller_is_the_same_pseudonym_each_time_and_no_number() {
        let (called, caller) = numbers(&privacy(false), "1000", "+250788123456");
        assert_eq!(called, "1000");
        assert!(caller.starts_with('#') && caller.ends_with("..56"), "{caller}");
        assert_eq!(caller.chars().filter(char::is_ascii_digit).count(), 2);
        assert_eq!(numbers(&privacy(false), "1000", "+250 788-123-456").1, caller, "spacing makes no difference");
        assert_ne!(numbers(&privacy(false), "1000", "+250788123457").1, caller);
        assert_ne!(numbers(&Privacy::new([8; 32], false), "1000", "+250788123456").1, caller, "the key matters");
        assert_eq!(numbers(&privacy(false), "+250788000111", "").0.chars().next(), Some('#'));
        assert_eq!(numbers(&privacy(true), "1000", "+250788123456").1, "+250788123456");
        assert!(!numbers(&privacy(false), "1", "jean.claude@example.org").1.contains("jean"));
    }

    #[test]
    fn words_are_scrubbed_and_keys_counted() {
        let said = |text: &str| Some(Pii::new(text.to_owned()));
        let turn = TurnRecord {
            number: 3,
            step: "ask".into(),
            caller_words: said("it is 0788 123 456"),
            keys: said("4711#"),
            heard: said("write to a@b.org"),
            asr_ms: Some(f64::NAN),
            total_ms: Some(12.5),
            error: Some("no answer to +250788123456".into()),
            ..TurnRecord::default()
        };
        let row = turn_row(CallId::from_uuid(Uuid::nil()), Timestamp::UNIX_EPOCH, turn);
        assert_eq!(row.caller_words.as_deref(), Some("it is [number]"));
        assert_eq!(row.keys_pressed, Some(5));
        assert_eq!(row.heard.as_deref(), Some("write to [email]"));
        assert_eq!(row.error.as_deref(), Some("no answer to [number]"));
        assert_eq!((row.asr_ms, row.total_ms), (None, Some(12.5)));
        assert_eq!(row.at, "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn events_are_scrubbed_all_the_way_down() {
        let event = |kind, detail| match event_row(
            CallId::from_uuid(Uuid::nil()),
            Timestamp::UNIX_EPOCH,
            CallEvent { kind, at_ms: 1.0, detail: Some(Pii::new(detail)) },
        ) {
            Row::Event { detail, .. } => detail,
            other => panic!("{other:?}"),
        };
        assert_eq!(event("digit", serde_json::json!({"digit": "5"})), None);
        let deep = serde_json::json!({"a": [{"n": 250788123456_u64, "ms": 12.25, "late_ms": 1.23456789}], "keys": "99", "w": "a@b.org"});
        assert_eq!(
            event("step", deep).unwrap(),
            r#"{"a":[{"late_ms":1.235,"ms":12.25,"n":"[number]"}],"keys":null,"w":"[email]"}"#
        );
    }

    #[test]
    fn rows_come_back_from_the_spool_as_they_were() {
        let rows = [
            privacy(false).row(started("1000", "+250788123456")),
            Row::Turn(Box::new(Turn { number: 1, asr_ms: figure(Some(0.1 + 0.2)), ..Turn::default() })),
        ];
        for row in rows {
            let text = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let cut = cap("é".repeat(LONGEST_TEXT));
        assert!(cut.len() <= LONGEST_TEXT + '…'.len_utf8() && cut.ends_with("é…"));
    }
}
