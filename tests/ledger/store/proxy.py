"""Stands on the socket between a client and PostgreSQL, and cuts the line where a test wants it cut."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from ledger.store.embedded import SOCKET_NAME

COMMITTED = b"COMMIT\x00"
"""How the server's answer to COMMIT ends (CommandComplete, PostgreSQL protocol section 54.7)."""


class Proxy:
    """Cuts a connection once each time it is armed; afterwards everything passes again."""

    def __init__(self, folder: Path, server: str, url: str) -> None:
        self.url = url
        self.cuts = 0
        self.refusing = False
        self._server = server
        self._cut = None
        self._lock = threading.Lock()
        self._pairs = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET_NAME))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seen: bytes, *, keep: bool = False, answered: bool = False) -> None:
        """Cut when the client sends ``seen``: before these bytes, or with ``keep`` right after them.

        With ``answered`` the server's answer to a COMMIT is awaited and swallowed first.
        """
        with self._lock:
            self._cut = seen, keep, answered

    def close(self) -> None:
        self._listener.close()
        for pair in self._pairs:
            _end(*pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._pairs.append((client, server))
            swallow = threading.Event()
            threading.Thread(target=self._upstream, args=(client, server, swallow), daemon=True).start()
            threading.Thread(target=self._downstream, args=(server, client, swallow), daemon=True).start()

    def _upstream(self, client, server, swallow):
        with suppress(OSError):
            while data := client.recv(65536):
                with self._lock:
                    armed = self._cut
                    at = data.find(armed[0]) if armed is not None else -1
                    if at >= 0:
                        self._cut = None
                if at < 0:
                    server.sendall(data)
                    continue
                self.cuts += 1
                _, keep, answered = armed
                if answered:
                    swallow.set()  # the other direction cuts, once the answer has come
                    server.sendall(data)
                    continue
                server.sendall(data if keep else data[:at])
                break
        _end(client, server)

    def _downstream(self, server, client, swallow):
        answer = b""
        with suppress(OSError):
            while data := server.recv(65536):
                if swallow.is_set():
                    answer += data
                    if COMMITTED in answer:
                        break
                    continue
                client.sendall(data)
        _end(client, server)


def _end(*sockets):
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def proxy(url):
    """A proxy before the server that ``url`` leads to."""
    folder = Path(tempfile.mkdtemp(prefix="aiqyn-proxy-"))
    parts = urlsplit(url)
    (host,) = parse_qs(parts.query)["host"]
    found = Proxy(
        folder, f"{host}/{SOCKET_NAME}", parts._replace(query=urlencode({"host": str(folder)})).geturl()
    )
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)
