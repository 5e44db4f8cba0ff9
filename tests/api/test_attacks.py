"""Attacks on the one window through HTTP and on what stands in its database."""

from __future__ import annotations

import hashlib
import itertools
import json

import psycopg
import pytest

from api import appeals
from ledger.eds.people import invent_person
from tests.api.services import problem
from tests.api.window import LAND, MINISTRY, OFFICE, PDF, WATER, at, story

CASE = {
    "register": "journal", "case": "1", "kind": "application", "applicant": "person", "channel": "paper",
    "category": "housing", "lang": "kk",
}  # fmt: skip
NEVER = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00")


async def import_cases(api, *cases, body=LAND):
    content = b"".join(json.dumps(CASE | case).encode() + b"\n" for case in cases)
    headers = {"content-type": "application/x-ndjson"} | api.bearer(body)
    answer = await api.client.post("/v1/appeals/imports", content=content, headers=headers)
    return [json.loads(line) for line in answer.content.splitlines()]


def in_database(api, query, *values, admin=True):
    url = api.world.database.admin_url if admin else api.world.database.url
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(query, values)
        return found.fetchall() if found.description else found.rowcount


# --- one event must not stop what everybody reads ---------------------------------------------------


def test_no_body_ends_the_exports_for_everybody_with_a_moment_that_no_calendar_has(database):
    async def work(api):
        stream = await api.taken()
        for moment in NEVER:
            problem(await api.step(stream, "hearing_noticed", {"at": moment}), 409, "not-allowed")
        rows = [{"activity": "Taken", "step": "taken", "happened": "2026-01-05T05:00:00Z"}]
        strange = [
            {"rows": [rows[0] | {"happened": NEVER[0]}]},
            {"rows": [rows[0] | {"happened": NEVER[0]}], "registered_on": "2026-01-05"},
            {"rows": rows, "due": NEVER[1]},
            {"rows": rows, "registered_on": "9999-12-31"},
            {"rows": [*rows, rows[0] | {"step": "extended", "due": NEVER[1]}]},
        ]
        answers = await import_cases(api, *strange)
        assert [answer["status"] for answer in answers] == [409] * len(strange), answers
        for path in ("/v1/exports/appeals.xes", "/v1/exports/appeals.jsonocel"):
            answer = await api.get(path)
            assert stream.removeprefix("appeal/").encode() in answer.content
            assert answer.content.rstrip().endswith((b"</log>", b"}"))

    story(database, work)


# --- what the tables tell without the vault's key ----------------------------------------------------


def test_nobody_with_the_tables_alone_can_try_texts_numbers_or_codes_against_a_repeated_command(database):
    async def work(api):
        visitor = api.visitor(iin=invent_person(5).iin)
        answer = await api.by(OFFICE, "/v1/front-office/appeals", visitor, **{"idempotency-key": "k1"})
        assert answer.status_code == 201, answer.text
        talon = answer.json()
        step = {"act": "withdraw", "code": talon["code"], "text": "Себебі бар."}
        path = f"/v1/front-office/appeals/{talon['stream'].removeprefix('appeal/')}/acts"
        assert (await api.by(OFFICE, path, step, **{"idempotency-key": "k2"})).status_code == 201
        line = json.dumps(
            {
                "stream": await api.filed(),
                "type": "appeal.taken",
                "disclosures": {"executor": "Ә. Б."},
                "key": "k3",
            }
        ).encode()
        got, _ = await api.bulk(LAND, [line + b"\n"])
        assert got[0]["status"] == 201
        kept = {bytes(row[0]) for row in in_database(api, "SELECT request FROM ledger.commands")}
        tried = {hashlib.sha256(line).digest()}
        for (where, document), key in itertools.product(
            (("/v1/front-office/appeals", visitor), (path, step)), ("k1", "k2")
        ):
            request = api.client.build_request("POST", where, json=document)
            digest = hashlib.sha256()
            for part in ("POST", request.url.path, "", request.headers["content-type"], ""):
                digest.update(f"{len(part)}:{part}\n".encode())
            digest.update(request.content)
            tried |= {digest.digest(), hashlib.sha256(request.content).digest()}
            assert key
        assert len(kept) >= 4
        assert not kept & tried

    story(database, work)


