"""Organisations: who takes part, under which names, with which keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import tuple_row

from ledger import events
from ledger.keys import key_id
from projections.base import Projection, Table, day, instant, plain
from projections.batch import Batch, LoggedEvent
from projections.rows import load, upsert


class _Organisation(msgspec.Struct, gc=False):
    """A row of table ``organisations``."""

    stream: str
    kind: str | None = None
    level: str | None = None
    name_kk: str | None = None
    name_ru: str | None = None
    name_en: str | None = None
    region: str | None = None
    population: int | None = None
    counted_on: date | None = None
    registered_position: int | None = None
    registered_time: datetime | None = None
    position: int = 0


class _Key(msgspec.Struct, gc=False):
    """A row of table ``organisation_keys``."""

    stream: str
    kid: str
    key: str | None = None
    roles: str = ""
    custody: str | None = None
    registered_position: int | None = None
    registered_time: datetime | None = None
    revoked_position: int | None = None
    revoked_time: datetime | None = None
    revoked_reason: str | None = None


class Organisations(Projection):
    """Folds as :class:`ledger.keys.Directory` does: first registration stands, revoked stays revoked."""

    name = "organisations"
    version = 1
    tables = (
        Table(
            "organisations",
            key=("stream",),
            columns=plain("stream", "kind", "level", "name_kk", "name_ru", "name_en", "region", "population")
            + day("counted_on")
            + plain("registered_position")
            + instant("registered_time")
            + plain("position"),
        ),
        Table(
            "organisation_keys",
            key=("stream", "kid"),
            columns=plain("stream", "kid", "key", "roles", "custody", "registered_position")
            + instant("registered_time")
            + plain("revoked_position")
            + instant("revoked_time")
            + plain("revoked_reason"),
        ),
    )

    def project(self, cursor: Cursor[Any], batch: Batch) -> None:
        """Fold the few events of organisations' streams."""
        own = [event for event in batch.events if event.facts.room == "organisation"]
        if not own:
            return
        streams = sorted({event.stream for event in own})
        organisations = {stream: _Organisation(stream) for stream in streams}
        keys: dict[tuple[str, str], _Key] = {}
        for row in load(cursor, _Organisation, "organisations", "stream", streams):
            organisations[row.stream] = row
        for key in load(cursor, _Key, "organisation_keys", "stream", streams):
            keys[key.stream, key.kid] = key
        for event in own:
            organisations[event.stream].position = event.position
            _apply(organisations[event.stream], keys, event)
        upsert(cursor, "organisations", ("stream",), organisations.values())
        upsert(cursor, "organisation_keys", ("stream", "kid"), keys.values())


def _apply(row: _Organisation, keys: dict[tuple[str, str], _Key], event: LoggedEvent) -> None:
    position, time = event.position, datetime.fromtimestamp(event.iat, UTC)
    match event.facts:
        case events.OrganisationRegistered() as facts if row.kind is None:
            row.kind, row.level, row.region = facts.kind, facts.level, facts.region
            row.name_kk, row.name_ru = facts.names.kk, facts.names.ru
            row.name_en = facts.names.en
            if row.counted_on is None and facts.population is not None:
                row.population = facts.population
            row.registered_position, row.registered_time = position, time
            if facts.root_key is not None:
                _register(keys, event, facts.root_key, ("operator",), "own")
        case events.OrganisationPopulationRecorded() as facts:
            row.population, row.counted_on = facts.population, facts.counted_on
        case events.OrganisationKeyRegistered() as facts:
            _register(keys, event, facts.key, facts.roles, facts.custody)
        case events.OrganisationKeyRevoked() as facts:
            key = keys.setdefault((event.stream, facts.kid), _Key(event.stream, facts.kid))
            if key.revoked_position is None:
                key.revoked_position, key.revoked_time = position, time
                key.revoked_reason = facts.reason
        case _:
            pass


def _register(
    keys: dict[tuple[str, str], _Key], event: LoggedEvent, public_key: str, roles: Iterable[str], custody: str
) -> None:
    kid = key_id(public_key)
    key = keys.setdefault((event.stream, kid), _Key(event.stream, kid))
    key.key, key.roles, key.custody = public_key, ",".join(roles), custody
    key.registered_position = event.position
    key.registered_time = datetime.fromtimestamp(event.iat, UTC)


class Key(msgspec.Struct, frozen=True):
    """A key of an organisation, and what it may be used for."""

    kid: str
    key: str
    roles: tuple[str, ...]
    custody: str
    registered_position: int
    registered_time: datetime
    revoked_position: int | None
    revoked_time: datetime | None
    revoked_reason: str | None


class Organisation(msgspec.Struct, frozen=True):
    """A registered organisation."""

    stream: str
    kind: str
    level: str
    names: events.Names
    region: str | None
    population: int | None
    counted_on: date | None
    """The day of the population figure; absent for the one that it was registered with."""
    registered_position: int
    registered_time: datetime
    keys: tuple[Key, ...]
    as_of: int


class Listing(msgspec.Struct, frozen=True):
    """All registered organisations, by their streams' names."""

    items: tuple[Organisation, ...]
    as_of: int


async def get(conn: AsyncConnection[Any], stream: str) -> Organisation | None:
    """The organisation of that stream, if it is registered."""
    found = await _read(conn, stream)
    return found.items[0] if found.items else None


async def list_all(conn: AsyncConnection[Any]) -> Listing:
    """Every registered organisation."""
    return await _read(conn, None)


async def _read(conn: AsyncConnection[Any], stream: str | None) -> Listing:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT p.position, o.stream, o.kind, o.level, o.name_kk, o.name_ru, o.name_en, o.region,
                   o.population, o.counted_on, o.registered_position, o.registered_time,
                   (SELECT json_agg(k ORDER BY k.registered_position, k.kid)::text
                    FROM projections.organisation_keys k
                    WHERE k.stream = o.stream AND k.key IS NOT NULL)
            FROM projections.positions p
            LEFT JOIN projections.organisations o
                ON o.kind IS NOT NULL AND (%(stream)s::text IS NULL OR o.stream = %(stream)s)
            WHERE p.name = 'organisations'
            ORDER BY o.stream
            """,
            {"stream": stream},
        )
        rows = await cursor.fetchall()
    as_of = rows[0][0] if rows else -1
    items = []
    for _, name, kind, level, kk, ru, en, region, population, counted_on, position, time, keys in rows:
        if name is not None:
            names = events.Names(kk, ru, en)
            items.append(
                Organisation(
                    name,
                    kind,
                    level,
                    names,
                    region,
                    population,
                    counted_on,
                    position,
                    time,
                    _keys(keys),
                    as_of,
                )
            )
    return Listing(tuple(items), as_of)


def _keys(rows: str | None) -> tuple[Key, ...]:
    if rows is None:
        return ()
    return tuple(
        Key(
            key.kid, key.key or "", tuple(key.roles.split(",")), key.custody or "", key.registered_position
            or 0, key.registered_time or datetime.min.replace(tzinfo=UTC), key.revoked_position,
            key.revoked_time, key.revoked_reason,
        )
        for key in msgspec.json.decode(rows, type=list[_Key])
    )  # fmt: skip
