-- The ledger: what is true. Written by the append transaction alone, never changed afterwards.

-- Size and right edge of the tree. Whoever appends locks this row first.
CREATE TABLE ledger.head (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size      bigint  NOT NULL CHECK (size >= 0),
    -- hashes of the perfect subtrees from left to right, 32 bytes each: as many as size has 1-bits
    frontier  bytea   NOT NULL CHECK (octet_length(frontier) = 32 * bit_count(size::bit(64)))
);
INSERT INTO ledger.head (size, frontier) VALUES (0, '');

CREATE TABLE ledger.entries (
    position  bigint      PRIMARY KEY CHECK (position >= 0),
    stream    text        COLLATE "C" NOT NULL CHECK (length(stream) BETWEEN 1 AND 255),
    n         bigint      NOT NULL CHECK (n >= 0),
    type      text        NOT NULL CHECK (length(type) BETWEEN 1 AND 255),
    entry     bytea       NOT NULL CHECK (octet_length(entry) <= 65535),
    leaf      bytea       NOT NULL CHECK (octet_length(leaf) = 32),
    UNIQUE (stream, n)
);
COMMENT ON COLUMN ledger.entries.leaf IS 'RFC 6962 leaf hash of entry; also the level-0 nodes of the tiles';

-- The same in the words of the eventsourcing library, whose recorder reads it.
CREATE VIEW ledger.stored_events AS
    SELECT stream AS originator_id, n AS originator_version, type AS topic, entry AS state,
           position + 1 AS notification_id
    FROM ledger.entries;

-- Roots of full tiles: node i of level l is the root over entries i*256^l … (i+1)*256^l - 1.
CREATE TABLE ledger.nodes (
    level  smallint NOT NULL CHECK (level BETWEEN 1 AND 7),
    index  bigint   NOT NULL CHECK (index >= 0),
    hash   bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, index)
);

-- One signed note for each size that the log ever had between two appends.
CREATE TABLE ledger.checkpoints (
    size  bigint PRIMARY KEY CHECK (size >= 0),
    root  bytea  NOT NULL CHECK (octet_length(root) = 32),
    note  bytea  NOT NULL
);

-- Public disclosures: served beside the entry, and removable.
CREATE TABLE ledger.disclosures (
    position    bigint NOT NULL REFERENCES ledger.entries,
    name        text   NOT NULL,
    disclosure  text   NOT NULL,   -- base64url of [salt, name, value]
    PRIMARY KEY (position, name)
);

-- The vault: restricted disclosures, encrypted under a key of their own for each person and stream.
CREATE TABLE ledger.data_keys (
    stream   text  PRIMARY KEY,
    wrapped  bytea NOT NULL        -- AES-256-GCM under the configured key
);
CREATE TABLE ledger.vault (
    position  bigint PRIMARY KEY REFERENCES ledger.entries,
    stream    text   NOT NULL,
    sealed    bytea  NOT NULL      -- AES-256-GCM under the stream's data key
);

-- Secret keys of petitions, for their nullifiers.
CREATE TABLE ledger.petition_secrets (
    petition  text  PRIMARY KEY,
    wrapped   bytea NOT NULL
);

-- Idempotency: what a client's key already brought about. Written in the append transaction.
CREATE TABLE ledger.commands (
    scope      text        NOT NULL CHECK (length(scope) <= 255),
    key        text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request    bytea       NOT NULL CHECK (octet_length(request) = 32),  -- keyed hash of what was asked
    position   bigint      NOT NULL REFERENCES ledger.entries,           -- of its first event
    events     int         NOT NULL CHECK (events >= 1),
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);

-- Bearer tokens of organisations that post plain JSON. Only a hash is kept.
CREATE TABLE ledger.tokens (
    hash          bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    organisation  text        NOT NULL,
    label         text        NOT NULL CHECK (length(label) BETWEEN 1 AND 100),
    created_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz
);

-- Append-only by trigger, for everybody but a superuser who disables it on purpose.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Record a new event instead; history is never changed.';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- The head moves forward only.
CREATE FUNCTION ledger.refuse_shrinking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size <= OLD.size THEN
        RAISE EXCEPTION 'the log only grows: size % after %', NEW.size, OLD.size
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER only_grows BEFORE UPDATE ON ledger.head
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_shrinking();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON ledger.head
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Append-only by privilege.
GRANT SELECT, INSERT ON ledger.entries, ledger.nodes, ledger.checkpoints, ledger.disclosures,
    ledger.data_keys, ledger.vault, ledger.petition_secrets, ledger.commands TO aiqyn_service;
GRANT SELECT ON ledger.stored_events TO aiqyn_service;
GRANT SELECT, UPDATE ON ledger.head TO aiqyn_service;
GRANT SELECT, INSERT ON ledger.tokens TO aiqyn_service;
GRANT UPDATE (revoked_at) ON ledger.tokens TO aiqyn_service;

-- Entries are small rows that are only inserted: nothing to vacuum but the visibility map.
ALTER TABLE ledger.entries SET (autovacuum_vacuum_insert_scale_factor = 0.1);
