"""What a certificate was issued for: key usage and the policy identifiers of the Kazakh CA.

Extended key usage says both what the key does (e-mail protection = signing, client authentication)
and whose it is (natural person, legal entity and the roles in it).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509 import ObjectIdentifier

from ledger.eds.errors import (
    CertificateAuthenticationOnlyError,
    CertificateNotAPersonError,
    CertificateOfSystemError,
    CertificateUsageError,
)

EMAIL_PROTECTION = ObjectIdentifier("1.3.6.1.5.5.7.3.4")
CLIENT_AUTHENTICATION = ObjectIdentifier("1.3.6.1.5.5.7.3.2")
NATURAL_PERSON = ObjectIdentifier("1.2.398.3.3.4.1.1")
LEGAL_ENTITY = ObjectIdentifier("1.2.398.3.3.4.1.2")
FIRST_HEAD = ObjectIdentifier("1.2.398.3.3.4.1.2.1")
EMPLOYEE = ObjectIdentifier("1.2.398.3.3.4.1.2.5")
INFORMATION_SYSTEM = ObjectIdentifier("1.2.398.3.3.4.1.2.6")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a certificate may do, read once from its extensions."""

    extended: frozenset[ObjectIdentifier]
    signs: bool
    """digitalSignature or contentCommitment (nonRepudiation) is allowed, and it is no authority."""

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Usage:
        """Read the usage. Broken or doubled extensions are `CertificateUsageError`."""
        extended: frozenset[ObjectIdentifier] = frozenset()
        signs, authority = False, False
        try:
            for extension in certificate.extensions:
                value = extension.value
                if type(value) is x509.ExtendedKeyUsage:
                    extended = frozenset(value)
                elif type(value) is x509.KeyUsage:
                    signs = value.digital_signature or value.content_commitment
                elif type(value) is x509.BasicConstraints:
                    authority = value.ca
        except (ValueError, TypeError, x509.DuplicateExtension) as error:
            raise CertificateUsageError("The certificate's extensions cannot be read.") from error
        return cls(extended, signs and not authority)

    def belongs_to(self, kind: ObjectIdentifier) -> bool:
        """Whether any identifier is ``kind`` or a child of it."""
        below = kind.dotted_string + "."
        return any(oid == kind or oid.dotted_string.startswith(below) for oid in self.extended)


def require_personal_signature(certificate: x509.Certificate) -> None:
    """Accept only a natural person's signing certificate (1.3.6.1.5.5.7.3.4 and 1.2.398.3.3.4.1.1).

    The refusals tell a person which of their keys to take: `CertificateOfSystemError`,
    `CertificateNotAPersonError`, `CertificateAuthenticationOnlyError`, else `CertificateUsageError`.
    """
    usage = Usage.of(certificate)
    if usage.belongs_to(INFORMATION_SYSTEM):
        raise CertificateOfSystemError("An information system's certificate cannot sign; a citizen's can.")
    if usage.belongs_to(LEGAL_ENTITY):
        raise CertificateNotAPersonError(
            "A legal entity's certificate cannot sign; use your certificate as a natural person."
        )
    if EMAIL_PROTECTION not in usage.extended and CLIENT_AUTHENTICATION in usage.extended:
        raise CertificateAuthenticationOnlyError(
            "This certificate is for authentication (AUTH); use your signing certificate (RSA or GOST)."
        )
    if EMAIL_PROTECTION not in usage.extended or NATURAL_PERSON not in usage.extended:
        raise CertificateUsageError("The certificate was not issued for signatures of a natural person.")
    if not usage.signs:
        raise CertificateUsageError(
            "The certificate's key usage allows neither digital signature nor non-repudiation."
        )
