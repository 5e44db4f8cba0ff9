"""The authority made on the spot can be kept, and its people are as quick to make as tests need."""

import pytest
from cryptography import x509

from ledger.eds.authority import Authority, make_key
from ledger.eds.people import invent_person
from ledger.eds.policy import EMAIL_PROTECTION, NATURAL_PERSON
from ledger.eds.verify import verify


@pytest.mark.parametrize("algorithm", ["rsa", "ecdsa"])
def test_a_saved_authority_goes_on_where_it_was(tmp_path, algorithm, at):
    made = Authority.create(algorithm, pool=2)
    before = made.person(invent_person(1)).sign(b"one", signing_time=at)
    made.save(tmp_path / "ca")
    kept = Authority.load(tmp_path / "ca")
    after = kept.person(invent_person(1)).sign(b"two", signing_time=at)
    assert len(kept.pool) == 2
    first = verify(before, content=b"one", trust=kept.trust, at=at)
    assert first.person == verify(after, content=b"two", trust=made.trust, at=at).person


def test_kept_keys_are_for_the_owners_eyes(tmp_path, ecdsa):
    ecdsa.save(tmp_path / "ca")
    keys = list((tmp_path / "ca").glob("*.key"))
    assert len(keys) == 3
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700


def test_a_key_of_another_kind_is_refused(tmp_path, ecdsa):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    ecdsa.save(tmp_path)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "issuing.key").write_bytes(key)
    with pytest.raises(ValueError, match=r"issuing\.key"):
        Authority.load(tmp_path)


def test_people_without_a_key_of_their_own_share_the_pool(at):
    authority = Authority.create("ecdsa", pool=3)
    keys = [authority.person().key for _ in range(6)]
    assert len({id(key) for key in keys}) == 3
    own = make_key("ecdsa")
    assert authority.person(key=own).key is own


def test_every_unnamed_person_is_another(ecdsa, at):
    iins = {
        verify(ecdsa.person().sign(b"x", signing_time=at), content=b"x", trust=ecdsa.trust, at=at).person.iin
        for _ in range(20)
    }
    assert len(iins) == 20


def test_the_profile_is_that_of_the_kazakh_authority(ecdsa):
    extensions = ecdsa.person().certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        EMAIL_PROTECTION,
        NATURAL_PERSON,
    ]


def test_an_identity_in_a_log_line_names_nobody(ecdsa):
    identity = ecdsa.person(iin="850101300127", surname="ОЙДАНОВ")
    assert "ОЙДАНОВ" not in repr(identity)
    assert "850101300127" not in repr(identity)
