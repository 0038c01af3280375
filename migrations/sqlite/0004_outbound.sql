-- Who called whom, over which trunk, how often and how long the call was held, and how its last transfer ended.

ALTER TABLE calls ADD COLUMN direction TEXT NOT NULL DEFAULT 'inbound';
ALTER TABLE calls ADD COLUMN trunk TEXT;
ALTER TABLE calls ADD COLUMN holds INTEGER;
ALTER TABLE calls ADD COLUMN held_ms REAL;
-- `ok`, `busy`, `no_answer`, ...; absent where no transfer was tried.
ALTER TABLE calls ADD COLUMN transfer TEXT;
