"""What was taken away at the original goes from every copy, and nobody can take anything away in silence."""

from __future__ import annotations

import uuid

import pytest

from audit.mirror.errors import MirrorError
from ledger import events
from tests.audit.mirror.operators import between, found, mirroring

# ruff: noqa: SIM117


def names_in(database_or_operator):
    return {
        (row[0], row[1])
        for row in database_or_operator.execute("SELECT position, name FROM ledger.disclosures")
    }


def a_signature(operator):
    """Stream and position of one."""
    ((stream, position),) = operator.execute(
        "SELECT stream, position FROM ledger.entries WHERE type = 'petition.signed' ORDER BY position LIMIT 1"
    )
    return stream, position


def erase(operator, stream, names=("name",), n=1):
    """As the operator does it: the event takes the name with it."""

    async def work(api):
        facts = events.DisclosureErased(of=stream, events=n, ground="demand", names=names)
        await api.service.ledger.declare(f"erasure/{stream}/{uuid.uuid4().hex[:16]}", facts)

    operator.do(work)


def copied(mirror):
    rows = mirror.store.connection.execute("SELECT position, name FROM ledger.disclosures").fetchall()
    return set(rows)


def test_a_mirror_that_was_ahead_drops_the_name(operator, mirror_database):
    stream, position = a_signature(operator)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round(compare=False)
        assert (position, "name") in copied(mirror)
        erase(operator, stream)
        assert (position, "name") not in names_in(operator)
        done = mirror.round(compare=True)
        assert (done.clean, found(mirror)) == (True, set())
        assert copied(mirror) == names_in(operator)
        assert done.compared.answers


def test_a_name_that_was_erased_before_is_no_finding(operator, mirror_database):
    stream, _ = a_signature(operator)
    erase(operator, stream)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        assert mirror.round(compare=True).clean
        assert copied(mirror) == names_in(operator)


def test_a_name_that_is_still_served_after_its_erasure_is_not_kept(operator, mirror_database):
    stream, position = a_signature(operator)
    pages = {}

    def remember(path, status, body):
        if path.startswith("/v1/disclosures"):
            body = pages.setdefault(path, body)
        return status, body

    with operator.served() as url, between(url, remember) as way:
        with mirroring(mirror_database, way, *operator.vkeys, compare=False) as mirror:
            mirror.round()
        erase(operator, stream)
        with mirroring(mirror_database, way, *operator.vkeys, compare=False) as mirror:
            # All of it is asked for once more, and an old page comes with the name in it.
            mirror.store.set(disclosed=0)
            mirror.round()
            assert (position, "name") not in copied(mirror)


def test_what_could_not_be_had_at_first_is_asked_for_later(still, address, mirror_database):
    broken = True

    def break_down(path, status, body):
        return (404, b"") if broken and path.startswith("/v1/disclosures") else (status, body)

    with between(address, break_down) as way:
        with mirroring(mirror_database, way, *still.vkeys, compare=False) as mirror:
            done = mirror.round()
            assert (done.size, copied(mirror), mirror.store.origin.disclosed) == (still.size(), set(), 0)
            assert "not served" in done.undisclosed
            broken = False
            done = mirror.round()
            assert (done.undisclosed, copied(mirror)) == (None, names_in(still))
            assert mirror.store.origin.disclosed == still.size()


def test_a_page_that_tells_of_other_entries_is_not_read(still, address, mirror_database):
    def lie(path, status, body):
        return status, body.replace(b'"next":', b'"next":9') if path.startswith("/v1/disclosures") else body

    with between(address, lie) as way:
        with mirroring(mirror_database, way, *still.vkeys, compare=False) as mirror:
            assert "other entries" in mirror.round().undisclosed
            assert copied(mirror) == set()


@pytest.mark.parametrize("what", ["a name", "a petition's text"])
def test_what_is_taken_away_without_an_event_is_found(operator, mirror_database, what):
    name = "name" if what == "a name" else "text"
    ((position,),) = operator.execute("SELECT max(position) FROM ledger.disclosures WHERE name = %s", [name])
    operator.execute("DELETE FROM ledger.disclosures WHERE position = %s AND name = %s", [position, name])
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
        assert not mirror.round().clean
        assert found(mirror) == {("disclosure-missing", position)}


def test_a_restricted_text_that_was_leaked_is_not_kept(operator, mirror_database):
    """Whatever is behind a digest of the entry: what is not public by its kind is in no copy."""

    async def work(api):
        return await api.service.ledger.secrets(stream)

    stream, position = a_signature(operator)
    (secret,) = operator.do(work)
    leaked = next(d for d in secret.restricted if d.name == "full_name")
    operator.execute(
        "INSERT INTO ledger.disclosures VALUES (%s, %s, %s)", [position, leaked.name, leaked.encoded]
    )
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys, compare=False) as mirror:
        mirror.round()
        assert found(mirror) == {("disclosure-digest", position)}
        assert (position, "full_name") not in copied(mirror)
        assert leaked.value not in str(mirror.store.findings())


def test_a_mirror_that_cannot_read_the_log_says_so(mirror_database, unused_port, operator):
    with mirroring(mirror_database, f"http://127.0.0.1:{unused_port}", *operator.vkeys, compare=False) as m:
        with pytest.raises(Exception, match="could not be read") as caught:
            m.round()
        assert not isinstance(caught.value, MirrorError)
