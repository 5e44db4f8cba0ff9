"""Processes that check bundles, so that an audit keeps every core busy.

Each is a Python of its own that reads bundles from its standard input and writes what it found to its
standard output; who audits stays free to fold. Nothing of the program that calls is run again in them, so an
audit can be started from any script.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import IO, Self

import msgspec

from audit.checking import Checked, Keys, check

_LENGTH = 4
"""Bytes of the length before each message."""
_PIPE_BYTES = 1 << 20
_CODE = "from audit.workers import serve; serve()"


class _Task(msgspec.Struct, array_like=True, gc=False):
    data: bytes
    width: int
    skip: int
    public_keys: list[str]
    """Those that were not told before."""


_encode = msgspec.msgpack.Encoder().encode
_task = msgspec.msgpack.Decoder(_Task).decode
_checked = msgspec.msgpack.Decoder(Checked).decode


class WorkerLostError(Exception):
    """A process ended before it answered."""


class Workers:
    """So many processes; :meth:`check` may be called from several threads."""

    def __init__(self, count: int, public_keys: Iterable[str] = ()) -> None:
        self._keys = list(public_keys)
        self._workers = [_Worker() for _ in range(count)]
        self._choosing = threading.Lock()

    def learn(self, public_key: str) -> None:
        """A key that is registered; told with the next tasks."""
        self._keys.append(public_key)

    def check(self, data: bytes, width: int, skip: int) -> Checked:
        """As :func:`audit.checking.check`, in the process with the least to do."""
        with self._choosing:
            worker = min(self._workers, key=_Worker.waiting)
            answer = worker.ask(data, width, skip, self._keys)
        try:
            return answer.result()
        except WorkerLostError:  # killed, perhaps for its memory: slower, but nothing is lost
            keys = Keys()
            keys.learn(self._keys)
            return check(data, width, skip, keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()


class _Worker:
    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)
        self._told = 0
        self._lost = False
        self._waiting: deque[Future[Checked]] = deque()
        self._tasks: deque[bytes] = deque()
        self._something = threading.Condition()
        self._threads = [
            threading.Thread(target=work, name="audit-worker", daemon=True)
            for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def waiting(self) -> int:
        """Tasks that are not answered; a lost worker has none to give."""
        return len(self._waiting) if not self._lost else sys.maxsize

    def ask(self, data: bytes, width: int, skip: int, public_keys: list[str]) -> Future[Checked]:
        """Put a task behind the others."""
        task = _encode(_Task(data, width, skip, public_keys[self._told :]))
        self._told = len(public_keys)
        answer: Future[Checked] = Future()
        with self._something:
            if self._lost:
                answer.set_exception(WorkerLostError())
                return answer
            self._waiting.append(answer)
            self._tasks.append(task)
            self._something.notify()
        return answer

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None  # noqa: S101 - a pipe, as was asked
        while True:
            with self._something:
                while not self._tasks:
                    if self._lost:
                        return
                    self._something.wait()
                task = self._tasks.popleft()
            try:
                _put(stream, task)
            except OSError:
                return  # its end is seen by who reads

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - a pipe, as was asked
        while (message := _take(stream)) is not None:
            self._waiting.popleft().set_result(_checked(message))
        with self._something:
            self._lost = True
            lost, self._waiting = self._waiting, deque()
            self._something.notify()
        for answer in lost:
            answer.set_exception(WorkerLostError())

    def close(self) -> None:
        """End the process; what it was asked is not answered any more."""
        self._process.terminate()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # half a task was still to be written
                    stream.close()


def serve() -> None:
    """Check what comes in until nothing more comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who audits: then the input ends
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    keys = Keys()
    while (message := _take(tasks)) is not None:
        task = _task(message)
        keys.learn(task.public_keys)
        _put(answers, _encode(check(task.data, task.width, task.skip, keys)))


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a bundle fit into a pipe, where that can be asked for: else it goes through in pieces."""
    if pipe is not None and (set_size := getattr(fcntl, "F_SETPIPE_SZ", None)) is not None:
        with suppress(OSError):  # an unprivileged user may have no more
            fcntl.fcntl(pipe, set_size, _PIPE_BYTES)


def _put(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH, "big"))
    stream.write(message)
    stream.flush()


def _take(stream: IO[bytes]) -> bytes | None:
    length = stream.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    message = stream.read(int.from_bytes(length, "big"))
    return message if len(message) == int.from_bytes(length, "big") else None
