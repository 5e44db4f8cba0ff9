"""One ledger for all tests of the mirror, copied for each that changes something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit.mirror.operators import Operator, begun, cloned
from tests.conftest import fresh


@pytest.fixture(scope="session")
def written(postgres, migrated):
    """A world and the name of its database, which nobody is connected to."""
    with fresh(postgres, migrated) as database:
        yield begun(database), database.name


@pytest.fixture
def operator(postgres, written) -> Iterator[Operator]:
    """The operator of a ledger that a test may change."""
    world, template = written
    with cloned(postgres, template, world) as cloned_operator:
        yield cloned_operator


@pytest.fixture(scope="session")
def still(postgres, written) -> Iterator[Operator]:
    """The operator of a ledger that no test changes."""
    world, template = written
    with cloned(postgres, template, world) as cloned_operator:
        yield cloned_operator


@pytest.fixture(scope="session")
def address(still) -> Iterator[str]:
    """Where that ledger is served."""
    with still.served() as url:
        yield url


@pytest.fixture
def mirror_database(postgres, migrated):
    """Where a mirror keeps its copy."""
    with fresh(postgres, migrated) as database:
        yield database
