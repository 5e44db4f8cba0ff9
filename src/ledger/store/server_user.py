"""Which OS user the embedded PostgreSQL runs as when we are root, and how that user reaches its files."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ledger.errors import AiqynError

OS_USER = "aiqyn-postgres"


class ServerUserError(AiqynError):
    """Root cannot run the embedded PostgreSQL as another user."""

    code = "embedded-server-user"
    title = "The embedded PostgreSQL has no OS user to run as"


class ServerUser:
    """The OS user that PostgreSQL runs as when we are root, because it refuses to run as root."""

    def __init__(self) -> None:
        try:
            entry = pwd.getpwnam(OS_USER)
        except KeyError:
            entry = self._create()
        self.uid, self.gid = entry.pw_uid, entry.pw_gid

    @staticmethod
    def _create() -> pwd.struct_passwd:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OS_USER]
        try:
            subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - a fixed command
            # Another process may have been faster: what counts is that the user exists now.
            return pwd.getpwnam(OS_USER)
        except (OSError, KeyError) as error:
            raise ServerUserError(
                f"PostgreSQL does not run as root, and the OS user {OS_USER} cannot be created: "
                "create it, start as an ordinary user, or set AIQYN_DATABASE_URL."
            ) from error

    def own(self, folder: Path) -> None:
        """Give a data folder to the server, when it was copied or restored under another owner."""
        if folder.stat().st_uid != self.uid:
            os.chown(folder, self.uid, self.gid)
            for parent, folders, files in os.walk(folder):
                for name in (*folders, *files):
                    os.chown(Path(parent) / name, self.uid, self.gid, follow_symlinks=False)

    def identity(self, data: Path, programs: Path) -> dict[str, Any]:
        """Arguments of ``subprocess.run`` that make it this user, able to reach the data and the programs.

        A parent folder that is closed to everybody (``/root``, a test's temporary folder) stays closed to
        everybody: the server only joins the folder's group, and the group may pass through it.
        """
        groups = {group for folder in (data, programs) for group in self._groups_towards(folder)}
        if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:
            # Installed under a strict umask: the group of the files may use them.
            install = programs.parent
            groups.add(install.stat().st_gid)
            for path in (install, *install.rglob("*")):
                if not path.is_symlink() and not path.stat().st_mode & stat.S_IRGRP:
                    mode = path.stat().st_mode
                    path.chmod(mode | stat.S_IRGRP | (stat.S_IXGRP if mode & stat.S_IXUSR else 0))
        return {"user": self.uid, "group": self.gid, "extra_groups": sorted(groups)}

    def _groups_towards(self, folder: Path) -> Iterator[int]:
        for parent in folder.parents:
            found = parent.stat()
            if found.st_mode & stat.S_IXOTH or found.st_uid == self.uid:
                continue
            if not found.st_mode & stat.S_IXGRP:
                if found.st_uid != 0:
                    raise ServerUserError(
                        f"PostgreSQL runs as the OS user {OS_USER}, who cannot pass through {parent} "
                        f"to {folder}: choose another folder, or start as the owner of that one."
                    )
                parent.chmod(found.st_mode | stat.S_IXGRP)
            yield found.st_gid
