"""Whatever anybody does with appeals, in whatever order: the service does what a plain model says.

The suite plays some games, always the same. ``APPEAL_GAMES=500 pytest tests/api/test_appeal_machine.py -s``
plays that many other ones and tells what became of how many steps.
"""

from __future__ import annotations

import copy
import os
import uuid
from datetime import UTC, datetime, time, timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from ledger import events
from tests.api import appeal_commands as commands
from tests.api.appeal_commands import ROUTES, SPOILS, WORDS
from tests.api.appeal_game import (
    BEGINNINGS,
    BODIES,
    COUNCIL,
    HALL,
    KINDS,
    LAND,
    MINISTRY,
    OFFICE,
    PEOPLE,
    SEEN,
    WATER,
    Game,
)
from tests.conftest import fresh
from tests.ledger import appeal_days as days
from tests.ledger import appeal_model as law

GAMES = int(os.environ.get("APPEAL_GAMES", "0"))
REVOCABLE = ((LAND, "registrar"), (WATER, "head"), (MINISTRY, "gateway"), (HALL, "gateway"))
UNSPOKEN = ("fixed", "lapsed", "overdue", "withdrawal_asked", "complained", "step_imported")
"""Steps that are not for an organisation's command to take."""
SPOKEN = tuple(name for name in law.STEPS if name not in {*UNSPOKEN, "objected"})
DETOURS = {
    "returned", "forwarded", "forwarded_in_part", "applicant_told", "withdrawal_accepted",
    "complaint_satisfied",
}  # fmt: skip
"""Steps that officials take less often."""
COURSES = {
    "answer": "taken !decided decision_drafted=explained decision_approved decided finished",
    "unheard": "taken decision_drafted=refused decision_drafted=noted decision_approved !decided",
    "refusal": "taken hearing_noticed object until=hearing_at hearing_held decision_drafted=refused "
    "decision_approved decided",
    "more time": "taken extension_drafted extension_approved extended",
    "silence": "until=due clock complain complaint_passed_up complaint_decided",
    "late": "taken decision_drafted=satisfied decision_approved until=due clock !extended decided finished",
    "objection": "complain until=due clock complaint_passed_up until=due complaint_decided",
    "mending": "returned fix taken",
    "lapse": "returned until=fix_until clock",
    "taking back": "withdraw !returned !forwarded withdrawal_accepted !complain",
    "no taking back": "taken decision_drafted=noted decision_approved withdraw !decided !complain "
    "withdrawal_declined decided",
    "question": "taken assigned assignment_answered",
    "parts": "forwarded_in_part forwarded_in_part forwarded",
}
"""Ways that appeals go: steps of officials, acts of applicants, and time; with ``!`` also a step that cannot
be taken now."""
TIMES = (time(9), time(18, 30), time(18, 30, 1), time(23, 59, 59))
MINUTES = (1, 30, 60 * 4, 60 * 9, 60 * 24, 60 * 24 * 3, 60 * 24 * 7, 60 * 24 * 16)


