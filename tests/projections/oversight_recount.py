"""The council's figures counted slowly and plainly, appeal by appeal, from what the log says."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from ledger import events

BEGINNINGS = (events.AppealSubmitted, events.AppealSplitOff, events.AppealImported)
IMPORTED = (events.AppealImported, events.AppealStepImported)
ENDS = {
    "cancel": "cancelled", "cancel-and-decide-anew": "cancelled_anew", "oblige": "obliged",
    "dismiss": "dismissed", "leave-unconsidered": "left_unconsidered", "remit": "remitted",
    "satisfy": "upheld",
}  # fmt: skip


def local_day(facts, iat):
    moment = datetime.fromtimestamp(iat, UTC)
    if isinstance(facts, IMPORTED):
        moment = facts.happened
    try:
        return moment.astimezone(ZoneInfo("Asia/Almaty")).date()
    except OverflowError:
        return date.max if moment.year > 5000 else date.min


def stays(history):
    """Each stay as a dict, from ``(stream, facts, iat)`` in the order of the log."""
    of_stream = defaultdict(list)
    for stream, facts, iat in history:
        if re.fullmatch(r"appeal/[A-Za-z0-9_-]+", stream):
            of_stream[stream].append((facts, iat))
    for told in of_stream.values():
        while told and not isinstance(told[0][0], BEGINNINGS):
            told.pop(0)
        if told:
            yield from of_appeal(
                told[0][0], [one for one in told if not isinstance(one[0], BEGINNINGS)], told[0]
            )


def of_appeal(start, rest, first):
    origin = {"appeal.submitted": "filed", "appeal.split_off": "split", "appeal.imported": "imported"}
    facts_of_all = {
        "kind": start.kind, "category": start.category, "region": start.region or "unknown",
        "channel": start.channel, "origin": origin[start.type],
    }  # fmt: skip
    pieces = [[first]]
    for one in rest:
        pieces[-1].append(one)
        if isinstance(one[0], events.AppealForwarded):
            pieces.append([one])
    forwards = 0
    for index, piece in enumerate(pieces):
        stay, forwards = of_stay(piece, index > 0, index < len(pieces) - 1, forwards)
        yield facts_of_all | stay


def of_stay(piece, came_forwarded, goes_on, forwards):
    start = piece[0][0]
    body = start.to if came_forwarded else start.body
    registered, state, n = start.registered_on, "open", Counter()
    forwards += came_forwarded
    outcome = answered_on = None
    term_known, ever_late, due = True, False, getattr(start, "due", None)
    inside = piece[1:] if came_forwarded else piece
    for facts, iat in inside:
        step = getattr(facts, "step", None)
        name = facts.type.removeprefix("appeal.")
        if isinstance(facts, IMPORTED):
            due = facts.due or due if not isinstance(facts, events.AppealImported) else facts.due
            name = f"imported {step}"
        match name:
            case "fixed":
                registered, state = facts.registered_on, "open"
            case "returned" | "imported returned":
                state = "returned"
                n["returns"] += 1
            case "lapsed":
                state = "lapsed"
            case "withdrawal_accepted" | "imported withdrawn":
                state = "withdrawn"
            case "imported registered" | "imported taken" | "imported fixed":
                state = "open"
            case "imported forwarded":
                state, forwards = "open", forwards + 1
            case "extended" | "imported extended":
                n["extended"] = 1
            case "overdue" if facts.term == "consideration":
                n["deemed_refusals"] = 1
            case "overdue":
                n["complaints_overdue"] += 1
            case "hearing_held":
                n["hearings"] += 1
                n["hearings_unattended"] += not facts.attended
            case "imported hearing-held":
                n["hearings"] += 1
            case "decided":
                state, outcome, answered_on, term_known = (
                    "answered",
                    facts.outcome,
                    local_day(facts, iat),
                    True,
                )
                ever_late = ever_late or facts.late
            case "imported decided":
                outcome = getattr(facts, "outcome", None) or "unknown"
                state, answered_on, term_known = "answered", local_day(facts, iat), due is not None
                ever_late = ever_late or (term_known and facts.happened >= due)
            case "complained":
                n["complaints"] += 1
                n["complaints_pending"] += 1
                n["complaints_about_silence"] += facts.about == "silence"
            case "imported complained":
                n["complaints"] += 1
                n["complaints_pending"] += 1
                n["complaints_about_silence"] += state != "answered"
            case "complaint_satisfied" | "complaint_decided" | "imported complaint-decided":
                if n["complaints_pending"] == 0:
                    n["complaints"] += 1
                else:
                    n["complaints_pending"] -= 1
                if name == "complaint_satisfied":
                    end = "complaints_satisfied"
                elif name == "complaint_decided":
                    end = ENDS[facts.outcome]
                else:
                    end = "complaints_unknown"
                n[end] += 1
                if name == "complaint_decided" and facts.due is not None:
                    state, n["reopened"] = "open", 1
                elif end not in {"dismissed", "left_unconsidered"} and state in {"open", "returned"}:
                    state = "closed"
            case "imported finished" if state in {"open", "returned"}:
                state = "closed"
    n["received"] = 1
    days = None
    if goes_on:
        n["forwarded_away"] = 1
        n["forwarded_late"] = int(piece[-1][0].late)
    else:
        n["appeals"] = n[state] = 1
        n["unanswered"] = int(state != "answered")
        n["forwarded_over_twice"] = int(forwards > 2)
        if state == "answered":
            n["late" if ever_late else "in_time" if term_known else "term_unknown"] = 1
            n["outcome_unknown" if outcome == "unknown" else outcome] = 1
            days = max((answered_on - registered).days, 0)
    return {
        "body": body,
        "month": f"{registered.year:04}-{registered.month:02}",
        "n": n,
        "days": days,
    }, forwards


def cells(history):
    """``(period, dimension, value, body)`` → numbers, median and ninetieth percentile."""
    sums, days = defaultdict(Counter), defaultdict(list)
    for stay in stays(history):
        for period in (stay["month"], stay["month"][:4]):
            for dimension in ("", "kind", "category", "region", "channel", "origin"):
                for body in ("", stay["body"]):
                    if dimension and body and len(period) > 4:
                        continue
                    cell = period, dimension, stay[dimension] if dimension else "", body
                    sums[cell].update(stay["n"])
                    if stay["days"] is not None and not (dimension and body):
                        days[cell].append(stay["days"])
    return {
        cell: {name: number for name, number in counted.items() if number}
        | {"median_days": rank(days[cell], 50), "p90_days": rank(days[cell], 90)}
        for cell, counted in sums.items()
    }


def rank(days, percent):
    """Nearest-rank."""
    return sorted(days)[math.ceil(percent * len(days) / 100) - 1] if days else None
