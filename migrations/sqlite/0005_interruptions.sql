-- Each time a caller broke in on the bot, or seemed to. Times are ms since the call was answered.

CREATE TABLE interruptions (
    id            TEXT PRIMARY KEY NOT NULL,
    call_id       TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    at            TEXT NOT NULL,
    onset_ms      REAL NOT NULL,
    held_ms       REAL NOT NULL,
    -- Absent where the call ended before it was known what it was.
    decided_ms    REAL,
    -- `committed`, `resumed`, `recovered` or `undecided`, and why.
    outcome       TEXT NOT NULL,
    why           TEXT NOT NULL,
    ducked        INTEGER NOT NULL,
    -- From the onset to the last sample of ours on the wire; absent where none was audible.
    stop_ms       REAL,
    heard         TEXT NOT NULL,
    unheard       TEXT NOT NULL
) STRICT;

CREATE INDEX interruptions_call ON interruptions (call_id, id);
