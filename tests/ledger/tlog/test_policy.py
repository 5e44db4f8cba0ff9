"""A policy file means what C2SP tlog-policy says, and nothing else is a policy."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tlog.checkpoint import Checkpoint, CheckpointError, cosign_checkpoint, sign_checkpoint
from ledger.tlog.merkle import ProofError
from ledger.tlog.note import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    InvalidSignatureError,
    SignedNote,
    SignerKey,
    UnverifiedNoteError,
    VerifierKey,
)
from ledger.tlog.policy import NONE, Group, Log, Policy, PolicyError, QuorumError, Witness
from ledger.tlog.proof import TlogProof
from tests.ledger.tlog.support import entry, mth, path

LOG = SignerKey.from_seed("log.example/petitions", bytes(range(32)))
LOG_PQ = SignerKey.from_seed("log.example/petitions", bytes(range(3, 35)), ML_DSA_44)
OTHER_LOG = SignerKey.from_seed("log.example/other", bytes(range(4, 36)))
X1, X2, X3, Y1 = (
    SignerKey.from_seed(f"witness.example/{name}", bytes([number]) * 32, COSIGNATURE)
    for number, name in enumerate(("x1", "x2", "x3", "y1"), 1)
)
Y2 = SignerKey.from_seed("witness.example/y2", bytes([5]) * 32, ML_DSA_44)
CHECKPOINT = Checkpoint(LOG.name, 11, mth(0, 11))

EXAMPLE = f"""\
# The example of the specification.
log {LOG.verifier} https://log.example/

witness X1 {X1.verifier}
witness X2 {X2.verifier}\thttps://x2.example/witness\x20
 \twitness \t X3  {X3.verifier}
group X-witnesses 2 X1 X2 X3

witness Y1 {Y1.verifier}
witness Y2 {Y2.verifier}
   # a comment
group Y-witnesses any Y1 Y2

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
POLICY = Policy.parse(EXAMPLE.encode())


def note(*witnesses, logs=(LOG,), checkpoint=CHECKPOINT):
    signed = SignedNote.parse(sign_checkpoint(checkpoint, *logs))
    return signed.with_signatures(*(cosign_checkpoint(checkpoint, w, 1_700_000_000) for w in witnesses))


