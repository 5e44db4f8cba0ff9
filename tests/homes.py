"""Home folders of services that tests start, gone when the test process ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def new_home() -> Path:
    """A new folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="aiqyn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
