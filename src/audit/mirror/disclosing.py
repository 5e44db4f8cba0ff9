"""What is public beside the entries: fetched in pages, each checked against its entry, forgotten when told.

An erasure is an entry like any other: when it is copied, what it names goes in the same transaction, and is
not stored again, whoever still serves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from psycopg import Cursor

from audit.findings import Finding
from audit.mirror.entries import Copied, opened
from audit.mirror.errors import MalformedPageError
from audit.mirror.progress import OnProgress, Progress
from audit.mirror.store import Store
from audit.source import MAX_JSON_BYTES, NotServedError, Source, SourceError
from ledger.erasure import forget
from ledger.errors import AiqynError
from ledger.events import DisclosureErased
from ledger.statement import Disclosure, Event

ENTRIES = 4096
"""Asked for at once."""
PATIENCE = "1 hour"
"""After which an operator's own word about its log's size counts no more."""


class _Entry(msgspec.Struct):
    position: Annotated[int, Meta(ge=0)]
    disclosures: list[str]


class _Answer(msgspec.Struct):
    items: list[_Entry]
    next: Annotated[int, Meta(ge=0)]
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Page(NamedTuple):
    """What was served beside consecutive entries."""

    first: int
    until: int
    """Entries below were asked for."""
    size: int
    """Of the log, as its operator said, when it was asked last."""
    served: Mapping[int, Sequence[str]]
    """Position → encoded disclosures."""


class Disclosures:
    """Reads, checks and stores what is public beside entries."""

    def __init__(self, store: Store, source: Source, on_progress: OnProgress) -> None:
        self._store = store
        self._source = source
        self._on_progress = on_progress
        self.fault: str | None = None
        """Why they cannot be had at the moment, if so."""

    def read(self, first: int, last: int) -> Page:
        """What is served beside the entries ``first`` to ``last - 1``, as far as it can be had."""
        served: dict[int, Sequence[str]] = {}
        until, size = first, 0
        try:
            while until < last:
                answer = self._ask(until, min(ENTRIES, last - until))
                served |= {item.position: item.disclosures for item in answer.items}
                if answer.next == until:
                    break
                until, size = answer.next, answer.size
        except (SourceError, MalformedPageError) as error:
            # What is public may be had later; entries are copied all the same.
            self.fault = str(error)
        else:
            self.fault = None
        return Page(first, until, size, served)

    def _ask(self, first: int, limit: int) -> _Answer:
        path = f"v1/disclosures?from={first}&limit={limit}"
        try:
            answer = msgspec.json.decode(self._source.read(path, MAX_JSON_BYTES), type=_Answer)
        except NotServedError as error:
            raise NotServedError(f"What is public beside the entries is not served here: {error}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedPageError(f"/{path} is not as the interface promises: {error}.") from error
        positions = [item.position for item in answer.items]
        if (
            not first <= answer.next <= first + limit
            or positions != sorted(set(positions))
            or (positions and not first <= positions[0] <= positions[-1] < answer.next)
        ):
            raise MalformedPageError(f"/{path} tells of other entries than it was asked about.")
        return answer

    def store(self, cursor: Cursor[Any], page: Page, entries: Sequence[Copied]) -> None:
        """In the transaction that writes these entries, or behind it: what is rightly public beside them."""
        rows: list[tuple[int, str, str]] = []
        missing: list[tuple[int, str, int]] = []
        for copied in entries:
            if not page.first <= copied.position < page.until:
                continue
            right, found = _check(copied.position, copied.event, page.served.get(copied.position, ()))
            for finding in found:
                self._store.find(finding)
            rows += [(copied.position, d.name, d.encoded) for d in right]
            public = copied.event.facts.public if copied.event else frozenset()
            missing += [(copied.position, name, page.size) for name in public - {d.name for d in right}]
        if rows:
            cursor.execute(_INSERT, _columns(rows))
            self._obey(cursor, {c.event.stream for c in entries if c.event and c.position in page.served})
        if missing:
            cursor.execute(_MISSING, _columns(missing))
        # Only without a gap before it: what is left out is asked for again.
        cursor.execute(_MOVE, [page.until, page.first])

    def fill_up(self) -> None:
        """Ask for what could not be had while the entries were copied."""
        size = self._store.head().size
        while (start := self._store.origin.disclosed) < size:
            page = self.read(start, min(start + ENTRIES, size))
            if page.until == start:
                return
            with self._store.transaction() as cursor:
                self.store(cursor, page, list(self._copied(page.first, page.until)))
            self._on_progress(Progress("disclosures", page.until, size))

    def _copied(self, first: int, last: int) -> Iterator[Copied]:
        cursor = self._store.connection.cursor(binary=True)
        cursor.execute(
            "SELECT position, entry, leaf FROM ledger.entries"
            " WHERE position >= %s AND position < %s ORDER BY position",
            [first, last],
        )
        for position, entry, leaf in cursor:
            yield Copied(position, bytes(entry), bytes(leaf), opened(bytes(entry)))

    @staticmethod
    def _obey(cursor: Cursor[Any], streams: set[str]) -> None:
        """Once more what was erased before: it may have been served, and stored, again."""
        for (entry,) in cursor.execute(_ERASURES, [sorted(streams)]).fetchall():
            obey(cursor, opened(bytes(entry)))

    def settle(self) -> None:
        """What was not served although the entry commits to it: an erasure in the log says so, or nobody."""
        size = self._store.head().size
        with self._store.transaction() as cursor:
            cursor.execute(_SETTLED)
            rows = cursor.execute(_UNEXPLAINED, [size, PATIENCE]).fetchall()
            for position, name, stream in rows:
                self._store.find(
                    Finding(
                        rule="disclosure-missing",
                        reason=f"Entry {position} makes {name!r} of {stream} public, and it is not served; "
                        "no erasure in the log says that it was taken away.",
                        position=position,
                        evidence={"stream": stream, "name": name},
                    )
                )
            cursor.execute(_REPORTED, [size, PATIENCE])


def obey(cursor: Cursor[Any], event: Event | None) -> None:
    """Do what an event says, if it is an erasure of the stream that its name says."""
    if event is None or not isinstance(event.facts, DisclosureErased):
        return
    # One of another name breaks the rules, and would be refused by the database.
    if event.stream.rpartition("/")[0] == f"erasure/{event.facts.of}":
        forget(cursor, event.facts)


def _check(
    position: int, event: Event | None, served: Sequence[str]
) -> tuple[list[Disclosure], list[Finding]]:
    """The disclosures that belong to an entry and are public, and a finding for each of the others."""
    right: dict[str, Disclosure] = {}
    found = []
    for encoded in served:
        try:
            disclosure = Disclosure.parse(encoded)
            if event is None or disclosure.name in right:
                reason = "it is no event's, or there twice"
            elif disclosure.digest not in event.digests:
                reason = "its digest does not stand in the entry"
            elif disclosure.name not in event.facts.public:
                reason = "it is none that such an event makes public"
            else:
                right[disclosure.name] = disclosure
                continue
            name = disclosure.name[:40]
        except (AiqynError, UnicodeError) as error:
            reason, name = str(error).rstrip("."), "a disclosure"
        found.append(
            Finding(
                rule="disclosure-digest",
                reason=f"{name!r} is served beside entry {position} and does not belong there: {reason}.",
                position=position,
                evidence={"sha256": hashlib.sha256(encoded.encode("utf-8", "replace")).hexdigest()},
            )
        )
    return list(right.values()), found


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


_INSERT = """
    INSERT INTO ledger.disclosures SELECT * FROM unnest(%s::int8[], %s::text[], %s::text[])
    ON CONFLICT DO NOTHING"""
_MISSING = """
    INSERT INTO mirror.undisclosed (position, name, size)
    SELECT * FROM unnest(%s::int8[], %s::text[], %s::int8[]) ON CONFLICT DO NOTHING"""
_MOVE = "UPDATE mirror.origin SET disclosed = greatest(disclosed, %s) WHERE disclosed >= %s"
_ERASURES = """
    SELECT e.entry FROM unnest(%s::text[]) AS s (stream) JOIN ledger.entries e
    ON e.stream > 'erasure/' || s.stream || '/' AND e.stream < 'erasure/' || s.stream || '0'
    WHERE e.type = 'disclosure.erased'"""
_SETTLED = """
    DELETE FROM mirror.undisclosed u USING ledger.entries e
    WHERE e.position = u.position AND (
        EXISTS (SELECT FROM ledger.disclosures d WHERE d.position = u.position AND d.name = u.name)
        OR EXISTS (
            SELECT FROM ledger.entries x CROSS JOIN LATERAL ledger.erasure_said(x.entry) AS said
            WHERE x.stream > 'erasure/' || e.stream || '/' AND x.stream < 'erasure/' || e.stream || '0'
              AND x.type = 'disclosure.erased' AND x.position > e.position
              AND (said #>> '{data,events}')::bigint >= e.n AND said #> '{data,names}' ? u.name))"""
_UNEXPLAINED = """
    SELECT u.position, u.name, e.stream FROM mirror.undisclosed u JOIN ledger.entries e USING (position)
    WHERE u.size <= %s OR u.at < now() - %s::interval ORDER BY u.position"""
_REPORTED = "DELETE FROM mirror.undisclosed WHERE size <= %s OR at < now() - %s::interval"
