"""The first story of `aiqyn demo`: one petition, from its first word to its audited count."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cli.local import LocalService
from cli.telling import Story, StoryError
from ledger.domain import wording
from ledger.domain.regions import NAMES
from ledger.eds.authority import Authority, Identity
from ledger.eds.people import invent_person
from ledger.receipt import Receipt
from ledger.tlog.note import VerifierKey

TITLE = "Ауылға жаңа кітапхана салу туралы"
TEXT = (
    "Ауылымызда кітапхана жоқ, балаларға оқитын және бас қосатын орын керек.\n"
    "Мәдениет үйінің бос тұрған қанатын кітапханаға беруді сұраймыз."
)
REGIONS = ("11", "11", "11", "71", "39", "59", "75", None)
"""What people declare, in turn; the last ones declare nothing."""
CULTURE, VILLAGE = "organisation/culture", "organisation/aqbulaq"
IN_FLIGHT = 24
"""How many people sign at the same time."""


class PetitionStory(Story):
    """One petition from the first signature to the decision."""

    def __init__(self, console: Console, service: LocalService, authority: Authority, people: int) -> None:
        super().__init__(console, service)
        self._people = people
        self._petition = str(uuid.uuid4())
        self._authority = authority
        self._receipts: list[bytes] = []

    def play(self) -> None:
        """All steps in order. Raises :class:`StoryError` at the first that does not hold."""
        self._organisations()
        self._filed()
        self._admitted()
        self._limited()
        self._refused()
        self._collected()
        self._considered()
        self._receipts_verify()
        self._audited()
        self._picture()

    def addresses(self) -> None:
        """Where to look."""
        petition = f"/v1/petitions/{self._petition}"
        self._look_around(
            {
                "the petition and its count": petition,
                "who signed, masked": f"{petition}/signatures",
                "its path, event by event": f"{petition}/trail",
                "growth by hour": f"{petition}/growth?step=hour",
                "the newest checkpoint": "/log/checkpoint",
                "the API": "/openapi.json",
                "metrics": "/metrics",
            }
        )
        key = self._call("GET", "/v1/log").json()["vkey"]
        self._console.print(
            f"Audit it yourself: [bold]aiqyn audit {self._url} --log-key {key}[/]", soft_wrap=True
        )

    def file(self) -> str:
        """Organisations, and a petition that waits for moderation; its id."""
        self._organisations()
        self._filed()
        return self._petition

    def open_collection(self) -> bytes:
        """A petition that everybody can sign now; the bytes to sign."""
        self.file()
        self._admitted()
        self._limited()
        return self._statement()

    @property
    def signing_path(self) -> str:
        """Where signatures are posted."""
        return f"/v1/petitions/{self._petition}/signatures"

    def count(self) -> int:
        """The published count."""
        return int(self._read()["count"])

    def wait_for_count(self, count: int) -> None:
        """Until the projection has folded as many. Raises :class:`StoryError` after a minute."""
        for _ in range(600):
            if self.count() == count:
                return
            time.sleep(0.1)
        raise StoryError(f"the published count is {self.count()}, not {count}.")

    # --- steps --------------------------------------------------------------------------------

    def _organisations(self) -> None:
        with self._step("The operator registers the authorised body and the akimat of a village"):
            self._service.run(
                "organisation", "add", "culture", "--kind", "authorised-body", "--level", "republic",
                "--name-kk", "Мәдениет және ақпарат министрлігі",
                "--name-ru", "Министерство культуры и информации", "--role", "moderator", "--role", "body",
            )  # fmt: skip
            self._service.run(
                "organisation", "add", "aqbulaq", "--kind", "akimat", "--level", "district",
                "--region", "11", "--population", "6000",
                "--name-kk", "Ақбұлақ ауданының әкімдігі", "--name-ru", "Акимат района Акбулак",
                "--role", "body",
            )  # fmt: skip
            for organisation in (CULTURE, VILLAGE):
                text = self._service.run("token", "create", organisation, "--label", "demo")
                self._tokens[organisation] = text.split()[-1]
        self._note("6,000 people live there: the threshold of 5 % is 300 signatures.")

    def _filed(self) -> None:
        with self._step("A citizen files a petition and signs its whole text"):
            asked = {"petition": self._petition, "body": VILLAGE, "title": TITLE, "text": TEXT, "lang": "kk"}
            filing = self._call("POST", "/v1/petitions/statement", json=asked).json()
            statement = base64.b64decode(filing["statement_base64"])
            self._require(
                statement == wording.filing(self._petition, VILLAGE, TITLE, TEXT, "kk"),
                "the statement to sign is the one of the specification",
            )
            signed = self._signed(self._person(0), statement)
            self._call("POST", "/v1/petitions", json={**asked, "cms": signed}, expect=201)

    def _admitted(self) -> None:
        with self._step("The authorised body lets it through: reachable by its link until 50 people sign"):
            self._tell(CULTURE, "petition.admitted")

    def _limited(self) -> None:
        with self._step("50 people sign by the link, and the petition becomes public"):
            self._sign(range(1, 51))
            self.wait_for("collecting")
        required = self._read()["required"]
        self._require(required == 300, f"the threshold is 300, not {required}")
        self._note(f"Published. The threshold is frozen on the petition: {required}.")

    def _refused(self) -> None:
        with self._step("Who may not sign is told why, and is not counted"):
            before = self._read()["count"]
            unknown = Authority.create("rsa").person(invent_person(5000))
            other = wording.statement("sign", str(uuid.uuid4()), TITLE, wording.text_hash(TITLE, TEXT), "kk")
            tries: list[tuple[str, Identity, bytes]] = [
                ("a second signature of the same person", self._person(1), self._statement()),
                (
                    "a certificate of an unknown authority",
                    unknown,
                    self._statement(),
                ),
                ("a company's certificate", self._authority.company(), self._statement()),
                ("a signature under another petition", self._person(5001), other),
            ]
            told = []
            for what, identity, statement in tries:
                answer = self._post_signature(self._http, identity, statement, None)
                self._require(400 <= answer.status_code < 500, f"{what} is refused")
                told.append((what, answer.json()["title"]))
            self._require(self._read()["count"] == before, "nothing of it was counted")
        for what, title in told:
            self._note(f"{what}: [yellow]{title}[/]")

    def _collected(self) -> None:
        rest = range(51, self._people + 1)
        with self._step(f"{len(rest)} more people sign, {IN_FLIGHT} at a time"):
            started = time.monotonic()
            self._sign(rest)
            rate = len(rest) / (time.monotonic() - started)
            self.wait_for("supported")
        page = self._read()
        entry = self._call("GET", f"/v1/entries/{page['reached_at']}").json()
        self._require(entry["event"]["type"] == "petition.signed", "a signature reached the threshold")
        self._note(
            f"{rate:,.0f} signatures a second with this one client. The threshold was reached at position "
            f"{page['reached_at']}, the 300th signature."
        )

    def _considered(self) -> None:
        with self._step("Routed, registered, discussed in a working group and in public, decided"):
            self._tell(CULTURE, "petition.routed", {"body": VILLAGE})
            self._tell(VILLAGE, "petition.registered", {"number": "2026-1"})
            self._tell(VILLAGE, "petition.working_group_formed", {"members": 7, "author_invited": True})
            self._tell(
                VILLAGE,
                "petition.draft_published",
                {"outcome": "satisfied"},
                {"draft_kk": "Қанат кітапханаға беріледі.", "draft_ru": "Крыло будет передано библиотеке."},
            )
            self._tell(
                VILLAGE,
                "petition.decided",
                {"outcome": "satisfied"},
                {
                    "message_kk": "Петиция қанағаттандырылды: кітапхана осы жылы ашылады.",
                    "message_ru": "Петиция удовлетворена: библиотека откроется в этом году.",
                },
            )
            self.wait_for("decided")

    def _receipts_verify(self) -> None:
        with self._step(f"All {len(self._receipts)} receipts verify offline, with the log's key alone"):
            key = VerifierKey.parse(self._call("GET", "/v1/log").json()["vkey"])
            positions = {Receipt.parse(receipt).verify(key).position for receipt in self._receipts}
            self._require(len(positions) == self._people, "each receipt stands for its own position")

    def _audited(self) -> None:
        with self._step("An auditor reads the whole log from outside and recounts"):
            report = self._audit()
            self._require(report.signatures == self._people, "the recount gives as many as signed")
            page = self._read()
            self._require(page["count"] == report.signatures, "the published count equals the recount")
            self._require(sum(page["by_region"].values()) == page["count"], "the regions add up to the total")
        self._note(
            f"{report.replayed:,} entries: every hash, checkpoint, signature and rule. The API says "
            f"[bold]{page['count']}[/], the log says [bold]{report.signatures}[/]."
        )

    def _picture(self) -> None:
        page = self._read()
        table = Table(title=f"\n{page['title']}", title_justify="left", show_header=False, box=None)
        table.add_column(justify="right")
        table.add_column()
        table.add_column(justify="right")
        most = max(page["by_region"].values())
        for region, count in sorted(page["by_region"].items(), key=lambda item: -item[1]):
            table.add_row(
                NAMES.get(region, region),
                "[cyan]" + "█" * max(1, round(32 * count / most)) + "[/]",
                str(count),
            )
        table.add_row("[bold]total", "", f"[bold]{page['count']}")
        self._console.print(table)
        self._console.print(
            f"[dim]as of position {page['as_of']}; required {page['required']}; state {page['state']}[/]\n"
        )

    # --- how a step acts ----------------------------------------------------------------------

    def _read(self) -> dict[str, Any]:
        page: dict[str, Any] = self._call("GET", f"/v1/petitions/{self._petition}").json()
        return page

    def _tell(
        self,
        organisation: str,
        type_: str,
        data: dict[str, Any] | None = None,
        disclosures: dict[str, str] | None = None,
    ) -> None:
        self._post_event(organisation, f"petition/{self._petition}", type_, data, disclosures)

    def wait_for(self, state: str) -> None:
        """Until the projection shows it: what time and numbers bring about comes by itself."""
        for _ in range(200):
            if self._read()["state"] == state:
                return
            time.sleep(0.1)
        raise StoryError(f"after 20 seconds the petition is {self._read()['state']}, not {state}.")

    def _person(self, number: int) -> Identity:
        return self._authority.person(invent_person(number))

    def _statement(self) -> bytes:
        return self._call("GET", f"/v1/petitions/{self._petition}/statement?lang=kk").content

    def _post_signature(
        self, http: httpx.Client, identity: Identity, statement: bytes, region: str | None
    ) -> httpx.Response:
        body = {"cms": self._signed(identity, statement)} | ({"region": region} if region else {})
        return http.post(self.signing_path, json=body)

    def _sign(self, numbers: range) -> None:
        statement = self._statement()
        bodies = []
        for number in numbers:
            region = REGIONS[number % len(REGIONS)]
            body: dict[str, str] = {"cms": self._signed(self._person(number), statement)}
            bodies.append(body | ({"region": region} if region else {}))
        columns = (TextColumn("   signing"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=len(bodies))
            asyncio.run(self._sign_all(bodies, lambda: progress.advance(task)))

    async def _sign_all(self, bodies: list[dict[str, str]], signed: Callable[[], None]) -> None:
        waiting = iter(bodies)

        async def hand(http: httpx.AsyncClient) -> None:
            for body in waiting:
                answer = await http.post(self.signing_path, json=body)
                if answer.status_code != httpx.codes.CREATED:
                    raise StoryError(f"a signature was answered {answer.status_code}: {answer.text[:500]}")
                self._receipts.append(json.dumps(answer.json()["receipt"]).encode())
                signed()

        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            await asyncio.gather(*(hand(http) for _ in range(IN_FLIGHT)))
