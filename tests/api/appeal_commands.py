"""What organisations say of appeals, as exact bytes: as somebody sensible would say it, or with a fault."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from ledger import events
from ledger.errors import AiqynError
from ledger.statement import Disclosure, seal
from tests.ledger import appeal_days as days
from tests.ledger import appeal_model as law

WORDS = "Мәтін."
ROUTES = ("token", "sealed", "line", "sealed line")
"""Plain JSON or sealed with a key of their own; in a request of its own or as a line of many."""
WRONG_FACTS = ("another term", "another lateness", "another number")
FAULTS = (
    "nothing", "unknown field", "wrong type", "missing text", "further text", "blank text", *WRONG_FACTS,
    "stale", "ahead", "another stream", "praise", "forged", "another's token", "slow clock", "fast clock",
    "little slow", "little fast",
)  # fmt: skip
"""What can be wrong with a command, besides who says it and when."""
NUMBERS = {"number", "assignment", "of"}
NOWHERE = "appeal/JT-2020-00000001"


@dataclass
class Command:
    """What an organisation says, and what its maker knows to be wrong with its form."""

    iss: str
    key: str
    stream: str
    name: str
    said: dict
    route: str
    texts: dict
    at: datetime
    """When a sealed event says that it happened."""
    n: int
    """Which event of its stream a sealed one says to be."""
    seen: int | None = None
    """The version in ``If-Match``."""
    again: str | None = None
    """The idempotency key."""
    spoil: str = "nothing"
    wrong: set = field(default_factory=set)
    token: str | None = None
    """Whose token it comes under, where that is not its issuer's."""

    @property
    def sealed(self) -> bool:
        return self.route.startswith("sealed")

    @property
    def line(self) -> bool:
        return self.route.endswith("line")


@dataclass(frozen=True)
class Request:
    """The exact bytes of a command: sent again, it is the same command."""

    command: Command
    content: bytes
    headers: tuple = ()

    @property
    def scope(self) -> tuple:
        """Whose idempotency key it is, and the key."""
        sealed = "sealed " if self.command.route == "sealed" else ""
        return f"{sealed}{self.command.iss}", self.command.again

    @property
    def identity(self) -> tuple:
        """What makes it the same request."""
        return self.headers, self.content


def command(case, name, iss, key, route, said, now):
    """A well-formed command; a sealed one says all that the law reckons, as nobody fills it in."""
    if route.startswith("sealed"):
        said = case.lawful(name, said, now) | said
        if name == "assigned":
            said.setdefault("answer_until", case.due or now + timedelta(days=1))
    cls = events.catalogue[f"appeal.{name}"]
    texts = {text: [] if text == "attachments" else WORDS for text in sorted(cls.public | cls.restricted)}
    said = {field_: value for field_, value in said.items() if value is not None}
    return Command(iss, key, case.stream, name, said, route, texts, now, case.version + 1)


def chosen(one, case, name, now, bodies):
    """The fields that the law leaves open, as ``one(*values)`` chooses them: mostly sensible."""
    others = [body for body in bodies if body != case.body]
    match name:
        case "returned":
            return {"ground": "unclear"}
        case "forwarded" | "forwarded_in_part" | "complaint_passed_up":
            return {"to": one(*others * 3, case.body, "organisation/council", "organisation/nobody")}
        case "assigned":
            until = one(None, None, None, case.due, now, now + timedelta(days=1), now + timedelta(days=20))
            given = {} if until is None else {"answer_until": until}
            return {"to": one(*others * 3, case.body, "organisation/office")} | given
        case "assignment_answered":
            return {"assignment": one(*case.open_questions, case.questions + 1)}
        case "extension_drafted":
            last = days.local((case.due or now) - timedelta(seconds=1)).date()
            later = one(1, 7, 20, 30, 45, 55, 58, 59, 60, 61, 62, 63, 0)
            until = days.end_of(last + timedelta(days=later))
            until = one(until, days.end_of(days.worked(last + timedelta(days=later))))
            return {"ground": "complexity", "until": until + timedelta(seconds=one(0, 0, 0, 0, 0, 1))}
        case "applicant_told":
            return {"of": one(*case.untold, case.version), "way": "post"}
        case "hearing_noticed":
            hours = one(0, 0, 5, 48, -1)
            return {"at": days.after(now, 3) + timedelta(hours=hours)}
        case "hearing_held":
            return {"attended": one(True, False)}
        case "decision_drafted":
            outcome = one("explained", "satisfied", "refused", "noted", "terminated")
            grounded = (outcome == "terminated") != (one(*range(8)) == 0)
            return {"outcome": outcome} | ({"ground": "subject-ceased"} if grounded else {})
        case "finished":
            return {"delivery": "post"}
        case "complaint_decided":
            return {"outcome": one(*sorted(law.OPENING | law.LEAVING | law.CANCELLING | {"satisfy"}))}
        case "overdue":
            return {"term": case.term or "consideration", "due": case.due or now}
        case "lapsed":
            return {"fix_until": case.fix_until or now}
        case "step_imported":
            return {"step": "note", "activity": "Ескерту", "happened": now}
        case _:
            return {}


