"""Examples for the calls that read appeals: one invented appeal to an invented body."""

from __future__ import annotations

from typing import Any

NUMBER = "ЖТ-2026-00000017"
STREAM = "appeal/JT-2026-00000017"
BODY = "organisation/water"
TIME = "2026-03-02T06:00:00Z"
DUE = "2026-03-31T19:00:00Z"

_KIND = {"kind": "application", "category": "utilities", "region": "71", "channel": "electronic"}
_PROCEDURES = {"extension": "none", "hearing": "noticed", "decision": "none", "withdrawal": "none"}
_LAST = {"last_type": "appeal.hearing_noticed", "last_time": "2026-03-10T05:12:00Z"}

QUEUE = {
    "items": [
        _KIND | _LAST | {
            "number": NUMBER, "stream": STREAM, "version": 3, "role": "handler", "state": "in-work",
            "procedures": _PROCEDURES, "registered_on": "2026-03-02", "term": "hearing",
            "due": "2026-03-17T05:00:00Z", "overdue": False, "missed": False, "arrived": 1042,
            "position": 1187,
        },
    ],
    "next": "1773723600000000.1042", "as_of": 1203,
}  # fmt: skip
TERMS = {
    "items": [
        {"number": NUMBER, "stream": STREAM, "version": 3, "state": "in-work", "term": "hearing", "of": None,
         "due": "2026-03-17T05:00:00Z", "overdue": False, "missed": False, "since": 1187},
        {"number": NUMBER, "stream": STREAM, "version": 3, "state": "in-work", "term": "consideration",
         "of": None, "due": DUE, "overdue": False, "missed": False, "since": 1042},
    ],
    "next": None, "as_of": 1203,
}  # fmt: skip
FEED = {
    "items": [
        {"position": 1187, "stream": STREAM, "number": NUMBER, "n": 3, "type": "appeal.hearing_noticed",
         "iss": BODY, "time": "2026-03-10T05:12:00Z",
         "facts": {"at": "2026-03-17T05:00:00Z", "object_until": "2026-03-12T19:00:00Z",
                   "tell_until": "2026-03-13T19:00:00Z"}},
    ],
    "next": 1203, "as_of": 1203,
}  # fmt: skip
_SUMMARY: dict[str, Any] = _KIND | {
    "number": NUMBER, "stream": STREAM, "version": 3, "state": "in-work", "applicant": "person",
    "body": BODY, "registered_on": "2026-03-02", "term": "consideration", "due": DUE, "missed": False,
    "outcome": None, "submitted": {"position": 1042, "time": TIME}, "position": 1187,
}  # fmt: skip
APPEALS = {"items": [_SUMMARY], "next": None, "as_of": 1203}
APPEAL = (
    dict.fromkeys(
        ("parent", "higher", "missed_position", "deemed_refusal", "fix_until", "complain_until",
         "forwarded_late", "decided_late", "complained_late", "complaint_decided_late", "ground", "decided",
         "finished", "withdrawn", "complained", "complaint_about", "complaint_decided", "complaint_outcome"),
    )
    | dict.fromkeys(
        ("forwards", "parts", "extensions", "assignments", "open_assignments", "objections", "remittals"), 0
    )
    | _SUMMARY
    | _LAST
    | {
        "origin": "filed", "lang": "kk", "first_body": BODY, "procedures": _PROCEDURES,
        "forward_until": "2026-03-05T19:00:00Z", "hearing_at": "2026-03-17T05:00:00Z",
        "object_until": "2026-03-12T19:00:00Z", "readings": 2, "as_of": 1203,
    }
)  # fmt: skip
