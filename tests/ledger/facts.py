"""Any facts that the catalogue allows, as Hypothesis strategies read off the structs themselves."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from ledger import events

NAMES = events.Names(kk="Мекеме", ru="Учреждение")


def moments(first=1990, last=2200):
    """Times in UTC, to the microsecond."""
    low, high = datetime(first, 1, 1), datetime(last, 1, 1)
    return st.datetimes(low, high, timezones=st.just(UTC))


def any_facts():
    """Facts of any type."""
    return st.sampled_from(sorted(events.catalogue)).flatmap(lambda name: facts_of(events.catalogue[name]))


def facts_of(cls):
    """Facts of one type."""
    return _values(inspect.type_info(cls))


def _values(kind):
    match kind:
        case inspect.StructType():
            required = {f.name: _values(f.type) for f in kind.fields if f.required}
            optional = {f.name: _values(f.type) for f in kind.fields if not f.required}
            return st.fixed_dictionaries(required, optional=optional).map(
                lambda fields, cls=kind.cls: msgspec.convert(fields, cls)
            )
        case inspect.UnionType():
            return st.one_of(*map(_values, kind.types))
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(kind.ge, kind.le)
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.DateType():
            return st.dates()
        case inspect.DateTimeType():
            return moments()
        case inspect.VarTupleType():
            return st.lists(_values(kind.item_type), min_size=kind.min_length or 0, max_size=4).map(tuple)
        case inspect.StrType():
            texts = st.from_regex(kind.pattern) if kind.pattern else st.text()
            low, high = kind.min_length or 0, kind.max_length or 10_000
            return texts.filter(lambda text: low <= len(text) <= high)
        case _:
            raise NotImplementedError(kind)


def string_fields(kind, path=""):
    """``(path, StrType)`` of every text anywhere in a type."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                yield from string_fields(field.type, f"{path}.{field.name}")
        case inspect.UnionType():
            for part in kind.types:
                yield from string_fields(part, path)
        case inspect.VarTupleType():
            yield from string_fields(kind.item_type, path)
        case inspect.StrType():
            yield path, kind


def is_bound(kind):
    """Whether a text's form leaves no room for words."""
    return kind.pattern is not None and re.search(kind.pattern, "Ахметова Айгүл") is None