def has_room(command, fault):
    """Whether something can be wrong with a command in this way."""
    match fault:
        case "unknown field" | "further text" | "praise":
            return not command.sealed
        case "wrong type":
            return not command.sealed and bool(command.said)
        case "missing text" | "blank text":
            return bool(set(command.texts) - {"attachments"})
        case "another term":
            return bool(law.TERMS & set(command.said))
        case "another lateness":
            return "late" in command.said
        case "another number":
            return bool(NUMBERS & set(command.said))
        case "another's token":
            return command.route == "sealed line"
        case "forged" | "slow clock" | "fast clock" | "little slow" | "little fast":
            return command.sealed
        case _:
            return True


def spoil(command, fault, case, now):
    """Put a fault into a command that has room for it."""
    command.spoil, sealed = fault, command.sealed
    names = sorted(set(command.texts) - {"attachments"})
    match fault:
        case "unknown field":
            command.said["surprise"] = 1
            command.wrong.add("command-invalid")
        case "wrong type":
            command.said[max(command.said)] = []
            command.wrong.add("command-invalid")
        case "missing text":
            # A sealed one loses it on its way: the event still commits to it.
            command.wrong.add("disclosure-mismatch" if sealed else "command-invalid")
            if not sealed:
                del command.texts[names[0]]
        case "further text":
            command.texts["surprise"] = WORDS
            command.wrong.add("command-invalid")
        case "blank text":
            command.texts[names[0]] = ""
            command.wrong.add("command-invalid")
        case "another term":
            command.said[min(law.TERMS & set(command.said))] += timedelta(seconds=1)
        case "another lateness":
            command.said["late"] = not command.said["late"]
        case "another number":
            command.said[min(NUMBERS & set(command.said))] += 1
        case "stale" | "ahead":
            off = 1 if fault == "ahead" else -1
            command.n += off
            command.seen = None if sealed else case.version + off
        case "another stream":
            command.stream = NOWHERE
        case "praise":
            command.name = "praised"
        case "forged":
            command.wrong.add("event-signature-invalid")
        case "another's token":
            command.token = (
                "organisation/roads" if command.iss != "organisation/roads" else "organisation/land"
            )
            command.wrong.add("request-invalid")
        case "slow clock" | "fast clock" | "little slow" | "little fast":
            seconds = 121 if "clock" in fault else 120
            command.at = now + timedelta(seconds=-seconds if "slow" in fault else seconds)


def request(command, bearer, keys):
    """The bytes that say it; None where nobody could say it so. ``keys``: (organisation, name) → key."""
    if command.sealed:
        content = _sealed(command, keys.get((command.iss, command.key)))
        if content is None:
            return None
        document, headers = {"event": content.decode()}, {"content-type": "application/sd-jwt"}
    else:
        document = {
            "stream": command.stream, "type": f"appeal.{command.name}", "data": command.said,
            "disclosures": command.texts,
        }  # fmt: skip
        content, headers = msgspec.json.encode(document), bearer | {"content-type": "application/json"}
    if command.line:
        document |= {"expected": command.seen} if command.seen is not None else {}
        document |= {"key": command.again} if command.again else {}
        return Request(command, msgspec.json.encode(document))
    headers |= {"if-match": f'"{command.seen}"'} if command.seen is not None else {}
    headers |= {"idempotency-key": command.again} if command.again else {}
    return Request(command, content, tuple(sorted(headers.items())))


def _sealed(command, key):
    cls = events.catalogue.get(f"appeal.{command.name}")
    if cls is None or key is None:
        return None
    given = [Disclosure.make(name, value) for name, value in command.texts.items()]
    try:
        event = seal(
            msgspec.convert(command.said, cls), iss=command.iss, stream=command.stream, n=command.n,
            at=command.at, key=key, disclosures=given,
        )  # fmt: skip
    except (AiqynError, msgspec.ValidationError):
        return None
    entry = event.entry
    if command.spoil == "forged":
        signed = entry.rpartition(b".")[0]
        entry = signed + b"." + base64.urlsafe_b64encode(bytes(64)).rstrip(b"=") + b"~"
    lost = 1 if command.spoil == "missing text" and command.wrong else 0
    return entry + b"".join(one.encoded.encode() + b"~" for one in given[lost:])
