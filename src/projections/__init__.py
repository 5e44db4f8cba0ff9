"""Read models: tables folded from the ledger's entries, one file each, one runner, one rebuild.

:data:`ALL` is every projection there is, in the order in which they are shown.
"""

from __future__ import annotations

from projections.base import Projection
from projections.organisations import Organisations
from projections.petitions import Petitions
from projections.signatures import Signatures
from projections.trails import Trails

ALL: tuple[Projection, ...] = (Petitions(), Signatures(), Trails(), Organisations())
