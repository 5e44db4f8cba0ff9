"""The reader who trusts nobody: replays a log, checks every entry, and recounts what was published."""

from audit.auditor import run
from audit.findings import Finding
from audit.report import Report
from audit.source import FolderSource, HttpSource, Source

__all__ = ["Finding", "FolderSource", "HttpSource", "Report", "Source", "run"]
