"""A witness that does what it is told to: right, late, wrong, twice, or never; on a real loopback port."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ledger.tlog.checkpoint import Checkpoint, cosign_checkpoint
from ledger.tlog.note import COSIGNATURE, SignedNote, SignerKey
from ledger.tlog.witness import Refusal, judge, origin_hash, read


class PlayedWitness:
    """``mood`` says how it answers; ``asked`` counts requests."""

    def __init__(self, log_key, name="witness.example/w1", algorithm=COSIGNATURE):
        self.key = SignerKey.generate(name, algorithm)
        self.log_key = log_key
        self.mood = "right"
        self.latest: Checkpoint | None = None
        self.note: bytes | None = None
        self.asked = 0
        self.cosigned: list[int] = []
        self.turn = threading.Lock()
        self.url = ""

    # --- what a witness does ----------------------------------------------------------------------

    def answer(self, body):
        with self.turn:
            self.asked += 1
            match self.mood:
                case "never":
                    time.sleep(30)
                case "late":
                    time.sleep(0.5)
                case "broken":
                    return 500, b"out of order\n"
                case "endless":
                    return 200, b"x" * 2_000_000
                case "bytes":
                    return 200, b"\xff\n"
                case "nonsense":
                    return 200, b"yes, of course\n"
                case "claims-more":
                    return 409, b"123456\n"
                case "contrary":
                    return 409, f"{self.latest.size if self.latest else 0}\n".encode()
            found = read(body, lambda origin: [self.log_key] if origin == self.log_key.name else [])
            if not isinstance(found, Refusal):
                judged = judge(found, self.latest)
                if isinstance(judged, Refusal):
                    found = judged
                else:
                    return self.cosign(judged, found)
            return found.status, found.body

    def cosign(self, checkpoint, submission):
        self.latest = checkpoint
        at = int(time.time()) + (100_000 if self.mood == "ahead" else 0)
        line = cosign_checkpoint(checkpoint, self.key, at)
        self.note = submission.note.with_signatures(line).to_bytes()
        self.cosigned.append(checkpoint.size)
        if self.mood == "wrong":
            other = Checkpoint(checkpoint.origin, checkpoint.size, bytes(32))
            line = cosign_checkpoint(other, self.key, at)
        lines = [line, line] if self.mood == "twice" else [line]
        if self.mood == "stranger":
            lines = [cosign_checkpoint(checkpoint, SignerKey.generate("x.example/w", COSIGNATURE), at)]
        return 200, "".join(f"{one}\n" for one in lines).encode()

    def memory(self, path):
        if path == f"/{origin_hash(self.log_key.name)}/checkpoint" and self.note is not None:
            return 200, self.note
        return 404, b"nothing\n"

    def remember(self, note: bytes):
        """As if it had cosigned this before."""
        self.note = note
        self.latest = Checkpoint.parse(SignedNote.parse(note).text)

    def policy_line(self, name):
        return f"witness {name} {self.key.verifier} {self.url}\n"


@contextlib.contextmanager
def witness(log_key, **options):
    played = PlayedWitness(log_key, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.reply(*played.answer(body))

        def do_GET(self):
            self.reply(*played.memory(self.path))

        def reply(self, status, body):
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    played.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
