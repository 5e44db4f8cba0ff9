"""After a whole appeal, what is personal in it appears in the private answers, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import psycopg
from psycopg import sql

from ledger.eds.people import invent_person
from tests.api.test_privacy import secrets_of, unfolded
from tests.api.window import LAND, MINISTRY, OFFICE, WATER, at, window

TEXTS = {
    "text": "Көршім Қалампыр түнде шулайды.",
    "contacts": "qalampyr@example.kz",
    "full_name": "Бәйшешекова Сұлтанай",
    "fixed": "Пәтерім қырық жетінші.",
    "objected": "Тәуелсіз сараптама сұраймын.",
    "withdrawn": "Көршім көшіп кетті.",
    "complained": "Жауап жоқ, үндемейді.",
    "executor": "Ержанов тобы",
    "question": "Түнгі шу өлшенді ме?",
    "answer": "Елу бес децибел.",
    "preliminary": "Өтінішті қанағаттандырмау ұсынылады.",
    "place": "Абай көшесі, жетінші бөлме.",
    "protocol": "Жиналыста ол жылады.",
    "draft": "Шешімнің жобасы осындай.",
    "decision": "Өтінішіңіз орынсыз.",
    "part": "Үй іргесіндегі су.",
    "opinion": "Шағым негізсіз дейміз.",
    "reason": "Мекенжайы түсініксіз.",
    "file": "qalampyr-shu.pdf",
    "typed": "Қате форма мәтіні",
}
CONTENT = b"%PDF- the neighbour in a picture"


async def whole_story(api):
    """Every kind of step that carries a text; what was handed out privately by the way."""
    file = await api.uploaded(CONTENT, TEXTS["file"])
    filed = {"text": TEXTS["text"], "contacts": TEXTS["contacts"], "attachments": [file]}
    form = await api.form(1, **filed)
    talon = (await api.post("/v1/appeals", form)).json()
    stream = talon["stream"]

    async def said(type_, data=None, *names, body=LAND):
        answer = await api.step(stream, type_, data, {name: TEXTS[name] for name in names}, body)
        assert answer.status_code == 201, answer.text

    await said("returned", {"ground": "unclear"}, "reason")
    assert (await api.act(stream, "fix", text=TEXTS["fixed"])).status_code == 201
    await said("forwarded_in_part", {"to": MINISTRY}, "part")
    await said("taken", None, "executor")
    await said("assigned", {"to": WATER}, "question")
    reading = await api.read(LAND, stream)
    await api.read(WATER, stream, "assignment")
    await said("assignment_answered", {"assignment": 1}, "answer", body=WATER)
    hearing = api.service.ledger.now().replace(day=20)
    await said("hearing_noticed", {"at": hearing.isoformat()}, "preliminary", "place")
    assert (await api.act(stream, "object", text=TEXTS["objected"])).status_code == 201
    api.world.clock.pass_until(hearing)
    await said("hearing_held", {"attended": True}, "protocol")
    late = await api.uploaded(CONTENT, TEXTS["file"])
    asked = await api.act(stream, "withdraw", text=TEXTS["withdrawn"], files=[late])
    assert asked.status_code == 201
    await said("withdrawal_declined", None, "reason")
    sealed = {"stream": stream, "type": "appeal.decision_drafted", "data": {"outcome": "refused"}}
    answers, _ = await api.bulk(LAND, [sealed | {"disclosures": {"draft": TEXTS["draft"]}}])
    assert answers[0]["status"] == 201
    await said("decision_approved")
    await said("decided", None, "decision")
    assert (await api.act(stream, "complain", text=TEXTS["complained"])).status_code == 201
    await said("complaint_passed_up", {"to": MINISTRY}, "opinion")
    await said("complaint_decided", {"outcome": "dismiss"}, "decision", body=MINISTRY)

    iin = invent_person(2).iin
    brought = {
        "full_name": TEXTS["full_name"],
        "iin": iin,
        "text": TEXTS["text"],
        "contacts": TEXTS["contacts"],
    }
    came = await api.came(**brought)
    act = {"act": "withdraw", "text": TEXTS["withdrawn"], "code": came["code"]}
    answer = await api.by(OFFICE, f"/v1/front-office/appeals/{came['number']}/acts", act)
    assert answer.status_code == 201, answer.text
    await api.fold()
    for number in (1, 2):
        assert TEXTS["text"] in (await api.cabinet(number)).text
    for own in (talon, came):
        assert TEXTS["text"] in (await api.case(own)).text
    path = f"{at(stream)}/readings/{reading.json()['reading']}/attachments/{file['sha256']}"
    await api.get(path, headers=api.bearer(LAND))
    await api.post(f"{at(stream)}/case/attachments/{file['sha256']}", {"code": talon["code"]})
    await go_wrong(api, talon, came, form)
    secrets = [
        *TEXTS.values(),
        talon["code"],
        came["code"],
        iin,
        file["ticket"],
        form["cms"][:200],
    ]
    return talon, came, secrets


async def go_wrong(api, talon, came, form):
    """Requests that are refused with something personal in them."""
    wrong = [
        ("/v1/appeals", form | {"text": TEXTS["typed"]}),
        ("/v1/appeals", form | {"category": TEXTS["full_name"]}),
        ("/v1/appeals", form | {TEXTS["typed"]: 1}),
        (f"{at(talon['stream'])}/case", {"code": came["code"]}),
        (f"{at(talon['stream'])}/case", {"code": TEXTS["typed"]}),
        (f"{at(talon['stream'])}/acts", {"act": "withdraw", "text": TEXTS["typed"]}),
        (f"/v1/appeals/{TEXTS['full_name']}/case", {"code": talon["code"]}),
        (f"/v1/appeals/{talon['code']}/case", {"code": talon["code"]}),
        ("/v1/front-office/appeals", api.visitor(full_name=TEXTS["full_name"], iin="900101300001")),
    ]
    for path, asked in wrong:
        assert (await api.by(OFFICE, path, asked)).status_code >= 400
    broken = json.dumps({"text": TEXTS["typed"]}, ensure_ascii=False)[:-2].encode()
    headers = {"content-type": "application/json"} | api.bearer(OFFICE)
    assert (
        await api.client.post("/v1/front-office/appeals", content=broken, headers=headers)
    ).status_code == 400
    await api.upload(TEXTS["typed"].encode(), "application/pdf")
    await api.get(f"/v1/appeals?body={TEXTS['full_name']}")
    await api.get(f"/v1/streams/appeal/{TEXTS['full_name']}")
    await api.step(talon["stream"], "taken", {TEXTS["typed"]: 1}, {"executor": TEXTS["typed"]})
    await api.bulk(
        LAND, [{"stream": talon["stream"], "type": TEXTS["typed"], "disclosures": {"a": TEXTS["typed"]}}]
    )


async def published(api, talon, came):
    """Whatever a stranger can get."""
    description = await api.ok("/openapi.json")
    plain = [
        path for path, methods in description["paths"].items()
        if "get" in methods and "{" not in path and not methods["get"].get("security")
        and path != "/v1/feed"
    ]  # fmt: skip
    assert {"/v1/appeals", "/v1/organisations", "/metrics"} <= set(plain)
    paths = [*plain, "/metrics"]
    for stream in (talon["stream"], f"{talon['stream']}-1", came["stream"]):
        paths += [at(stream), f"/v1/streams/{stream}"]
    size = api.world.counted()
    for position in range(size):
        paths += [f"/v1/entries/{position}", f"/v1/entries/{position}/receipt"]
    answers = []
    for path in paths:
        answer = await api.get(path)
        assert answer.status_code < 500, path
        answers.append(answer.content.decode("utf-8", "replace"))
        assert at(talon["stream"]) not in path or answer.status_code == 200
    answers.append((await api.get(f"/log/tile/entries/000.p/{size}")).content.decode("utf-8", "replace"))
    return answers


async def told_to_bodies(api):
    """What a body gets without recording a reading."""
    paths = ["/v1/queue", "/v1/queue/terms", "/v1/organisations/land/feed?limit=100"]
    return [(await api.get(path, headers=api.bearer(LAND))).text for path in paths]


def tables(database):
    """Every row of every table, as text."""
    with psycopg.connect(database.admin_url) as connection:
        found = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert ("ledger", "vault") in found
        for name in found:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(*name))
            yield from (row[0] for row in connection.execute(query).fetchall())


def test_what_is_personal_in_an_appeal_is_in_no_public_answer_log_line_metric_or_table(database, caplog):
    caplog.set_level(logging.DEBUG)

    async def run():
        async with window(database) as api:
            talon, came, secrets = await whole_story(api)
            return secrets, await published(api, talon, came), await told_to_bodies(api)

    secrets, public, bodies = asyncio.run(run())
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    lines = [record.getMessage() + (record.exc_text or "") for record in ours]
    for route in ("/v1/appeals/{number}/case", "/v1/appeals/{number}/acts", "/v1/appeals/{number}/readings"):
        assert any(f'"{route}"' in line for line in lines), route
    rows = list(tables(database))
    haystack = "\n".join(part for text in [*public, *bodies, *lines] for part in unfolded(text))
    stored = "\n".join(rows)
    assert "appeal/JT-2026-00000001" in haystack
    assert "appeal/JT-2026-00000001" in stored
    for secret in secrets:
        for spelled in {secret, json.dumps(secret)[1:-1]}:
            assert spelled not in haystack, secret
            assert spelled not in stored, secret
        for hidden in (
            secret.encode().hex(),
            base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")[:-1],
        ):
            assert hidden not in stored, secret
    assert CONTENT.hex() not in stored
    for number in (1, 2):
        for word in secrets_of(number):
            assert word not in haystack
            assert word not in stored
