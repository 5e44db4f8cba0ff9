"""A chain ends at a pinned root, and every link of it was allowed to be one."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.eds.authority import Authority, make_key
from ledger.eds.certificates import TrustStore
from ledger.eds.errors import (
    AlgorithmNotSupportedError,
    CertificateExpiredError,
    CertificateUntrustedError,
    CertificateUsageError,
)
from ledger.eds.policy import EMAIL_PROTECTION, NATURAL_PERSON, require_personal_signature

DAY = datetime.timedelta(days=1)


def name(common):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def pem(*certificates):
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


class Node:
    """A certificate and its key, with anything about it chosen by the test."""

    def __init__(
        self,
        at,
        common,
        issuer=None,
        *,
        key=None,
        ca=True,
        issues=True,
        path_length=None,
        days=1000,
        digest=None,
        pss=False,
        extra=(),
        constraints=True,
        signs=True,
        issuer_name=None,
    ):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        issuer_key = issuer.key if issuer else self.key
        self.subject = name(common)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer_name or (issuer.subject if issuer else self.subject))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - 2000 * DAY)
            .not_valid_after(at + days * DAY)
            .add_extension(
                x509.KeyUsage(signs, signs, False, False, False, issues, issues, False, False), critical=True
            )
            .add_extension(x509.ExtendedKeyUsage([EMAIL_PROTECTION, NATURAL_PERSON]), critical=False)
        )
        if constraints:
            builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        for extension in extra:
            builder = builder.add_extension(extension, critical=True)
        options = (
            {"rsa_padding": padding.PSS(padding.MGF1(digest or hashes.SHA256()), padding.PSS.DIGEST_LENGTH)}
            if pss
            else {}
        )
        self.certificate = builder.sign(issuer_key, digest or hashes.SHA256(), **options)


@pytest.fixture
def node(at):
    return lambda *args, **kwargs: Node(at, *args, **kwargs)


@pytest.fixture
def leaf(node):
    return lambda issuer, **kwargs: node("leaf", issuer, ca=False, issues=False, **kwargs)


def trusting(root, *intermediates):
    return TrustStore([pem(root.certificate)], [pem(node.certificate) for node in intermediates])


class TestChains:
    def test_a_chain_is_given_leaf_first_and_root_last(self, node, leaf, at):
        root = node("root")
        middle = node("middle", root)
        end = leaf(middle)
        chain = trusting(root, middle).verify_chain(end.certificate, [], at)
        assert chain.certificates == (end.certificate, middle.certificate, root.certificate)
        assert chain.issuer == middle.certificate

    def test_the_cms_may_bring_intermediates_in_any_order(self, node, leaf, at):
        root = node("root")
        first = node("first", root)
        second = node("second", first)
        end = leaf(second)
        for extra in ([first, second], [second, first], [second, root, first]):
            certificates = [one.certificate for one in extra]
            chain = trusting(root).verify_chain(end.certificate, certificates, at)
            assert len(chain.certificates) == 4

    def test_a_chain_without_its_intermediate_is_refused(self, node, leaf, at):
        root = node("root")
        end = leaf(node("middle", root))
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(end.certificate, [], at)

    def test_a_root_brought_along_is_not_trusted(self, node, leaf, at):
        pinned, own = node("root"), node("root")
        end = leaf(own)
        with pytest.raises(CertificateUntrustedError):
            trusting(pinned).verify_chain(end.certificate, [own.certificate], at)

    def test_a_certificate_signed_by_an_end_entity_is_refused(self, node, leaf, at):
        root = node("root")
        person = leaf(root)
        forged = leaf(person)
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(forged.certificate, [person.certificate], at)

    @pytest.mark.parametrize("fault", [{"ca": False}, {"issues": False}, {"constraints": False}])
    def test_an_issuer_must_be_an_authority_that_may_sign_certificates(self, node, leaf, at, fault):
        root = node("root")
        middle = node("middle", root, **fault)
        end = leaf(middle)
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(end.certificate, [middle.certificate], at)

    def test_the_path_length_is_kept(self, node, leaf, at):
        root = node("root", path_length=1)
        first = node("first", root)
        end = leaf(first)
        assert trusting(root, first).verify_chain(end.certificate, [], at)
        second = node("second", first)
        too_deep = leaf(second)
        with pytest.raises(CertificateUntrustedError):
            trusting(root, first).verify_chain(too_deep.certificate, [second.certificate], at)

    def test_a_tighter_path_length_below_is_kept_too(self, node, leaf, at):
        root = node("root")
        first = node("first", root, path_length=0)
        second = node("second", first)
        with pytest.raises(CertificateUntrustedError):
            trusting(root, first).verify_chain(leaf(second).certificate, [second.certificate], at)

    def test_a_chain_of_endless_authorities_is_refused(self, node, leaf, at):
        root = node("root")
        chain = [root]
        for depth in range(4):
            chain.append(node(f"ca{depth}", chain[-1]))
        extra = [one.certificate for one in chain]
        assert trusting(root).verify_chain(leaf(chain[3]).certificate, extra, at)
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(leaf(chain[4]).certificate, extra, at)

    def test_certificates_that_name_each_other_in_a_ring_are_refused(self, node, leaf, at):
        root, one = node("root"), node("one", issuer_name=name("two"))
        two = node("two", one)
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(leaf(two).certificate, [one.certificate, two.certificate], at)

    def test_an_authoritys_own_certificate_does_not_sign(self, node, at):
        root = node("root")
        middle = node("middle", root)
        with pytest.raises(CertificateUntrustedError, match="authorities do not sign"):
            trusting(root).verify_chain(middle.certificate, [], at)

    def test_a_critical_extension_that_is_not_understood_is_refused(self, node, leaf, at):
        root = node("root")
        strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        with pytest.raises(CertificateUntrustedError, match=r"1\.2\.3\.4"):
            trusting(root).verify_chain(leaf(root, extra=[strange]).certificate, [], at)

    def test_name_constraints_are_not_passed_over(self, node, leaf, at):
        root = node("root")
        constraints = x509.NameConstraints([x509.DirectoryName(name("elsewhere"))], None)
        middle = node("middle", root, extra=[constraints])
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(leaf(middle).certificate, [middle.certificate], at)


class TestTime:
    def test_an_expired_authority_is_refused(self, node, leaf, at):
        root = node("root")
        middle = node("middle", root, days=-1)
        with pytest.raises(CertificateExpiredError):
            trusting(root, middle).verify_chain(leaf(middle).certificate, [], at)

    def test_the_same_chain_was_good_in_its_day(self, node, leaf, at):
        root = node("root", days=-1)
        end = leaf(root)
        assert trusting(root).verify_chain(end.certificate, [], at - 10 * DAY)
        with pytest.raises(CertificateExpiredError):
            trusting(root).verify_chain(end.certificate, [], at)

    def test_a_renewed_authority_of_the_same_key_is_found(self, node, leaf, at):
        root = node("root")
        old = node("middle", root, days=-1)
        new = node("middle", root, key=old.key)
        end = leaf(old)
        for order in ((old, new), (new, old)):
            assert trusting(root, *order).verify_chain(end.certificate, [], at).issuer == new.certificate
        assert trusting(root, old).verify_chain(end.certificate, [new.certificate], at)


class TestAlgorithms:
    def test_a_weak_key_anywhere_in_the_chain_is_refused(self, node, leaf, at):
        root = node("root")
        weak = node("weak", root, key=make_key("rsa", bits=1024))
        with pytest.raises(CertificateUntrustedError):
            trusting(root).verify_chain(leaf(weak).certificate, [weak.certificate], at)
        with pytest.raises(AlgorithmNotSupportedError):
            trusting(root).verify_chain(leaf(root, key=make_key("rsa", bits=1024)).certificate, [], at)
        with pytest.raises(AlgorithmNotSupportedError):
            trusting(node("root", key=make_key("rsa", bits=1024)))

    def test_another_curve_is_refused(self, node, leaf, at):
        root = node("root")
        key = ec.generate_private_key(ec.SECP384R1())
        with pytest.raises(AlgorithmNotSupportedError, match="secp384r1"):
            trusting(root).verify_chain(leaf(root, key=key).certificate, [], at)

    def test_a_certificate_signed_over_another_digest_than_agreed_is_refused(self, node, leaf, at):
        root = node("root")
        with pytest.raises(AlgorithmNotSupportedError):
            trusting(root).verify_chain(leaf(root, digest=hashes.SHA384()).certificate, [], at)

    def test_an_authority_may_sign_by_pss(self, node, leaf, at, authority):
        root = node("root", key=authority.root.key)
        assert trusting(root).verify_chain(leaf(root, pss=True).certificate, [], at)
        weak = leaf(root, pss=True, digest=hashes.SHA224())
        with pytest.raises(AlgorithmNotSupportedError, match="weak digest"):
            trusting(root).verify_chain(weak.certificate, [], at)


class TestUsage:
    def test_key_usage_must_allow_signing(self, node, leaf):
        with pytest.raises(CertificateUsageError, match="key usage"):
            require_personal_signature(leaf(node("root"), signs=False).certificate)


class TestTrustStore:
    def test_der_and_pem_bundles_are_read(self, authority, ecdsa):
        roots = pem(authority.root.certificate, ecdsa.root.certificate)
        middle = ecdsa.issuing.certificate.public_bytes(Encoding.DER)
        store = TrustStore([roots], [middle])
        assert len(store.roots) == 2
        assert len(store.intermediates) == 1

    def test_an_intermediate_under_no_root_is_an_installers_mistake(self, ecdsa):
        other = Authority.create("ecdsa")
        with pytest.raises(CertificateUntrustedError, match="does not chain"):
            TrustStore([pem(ecdsa.root.certificate)], [pem(other.issuing.certificate)])

    def test_a_root_that_is_a_person_is_an_installers_mistake(self, ecdsa):
        with pytest.raises(CertificateUntrustedError):
            TrustStore([pem(ecdsa.person().certificate)])

    def test_no_roots_trust_nobody(self):
        with pytest.raises(CertificateUntrustedError):
            TrustStore([])
