"""A citizen's signature is accepted when all of it is right, and refused by its own name when not."""

import base64
import datetime
import hashlib

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier, SubjectKeyIdentifier

from ledger.eds import errors
from ledger.eds.algorithms import (
    ECDSA_SHA256,
    MGF1,
    RSA_ENCRYPTION,
    RSA_SHA512,
    RSASSA_PSS,
    SHA256,
    SHA384,
    HashIdentifier,
    MaskGenIdentifier,
    PssParameters,
    SignatureIdentifier,
)
from ledger.eds.attributes import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
    EssCertIdV2,
    IssuerSerial,
    SigningCertificateV2,
)
from ledger.eds.authority import AUTHENTICATION, SYSTEM, Authority, make_key
from ledger.eds.policy import CLIENT_AUTHENTICATION, EMAIL_PROTECTION, NATURAL_PERSON
from ledger.eds.signing import make_attribute
from ledger.eds.verify import verify

SHA1 = ObjectIdentifier("1.3.14.3.2.26")
MD5 = ObjectIdentifier("1.2.840.113549.2.5")
HOUR = datetime.timedelta(hours=1)


def without(oid):
    return lambda honest: [attribute for attribute in honest if attribute.type != oid]


def replaced(oid, value):
    return lambda honest: [*without(oid)(honest), make_attribute(oid, value)]


def naming(*named):
    return replaced(SIGNING_CERTIFICATE_V2, SigningCertificateV2(certificates=list(named), policies=None))


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def person(authority):
    return authority.person(iin="850101300123", surname="ОЙДАНОВ", first_name="ТЕСТ", patronymic="ТЕСТҰЛЫ")


@pytest.fixture
def refused(authority, statement, at):
    def check(cms, error, *, trust=None, content=statement, at=at):
        with pytest.raises(errors.EdsError) as caught:
            verify(cms, content=content, trust=trust or authority.trust, at=at)
        assert type(caught.value) is error
        said = f"{caught.value} {caught.value.details} {caught.value!r}"
        assert "ОЙДАНОВ" not in said
        assert "850101300123" not in said
        return caught.value

    return check


