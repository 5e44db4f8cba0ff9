-- Witnesses: who cosigned what, and what stops the log. Written by src/api/witnessing.py, off the append path.

-- Why nothing is appended any more, if so: a witness proved that this database is not the log that was signed.
ALTER TABLE ledger.head ADD COLUMN halted text CHECK (length(halted) BETWEEN 1 AND 500);

-- The head moves forward only, and not while it is halted.
CREATE OR REPLACE FUNCTION ledger.refuse_shrinking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size = OLD.size AND NEW.frontier = OLD.frontier THEN
        RETURN NEW;                                             -- halted, or let go on
    END IF;
    IF NEW.size <= OLD.size THEN
        RAISE EXCEPTION 'the log only grows: size % after %', NEW.size, OLD.size
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.halted IS NOT NULL THEN
        RAISE EXCEPTION 'the log is halted: %', OLD.halted USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

-- What each witness answered last, by its submission prefix; several keys may stand behind one.
CREATE TABLE service.witnesses (
    url          text        COLLATE "C" PRIMARY KEY,
    size         bigint      NOT NULL DEFAULT 0 CHECK (size >= 0),  -- that it remembers, as far as we know
    cosigned_at  timestamptz,                                       -- by its own clock
    failures     int         NOT NULL DEFAULT 0 CHECK (failures >= 0),  -- in a row
    error        text        CHECK (length(error) <= 500)
);

-- Cosignatures of the sizes that still wait for a quorum, or for the last witnesses.
CREATE TABLE service.cosignatures (
    size    bigint      NOT NULL REFERENCES ledger.checkpoints,
    key     text        COLLATE "C" NOT NULL,                       -- vkey
    line    text        NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (size, key)
);

-- Checkpoints with a quorum of cosignatures: all of the last hour, then one for each ten minutes.
CREATE TABLE service.cosigned (
    size  bigint      PRIMARY KEY REFERENCES ledger.checkpoints,
    note  bytea       NOT NULL,
    at    timestamptz NOT NULL
);
CREATE INDEX cosigned_by_time ON service.cosigned (at);

-- Since when entries wait for a quorum; one row.
CREATE TABLE service.witnessing (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    behind_since  timestamptz,
    policy        text        COLLATE "C"                           -- SHA-256 of the policy that cosigned follows
);
INSERT INTO service.witnessing DEFAULT VALUES;

-- What was proven against this log; kept for ever.
CREATE TABLE service.alarms (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    kind      text        COLLATE "C" NOT NULL CHECK (kind IN ('rolled-back', 'forked')),
    said      text        NOT NULL,
    evidence  bytea[]     NOT NULL                                  -- signed notes
);

GRANT SELECT, INSERT, UPDATE ON service.witnesses, service.cosigned, service.cosignatures TO aiqyn_service;
GRANT DELETE ON service.cosigned, service.cosignatures TO aiqyn_service;
GRANT SELECT, UPDATE ON service.witnessing TO aiqyn_service;
GRANT SELECT, INSERT ON service.alarms TO aiqyn_service;
