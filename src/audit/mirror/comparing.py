"""What the operator publishes against what the copy gives, at the same position.

Counts, lists and statistics are asked of the operator; each says as of which position it stands. The tables
of the copy are folded exactly up to there, and the same code answers the same question from them. What is
asked follows from the copy, and by chance where it is too much, so that nobody can prepare for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from audit.findings import Finding
from audit.mirror.folding import Folding
from audit.mirror.progress import OnProgress, Progress
from audit.mirror.store import Store
from audit.source import MAX_JSON_BYTES, NotServedError, OversizedError, Source, SourceError
from ledger import events

Ask = Callable[[str], bytes | None]
"""What the same interface over the copy answers to a path; None where there is nothing."""

MAX_POSITION = 2**63 - 1
PAGE = 100
GROUP = 200
"""Answers that are held in memory at once."""
AT_ONCE = 4
"""Questions under way at the operator's."""
PATIENCE_SECONDS = 30.0
"""For which the operator's tables may be behind the copy's before nothing is compared."""
WITNESS_SECONDS = 60.0
"""For which what is signed may wait for its witnesses."""
AGAIN_SECONDS = 3.0
"""Before a question is repeated: longer than any cache keeps an answer about numbers."""
SHOWN = 5
"""Differences of one answer that are told."""
OVERSIGHT_AXES = ("body", "month", "kind", "category", "region", "channel", "origin")

_TEXTS = frozenset(name for cls in events.catalogue.values() for name in cls.public)
"""Names of what is disclosed beside entries: it may be taken away between two looks, and is not repeated
where a finding is told."""


UNANSWERED = "no answer"


class Asked(NamedTuple):
    """One question."""

    rule: str
    path: str


class Answer(NamedTuple):
    """What the operator said."""

    asked: Asked
    value: Any
    """JSON; None where there is nothing."""
    as_of: int | None


class Difference(NamedTuple):
    """One value that differs."""

    where: str
    published: Any
    recounted: Any

    @property
    def is_text(self) -> bool:
        """Whether one side shows a disclosed text, or its erasure, and the other one does not."""
        names = self.where.split(".")
        return (names[-1] in _TEXTS or "erased" in names) and None in (self.published, self.recounted)


class Compared(NamedTuple):
    """What came of a comparison."""

    answers: int
    """That were compared."""
    older: int
    """That stood at positions which the copy has passed."""
    beyond: int
    """That count more than the log has signed, as far as this mirror believes it."""
    differences: int