def test_rows_of_persons_that_somebody_exchanged_open_nobody_elses_case(database):
    async def work(api):
        mine, other = await api.talon(1), await api.talon(2)
        in_database(
            api,
            "UPDATE ledger.persons SET person = (SELECT person FROM ledger.persons WHERE position = %s)",
            mine["position"],
        )
        await api.fold()
        found = [item["case"]["stream"] for item in (await api.cabinet(1)).json()["items"]]
        assert found == [mine["stream"]]
        assert other["stream"] not in found

    story(database, work)


# --- files ---------------------------------------------------------------------------------------------


def test_strangers_cannot_fill_the_disk_with_files_that_nobody_takes_up(database, monkeypatch):
    async def work(api):
        file = await api.uploaded()
        monkeypatch.setattr(appeals, "MAX_WAITING", 1)
        problem(await api.upload(), 503, "uploads-full")
        await api.filed(attachments=[file])
        await api.uploaded()
        monkeypatch.setattr(appeals, "MAX_WAITING", 100)
        monkeypatch.setattr(appeals, "MAX_WAITING_BYTES", len(PDF))
        problem(await api.upload(), 503, "uploads-full")

    story(database, work)


def test_the_service_cannot_change_or_remove_a_file_that_an_event_took_up(database):
    async def work(api):
        file = await api.uploaded()
        stream = await api.filed(attachments=[file])
        for query in (
            "DELETE FROM ledger.attachments",
            "UPDATE ledger.attachments SET position = NULL",
            "UPDATE ledger.attachments SET sealed = ''",
            "TRUNCATE ledger.attachments",
            "DELETE FROM ledger.persons",
            "UPDATE ledger.persons SET person = person",
        ):
            with pytest.raises(psycopg.errors.DatabaseError):
                in_database(api, query, admin=False)
        reading = (await api.read(LAND, stream)).json()["reading"]
        path = f"{at(stream)}/readings/{reading}/attachments/{file['sha256']}"
        assert (await api.get(path, headers=api.bearer(LAND))).content == PDF

    story(database, work)


def test_no_view_of_an_appeal_shows_the_ticket_that_opens_a_file(database):
    async def work(api):
        file = await api.uploaded()
        talon = await api.talon(attachments=[file])
        shown = [(await api.case(talon)).text, (await api.read(LAND, talon["stream"])).text]
        assert not any(file["ticket"] in text for text in shown)
        assert all(file["sha256"] in text for text in shown)

    story(database, work)


# --- whose step it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    ["submitted", "split_off", "imported", "step_imported", "fixed", "objected", "withdrawal_asked",
     "complained", "overdue", "lapsed"],
)  # fmt: skip
def test_no_token_says_what_an_applicant_the_clock_or_the_gateway_says(database, type_):
    async def work(api):
        stream = await api.taken()
        for body in (LAND, OFFICE):
            answer = await api.tell(body, stream, f"appeal.{type_}", {}, {})
            problem(answer, 422, "command-invalid")
            got, _ = await api.bulk(body, [{"stream": stream, "type": f"appeal.{type_}"}])
            assert got[0]["problem"]["type"] == "/problems/command-invalid"

    story(database, work)


@pytest.mark.parametrize(
    "to", [LAND, OFFICE, "organisation/council", "organisation/operator", "organisation/no"]
)
@pytest.mark.parametrize("step", ["forwarded", "forwarded_in_part", "assigned"])
def test_an_appeal_goes_to_no_body_that_does_not_answer_appeals(database, to, step):
    async def work(api):
        stream = await (api.taken() if step == "assigned" else api.filed())
        answer = await api.step(stream, step, {"to": to})
        assert answer.status_code in (409, 422), answer.text

    story(database, work)


def test_a_body_does_not_write_in_the_old_register_of_another(database):
    async def work(api):
        row = {"activity": "Taken", "step": "taken", "happened": "2026-01-05T05:00:00Z"}
        (mine,) = await import_cases(api, {"rows": [row]})
        (theirs,) = await import_cases(api, {"rows": [row]}, body=WATER)
        assert mine["stream"] != theirs["stream"]
        problem(
            await api.step(mine["stream"], "decision_drafted", {"outcome": "explained"}, body=WATER),
            403, "appeal-of-another-body",
        )  # fmt: skip
        problem(await api.read(WATER, mine["stream"]), 403, "not-a-reader")
        problem(await api.read(MINISTRY, mine["stream"]), 403, "not-a-reader")

    story(database, work)
