"""The operator is bound by the digests that it committed: the copy's own tables must have the same."""

from __future__ import annotations

import asyncio

import pytest

from ledger import events
from projections import ALL
from projections.digest import published
from tests.audit.mirror.operators import found, mirroring

NAMES = {projection.name for projection in published(ALL)}


def outcomes(mirror):
    rows = mirror.store.connection.execute("SELECT name, as_of, outcome FROM mirror.digests").fetchall()
    return {(name, as_of): outcome for name, as_of, outcome in rows}


def declare(operator, name, **facts):
    """A digest that is said and was never computed; its position."""

    async def story():
        ledger = operator.world.parts().ledger()
        await ledger.start()
        try:
            facts_ = events.ProjectionCommitted(**facts)
            return await ledger.declare(f"projection/{name}/{facts_.as_of}", facts_)
        finally:
            await ledger.stop()

    recorded = asyncio.run(story())
    operator.fold()
    return recorded.position


def fold_of(name):
    return next(projection.version for projection in ALL if projection.name == name)


def test_every_committed_digest_is_that_of_the_copys_own_tables(operator, mirror_database):
    first = operator.commit()
    assert {one.name for one in first} == NAMES
    operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
    second = operator.commit()
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        assert mirror.round(compare=True).clean
        expected = {(one.name, one.as_of): "same" for one in (*first, *second)}
        assert outcomes(mirror) == expected
        assert len(expected) > len(NAMES)


def test_a_digest_that_arrives_after_its_position_was_passed_is_compared_all_the_same(
    operator, mirror_database
):
    ((as_of,),) = operator.execute("SELECT max(position) FROM ledger.entries")
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round(compare=False)
        operator.do(lambda api: api.limited(author=3, title="Жаңа өтініш туралы мәтін"))
        mirror.round(compare=False)
        # Computed when the tables stood at as_of, committed when the log had gone on.
        right = digest_at(operator, "petitions", as_of)
        declare(operator, "petitions", fold=fold_of("petitions"), as_of=as_of, digest=right)
        wrong = declare(operator, "trails", fold=fold_of("trails"), as_of=as_of, digest="0" * 64)
        assert not mirror.round(compare=False).clean
        assert outcomes(mirror) == {("petitions", as_of): "same", ("trails", as_of): "different"}
        assert found(mirror) == {("projection-digest", wrong)}


def digest_at(operator, name, position):
    from projections.rebuild import digests_at

    projection = next(projection for projection in ALL if projection.name == name)
    (one,) = digests_at(operator.database.url, [(projection, position)])
    assert one.position == position
    return one.sha256


def test_a_wrong_digest_is_found_with_its_name_and_position(operator, mirror_database):
    ((as_of,),) = operator.execute("SELECT max(position) FROM ledger.entries")
    position = declare(operator, "signatures", fold=fold_of("signatures"), as_of=as_of, digest="0" * 64)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        assert not mirror.round(compare=False).clean
        assert found(mirror) == {("projection-digest", position)}
        (finding,) = mirror.store.findings()
        assert (finding.evidence["projection"], finding.evidence["as_of"]) == ("signatures", as_of)
        assert finding.evidence["rebuilt"] == digest_at(operator, "signatures", as_of)


def test_tables_that_the_operator_changed_before_it_committed_them_are_found(operator, mirror_database):
    operator.execute("UPDATE projections.petitions SET count = count + 1, signed = signed + 1")
    committed = operator.commit()
    position = next(one.position for one in committed if one.name == "petitions")
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round(compare=False)
        assert found(mirror) == {("projection-digest", position)}
        assert list(outcomes(mirror).values()).count("same") == len(NAMES) - 1


@pytest.mark.parametrize(("name", "fold"), [("petitions", 99), ("weather", 1), ("cabinet", 2)])
def test_a_digest_that_this_program_cannot_make_is_told_and_no_finding(operator, mirror_database, name, fold):
    ((as_of,),) = operator.execute("SELECT max(position) FROM ledger.entries")
    declare(operator, name, fold=fold, as_of=as_of, digest="0" * 64)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        assert mirror.round(compare=False).clean
        assert outcomes(mirror) == {(name, as_of): "not-compared"}


def test_tables_of_another_version_of_the_program_are_folded_anew(operator, mirror_database):
    operator.commit()
    with operator.served() as url:
        with mirroring(mirror_database, url, *operator.vkeys) as mirror:
            mirror.round(compare=False)
            mirror.store.connection.execute(
                "UPDATE projections.positions SET version = 99 WHERE name = 'petitions'"
            )
            mirror.store.connection.execute("DELETE FROM projections.petitions")
            mirror.store.connection.execute("DELETE FROM mirror.digests")
        with mirroring(mirror_database, url, *operator.vkeys) as mirror:
            assert mirror.round(compare=True).clean
            assert set(outcomes(mirror).values()) == {"same"}


def test_a_digest_of_what_does_not_stand_before_it_is_found(operator, mirror_database):
    ((head,),) = operator.execute("SELECT max(position) FROM ledger.entries")
    position = declare(operator, "petitions", fold=fold_of("petitions"), as_of=head + 100, digest="0" * 64)
    with operator.served() as url, mirroring(mirror_database, url, *operator.vkeys) as mirror:
        mirror.round(compare=False)
        assert ("projection-digest", position) in found(mirror)
