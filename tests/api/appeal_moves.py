"""The moves of a game: what applicants, officials, front offices and the clock do, each as wise as a coin.

Whatever is left to chance is asked of ``pick``, which chooses one of its arguments.
"""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, time, timedelta

from ledger import events
from tests.api import appeal_commands as commands
from tests.api.appeal_commands import FAULTS, ROUTES, WORDS, WRONG_FACTS
from tests.api.appeal_game import (
    BODIES,
    COUNCIL,
    HALL,
    KINDS,
    LAND,
    MINISTRY,
    OFFICE,
    PEOPLE,
    WATER,
    Game,
)
from tests.ledger import appeal_days as days
from tests.ledger import appeal_model as law

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
    "unheard": "taken !decision_drafted=refused decision_drafted=noted decision_approved !decided",
    "refusal": "taken hearing_noticed object !hearing_held until=hearing_at hearing_held "
    "decision_drafted=refused decision_approved decided",
    "heard in vain": "taken hearing_noticed until=hearing_at hearing_held decision_drafted=refused "
    "decision_approved hearing_noticed !decided",
    "more time": "taken extension_drafted extension_approved extended",
    "silence": "until=due clock complain complaint_passed_up complaint_decided",
    "late": "taken decision_drafted=satisfied decision_approved until=due clock !extended decided finished",
    "objection": "complain until=due clock complaint_passed_up until=due complaint_decided",
    "mending": "returned fix taken",
    "lapse": "returned until=fix_until !fix clock",
    "taking back": "withdraw !returned !forwarded withdrawal_accepted !complain",
    "no taking back": "taken decision_drafted=noted decision_approved withdraw !decided !complain "
    "withdrawal_declined decided",
    "question": "taken assigned assignment_answered",
    "parts": "forwarded_in_part forwarded_in_part forwarded",
    "news": "taken hearing_noticed applicant_told returned applicant_told",
}
"""Ways that appeals go: steps of officials, acts of applicants, and time; with ``!`` also a step that cannot
be taken now."""
TIMES = (time(9), time(18, 30), time(18, 30, 1), time(23, 59, 59))
MINUTES = (1, 30, 60 * 4, 60 * 9, 60 * 24, 60 * 24 * 3, 60 * 24 * 7, 60 * 24 * 16)


