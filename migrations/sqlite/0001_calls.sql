-- What is kept of each call. Times are RFC 3339 in UTC with six digits of a second, so that they sort as text.
-- Numbers of people are masked and their words scrubbed before they come here.

CREATE TABLE calls (
    id            TEXT PRIMARY KEY NOT NULL,
    via           TEXT NOT NULL,
    called        TEXT NOT NULL,
    caller        TEXT NOT NULL,
    flow          TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    -- Both absent while the call goes on.
    ended_at      TEXT,
    end_reason    TEXT,
    duration_ms   REAL,
    turns         INTEGER,
    barge_ins     INTEGER,
    frames_sent   INTEGER,
    frames_received INTEGER,
    packets_lost  INTEGER,
    concealed_ms  INTEGER,
    jitter_ms     REAL,
    late_ticks    INTEGER
) STRICT;

CREATE INDEX calls_unfinished ON calls (started_at) WHERE ended_at IS NULL;

-- One row for each turn of a call.
CREATE TABLE user_sessions (
    call_id       TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    at            TEXT NOT NULL,
    step          TEXT NOT NULL,
    caller_words  TEXT,
    keys_pressed  INTEGER,
    heard         TEXT,
    unheard       TEXT,
    asr_ms        REAL,
    llm_ms        REAL,
    tts_ms        REAL,
    total_ms      REAL,
    barge_in_ms   REAL,
    error         TEXT,
    PRIMARY KEY (call_id, number)
) STRICT;

CREATE INDEX user_sessions_at ON user_sessions (at);

CREATE TABLE events (
    id            TEXT PRIMARY KEY NOT NULL,
    call_id       TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    at            TEXT NOT NULL,
    at_ms         REAL NOT NULL,
    kind          TEXT NOT NULL,
    detail        TEXT
) STRICT;

CREATE INDEX events_call ON events (call_id, id);
