"""What a mirror remembers beside its copy: whose it is, what was found, both notes of a contradiction.

The copy itself stands in the ledger's own tables. All of it is written over one connection, as the role that
may add to the ledger and change nothing in it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import msgspec
import psycopg
from psycopg.rows import class_row, tuple_row

from audit.findings import Finding
from audit.mirror.errors import AnotherLogError, MirrorRunningError, NotACopyError
from audit.mirror.trust import Trust
from ledger.store.database import connect
from ledger.store.transaction import CHANNEL
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.merkle import Frontier

KEPT_PER_RULE = 200
"""Findings of one rule that are kept; the others are counted."""
LOCK = 731_007
"""Key of the advisory lock under which one process keeps a mirror."""
LOCK_SECONDS = 15.0
"""For how long it is waited for: the server notices late that a killed process is gone."""

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS mirror;

-- Of what this is a copy, and how far; one row.
CREATE TABLE IF NOT EXISTS mirror.origin (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    url        text        NOT NULL,
    log_key    text        NOT NULL,
    more_keys  text[]      NOT NULL DEFAULT '{}',
    began_at   timestamptz NOT NULL DEFAULT now(),
    seen       bytea,                                   -- the newest signed checkpoint that was believed
    seen_at    timestamptz,                             -- when the log last showed one
    disclosed  bigint      NOT NULL DEFAULT 0,          -- what is public was asked for of all entries below
    replayed   bigint      NOT NULL DEFAULT 0,          -- entries below kept to the rules, or are found
    compared_at timestamptz,
    compared   bigint      NOT NULL DEFAULT 0           -- answers in the last comparison
);

CREATE TABLE IF NOT EXISTS mirror.findings (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at  timestamptz NOT NULL DEFAULT now(),
    rule      text        COLLATE "C" NOT NULL,
    position  bigint,
    last      bigint,
    reason    text        NOT NULL,
    evidence  jsonb       NOT NULL,
    blocking  boolean     NOT NULL DEFAULT false,       -- nothing was copied because of it
    replayed  boolean     NOT NULL DEFAULT false,       -- made by the replay, and again when that begins anew
    over_at   timestamptz                               -- since when it is not so any more
);
CREATE UNIQUE INDEX IF NOT EXISTS findings_once ON mirror.findings
    (rule, coalesce(position, -1), coalesce(last, -1), md5(reason)) WHERE over_at IS NULL;

CREATE TABLE IF NOT EXISTS mirror.more_findings (
    rule    text   COLLATE "C" PRIMARY KEY,
    number  bigint NOT NULL
);

-- Two notes, both signed by the log, that cannot both be true; kept for ever.
CREATE TABLE IF NOT EXISTS mirror.contradictions (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    kind    text        COLLATE "C" NOT NULL CHECK (kind IN ('fork', 'rollback')),
    said    text        NOT NULL,
    before  bytea       NOT NULL,
    after   bytea       NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS contradictions_once ON mirror.contradictions
    (kind, md5(before), md5(after));

-- Where the replay came to, and all that it knows of the past; one row.
CREATE TABLE IF NOT EXISTS mirror.replay (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    judged_by  text        NOT NULL,                    -- the rules of that release, and one's own
    size       bigint      NOT NULL,
    root       bytea       NOT NULL,
    state      bytea       NOT NULL,
    saved_at   timestamptz NOT NULL DEFAULT now()
);

-- What became of each digest that the operator committed, by the position of its event.
CREATE TABLE IF NOT EXISTS mirror.digests (
    position  bigint PRIMARY KEY,
    name      text   COLLATE "C" NOT NULL,
    as_of     bigint NOT NULL,
    outcome   text   COLLATE "C" NOT NULL CHECK (outcome IN ('same', 'different', 'not-compared')),
    said      text   NOT NULL
);

-- What an entry commits to in public and was not served; the log was this long then.
CREATE TABLE IF NOT EXISTS mirror.undisclosed (
    position  bigint      NOT NULL,
    name      text        COLLATE "C" NOT NULL,
    size      bigint      NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (position, name)
);
"""

_KNOWN = """
    SELECT FROM mirror.findings WHERE rule = %s AND position IS NOT DISTINCT FROM %s
    AND last IS NOT DISTINCT FROM %s AND reason = %s AND over_at IS NULL"""


class Origin(NamedTuple):
    """The one row of ``mirror.origin``."""

    url: str
    log_key: str
    more_keys: list[str]
    began_at: datetime
    seen: bytes | None
    seen_at: datetime | None
    disclosed: int
    replayed: int
    compared_at: datetime | None
    compared: int


class KeptFinding(msgspec.Struct, frozen=True):
    """A finding with when it was made, and since when it does not hold any more."""

    found_at: datetime
    rule: str
    position: int | None
    last: int | None
    reason: str
    evidence: dict[str, str | int | None]
    over_at: datetime | None

    @property
    def finding(self) -> Finding:
        """As an audit has it."""
        return Finding(
            rule=self.rule, reason=self.reason, position=self.position, last=self.last, evidence=self.evidence
        )


