-- Projections: what the public reads, folded from ledger.entries by src/projections.
--
-- Nothing here is true by itself: every table can be dropped and rebuilt from position 0. Nothing here is
-- disclosed text either (a masked name, a title): that is joined from ledger.disclosures when it is read.
-- Text is compared byte by byte (COLLATE "C"), so that order, and with it every digest, is the same everywhere.

SET LOCAL ROLE aiqyn_service;

-- Where each projection stands. A batch moves this row in the transaction that writes the projection's tables;
-- who folds, or swaps in a rebuilt projection, holds it FOR UPDATE.
CREATE TABLE projections.positions (
    name            text        PRIMARY KEY,
    version         int         NOT NULL CHECK (version >= 1),
    position        bigint      NOT NULL CHECK (position >= -1),   -- of the last folded entry; -1 before the first
    moved_at        timestamptz NOT NULL DEFAULT now(),
    error           text,                                          -- why it stands still
    error_position  bigint,                                        -- of the entry that it cannot fold
    error_at        timestamptz,
    CHECK ((error IS NULL) = (error_at IS NULL))
);

-- --- petitions ------------------------------------------------------------------------------------------------

CREATE TABLE projections.petitions (
    id                     uuid    PRIMARY KEY,
    -- NULL: signatures came before the petition, or nothing but a stray event; readers see no such petition
    state                  text    COLLATE "C" CHECK (state IN (
        'submitted', 'rejected', 'limited', 'lapsed', 'collecting', 'not-supported', 'withdrawn',
        'supported', 'routed', 'considered', 'decided')),
    body                   text    COLLATE "C",
    lang                   text    COLLATE "C",
    text_hash              text    COLLATE "C",
    submitted_position     bigint,
    submitted_time         timestamptz,
    moderate_until         timestamptz,
    moderation_overdue     bigint,                   -- position of the event that says so
    rejected_position      bigint,
    rejected_time          timestamptz,
    ground                 text    COLLATE "C",
    admitted_position      bigint,
    admitted_time          timestamptz,
    needed                 bigint  CHECK (needed >= 0),
    limited_until          timestamptz,
    needed_at              bigint,                   -- position at which the count reached needed
    published_position     bigint,
    published_time         timestamptz,
    required               bigint  CHECK (required >= 1),
    population             bigint  CHECK (population >= 0),
    collect_until          timestamptz,
    reached_at             bigint,                   -- position at which the count reached required
    ended_position         bigint,                   -- lapsed, not supported or withdrawn
    ended_time             timestamptz,
    supported_position     bigint,
    supported_time         timestamptz,
    routed_position        bigint,
    routed_time            timestamptz,
    routed_to              text    COLLATE "C",
    registered_position    bigint,
    registered_time        timestamptz,
    number                 text    COLLATE "C",
    consider_until         timestamptz,
    consideration_overdue  bigint,                   -- position of the event that says so
    group_position         bigint,
    group_time             timestamptz,
    group_members          bigint  CHECK (group_members >= 1),
    author_invited         boolean,
    draft_position         bigint,
    draft_time             timestamptz,
    draft_outcome          text    COLLATE "C",
    discuss_until          timestamptz,
    decided_position       bigint,
    decided_time           timestamptz,
    outcome                text    COLLATE "C",
    files                  text    COLLATE "C" NOT NULL,           -- JSON array of {sha256, size, media_type}
    signed                 bigint  NOT NULL CHECK (signed >= 0),
    withdrawn              bigint  NOT NULL CHECK (withdrawn >= 0),
    voided                 bigint  NOT NULL CHECK (voided >= 0),
    count                  bigint  NOT NULL CHECK (count >= 0),
    position               bigint  NOT NULL CHECK (position >= 0),  -- of the last event that changed this row
    CHECK (count = signed - withdrawn - voided)
);
CREATE INDEX petitions_listed ON projections.petitions ((coalesce(published_position, admitted_position)));
CREATE INDEX petitions_by_state ON projections.petitions (state, (coalesce(published_position, admitted_position)));
CREATE INDEX petitions_by_body ON projections.petitions (body, (coalesce(published_position, admitted_position)));