class TestAccepted:
    @pytest.mark.parametrize("attached", [True, False])
    @pytest.mark.parametrize(
        ("made", "pss", "name"),
        [
            ("authority", False, "RSA-SHA256"),
            ("authority", True, "RSA-PSS-SHA256"),
            ("ecdsa", False, "ECDSA-P256-SHA256"),
        ],
    )
    def test_a_citizens_signature_says_who_signed_with_what(
        self, request, statement, at, made, pss, name, attached
    ):
        authority = request.getfixturevalue(made)
        identity = authority.person(iin="850101300123", surname="ОЙДАНОВ", first_name="ТЕСТ", patronymic="")
        cms = identity.sign(statement, attached=attached, signing_time=at, pss=pss)
        signer = verify(cms, content=statement, trust=authority.trust, at=at)
        assert signer.person.iin == "850101300123"
        assert signer.person.masked_name == "ТЕСТ О."
        assert signer.algorithm == name
        assert signer.certificate_sha256 == hashlib.sha256(der(identity.certificate)).digest()
        assert int(signer.serial, 16) == identity.certificate.serial_number
        assert signer.signed_at == at.replace(microsecond=0)
        assert signer.cert_not_after == identity.certificate.not_valid_after_utc

    def test_rsa_4096_is_accepted(self, authority, statement, at):
        cms = authority.person(key=make_key("rsa", bits=4096)).sign(statement, signing_time=at)
        assert verify(cms, content=statement, trust=authority.trust, at=at).algorithm == "RSA-SHA256"

    def test_der_pem_and_base64_say_the_same(self, authority, person, statement, at):
        cms = person.sign(statement, signing_time=at)
        body = base64.encodebytes(cms).decode()
        forms = [
            cms,
            base64.b64encode(cms),
            body,
            f"-----BEGIN CMS-----\n{body}-----END CMS-----\n",
            f"-----BEGIN PKCS7-----\n{body}-----END PKCS7-----".replace("\n", "\r\n"),
        ]
        signers = {verify(form, content=statement, trust=authority.trust, at=at) for form in forms}
        assert len(signers) == 1

    def test_the_signers_certificate_may_be_named_by_its_key_identifier(
        self, craft, authority, person, statement, at
    ):
        extension = person.certificate.extensions.get_extension_for_class(SubjectKeyIdentifier)
        cms = craft(person, signer=lambda parts: parts | {"version": 3, "sid": extension.value.digest})
        assert verify(cms, content=statement, trust=authority.trust, at=at).algorithm == "RSA-SHA256"

    def test_rsa_encryption_as_signature_algorithm_takes_the_digest_of_the_signer(
        self, craft, authority, person, statement, at
    ):
        # As OpenSSL writes it.
        identifier = SignatureIdentifier(algorithm=RSA_ENCRYPTION, parameters=asn1.Null())
        cms = craft(person, signer=lambda parts: parts | {"signature_algorithm": identifier})
        assert verify(cms, content=statement, trust=authority.trust, at=at).algorithm == "RSA-SHA256"

    @pytest.mark.parametrize("oid", [SIGNING_TIME, SIGNING_CERTIFICATE_V2])
    def test_signing_time_and_signing_certificate_may_be_absent(
        self, craft, authority, person, statement, at, oid
    ):
        signer = verify(
            craft(person, attributes=without(oid)), content=statement, trust=authority.trust, at=at
        )
        assert (signer.signed_at is None) == (oid == SIGNING_TIME)

    def test_signing_certificate_may_name_digest_issuer_and_serial(
        self, craft, authority, person, statement, at
    ):
        issuer = person.certificate.issuer.public_bytes()
        # GeneralName directoryName: [4] EXPLICIT, definite short length.
        name = asn1.decode_der(asn1.TLV, b"\xa4" + bytes([len(issuer)]) + issuer)
        serial = IssuerSerial(issuer=[name], serial_number=person.certificate.serial_number)
        digest = HashIdentifier(algorithm=SHA384, parameters=None)
        named = EssCertIdV2(
            hash_algorithm=digest, hash=hashlib.sha384(der(person.certificate)).digest(), issuer_serial=serial
        )
        cms = craft(person, attributes=naming(named))
        assert verify(cms, content=statement, trust=authority.trust, at=at).person.first_name == "ТЕСТ"

    def test_nothing_printed_about_a_signer_contains_surname_or_iin(self, authority, person, statement, at):
        signer = verify(
            person.sign(statement, signing_time=at), content=statement, trust=authority.trust, at=at
        )
        for text in (repr(signer), str(signer.person), f"{person}"):
            assert "ОЙДАНОВ" not in text
            assert "850101300123" not in text
            assert "ТЕСТҰЛЫ" not in text


class TestStatement:
    def test_a_cms_over_another_statement_is_refused(self, refused, person):
        refused(person.sign(b"another petition"), errors.StatementMismatchError)
        refused(person.sign(b"another petition", attached=False), errors.DigestMismatchError)

    def test_one_changed_byte_of_the_statement_is_refused(self, refused, person, statement):
        cms = person.sign(statement, attached=False)
        refused(cms, errors.DigestMismatchError, content=statement + b" ")

    def test_attached_content_beside_the_digest_of_the_right_statement_is_refused(
        self, craft, refused, person, statement
    ):
        honest = replaced(MESSAGE_DIGEST, hashlib.sha256(statement).digest())
        cms = craft(person, content=b"evil", attributes=honest)
        refused(cms, errors.StatementMismatchError)

    def test_the_right_content_beside_the_digest_of_another_is_refused(self, craft, refused, person):
        cms = craft(person, attributes=replaced(MESSAGE_DIGEST, hashlib.sha256(b"other").digest()))
        refused(cms, errors.DigestMismatchError)


