-- The registry of providers: what is known of each, who has switched which off, what was used of each on each UTC day, and
-- when each began and ceased to fail.

CREATE TABLE providers (
    id            TEXT COLLATE "C" PRIMARY KEY,
    category      TEXT NOT NULL,
    -- `file` or `api`: those of the file come and go with it.
    origin        TEXT NOT NULL,
    -- JSON, as in the file.
    entry         TEXT NOT NULL,
    -- Why it is switched off; absent while it is on.
    disabled      TEXT,
    changed_at    TEXT COLLATE "C" NOT NULL
);

CREATE TABLE provider_usage (
    day           TEXT COLLATE "C" NOT NULL,
    provider      TEXT COLLATE "C" NOT NULL,
    requests      BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    -- Minutes, thousands of characters or millions of tokens, as its price counts.
    units         DOUBLE PRECISION NOT NULL,
    usd           DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (day, provider)
);

CREATE TABLE provider_health (
    id            TEXT COLLATE "C" PRIMARY KEY,
    provider      TEXT COLLATE "C" NOT NULL,
    at            TEXT COLLATE "C" NOT NULL,
    -- What it fails of; absent where it serves again.
    failing       TEXT
);

CREATE INDEX provider_health_provider ON provider_health (provider, id);
