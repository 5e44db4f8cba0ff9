"""The reader who trusts nobody: replays a log, checks every entry, and recounts what was published."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.auditor import run
    from audit.findings import Finding
    from audit.report import Report
    from audit.source import FolderSource, HttpSource, Source

__all__ = ["Finding", "FolderSource", "HttpSource", "Report", "Source", "run"]

_HOMES = {
    "run": "audit.auditor",
    "Finding": "audit.findings",
    "Report": "audit.report",
    "FolderSource": "audit.source",
    "HttpSource": "audit.source",
    "Source": "audit.source",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - of whatever kind the name stands for
    # Loaded when asked for: a process that only checks bundles needs little of all this.
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