class TestSignedAttributes:
    def test_a_signature_without_signed_attributes_is_refused(self, craft, refused, person):
        refused(craft(person, attributes=lambda _: None), errors.SignedAttributesError)

    @pytest.mark.parametrize("oid", [CONTENT_TYPE, MESSAGE_DIGEST])
    def test_content_type_and_message_digest_must_be_there(self, craft, refused, person, oid):
        refused(craft(person, attributes=without(oid)), errors.SignedAttributesError)

    @pytest.mark.parametrize("oid", [CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME, SIGNING_CERTIFICATE_V2])
    def test_an_attribute_of_the_wrong_kind_is_refused(self, craft, refused, person, oid):
        refused(craft(person, attributes=replaced(oid, 7)), errors.SignedAttributesError)

    def test_another_content_type_is_refused(self, craft, refused, person):
        cms = craft(person, attributes=replaced(CONTENT_TYPE, ObjectIdentifier("1.2.840.113549.1.7.5")))
        refused(cms, errors.SignedAttributesError)

    def test_a_doubled_attribute_is_refused(self, craft, refused, person):
        cms = craft(person, attributes=lambda honest: [*honest, make_attribute(MESSAGE_DIGEST, b"\0" * 32)])
        refused(cms, errors.SignedAttributesError)

    def test_attributes_swapped_after_signing_are_refused(self, craft, refused, person, at):
        later = asn1.UTCTime(at.replace(microsecond=0) - HOUR)

        def swap(parts):
            attributes = replaced(SIGNING_TIME, later)(parts["signed_attributes"].as_list())
            return parts | {"signed_attributes": asn1.SetOf(attributes)}

        refused(craft(person, signer=swap), errors.SignatureInvalidError)

    def test_signing_certificate_must_name_the_signers(self, craft, refused, authority, person):
        other = hashlib.sha256(der(authority.issuing.certificate)).digest()
        wrong = EssCertIdV2(hash_algorithm=None, hash=other, issuer_serial=None)
        refused(craft(person, attributes=naming(wrong)), errors.SignedAttributesError)
        refused(craft(person, attributes=naming()), errors.SignedAttributesError)

    def test_signing_certificate_must_name_the_signers_serial(self, craft, refused, person):
        serial = IssuerSerial(issuer=[], serial_number=person.certificate.serial_number)
        digest = hashlib.sha256(der(person.certificate)).digest()
        named = EssCertIdV2(hash_algorithm=None, hash=digest, issuer_serial=serial)
        refused(craft(person, attributes=naming(named)), errors.SignedAttributesError)

    def test_the_sha1_form_of_signing_certificate_is_refused(self, craft, refused, person):
        cms = craft(person, attributes=lambda honest: [*honest, make_attribute(SIGNING_CERTIFICATE, b"")])
        refused(cms, errors.SignedAttributesError)

    def test_a_clock_a_little_ahead_is_forgiven_and_the_future_is_not(
        self, refused, authority, person, statement, at
    ):
        near = person.sign(statement, signing_time=at + datetime.timedelta(minutes=4))
        assert verify(near, content=statement, trust=authority.trust, at=at).signed_at > at
        far = person.sign(statement, signing_time=at + datetime.timedelta(minutes=6))
        refused(far, errors.SigningTimeError)

    def test_a_signing_time_before_the_certificate_is_refused(self, refused, person, statement):
        early = person.certificate.not_valid_before_utc - HOUR
        refused(person.sign(statement, signing_time=early), errors.SigningTimeError)


class TestAlgorithms:
    @pytest.mark.parametrize("weak", [SHA1, MD5])
    def test_a_weak_digest_is_refused(self, craft, refused, person, weak):
        identifier = HashIdentifier(algorithm=weak, parameters=None)
        cms = craft(person, signer=lambda parts: parts | {"digest_algorithm": identifier})
        assert "too weak" in str(refused(cms, errors.AlgorithmNotSupportedError))

    @pytest.mark.parametrize(
        "oid",
        [
            ObjectIdentifier("1.2.840.113549.1.1.5"),
            ObjectIdentifier("1.2.398.3.10.1.1.2.3.2"),
            RSA_SHA512,
            RSASSA_PSS,
            ECDSA_SHA256,
        ],
    )
    def test_a_signature_algorithm_that_is_weak_unknown_or_does_not_fit_is_refused(
        self, craft, refused, person, oid
    ):
        identifier = SignatureIdentifier(algorithm=oid, parameters=None)
        cms = craft(person, signer=lambda parts: parts | {"signature_algorithm": identifier})
        refused(cms, errors.AlgorithmNotSupportedError)

    @pytest.mark.parametrize(
        "change",
        [
            {"hash": HashIdentifier(algorithm=SHA1, parameters=None)},
            {"hash": HashIdentifier(algorithm=SHA384, parameters=None)},
            {"hash": None},
            {"mask": None},
            {"salt_length": 20},
            {"salt_length": None},
            {"trailer": 2},
        ],
    )
    def test_pss_parameters_are_checked(self, craft, refused, person, change):
        sha256 = HashIdentifier(algorithm=SHA256, parameters=None)
        parameters = {
            "hash": sha256,
            "mask": MaskGenIdentifier(algorithm=MGF1, hash=sha256),
            "salt_length": 32,
            "trailer": None,
        } | change
        identifier = SignatureIdentifier(algorithm=RSASSA_PSS, parameters=PssParameters(**parameters))
        cms = craft(person, signer=lambda parts: parts | {"signature_algorithm": identifier})
        refused(cms, errors.AlgorithmNotSupportedError)

    def test_an_rsa_key_of_1024_bits_is_refused(self, authority, refused, statement):
        weak = authority.person(key=make_key("rsa", bits=1024))
        assert "1024" in str(refused(weak.sign(statement), errors.AlgorithmNotSupportedError))


