-- What appeals bring beside the ledger's entries: whose an event is, and the files that came with it.

-- Whose an event is, for that person's own cabinet: HMAC-SHA-256 over the IIN (or a company's BIN) under a key
-- that follows from the vault's. Written in the append transaction; private, so in no entry and in no proof.
CREATE TABLE ledger.persons (
    position  bigint PRIMARY KEY REFERENCES ledger.entries,
    person    bytea  NOT NULL CHECK (octet_length(person) = 32)
);

-- Files, each encrypted under a key of its own that stands in the restricted disclosures of the event it came
-- with: whoever destroys that event's data key destroys the file.
CREATE TABLE ledger.attachments (
    id          uuid        PRIMARY KEY,
    sealed      bytea       NOT NULL,
    uploaded_at timestamptz NOT NULL DEFAULT now(),
    -- of the event that it came with; files that no event took up are removed after a day
    position    bigint      REFERENCES ledger.entries
);
CREATE INDEX attachments_left ON ledger.attachments (uploaded_at) WHERE position IS NULL;
ALTER TABLE ledger.attachments ALTER COLUMN sealed SET STORAGE EXTERNAL;   -- ciphertext does not compress

GRANT SELECT, INSERT ON ledger.persons, ledger.attachments TO aiqyn_service;
GRANT UPDATE (position) ON ledger.attachments TO aiqyn_service;

-- The service removes what no event took up, and nothing else.
GRANT DELETE ON ledger.attachments TO aiqyn_service;
CREATE FUNCTION ledger.refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.position IS NOT NULL AND CURRENT_USER = 'aiqyn_service' THEN
        RAISE EXCEPTION 'this file belongs to the event at position %', OLD.position
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER taken_up BEFORE UPDATE OR DELETE ON ledger.attachments
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_removal();

