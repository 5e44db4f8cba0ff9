"""Entries without the append transaction: any sequence of sealed events, lawful or not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from ledger import events
from ledger.encoding import b64url
from ledger.keys import SigningKey
from ledger.statement import Disclosure, Event, seal
from ledger.store.database import connect, connect_async
from ledger.tlog.merkle import leaf_hash
from projections import ALL
from projections.runner import Runner

KEY = SigningKey.from_seed(b64url(bytes(range(32))))
START = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
OPERATOR = "organisation/operator"
MINISTRY = "organisation/ministry"


def petition(number: int) -> str:
    """The id of an invented petition."""
    return f"00000000-0000-4000-8000-{number:012d}"


def person(number: int) -> str:
    """The nullifier of an invented person."""
    return b64url(number.to_bytes(32, "big"))


def submitted(until: datetime = START + timedelta(days=28)) -> events.PetitionSubmitted:
    return events.PetitionSubmitted(
        body=MINISTRY,
        lang="kk",
        text_hash="0" * 64,
        author=person(999),
        algorithm="RSA-SHA256",
        moderate_until=until,
    )


def admitted(needed: int = 2) -> events.PetitionAdmitted:
    return events.PetitionAdmitted(needed=needed, limited_until=START + timedelta(days=42))


def published(required: int = 4) -> events.PetitionPublished:
    return events.PetitionPublished(required=required, collect_until=START + timedelta(days=200))


def signed(region: str | None = None) -> events.PetitionSigned:
    return events.PetitionSigned(lang="kk", algorithm="RSA-SHA256", region=region)  # type: ignore[arg-type]


WITHDRAWN = events.SignatureWithdrawn(algorithm="RSA-SHA256")
VOIDED = events.SignatureVoided(reason="forged")


class WrittenLedger:
    """Writes ``ledger.entries`` and their public disclosures, as the owner of the schema."""

    def __init__(self, admin_url: str, url: str) -> None:
        self.url = url
        self.events: list[Event] = []
        self._versions: Counter[str] = Counter()
        self._connection = connect(admin_url, application_name="tests", autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def head(self) -> int:
        """Position of the last entry."""
        return len(self.events) - 1

    def add(
        self,
        stream: str,
        facts: events.Fact,
        *,
        at: datetime | None = None,
        n: int | None = None,
        **texts: Any,
    ) -> int:
        """Append one event; ``texts`` are values of its disclosures. Returns its position."""
        self._versions[stream] += 1
        names = sorted(facts.public | facts.restricted)
        disclosures = [Disclosure.make(name, texts.get(name, f"some {name}")) for name in names]
        event = seal(
            facts,
            iss=OPERATOR,
            stream=stream,
            n=n or self._versions[stream],
            at=at or START + timedelta(seconds=len(self.events)),
            key=KEY,
            disclosures=disclosures,
        )
        public = [d for d in disclosures if d.name in facts.public]
        self.add_entry(event.entry, stream, event.n, facts.type, public)
        self.events[-1] = event
        return self.head

    def sign(self, petition_id: str, who: int, region: str | None = None, **more: Any) -> int:
        """That person signs that petition."""
        return self.add(f"signature/{petition_id}/{person(who)}", signed(region), **more)

    def remove(self, petition_id: str, who: int, facts: events.Fact = WITHDRAWN) -> int:
        """That person's signature is withdrawn, or voided."""
        return self.add(f"signature/{petition_id}/{person(who)}", facts)

    def collecting(self, petition_id: str, *, needed: int = 0, required: int = 1_000_000) -> None:
        """Bring a petition into collection."""
        for facts in (submitted(), admitted(needed), published(required)):
            self.add(f"petition/{petition_id}", facts)

    def add_entry(
        self, entry: bytes, stream: str, n: int, type_: str, disclosures: list[Disclosure] | None = None
    ) -> int:
        """Append any bytes."""
        position = len(self.events)
        self._connection.execute(
            "INSERT INTO ledger.entries (position, stream, n, type, entry, leaf)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [position, stream, n, type_, entry, leaf_hash(entry)],
        )
        for disclosure in disclosures or ():
            self._connection.execute(
                "INSERT INTO ledger.disclosures VALUES (%s, %s, %s)",
                [position, disclosure.name, disclosure.encoded],
            )
        self.events.append(None)  # type: ignore[arg-type]
        return position

    def clear(self) -> None:
        """Begin a new history."""
        tables = ", ".join(f"projections.{table.name}" for projection in ALL for table in projection.tables)
        self.execute(
            "ALTER TABLE ledger.entries DISABLE TRIGGER append_only;"
            f"TRUNCATE ledger.entries, ledger.disclosures, projections.positions, {tables} CASCADE;"
            "ALTER TABLE ledger.entries ENABLE TRIGGER append_only"
        )
        self.events.clear()
        self._versions.clear()

    def forget(self, position: int) -> None:
        """Take an event's public disclosures away."""
        self._connection.execute("DELETE FROM ledger.disclosures WHERE position = %s", [position])

    def execute(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask, or change, the database as its owner."""
        cursor = self._connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def ask(ledger: WrittenLedger, query: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
    """Fold what was written, then put a question as a server would."""
    Runner(ledger.url).catch_up()

    async def answer() -> Any:
        connection = await connect_async(ledger.url, application_name="tests")
        async with connection:
            return await query(connection, *arguments, **options)

    return asyncio.run(answer())