class Moves(Game):
    """A game and what can be done in it."""

    def open_with(self, pick):
        """Some appeals, and what becomes of them at first."""
        for number, body in list(zip(PEOPLE, BODIES, strict=False))[: pick(2, 3)]:
            kind = pick(*KINDS)
            if pick(True, False):
                self.play(self.turn_to(number, kind, body))
            else:
                self.play(self.come(OFFICE, kind, body, "person", number))
        for stream in list(self.model.cases):
            self._take_courses(pick, stream)

    def move(self, pick):
        """Anything."""
        name = pick(*MOVES)
        getattr(self, name)(pick)
        return name

    # --- organisations -------------------------------------------------------------------------------

    def officials_go_on(self, pick):
        stream = self._one_case(pick)
        for _ in range(pick(1, 2, 3, 4, 5)):
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            ahead = [name for name in may if name not in DETOURS]
            if may:
                self._step(pick, stream, pick(*ahead * 2, *may))

    def a_case_takes_its_course(self, pick):
        self._take_courses(pick, self._one_case(pick))

    def _take_courses(self, pick, stream):
        for _ in range(pick(1, 2, 3)):
            stages = COURSES[pick(*COURSES)].split()
            for stage in stages[: pick(len(stages), len(stages), *range(1, len(stages)))]:
                self._stage(pick, stream, stage)

    def _stage(self, pick, stream, stage):
        """What can happen of it; the model is asked before each step, as always."""
        case = self.model.cases[stream]
        name, _, wish = stage.removeprefix("!").partition("=")
        forced = stage.startswith("!")
        if name == "until":
            self.pass_until(getattr(case, wish) or self.clock.now)
        elif name == "clock":
            self.play(self.declare_due())
        elif name in law.ACTS:
            if (forced or case.may(law.ACTS[name])) and case.person is not None:
                self.play(self.act(stream, name, case.person))
        elif forced or case.may(name):
            said = {"outcome": wish} if wish else {}
            if name == "hearing_noticed":
                said["at"] = days.after(self.model.moment(stream, self.clock.now), 3)
            if name == "extension_drafted" and case.due is not None:
                last = days.local(case.due - timedelta(seconds=1)).date()
                later = days.worked(last + timedelta(days=pick(1, 14, 30, 50, 58, 60, 62)))
                said["until"] = days.end_of(later)
            if name == "applicant_told" and case.untold:
                said["of"] = pick(*case.untold)
            if "to" in events.catalogue[f"appeal.{name}"].__struct_fields__:
                said["to"] = pick(*[body for body in BODIES if body != case.body])
            self._step(pick, stream, name, **said)

    def _step(self, pick, stream, name, **said):
        """A step by somebody who may take it, if anybody may."""
        command = self._command(pick, stream, name, *self._who(pick, stream, name), **said)
        command.seen = pick(None, None, self.model.cases[stream].version)
        command.again = pick(None, str(uuid.uuid4()))
        self.play(self.send(self.request(command)))

    def _command(self, pick, stream, name, iss, key, route, **said):
        """As somebody sensible would say it, with what the law reckons or without."""
        case, now = self.model.cases[stream], self.model.moment(stream, self.clock.now)
        said = commands.chosen(pick, case, name, now, BODIES) | said
        if pick(False, True):
            said = case.lawful(name, said, now) | said
        return commands.command(case, name, iss, key, route, said, now)

    def _who(self, pick, stream, name):
        """Somebody who may take the step, and how; anybody where nobody may."""
        case = self.model.cases[stream]
        wanted = {case.actor(name, {})} - {None} or {*case.open_questions.values(), *case.untold.values()}
        right = [
            (iss, key)
            for (iss, key), roles in self.model.keys.items()
            if roles & law.STEPS[name].roles and iss in wanted
        ]
        iss, key = pick(*right or self.model.keys)
        return iss, key, self._how(pick, key)

    def _how(self, pick, key):
        return pick(*ROUTES[::2] if key == "gateway" else ROUTES[1::2])

    def _one_case(self, pick):
        return pick(*self.model.cases)

    def an_official_errs(self, pick):
        stream = self._one_case(pick)
        case = self.model.cases[stream]
        may = [name for name in SPOKEN if case.may(name)]
        name = pick(*may * 3, *SPOKEN, *UNSPOKEN)
        if name in SPOKEN and pick(True, True, False):
            iss, key, route = self._who(pick, stream, name)
        else:
            iss, key = pick(*self.model.keys)
            route = self._how(pick, key)
        command = self._command(pick, stream, name, iss, key, route)
        fault = pick(*[fault for fault in (*FAULTS, *WRONG_FACTS * 3) if commands.has_room(command, fault)])
        commands.spoil(command, fault, case, self.clock.now)
        self.play(self.send(self.request(command)))

    def an_official_sends_many_lines(self, pick):
        iss = pick(*BODIES)
        mine = [stream for stream, case in self.model.cases.items() if iss in case.readers()]
        taken, requests = set(), []
        for _ in range(pick(2, 3, 4, 5, 6)):
            stream = pick(*mine or self.model.cases)
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            name = pick(*may * 3, *SPOKEN)
            key = pick(*[key for owner, key in self.model.keys if owner == iss])
            route = "line" if key == "gateway" else "sealed line"
            command = self._command(pick, stream, name, iss, key, route)
            if any(stream.startswith(f"{other}-") or other.startswith(f"{stream}-") for other in taken):
                continue  # what a line does to a whole and another to its part has no order
            taken.add(stream)
            command.again = pick(None, str(uuid.uuid4()))
            requests.append(self.request(command))
        self.play(self.send(*requests, unreadable=pick(None, 0, 1, 2)))

    def two_officials_speak_at_once(self, pick):
        stream, requests = self._one_case(pick), []
        for _ in range(2):
            may = [name for name in SPOKEN if self.model.cases[stream].may(name)]
            name = pick(*may or SPOKEN)
            iss, key, route = self._who(pick, stream, name)
            route = route.replace("sealed line", "sealed").replace("line", "token")
            command = self._command(pick, stream, name, iss, key, route)
            command.seen = pick(None, self.model.cases[stream].version)
            requests.append(self.request(command))
        if None not in requests:
            self.play(self.race(*requests))

    def a_key_is_revoked(self, pick):
        which = pick(*REVOCABLE)
        if pick(False, False, True) and self.model.keys[which]:
            self.play(self.revoke(*which))

    # --- applicants ----------------------------------------------------------------------------------

    def somebody_turns_to_a_body(self, pick):
        body = pick(*BODIES * 4, COUNCIL, "organisation/nobody")
        clock = pick(None, None, None, *TIMES)
        if clock is not None:
            self._pass_until_clock(self.clock.now, clock)
        self.play(self.turn_to(pick(*PEOPLE), pick(*KINDS * 3, *days.KINDS), body))

    def somebody_comes_to_a_front_office(self, pick):
        office, body = pick(OFFICE, OFFICE, HALL, LAND, COUNCIL), pick(*BODIES * 3, OFFICE)
        applicant, number = pick(("person", pick(None, *PEOPLE)), ("company", None))
        self.play(self.come(office, pick(*KINDS), body, applicant, number))

    def an_applicant_takes_a_step(self, pick):
        stream = self._one_case(pick)
        case = self.model.cases[stream]
        may = [name for name in law.ACTS if case.may(law.ACTS[name])]
        act = pick(*may * 2, *law.ACTS)
        how = pick("signed", "signed", "blank", "stranger", "visiting", "visiting", "guessed")
        if how in {"visiting", "guessed"}:
            office = pick(OFFICE, OFFICE, OFFICE, HALL, WATER, COUNCIL)
            self.play(self.act_for(stream, act, office, guessed=how == "guessed"))
        else:
            number = case.person or PEOPLE[0]
            number = number % len(PEOPLE) + 1 if how == "stranger" else number
            again = pick({}, {"idempotency-key": str(uuid.uuid4())})
            self.play(self.act(stream, act, number, "" if how == "blank" else WORDS, again=again))

    def an_applicant_follows(self, pick):
        self.play(self.follow(self.model.cases[self._one_case(pick)], guessed=pick(False, True)))

    # --- the same once more ----------------------------------------------------------------------------

    def a_command_comes_again(self, pick):
        if not self.requests:
            return
        request = self.requests[pick(*range(len(self.requests)))]
        if pick(False, True) and not request.command.sealed:
            changed = copy.copy(request.command)
            changed.seen = 77
            request = self.request(changed)
        self.play(self.send(request))

    def a_signed_form_comes_again(self, pick):
        if not self.forms:
            return
        form = pick(*self.forms)
        signed, _, document, stream = self.forms[form]
        how = pick("same", "same", "other words", "other person", "other act", "other case")
        number = signed[0] % len(PEOPLE) + 1 if how == "other person" else signed[0]
        text = "Басқа." if how == "other words" else WORDS
        if how == "same":
            work = self.acted(stream, document, signed, {}) if stream else self.filed(document, signed)
        elif stream:
            act = "withdraw" if how == "other act" else document["act"]
            stream = self._one_case(pick) if how == "other case" else stream
            work = self.act(stream, act, number, text, form)
        else:
            work = self.turn_to(number, document["kind"], document["body"], form, text)
        self.play(work)

    def a_front_office_asks_for_a_talon_again(self, pick):
        if self.talons:
            self.play(self.come_again(*pick(*self.talons), same=pick(True, False)))

    def an_official_asks_for_a_reading_again(self, pick):
        if self.readings:
            known = pick(*self.readings)
            self.play(self.read(*known[:3], known[3:]))

    # --- reading, and old registers ----------------------------------------------------------------------

    def an_official_reads(self, pick):
        stream = self._one_case(pick)
        readers = sorted(self.model.cases[stream].readers())
        self.play(self.read(pick(*readers * 3, *BODIES, COUNCIL, OFFICE), stream, str(uuid.uuid4())))

    def a_register_is_taken_over(self, pick):
        iss, number = pick(*BODIES * 2, OFFICE), pick(1, 2)
        rows = copy.deepcopy(self.registers.get((iss, number), []))
        known = len(rows)
        for _ in range(max(pick(0, 1, 2, 3), 1 - known)):
            rows.append(self._row(pick, rows))
        contradicts = known > 0 and pick(False, False, False, True)
        if contradicts:
            rows[pick(*range(known))]["activity"] = "Басқа"
        self.play(self.take_over(iss, number, rows, contradicts=contradicts))

    def _row(self, pick, rows):
        now = self.clock.now
        last = rows[-1]["happened"] if rows else now - timedelta(days=60)
        happened = pick(last, last + timedelta(days=1), now, now)
        if pick(*range(10)) == 0:
            happened = pick(last - timedelta(seconds=1), now + timedelta(days=1))
        step = pick("registered", *law.AFTER_IMPORT, "taken", "decided", "extended", "note")
        row = {"activity": "Қадам", "step": step, "happened": happened}
        due = pick(None, None, now - timedelta(days=1), now + timedelta(days=9))
        if due is not None:
            row["due"] = due
        if rows and (step == "decided" or pick(*range(20)) == 0):
            row["outcome"] = "satisfied"
        return row

    # --- time ------------------------------------------------------------------------------------------

    def time_passes(self, pick):
        then, clock = self.clock.now + timedelta(minutes=pick(*MINUTES)), pick(None, None, *TIMES)
        if clock is None:
            self.pass_until(then)
        else:
            self._pass_until_clock(then, clock)

    def _pass_until_clock(self, day, clock):
        self.pass_until(datetime.combine(days.local(day).date(), clock, days.ALMATY).astimezone(UTC))

    def a_term_comes_to_its_end(self, pick):
        case = self.model.cases[self._one_case(pick)]
        ends = [case.due, case.fix_until, case.object_until, case.hearing_at, case.forward_until]
        ends = sorted(end for end in ends if end is not None and end > self.clock.now)
        if ends:
            self.pass_until(pick(*ends) + timedelta(seconds=pick(0, 0, -1, 1)))

    def the_clock_says_what_is_due(self, _pick):
        self.play(self.declare_due())

    def the_clock_says_what_may_not_be_due(self, pick):
        stream, name, off = self._one_case(pick), pick("overdue", "lapsed"), timedelta(seconds=pick(0, 0, 1))
        term = pick(None, None, "consideration", "complaint")
        self.play(self.declare(stream, name, off, term))


MOVES = (
    *["a_case_takes_its_course", "officials_go_on", "an_official_errs"] * 4,
    *["an_applicant_takes_a_step", "time_passes"] * 2,
    "an_official_sends_many_lines", "two_officials_speak_at_once", "a_key_is_revoked",
    "somebody_turns_to_a_body", "somebody_comes_to_a_front_office", "an_applicant_follows",
    "a_command_comes_again", "a_signed_form_comes_again", "a_front_office_asks_for_a_talon_again",
    "an_official_asks_for_a_reading_again", "an_official_reads", "a_register_is_taken_over",
    "a_term_comes_to_its_end", "the_clock_says_what_is_due", "the_clock_says_what_may_not_be_due",
)  # fmt: skip
"""Each as often as it is made."""