class Comparison:
    """Asks and compares, once."""

    def __init__(
        self,
        store: Store,
        source: Source,
        ask: Ask,
        folding: Folding,
        copy_up_to: Callable[[int], bool],
        signed: Callable[[], int],
        on_progress: OnProgress,
    ) -> None:
        """``copy_up_to`` brings the copy beyond a position, if the log has it; it does not fold. ``signed``:
        how many entries the log's key signed for, with witnesses or without."""
        self._store = store
        self._source = source
        self._ask = ask
        self._folding = folding
        self._copy_up_to = copy_up_to
        self._signed = signed
        self._on_progress = on_progress
        self._answers = self._older = self._beyond = self._differences = 0

    def run(self, limit: int) -> Compared:
        """Compare at most ``limit`` answers. Raises :class:`audit.source.SourceError`."""
        if self._wait_for_operator():
            asked = list(self._questions(limit))
            again: list[Asked] = []
            for at in range(0, len(asked), GROUP):
                again += self._compare(asked[at : at + GROUP], last_look=False)
                self._on_progress(Progress("comparing", min(at + GROUP, len(asked)), len(asked)))
            if again:
                time.sleep(AGAIN_SECONDS)
                self._compare(again, last_look=True)
        return Compared(self._answers, self._older, self._beyond, self._differences)

    # --- what is asked --------------------------------------------------------------------------------

    def _wait_for_operator(self) -> bool:
        """Whether its tables stand where ours do, or further; ours are not moved meanwhile."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answers = [
                self._answer(Asked("", path))
                for path in ("v1/petitions?limit=1", "v1/appeals?limit=1", "v1/organisations")
            ]
            if any(answer.value is UNANSWERED for answer in answers):
                raise SourceError(f"{self._source.name} answers no questions.")
            stands = [answer.as_of for answer in answers]
            if all(as_of is not None and as_of >= self._folding.position for as_of in stands):
                return True
            if None in stands or time.monotonic() > end:
                self._older += len(stands)
                return False
            time.sleep(1)

    def _questions(self, limit: int) -> Iterator[Asked]:
        """As many as are allowed: what is few all of it, and an equal part of each kind that is many."""
        few = [Asked("published-organisations", "v1/organisations"), *self._oversight()]
        few += [
            Asked("published-list", f"v1/petitions?limit={PAGE}"),
            Asked("published-register", f"v1/appeals?limit={PAGE}"),
        ]
        yield from few[:limit]
        left = max(0, limit - len(few))
        kinds = [list(kind(left)) for kind in (self._lists, self._petitions, self._signers, self._appeals)]
        # The shortest first: what one kind does not use is for the others.
        for number, found in enumerate(sorted(kinds, key=len)):
            part = found[: left // (len(kinds) - number)]
            left -= len(part)
            yield from part

    def _oversight(self) -> Iterator[Asked]:
        years = self._rows("SELECT DISTINCT substr(period, 1, 4) FROM projections.oversight_cells ORDER BY 1")
        for (year,) in years:
            for axis in OVERSIGHT_AXES:
                path = f"v1/oversight/appeals?period={year}&by={axis}&limit=10000"
                yield Asked("published-oversight", path)
            for measure in ("late_share", "median_days"):
                yield Asked("published-oversight", f"v1/oversight/worsening?period={year}&measure={measure}")

    def _lists(self, limit: int) -> Iterator[Asked]:
        for rule, path, query in (
            ("published-list", "v1/petitions", _LISTED),
            ("published-register", "v1/appeals", _REGISTERED),
        ):
            for (cursor,) in self._rows(query, [PAGE, limit]):
                yield Asked(rule, f"{path}?limit={PAGE}&cursor={cursor}")

    def _petitions(self, limit: int) -> Iterator[Asked]:
        for (petition,) in self._rows(_PETITIONS, [limit // 5 + 1]):
            path = f"v1/petitions/{petition}"
            yield Asked("published-petition", path)
            yield Asked("published-growth", f"{path}/growth?step=hour")
            yield Asked("published-growth", f"{path}/growth?step=day")
            yield Asked("published-trail", f"{path}/trail")
            yield Asked("published-signatures", f"{path}/signatures?limit={PAGE}")

    def _signers(self, limit: int) -> Iterator[Asked]:
        for petition, before in self._rows(_SIGNERS, [PAGE, limit]):
            path = f"v1/petitions/{petition}/signatures?limit={PAGE}&before={before}"
            yield Asked("published-signatures", path)

    def _appeals(self, limit: int) -> Iterator[Asked]:
        for (stream,) in self._rows(_APPEALS, [limit]):
            yield Asked("published-appeal", f"v1/appeals/{stream.removeprefix('appeal/')}")

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._store.connection.execute(query.encode(), parameters).fetchall()

    # --- comparing ------------------------------------------------------------------------------------

    def _compare(self, asked: Sequence[Asked], *, last_look: bool) -> list[Asked]:
        """Returns what is to be asked once more."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="comparing") as pool:
            answers = list(pool.map(self._answer, asked))
        if all(answer.value is UNANSWERED for answer in answers):
            raise SourceError(f"{self._source.name} answers no questions any more.")
        again: list[Asked] = []
        unreached = MAX_POSITION
        for answer in sorted(answers, key=lambda one: -1 if one.as_of is None else one.as_of):
            if answer.as_of is None and not last_look:
                again.append(answer.asked)  # it may have come up this moment
            elif answer.as_of is not None and answer.as_of < self._folding.position:
                if last_look:
                    self._older += 1
                else:
                    again.append(answer.asked)
            elif answer.as_of is not None and (answer.as_of >= unreached or not self._reach(answer)):
                self._beyond += 1
                unreached = min(unreached, answer.as_of)
            elif not self._same(answer, last_look=last_look):
                again.append(answer.asked)
        return again

    def _reach(self, answer: Answer) -> bool:
        """Bring the copy to where an answer stands; what was signed may have to wait for its witnesses."""
        end = time.monotonic() + WITNESS_SECONDS
        position = answer.as_of or 0
        while not self._copy_up_to(position):
            if (signed := self._signed()) <= position:
                self._store.find(
                    Finding(
                        rule="log-size",
                        reason=f"/{answer.asked.path} counts up to position {position}, but the signed log "
                        f"ends at {signed - 1}.",
                        position=position,
                    )
                )
                return False
            if time.monotonic() > end:
                return False
            time.sleep(1)
        return True

    def _answer(self, asked: Asked) -> Answer:
        try:
            value = msgspec.json.decode(self._source.read(asked.path, MAX_JSON_BYTES))
        except NotServedError:
            return Answer(asked, None, None)
        except SourceError as error:
            if isinstance(error, OversizedError):
                return Answer(asked, "too many bytes", None)
            return Answer(asked, UNANSWERED, None)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            value = "no JSON"
        as_of = value.get("as_of") if isinstance(value, dict) else None
        return Answer(asked, value, as_of if type(as_of) is int else None)

    def _same(self, answer: Answer, *, last_look: bool) -> bool:
        """Compare one answer at its position; False where it deserves a second look."""
        if answer.as_of is not None:
            self._folding.to(answer.as_of)
        body = self._ask(answer.asked.path)
        ours = None if body is None else msgspec.json.decode(body)
        found = list(differences(answer.value, ours))
        if found and not last_look and all(difference.is_text for difference in found):
            return False
        self._answers += 1
        self._differences += len(found)
        for difference in found[:SHOWN]:
            self._store.find(_finding(answer, difference, len(found)))
        return True


