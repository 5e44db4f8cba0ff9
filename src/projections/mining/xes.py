"""XES, the format of event logs (IEEE 1849): a trace for each appeal, an event for each entry of the ledger.

The elements stand in the order that the schema of the standard asks for: extensions, globals, classifiers,
attributes, traces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from xml.sax.saxutils import quoteattr

from projections.base import utc
from projections.mining.cases import Case, CaseEvent, Snapshot, Value, in_chunks

MEDIA_TYPE = "application/xml"
_EXTENSIONS = (
    ("Concept", "concept"),
    ("Time", "time"),
    ("Lifecycle", "lifecycle"),
    ("Organizational", "org"),
)
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849.2016" xes.features="" xmlns="http://www.xes-standard.org/">
"""
_GLOBALS = """<global scope="trace">
<string key="concept:name" value=""/>
</global>
<global scope="event">
<string key="concept:name" value=""/>
<date key="time:timestamp" value="1970-01-01T00:00:00.000+00:00"/>
<string key="org:group" value=""/>
<string key="lifecycle:transition" value="complete"/>
</global>
<classifier name="Activity" scope="event" keys="concept:name"/>
"""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no characters for (section 2.2)."""


def write(snapshot: Snapshot) -> Iterator[bytes]:
    """The log, piece by piece."""
    return in_chunks(_parts(snapshot))


def _parts(snapshot: Snapshot) -> Iterator[str]:
    yield _HEAD
    for name, prefix in _EXTENSIONS:
        yield (
            f'<extension name="{name}" prefix="{prefix}"'
            f' uri="http://www.xes-standard.org/{prefix}.xesext"/>\n'
        )
    yield _GLOBALS
    about: dict[str, Value | None] = {
        "concept:name": "appeals",
        "lifecycle:model": "standard",
        "origin": snapshot.origin,
        "as_of": snapshot.as_of,
        "root": snapshot.root,
    }
    yield _attributes({key: value for key, value in about.items() if value is not None})
    for case in snapshot.cases():
        yield _trace(case)
    yield "</log>\n"


def _trace(case: Case) -> str:
    values: dict[str, Value] = {"concept:name": case.stream, **case.constant}
    for name, changes in (("body", case.bodies), ("outcome", case.outcomes)):
        if changes and changes[-1].value:
            values[name] = changes[-1].value
    if case.parent is not None:
        values["parent"] = case.parent
    return f"<trace>\n{_attributes(values)}{''.join(map(_event, case.events))}</trace>\n"


def _event(event: CaseEvent) -> str:
    values: dict[str, Value] = {
        "concept:name": event.activity,
        "time:timestamp": event.time,
        "org:group": event.iss,
        "lifecycle:transition": "complete",
        "type": event.type,
        "position": event.position,
        "version": event.n,
        "kid": event.kid,
        **event.values,
    }
    return f"<event>\n{_attributes(values)}</event>\n"


def _attributes(values: Mapping[str, Value]) -> str:
    return "".join(_attribute(key, value) for key, value in values.items())


def _attribute(key: str, value: Value) -> str:
    match value:
        case bool():
            return f'<boolean key="{key}" value="{str(value).lower()}"/>\n'
        case int():
            return f'<int key="{key}" value="{value}"/>\n'
        case datetime():
            return f'<date key="{key}" value="{_time(value)}"/>\n'
        case _:
            return f'<string key="{key}" value={_quoted(value)}/>\n'


def _time(moment: datetime) -> str:
    at = utc(moment)
    return at.isoformat(timespec="microseconds" if at.microsecond % 1000 else "milliseconds")


@lru_cache(maxsize=10_000)
def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))
