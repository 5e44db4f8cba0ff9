"""Organisations: who takes part, with which keys."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from ledger.events.base import Count, Fact, KeyId, PublicKey, Region, Role, Text

OrganisationKind = Literal[
    "operator", "authorised-body", "central", "akimat", "maslikhat", "institution", "front-office", "council"
]
"""``institution``: any other body that answers appeals, such as a department, an inspectorate or a company
of the state."""
Level = Literal["republic", "oblast", "district"]
RevocationReason = Literal["superseded", "compromised", "retired"]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The official names of an institution."""

    kk: Text
    ru: Text
    en: Text | None = None


class OrganisationRegistered(Fact, frozen=True):
    """An organisation takes part. The first entry of a ledger is the operator, registering itself."""

    type: ClassVar[str] = "organisation.registered"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    kind: OrganisationKind
    level: Level
    names: Names
    region: Region | None = None
    population: Count | None = None
    """People living in its territory: some thresholds are a share of them."""
    root_key: PublicKey | None = None
    """In the ledger's first entry alone: the key that signed it."""


class OrganisationPopulationRecorded(Fact, frozen=True):
    """A newer population figure; petitions published later use it, earlier ones keep theirs."""

    type: ClassVar[str] = "organisation.population_recorded"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    population: Count
    counted_on: date


class OrganisationKeyRegistered(Fact, frozen=True):
    """From here on the key may issue, in the organisation's name, what its roles allow."""

    type: ClassVar[str] = "organisation.key_registered"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    key: PublicKey
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)]
    custody: Literal["own", "gateway"]
    """``own``: the organisation holds it. ``gateway``: the operator seals with it in their name."""


class OrganisationKeyRevoked(Fact, frozen=True):
    """From here on the key issues nothing in this organisation's name; what it issued stays."""

    type: ClassVar[str] = "organisation.key_revoked"
    room: ClassVar[str] = "organisation"
    issuers: ClassVar[frozenset[Role]] = frozenset({"operator"})

    kid: KeyId
    reason: RevocationReason
