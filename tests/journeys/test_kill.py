"""A power cut in the middle of 2,000 signings loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
from rich.console import Console

from cli.local import LocalService
from cli.petition_story import PetitionStory
from ledger.eds.authority import Authority
from ledger.eds.people import invent_person
from ledger.receipt import Receipt
from ledger.tlog.note import VerifierKey

SIGNERS = 2000
KILLED_AFTER = 700


async def post(service, path, bodies, stop_after=None):
    """Post every body; ``{number: answer}`` for those that were answered. Kills the service on the way."""
    answers = {}
    waiting = iter(bodies.items())
    killed = asyncio.Event()

    async def hand(http):
        for number, body in waiting:
            try:
                answers[number] = await http.post(path, json=body)
            except httpx.TransportError:
                assert killed.is_set(), "the service went away before it was killed"
                return
            if stop_after is not None and len(answers) >= stop_after and not killed.is_set():
                killed.set()
                await asyncio.to_thread(service.kill)

    async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        await asyncio.gather(*(hand(http) for _ in range(32)))
    return answers


def test_every_acknowledged_signature_survives_a_kill(short_path):
    authority = Authority.create("ecdsa", pool=2)
    with LocalService(short_path, authority) as service:
        story = PetitionStory(Console(quiet=True), service, authority, 0)
        statement = story.open_collection()
        before = story.count()
        bodies = {
            number: {
                "cms": base64.b64encode(authority.person(invent_person(number)).sign(statement)).decode()
            }
            for number in range(1000, 1000 + SIGNERS)
        }
        answers = asyncio.run(post(service, story.signing_path, bodies, KILLED_AFTER))
        assert KILLED_AFTER <= len(answers) < SIGNERS
        assert {answer.status_code for answer in answers.values()} == {201}

        service.start()
        key = httpx.get(f"{service.url}/v1/log").json()["vkey"]
        positions = {
            Receipt.parse(json.dumps(answer.json()["receipt"]).encode())
            .verify(VerifierKey.parse(key))
            .position
            for answer in answers.values()
        }
        assert len(positions) == len(answers)

        rest = {number: body for number, body in bodies.items() if number not in answers}
        again = asyncio.run(post(service, story.signing_path, rest))
        assert len(again) == len(rest)
        recorded_before = [a for a in again.values() if a.status_code == 409]
        assert all(a.json()["type"].endswith("already-signed") for a in recorded_before)
        assert {a.status_code for a in again.values()} <= {201, 409}

        story.wait_for_count(before + SIGNERS)
        service.run("audit", service.url, "--log-key", key)
