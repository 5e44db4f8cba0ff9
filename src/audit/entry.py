"""One entry of a log, as anybody can look at it: where it stands, what it hashes to, what it says."""

from __future__ import annotations

from typing import Any

import msgspec

from audit.bundles import open_entry, split_bundle
from audit.source import Source, SourceError, cut_tile, read_tile
from ledger.encoding import b64url_decode
from ledger.statement import Event
from ledger.tlog.checkpoint import Checkpoint
from ledger.tlog.errors import TlogError
from ledger.tlog.merkle import inclusion_proof, leaf_hash, verify_inclusion
from ledger.tlog.tiles import WIDTH, TilePath, node_reader, tile_width


def look(source: Source, checkpoint: Checkpoint, position: int) -> dict[str, Any]:
    """Everything about one entry, as plain data; ``included`` says whether the checkpoint signs for it.

    ``checkpoint`` was verified. Raises :class:`audit.source.SourceError`.
    """
    if not 0 <= position < checkpoint.size:
        raise SourceError(f"There is no entry {position}: the log has {checkpoint.size} entries.")
    index, at = divmod(position, WIDTH)
    bundle = TilePath(None, index, tile_width(0, index, checkpoint.size))
    entries, reason = split_bundle(read_tile(source, bundle), bundle.width)
    if at >= len(entries):
        raise SourceError(f"{bundle.path} does not hold entry {position}: {reason or 'it is too short'}.")
    entry = entries[at]
    leaf = leaf_hash(entry)
    found: dict[str, Any] = {
        "position": position,
        "bundle": bundle.path,
        "index": at,
        "leaf": leaf.hex(),
        "included": _included(source, checkpoint, position, leaf),
    }
    event = open_entry(entry).event
    if isinstance(event, Event):
        head, body, _ = entry.split(b".")
        found["header"] = msgspec.json.decode(b64url_decode(head))
        found["payload"] = msgspec.json.decode(b64url_decode(body))
        found["at"] = event.at.isoformat()
    else:
        found["unreadable"] = str(event)
    found["entry"] = entry.decode("ascii", "backslashreplace")
    return found


def _included(source: Source, checkpoint: Checkpoint, position: int, leaf: bytes) -> str:
    def read(level: int, index: int, width: int) -> bytes:
        return cut_tile(read_tile(source, TilePath(level, index, width)), width)

    try:
        proof = inclusion_proof(position, checkpoint.size, node_reader(read, checkpoint.size))
        verify_inclusion(leaf, position, checkpoint.size, proof, checkpoint.root)
    except TlogError as error:
        return f"no: {error}"
    return f"yes, in the tree of {checkpoint.size} entries that the log signed"
