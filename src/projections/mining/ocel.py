"""OCEL 2.0 as JSON: events in which several objects take part: appeals, organisations, and sealing keys.

Unlike in XES, a part of an appeal keeps its tie to the whole, and an organisation its part in the appeals of
others. Events are written as they are read; what is known of the objects waits in a file without a name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from ledger import events
from projections.base import utc
from projections.mining.cases import Case, CaseEvent, Snapshot, Value, in_chunks

MEDIA_TYPE = "application/json"
APPEAL, ORGANISATION, KEY = "appeal", "organisation", "key"
ALWAYS = "1970-01-01T00:00:00Z"
"""The time of values that do not change, as the specification has it."""
_OF_AN_APPEAL = (
    "kind", "applicant", "channel", "category", "lang", "region", "register", "body", "outcome",
)  # fmt: skip
_OF_AN_ORGANISATION = ("kind", "level", "region", "name_kk", "name_ru")
_OF_AN_EVENT = {"type": "string", "position": "integer", "version": "integer"}

_encode = msgspec.json.Encoder().encode


def write(snapshot: Snapshot) -> Iterator[bytes]:
    """The log, piece by piece."""
    return in_chunks(_Writer(snapshot).parts())


class _Writer:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._event_types: dict[str, dict[str, str]] = {}
        self._organisations: set[str] = set()
        self._keys: dict[str, set[str]] = {}
        """Of whom each key sealed something."""
        self._missing: set[str] = set()
        """Appeals that others are tied to and that were not written yet."""
        self._family: set[str] = set()
        """The last whole that was written, and its parts, which follow it in the order of names."""
        self._whole = ""

    def parts(self) -> Iterator[str]:
        about = {
            name: value
            for name in ("origin", "as_of", "root")
            if (value := getattr(self._snapshot, name)) is not None
        }
        yield f'{{"log":{_json(about)},\n"events":['
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as objects:
            comma = ""
            for case in self._snapshot.cases():
                objects.write(_json(self._appeal(case)) + "\n")
                for event in case.events:
                    yield f"{comma}\n{_json(self._event(case, event))}"
                    comma = ","
            objects.seek(0)
            yield '],\n"objects":['
            comma = ""
            for line in objects:
                yield f"{comma}\n{line[:-1]}"
                comma = ","
        for found in self._others():
            yield f"{comma}\n{_json(found)}"
            comma = ","
        types = [
            {"name": name, "attributes": _declared(dict.fromkeys(names, "string"))}
            for name, names in ((APPEAL, _OF_AN_APPEAL), (ORGANISATION, _OF_AN_ORGANISATION), (KEY, ()))
        ]
        yield f'],\n"objectTypes":{_json(types)},\n"eventTypes":'
        yield _json(
            [{"name": n, "attributes": _declared(found)} for n, found in sorted(self._event_types.items())]
        )
        yield "}\n"

    def _event(self, case: Case, event: CaseEvent) -> dict[str, Any]:
        values: dict[str, Value] = {
            "type": event.type, "position": event.position, "version": event.n, **event.values,
        }  # fmt: skip
        declared = self._event_types.setdefault(event.activity, dict(_OF_AN_EVENT))
        declared.update((name, _type(value)) for name, value in values.items())
        self._organisations.add(event.iss)
        self._keys.setdefault(event.kid, set()).add(event.iss)
        ties = [(case.stream, "of"), (event.iss, "by"), (event.kid, "sealed with")]
        other = getattr(event.facts, "to", None)
        if other is not None:
            self._organisations.add(other)
            ties.append((other, "to"))
        match event.facts:
            case events.AppealSubmitted(body=body):
                ties.append((body, "to"))
            case events.AppealSplitOff(body=body, parent=parent):
                ties.append((body, "to"))
                ties.append((self._tie(parent), "parent"))
            case events.AppealForwardedInPart(number=number):
                ties.append((self._tie(f"{case.stream}-{number}"), "part"))
            case _:
                pass
        return {
            "id": str(event.position),
            "type": event.activity,
            "time": _time(event.time),
            "attributes": [{"name": name, "value": _value(value)} for name, value in values.items()],
            "relationships": [{"objectId": id_, "qualifier": qualifier} for id_, qualifier in ties],
        }

    def _appeal(self, case: Case) -> dict[str, Any]:
        if not case.stream.startswith(f"{self._whole}-"):
            self._whole, self._family = case.stream, set()
        self._family.add(case.stream)
        self._missing.discard(case.stream)
        attributes = [{"name": name, "time": ALWAYS, "value": value} for name, value in case.constant.items()]
        ties = []
        for number, body in enumerate(case.bodies):
            time = _time(body.time) if number else ALWAYS
            attributes.append({"name": "body", "time": time, "value": body.value})
            self._organisations.add(body.value)
            ties.append((body.value, "with" if number == len(case.bodies) - 1 else "was with"))
        attributes += [
            {"name": "outcome", "time": _time(found.time), "value": found.value} for found in case.outcomes
        ]
        if case.parent is not None:
            ties.append((self._tie(case.parent), "part of"))
        return _object(case.stream, APPEAL, attributes, dict(ties))

    def _tie(self, stream: str) -> str:
        if stream not in self._family:
            self._missing.add(stream)
        return stream

    def _others(self) -> Iterator[dict[str, Any]]:
        """Beside the appeals; one that was not selected, but is spoken of, is known by its name alone."""
        for stream in sorted(self._missing):
            yield _object(stream, APPEAL, [], {})
        registered = self._snapshot.organisations()
        for stream in sorted(self._organisations):
            facts = registered.get(stream)
            values: dict[str, Any] = {}
            if facts is not None:
                values = {"kind": facts.kind, "level": facts.level, "region": facts.region}
                values |= {"name_kk": facts.names.kk, "name_ru": facts.names.ru}
            found = [
                {"name": name, "time": ALWAYS, "value": value}
                for name, value in values.items()
                if value is not None
            ]
            yield _object(stream, ORGANISATION, found, {})
        for kid, owners in sorted(self._keys.items()):
            yield _object(kid, KEY, [], dict.fromkeys(sorted(owners), "speaks for"))


def _object(id_: str, type_: str, attributes: list[dict[str, Any]], ties: dict[str, str]) -> dict[str, Any]:
    return {
        "id": id_,
        "type": type_,
        "attributes": attributes,
        "relationships": [{"objectId": other, "qualifier": qualifier} for other, qualifier in ties.items()],
    }


def _declared(types: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": type_} for name, type_ in types.items()]


def _type(value: Value) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case datetime():
            return "time"
        case _:
            return "string"


def _value(value: Value) -> str | int | bool:
    return _time(value) if isinstance(value, datetime) else value


def _time(moment: datetime) -> str:
    return utc(moment).isoformat().replace("+00:00", "Z")


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return _encode(value).decode()
