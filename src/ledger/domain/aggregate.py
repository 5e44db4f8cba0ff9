"""What every aggregate shares: events that carry facts and say who issued them.

An aggregate's event method takes ``facts`` (a struct of the catalogue) and ``by`` (who says so, when).
The rules of the law stand in its body, so that replaying history checks them again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, get_args, get_type_hints

from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate, MetaDomainEvent

from ledger.errors import AiqynError
from ledger.events import Fact
from ledger.statement import Disclosure, Event


class NotAllowedError(AiqynError):
    """The rules of the law do not allow this step now."""

    code = "not-allowed"
    title = "The rules do not allow this step now"


class Issuance(NamedTuple):
    """Who says that something happened, and when; for a new event also what it commits to."""

    iss: str
    kid: str
    at: datetime
    disclosures: tuple[Disclosure, ...] = ()
    jti: str | None = None
    sealed: Event | None = None
    """The event as its issuer sealed it, where it did not come from our own keys."""

    @classmethod
    def of(cls, event: Event) -> Issuance:
        """As an opened event says."""
        return cls(event.iss, event.kid, event.at, jti=event.jti, sealed=event)


class LedgerAggregate(BaseAggregate[str]):
    """Base of all aggregates; ``id`` is the stream's name."""

    class Event(CanMutateAggregate[str], metaclass=MetaDomainEvent):
        """Something that happened to an aggregate."""

        originator_id: str
        originator_version: int
        timestamp: datetime
        facts: Fact
        by: Issuance

        def mutate(self, aggregate: Any) -> Any:  # noqa: ANN401 - as the library has it
            """Within a stream time does not go back."""
            if aggregate is not None and self.timestamp < aggregate.modified_on:
                raise NotAllowedError(
                    f"{aggregate.id} had its last event at {aggregate.modified_on.isoformat()}: a later one "
                    f"cannot be dated {self.timestamp.isoformat()}."
                )
            return super().mutate(aggregate)

    class Created(CanInitAggregate[str], Event):
        """The first event of an aggregate."""

        originator_topic: str

    state: str
    transitions: ClassVar[dict[str, frozenset[str]]] = {}
    """For each type of event the states in which it may happen."""
    conditions: ClassVar[dict[str, dict[str, frozenset[str]]]] = {}
    """For some types of event also where procedures beside the state must stand: attribute → values."""

    def allowed(self) -> list[str]:
        """Types of event that may happen next, as far as state and procedures decide."""
        return [type_ for type_ in self.transitions if self._may_happen(type_)]

    def require_state(self, facts: Fact | type[Fact]) -> None:
        """Raises :class:`NotAllowedError`, naming what may happen instead."""
        if self._may_happen(facts.type):
            return
        allowed = self.allowed()
        standing = [
            f"its {procedure} is {step}"
            for procedure, steps in self.conditions.get(facts.type, {}).items()
            if (step := getattr(self, procedure)) not in steps
        ]
        raise NotAllowedError(
            f"{facts.type!r} cannot happen to {self.id}: {' and '.join([f'it is {self.state}', *standing])}. "
            + (f"What can happen now: {', '.join(allowed)}." if allowed else "Nothing more can happen."),
            state=self.state,
            allowed=allowed,
        )

    def _may_happen(self, type_: str) -> bool:
        return self.state in self.transitions[type_] and all(
            getattr(self, procedure) in steps for procedure, steps in self.conditions.get(type_, {}).items()
        )

    def lawful(self, facts: type[Fact], at: datetime, said: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of ``facts`` that follow from the law, this aggregate and what is said beside them."""
        return {}

    @classmethod
    def event_class(cls, facts: type[Fact]) -> type[LedgerAggregate.Event]:
        """The event class whose method takes these facts. Raises :class:`NotAllowedError`."""
        found = _event_classes(cls).get(facts)
        if found is None:
            raise NotAllowedError(f"{facts.type!r} does not happen to a {cls.__name__.lower()}.")
        return found


def require(condition: bool, message: str, **details: Any) -> None:  # noqa: ANN401 - values for a message
    """One rule: raises :class:`NotAllowedError` with the reason where it does not hold."""
    if not condition:
        raise NotAllowedError(message, **details)


def happen(
    kind: type[LedgerAggregate], stream: str, aggregate: LedgerAggregate | None, facts: Fact, by: Issuance
) -> LedgerAggregate:
    """Let ``facts`` happen to an aggregate, or create it where there is none.

    Returns the aggregate with one more pending event. Raises :class:`NotAllowedError`.
    """
    event_class = kind.event_class(type(facts))
    require(stream.startswith(facts.room + "/"), f"{facts.type!r} does not happen to {stream}.")
    if issubclass(event_class, LedgerAggregate.Created):
        if aggregate is not None:
            raise NotAllowedError(f"{stream} exists already.", state=aggregate.state)
        return kind._create(event_class, id=stream, timestamp=by.at, facts=facts, by=by)
    if aggregate is None:
        raise NotAllowedError(f"There is no {stream}.")
    aggregate.trigger_event(event_class, timestamp=by.at, facts=facts, by=by)
    return aggregate


_classes: dict[type[LedgerAggregate], dict[type[Fact], type[LedgerAggregate.Event]]] = {}


def _event_classes(
    cls: type[LedgerAggregate],
) -> dict[type[Fact], type[LedgerAggregate.Event]]:
    """Fact → event class, read off the annotations of the aggregate's event methods."""
    if cls not in _classes:
        found: dict[type[Fact], type[LedgerAggregate.Event]] = {}
        for name, value in vars(cls).items():
            if inspect.isclass(value) and issubclass(value, LedgerAggregate.Event) and name != "Event":
                hint = get_type_hints(value).get("facts")
                for kind in get_args(hint) or (hint,):
                    if inspect.isclass(kind) and issubclass(kind, Fact) and kind is not Fact:
                        found[kind] = value
        _classes[cls] = found
    return _classes[cls]
