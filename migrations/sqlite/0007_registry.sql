-- The registry of providers: what is known of each, who has switched which off, what was used of each on each UTC day, and
-- when each began and ceased to fail.

CREATE TABLE providers (
    id            TEXT PRIMARY KEY NOT NULL,
    category      TEXT NOT NULL,
    -- `file` or `api`: those of the file come and go with it.
    origin        TEXT NOT NULL,
    -- JSON, as in the file.
    entry         TEXT NOT NULL,
    -- Why it is switched off; absent while it is on.
    disabled      TEXT,
    changed_at    TEXT NOT NULL
) STRICT;

CREATE TABLE provider_usage (
    day           TEXT NOT NULL,
    provider      TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    -- Minutes, thousands of characters or millions of tokens, as its price counts.
    units         REAL NOT NULL,
    usd           REAL NOT NULL,
    PRIMARY KEY (day, provider)
) STRICT;

CREATE TABLE provider_health (
    id            TEXT PRIMARY KEY NOT NULL,
    provider      TEXT NOT NULL,
    at            TEXT NOT NULL,
    -- What it fails of; absent where it serves again.
    failing       TEXT
) STRICT;

CREATE INDEX provider_health_provider ON provider_health (provider, id);
