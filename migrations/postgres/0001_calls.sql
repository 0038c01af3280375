-- What is kept of each call. Times are RFC 3339 in UTC with six digits of a second, so that they sort as text, byte by
-- byte. Numbers of people are masked and their words scrubbed before they come here.

CREATE TABLE calls (
    id            TEXT COLLATE "C" PRIMARY KEY,
    via           TEXT NOT NULL,
    direction     TEXT NOT NULL DEFAULT 'inbound',
    called        TEXT NOT NULL,
    caller        TEXT NOT NULL,
    flow          TEXT NOT NULL,
    started_at    TEXT COLLATE "C" NOT NULL,
    -- All absent while the call goes on.
    ended_at      TEXT COLLATE "C",
    end_reason    TEXT,
    duration_ms   DOUBLE PRECISION,
    turns         BIGINT,
    barge_ins     BIGINT,
    frames_sent   BIGINT,
    frames_received BIGINT,
    packets_lost  BIGINT,
    concealed_ms  BIGINT,
    jitter_ms     DOUBLE PRECISION,
    late_ticks    BIGINT,
    holds         BIGINT,
    held_ms       DOUBLE PRECISION,
    -- `ok`, `busy`, `no_answer`, ...; absent where no transfer was tried.
    transfer      TEXT,
    trunk         TEXT,
    -- How the call was heard: absent where nothing came or nothing was reported.
    loss_percent  DOUBLE PRECISION,
    -- Of our packets, by the far side's RTCP.
    far_loss_percent DOUBLE PRECISION,
    round_trip_ms DOUBLE PRECISION,
    -- ITU-T G.107: 0 to 93.2, and the mean opinion score that it stands for.
    r_factor      DOUBLE PRECISION,
    mos           DOUBLE PRECISION,
    codec         TEXT,
    -- The crypto suite of an encrypted call.
    srtp          TEXT
);

CREATE INDEX calls_unfinished ON calls (started_at) WHERE ended_at IS NULL;

-- One row for each turn of a call.
CREATE TABLE user_sessions (
    call_id       TEXT COLLATE "C" NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    at            TEXT COLLATE "C" NOT NULL,
    step          TEXT NOT NULL,
    caller_words  TEXT,
    keys_pressed  BIGINT,
    heard         TEXT,
    unheard       TEXT,
    asr_ms        DOUBLE PRECISION,
    llm_ms        DOUBLE PRECISION,
    tts_ms        DOUBLE PRECISION,
    total_ms      DOUBLE PRECISION,
    barge_in_ms   DOUBLE PRECISION,
    error         TEXT,
    -- The order in which turns were written, which is that of the CSV.
    written       BIGINT GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (call_id, number)
);

CREATE INDEX user_sessions_at ON user_sessions (at);

CREATE TABLE events (
    id            TEXT COLLATE "C" PRIMARY KEY,
    call_id       TEXT COLLATE "C" NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    at            TEXT COLLATE "C" NOT NULL,
    at_ms         DOUBLE PRECISION NOT NULL,
    kind          TEXT NOT NULL,
    detail        TEXT
);

CREATE INDEX events_call ON events (call_id, id);

-- What is known of each recording of a call. The audio itself is a file of its own, named after both keys.
CREATE TABLE recordings (
    call_id       TEXT COLLATE "C" NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    -- 'recording' while it goes on.
    state         TEXT NOT NULL,
    format        TEXT NOT NULL,
    consent       TEXT NOT NULL,
    -- Absent when it could not be made.
    began_at      TEXT COLLATE "C",
    -- All absent while it goes on.
    ended_at      TEXT COLLATE "C",
    ms            BIGINT,
    bytes         BIGINT,
    sha256        TEXT,
    dropped_frames BIGINT,
    -- JSON: [{"from_ms":..,"to_ms":..}], from its beginning. Silence in the file.
    pauses        TEXT,
    fault         TEXT,
    PRIMARY KEY (call_id, number)
);

CREATE INDEX recordings_unfinished ON recordings (call_id) WHERE state = 'recording';

-- Each time a caller broke in on the bot, or seemed to. Times are ms since the call was answered.
CREATE TABLE interruptions (
    id            TEXT COLLATE "C" PRIMARY KEY,
    call_id       TEXT COLLATE "C" NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    at            TEXT COLLATE "C" NOT NULL,
    onset_ms      DOUBLE PRECISION NOT NULL,
    held_ms       DOUBLE PRECISION NOT NULL,
    -- Absent where the call ended before it was known what it was.
    decided_ms    DOUBLE PRECISION,
    -- `committed`, `resumed`, `recovered` or `undecided`, and why.
    outcome       TEXT NOT NULL,
    why           TEXT NOT NULL,
    ducked        BOOLEAN NOT NULL,
    -- From the onset to the last sample of ours on the wire; absent where none was audible.
    stop_ms       DOUBLE PRECISION,
    heard         TEXT NOT NULL,
    unheard       TEXT NOT NULL
);

CREATE INDEX interruptions_call ON interruptions (call_id, id);