def differences(published: Any, recounted: Any, where: str = "") -> Iterator[Difference]:  # noqa: ANN401 - JSON
    """Where two JSON values differ, by the names and numbers that lead there."""
    if isinstance(published, dict) and isinstance(recounted, dict):
        for name in dict.fromkeys((*recounted, *published)):
            path = f"{where}.{name}" if where else name
            yield from differences(published.get(name), recounted.get(name), path)
    elif isinstance(published, list) and isinstance(recounted, list):
        if len(published) != len(recounted):
            yield Difference(f"number of {where or 'items'}", len(published), len(recounted))
        for at, (theirs, ours) in enumerate(zip(published, recounted, strict=False)):
            yield from differences(theirs, ours, f"{where}[{at}]")
    elif published != recounted or type(published) is not type(recounted):
        yield Difference(where or "the answer", published, recounted)


def _finding(answer: Answer, difference: Difference, number: int) -> Finding:
    published, recounted = (
        _shown(difference, value) for value in (difference.published, difference.recounted)
    )
    more = f" (and {number - 1} more)" if number > 1 else ""
    at = "" if answer.as_of is None else f" as of {answer.as_of}"
    return Finding(
        rule=answer.asked.rule,
        reason=f"/{answer.asked.path}{at}: {difference.where} is {published}; "
        f"by the log it is {recounted}{more}.",
        position=None if answer.as_of is None or answer.as_of < 0 else answer.as_of,
        evidence={
            "path": f"/{answer.asked.path}", "where": difference.where, "published": published,
            "recounted": recounted,
        },
    )  # fmt: skip


def _shown(difference: Difference, value: Any) -> str:  # noqa: ANN401 - JSON
    """A value as a finding tells it: nothing that somebody may have to forget."""
    if value is None:
        return "nothing"
    if difference.where.rpartition(".")[2] in _TEXTS:
        return "a text"
    if isinstance(value, dict | list):
        return f"{len(value)} values"
    return msgspec.json.encode(value).decode()[:200]


_LISTED = """
    SELECT listed FROM (
        SELECT published_position AS listed, row_number() OVER (ORDER BY published_position DESC) AS row
        FROM projections.petitions WHERE submitted_position IS NOT NULL AND published_position IS NOT NULL
    ) t WHERE row %% %s = 0 ORDER BY random() LIMIT %s"""
_REGISTERED = """
    SELECT submitted_position FROM (
        SELECT submitted_position, row_number() OVER (ORDER BY submitted_position DESC) AS row
        FROM projections.appeals
    ) t WHERE row %% %s = 0 ORDER BY random() LIMIT %s"""
_PETITIONS = """
    SELECT id::text FROM projections.petitions WHERE submitted_position IS NOT NULL
    ORDER BY random() LIMIT %s"""
_SIGNERS = """
    SELECT petition::text, position FROM (
        SELECT petition, position, row_number() OVER (PARTITION BY petition ORDER BY position DESC) AS row
        FROM projections.signatures
    ) t WHERE row %% %s = 0 ORDER BY random() LIMIT %s"""
_APPEALS = "SELECT stream FROM projections.appeals ORDER BY random() LIMIT %s"
