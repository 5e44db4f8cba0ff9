"""After a whole story, nothing that strangers can read holds a surname, a patronymic or an IIN."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import psycopg
from cryptography.x509 import NameOID

from ledger.eds.people import invent_person
from tests.api.services import CULTURE, VILLAGE, service


def secrets_of(number):
    person = invent_person(number)
    words = [person.iin, person.surname] + ([person.patronymic] if person.patronymic else [])
    spelled = {word for text in words for word in (text, text.lower(), text.capitalize())}
    # As JSON may escape them, and as an index of bytes might hold them.
    return spelled | {json.dumps(word)[1:-1] for word in spelled}


def unfolded(text):
    """The text, and what its base64url parts decode to."""
    yield text
    for part in text.replace("~", ".").replace('"', ".").replace("\\n", ".").split("."):
        if len(part) > 20:
            for alphabet in (base64.urlsafe_b64decode, base64.b64decode):
                try:
                    yield alphabet(part + "=" * (-len(part) % 4)).decode("utf-8", "ignore")
                except ValueError:
                    continue


def test_no_public_answer_no_log_line_and_no_metric_names_a_signer(database, caplog):
    caplog.set_level(logging.DEBUG)

    async def story():
        async with service(database) as api:
            people = range(1, 61)
            petition = await api.limited(author=60)
            await api.signed(range(1, 52), petition)
            assert (await api.sign(1, petition)).status_code == 409
            assert (await api.send(petition, api.person(5).sign(b"another text"))).status_code == 422
            cms = await api.cms(2, petition, "withdraw-signature")
            body = {"cms": base64.b64encode(cms).decode()}
            assert (
                await api.post(f"/v1/petitions/{petition}/signatures/withdrawal", body)
            ).status_code == 201
            await api.settle()
            stream = f"petition/{petition}"
            await api.tell(CULTURE, stream, "petition.routed", {"body": VILLAGE})
            await api.tell(VILLAGE, stream, "petition.registered", {"number": "ЖТ-2026-1"})
            await api.settle()

            # Who asks with a name in the address must not put it into a log either.
            surname = invent_person(1).surname
            await api.get(f"/v1/petitions?body={surname}")
            await api.get(f"/v1/streams/{surname}")

            answers = []
            paths = [
                "/v1/petitions",
                "/v1/organisations",
                "/v1/log",
                "/metrics",
                "/readyz",
                "/log/checkpoint",
            ]
            base = f"/v1/petitions/{petition}"
            paths += [base, f"{base}/growth", f"{base}/trail", f"{base}/statement"]
            paths += [f"{base}/signatures?limit=100"]
            size = api.world.counted()
            for position in range(size):
                paths += [f"/v1/entries/{position}", f"/v1/entries/{position}/receipt"]
            for path in paths:
                answer = await api.get(path)
                assert answer.status_code == 200, path
                answers.append(answer.text)
            bundle = await api.get(f"/log/tile/entries/000.p/{size}")
            answers.append(bundle.content.decode("utf-8", "replace"))
            return [secrets_of(number) for number in people], answers

    secrets, answers = asyncio.run(story())
    ours = [
        record for record in caplog.records if not record.name.startswith("http")
    ]  # not the test's client
    lines = [record.getMessage() + (record.exc_text or "") for record in ours]
    assert any("/v1/petitions/{id}/signatures" in line for line in lines)
    with psycopg.connect(database.admin_url) as connection:
        rows = connection.execute("SELECT stream, convert_from(entry, 'UTF8') FROM ledger.entries").fetchall()
        answers += [text for row in rows for text in row]
        answers += [
            row[0] for row in connection.execute("SELECT disclosure FROM ledger.disclosures").fetchall()
        ]
        # The vault is encrypted, and so holds none of it in plain either.
        sealed = b"".join(row[0] for row in connection.execute("SELECT sealed FROM ledger.vault").fetchall())
    haystack = "\n".join(part for text in answers + lines for part in unfolded(text))
    # That the search would find something: the first names are there, behind base64url too.
    assert all(invent_person(number).first_name in haystack for number in (1, 3, 5))
    for words in secrets:
        for word in words:
            assert word not in haystack
            assert word.encode() not in sealed
    assert NameOID.SURNAME.dotted_string not in haystack
