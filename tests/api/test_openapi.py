"""The description is complete: every call has an example of what it takes, what it gives and each error."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import re

import msgspec
import pytest
from starlette.routing import Route

import api
import audit
import cli
import ledger
import projections
from api import appeal_examples, appeal_shapes, bulk, examples, shapes
from api.problems import STATUSES, known_errors
from tests.api.services import service


def every_error():
    for package in (ledger, projections, api, audit, cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    inside = ("ledger", "projections", "api", "audit", "cli")
    return [kind for kind in known_errors() if kind.__module__.partition(".")[0] in inside]


def test_every_kind_of_error_has_a_status_a_title_and_a_meaning():
    for kind in every_error():
        assert kind.code in STATUSES, f"{kind.__module__}.{kind.__name__}: {kind.code} has no status"
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)
        assert kind.title
        assert kind.__doc__
    codes = {kind.code for kind in every_error()}
    assert set(STATUSES) <= codes, set(STATUSES) - codes


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_described_with_examples_of_answers_and_errors(database):
    async def story():
        async with service(database) as running:
            document = await running.ok("/openapi.json")
            described = {name for name, _ in operations(document)}
            app = running.client._transport.app
            for route in app.routes:
                if isinstance(route, Route) and route.path != "/openapi.json":
                    for method in route.methods - {"HEAD"}:
                        assert f"{method} {route.path_format}" in described
            identifiers = [operation["operationId"] for _, operation in operations(document)]
            assert len(set(identifiers)) == len(identifiers)
            for name, operation in operations(document):
                check(name, operation)
            references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', dumped(document)))
            assert references <= set(document["components"]["schemas"])
            assert "HTTPValidationError" not in document["components"]["schemas"]

    asyncio.run(story())


def dumped(document):
    return msgspec.json.encode(document).decode()


def check(name, operation):
    assert operation["summary"], name
    assert operation["description"], name
    assert operation["tags"], name
    statuses = set(operation["responses"])
    assert statuses & {"200", "201"}, name
    assert {"500", "503"} <= statuses, name
    for status, answer in operation["responses"].items():
        if status == "304":
            continue
        for kind, content in answer["content"].items():
            assert content["schema"], (name, status)
            if kind == "application/problem+json":
                assert content["examples"], (name, status)
                for code, example in content["examples"].items():
                    assert example["value"]["type"] == f"/problems/{code}"
                    assert str(example["value"]["status"]) == status
            else:
                assert content["example"], (name, status)
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        assert content["example"], name
    if "requestBody" in operation:
        assert {"400", "413", "415", "422"} <= statuses, name
        assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}, name


SAMPLES = [
    (shapes.PetitionPage, examples.PETITIONS),
    (shapes.PetitionDocument, examples.PETITION_DOCUMENT),
    (shapes.Growth, examples.GROWTH),
    (shapes.SignaturePage, examples.SIGNATURES),
    (shapes.TrailDocument, examples.TRAIL),
    (shapes.OrganisationDocument, examples.ORGANISATION),
    (shapes.OrganisationList, examples.ORGANISATIONS),
    (shapes.EntryDocument, examples.ENTRY_DOCUMENT),
    (shapes.LogDocument, examples.LOG),
    (shapes.ReceiptDocument, examples.RECEIPT),
    (shapes.RecordedDocument, examples.SIGNED),
    (shapes.StatementRequest, examples.STATEMENT_REQUEST),
    (shapes.StatementDocument, examples.STATEMENT_DOCUMENT),
    (shapes.FilingRequest, examples.FILING_REQUEST),
    (shapes.SigningRequest, examples.SIGNING_REQUEST),
    (shapes.EventRequest, examples.EVENT_REQUEST),
    (appeal_shapes.AttachmentDocument, appeal_examples.ATTACHMENT),
    (appeal_shapes.AppealStatementRequest, appeal_examples.STATEMENT_REQUEST),
    (appeal_shapes.FormStatementDocument, appeal_examples.FILING_STATEMENT),
    (appeal_shapes.AppealRequest, appeal_examples.APPEAL_REQUEST),
    (appeal_shapes.TakenDownRequest, appeal_examples.TAKEN_DOWN),
    (appeal_shapes.TalonDocument, appeal_examples.TALON),
    (appeal_shapes.CodeRequest, appeal_examples.CODE_REQUEST),
    (appeal_shapes.ActStatementRequest, appeal_examples.ACT_STATEMENT_REQUEST),
    (appeal_shapes.FormStatementDocument, appeal_examples.ACT_STATEMENT),
    (appeal_shapes.ActRequest, appeal_examples.ACT_REQUEST),
    (appeal_shapes.VisitorActRequest, appeal_examples.VISITOR_ACT),
    (appeal_shapes.CabinetStatementDocument, appeal_examples.CABINET_STATEMENT),
    (appeal_shapes.CabinetRequest, appeal_examples.CABINET_REQUEST),
    (appeal_shapes.CaseDocument, appeal_examples.CASE),
    (appeal_shapes.CabinetDocument, appeal_examples.CABINET),
    (appeal_shapes.ReadingRequest, appeal_examples.READING_REQUEST),
    (appeal_shapes.ReadingDocument, appeal_examples.READING),
    (bulk.BulkLine, json.loads(appeal_examples.BULK_REQUEST)),
]


@pytest.mark.parametrize(("shape", "example"), SAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_examples_have_the_shape_that_they_are_examples_of(shape, example):
    msgspec.convert(example, shape)
    assert set(example) <= set(shape.__struct_fields__)


def test_no_page_loads_anything_from_elsewhere(database):
    async def story():
        async with service(database) as running:
            for path in ("/docs", "/redoc"):
                assert (await running.get(path)).status_code == 404
            page = await running.get("/problems/not-found", headers={"accept": "text/html"})
            assert not re.search(r"(src|href)=.https?://", page.text)

    asyncio.run(story())


def test_the_errors_a_call_can_give_are_described(database):
    """What the tests of signing provoke stands in the description of signing."""
    from tests.api.test_signing import UNREADABLE, WRONG

    async def story():
        async with service(database) as running:
            document = await running.ok("/openapi.json")
            answers = document["paths"]["/v1/petitions/{id}/signatures"]["post"]["responses"]
            for status, code in [(s, c) for _, s, c in WRONG] + [(s, c) for _, _, s, c in UNREADABLE]:
                assert code in answers[str(status)]["content"]["application/problem+json"]["examples"]

    asyncio.run(story())
