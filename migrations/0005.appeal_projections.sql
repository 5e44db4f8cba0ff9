-- Projections of appeals: the register and whom an event concerns, what is due when, the queue of each body, and
-- the cases of each person. Filled by src/projections/appeal_fold.py, terms.py and cabinet.py; see 0003 for what
-- holds for every projection.

SET LOCAL ROLE aiqyn_service;

-- --- terms: what is due when, for whom ------------------------------------------------------------------------

-- An appeal as far as terms and queues follow from it. The register below keeps the same of each appeal, and more:
-- so the two are folded, rebuilt and stopped by a fault each by itself, and the clock never waits for the register.
CREATE TABLE projections.cases (
    stream              text        COLLATE "C" PRIMARY KEY,
    n                   bigint      NOT NULL CHECK (n >= 1),         -- of the last event: the stream's version
    state               text        COLLATE "C" NOT NULL CHECK (state IN (
        'registered', 'returned', 'lapsed', 'in-work', 'decided', 'finished', 'withdrawn', 'complained',
        'complaint-passed-up', 'complaint-satisfied', 'complaint-decided')),
    body                text        COLLATE "C" NOT NULL,            -- that it lies with now
    kind                text        COLLATE "C" NOT NULL,
    category            text        COLLATE "C" NOT NULL,
    region              text        COLLATE "C",                     -- NULL: not declared, shown as unknown
    channel             text        COLLATE "C" NOT NULL,
    registered_on       date        NOT NULL,
    extension           text        COLLATE "C" NOT NULL CHECK (extension IN ('none', 'drafted', 'approved')),
    hearing             text        COLLATE "C" NOT NULL CHECK (hearing IN ('none', 'noticed', 'held')),
    decision            text        COLLATE "C" NOT NULL CHECK (decision IN ('none', 'drafted', 'approved')),
    withdrawal          text        COLLATE "C" NOT NULL CHECK (withdrawal IN ('none', 'asked')),
    -- the term that runs and binds a body; each *_since is the position of the event that set it
    term                text        COLLATE "C" CHECK (term IN ('consideration', 'passing-up', 'complaint')),
    due                 timestamptz,
    due_since           bigint,
    missed              boolean     NOT NULL,                        -- the clock said that this term passed
    missed_position     bigint,                                      -- of the event that says so
    deemed_refusal      bigint,                                      -- of the last such event about consideration, ever
    forward_until       timestamptz,
    registered_since    bigint,
    fix_until           timestamptz,
    fix_since           bigint,
    hearing_at          timestamptz,
    object_until        timestamptz,
    hearing_since       bigint,
    complain_until      timestamptz,
    complain_since      bigint,
    complaint           text        COLLATE "C" CHECK (complaint IN ('decision', 'silence')),  -- under way
    before_state        text        COLLATE "C" NOT NULL,            -- of the complaint
    before_due          timestamptz,
    higher              text        COLLATE "C",                     -- body that the last complaint was passed up to
    higher_since        bigint,
    arrived             bigint      NOT NULL,                        -- position of the event that brought it to the body
    assigned            text        COLLATE "C" NOT NULL,            -- JSON array of [number, body, until, since]
    untold              text        COLLATE "C" NOT NULL,            -- JSON array of [event, body, until, since]
    submitted_position  bigint      NOT NULL,
    position            bigint      NOT NULL,                        -- of the last event
    last_type           text        COLLATE "C" NOT NULL,
    last_time           timestamptz NOT NULL                         -- of an imported step: when it happened
);

-- One row for each open obligation, and for each term in which an applicant may act.
CREATE TABLE projections.terms (
    stream  text        COLLATE "C" NOT NULL,
    term    text        COLLATE "C" NOT NULL CHECK (term IN (
        'consideration', 'forwarding', 'mending', 'telling', 'objection', 'hearing', 'assignment',
        'passing-up', 'complaint', 'complaining')),
    number  bigint      NOT NULL CHECK (number >= 0),  -- of the assignment, or of the event to tell of; else 0
    body    text        COLLATE "C",                   -- NULL: the applicant
    due     timestamptz NOT NULL,
    since   bigint      NOT NULL,                      -- position of the event that set it
    missed  boolean     NOT NULL,                      -- the clock said that it passed
    clock   text        COLLATE "C" CHECK (clock IN ('appeal.overdue', 'appeal.lapsed')),  -- what it says then
    PRIMARY KEY (stream, term, number)
);
CREATE INDEX terms_by_body ON projections.terms (body, due, since, term) WHERE body IS NOT NULL;
CREATE INDEX terms_for_clock ON projections.terms (due, since) WHERE clock IS NOT NULL AND NOT missed;

