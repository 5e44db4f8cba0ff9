"""The examples of the OpenAPI description: one invented petition, seen from every call."""

from __future__ import annotations

import base64
from typing import Any

from ledger.domain import wording

PETITION = "6f1e9a52-8c1d-4b39-9a57-0d1f0f6f2a11"
STREAM = f"petition/{PETITION}"
BODY = "organisation/village"
TITLE = "Ауылға жаңа кітапхана"
TEXT = "Ауылымызда кітапхана жоқ.\nБалаларға оқитын орын керек."
TIME = "2026-03-02T06:00:00Z"
NULLIFIER = "Vb1fXn0m3cK2eXyqYH8b1o6x0yX9w3o9mGdJ8oFz4uE"
KID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
ENTRY = "eyJhbGciOiJFZDI1NTE5Ii….eyJpc3MiOiJvcmdhbmlzYXRpb24v….c2lnbmF0dXJl…~"
DISCLOSURE = "WyJmM2VQT2FnTVI2Rm…"
CMS = "MIIHhgYJKoZIhvcNAQcCoIIHdzCC…"
VKEY = "aiqyn.example/log+1c8a9f21+AY5zL0m3Jb…"
PROOF = (
    "c2sp.org/tlog-proof@v1\nindex 1042\n5f2mS9…=\nq0PzkW…=\n\naiqyn.example/log\n1044\nnZ8tQ…=\n\n"
    "— aiqyn.example/log HIqfIe…=\n"
)
RECEIPT = {"receipt": "aiqyn/v1", "event": ENTRY, "disclosures": [DISCLOSURE], "proof": PROOF}

SUMMARY = {
    "id": PETITION, "state": "collecting", "body": BODY, "lang": "kk", "title": TITLE, "erased": None,
    "count": 48, "needed": 50, "required": 2500, "submitted_time": TIME,
    "limited_until": "2026-03-18T19:00:00Z",
    "published_time": TIME, "collect_until": "2026-09-02T19:00:00Z", "number": None, "outcome": None,
    "position": 1042,
}  # fmt: skip
PETITIONS = {"items": [SUMMARY], "next": None, "as_of": 1043}


def _step(position: int) -> dict[str, Any]:
    return {"position": position, "time": TIME}


_NOT_YET = dict.fromkeys(
    ("rejected", "ground", "reason", "reached_at", "ended", "supported", "routed", "routed_to",
     "registered", "number", "consider_until", "consideration_overdue", "moderation_overdue", "group",
     "group_members", "author_invited", "draft", "draft_outcome", "draft_kk", "draft_ru", "discuss_until",
     "decided", "outcome", "message_kk", "message_ru", "population"),
)  # fmt: skip
PETITION_DOCUMENT = _NOT_YET | {
    "id": PETITION, "state": "collecting", "body": BODY, "lang": "kk",
    "text_hash": wording.text_hash(TITLE, TEXT), "title": TITLE, "text": TEXT, "author": "Айгерім Қ.",
    "submitted": _step(12), "moderate_until": "2026-03-31T19:00:00Z", "admitted": _step(13), "needed": 50,
    "limited_until": "2026-03-18T19:00:00Z", "needed_at": 64, "published": _step(65), "required": 2500,
    "collect_until": "2026-09-02T19:00:00Z", "files": [], "erased": {}, "count": 48, "signed": 51,
    "withdrawn": 2,
    "voided": 1, "position": 1042, "as_of": 1043, "by_region": {"71": 40, "unknown": 8},
}  # fmt: skip
GROWTH = {
    "items": [{"start": "2026-03-02T06:00:00Z", "signed": 51, "withdrawn": 2, "voided": 1, "count": 48}],
    "step": "hour", "count": 48, "as_of": 1043,
}  # fmt: skip
SIGNATURES = {
    "items": [
        {"position": 1042, "time": TIME, "state": "counted", "name": "Ерлан Б.", "region": "71",
         "reason": None, "erased": None},
        {"position": 1036, "time": TIME, "state": "counted", "name": None, "region": "71", "reason": None,
         "erased": 1040},
        {"position": 1031, "time": TIME, "state": "voided", "name": None, "region": None, "reason": "forged",
         "erased": None},
    ],
    "next": 1031, "as_of": 1043,
}  # fmt: skip
TRAIL = {
    "stream": STREAM, "version": 1,
    "items": [
        {"position": 12, "n": 1, "type": "petition.submitted", "iss": "organisation/operator", "kid": KID,
         "time": TIME, "entry": "/v1/entries/12", "receipt": "/v1/entries/12/receipt"},
    ],
    "as_of": 1043,
}  # fmt: skip
ORGANISATION = {
    "stream": BODY, "kind": "akimat", "level": "district",
    "names": {"kk": "Ауыл әкімдігі", "ru": "Акимат села"}, "region": "71", "population": 61000,
    "counted_on": None, "registered_position": 5, "registered_time": TIME,
    "keys": [{"kid": KID, "key": KEY, "roles": ["body"], "custody": "gateway", "registered_position": 6,
              "registered_time": TIME, "revoked_position": None, "revoked_time": None,
              "revoked_reason": None}],
    "as_of": 1043,
}  # fmt: skip
ORGANISATIONS = {"items": [ORGANISATION], "as_of": 1043}
ENTRY_DOCUMENT = {
    "position": 1042, "entry": ENTRY, "disclosures": [DISCLOSURE], "disclosed": {"name": "Ерлан Б."},
    "event": {"iss": "organisation/operator", "kid": KID, "time": TIME, "jti": "t1Qm…",
              "stream": f"signature/{PETITION}/{NULLIFIER}", "n": 1, "type": "petition.signed", "v": 1,
              "data": {"lang": "kk", "algorithm": "RSA-SHA256", "region": "71"}},
    "receipt": "/v1/entries/1042/receipt",
}  # fmt: skip
LOG = {
    "origin": "aiqyn.example/log", "vkey": VKEY, "operator": "organisation/operator", "size": 1044,
    "root": "nZ8tQ…=", "more_keys": ["aiqyn.example/log+7e0f4b1d+BgZt…"],
    "witnessing": {
        "cosigned_size": 1041, "cosigned_at": TIME, "behind_since": None, "halted": None,
        "witnesses": [
            {
                "url": "https://witness.example", "size": 1041, "cosigned_at": TIME, "failures": 0,
                "error": None,
            }
        ],
    },
}  # fmt: skip
FEED = (
    ": the entries of this log, by position\nretry: 2000\n\n"
    f'id: 1042\ndata: {{"position":1042,"entry":"{ENTRY}","disclosures":["{DISCLOSURE}"]}}\n\n'
)
CHECKPOINT = "aiqyn.example/log\n1044\nnZ8tQ…=\n\n— aiqyn.example/log HIqfIe…=\n"

