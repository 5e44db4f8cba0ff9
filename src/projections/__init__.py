"""Read models: tables folded from the ledger's entries, one file each, one runner, one rebuild.

:data:`ALL` is every projection there is, in the order in which they are shown.
"""

from __future__ import annotations

from projections.appeals import Appeals
from projections.base import Projection
from projections.cabinet import Cabinet
from projections.organisations import Organisations
from projections.oversight_fold import Oversight
from projections.petitions import Petitions
from projections.signatures import Signatures
from projections.terms import Terms
from projections.trails import Trails

ALL: tuple[Projection, ...] = (
    Petitions(), Signatures(), Trails(), Organisations(), Appeals(), Terms(), Cabinet(), Oversight(),
)  # fmt: skip