class TestSigners:
    def test_two_signers_or_none_are_refused(self, craft, refused, person):
        assert refused(craft(person, signers=2), errors.SignerCountError).details == {"signers": 2}
        assert refused(craft(person, signers=0), errors.SignerCountError).details == {"signers": 0}

    def test_a_cms_without_the_signers_certificate_is_refused(self, craft, refused, authority, person):
        refused(craft(person, certificates=[]), errors.CertificateMissingError)
        other = authority.person().certificate
        refused(craft(person, certificates=[other]), errors.CertificateMissingError)

    def test_a_signature_by_another_key_is_refused(self, refused, authority, person, statement):
        thief = make_key("rsa")
        forged = type(person)(person.certificate, thief).sign(statement)
        refused(forged, errors.SignatureInvalidError)

    @pytest.mark.parametrize("version", [0, 2, 3])
    def test_the_version_must_fit_the_signer_identifier(self, craft, refused, person, version):
        refused(craft(person, signer=lambda parts: parts | {"version": version}), errors.CmsMalformedError)


class TestCertificates:
    def test_a_certificate_of_an_unknown_authority_is_refused(self, refused, statement):
        stranger = Authority.create("ecdsa", name="STRANGER")
        refused(stranger.person().sign(statement), errors.CertificateUntrustedError)

    def test_a_forged_authority_of_the_right_name_is_refused(self, craft, refused, statement):
        forger = Authority.create("ecdsa")
        refused(forger.person().sign(statement), errors.CertificateUntrustedError)
        # Nor does it help to bring the forged authorities along.
        person = forger.person()
        chain = [person.certificate, forger.issuing.certificate, forger.root.certificate]
        refused(craft(person, certificates=chain), errors.CertificateUntrustedError)

    def test_an_expired_certificate_is_refused(self, refused, authority, statement, at):
        old = authority.person(not_before=at - 100 * HOUR, not_after=at - HOUR)
        cms = old.sign(statement, signing_time=at - 2 * HOUR)
        refused(cms, errors.CertificateExpiredError)

    def test_a_certificate_that_is_not_valid_yet_is_refused(self, refused, authority, statement, at):
        new = authority.person(not_before=at + HOUR, not_after=at + 2 * HOUR)
        refused(new.sign(statement), errors.CertificateNotYetValidError)

    def test_each_wrong_kind_of_certificate_has_its_own_error(self, refused, authority, statement):
        cases = [
            (authority.person(usage=AUTHENTICATION), errors.CertificateAuthenticationOnlyError),
            (authority.company(), errors.CertificateNotAPersonError),
            (authority.company(usage=SYSTEM), errors.CertificateOfSystemError),
            (authority.person(usage=[EMAIL_PROTECTION]), errors.CertificateUsageError),
            (authority.person(usage=[NATURAL_PERSON]), errors.CertificateUsageError),
            (
                authority.person(usage=[CLIENT_AUTHENTICATION, NATURAL_PERSON]),
                errors.CertificateAuthenticationOnlyError,
            ),
        ]
        codes = {refused(identity.sign(statement), error).code for identity, error in cases}
        assert codes == {
            "certificate-authentication-only",
            "certificate-not-a-person",
            "certificate-of-system",
            "certificate-usage",
        }

    def test_a_certificate_that_names_nobody_is_refused(self, refused, authority, statement):
        refused(authority.person(iin="12345678901").sign(statement), errors.PersonUnreadableError)


def test_a_time_without_a_zone_is_the_callers_mistake(authority, person, statement, at):
    with pytest.raises(ValueError, match="time zone"):
        verify(person.sign(statement), content=statement, trust=authority.trust, at=at.replace(tzinfo=None))


def test_every_error_has_a_code_and_a_title_of_its_own():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert len({kind.title for kind in kinds}) == len(kinds)