CREATE TABLE projections.petition_regions (
    petition   uuid   NOT NULL,
    region     text   COLLATE "C" NOT NULL,          -- two digits of ISO 3166-2:KZ, or unknown
    signed     bigint NOT NULL CHECK (signed >= 0),
    withdrawn  bigint NOT NULL CHECK (withdrawn >= 0),
    voided     bigint NOT NULL CHECK (voided >= 0),
    PRIMARY KEY (petition, region),
    CHECK (signed >= withdrawn + voided)
);

CREATE TABLE projections.petition_hours (
    petition   uuid        NOT NULL,
    hour       timestamptz NOT NULL,                 -- its beginning; hours of UTC
    signed     bigint      NOT NULL CHECK (signed >= 0),
    withdrawn  bigint      NOT NULL CHECK (withdrawn >= 0),
    voided     bigint      NOT NULL CHECK (voided >= 0),
    PRIMARY KEY (petition, hour)
);

-- --- signatures: only ever added to ---------------------------------------------------------------------------
-- Here and in trails, with a row for every event, the time is the event's own iat, seconds since 1970;
-- to_timestamp(iat) shows it to people.

CREATE TABLE projections.signatures (
    petition   uuid        NOT NULL,
    position   bigint      NOT NULL,
    nullifier  text        COLLATE "C" NOT NULL,
    region     text        COLLATE "C",
    iat        bigint      NOT NULL,
    PRIMARY KEY (petition, position)
);

CREATE TABLE projections.removals (
    petition   uuid        NOT NULL,
    signature  bigint      NOT NULL,                 -- position of the signature that it removes from the count
    position   bigint      NOT NULL,
    kind       text        COLLATE "C" NOT NULL CHECK (kind IN ('withdrawn', 'voided')),
    reason     text        COLLATE "C",
    iat        bigint      NOT NULL,
    PRIMARY KEY (petition, signature),
    CHECK ((kind = 'voided') = (reason IS NOT NULL))
);

-- --- trails: one row for every event --------------------------------------------------------------------------

CREATE TABLE projections.trails (
    position  bigint      PRIMARY KEY,
    stream    text        COLLATE "C" NOT NULL,
    n         bigint      NOT NULL,
    type      text        COLLATE "C" NOT NULL,
    iss       text        COLLATE "C" NOT NULL,
    kid       text        COLLATE "C" NOT NULL,
    iat       bigint      NOT NULL
);
-- A stream has few events and a long name: a hash index takes 38 bytes for an event, an ordered one 125.
CREATE INDEX trails_by_stream ON projections.trails USING hash (stream);

-- --- organisations --------------------------------------------------------------------------------------------

CREATE TABLE projections.organisations (
    stream       text   COLLATE "C" PRIMARY KEY,
    kind         text   COLLATE "C",                 -- NULL: not registered (yet)
    level        text   COLLATE "C",
    name_kk      text   COLLATE "C",
    name_ru      text   COLLATE "C",
    name_en      text   COLLATE "C",
    region       text   COLLATE "C",
    population   bigint CHECK (population >= 0),
    counted_on   date,                               -- NULL: the figure it was registered with
    registered_position  bigint,
    registered_time      timestamptz,
    position     bigint NOT NULL
);

CREATE TABLE projections.organisation_keys (
    stream       text   COLLATE "C" NOT NULL,
    kid          text   COLLATE "C" NOT NULL,
    key          text   COLLATE "C",                 -- NULL: revoked without having been registered
    roles        text   COLLATE "C" NOT NULL,        -- joined by commas
    custody      text   COLLATE "C",
    registered_position  bigint,
    registered_time      timestamptz,
    revoked_position     bigint,
    revoked_time         timestamptz,
    revoked_reason       text COLLATE "C",
    PRIMARY KEY (stream, kid)
);

RESET ROLE;

-- Folding reads entries; reading joins public disclosures. Both are granted in 0002.
