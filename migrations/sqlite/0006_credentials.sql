-- What vendors know this server by: encrypted (AES-256-GCM) under a key that is kept apart from the database.

CREATE TABLE credentials (
    provider      TEXT NOT NULL,
    name          TEXT NOT NULL,
    -- Which key of the key file.
    key_id        TEXT NOT NULL,
    nonce         BLOB NOT NULL,
    sealed        BLOB NOT NULL,
    changed_at    TEXT NOT NULL,
    PRIMARY KEY (provider, name)
) STRICT;
