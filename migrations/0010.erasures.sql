-- Erasure: what was disclosed about a person is destroyed in the transaction that says so in the log, and in
-- no other. See docs/erasure.md.
--
-- aiqyn_service may still delete nothing of this. An entry of type disclosure.erased does it: when the
-- transaction that appends one commits, a trigger reads from the entry's own bytes what is to go. So nobody who
-- got hold of the service's role makes evidence vanish without an entry of the log that everybody can see.

-- --- what an entry says ---------------------------------------------------------------------------------------

-- The payload of an entry of type disclosure.erased; NULL for any other bytes.
CREATE FUNCTION ledger.erasure_said(entry bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload text := translate(split_part(encode(entry, 'escape'), '.', 2), '-_', '+/');
    said jsonb;
BEGIN
    said := convert_from(
        decode(payload || repeat('=', (4 - length(payload) % 4) % 4), 'base64'), 'UTF8')::jsonb;
    IF said ->> 'type' = 'disclosure.erased'
       AND starts_with(said ->> 'stream', 'erasure/' || (said #>> '{data,of}') || '/')
       AND (said #>> '{data,events}')::bigint >= 1
    THEN
        RETURN said;
    END IF;
    RETURN NULL;
EXCEPTION WHEN others THEN
    RETURN NULL;                                                -- no event at all: it says nothing
END
$$;

CREATE INDEX erasures ON ledger.entries (position) WHERE type = 'disclosure.erased';

-- --- what it does ---------------------------------------------------------------------------------------------

-- Of which event on a stream's data key is; NULL: it was made before there were erasures, so from the first on.
-- What happens to a stream after an erasure is sealed under a new key.
ALTER TABLE ledger.data_keys ADD COLUMN position bigint CHECK (position >= 0);

CREATE INDEX attachments_by_position ON ledger.attachments (position);

-- Do what the erasure at a position says; returns how many rows went. Doing it again finds nothing.
CREATE FUNCTION ledger.obey(erased_at bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$                                  -- few rows of large tables, whatever ANALYZE saw
DECLARE
    said jsonb;
    erased text;
    about bigint[];
    names text[];
    gone bigint := 0;
    more bigint;
BEGIN
    SELECT ledger.erasure_said(e.entry) INTO said FROM ledger.entries e
    WHERE e.position = erased_at AND e.type = 'disclosure.erased'
      AND e.leaf = sha256('\x00'::bytea || e.entry) AND e.stream = ledger.erasure_said(e.entry) ->> 'stream';
    IF said IS NULL THEN
        RETURN 0;
    END IF;
    erased := said #>> '{data,of}';
    SELECT array_agg(e.position) INTO about FROM ledger.entries e
    WHERE e.stream = erased AND e.n <= (said #>> '{data,events}')::bigint AND e.position + 0 < erased_at;  -- + 0: not by that index
    IF about IS NULL THEN
        RETURN 0;
    END IF;
    SELECT array_agg(n.name) INTO names FROM jsonb_array_elements_text(said #> '{data,names}') AS n (name);
    IF names IS NOT NULL THEN
        DELETE FROM ledger.disclosures d WHERE d.position = ANY (about) AND d.name = ANY (names);
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    IF (said #>> '{data,data_key}')::boolean THEN
        DELETE FROM ledger.data_keys k
        WHERE k.stream = erased AND (k.position IS NULL OR k.position = ANY (about));
        GET DIAGNOSTICS more = ROW_COUNT;
        gone := gone + more;
        DELETE FROM ledger.vault v WHERE v.position = ANY (about);
        GET DIAGNOSTICS more = ROW_COUNT;
        gone := gone + more;
        DELETE FROM ledger.persons p WHERE p.position = ANY (about);
        GET DIAGNOSTICS more = ROW_COUNT;
        gone := gone + more;
        DELETE FROM ledger.attachments a WHERE a.position = ANY (about);
        GET DIAGNOSTICS more = ROW_COUNT;
        gone := gone + more;
        -- Once a petition's own data are over their term, nobody signs it any more: without its secret nobody
        -- can try numbers of persons against its nullifiers, not even who holds the vault's key.
        IF said #>> '{data,ground}' = 'retention' THEN
            DELETE FROM ledger.petition_secrets s WHERE s.petition = erased;
            GET DIAGNOSTICS more = ROW_COUNT;
            gone := gone + more;
        END IF;
    END IF;
    RETURN gone;
END
$$;

-- At the commit, when the entry has its place in the tree. What is not in the log does not happen.
CREATE FUNCTION ledger.obey_erasure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.position >= (SELECT size FROM ledger.head)
       AND NOT has_table_privilege(session_user, 'ledger.vault', 'DELETE')
    THEN
        RAISE EXCEPTION 'an erasure at position % that the log does not hold', NEW.position
            USING ERRCODE = 'restrict_violation', HINT = 'Append the event; the rest follows from it.';
    END IF;
    PERFORM ledger.obey(NEW.position);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER obeyed AFTER INSERT ON ledger.entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.type = 'disclosure.erased')
    EXECUTE FUNCTION ledger.obey_erasure();

-- For copies, where the disclosures may come after the entry that takes them away: remove those of a stream's
-- first events. Whoever could not delete them anyway needs an entry that says so.
CREATE FUNCTION ledger.forget(of_stream text, events bigint, names text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    gone bigint;
BEGIN
    IF NOT has_table_privilege(session_user, 'ledger.disclosures', 'DELETE') AND NOT EXISTS (
        SELECT FROM ledger.entries e
        WHERE e.stream > 'erasure/' || of_stream || '/' AND e.stream < 'erasure/' || of_stream || '0'
          AND e.type = 'disclosure.erased'
          AND ledger.erasure_said(e.entry) #>> '{data,of}' = of_stream
          AND (ledger.erasure_said(e.entry) #>> '{data,events}')::bigint >= events
          AND coalesce(ledger.erasure_said(e.entry) #> '{data,names}', '[]') @> to_jsonb(names))
    THEN
        RAISE EXCEPTION 'the log holds no erasure of this in %', of_stream USING ERRCODE = 'restrict_violation';
    END IF;
    DELETE FROM ledger.disclosures d USING ledger.entries e
    WHERE e.stream = of_stream AND e.n <= events AND d.position = e.position AND d.name = ANY (names);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

-- Everybody may call a new function, unless told otherwise; these do only what the log says.
REVOKE ALL ON FUNCTION ledger.obey(bigint), ledger.obey_erasure(), ledger.forget(text, bigint, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.obey(bigint), ledger.forget(text, bigint, text[]) TO aiqyn_service;

-- --- what waits -----------------------------------------------------------------------------------------------

-- Erasures that somebody asked for, to be carried out among others, one person's on different days. A row goes
-- once its erasure is done.
CREATE TABLE service.erasures_waiting (
    stream      text     COLLATE "C" NOT NULL,
    ground      text     COLLATE "C" NOT NULL CHECK (ground IN ('demand', 'retention', 'court')),
    names       text[]   COLLATE "C",                           -- NULL: those that are about the person
    data_key    boolean  NOT NULL,
    not_before  date     NOT NULL,
    PRIMARY KEY (stream, ground),
    CHECK (data_key OR names IS NULL OR cardinality(names) > 0)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON service.erasures_waiting TO aiqyn_service;

-- How far deleted rows were also overwritten in files, by the owner of the schema: see src/ledger/store/scrub.py.
CREATE TABLE service.scrubs (
    size       bigint       PRIMARY KEY CHECK (size >= 0),       -- of the log, when it began
    at         timestamptz  NOT NULL,
    left_over  text[]       NOT NULL                            -- what could not be done, in words
);
GRANT SELECT, INSERT, UPDATE ON service.scrubs TO aiqyn_service;

-- --- what statistics remember ---------------------------------------------------------------------------------

-- ANALYZE keeps samples of what stands in a column, names and wrapped keys among them, long after the row is
-- gone. It shall keep none of these; naming the type again drops those it has.
ALTER TABLE ledger.disclosures ALTER COLUMN disclosure TYPE text, ALTER COLUMN disclosure SET STATISTICS 0;
ALTER TABLE ledger.data_keys ALTER COLUMN wrapped TYPE bytea, ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE ledger.persons ALTER COLUMN person TYPE bytea, ALTER COLUMN person SET STATISTICS 0;
ALTER TABLE ledger.petition_secrets ALTER COLUMN wrapped TYPE bytea, ALTER COLUMN wrapped SET STATISTICS 0;

-- --- the cabinet ----------------------------------------------------------------------------------------------

-- A case that was erased leaves its person's cabinet: version 2 of that fold. There is none to leave it yet.
SET LOCAL ROLE aiqyn_service;
CREATE INDEX cabinet_by_stream ON projections.cabinet USING hash (stream);
UPDATE projections.positions SET version = 2 WHERE name = 'cabinet' AND version = 1;
RESET ROLE;