class Contradiction(msgspec.Struct, frozen=True):
    """Both notes, as they were signed."""

    at: datetime
    kind: Literal["fork", "rollback"]
    said: str
    before: str
    after: str


class Store:
    """The mirror's database. Not to be shared between threads."""

    def __init__(self, url: str) -> None:
        """``url`` connects as the service's role."""
        self.url = url
        self.connection: psycopg.Connection[tuple[Any, ...]] = connect(
            url, application_name="aiqyn mirror", autocommit=True
        )
        self._counts: Counter[str] = Counter()

    def close(self) -> None:
        """Give up the connection, and with it the lock."""
        self.connection.close()

    def __enter__(self) -> Self:
        """Use as ``with Store(url) as store``."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # --- beginning ------------------------------------------------------------------------------------

    def begin(self, url: str, trust: Trust) -> None:
        """Make this database the mirror of a log, or go on with it; nobody else may until :meth:`close`.

        Raises :class:`NotACopyError`, :class:`AnotherLogError` or :class:`MirrorRunningError`.
        """
        known = self.is_mirror()
        if not known and self.head().size:
            raise NotACopyError(
                "This database holds a ledger already that no mirror copied: choose another --home, or "
                "another AIQYN_DATABASE_URL."
            )
        self._take_lock()
        if not known:
            with self.connection.transaction():
                self.connection.execute(_SCHEMA.encode())
        key, more = str(trust.key), [str(key) for key in trust.more]
        row = self.connection.execute("SELECT log_key FROM mirror.origin").fetchone()
        if row is not None and row[0] != key:
            raise AnotherLogError(
                f"This is the mirror of the log with the key {row[0]}: for {key} choose another --home.",
                mirrored=row[0],
            )
        self.connection.execute(
            "INSERT INTO mirror.origin (url, log_key, more_keys) VALUES (%s, %s, %s)"
            " ON CONFLICT (only_row) DO UPDATE SET url = excluded.url, more_keys = excluded.more_keys",
            [url, key, more],
        )
        self._count()

    def _count(self) -> None:
        rows = self.connection.execute("SELECT rule, count(*) FROM mirror.findings GROUP BY rule").fetchall()
        self._counts = Counter(dict(rows))

    def is_mirror(self) -> bool:
        """Whether a mirror was begun here."""
        row = self.connection.execute("SELECT to_regclass('mirror.undisclosed')").fetchone()
        return row is not None and row[0] is not None

    def require_mirror(self) -> Origin:
        """What this is a copy of. Raises :class:`NotACopyError`."""
        if not self.is_mirror() or (origin := self._origin()) is None:
            raise NotACopyError("No mirror was begun here: run `aiqyn mirror URL --log-key VKEY` first.")
        return origin

    def _take_lock(self) -> None:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            row = self.connection.execute("SELECT pg_try_advisory_lock(%s, 0)", [LOCK]).fetchone()
            if row is not None and row[0]:
                return
            if time.monotonic() > end:
                raise MirrorRunningError("Another process keeps this mirror: end it first.")
            time.sleep(0.1)

    # --- where it stands ------------------------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        """The one row."""
        return self.require_mirror()

    def _origin(self) -> Origin | None:
        cursor = self.connection.cursor(row_factory=class_row(Origin))
        columns = ", ".join(Origin._fields)
        return cursor.execute(f"SELECT {columns} FROM mirror.origin".encode()).fetchone()  # noqa: S608 - ours

    def head(self) -> Frontier:
        """The right edge of what was copied."""
        cursor = self.connection.cursor(row_factory=tuple_row, binary=True)
        row = cursor.execute("SELECT size, frontier FROM ledger.head").fetchone()
        return Frontier(0, ()) if row is None else Frontier.from_bytes(row[0], bytes(row[1]))

    def saw(self, note: bytes) -> None:
        """Remember a checkpoint that was believed: whatever the log signs later must not contradict it."""
        self.connection.execute("UPDATE mirror.origin SET seen = %s, seen_at = now()", [note])

    def complete(self, checkpoint: Checkpoint, note: bytes, *, cosigned: bool) -> None:
        """Every entry below the checkpoint is here: from now on it is what this copy serves.

        ``cosigned``: it satisfied a policy, so that receipts had better be made with it.
        """
        with self.connection.transaction():
            self.connection.execute(
                "INSERT INTO ledger.checkpoints (size, root, note) VALUES (%s, %s, %s)"
                " ON CONFLICT (size) DO NOTHING",
                [checkpoint.size, checkpoint.root, note],
            )
            if cosigned:
                self.connection.execute(
                    "INSERT INTO service.cosigned (size, note, at) VALUES (%s, %s, now())"
                    " ON CONFLICT (size) DO NOTHING",
                    [checkpoint.size, note],
                )
            self.notify()

    def notify(self) -> None:
        """Wake who follows this copy."""
        self.connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])

    def set(self, **values: Any) -> None:  # noqa: ANN401 - a column's value
        """Change columns of the one row."""
        assignments = ", ".join(f"{name} = %({name})s" for name in values)
        self.connection.execute(f"UPDATE mirror.origin SET {assignments}".encode(), values)  # noqa: S608 - ours

    # --- what was found -------------------------------------------------------------------------------

    def find(self, finding: Finding, *, blocking: bool = False, replayed: bool = False) -> bool:
        """Keep a finding, once; whether it is a new one.

        ``blocking``: it may be over some day; ``replayed``: made by the replay.
        """
        # PostgreSQL holds no NUL.
        reason = finding.reason.replace("\0", "\N{REPLACEMENT CHARACTER}")
        key = [finding.rule, finding.position, finding.last, reason]
        if self.connection.execute(_KNOWN, key).fetchone() is not None:
            return False
        if self._counts[finding.rule] >= KEPT_PER_RULE:
            self.connection.execute(
                "INSERT INTO mirror.more_findings (rule, number) VALUES (%s, 1)"
                " ON CONFLICT (rule) DO UPDATE SET number = more_findings.number + 1",
                [finding.rule],
            )
            return True
        evidence = {
            name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
            for name, value in finding.evidence.items()
        }
        self.connection.execute(
            "INSERT INTO mirror.findings (rule, position, last, reason, evidence, blocking, replayed)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [*key, msgspec.json.encode(evidence).decode(), blocking, replayed],
        )
        self._counts[finding.rule] += 1
        return True

    # --- the replay's memory --------------------------------------------------------------------------

    def replay_anew(self) -> None:
        """Forget what the replay found, because all of it is about to be made again."""
        with self.connection.transaction():
            self.connection.execute("DELETE FROM mirror.findings WHERE replayed")
            self.connection.execute("DELETE FROM mirror.more_findings")
            self.connection.execute("DELETE FROM mirror.replay")
        self._count()

    def save_replay(self, judged_by: str, size: int, root: bytes, state: bytes) -> None:
        """Keep what a replay knows; the last one is replaced."""
        self.connection.execute(
            "INSERT INTO mirror.replay (judged_by, size, root, state) VALUES (%s, %s, %s, %b)"
            " ON CONFLICT (only_row) DO UPDATE SET judged_by = excluded.judged_by, size = excluded.size,"
            " root = excluded.root, state = excluded.state, saved_at = now()",
            [judged_by, size, root, state],
        )

    def saved_replay(self, judged_by: str) -> tuple[int, bytes, bytes] | None:
        """Size, root and state of the last one, if the same rules were asked."""
        cursor = self.connection.cursor(row_factory=tuple_row, binary=True)
        cursor.execute("SELECT size, root, state FROM mirror.replay WHERE judged_by = %s", [judged_by])
        row = cursor.fetchone()
        return None if row is None else (row[0], bytes(row[1]), bytes(row[2]))

    # --- what is over ---------------------------------------------------------------------------------

    def over(self, rules: Sequence[str]) -> None:
        """What kept this mirror from copying, by these rules, does so no more."""
        self.connection.execute(
            "UPDATE mirror.findings SET over_at = now()"
            " WHERE over_at IS NULL AND blocking AND rule = ANY(%s)",
            [list(rules)],
        )

    def findings(self) -> list[KeptFinding]:
        """All that were kept, those that still hold first."""
        cursor = self.connection.cursor(row_factory=class_row(KeptFinding))
        columns = ", ".join(KeptFinding.__struct_fields__)
        return cursor.execute(
            f"SELECT {columns} FROM mirror.findings"  # noqa: S608 - ours
            " ORDER BY over_at IS NOT NULL, coalesce(position, -1), id".encode()
        ).fetchall()

    def more_findings(self) -> dict[str, int]:
        """Rule → how many were counted and not kept."""
        rows = self.connection.execute(
            "SELECT rule, number FROM mirror.more_findings ORDER BY rule"
        ).fetchall()
        return dict(rows)

    def contradict(self, kind: Literal["fork", "rollback"], said: str, before: bytes, after: bytes) -> None:
        """Keep both notes."""
        self.connection.execute(
            "INSERT INTO mirror.contradictions (kind, said, before, after) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [kind, said, before, after],
        )

    def contradictions(self) -> list[Contradiction]:
        """All of them, the first one first."""
        cursor = self.connection.cursor(row_factory=tuple_row, binary=True)
        cursor.execute("SELECT at, kind, said, before, after FROM mirror.contradictions ORDER BY id")
        return [
            Contradiction(
                at,
                kind,
                said,
                bytes(before).decode("utf-8", "replace"),
                bytes(after).decode("utf-8", "replace"),
            )
            for at, kind, said, before, after in cursor
        ]

    def is_clean(self) -> bool:
        """Whether nothing that was found still holds."""
        row = self.connection.execute(
            "SELECT EXISTS (SELECT FROM mirror.findings WHERE over_at IS NULL)"
            " OR EXISTS (SELECT FROM mirror.contradictions) OR EXISTS (SELECT FROM mirror.more_findings)"
        ).fetchone()
        return row is None or not row[0]

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """A cursor whose work is done whole or not at all."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            yield cursor
