"""The second story of `aiqyn demo`: a month of appeals to several bodies, on a clock that hurries."""

from __future__ import annotations

import csv
import json
import random
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import time as clock_time
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from cli.local import HurriedService
from cli.telling import Story, StoryError
from ledger.domain.appeal import last_day, talon_number
from ledger.domain.calendar import ALMATY, official
from ledger.eds.authority import Authority, Identity
from ledger.eds.people import invent_person

AKIMAT, WATER, LAND = "organisation/aqjar", "organisation/su", "organisation/jer"
MINISTRY, OFFICE, COUNCIL = "organisation/ministry", "organisation/tsot", "organisation/kengesh"
_OFFICIALS = ("registrar", "executor", "controller", "head")
BODIES: dict[str, tuple[str, str, str, str, tuple[str, ...]]] = {
    AKIMAT: ("akimat", "district", "Ақжар ауданының әкімдігі", "Акимат района Акжар", _OFFICIALS),
    WATER: ("institution", "district", "Ақжар су арнасы", "Акжарский водоканал", _OFFICIALS),
    LAND: ("institution", "oblast", "Жер инспекциясы", "Земельная инспекция", _OFFICIALS),
    MINISTRY: ("central", "republic", "Министрлік", "Министерство", _OFFICIALS),
    OFFICE: ("front-office", "district", "Халыққа қызмет көрсету", "Фронт-офис", ("front-office",)),
    COUNCIL: ("council", "oblast", "Қоғамдық кеңес", "Общественный совет", ()),
}
PACE: dict[str, tuple[int, int]] = {AKIMAT: (3, 9), WATER: (2, 6), LAND: (12, 24)}
"""How many working days each body takes for an answer, from and to."""
ADDRESSED = (AKIMAT, AKIMAT, AKIMAT, WATER, WATER, LAND, LAND)
OUTCOMES = ("explained", "explained", "satisfied", "satisfied", "noted")
QUESTIONS = {
    "utilities": "Көшемізде кешке жарық жоқ.",
    "roads-transport": "Мектеп алдындағы жол бұзылған.",
    "land": "Жер учаскесіне өтініш бердім, жауап жоқ.",
    "housing": "Подъездің шатыры ағады.",
    "social-protection": "Жәрдемақы қашан төленеді?",
}
WORKING_DAYS = 27


@dataclass
class _Followed:
    """An appeal that the story follows by name."""

    stream: str
    code: str
    who: Identity

    @property
    def number(self) -> str:
        """As it stands in addresses."""
        return self.stream.partition("/")[2]


@dataclass
class _Plan:
    """When a body means to answer which appeal."""

    day: int
    outcome: str
    taken: bool = False


@dataclass
class _Month:
    plans: dict[str, dict[str, _Plan]] = field(default_factory=dict)
    filed: int = 0


