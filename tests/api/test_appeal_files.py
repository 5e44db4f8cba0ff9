"""Files go up before the step that they come with, and down to whoever may see that step."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import psycopg

from api import appeals as routes
from api.clock import Steward
from tests.api.services import problem
from tests.api.window import LAND, MINISTRY, OFFICE, PDF, WATER, at, story

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def hash_of(content):
    return hashlib.sha256(content).hexdigest()


async def opened(api, talon, content=PDF, code=None):
    path = f"{at(talon['stream'])}/case/attachments/{hash_of(content)}"
    return await api.post(path, {"code": code or talon["code"]})


def stored(database):
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute("SELECT count(*), count(position) FROM ledger.attachments").fetchone()


# --- up ----------------------------------------------------------------------------------------


def test_a_file_comes_back_to_the_applicant_byte_for_byte(database):
    async def work(api):
        files = [
            await api.uploaded(PDF, "өтініш.pdf"),
            await api.uploaded(PNG, "сурет.png", media_type="image/png"),
            await api.uploaded(b"PK\x03\x04...", "хат.docx", media_type=DOCX),
        ]
        talon = await api.talon(attachments=files)
        step = (await api.case(talon)).json()["steps"][0]
        assert [(file["name"], file["size"]) for file in step["files"]] == [
            ("өтініш.pdf", len(PDF)), ("сурет.png", len(PNG)), ("хат.docx", 7),
        ]  # fmt: skip
        assert "attachments" not in step["texts"]
        for content, media_type in ((PDF, "application/pdf"), (PNG, "image/png")):
            answer = await opened(api, talon, content)
            assert (answer.status_code, answer.content) == (200, content)
            assert answer.headers["content-type"] == media_type
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-disposition"] == "attachment"
            assert answer.headers["x-content-type-options"] == "nosniff"
        problem(await opened(api, talon, code="0" * 10), 403, "code-wrong")
        problem(await opened(api, talon, b"another"), 404, "not-found")
        path = f"{at(talon['stream'])}/case/attachments/"
        for name in ("x" * 64, hash_of(PDF).upper(), hash_of(PDF) + "%0A"):
            problem(await api.post(path + name, {"code": talon["code"]}), 422, "request-invalid")
        assert stored(database) == (3, 3)

    story(database, work)


REFUSED = [
    (b"<html>", "text/html"),
    (b"<html>", "application/pdf"),
    (PDF, "image/png"),
    (b"", "application/pdf"),
    (PDF, ""),
    (PDF, "multipart/form-data"),
    (b"%PDF-" + bytes(10 * 1024 * 1024), "application/pdf"),
    (b"\x1f\x8b\x08" + bytes(40), "application/pdf"),
]


def test_files_of_other_kinds_or_sizes_are_refused_and_leave_nothing(database):
    async def work(api):
        for content, media_type in REFUSED:
            problem(await api.upload(content, media_type), 422, "attachment-refused")
        packed = await api.upload(
            b"\x1f\x8b\x08" + bytes(40), "application/pdf", **{"content-encoding": "gzip"}
        )
        problem(packed, 422, "attachment-refused")
        problem(await api.upload(bytes(12 * 2**20)), 413, "body-too-large")
        assert stored(database) == (0, 0)
        largest = b"%PDF-" + bytes(10 * 1024 * 1024 - 5)
        assert (await api.upload(largest)).status_code == 201

    story(database, work)


def test_no_more_files_come_up_at_once_than_the_process_has_room_for(database):
    async def work(api):
        held, coming = asyncio.Event(), asyncio.Semaphore(0)

        async def slow():
            yield PDF
            coming.release()
            await held.wait()

        waiting = [asyncio.create_task(api.upload(slow())) for _ in range(routes.MAX_UPLOADS)]
        for _ in waiting:
            await coming.acquire()
        problem(await api.upload(), 503, "uploads-full")
        waiting[0].cancel()
        held.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [answer.status_code for answer in answers[1:]] == [201] * (routes.MAX_UPLOADS - 1)
        answers = await asyncio.gather(*(api.upload() for _ in range(routes.MAX_UPLOADS)))
        assert {answer.status_code for answer in answers} == {201}

    story(database, work)


# --- taken up ----------------------------------------------------------------------------------


def test_a_ticket_that_was_altered_invented_or_kept_too_long_is_refused(database):
    async def work(api):
        file, other = await api.uploaded(), await api.uploaded(b"%PDF-other")
        size = api.world.counted()
        wrong = [
            {"sha256": "0" * 64},
            {"size": file["size"] + 1},
            {"media_type": "image/png"},
            {"id": str(uuid.uuid4())},
            {"id": other["id"]},
            {"ticket": other["ticket"]},
            {"ticket": file["ticket"][:-2] + "AA"},
            {"ticket": ""},
            {"ticket": "é"},
        ]
        for changed in wrong:
            answer = await api.post("/v1/appeals/statement", api.filing(attachments=[file | changed]))
            problem(answer, 422, "attachment-unknown")
        for name in ("", "a/b", "..\\x", "a\nb", "x" * 201):
            answer = await api.post("/v1/appeals/statement", api.filing(attachments=[file | {"name": name}]))
            problem(answer, 422, "request-invalid")
        turned = await api.post(
            "/v1/appeals/statement", api.filing(attachments=[file | {"name": "fdp.\u202egpj"}])
        )
        problem(turned, 422, "text-invalid")
        for many in ([file, file], [await api.uploaded() for _ in range(11)]):
            answer = await api.post("/v1/appeals/statement", api.filing(attachments=many))
            problem(answer, 422, "attachment-refused")
        api.world.clock.ahead += 23 * 3600 + 60
        answer = await api.post("/v1/appeals/statement", api.filing(attachments=[file]))
        problem(answer, 422, "attachment-unknown")
        assert api.world.counted() == size

    story(database, work)


def test_the_files_are_signed_with_the_appeal(database):
    async def work(api):
        file, other = await api.uploaded(), await api.uploaded(b"%PDF-other")
        form = await api.form(attachments=[file])
        for changed in ([], [other], [file, other]):
            answer = await api.post("/v1/appeals", form | {"attachments": changed})
            problem(answer, 422, "statement-mismatch")
        renamed = await api.post("/v1/appeals", form | {"attachments": [file | {"name": "басқа.pdf"}]})
        assert renamed.status_code == 201  # a name is not content

    story(database, work)


def test_a_file_is_of_the_appeals_that_took_it_up_and_of_no_other(database):
    async def work(api):
        file = await api.uploaded()
        one = await api.talon(1, attachments=[file])
        two = await api.talon(2)
        problem(await opened(api, two), 404, "not-found")
        problem(await opened(api, two | {"code": one["code"]}), 403, "code-wrong")
        # Whoever uploaded it may attach it again: to an appeal to another body, say.
        three = await api.talon(1, body=WATER, attachments=[file])
        assert (await opened(api, three)).content == PDF
        assert stored(database) == (1, 1)

    story(database, work)


def test_what_no_step_took_up_is_removed_after_a_day_and_what_was_taken_up_stays(database):
    async def work(api):
        talon = await api.talon(attachments=[await api.uploaded()])
        await api.uploaded(b"%PDF-left behind")
        api.world.clock.ahead += 24 * 3600 + 60
        await api.uploaded(b"%PDF-fresh")
        await api.settle(Steward(api.service.ledger, database.url))
        assert stored(database) == (2, 1)
        assert (await opened(api, talon)).content == PDF

    story(database, work)


# --- down, to officials ------------------------------------------------------------------------


async def path_of(api, body, stream, content=PDF):
    """Where the body can open a file, by a fresh reading."""
    answer = await api.read(body, stream)
    assert answer.status_code == 201, answer.text
    return f"{at(stream)}/readings/{answer.json()['reading']}/attachments/{hash_of(content)}"


def test_an_official_opens_a_file_within_the_hour_of_a_reading_of_their_own(database):
    async def work(api):
        talon = await api.talon(attachments=[await api.uploaded()])
        stream = talon["stream"]
        path = await path_of(api, LAND, stream)
        answer = await api.get(path, headers=api.bearer(LAND))
        assert (answer.status_code, answer.content) == (200, PDF)
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == (
            "no-store", "nosniff",
        )  # fmt: skip
        head = await api.client.head(path, headers=api.bearer(LAND))
        assert (head.status_code, head.content, head.headers["cache-control"]) == (200, b"", "no-store")
        problem(await api.get(path), 401, "token-missing")
        for stranger in (WATER, OFFICE, MINISTRY):
            problem(await api.get(path, headers=api.bearer(stranger)), 404, "not-found")
        other = (await api.talon(2, attachments=[await api.uploaded(b"%PDF-2")]))["stream"]
        moved = path.replace(at(stream), at(other))
        problem(await api.get(moved, headers=api.bearer(LAND)), 404, "not-found")
        invented = path.replace(path.split("/")[5], "A" * 16)
        problem(await api.get(invented, headers=api.bearer(LAND)), 404, "not-found")
        for wrong in (path.replace(path.split("/")[5], "short"), path[:-1], path[:-64] + "X" * 64):
            problem(await api.get(wrong, headers=api.bearer(LAND)), 422, "request-invalid")
        api.world.clock.ahead += 3601
        problem(await api.get(path, headers=api.bearer(LAND)), 403, "not-a-reader")

    story(database, work)


def test_a_body_that_sent_the_appeal_on_opens_its_files_no_more(database):
    async def work(api):
        stream = (await api.talon(attachments=[await api.uploaded()]))["stream"]
        path = await path_of(api, LAND, stream)
        await api.stepped(stream, ("forwarded", {"to": WATER}))
        problem(await api.get(path, headers=api.bearer(LAND)), 403, "not-a-reader")
        assert (await api.get(await path_of(api, WATER, stream), headers=api.bearer(WATER))).content == PDF

    story(database, work)


def test_a_reading_does_not_open_a_file_that_came_after_it(database):
    async def work(api):
        stream = await api.taken()
        late = b"%PDF-withdrawal"
        path = await path_of(api, LAND, stream, late)
        file = await api.uploaded(late)
        assert (await api.act(stream, "withdraw", files=[file])).status_code == 201
        problem(await api.get(path, headers=api.bearer(LAND)), 404, "not-found")
        fresh = await path_of(api, LAND, stream, late)
        assert (await api.get(fresh, headers=api.bearer(LAND))).content == late

    story(database, work)


def test_a_bodys_answer_comes_with_files_that_the_applicant_opens(database):
    async def work(api):
        talon = await api.talon()
        stream = talon["stream"]
        await api.stepped(
            stream, "taken", ("decision_drafted", {"outcome": "explained"}), "decision_approved"
        )
        file = await api.uploaded(b"%PDF-the decision", "шешім.pdf")
        size = api.world.counted()
        for wrong in ([file | {"ticket": "AA"}], [file | {"more": 1}], "file", [None]):
            answer = await api.step(stream, "decided", texts={"attachments": wrong})
            problem(answer, 422, "attachment-unknown")
        assert api.world.counted() == size
        assert (await api.step(stream, "decided", texts={"attachments": [file]})).status_code == 201
        assert (await opened(api, talon, b"%PDF-the decision")).content == b"%PDF-the decision"

    story(database, work)
