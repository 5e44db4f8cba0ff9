-- Who may do what.
--
-- The role that runs the migrations owns schema ledger and everything in it. The service connects as
-- aiqyn_service, which may read and add in schema ledger as later migrations grant it table by table, and can
-- never change or remove there; what it publishes, it owns (schema projections and its rebuilt successors).
--
-- On the embedded server aiqyn_service needs no password: only the server's own folder leads to it. On a real
-- server the operator gives it one, after `aiqyn migrate` or before it:
--
--     ALTER ROLE aiqyn_service PASSWORD '...';
--
-- The migrating role needs CREATE on the database and, unless the operator made aiqyn_service beforehand and
-- granted it to the migrating role, CREATEROLE. PostgreSQL 16 or newer.

DO $roles$
BEGIN
    -- Roles belong to the whole cluster, so another database may have made it, perhaps this very moment.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aiqyn_service') THEN
        BEGIN
            CREATE ROLE aiqyn_service LOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    -- Whoever made a role may administer it, but must also be able to become it to make schemas for it.
    IF NOT pg_has_role(CURRENT_USER, 'aiqyn_service', 'SET') THEN
        EXECUTE format('GRANT aiqyn_service TO %I WITH INHERIT FALSE, SET TRUE', CURRENT_USER);
    END IF;
END
$roles$;

CREATE SCHEMA ledger;
CREATE SCHEMA projections AUTHORIZATION aiqyn_service;

GRANT USAGE ON SCHEMA ledger TO aiqyn_service;

-- A rebuild makes a fresh schema beside the live one and swaps them by renaming.
DO $database$
BEGIN
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO aiqyn_service', current_database());
    -- Where the migrating role may not grant this, PostgreSQL only warns.
    IF NOT has_database_privilege('aiqyn_service', current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'the owner of the database must: GRANT CONNECT, CREATE, TEMPORARY ON DATABASE % TO aiqyn_service',
            quote_ident(current_database());
    END IF;
END
$database$;

-- The service refuses to start on a database that lacks migrations, so it may see which ones were applied.
GRANT USAGE ON SCHEMA migrations TO aiqyn_service;
GRANT SELECT ON migrations.applied TO aiqyn_service;
