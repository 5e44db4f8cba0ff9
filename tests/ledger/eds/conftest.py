"""Real authorities, people and signatures, made on the spot."""

import datetime

import pytest
from cryptography.hazmat import asn1

from ledger.eds.algorithms import SHA256, HashIdentifier
from ledger.eds.authority import Authority
from ledger.eds.cms import IssuerAndSerialNumber, SignerInfo
from ledger.eds.signing import sign_bytes, signed_attributes, wrap_cms

STATEMENT = "Петиция 17, тіл: kk. Қолдаймын.".encode()


@pytest.fixture
def statement():
    return STATEMENT


@pytest.fixture(scope="session")
def at():
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="session")
def authority():
    """RSA throughout, as the Kazakh CA issued for years."""
    return Authority.create("rsa")


@pytest.fixture(scope="session")
def ecdsa():
    return Authority.create("ecdsa")


@pytest.fixture(scope="session")
def craft(at):
    """A CMS by hand: any part of an honest one may be replaced before the signature is made."""

    def make(
        identity,
        *,
        attributes=lambda honest: honest,
        signer=lambda parts: parts,
        content=STATEMENT,
        attached=True,
        certificates=None,
        signers=1,
    ):
        values = attributes(signed_attributes(content, identity.certificate, at))
        signed = None if values is None else asn1.SetOf(values)
        message = content if signed is None else asn1.encode_der(signed)
        identifier, signature = sign_bytes(identity.key, message)
        parts = signer(
            {
                "version": 1,
                "sid": IssuerAndSerialNumber(
                    issuer=asn1.decode_der(asn1.TLV, identity.certificate.issuer.public_bytes()),
                    serial_number=identity.certificate.serial_number,
                ),
                "digest_algorithm": HashIdentifier(algorithm=SHA256, parameters=None),
                "signed_attributes": signed,
                "signature_algorithm": identifier,
                "signature": signature,
                "unsigned_attributes": None,
            }
        )
        return wrap_cms(
            [SignerInfo(**parts)] * signers,
            content=content if attached else None,
            certificates=[identity.certificate] if certificates is None else certificates,
        )

    return make
