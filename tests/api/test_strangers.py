"""What strangers send to wear the service out is refused early, and nothing else suffers."""

from __future__ import annotations

import asyncio
import shutil
import socket

import httpx
import pytest

from api import process
from cli.local import LocalService
from ledger.eds.authority import Authority
from tests.homes import new_home

PETITION = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def service():

    home = new_home()
    with LocalService(home, Authority.create("ecdsa")) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n",
    ],
    ids=["address", "headers"],
)
def test_a_request_with_an_endless_head_is_cut_off(service, head):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as line:
        line.sendall(head + b"\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_many_small_headers_are_cut_off_too(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X-A: aaaaaaaaaaaaaaaa\r\n" * 5000)
        assert line.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_text_of_combining_marks_out_of_order_is_refused(service):
    text = "a" + "\u0315\u0300\u0327\u0334" * 4999
    asked = {"body": "organisation/operator", "title": "x", "text": text, "lang": "ru"}
    answer = httpx.post(f"{service.url}/v1/petitions/statement", json=asked)
    assert answer.status_code in (409, 422)


@pytest.mark.parametrize("path", ["/v1/petitions?body=%00", "/v1/petitions?body=organisation/%00"])
def test_a_nul_in_a_query_is_the_clients_mistake(service, path):
    assert httpx.get(service.url + path).status_code == 422


def test_a_nul_in_the_path_finds_nothing(service):
    answer = httpx.post(
        f"{service.url}/v1/petitions/%00/signatures", json={"cms": "AA=="}, headers={"Idempotency-Key": "k1"}
    )
    assert answer.status_code == 404


def test_a_connection_that_never_ends_its_request_is_closed(monkeypatch):
    monkeypatch.setattr(process, "REQUEST_SECONDS", 0.3)

    class App:
        state = None

        async def __call__(self, scope, receive, send):
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async def story():
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = process.make_server(App())
        server.config.lifespan = "off"
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        for begun in (b"", b"GET / HTT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            await asyncio.wait_for(reader.read(), 10)  # ends when the service closes
            writer.close()
        server.should_exit = True
        await running

    asyncio.run(story())
