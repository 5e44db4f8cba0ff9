"""Councils and everybody ask for figures: the same numbers in every format, and none of them about a few."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from contextlib import asynccontextmanager
from itertools import islice, pairwise
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from api import oversight_shapes as shapes
from api import tables, tokens
from api.tables import Column, Table
from bench.appeal_lives import OFFICE, bodies, in_order, lives
from bench.appeals import sealed
from ledger import events
from ledger.store.append import Append
from projections.oversight_stays import NAMES
from tests.api.services import VILLAGE, problem, service

OF = bodies(6)
COUNCIL = "organisation/council"
FIGURES = "/v1/oversight/appeals"


@asynccontextmanager
async def year(database, appeals=400):
    """A service whose ledger holds a year of lawful lives, and a council with a token."""
    async with service(database) as api:
        ledger = api.service.ledger
        names = events.Names(kk="=Мекеме", ru="Учреждение")
        kinds = [(body, "institution") for body in OF] + [(OFFICE, "front-office"), (COUNCIL, "council")]
        for stream, kind in kinds:
            facts = events.OrganisationRegistered(kind=kind, level="oblast", names=names)
            roles = ("registrar", "executor", "controller", "head") if kind == "institution" else ()
            await ledger.register_organisation(stream.partition("/")[2], facts, roles)
        happenings = in_order(lives(appeals, OF, 2025))
        seeds = api.world.keys.gateway.seed(), api.world.keys.clock.seed()
        while group := list(islice(happenings, 1000)):
            await ledger.sequencer.append(Append(sealed(*seeds, group)))
        with psycopg.connect(database.url, autocommit=True) as connection:
            for stream in (COUNCIL, OF[0]):
                api.world.tokens[stream] = tokens.create(connection, stream, "tests")
        await api.fold()
        yield api


async def told(api, path=FIGURES, *, council=True, **params):
    headers = api.bearer(COUNCIL) if council else {}
    answer = await api.get(path, params={"period": "2025"} | params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def figures(api, **params):
    return (await told(api, **params)).json()


def counted(lines, name="appeals"):
    return sum(line[name] for line in lines)


class TestCouncils:
    def test_every_breakdown_adds_up_to_the_same_total_as_of_one_position(self, database):
        async def story():
            async with year(database) as api:
                wholes = []
                for by in ("body", "month", "kind", "category", "region", "channel", "origin"):
                    table = await figures(api, by=by)
                    assert not table["suppressed"]
                    for name in NAMES:
                        assert counted(table["items"], name) == table["total"][name], (by, name)
                    assert table["as_of"] == api.world.counted() - 1
                    wholes.append(table["total"])
                assert all(whole == wholes[0] for whole in wholes)
                assert wholes[0]["appeals"] == 400
                assert wholes[0]["median_days"] <= wholes[0]["p90_days"]
                by_month = [
                    (await figures(api, period=f"2025-{month:02}"))["total"]["answered"]
                    for month in range(1, 13)
                ]
                assert sum(by_month) == wholes[0]["answered"]

        asyncio.run(story())

    def test_one_body_is_broken_down_by_anything(self, database):
        async def story():
            async with year(database, 200) as api:
                line = next(x for x in (await figures(api))["items"] if x["body"] == OF[0])
                assert (line["name_kk"], line["name_ru"]) == ("=Мекеме", "Учреждение")
                for by in ("month", "kind", "category", "region", "channel", "origin"):
                    table = await figures(api, by=by, body=OF[0])
                    assert table["where"] == {"body": OF[0]}
                    assert {n: table["total"][n] for n in NAMES} == {n: line[n] for n in NAMES}
                    assert counted(table["items"], "late") == line["late"]
                two = await figures(api, by="kind", body=OF[0], channel="electronic", origin="filed")
                kinds = await figures(api, by="kind", body=OF[0], channel="electronic")
                assert two["items"] == kinds["items"]
                page = await told(api, f"/v1/oversight/bodies/{OF[0].partition('/')[2]}")
                assert page.json()["total"] == {n: line[n] for n in page.json()["total"]}
                assert counted(page.json()["months"]) == line["appeals"]

        asyncio.run(story())

    def test_pages_in_any_order_hold_every_line_once(self, database):
        async def story():
            async with year(database, 120) as api:
                for sort in ("key", "-appeals", "late_share", "-median_days"):
                    seen, cursor = [], None
                    while True:
                        more = {} if cursor is None else {"cursor": cursor}
                        answer = await told(api, by="category", sort=sort, limit=7, **more)
                        seen += answer.json()["items"]
                        cursor = answer.json()["next"]
                        if cursor is None:
                            assert "link" not in answer.headers
                            break
                        address, _, relation = answer.headers["link"].partition(">")
                        assert (urlsplit(address[1:]).path, relation) == (FIGURES, '; rel="next"')
                        assert f"cursor={cursor}" in address
                    assert len({line["category"] for line in seen}) == len(seen) == 20
                    name = sort.removeprefix("-")
                    values = [line[name] for line in seen if name != "key" and line[name] is not None]
                    assert values == sorted(values, reverse=sort.startswith("-"))
                wrong = {
                    "period": "2025",
                    "by": "category",
                    "sort": "appeals",
                    "cursor": cursor or "WyJrZXki",
                }
                problem(await api.get(FIGURES, params=wrong), 422, "cursor-invalid")

        asyncio.run(story())

    def test_what_a_council_sees_is_kept_by_no_cache_and_only_its_token_shows_it(self, database):
        async def story():
            async with year(database, 60) as api:
                private = await told(api)
                assert private.headers["cache-control"] == "no-store"
                public = await told(api, council=False)
                assert public.headers["cache-control"].startswith("public")
                assert private.headers["vary"] == public.headers["vary"] == "Accept, Authorization"
                answer = await api.get(FIGURES, params={"period": "2025"}, headers=api.bearer(OF[0]))
                assert answer.json() == public.json()
                stranger = {"authorization": f"Bearer aiqyn_{'x' * 43}"}
                refused = await api.get(FIGURES, params={"period": "2025"}, headers=stranger)
                problem(refused, 401, "token-invalid")
                detail = {"period": "2025-03", "by": "kind", "body": OF[0]}
                assert (await api.get(FIGURES, params=detail, headers=api.bearer(COUNCIL))).status_code == 200
                problem(await api.get(FIGURES, params=detail), 403, "councils-only")

        asyncio.run(story())

    def test_bodies_that_get_worse_are_told_with_the_measure(self, database):
        async def story():
            async with year(database) as api:
                params = {"period": "2025-09", "measure": "median_days", "min_cases": 5}
                answer = await told(api, "/v1/oversight/worsening", **params)
                table = answer.json()
                assert (table["before"], table["measure"], table["min_cases"]) == (
                    "2025-08",
                    "median_days",
                    5,
                )
                assert "median" in table["measured"]
                assert table["items"]
                for worse, next_one in pairwise(table["items"]):
                    assert worse["change"] >= next_one["change"] > 0
                for worse in table["items"]:
                    assert worse["change"] == worse["median_days"] - worse["median_days_before"]
                problem(await api.get("/v1/oversight/worsening", params=params), 403, "councils-only")
                public = await told(api, "/v1/oversight/worsening", council=False)
                assert public.json()["items"] == []  # the year before has no appeals

        asyncio.run(story())


class TestEverybody:
    def test_small_counts_are_held_back_and_large_ones_are_told(self, database):
        async def story():
            async with year(database) as api:
                for params in (
                    {"by": "body"}, {"by": "kind"}, {"by": "category"}, {"by": "month"},
                    {"by": "month", "body": OF[0]}, {"by": "body", "kind": "request"},
                    {"by": "channel", "period": "2025-05"}, {"by": "region", "body": OF[1]},
                ):  # fmt: skip
                    everything = await figures(api, **params)
                    shown = await figures(api, council=False, **params)
                    assert shown["suppressed"]
                    truth = {line[params["by"]]: line for line in everything["items"]}
                    told_of = {line[params["by"]]: line for line in shown["items"]}
                    assert set(truth) <= set(told_of)
                    told_of["total"], truth["total"] = shown["total"], everything["total"]
                    for key, line in told_of.items():
                        for name in NAMES:
                            assert line[name] in (None, truth[key][name] if key in truth else 0)
                            assert line[name] not in (1, 2, 3, 4)
                        assert line["suppressed"] == any(line[name] is None for name in NAMES)
                    assert shown["total"]["appeals"] == everything["total"]["appeals"]
                bodies_of_the_year = (await figures(api, council=False))["items"]
                assert all(line["appeals"] for line in bodies_of_the_year)
                assert any(line["late"] for line in bodies_of_the_year)

        asyncio.run(story())

    def test_a_hidden_count_is_not_the_difference_of_other_answers(self, database):
        async def story():
            async with year(database) as api:
                years = await figures(api, by="kind", council=False)
                hidden = {line["kind"] for line in years["items"] if line["appeals"] is None}
                assert len(hidden) != 1
                # Whoever has a row's or a column's total misses two of its cells at least, or none.
                for body in OF:
                    row = await figures(api, by="month", body=body, council=False)
                    assert len([line for line in row["items"] if line["appeals"] is None]) != 1
                for month in range(1, 13):
                    column = await figures(api, by="body", period=f"2025-{month:02}", council=False)
                    assert len([x for x in column["items"] if x["appeals"] is None]) != 1

        asyncio.run(story())

    def test_nothing_is_told_that_is_not_up_to_date(self, database):
        async def story():
            async with year(database, 150) as api:
                before = await figures(api, by="channel", council=False)
                more = in_order(lives(150, OF, 2025, seed=2))
                renamed = [h._replace(stream=h.stream.replace("-2025-0", "-2025-9")) for h in more]
                seeds = api.world.keys.gateway.seed(), api.world.keys.clock.seed()
                await api.service.ledger.sequencer.append(Append(sealed(*seeds, renamed)))
                await api.fold()
                after = await figures(api, by="channel", council=False)
                assert (before["total"]["appeals"], after["total"]["appeals"]) == (150, 300)
                assert before["as_of"] < after["as_of"]

        asyncio.run(story())

    def test_a_case_can_be_followed_by_anybody(self, database):
        async def story():
            async with year(database, 60) as api:
                answer = await api.get("/v1/oversight/appeals/ЖТ-2025-00000001/trail")
                trail = answer.json()
                assert (answer.status_code, trail["number"]) == (200, "ЖТ-2025-00000001")
                msgspec.convert(trail, shapes.AppealTrail)
                first, *others = trail["items"]
                assert (first["n"], first["type"], first["days"]) == (1, "appeal.submitted", None)
                assert (first["role"], first["term"]) in (
                    ("gateway", "consideration"),
                    (None, "consideration"),
                )
                assert first["due"] == first["facts"]["due"]
                assert [step["n"] for step in trail["items"]] == list(range(1, len(others) + 2))
                decided = next(step for step in others if step["type"] == "appeal.decided")
                assert (decided["role"], decided["term"], decided["due"]) == ("head", None, None)
                assert not {"text", "full_name", "iin", "contacts"} & set(json.dumps(trail).split('"'))
                rows = await api.get("/v1/oversight/appeals/JT-2025-00000001/trail", params={"format": "csv"})
                table = list(csv.DictReader(io.StringIO(rows.text, newline="")))
                assert json.loads(table[0]["facts"]) == first["facts"]
                assert [row["type"] for row in table] == [step["type"] for step in trail["items"]]
                nobody = await api.get("/v1/oversight/appeals/ЖТ-2025-99999999/trail")
                problem(nobody, 404, "not-found")

        asyncio.run(story())


class TestFormats:
    def test_csv_and_parquet_hold_the_numbers_of_the_json(self, database):
        async def story():
            async with year(database) as api:
                for council in (True, False):
                    document = await figures(api, council=council, limit=10_000)
                    rows = (await told(api, council=council, format="csv")).content.decode()
                    assert rows.count("\r\n") == rows.count("\n") == len(document["items"]) + 1
                    read = list(csv.DictReader(io.StringIO(rows, newline="")))
                    for row, item in zip(read, document["items"], strict=True):
                        assert int(row["as_of"]) == document["as_of"]
                        for name in (*NAMES, "median_days"):
                            assert row[name] == ("" if item[name] is None else str(item[name]))
                        assert row["name_kk"] == f"'{item['name_kk']}"  # it begins like a formula
                        assert row["suppressed"] == ("true" if item["suppressed"] else "false")
                    file = parquet.read_table(
                        io.BytesIO((await told(api, council=council, format="parquet")).content)
                    )
                    assert file.to_pylist() == document["items"]
                    assert file.schema.field("appeals").type == pyarrow.int64()
                    assert file.schema.field("late_share").type == pyarrow.float64()
                    assert file.schema.metadata[b"as_of"] == str(document["as_of"]).encode()
                    assert file.schema.metadata[b"period"] == b"2025"

        asyncio.run(story())

    def test_every_call_has_its_three_formats_by_name_and_by_accept(self, database):
        async def story():
            async with year(database, 60) as api:
                kinds = {name: kind.partition(";")[0] for name, kind in tables.MEDIA_TYPES.items()}
                for path in (
                    f"{FIGURES}?period=2025",
                    "/v1/oversight/bodies/body-0001?period=2025",
                    "/v1/oversight/worsening?period=2025",
                    "/v1/oversight/appeals/JT-2025-00000002/trail?",
                ):
                    for name, kind in kinds.items():
                        answers = [
                            await api.get(f"{path}&format={name}"),
                            await api.get(path, headers={"accept": f"text/html;q=0.9, {kind};q=0.5"}),
                        ]
                        for answer in answers:
                            assert answer.headers["content-type"].startswith(kind)
                            assert int(answer.headers["aiqyn-as-of"]) == api.world.counted() - 1
                            assert "Accept" in answer.headers["vary"]
                            tag = {"if-none-match": answer.headers["etag"]}
                            again = await api.get(f"{path}&format={name}", headers=tag)
                            assert (again.status_code, again.content) == (304, b"")
                            assert again.headers["vary"] == answer.headers["vary"]
                        if name != "json":
                            assert f".{name}" in answers[0].headers["content-disposition"]
                    assert (await api.get(path)).headers["content-type"] == "application/json"

        asyncio.run(story())

    @pytest.mark.parametrize("text", ["=1+1", "+7", "-2", "@x", "\t=1", "\r=1", "＝1"])
    def test_no_text_becomes_a_formula_in_a_spreadsheet(self, text):
        table = Table([Column("name", "text"), Column("change", "number")], [(text, -0.5)], 7)
        (row,) = csv.DictReader(io.StringIO(tables.to_csv(table).decode(), newline=""))
        assert row == {"name": f"'{text}", "change": "-0.5", "as_of": "7"}

    def test_texts_with_commas_quotes_and_lines_come_back_as_they_were(self):
        text = 'Мектеп "№ 1", Астана\r\nқаласы'
        table = Table([Column("name", "text")], [(text,), (None,)], 7)
        rows = list(csv.DictReader(io.StringIO(tables.to_csv(table).decode(), newline="")))
        assert [row["name"] for row in rows] == [text, ""]

    def test_a_table_without_lines_keeps_its_columns_and_types(self):
        table = Table([Column("name", "text"), Column("at", "time")], [], 7)
        assert tables.to_csv(table) == b"name,at,as_of\r\n"
        file = parquet.read_table(io.BytesIO(tables.to_parquet(table, {})))
        assert [str(field.type) for field in file.schema] == ["string", "timestamp[us, tz=UTC]"]


WRONG = [
    (FIGURES, "request-invalid"),
    (f"{FIGURES}?period=26", "request-invalid"),
    (f"{FIGURES}?period=2025-13", "request-invalid"),
    (f"{FIGURES}?period=2025&by=name", "request-invalid"),
    (f"{FIGURES}?period=2025&sort=name", "request-invalid"),
    (f"{FIGURES}?period=2025&limit=0", "request-invalid"),
    (f"{FIGURES}?period=2025&kind=praise", "request-invalid"),
    (f"{FIGURES}?period=2025&region=99", "request-invalid"),
    (f"{FIGURES}?period=2025&format=xml", "request-invalid"),
    (f"{FIGURES}?period=2025&body=village", "request-invalid"),
    (f"{FIGURES}?period=2025&cursor=!", "cursor-invalid"),
    (f"{FIGURES}?period=2025-03&by=month", "breakdown-unknown"),
    (f"{FIGURES}?period=2025&by=kind&category=land", "breakdown-unknown"),
    (f"{FIGURES}?period=2025&by=body&body={VILLAGE}", "breakdown-unknown"),
    ("/v1/oversight/bodies/nobody", "not-found"),
    ("/v1/oversight/bodies/village?period=2025-01", "request-invalid"),
    ("/v1/oversight/worsening?period=2025&min_cases=4", "request-invalid"),
    ("/v1/oversight/worsening?period=2025-01", "councils-only"),
    ("/v1/oversight/appeals/ЖТ-1/trail", "not-found"),
]


def test_what_is_asked_wrongly_is_answered_by_a_problem(database):
    statuses = {"not-found": 404, "councils-only": 403}

    async def story():
        async with service(database) as api:
            await api.fold()
            for path, code in WRONG:
                problem(await api.get(path), statuses.get(code, 422), code)
            empty = await api.ok(f"{FIGURES}?period=2025")
            assert (empty["items"], empty["total"]["appeals"]) == ([], 0)
            village = await api.ok("/v1/oversight/bodies/village?period=2025")
            assert counted(village["months"]) == 0

    asyncio.run(story())


SAMPLES = [
    (shapes.OversightTable, shapes.TABLE),
    (shapes.OversightBody, shapes.BODY),
    (shapes.WorseTable, shapes.WORSE),
    (shapes.AppealTrail, shapes.TRAIL),
]


@pytest.mark.parametrize(("shape", "example"), SAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_examples_have_the_shape_that_they_are_examples_of(shape, example):
    msgspec.convert(example, shape)
    assert set(example) <= set(shape.__struct_fields__)


def test_every_number_says_what_it_is():
    assert tuple(shapes.MEANINGS) == NAMES
    page = Path(__file__).parents[2].joinpath("docs/oversight.md").read_text("utf-8")
    for name, meaning in shapes.MEANINGS.items():
        assert f"| `{name}` | {meaning} |\n" in page
    example = shapes.NUMBERS
    assert example["received"] == example["forwarded_away"] + example["appeals"]
    assert (
        example["answered"]
        == example["in_time"] + example["late"]
        == example["appeals"] - example["unanswered"]
    )
