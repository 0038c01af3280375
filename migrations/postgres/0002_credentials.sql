-- What vendors know this server by: encrypted (AES-256-GCM) under a key that is kept apart from the database.

CREATE TABLE credentials (
    provider      TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    -- Which key of the key file.
    key_id        TEXT NOT NULL,
    nonce         BYTEA NOT NULL,
    sealed        BYTEA NOT NULL,
    changed_at    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (provider, name)
);