STATEMENT = wording.statement("sign", PETITION, TITLE, wording.text_hash(TITLE, TEXT), "kk").decode()
STATEMENT_REQUEST = {"body": BODY, "title": TITLE, "text": TEXT, "lang": "kk"}
_FILING = wording.filing(PETITION, BODY, TITLE, TEXT, "kk")
STATEMENT_DOCUMENT = {
    "petition": PETITION,
    "statement": _FILING.decode(),
    "statement_base64": base64.b64encode(_FILING).decode(),
}
FILING_REQUEST = {"petition": PETITION} | STATEMENT_REQUEST | {"cms": CMS}
SIGNING_REQUEST = {"cms": CMS, "region": "71"}
WITHDRAWAL_REQUEST = {"cms": CMS}
EVENT_REQUEST = {"stream": STREAM, "type": "petition.rejected", "data": {"ground": "duplicate"},
                 "disclosures": {"reason": "Дәл осындай петиция жиналып жатыр."}}  # fmt: skip
SD_JWT = f"{ENTRY}{DISCLOSURE}~"


def recorded(stream: str, type_: str, version: int) -> dict[str, Any]:
    """The answer to a command."""
    return {
        "position": 1042, "stream": stream, "version": version, "type": type_, "time": TIME,
        "receipt": RECEIPT,
    }  # fmt: skip


SUBMITTED = recorded(STREAM, "petition.submitted", 1)
SIGNED = recorded(f"signature/{PETITION}/{NULLIFIER}", "petition.signed", 1)
SIGNATURE_WITHDRAWN = recorded(f"signature/{PETITION}/{NULLIFIER}", "signature.withdrawn", 2)
PETITION_WITHDRAWN = recorded(STREAM, "petition.withdrawn", 4)
REJECTED = recorded(STREAM, "petition.rejected", 2)
HEALTHY = {"status": "ok"}
READY = {
    "status": "ok", "size": 1044, "appends": "ok", "database": "ok",
    "projections": {"petitions": {"position": 1043, "lag": 0, "error": None}},
}  # fmt: skip
PROBLEM_PAGE = {
    "type": "/problems/already-signed", "title": "This person has already signed this petition",
    "status": 409, "meaning": "One signature for each person and petition.",
}  # fmt: skip
