"""The whole verification of a citizen's signature, step by step, failing closed.

Each step is a function that returns or raises; a further one (revocation, a timestamp's time) takes
its place between them with the `Chain` and the unsigned attributes at hand.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.eds.algorithms import digest_algorithm, signature_algorithm
from ledger.eds.attributes import SignedAttributes
from ledger.eds.certificates import TrustStore
from ledger.eds.cms import SignedData, SignerInfo, decode, read_signed_data, sole_signer
from ledger.eds.errors import CertificateMissingError, StatementMismatchError
from ledger.eds.person import Person
from ledger.eds.policy import require_personal_signature


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed, with what, and when they say they did."""

    person: Person
    certificate_sha256: bytes
    """32 bytes, over the DER."""
    serial: str
    """Serial number of the certificate, lower-case hexadecimal as the CA prints it."""
    algorithm: str
    """Such as ``RSA-SHA256``, ``RSA-PSS-SHA256``, ``ECDSA-P256-SHA256``."""
    signed_at: datetime.datetime | None
    """The signer's claim (UTC); the time that counts is the one of receipt."""
    cert_not_before: datetime.datetime
    cert_not_after: datetime.datetime


def verify(cms: bytes | str, *, content: bytes, trust: TrustStore, at: datetime.datetime) -> Signer:
    """Who signed exactly ``content``, as of ``at`` (aware: the time of receipt).

    ``cms`` is a CMS SignedData as DER, PEM or base64, with the content attached or detached. Raises
    an `EdsError` of the kind that says what is wrong; there is no other way to fail, and no answer
    of "perhaps". `ValueError` is for a naive ``at``, a mistake of the caller.
    """
    if at.tzinfo is None:
        raise ValueError("at must carry a time zone")
    signed = read_signed_data(decode(cms))
    signer = sole_signer(signed)
    digest = digest_algorithm(signer.digest_algorithm)
    algorithm = signature_algorithm(signer.signature_algorithm, digest)
    _require_statement(signed, content)
    attributes = SignedAttributes.of(signer)
    attributes.require_content(content, digest)

    certificate = _certificate_of(signer, signed.certificates or [])
    certificate_der = certificate.public_bytes(Encoding.DER)
    attributes.require_certificate(certificate, certificate_der)
    trust.verify_chain(certificate, signed.certificates or [], at)
    require_personal_signature(certificate)
    algorithm.verify(certificate, signer.signature, attributes.signed_bytes)

    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Signer(
        person=Person.of_certificate(certificate),
        certificate_sha256=hashlib.sha256(certificate_der).digest(),
        serial=f"{certificate.serial_number:x}",
        algorithm=algorithm.name,
        signed_at=attributes.signed_at(at=at, not_before=not_before, not_after=not_after),
        cert_not_before=not_before,
        cert_not_after=not_after,
    )


def _require_statement(signed: SignedData, content: bytes) -> None:
    attached = signed.encapsulated.content
    if attached is not None and attached != content:
        raise StatementMismatchError(
            "The text in the CMS is not the statement to be signed; sign exactly the bytes you were given."
        )


def _certificate_of(signer: SignerInfo, certificates: list[x509.Certificate]) -> x509.Certificate:
    """The certificate that the SignerInfo points to: by issuer and serial, or by key identifier."""
    found = [certificate for certificate in certificates if _is_named(certificate, signer)]
    if len(found) != 1:
        raise CertificateMissingError(
            f"The CMS must carry the signer's certificate once, it has it {len(found)} times; "
            "let the signing program include it."
        )
    return found[0]


def _is_named(certificate: x509.Certificate, signer: SignerInfo) -> bool:
    sid = signer.sid
    if isinstance(sid, bytes):
        try:
            extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return False
        return extension.value.digest == sid
    return (
        certificate.serial_number == sid.serial_number
        and certificate.issuer.public_bytes() == asn1.encode_der(sid.issuer)
    )
