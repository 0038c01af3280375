-- What is known of each recording of a call. The audio itself is a file of its own, named after both keys.

CREATE TABLE recordings (
    call_id       TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    -- 'recording' while it goes on.
    state         TEXT NOT NULL,
    format        TEXT NOT NULL,
    consent       TEXT NOT NULL,
    -- Absent when it could not be made.
    began_at      TEXT,
    -- All absent while it goes on.
    ended_at      TEXT,
    ms            INTEGER,
    bytes         INTEGER,
    sha256        TEXT,
    dropped_frames INTEGER,
    -- JSON: [{"from_ms":..,"to_ms":..}], from its beginning. Silence in the file.
    pauses        TEXT,
    fault         TEXT,
    PRIMARY KEY (call_id, number)
) STRICT;

CREATE INDEX recordings_unfinished ON recordings (call_id) WHERE state = 'recording';
