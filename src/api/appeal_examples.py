"""The examples of the calls about appeals: one invented appeal, seen from every call."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from api.examples import BODY, CMS, DISCLOSURE, KID, RECEIPT, TIME, recorded
from ledger.domain import appeal_wording

STREAM = "appeal/JT-2026-00000001"
NUMBER = "ЖТ-2026-00000001"
FORM = "0f4a1f0e-2b52-4d3b-9c6e-7a0f1f2e3d4c"
CODE = "7K3MQ9X2TB"
FILE_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TEXT = "Көшемізде жарық жоқ."
DUE = "2026-03-23T19:00:00Z"
ATTACHMENT = {
    "id": "5c1b2a3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "sha256": FILE_HASH, "size": 48213,
    "media_type": "application/pdf", "ticket": "q0b2…", "name": "file",
}  # fmt: skip
STATEMENT_REQUEST = {
    "body": BODY, "kind": "application", "category": "utilities", "lang": "kk", "text": TEXT,
    "contacts": "abonent@example.kz", "region": "71", "attachments": [],
}  # fmt: skip
APPEAL_REQUEST = STATEMENT_REQUEST | {"form": FORM, "cms": CMS}
TAKEN_DOWN = STATEMENT_REQUEST | {
    "channel": "reception", "applicant": "person", "full_name": "Серікова Айгерім Болатқызы", "iin": None,
}  # fmt: skip


def _statement(content: bytes) -> dict[str, str]:
    encoded = base64.b64encode(content).decode()
    return {"form": FORM, "statement": content.decode(), "statement_base64": encoded}


FILING_STATEMENT = _statement(
    appeal_wording.filing(FORM, BODY, "application", "utilities", "71", "abonent@example.kz", TEXT, [], "kk")
)
TALON = {
    "number": NUMBER, "stream": STREAM, "code": CODE, "time": TIME, "registered_on": "2026-03-02",
    "body": BODY, "names": {"kk": "Ауыл әкімдігі", "ru": "Акимат села"},
    "received_by": "organisation/operator", "due": DUE, "position": 1042, "receipt": RECEIPT,
}  # fmt: skip
CODE_REQUEST = {"code": CODE}
_ACT = {"act": "withdraw", "text": "Мәселе шешілді.", "attachments": []}
ACT_STATEMENT_REQUEST = _ACT | {"lang": "kk"}
ACT_STATEMENT = _statement(appeal_wording.act("withdraw", FORM, STREAM, "Мәселе шешілді.", [], "kk"))
ACT_REQUEST = _ACT | {"form": FORM, "cms": CMS}
VISITOR_ACT = _ACT | CODE_REQUEST
WITHDRAWAL_ASKED = recorded(STREAM, "appeal.withdrawal_asked", 3)
CABINET_STATEMENT = _statement(appeal_wording.cabinet(FORM, datetime(2026, 3, 2, 6, tzinfo=UTC), "kk")) | {
    "at": TIME
}
CABINET_REQUEST = {"form": FORM, "at": TIME, "cms": CMS}
CASE: dict[str, Any] = {
    "number": NUMBER, "stream": STREAM, "version": 2, "state": "in-work", "body": BODY,
    "procedures": {"extension": "none", "hearing": "none", "decision": "none", "withdrawal": "none"},
    "term": {"term": "consideration", "due": DUE, "missed": False}, "hearing_at": None,
    "object_until": None, "fix_until": None, "complain_until": None, "outcome": None,
    "allowed": ["appeal.assigned", "appeal.decision_drafted"],
    "steps": [
        {"n": 2, "position": 1050, "type": "appeal.taken", "iss": BODY, "time": TIME, "facts": {},
         "texts": {"executor": "Тұрғын үй бөлімі"}, "files": [], "disclosures": [DISCLOSURE],
         "receipt": "/v1/entries/1050/receipt"},
    ],
    "readings": [
        {"position": 1049, "iss": BODY, "kid": KID, "time": TIME, "purpose": "consideration"},
    ],
}  # fmt: skip
CABINET = {"items": [{"role": "applicant", "case": CASE}], "as_of": 1051}
READING_REQUEST = {"purpose": "consideration"}
READING = {
    "reading": "b3Rl2Q0m1xXyZ_4a",
    "recorded": recorded(f"reading/{STREAM}/b3Rl2Q0m1xXyZ_4a", "disclosure.read", 1),
    "case": CASE | {"readings": []},
}
BULK_REQUEST = (
    f'{{"stream":"{STREAM}","type":"appeal.taken","disclosures":{{"executor":"Тұрғын үй бөлімі"}},'
    '"expected":1,"key":"1042-1"}\n'
)
BULK_ANSWER = (
    f'{{"line":1,"status":201,"position":1050,"stream":"{STREAM}","version":2,"type":"appeal.taken",'
    f'"time":"{TIME}","replayed":false}}\n'
)
