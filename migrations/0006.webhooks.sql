-- Webhooks: who is to be told what, and what became of each message.
--
-- Nothing here is true by itself, and nothing here is published: it is the service's own working state, which it
-- changes and removes, unlike what stands in schema ledger. What is to be told follows from projections.concerns;
-- what was told is forgotten after a while.
--
-- Whoever changes a webhook's deliveries holds the webhook's row FOR UPDATE; so that what is decided for a stream
-- (which of its messages may go out next) is decided by one at a time.

CREATE SCHEMA service;
GRANT USAGE ON SCHEMA service TO aiqyn_service;

CREATE TABLE service.webhooks (
    id               uuid        PRIMARY KEY,
    organisation     text        COLLATE "C" NOT NULL,
    url              text        NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
    host             text        COLLATE "C" NOT NULL,          -- host:port of url, for what is bounded by target
    types            text[]      COLLATE "C" NOT NULL,          -- event types and prefixes; empty: all
    state            text        COLLATE "C" NOT NULL CHECK (state IN ('active', 'paused', 'disabled', 'deleted')),
    reason           text,                                      -- why it is disabled
    created_at       timestamptz NOT NULL,
    position         bigint      NOT NULL CHECK (position >= -1), -- everything up to it is in deliveries, or not wanted
    due_at           timestamptz,                               -- when a delivery may be tried next; NULL: none
    served_at        timestamptz,                               -- when one was tried last: they take turns
    rest_until       timestamptz,                               -- nothing is tried before
    failures         int         NOT NULL DEFAULT 0 CHECK (failures >= 0),  -- in a row
    failing_since    timestamptz,                               -- the first of them
    last_success_at  timestamptz,
    last_failure_at  timestamptz,
    last_status      int         CHECK (last_status BETWEEN 100 AND 999),
    last_error       text        CHECK (length(last_error) <= 200),
    delivered        bigint      NOT NULL DEFAULT 0 CHECK (delivered >= 0),
    failed           bigint      NOT NULL DEFAULT 0 CHECK (failed >= 0),
    CHECK ((state = 'disabled') = (reason IS NOT NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL))
);
CREATE INDEX webhooks_by_organisation ON service.webhooks (organisation, created_at);
CREATE INDEX webhooks_due ON service.webhooks (due_at) WHERE state = 'active';

-- A webhook's messages are signed with each of its secrets that is still valid.
CREATE TABLE service.webhook_secrets (
    webhook     uuid        NOT NULL REFERENCES service.webhooks ON DELETE CASCADE,
    number      int         NOT NULL CHECK (number >= 1),
    wrapped     bytea       NOT NULL,                           -- AES-256-GCM under the vault's key
    expires_at  timestamptz,                                    -- NULL: the current one
    PRIMARY KEY (webhook, number)
);
CREATE UNIQUE INDEX webhook_secrets_current ON service.webhook_secrets (webhook) WHERE expires_at IS NULL;

-- The outbox: a row for each event that a webhook is to be told.
CREATE TABLE service.deliveries (
    webhook      uuid        NOT NULL REFERENCES service.webhooks ON DELETE CASCADE,
    position     bigint      NOT NULL CHECK (position >= 0),
    stream       text        COLLATE "C" NOT NULL,
    type         text        COLLATE "C" NOT NULL,
    state        text        COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts     int         NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_at      timestamptz,                                   -- NULL and waiting: an earlier one of its stream goes first
    lease        uuid,                                          -- of the attempt under way, or that was cut off
    status       int         CHECK (status BETWEEN 100 AND 999),
    error        text        CHECK (length(error) <= 200),
    created_at   timestamptz NOT NULL,
    tried_at     timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (webhook, position),
    CHECK ((state = 'waiting') = (finished_at IS NULL)),
    CHECK (state = 'waiting' OR (next_at IS NULL AND lease IS NULL))
);
-- The order of a stream: of its messages to one webhook, one alone can be on its way or due.
CREATE UNIQUE INDEX deliveries_first_of_stream ON service.deliveries (webhook, stream) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_due ON service.deliveries (webhook, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON service.deliveries (webhook, stream, position) WHERE state = 'waiting';
CREATE INDEX deliveries_failed ON service.deliveries (webhook, position) WHERE state = 'failed';
CREATE INDEX deliveries_finished ON service.deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Idempotency of the calls above, which append nothing to the ledger: the first answer, which may hold a secret.
CREATE TABLE service.answers (
    scope     text        NOT NULL CHECK (length(scope) <= 255),
    key       text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request   bytea       NOT NULL CHECK (octet_length(request) = 32),  -- SHA-256 of what was asked
    status    int         NOT NULL CHECK (status BETWEEN 200 AND 299),
    location  text,
    wrapped   bytea       NOT NULL,                             -- AES-256-GCM under the vault's key
    at        timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX answers_at ON service.answers (at);

GRANT SELECT, INSERT, UPDATE, DELETE ON
    service.webhooks, service.webhook_secrets, service.deliveries, service.answers TO aiqyn_service;

-- Few rows, changed for every message.
ALTER TABLE service.webhooks SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
-- Each row is changed some three times: let the dead ones go early.
ALTER TABLE service.deliveries SET (autovacuum_vacuum_scale_factor = 0.02);