-- The queue of each body: what it has to work on, with the nearest of its own terms.
CREATE TABLE projections.queue (
    body     text        COLLATE "C" NOT NULL,
    stream   text        COLLATE "C" NOT NULL,
    role     text        COLLATE "C" NOT NULL CHECK (role IN ('handler', 'higher', 'assigned')),
    arrived  bigint      NOT NULL,                     -- position of the event that brought it here
    state    text        COLLATE "C" NOT NULL,
    kind     text        COLLATE "C" NOT NULL,
    due      timestamptz,                              -- NULL: nothing is due
    term     text        COLLATE "C",
    PRIMARY KEY (body, stream),
    CHECK ((due IS NULL) = (term IS NULL))
);
CREATE INDEX queue_by_due ON projections.queue (body, (coalesce(due, 'infinity'::timestamptz)), arrived);
CREATE INDEX queue_by_arrival ON projections.queue (body, arrived);

-- --- appeals: the register ------------------------------------------------------------------------------------

CREATE TABLE projections.appeals (
    LIKE projections.cases INCLUDING CONSTRAINTS,
    origin              text        COLLATE "C" NOT NULL CHECK (origin IN ('filed', 'split', 'imported')),
    parent              text        COLLATE "C",                     -- of a part: the appeal that it was split off
    applicant           text        COLLATE "C" NOT NULL CHECK (applicant IN ('person', 'company')),
    lang                text        COLLATE "C" NOT NULL,
    first_body          text        COLLATE "C" NOT NULL,            -- that it was addressed to
    submitted_time      timestamptz NOT NULL,                        -- of an imported appeal: when its first row happened
    forwards            bigint      NOT NULL CHECK (forwards >= 0),
    parts               bigint      NOT NULL CHECK (parts >= 0),
    extensions          bigint      NOT NULL CHECK (extensions >= 0),
    assignments         bigint      NOT NULL CHECK (assignments >= 0),       -- ever made
    open_assignments    bigint      NOT NULL CHECK (open_assignments >= 0),
    objections          bigint      NOT NULL CHECK (objections >= 0),
    readings            bigint      NOT NULL CHECK (readings >= 0),
    remittals           bigint      NOT NULL CHECK (remittals >= 0),         -- opened again by a higher body
    -- whether it was too late; NULL: it did not happen, or an imported case says no term
    forwarded_late      boolean,                                     -- any time that it, or a part, was forwarded
    decided_late        boolean,
    complained_late     boolean,                                     -- by the applicant
    complaint_decided_late boolean,
    -- of the decision that stands; gone when a higher body opens the appeal again
    outcome             text        COLLATE "C",
    ground              text        COLLATE "C",
    decided_position    bigint,
    decided_time        timestamptz,
    finished_position   bigint,
    finished_time       timestamptz,
    withdrawn_position  bigint,
    withdrawn_time      timestamptz,
    complained_position bigint,
    complained_time     timestamptz,
    complaint_about     text        COLLATE "C",                     -- of the last complaint
    complaint_outcome   text        COLLATE "C",
    complaint_position  bigint,                                      -- it was decided
    complaint_time      timestamptz,
    PRIMARY KEY (stream)
);
CREATE UNIQUE INDEX appeals_listed ON projections.appeals (submitted_position);
CREATE INDEX appeals_by_body ON projections.appeals (body, submitted_position);
CREATE INDEX appeals_by_state ON projections.appeals (state, submitted_position);
CREATE INDEX appeals_by_kind ON projections.appeals (kind, submitted_position);
CREATE INDEX appeals_by_category ON projections.appeals (category, submitted_position);
CREATE INDEX appeals_by_channel ON projections.appeals (channel, submitted_position);
CREATE INDEX appeals_by_region ON projections.appeals (region, submitted_position);
CREATE INDEX appeals_by_day ON projections.appeals (registered_on, submitted_position)
    INCLUDE (state, kind, category, region, channel);

-- Whom an event of an appeal concerns: only ever added to, in the order of positions.
CREATE TABLE projections.concerns (
    body      text   COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    PRIMARY KEY (body, position)
);
CREATE INDEX concerns_by_position ON projections.concerns (position);

-- --- cabinet: whose case it is; private -----------------------------------------------------------------------

-- Joined from ledger.persons, so it does not follow from entries alone and stands in no published digest.
CREATE TABLE projections.cabinet (
    person    bytea  NOT NULL CHECK (octet_length(person) = 32),
    stream    text   COLLATE "C" NOT NULL,
    role      text   COLLATE "C" NOT NULL,
    position  bigint NOT NULL,                         -- of the first event that says so
    PRIMARY KEY (person, stream, role)
);

RESET ROLE;
