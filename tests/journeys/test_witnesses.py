"""Real witnesses beside a real service: a quorum that comes and goes, a database that goes back, a fork."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time

import httpx
import pytest
from rich.console import Console

from cli.local import LocalService, LocalServiceError, _free_port
from cli.petition_story import PetitionStory
from ledger.eds.authority import Authority
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy
from ledger.tlog.proof import TlogProof

COMMAND = [sys.executable, "-m", "cli.main", "witness"]


class Witness:
    """`aiqyn witness` in a folder, as a council runs it."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.url = f"http://127.0.0.1:{_free_port()}"
        self.process = None

    def run(self, *words, check=True):
        return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=check)

    def begin(self, *vkeys):
        """Make it; returns the lines for a policy."""
        lines = self.run("init", self.folder, "--name", f"{self.name}.example/w", "--url", self.url).stdout
        self.run("log", "add", self.folder, *vkeys)
        return lines

    def start(self):
        port = self.url.rsplit(":", 1)[1]
        self.process = subprocess.Popen(
            [*COMMAND, "serve", str(self.folder), "--port", port],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: _answers(self.url))

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _answers(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=2).status_code == 200
    return False


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


class Scene:
    """A ledger with two councils' witnesses, both of which must cosign."""

    def __init__(self, folder):
        authority = Authority.create("ecdsa", pool=2)
        quick = {"AIQYN_WITNESS_SECONDS": "0.2", "AIQYN_WITNESS_LATE_SECONDS": "1"}
        self.service = LocalService(folder / "l", authority, settings=quick)
        self.story = PetitionStory(Console(quiet=True), self.service, authority, 0)
        self.witnesses = [Witness(folder / name, name) for name in ("north", "south")]

    @property
    def home(self):
        return self.service.home

    def begin(self):
        self.service.init()
        self.service.start()
        log = httpx.get(f"{self.service.url}/v1/log").json()
        self.service.stop()
        self.vkey = VerifierKey.parse(log["vkey"])
        self.vkeys = [log["vkey"], *log["more_keys"]]
        lines = "".join(witness.begin(*self.vkeys) for witness in self.witnesses)
        names = " ".join(f"{witness.name}.example/w" for witness in self.witnesses)
        text = f"log {self.vkeys[0]}\n{lines}group both all {names}\nquorum both\n"
        self.policy = Policy.parse(text.encode())
        (self.home / "witnesses.policy").write_text(text)
        for witness in self.witnesses:
            witness.start()

    def state(self):
        return httpx.get(f"{self.service.url}/v1/log", timeout=10).json()

    def cosigned(self):
        """Wait until everything is under a quorum; the size."""

        def reached():
            found = self.state()
            return found["witnessing"]["cosigned_size"] == found["size"] and found["size"]

        return until(reached)


@contextlib.contextmanager
def scene(folder):
    made = Scene(folder)
    try:
        made.begin()
        yield made
    finally:
        made.service.stop()
        for witness in made.witnesses:
            witness.stop()


def test_a_quorum_comes_and_goes_and_what_it_saw_cannot_be_taken_back(short_path):
    with scene(short_path) as made:
        service = made.service
        shutil.copytree(made.home, short_path / "backup")  # of the very beginning
        service.start()
        made.story.open_collection()
        size = made.cosigned()
        opened = made.policy.verify(httpx.get(f"{service.url}/log/checkpoint").content)
        assert opened.checkpoint.size == size
        assert {one.witness.name for one in opened.cosignatures} == {"north.example/w", "south.example/w"}
        receipt = httpx.get(f"{service.url}/v1/entries/{size - 1}/receipt").json()
        proof = TlogProof.parse(receipt["proof"].encode())
        proof.verify(receipt["event"].encode(), made.vkey, policy=made.policy)

        # One council's machine dies: signing goes on, and the quorum is late until it is back.
        made.witnesses[1].stop()
        made.story._sign(range(3000, 3005))
        until(lambda: "is late" in service.log.read_text("utf-8"))
        assert made.state()["witnessing"]["behind_since"] is not None
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        made.witnesses[1].start()
        seen = made.cosigned()
        service.stop()

        # The database of the beginning is put back, on a machine without a high-water mark.
        shutil.rmtree(made.home)
        shutil.copytree(short_path / "backup", made.home)
        with pytest.raises(LocalServiceError, match="rolled back"):
            service.start()

        # Halted until a person lets it go on; without its witnesses it then goes on to another history.
        with pytest.raises(LocalServiceError, match="rolled-back"):
            service.run("log", "status")
        service.run("log", "resume", "--yes")
        policy = made.home / "witnesses.policy"
        policy.rename(made.home / "aside")
        service.start()
        others = "".join(f"other-{n},council,republic,Басқа {n},Другой {n}\n" for n in range(seen))
        (made.home / "others.csv").write_text(f"slug,kind,level,name_kk,name_ru\n{others}")
        service.run("organisation", "import", str(made.home / "others.csv"))
        service.stop()
        (made.home / "aside").rename(policy)
        with pytest.raises(LocalServiceError, match="forked"):
            service.start()