class AppealsStory(Story):
    """A month of appeals, from the first talon to the council's table."""

    def __init__(self, console: Console, service: HurriedService, authority: Authority) -> None:
        super().__init__(console, service)
        self._hurried = service
        self._authority = authority
        self._chance = random.Random(20)  # noqa: S311 - a story, the same each time
        self._month = _Month({body: {} for body in PACE})
        self._named: dict[str, _Followed] = {}
        self._people = 0
        self._day = 0
        self._begins = service.now().astimezone(ALMATY).date()

    def play(self) -> None:
        """All steps in order. Raises :class:`~cli.telling.StoryError` at the first that does not hold."""
        self._console.print()
        self._bodies()
        self._first_day()
        self._weeks(2)
        self._hearing_noticed()
        self._weeks(6)
        self._refused_and_complained()
        self._weeks(9)
        self._complaint_upheld()
        self._weeks(WORKING_DAYS)
        self._silence()
        self._followed()
        self._audited()
        self._table()

    def addresses(self) -> None:
        """Where to look."""
        number = self._named["hearing"].number
        self._look_around(
            {
                "one appeal, what is public": f"/v1/appeals/{number}",
                "its path with its terms": f"/v1/oversight/appeals/{number}/trail",
                "all appeals": "/v1/appeals",
                "figures by body": f"/v1/oversight/appeals?period={self._period}&by=body",
            }
        )

    # --- steps ----------------------------------------------------------------------------------

    def _bodies(self) -> None:
        with self._step("The operator registers four bodies, a front office and an oversight council"):
            listed, made = self._service.home / "organisations.csv", self._service.home / "tokens.csv"
            with listed.open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(("slug", "kind", "level", "name_kk", "name_ru", "region", "roles"))
                for stream, (kind, level, kk, ru, roles) in BODIES.items():
                    rows.writerow((stream, kind, level, kk, ru, "59", " ".join(roles)))
            self._service.run("organisation", "import", str(listed), "--tokens", str(made))
            with made.open(encoding="utf-8") as file:
                self._tokens = {row["organisation"]: row["token"] for row in csv.DictReader(file)}

    def _first_day(self) -> None:
        self._next_working_day()
        with self._step("Citizens turn to them: by electronic signature, and at the front office"):
            hearing = self._file(LAND, "land", "application")
            part = self._file(AKIMAT, "utilities", "application", "Көшеде жарық та, су да жоқ.")
            taken_back = self._file(WATER, "utilities", "application")
            self._named = {"hearing": hearing, "silence": self._file(LAND, "land", "application")}
            oral = self._call(
                "POST", "/v1/front-office/appeals", expect=201, headers=self._bearer(OFFICE),
                json={
                    "body": AKIMAT, "kind": "proposal", "category": "roads-transport", "lang": "kk",
                    "text": QUESTIONS["roads-transport"], "channel": "oral", "applicant": "person",
                    "full_name": "Сапарова Мәриям", "region": "59",
                },
            ).json()  # fmt: skip
        self._note(
            f"The first talon: [bold]{talon_number(hearing.stream)}[/]; at the front office: "
            f"[bold]{oral['number']}[/], to be answered within {self._last_day(oral['due'])}."
        )
        with self._step("A part of one appeal is about water: it goes to the water company, the rest stays"):
            self._tell(AKIMAT, part, "forwarded_in_part", {"to": WATER}, {"part": "Суға қатысты сұрақ."})
            self._settle()
            child = self._call("GET", f"/v1/streams/{part.stream}-1").json()
            self._require(child["version"] == 1, "the part is an appeal of its own")
        self._note(f"It is [bold]{talon_number(part.stream + '-1')}[/] now, with the same code.")
        with self._step("An applicant takes an appeal back, and the body agrees"):
            self._act(taken_back, "withdraw", "Мәселе шешілді.")
            self._tell(WATER, taken_back, "withdrawal_accepted")

    def _hearing_noticed(self) -> None:
        followed = self._named["hearing"]
        with self._step("The land inspection means to refuse: it cannot without hearing the applicant"):
            self._tell(LAND, followed, "taken", texts={"executor": "Жер бөлімі"})
            problem = self._tell(
                LAND,
                followed,
                "decision_drafted",
                {"outcome": "refused"},
                {"draft": "Бас тарту."},
                expect=409,
            ).json()
            self._require("appeal.hearing_noticed" in problem["allowed"], "the problem names what is allowed")
            at = self._working_day(self._day + 4)
            self._tell(
                LAND, followed, "hearing_noticed", {"at": at.isoformat()},
                {"preliminary": "Бас тарту жобасы.", "place": "104-бөлме"},
            )  # fmt: skip
            self._act(followed, "object", "Құжаттарым толық.")
        self._note(f"{problem['title']}: [yellow]{problem['detail']}[/]")

    def _refused_and_complained(self) -> None:
        followed = self._named["hearing"]
        with self._step("After the hearing it refuses; the applicant complains, and the case goes up"):
            self._tell(LAND, followed, "hearing_held", {"attended": True}, {"protocol": "Хаттама."})
            self._tell(LAND, followed, "decision_drafted", {"outcome": "refused"}, {"draft": "Бас тарту."})
            self._tell(LAND, followed, "decision_approved")
            self._tell(LAND, followed, "decided", {}, {"decision": "Бас тартылды."})
            self._act(followed, "complain", "Шешіммен келіспеймін.")
            self._tell(LAND, followed, "complaint_passed_up", {"to": MINISTRY}, {"opinion": "Пікір."})

    def _complaint_upheld(self) -> None:
        followed = self._named["hearing"]
        with self._step("The ministry reads the case (which is an event) and upholds the complaint"):
            read = self._call(
                "POST", f"/v1/appeals/{followed.number}/readings", expect=201, headers=self._bearer(MINISTRY),
                json={"purpose": "complaint"},
            ).json()  # fmt: skip
            self._require("text" in read["case"]["steps"][0]["texts"], "the ministry sees the appeal")
            decision = {"decision": "Шағым қанағаттандырылды."}
            self._tell(
                MINISTRY, followed, "complaint_decided", {"outcome": "cancel-and-decide-anew"}, decision
            )

    def _weeks(self, until: int) -> None:
        """Work through the days up to one, with whatever comes in and goes out."""
        days = range(self._day + 1, until + 1)
        columns = (TextColumn("   {task.description}"), BarColumn())
        before = self._month.filed
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=len(days))
            for _ in days:
                self._next_working_day()
                progress.update(task, description=f"{self._hurried.now().astimezone(ALMATY):%d.%m.%Y}")
                for _ in range(self._chance.randint(2, 4) if self._day < WORKING_DAYS - 6 else 0):
                    body = self._chance.choice(ADDRESSED)
                    followed = self._file(body, self._chance.choice(list(QUESTIONS)))
                    outcome = self._chance.choice(OUTCOMES)
                    due = self._day + self._chance.randint(*PACE[body])
                    self._month.plans[body][followed.stream] = _Plan(due, outcome)
                for body in PACE:
                    self._work(body)
                progress.advance(task)
        today = self._hurried.now().astimezone(ALMATY)
        self._console.print(
            f"[green]✓[/] {len(days)} working days pass, to {today:%d.%m.%Y}: "
            f"{self._month.filed - before} more appeals come in"
        )

    def _work(self, body: str) -> None:
        """What a body's system does in the morning: its queue, then everything in one request."""
        self._settle()
        lines: list[dict[str, Any]] = []
        for item in self._queue(body):
            plan = self._month.plans[body].get(item["stream"])
            if plan is None or item["role"] != "handler":
                continue
            if item["state"] == "registered":
                lines.append(self._line(item, "taken", {}, {"executor": "Бөлім"}))
            elif item["state"] == "in-work" and plan.day <= self._day:
                lines += [
                    self._line(
                        item, "decision_drafted", {"outcome": plan.outcome}, {"draft": "Жауап жобасы."}
                    ),
                    self._line(item, "decision_approved"),
                    self._line(item, "decided", {}, {"decision": "Жауап."}),
                    self._line(item, "finished", {"delivery": "electronic"}),
                ]
        if lines:
            answer = self._call(
                "POST", "/v1/events/bulk",
                headers={**self._bearer(body), "content-type": "application/x-ndjson"},
                content="".join(json.dumps(line) + "\n" for line in lines),
            )  # fmt: skip
            for said in map(json.loads, answer.text.splitlines()):
                self._require(said["status"] == 201, f"line {said['line']} is recorded: {said}")

    def _silence(self) -> None:
        with self._step("Where a body stayed silent, the clock says so: a deemed refusal"):
            self._settle()
            followed = self._named["silence"]
            case = self._case(followed)
            types = [step["type"] for step in case["steps"]]
            self._require("appeal.overdue" in types, f"{followed.number} is overdue")
            self._require("appeal.complained" in case["allowed"], "its applicant may complain")

    def _followed(self) -> None:
        followed = self._named["hearing"]
        with self._step("With number and code, the applicant follows each step, and who read the case"):
            case = self._case(followed)
        table = Table(title=f"\n{case['number']}", title_justify="left", box=None)
        for column in ("position", "when", "what", "who"):
            table.add_column(column)
        steps = [(s["position"], s["time"], s["type"], s["iss"]) for s in case["steps"]]
        steps += [
            (r["position"], r["time"], f"disclosure.read ({r['purpose']})", r["iss"])
            for r in case["readings"]
        ]
        for position, when, what, who in sorted(steps):
            table.add_row(str(position), self._local(when), what, who.partition("/")[2])
        self._console.print(table)
        self._console.print()

    def _audited(self) -> None:
        with self._step("An auditor reads the whole log from outside"):
            report = self._audit()
        self._note(f"{report.replayed:,} entries, each with its hash, its issuer's key and its place.")

    def _table(self) -> None:
        self._settle()
        answer = self._call(
            "GET", f"/v1/oversight/appeals?period={self._period}&by=body", headers=self._bearer(COUNCIL)
        ).json()
        table = Table(title=f"\nWhat the council sees: {self._period}", title_justify="left", box=None)
        columns = ("received", "answered", "in_time", "late", "deemed_refusals", "median_days", "p90_days")
        table.add_column("body")
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for row in answer["items"]:
            shown = ["–" if row.get(column) is None else str(row[column]) for column in columns]
            table.add_row(BODIES[row["body"]][3] if row["body"] in BODIES else row["body"], *shown)
        self._console.print(table)
        self._console.print(f"[dim]as of position {answer['as_of']}[/]\n")

    # --- how a step acts --------------------------------------------------------------------------

    @property
    def _period(self) -> str:
        return f"{self._begins:%Y}"

    def _file(
        self, body: str, category: str, kind: str = "application", text: str | None = None
    ) -> _Followed:
        self._people += 1
        who = self._authority.person(invent_person(self._people))
        asked = {
            "body": body, "kind": kind, "category": category, "lang": "kk",
            "text": text or QUESTIONS[category], "region": "59",
        }  # fmt: skip
        prepared = self._call("POST", "/v1/appeals/statement", json=asked).json()
        signed = self._signed(who, prepared["statement"].encode())
        talon = self._call(
            "POST", "/v1/appeals", expect=201, json={**asked, "form": prepared["form"], "cms": signed}
        ).json()
        self._month.filed += 1
        return _Followed(talon["stream"], talon["code"], who)

    def _act(self, followed: _Followed, act: str, text: str) -> None:
        path = f"/v1/appeals/{followed.number}/acts"
        asked = {"act": act, "text": text}
        prepared = self._call("POST", f"{path}/statement", json={**asked, "lang": "kk"}).json()
        signed = self._signed(followed.who, prepared["statement"].encode())
        self._call("POST", path, expect=201, json={**asked, "form": prepared["form"], "cms": signed})

    def _tell(
        self,
        body: str,
        followed: _Followed,
        type_: str,
        data: dict[str, Any] | None = None,
        texts: dict[str, str] | None = None,
        *,
        expect: int = 201,
    ) -> httpx.Response:
        return self._post_event(body, followed.stream, f"appeal.{type_}", data, texts, expect=expect)

    @staticmethod
    def _line(
        item: dict[str, Any],
        type_: str,
        data: dict[str, Any] | None = None,
        texts: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        said = {"data": data or {}, "disclosures": texts or {}}
        return {"stream": item["stream"], "type": f"appeal.{type_}", "key": str(uuid.uuid4()), **said}

    def _queue(self, body: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self._call("GET", f"/v1/queue?limit=100{cursor}", headers=self._bearer(body)).json()
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={quote(page['next'])}"

    def _case(self, followed: _Followed) -> dict[str, Any]:
        case: dict[str, Any] = self._call(
            "POST", f"/v1/appeals/{followed.number}/case", json={"code": followed.code}
        ).json()
        return case

    def _settle(self) -> None:
        """Until the projections know all that was recorded."""
        for _ in range(600):
            ready = self._call("GET", "/readyz").json()
            if all(p["position"] == ready["size"] - 1 for p in ready["projections"].values()):
                return
            time.sleep(0.05)
        raise StoryError("the projections do not keep up.")

    def _next_working_day(self) -> None:
        self._day += 1
        self._hurried.put_forward(self._working_day(self._day))

    def _working_day(self, number: int) -> datetime:
        """10:00 in Almaty on the ``number``-th working day of the story."""
        day = self._begins
        calendar = official()
        while number:
            day += timedelta(days=1)
            number -= calendar.is_working_day(day, known_on=self._begins)
        return datetime.combine(day, clock_time(10), ALMATY)

    @staticmethod
    def _local(moment: str) -> str:
        return f"{datetime.fromisoformat(moment).astimezone(ALMATY):%d.%m.%Y %H:%M}"

    @staticmethod
    def _last_day(due: str) -> str:
        """Terms end with a day: before the midnight that follows it."""
        return f"{last_day(datetime.fromisoformat(due)):%d.%m.%Y}"
