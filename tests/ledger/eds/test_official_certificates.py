"""The CA's own published test certificates (GOST keys), where this installation has them."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509

from ledger.eds.certificates import TrustStore
from ledger.eds.errors import (
    AlgorithmNotSupportedError,
    CertificateNotAPersonError,
    CertificateOfSystemError,
    PersonUnreadableError,
)
from ledger.eds.person import Person
from ledger.eds.policy import require_personal_signature

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "eds"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the CA's test certificates are not here: ../shared/eds"
)


def load(name):
    return x509.load_der_x509_certificate((FOLDER / name).read_bytes())


@pytest.mark.parametrize("name", ["individual_valid.der", "individual_revoked.der"])
def test_a_natural_persons_certificate_says_who_it_is(name):
    certificate = load(name)
    require_personal_signature(certificate)
    person = Person.of_certificate(certificate)
    assert person.masked_name == "ТЕСТ Т."
    assert person.full_name == "ТЕСТОВ ТЕСТ ТЕСТОВИЧ"
    assert len(person.iin) == 12


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("legal_ceo_valid.der", CertificateNotAPersonError),
        ("legal_signer_valid.der", CertificateNotAPersonError),
        ("legal_infosystem_valid.der", CertificateOfSystemError),
    ],
)
def test_companies_and_systems_may_not_sign(name, error):
    with pytest.raises(error):
        require_personal_signature(load(name))


def test_an_information_system_is_nobody():
    with pytest.raises(PersonUnreadableError):
        Person.of_certificate(load("legal_infosystem_valid.der"))


def test_gost_is_refused_as_an_algorithm_not_supported(ecdsa):
    at = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
    with pytest.raises(AlgorithmNotSupportedError, match=r"1\.2\.398\.3\.10"):
        ecdsa.trust.verify_chain(load("individual_valid.der"), [load("nca_gost2022_test.cer")], at)
    with pytest.raises(AlgorithmNotSupportedError):
        TrustStore([(FOLDER / "root_test_gost_2022.cer").read_bytes()])
