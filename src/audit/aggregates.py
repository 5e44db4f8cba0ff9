"""Streams let happen to their aggregates, whose event methods hold the rules of the law.

Also how an aggregate is put away: as plain data, read back without running anything that was stored. That
keeps an audit's memory small, and is how the next audit goes on from this one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Generic, TypeVar, cast

import msgspec

from ledger.domain.aggregate import LedgerAggregate, NotAllowedError
from ledger.domain.terms import NoTermError
from ledger.events import Fact, catalogue, decode
from ledger.statement import Event
from ledger.store.mapper import domain_event

_A = TypeVar("_A", bound=LedgerAggregate)

HOT = 20_000
"""Aggregates that are kept ready: some kilobytes each, a tenth of that when they are put away."""

_NOT_PUT_AWAY = frozenset({"_id", "_pending_events"})
_pack = msgspec.msgpack.Encoder(order=None).encode
_unpack = msgspec.msgpack.Decoder().decode


class Aggregates(Generic[_A]):
    """The aggregates of one kind, by stream, as their events left them."""

    def __init__(self, kind: type[_A]) -> None:
        self._kind = kind
        self._ready: OrderedDict[str, _A] = OrderedDict()
        self._away: dict[str, bytes] = {}
        self._layouts: dict[tuple[str, ...], int] = {}
        """The attributes' names, in the order in which their values are put away."""

    def get(self, stream: str) -> _A | None:
        """The aggregate, not to be changed but by :meth:`happen`."""
        found = self._ready.get(stream)
        if found is None and (packed := self._away.pop(stream, None)) is not None:
            found = self._ready[stream] = self._read(stream, packed)
        return found

    def happen(self, event: Event) -> str | None:
        """Let an event happen; the reason why it was not allowed, or None."""
        before = self.get(event.stream)
        try:
            happened = cast("LedgerAggregate.Event", domain_event(event))
            after = cast("_A", happened.mutate(before))
        except (NotAllowedError, NoTermError) as refused:
            return str(refused)
        except Exception as error:
            return f"It cannot happen to {event.stream}: {error or type(error).__name__}."
        self._ready[event.stream] = after
        if len(self._ready) > HOT:
            self._put_away()
        return None

    def forget(self, stream: str) -> None:
        """Not judged any more."""
        self._ready.pop(stream, None)
        self._away.pop(stream, None)

    def _put_away(self) -> None:
        # Half at once, the oldest first: then it is seldom done, and what is at work stays.
        for _ in range(HOT // 2):
            stream, aggregate = self._ready.popitem(last=False)
            self._away[stream] = self._write(aggregate)

    # --- as plain data ---------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """``layouts``: names of attributes; ``streams``: number of the layout, and the values."""
        streams = self._away | {stream: self._write(aggregate) for stream, aggregate in self._ready.items()}
        return {"layouts": [list(names) for names in self._layouts], "streams": streams}

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._layouts = {tuple(names): number for number, names in enumerate(dumped["layouts"])}
        self._away = dumped["streams"]

    def streams(self) -> Iterator[str]:
        """Every stream that has an aggregate here."""
        yield from self._away
        yield from self._ready

    def _write(self, aggregate: _A) -> bytes:
        values = {name: value for name, value in vars(aggregate).items() if name not in _NOT_PUT_AWAY}
        layout = self._layouts.setdefault(tuple(values), len(self._layouts))
        return _pack([layout, *map(_plain, values.values())])

    def _read(self, stream: str, packed: bytes) -> _A:
        aggregate = self._kind.__new__(self._kind)
        layout, *written = _unpack(packed)
        names = list(self._layouts)[layout]
        vars(aggregate).update(zip(names, map(_value, written), strict=True))
        vars(aggregate).update(_id=stream, _pending_events=[])
        return aggregate


def _plain(value: Any) -> Any:  # noqa: ANN401 - an attribute of an aggregate
    """As numbers, texts and marked lists."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return ["at", value.isoformat()]
    if isinstance(value, date):
        return ["on", value.isoformat()]
    if isinstance(value, tuple):
        return ["tuple", *map(_plain, value)]
    if isinstance(value, list):
        return ["list", *map(_plain, value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(map(_plain, value))]
    if isinstance(value, set):
        return ["set", *sorted(map(_plain, value))]
    if isinstance(value, dict):
        return ["dict", *([_plain(key), _plain(inner)] for key, inner in value.items())]
    if isinstance(value, Fact):
        return ["fact", value.type, value.version, msgspec.json.encode(value).decode()]
    raise TypeError(f"{type(value).__name__} cannot be put away")


def _value(plain: Any) -> Any:  # noqa: ANN401 - an attribute of an aggregate
    """The value again. Raises :class:`ValueError` for anything that :func:`_plain` does not write."""
    if not isinstance(plain, list):
        return plain
    match plain:
        case ["at", str(text)]:
            return datetime.fromisoformat(text)
        case ["on", str(text)]:
            return date.fromisoformat(text)
        case ["tuple", *values]:
            return tuple(map(_value, values))
        case ["list", *values]:
            return list(map(_value, values))
        case ["frozenset", *values]:
            return frozenset(map(_value, values))
        case ["set", *values]:
            return set(map(_value, values))
        case ["dict", *pairs]:
            return {_value(key): _value(inner) for key, inner in pairs}
        case ["fact", str(type_), int(version), str(data)] if type_ in catalogue:
            return decode(type_, version, data.encode())
        case _:
            raise ValueError(f"this is no value of an aggregate: {str(plain)[:100]}")
