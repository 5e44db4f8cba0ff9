"""The log as it stands in the database: tiles, bundles, checkpoints and proofs. Read only, for threads."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from ledger.errors import AiqynError
from ledger.statement import Disclosure, Event, open_event
from ledger.store.append import CommandId, CommandReusedError, StoreUnavailableError
from ledger.store.database import conninfo
from ledger.tlog import merkle
from ledger.tlog.merkle import ReadNode
from ledger.tlog.proof import TlogProof
from ledger.tlog.tiles import WIDTH, bundle, node_reader

_BEST_CHECKPOINT = """
    (SELECT size, note FROM service.cosigned WHERE size > %s ORDER BY size LIMIT 1)
    UNION ALL (SELECT size, note FROM ledger.checkpoints ORDER BY size DESC LIMIT 1)
    LIMIT 1"""


class NotInLogError(AiqynError):
    """The log has no such tile, entry or checkpoint."""

    code = "not-in-log"
    title = "The log does not hold this"


class LogReader:
    """Reads the log over a small pool of connections; close it after use."""

    def __init__(self, url: str, *, pool_size: int = 1) -> None:
        self._pool = ConnectionPool(
            conninfo(url, application_name="aiqyn reader"),
            min_size=1,
            max_size=pool_size,
            kwargs={"autocommit": True},
            open=True,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def size(self) -> int:
        """Number of entries."""
        return int(self._row("SELECT size FROM ledger.head", ())[0])

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint. Raises :class:`NotInLogError` for a ledger without entries."""
        rows = self._rows("SELECT note FROM ledger.checkpoints ORDER BY size DESC LIMIT 1", ())
        if not rows:
            raise NotInLogError("The log has no entries yet: run `aiqyn init`.")
        return bytes(rows[0][0])

    def cosigned(self) -> bytes:
        """The newest checkpoint with a quorum of cosignatures. Raises :class:`NotInLogError`."""
        rows = self._rows("SELECT note FROM service.cosigned ORDER BY size DESC LIMIT 1", ())
        if not rows:
            raise NotInLogError("No checkpoint has the quorum of its witnesses yet.")
        return bytes(rows[0][0])

    def tile(self, level: int, index: int, width: int = WIDTH) -> bytes:
        """``width`` hashes of a tile (C2SP tlog-tiles). Raises :class:`NotInLogError`."""
        first = index * WIDTH
        if level == 0:
            query = "SELECT leaf FROM ledger.entries WHERE position >= %s AND position < %s ORDER BY position"
            rows = self._rows(query, (first, first + width))
        else:
            query = (
                "SELECT hash FROM ledger.nodes WHERE level = %s AND index >= %s AND index < %s ORDER BY index"
            )
            rows = self._rows(query, (level, first, first + width))
        if len(rows) != width:
            raise NotInLogError(f"Tile {index} of level {level} has {len(rows)} hashes so far, not {width}.")
        return b"".join(row[0] for row in rows)

    def entry_bundle(self, index: int, width: int = WIDTH) -> bytes:
        """``width`` entries of a bundle. Raises :class:`NotInLogError`."""
        entries = [entry for _, entry in self.entries(index * WIDTH, width)]
        if len(entries) != width:
            raise NotInLogError(f"Bundle {index} has {len(entries)} entries so far, not {width}.")
        return bundle(entries)

    def entries(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """Position and bytes of up to ``limit`` entries from ``start`` on."""
        query = "SELECT position, entry FROM ledger.entries WHERE position >= %s AND position < %s"
        rows = self._rows(f"{query} ORDER BY position", (start, start + limit))
        return [(row[0], bytes(row[1])) for row in rows]

    def public_disclosures(self, position: int) -> tuple[Disclosure, ...]:
        """What is still disclosed about one entry."""
        query = "SELECT disclosure FROM ledger.disclosures WHERE position = %s ORDER BY name"
        return tuple(Disclosure.parse(row[0]) for row in self._rows(query, (position,)))

    def organisations(self, after: int) -> list[tuple[int, bytes]]:
        """Position and bytes of all entries about organisations after a position."""
        query = (
            "SELECT position, entry FROM ledger.entries WHERE stream >= 'organisation/' "
            "AND stream < 'organisation0' AND position > %s ORDER BY position"
        )
        return [(row[0], bytes(row[1])) for row in self._rows(query, (after,))]

    def data_key(self, stream: str) -> bytes | None:
        """The stream's wrapped data key."""
        rows = self._rows("SELECT wrapped FROM ledger.data_keys WHERE stream = %s", (stream,))
        return bytes(rows[0][0]) if rows else None

    def last_number(self, prefix: str) -> int:
        """The highest number given out under a prefix such as ``appeal/JT-2026-``; 0 for none."""
        # Parts of an appeal are numbered after it and stand behind it in the order of names.
        query = (
            "SELECT stream FROM ledger.entries WHERE stream > %s AND stream < %s ORDER BY stream DESC LIMIT 1"
        )
        rows = self._rows(query, (prefix, f"{prefix}:"))  # a colon follows the digits
        return int(rows[0][0].removeprefix(prefix).partition("-")[0]) if rows else 0

    def readings(self, stream: str) -> list[tuple[int, Event]]:
        """Position and event of every reading of what is restricted in a stream, in order of the log."""
        prefix = f"reading/{stream}/"
        rows = self._rows(
            "SELECT position, entry FROM ledger.entries WHERE stream > %s AND stream < %s ORDER BY position",
            (prefix, f"{prefix[:-1]}0"),  # a zero follows the stroke
        )
        return [(row[0], open_event(bytes(row[1]))) for row in rows]

    def stream(self, stream: str) -> list[tuple[int, bytes, bytes | None]]:
        """Position, entry and sealed restricted disclosures of a stream's events, in order."""
        query = (
            "SELECT e.position, e.entry, v.sealed FROM ledger.entries e"
            " LEFT JOIN ledger.vault v USING (position) WHERE e.stream = %s ORDER BY e.n"
        )
        rows = self._rows(query, (stream,))
        return [(row[0], bytes(row[1]), bytes(row[2]) if row[2] else None) for row in rows]

    def vault(self, stream: str) -> tuple[bytes | None, list[tuple[int, bytes, bytes | None]]]:
        """The stream's wrapped data key, and what :meth:`stream` gives, as of one moment."""
        query = (
            "SELECT e.position, e.entry, v.sealed, k.wrapped FROM ledger.entries e"
            " LEFT JOIN ledger.vault v USING (position) LEFT JOIN ledger.data_keys k ON k.stream = e.stream"
            " WHERE e.stream = %s ORDER BY e.n"
        )
        rows = self._rows(query, (stream,))
        found = [(row[0], bytes(row[1]), bytes(row[2]) if row[2] else None) for row in rows]
        return (bytes(rows[0][3]) if rows and rows[0][3] else None), found

    def erased(self, stream: str) -> int | None:
        """Position of the last erasure that destroyed what was restricted in a stream."""
        query = (
            "SELECT position FROM ledger.entries WHERE stream > %s AND stream < %s"
            " AND (ledger.erasure_said(entry) #>> '{data,data_key}')::boolean ORDER BY position DESC LIMIT 1"
        )
        rows = self._rows(query, (f"erasure/{stream}/", f"erasure/{stream}0"))  # a zero follows the stroke
        return int(rows[0][0]) if rows else None

    def attachment(self, id_: UUID) -> bytes | None:
        """An uploaded file as it was stored, encrypted."""
        rows = self._rows("SELECT sealed FROM ledger.attachments WHERE id = %s", (id_,))
        return bytes(rows[0][0]) if rows else None

    def signed(self, petition: str, until: int) -> array[int]:
        """Positions of a petition's ``petition.signed`` up to ``until``, without those erased by then.

        In order. Erased is one whose stream a ``disclosure.erased`` with ``data_key`` names, after it and up
        to ``until``.
        """
        query = """
            WITH erased AS MATERIALIZED (
                SELECT ledger.erasure_said(entry) #>> '{data,of}' AS stream, max(position) AS position
                FROM ledger.entries
                WHERE stream >= %s AND stream < %s AND type = 'disclosure.erased' AND position <= %s
                  AND (ledger.erasure_said(entry) #>> '{data,data_key}')::boolean
                GROUP BY 1)
            SELECT string_agg(int8send(e.position), ''::bytea ORDER BY e.position) FROM ledger.entries e
            LEFT JOIN erased x ON x.stream = e.stream AND x.position > e.position
            WHERE e.stream >= %s AND e.stream < %s AND e.type = 'petition.signed' AND e.position <= %s
              AND x.stream IS NULL"""
        begin = f"signature/{petition}/"
        within = (begin, begin[:-1] + "0", until)  # a zero follows the stroke
        erasures = (f"erasure/{within[0]}", f"erasure/{within[1]}", until)
        # One value of 8 bytes each: a million rows would keep every other thread waiting.
        found = array("q", bytes(self._row(query, (*erasures, *within))[0] or b""))
        if sys.byteorder == "little":
            found.byteswap()
        return found

    def undrawn(self) -> list[tuple[int, Event]]:
        """Position and event of every ``evidence.asked`` whose sample was not drawn yet, in order."""
        query = """
            SELECT e.position, e.entry FROM ledger.entries e
            WHERE e.stream >= 'evidence/' AND e.stream < 'evidence0' AND e.type = 'evidence.asked'
              AND NOT EXISTS (SELECT FROM ledger.entries d
                              WHERE d.stream = e.stream AND d.type = 'evidence.drawn')
            ORDER BY 1"""
        return [(row[0], open_event(bytes(row[1]))) for row in self._rows(query, ())]

    def sealed(
        self, positions: Sequence[int]
    ) -> list[tuple[int, str, bytes, list[str], bytes | None, bytes | None]]:
        """Of each entry: position, stream, bytes, public disclosures, wrapped key, sealed disclosures."""
        query = """
            SELECT e.position, e.stream, e.entry,
                   array(SELECT d.disclosure FROM ledger.disclosures d
                         WHERE d.position = e.position ORDER BY d.name),
                   k.wrapped, v.sealed
            FROM ledger.entries e LEFT JOIN ledger.vault v USING (position)
            LEFT JOIN ledger.data_keys k ON k.stream = e.stream
            WHERE e.position = ANY(%s::bigint[]) ORDER BY 1"""
        return [(p, s, bytes(e), d, w, v) for p, s, e, d, w, v in self._rows(query, (list(positions),))]

    def petition_keys(self, stream: str) -> tuple[bytes, tuple[Disclosure, ...], bytes | None]:
        """A petition's first entry, what is disclosed about it, and the petition's wrapped secret."""
        position = self.position(stream, 1)
        if position is None:
            raise NotInLogError(f"There is no {stream}.")
        rows = self._rows("SELECT wrapped FROM ledger.petition_secrets WHERE petition = %s", (stream,))
        secret = bytes(rows[0][0]) if rows else None
        return self.entries(position, 1)[0][1], self.public_disclosures(position), secret

    def any_petition_secret(self) -> tuple[str, bytes] | None:
        """A petition's stream and its wrapped secret, to try a key on."""
        rows = self._rows("SELECT petition, wrapped FROM ledger.petition_secrets LIMIT 1", ())
        return (rows[0][0], bytes(rows[0][1])) if rows else None

    def command(self, command: CommandId) -> tuple[int, int] | None:
        """First position and number of the events that a command brought about.

        Raises :class:`ledger.store.append.CommandReusedError` if the key stands for another request.
        """
        query = "SELECT request, position, events FROM ledger.commands WHERE scope = %s AND key = %s"
        rows = self._rows(query, (command.scope, command.key))
        if not rows:
            return None
        request, position, events = rows[0]
        if bytes(request) != command.request:
            raise CommandReusedError(command.key)
        return position, events

    def position(self, stream: str, n: int) -> int | None:
        """Where event ``n`` of a stream stands."""
        query = "SELECT position FROM ledger.entries WHERE stream = %s AND n = %s"
        rows = self._rows(query, (stream, n))
        return int(rows[0][0]) if rows else None

    def proof(self, position: int) -> TlogProof:
        """Inclusion of an entry in the first cosigned checkpoint that has it, or else in the newest one.

        Raises :class:`NotInLogError`.
        """
        return self._proof(position, _BEST_CHECKPOINT, (position,))

    def first_proof(self, position: int) -> TlogProof:
        """Inclusion of an entry in the checkpoint that was signed with it: the proof its author got."""
        query = "SELECT size, note FROM ledger.checkpoints WHERE size > %s ORDER BY size LIMIT 1"
        return self._proof(position, query, (position,))

    def _proof(self, position: int, query: str, parameters: Sequence[Any]) -> TlogProof:
        rows = self._rows(query, parameters)
        if not rows or position >= rows[0][0]:
            raise NotInLogError(f"The log has no entry at position {position}.")
        size, note = rows[0]
        return TlogProof(position, merkle.inclusion_proof(position, size, self.read_node(size)), bytes(note))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Proof that the log of ``new`` entries begins with that of ``old`` ones."""
        return merkle.consistency_proof(old, new, self.read_node(new))

    def read_node(self, size: int) -> ReadNode:
        """Nodes of the tree of ``size`` entries."""
        return node_reader(self.tile, size)

    def _rows(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        # After a restart of the server each connection of the pool fails once.
        for tries_left in reversed(range(self._pool.max_size + 1)):
            try:
                with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
                    cursor.execute(query, parameters, prepare=True)
                    return cursor.fetchall()
            except psycopg.OperationalError as error:
                if not tries_left or isinstance(error, PoolTimeout):
                    raise StoreUnavailableError(
                        "The ledger's database does not answer: try again."
                    ) from error
        raise AssertionError("unreachable")

    def _row(self, query: str, parameters: Sequence[Any]) -> Any:  # noqa: ANN401 - a database row
        return self._rows(query, parameters)[0]