class Appealing(Game):
    """Applicants, officials of several bodies, front offices and the clock, each as wise as a coin."""

    @initialize(
        beginning=st.sampled_from(sorted(BEGINNINGS)),
        kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=3),
        on_paper=st.booleans(),
    )
    def begin(self, beginning, kinds, on_paper):
        self.play(self._begin(beginning))
        for number, kind in enumerate(kinds):
            self.play(self._turn_to(PEOPLE[number], kind, BODIES[number]))
        if on_paper:
            self.play(self._come(OFFICE, kinds[0], LAND, "person", PEOPLE[0]))

    # --- organisations -------------------------------------------------------------------------------

    @rule(data=st.data(), steps=st.integers(1, 5))
    def officials_go_on(self, data, steps):
        stream = self._one_case(data)
        for _ in range(steps):
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            ahead = [name for name in may if name not in DETOURS]
            if may:
                self._step(data, stream, data.draw(st.sampled_from([*ahead * 2, *may])))

    @rule(
        data=st.data(),
        courses=st.lists(
            st.tuples(st.sampled_from(sorted(COURSES)), st.integers(2, 9)), min_size=1, max_size=3
        ),
    )
    def a_case_takes_its_course(self, data, courses):
        stream = self._one_case(data)
        for course, length in courses:
            for stage in COURSES[course].split()[:length]:
                self._stage(data, stream, stage)

    def _stage(self, data, stream, stage):
        """What can happen of it; the model is asked before each step, as always."""
        case = self.model.cases[stream]
        name, _, wish = stage.removeprefix("!").partition("=")
        forced = stage.startswith("!")
        if name == "until":
            self._pass_until(getattr(case, wish) or self.clock.now)
        elif name == "clock":
            self.play(self._declare_due())
        elif name in law.ACTS:
            if (forced or case.may(law.ACTS[name])) and case.person is not None:
                self.play(self._act(stream, name, case.person))
        elif forced or case.may(name):
            said = {"outcome": wish} if wish else {}
            if name == "hearing_noticed":
                said["at"] = days.after(self.model.moment(stream, self.clock.now), 3)
            if name == "extension_drafted" and case.due is not None:
                last = days.local(case.due - timedelta(seconds=1)).date()
                later = last + timedelta(days=data.draw(st.sampled_from([1, 14, 30, 50])))
                said["until"] = days.end_of(days.worked(later))
            if "to" in events.catalogue[f"appeal.{name}"].__struct_fields__:
                said["to"] = data.draw(st.sampled_from([body for body in BODIES if body != case.body]))
            self._step(data, stream, name, **said)

    def _step(self, data, stream, name, **said):
        """A step by somebody who may take it, if anybody may."""
        command = self._command(data, stream, name, *self._who(data, stream, name), **said)
        command.seen = data.draw(st.sampled_from([None, None, self.model.cases[stream].version]))
        command.again = str(uuid.uuid4()) if data.draw(st.booleans()) else None
        self.play(self._send(self._request(command)))

    def _command(self, data, stream, name, iss, key, route, **said):
        """As somebody sensible would say it."""
        case, now = self.model.cases[stream], self.model.moment(stream, self.clock.now)
        said = commands.chosen(self._one(data), case, name, now, BODIES) | said
        if data.draw(st.integers(0, 3)) == 0:
            said = case.lawful(name, said, now) | said
        return commands.command(case, name, iss, key, route, said, now)

    def _who(self, data, stream, name):
        """Somebody who may take the step, and how; anybody where nobody may."""
        case = self.model.cases[stream]
        wanted = {case.actor(name, {})} - {None} or {*case.open_questions.values(), *case.untold.values()}
        right = [
            (iss, key)
            for (iss, key), roles in self.model.keys.items()
            if roles & law.STEPS[name].roles and iss in wanted
        ]
        iss, key = data.draw(st.sampled_from(right or sorted(self.model.keys)))
        return iss, key, self._how(data, key)

    def _how(self, data, key):
        return data.draw(st.sampled_from(ROUTES[::2] if key == "gateway" else ROUTES[1::2]))

    def _one(self, data):
        return lambda *values: data.draw(st.sampled_from(values))

    def _one_case(self, data):
        return data.draw(st.sampled_from(sorted(self.model.cases)))

    @rule(data=st.data(), fault=st.sampled_from(SPOILS))
    def an_official_errs(self, data, fault):
        stream = self._one_case(data)
        case = self.model.cases[stream]
        may = [name for name in SPOKEN if case.may(name)]
        name = data.draw(st.sampled_from([*may * 3, *SPOKEN, *UNSPOKEN]))
        if name in SPOKEN and data.draw(st.booleans()):
            iss, key, route = self._who(data, stream, name)
        else:
            iss, key = data.draw(st.sampled_from(sorted(self.model.keys)))
            route = self._how(data, key)
        command = self._command(data, stream, name, iss, key, route)
        commands.spoil(command, fault, case, self.clock.now)
        self.play(self._send(self._request(command)))

    @rule(
        data=st.data(), iss=st.sampled_from(BODIES), count=st.integers(2, 6),
        unreadable=st.none() | st.integers(0, 2),
    )  # fmt: skip
    def an_official_sends_many_lines(self, data, iss, count, unreadable):
        mine = [stream for stream, case in self.model.cases.items() if iss in case.readers()]
        streams, taken, requests = sorted(mine or self.model.cases), set(), []
        for _ in range(count):
            stream = data.draw(st.sampled_from(streams))
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            name = data.draw(st.sampled_from([*may * 3, *SPOKEN]))
            key = data.draw(st.sampled_from([key for owner, key in self.model.keys if owner == iss]))
            route = "line" if key == "gateway" else "sealed line"
            command = self._command(data, stream, name, iss, key, route)
            if any(stream.startswith(f"{other}-") or other.startswith(f"{stream}-") for other in taken):
                continue  # what a line does to a whole and another to its part has no order
            taken.add(stream)
            command.again = str(uuid.uuid4()) if data.draw(st.booleans()) else None
            requests.append(self._request(command))
        self.play(self._send(*requests, unreadable=unreadable))

    @rule(data=st.data())
    def two_officials_speak_at_once(self, data):
        stream, requests = self._one_case(data), []
        for _ in range(2):
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            name = data.draw(st.sampled_from(may or SPOKEN))
            iss, key, route = self._who(data, stream, name)
            route = route.replace("sealed line", "sealed").replace("line", "token")
            command = self._command(data, stream, name, iss, key, route)
            command.seen = data.draw(st.sampled_from([None, self.model.cases[stream].version]))
            requests.append(self._request(command))
        if None not in requests:
            self.play(self._race(*requests))

    @rule(which=st.sampled_from(REVOCABLE), sure=st.sampled_from([False, False, True]))
    def a_key_is_revoked(self, which, sure):
        if sure and self.model.keys[which]:
            self.play(self._revoke(*which))

    # --- applicants ----------------------------------------------------------------------------------

    @rule(
        number=st.sampled_from(PEOPLE), kind=st.sampled_from(KINDS * 3 + days.KINDS),
        body=st.sampled_from(BODIES * 4 + (COUNCIL, "organisation/nobody")),
        clock=st.sampled_from([None, None, None, *TIMES]),
    )  # fmt: skip
    def somebody_turns_to_a_body(self, number, kind, body, clock):
        if clock is not None:
            self._pass_until_clock(self.clock.now, clock)
        self.play(self._turn_to(number, kind, body))

    @rule(
        office=st.sampled_from([OFFICE, OFFICE, HALL, LAND, COUNCIL]), kind=st.sampled_from(KINDS),
        body=st.sampled_from((*BODIES * 3, OFFICE)), applicant=st.sampled_from(["person", "company"]),
        number=st.sampled_from((None, *PEOPLE)),
    )  # fmt: skip
    def somebody_comes_to_a_front_office(self, office, kind, body, applicant, number):
        self.play(self._come(office, kind, body, applicant, number if applicant == "person" else None))

    @rule(
        data=st.data(), act=st.sampled_from(sorted(law.ACTS)), fitting=st.booleans(),
        how=st.sampled_from(["signed", "signed", "blank", "stranger", "visiting", "visiting", "guessed"]),
        office=st.sampled_from([OFFICE, OFFICE, OFFICE, HALL, WATER, COUNCIL]),
    )  # fmt: skip
    def an_applicant_takes_a_step(self, data, act, fitting, how, office):
        stream = self._one_case(data)
        case = self.model.cases[stream]
        may = [name for name in sorted(law.ACTS) if case.may(law.ACTS[name])]
        if fitting and may:
            act = data.draw(st.sampled_from(may))
        if how in {"visiting", "guessed"}:
            self.play(self._act_for(stream, act, office, guessed=how == "guessed"))
        else:
            number = case.person or PEOPLE[0]
            number = number % len(PEOPLE) + 1 if how == "stranger" else number
            again = {"idempotency-key": str(uuid.uuid4())} if data.draw(st.booleans()) else {}
            self.play(self._act(stream, act, number, "" if how == "blank" else WORDS, again=again))

    @rule(data=st.data(), guessed=st.booleans())
    def an_applicant_follows(self, data, guessed):
        self.play(self._follow(self.model.cases[self._one_case(data)], guessed))

    # --- the same once more ----------------------------------------------------------------------------

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), same=st.booleans())
    def a_command_comes_again(self, data, same):
        request = self.requests[data.draw(st.integers(0, len(self.requests) - 1))]
        if not same and not request.command.sealed:
            changed = copy.copy(request.command)
            changed.seen = 77
            request = self._request(changed)
        self.play(self._send(request))

    @precondition(lambda self: self.forms)
    @rule(
        data=st.data(),
        how=st.sampled_from(["same", "same", "other words", "other person", "other act", "other case"]),
    )
    def a_signed_form_comes_again(self, data, how):
        form = list(self.forms)[data.draw(st.integers(0, len(self.forms) - 1))]
        signed, _, document, stream = self.forms[form]
        number = signed[0] % len(PEOPLE) + 1 if how == "other person" else signed[0]
        text = "Басқа." if how == "other words" else WORDS
        if how == "same":
            work = self._acted(stream, document, signed, {}) if stream else self._filed(document, signed)
        elif stream:
            act = "withdraw" if how == "other act" else document["act"]
            stream = self._one_case(data) if how == "other case" else stream
            work = self._act(stream, act, number, text, form)
        else:
            work = self._turn_to(number, document["kind"], document["body"], form, text)
        self.play(work)

    @precondition(lambda self: self.talons)
    @rule(data=st.data(), same=st.booleans())
    def a_front_office_asks_for_a_talon_again(self, data, same):
        self.play(self._come_again(*self.talons[data.draw(st.integers(0, len(self.talons) - 1))], same=same))

    @precondition(lambda self: self.readings)
    @rule(data=st.data())
    def an_official_asks_for_a_reading_again(self, data):
        known = self.readings[data.draw(st.integers(0, len(self.readings) - 1))]
        self.play(self._read(*known[:3], known[3:]))

    # --- reading, and old registers ----------------------------------------------------------------------

    @rule(data=st.data(), office=st.sampled_from([*BODIES, *BODIES, COUNCIL, OFFICE]), fitting=st.booleans())
    def an_official_reads(self, data, office, fitting):
        stream = self._one_case(data)
        if fitting:
            office = data.draw(st.sampled_from(sorted(self.model.cases[stream].readers())))
        self.play(self._read(office, stream, str(uuid.uuid4())))

    @rule(
        data=st.data(), iss=st.sampled_from((*BODIES, *BODIES, OFFICE)), number=st.integers(1, 2),
        fresh_rows=st.integers(0, 3), contradicts=st.sampled_from([False, False, False, True]),
    )  # fmt: skip
    def a_register_is_taken_over(self, data, iss, number, fresh_rows, contradicts):
        rows = copy.deepcopy(self.registers.get((iss, number), []))
        known = len(rows)
        for _ in range(max(fresh_rows, 1 - known)):
            rows.append(self._row(self._one(data), rows))
        if contradicts and known:
            rows[data.draw(st.integers(0, known - 1))]["activity"] = "Басқа"
        self.play(self._take_over(iss, number, rows, contradicts=contradicts and bool(known)))

    def _row(self, one, rows):
        now = self.clock.now
        last = rows[-1]["happened"] if rows else now - timedelta(days=60)
        happened = one(last, last + timedelta(days=1), now, now)
        if one(*range(10)) == 0:
            happened = one(last - timedelta(seconds=1), now + timedelta(days=1))
        step = one("registered", *law.AFTER_IMPORT, "taken", "decided", "extended", "note")
        row = {"activity": "Қадам", "step": step, "happened": happened}
        due = one(None, None, now - timedelta(days=1), now + timedelta(days=9))
        if due is not None:
            row["due"] = due
        if rows and (step == "decided" or one(*range(20)) == 0):
            row["outcome"] = "satisfied"
        return row

    # --- time ------------------------------------------------------------------------------------------

    @rule(
        minutes=st.sampled_from(MINUTES),
        clock=st.sampled_from([None, None, *TIMES]),
    )
    def time_passes(self, minutes, clock):
        then = self.clock.now + timedelta(minutes=minutes)
        if clock is None:
            self._pass_until(then)
        else:
            self._pass_until_clock(then, clock)

    def _pass_until_clock(self, day, clock):
        self._pass_until(datetime.combine(days.local(day).date(), clock, days.ALMATY).astimezone(UTC))

    @rule(data=st.data(), seconds=st.sampled_from([0, 0, -1, 1]))
    def a_term_comes_to_its_end(self, data, seconds):
        case = self.model.cases[self._one_case(data)]
        ends = [case.due, case.fix_until, case.object_until, case.hearing_at, case.forward_until]
        ends = sorted(end for end in ends if end is not None and end > self.clock.now)
        if ends:
            self._pass_until(data.draw(st.sampled_from(ends)) + timedelta(seconds=seconds))

    @rule()
    def the_clock_says_what_is_due(self):
        self.play(self._declare_due())

    @rule(
        data=st.data(), name=st.sampled_from(["overdue", "lapsed"]), seconds=st.sampled_from([0, 0, 1]),
        term=st.sampled_from([None, None, "consideration", "complaint"]),
    )  # fmt: skip
    def the_clock_says_what_may_not_be_due(self, data, name, seconds, term):
        self.play(self._declare(self._one_case(data), name, timedelta(seconds=seconds), term))


def test_whatever_is_done_with_appeals_the_service_does_as_the_model_says(postgres, migrated):
    class Run(Appealing):
        def __init__(self):
            self.enterable = fresh(postgres, migrated)
            super().__init__()

    SEEN.clear()
    phases = [phase for phase in Phase if phase is not Phase.explain]
    if os.environ.get("NOSHRINK"):
        phases.remove(Phase.shrink)
    played = settings(
        max_examples=GAMES or 12,
        stateful_step_count=50,
        derandomize=not GAMES,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Run, settings=played)
    if GAMES:
        print()  # noqa: T201
        for (name, what), count in sorted(SEEN.items()):
            print(f"{count:8} {name}: {what}")  # noqa: T201