def test_the_example_is_read():
    assert POLICY.logs == (Log(LOG.verifier, "https://log.example/"),)
    assert POLICY.witnesses == (
        Witness("X1", X1.verifier),
        Witness("X2", X2.verifier, "https://x2.example/witness"),
        Witness("X3", X3.verifier),
        Witness("Y1", Y1.verifier),
        Witness("Y2", Y2.verifier),
    )
    assert POLICY.groups == (
        Group("X-witnesses", 2, ("X1", "X2", "X3")),
        Group("Y-witnesses", 1, ("Y1", "Y2")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert POLICY.quorum == "X-and-Y"
    assert Policy.parse(POLICY.to_bytes()) == POLICY


@pytest.mark.parametrize(
    ("witnesses", "quorum"),
    [
        ((), False),
        ((X1, X2, X3), False),
        ((X1, Y1), False),
        ((Y1, Y2), False),
        ((X1, X3, Y2), True),
        ((X1, X2, X3, Y1, Y2), True),
    ],
)
def test_the_example_asks_for_two_of_x_and_one_of_y(witnesses, quorum):
    assert POLICY.satisfied_by([w.verifier for w in witnesses]) is quorum
    data = note(*witnesses).to_bytes()
    if quorum:
        opened = POLICY.verify(data)
        assert opened.checkpoint == CHECKPOINT
        assert [c.witness for c in opened.cosignatures] == [w.verifier for w in witnesses]
    else:
        with pytest.raises(QuorumError, match="X-and-Y"):
            POLICY.verify(data)


def test_keys_of_strangers_do_not_count():
    stranger = SignerKey.generate("witness.example/x1", COSIGNATURE)
    assert not POLICY.satisfied_by([stranger.verifier, X1.verifier, Y1.verifier])
    with pytest.raises(QuorumError):
        POLICY.verify(note(stranger, X1, Y1).to_bytes())


def test_a_wrong_cosignature_of_a_known_witness_spoils_the_note():
    wrong = cosign_checkpoint(Checkpoint(LOG.name, 12, mth(0, 12)), X3, 1_700_000_000)
    data = note(X1, X2, Y1).with_signatures(wrong).to_bytes()
    with pytest.raises(InvalidSignatureError):
        POLICY.verify(data)


def test_only_a_listed_log_of_the_checkpoints_origin_counts():
    quorum = f"log {LOG.verifier}\nlog {OTHER_LOG.verifier}\nquorum none\n"
    policy = Policy.parse(quorum.encode())
    assert policy.verify(note().to_bytes()).checkpoint == CHECKPOINT
    assert policy.verify(note().to_bytes(), origin=LOG.name).checkpoint == CHECKPOINT
    other = Checkpoint(OTHER_LOG.name, 1, mth(0, 1))
    assert policy.verify(note(checkpoint=other, logs=[OTHER_LOG]).to_bytes()).checkpoint == other
    with pytest.raises(CheckpointError):
        policy.verify(note(checkpoint=other, logs=[OTHER_LOG]).to_bytes(), origin=LOG.name)
    # One log's key under another log's tree.
    forged = SignedNote(CHECKPOINT.to_text(), (OTHER_LOG.sign(CHECKPOINT.to_text()),)).to_bytes()
    with pytest.raises(UnverifiedNoteError):
        policy.verify(forged)
    stranger = SignerKey.generate("log.example/third")
    with pytest.raises(UnverifiedNoteError, match="no log of the name"):
        policy.verify(note(checkpoint=Checkpoint(stranger.name, 1, mth(0, 1)), logs=[stranger]).to_bytes())


def test_a_log_may_be_listed_with_both_of_its_keys():
    policy = Policy.parse(f"log {LOG.verifier}\nlog {LOG_PQ.verifier}\nquorum none\n".encode())
    for logs in ((LOG,), (LOG_PQ,), (LOG, LOG_PQ)):
        assert policy.verify(note(logs=logs).to_bytes()).checkpoint == CHECKPOINT
    broken = note().with_signatures(LOG_PQ.cosign(Checkpoint(LOG.name, 1, mth(0, 1)).to_text(), 0))
    with pytest.raises(InvalidSignatureError):
        policy.verify(broken.to_bytes())


def test_a_log_that_is_known_otherwise_must_be_listed_if_any_is():
    data = note().to_bytes()
    assert Policy.parse(b"quorum none\n").verify(data, log=LOG.verifier).checkpoint == CHECKPOINT
    with pytest.raises(UnverifiedNoteError):
        Policy.parse(b"quorum none\n").verify(data)
    with pytest.raises(UnverifiedNoteError):
        Policy.parse(b"quorum none\n").verify(data, log=OTHER_LOG.verifier)
    with pytest.raises(UnverifiedNoteError, match="does not list"):
        Policy.parse(f"log {OTHER_LOG.verifier}\nquorum none\n".encode()).verify(data, log=LOG.verifier)


def test_a_proof_is_verified_with_a_policy():
    def proof(*witnesses):
        return TlogProof(3, path(3, 0, 11), note(*witnesses).to_bytes())

    for log in (None, LOG.verifier):
        assert proof(X1, X2, Y2).verify(entry(3), log, policy=POLICY) == CHECKPOINT
        with pytest.raises(QuorumError):
            proof(X1, X2).verify(entry(3), log, policy=POLICY)
        with pytest.raises(ProofError):
            proof(X1, X2, Y2).verify(entry(4), log, policy=POLICY)
    with pytest.raises(ValueError, match="policy"):
        proof().verify(entry(3), None)
    with pytest.raises(ValueError, match="policy"):
        proof().verify(entry(3), LOG.verifier, [X1.verifier], policy=POLICY)


# --- what is no policy ----------------------------------------------------------------------------

V1, V2 = f"witness A {X1.verifier}", f"witness B {X2.verifier}"
TWO = f"{V1}\n{V2}\n"
SAME_KEY = VerifierKey("another.example/name", COSIGNATURE, X1.verifier.public_key)
SAME_LOG = VerifierKey("another.example/name", ED25519, LOG.verifier.public_key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no quorum line"),
        ("# quorum none\n", "no quorum line"),
        ("quorum none", "line 1 of the policy does not end in a newline"),
        ("quorum none\n#", "line 2 of the policy does not end"),
        ("quorum none\n\nquorum none\n", "line 3 of the policy: the quorum is none already"),
        ("quorum none\r\n", "line 1 of the policy has the control character 0x0d"),
        ("#\x0b\nquorum none\n", "line 1 .* 0x0b"),
        ("quorum\x00 none\n", "line 1 .* 0x00"),
        ("quorum none \x7f\n", "line 1 .* 0x7f"),
        ("quorum\n", "line 1 of the policy: a quorum line is `quorum NAME`"),
        ("quorum none none\n", "`quorum NAME`"),
        ("Quorum none\n", "'Quorum' is not log, witness, group or quorum"),
        ("quorum\u00a0none\n", "is not log, witness"),
        ("quorum A\n", "A is the quorum, but no line before this one defines it"),
        (f"quorum A\n{V1}\n", "line 1 .* no line before"),
        (f"{TWO}group G all A C\nquorum G\n", "line 3 .*C is a member of a group, but no line before"),
        (f"{V1}\ngroup G all A B\n{V2}\nquorum G\n", "line 2 .*B is a member"),
        (f"{TWO}group G all G A\nquorum G\n", "G is a member of a group, but no line"),
        (f"{TWO}group G any none A\nquorum G\n", "none is not a member"),
        (f"{TWO}group G any A A\nquorum G\n", "A is a member of a group already"),
        (f"{TWO}group G any A\ngroup H any A B\nquorum H\n", "line 4 .*A is a member of a group already"),
        (f"{TWO}group G 0 A B\nquorum G\n", "'0' is not all, any"),
        (f"{TWO}group G 3 A B\nquorum G\n", "has 2 members, of which 3"),
        (f"{TWO}group G 01 A B\nquorum G\n", "'01' is not all, any"),
        (f"{TWO}group G +1 A B\nquorum G\n", "is not all, any"),
        (f"{TWO}group G ٢ A B\nquorum G\n", "is not all, any"),
        (f"{TWO}group G -1 A B\nquorum G\n", "is not all, any"),
        (f"{TWO}group G ALL A B\nquorum G\n", "is not all, any"),
        (f"{TWO}group G all\nquorum none\n", "group G has no members"),
        ("group G\nquorum none\n", "a group line is `group NAME all|any|K MEMBER...`".replace("|", r"\|")),
        (f"{TWO}group A all B\nquorum A\n", "the name A is taken already"),
        (f"{V1}\nwitness A {X2.verifier}\nquorum A\n", "the name A is taken"),
        (f"{TWO}group none all A B\nquorum none\n", "the name none is taken"),
        (f"witness none {X1.verifier}\nquorum none\n", "the name none is taken"),
        (f"{V1}\nwitness B {SAME_KEY}\nquorum none\n", "line 2 .*witness B is there already, as A"),
        (f"{V1}\nwitness B {X1.verifier}\nquorum none\n", "there already, as A"),
        (f"log {LOG.verifier}\nlog {SAME_LOG}\nquorum none\n", "line 2 .*there already, as log.example"),
        (f"log {X1.verifier}\nquorum none\n", "of type 0x04: a log signs with 0x01 or 0x06"),
        (f"witness A {LOG.verifier}\nquorum none\n", "of type 0x01: a witness signs with 0x04 or 0x06"),
        (f"log {LOG.verifier} u v\nquorum none\n", r"a log line is `log VKEY \[URL\]`"),
        ("log\nquorum none\n", "a log line is"),
        (f"witness {X1.verifier}\nquorum none\n", "a witness line is"),
        (f"{V1} u v\nquorum none\n", "a witness line is"),
        (f"log {str(LOG.verifier)[:-1]}\nquorum none\n", "line 1 of the policy: the verifier key"),
        ("witness A B\nquorum none\n", "line 1 of the policy: a verifier key consists of"),
        ("#" * 1_000_000 + "\nquorum none\n", "at most 1000000 bytes"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_line(text, said):
    with pytest.raises(PolicyError, match=said):
        Policy.parse(text.encode())


def test_names_are_octets():
    kelvin = f"witness K {X1.verifier}\nwitness \u212a {X2.verifier}\ngroup G all K \u212a\nquorum G\n"
    assert Policy.parse(kelvin.encode()).groups[0].members == ("K", "\u212a")
    latin = b"witness \xe9 " + str(X1.verifier).encode() + b" http://\xe9.example/\nquorum \xe9\n#\xff\x80\n"
    policy = Policy.parse(latin)
    assert policy.satisfied_by([X1.verifier])
    assert policy.to_bytes() == latin.removesuffix(b"#\xff\x80\n")
    assert Policy.parse(policy.to_bytes()) == policy
    composed, decomposed = "\u00e9", "e\u0301"
    with pytest.raises(PolicyError, match="no line before"):
        Policy.parse(f"witness {composed} {X1.verifier}\nquorum {decomposed}\n".encode())


@pytest.mark.parametrize(
    "name", ["", "a b", "a\tb", "a\nb", "a\x7f", "\x00", "none", "\udcc3\udca9", "\ud800"]
)
def test_a_name_that_could_not_be_read_back_is_refused(name):
    with pytest.raises(PolicyError):
        Policy((), (Witness(name, X1.verifier),), (), NONE)
    with pytest.raises(PolicyError):
        Policy((), (Witness("w", X1.verifier),), (Group(name, 1, ("w",)),), NONE)


@pytest.mark.parametrize("url", ["", "a b", "a\n", "\ud800"])
def test_a_url_that_could_not_be_read_back_is_refused(url):
    with pytest.raises(PolicyError):
        Policy((Log(LOG.verifier, url),), (), (), NONE)
    with pytest.raises(PolicyError):
        Policy((), (Witness("w", X1.verifier, url),), (), NONE)


def test_thirty_two_of_each_are_read_and_groups_may_be_deep():
    keys = [VerifierKey(f"w{i}", COSIGNATURE, bytes([i]) * 32) for i in range(1_000) if i < 256]
    logs = [Log(VerifierKey(f"l{i}", ED25519, bytes([i]) * 32)) for i in range(32)]
    witnesses = [Witness(f"w{i}", key) for i, key in enumerate(keys)]
    groups = [Group("g0", 1, ("w0",))]
    groups += [Group(f"g{i}", 2, (f"g{i - 1}", f"w{i}")) for i in range(1, 256)]
    policy = Policy(tuple(logs), tuple(witnesses), tuple(groups), "g255")
    assert Policy.parse(policy.to_bytes()) == policy
    assert policy.satisfied_by(keys)
    assert not policy.satisfied_by(keys[1:])


# --- properties -----------------------------------------------------------------------------------

words = st.binary(min_size=1, max_size=6).map(
    lambda data: bytes(b for b in data if b > 0x20 and b != 0x7F).decode("utf-8", "surrogateescape")
)
names = words.filter(lambda name: name not in ("", NONE))
urls = st.one_of(st.none(), words.filter(bool))


@st.composite
def policies(draw):
    """Any valid policy of up to 6 witnesses."""
    taken = draw(st.lists(names, unique=True, max_size=12))
    count = draw(st.integers(0, min(6, len(taken))))
    witnesses = tuple(
        Witness(
            name, VerifierKey(f"w{i}", COSIGNATURE, bytes([i]) * 32), draw(urls)
        )
        for i, name in enumerate(taken[:count])
    )  # fmt: skip
    free = list(taken[:count])
    groups = []
    for name in taken[count:]:
        if not free:
            break
        members = draw(st.lists(st.sampled_from(free), unique=True, min_size=1))
        free = [one for one in free if one not in members]
        groups.append(Group(name, draw(st.integers(1, len(members))), tuple(members)))
        free.append(name)
    logs = tuple(
        Log(VerifierKey(f"l{i}", ED25519, bytes([i]) * 32), draw(urls))
        for i in range(draw(st.integers(0, 2)))
    )
    defined = [NONE, *(w.name for w in witnesses), *(g.name for g in groups)]
    return Policy(logs, witnesses, tuple(groups), draw(st.sampled_from(defined)))


def witnessed(policy, name, cosigned):
    """The words of the specification, as a recursion."""
    if name == NONE:
        return True
    for group in policy.groups:
        if group.name == name:
            return len([m for m in group.members if witnessed(policy, m, cosigned)]) >= group.threshold
    return name in cosigned


@given(policies())
def test_a_policy_is_read_back_as_it_was_written(policy):
    assert Policy.parse(policy.to_bytes()) == policy
    assert Policy.parse(policy.to_bytes()).to_text() == policy.to_text()


@given(policies())
def test_every_set_of_witnesses_is_judged_as_the_specification_says(policy):
    by_name = {w.name: w.vkey for w in policy.witnesses}
    for size in range(len(by_name) + 1):
        for cosigned in combinations(by_name, size):
            keys = {by_name[name] for name in cosigned}
            assert policy.satisfied_by(keys) is witnessed(policy, policy.quorum, cosigned)


@given(policies(), st.randoms(use_true_random=False))
def test_more_cosignatures_never_break_a_quorum(policy, random):
    keys = [w.vkey for w in policy.witnesses]
    random.shuffle(keys)
    judged = [policy.satisfied_by(keys[:count]) for count in range(len(keys) + 1)]
    assert judged == sorted(judged)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(data):
    try:
        policy = Policy.parse(data)
    except PolicyError:
        return
    assert Policy.parse(policy.to_bytes()) == policy
