"""Why an electronic digital signature is refused: one class and one stable code for each reason.

No message and no detail carries a name or an IIN: these errors go to logs and to HTTP answers.
"""

from __future__ import annotations

from ledger.errors import AiqynError


class EdsError(AiqynError):
    """Base of all: whoever catches it has refused the signature, whatever the reason."""

    code = "signature-refused"
    title = "The electronic signature was refused"


class CmsMalformedError(EdsError):
    """The bytes are not the one strict DER form of a CMS signature that is read here."""

    code = "cms-malformed"
    title = "The CMS signature cannot be read"


class CmsTooLargeError(EdsError):
    """The CMS is longer than ``MAX_CMS_BYTES``; nothing of it was read."""

    code = "cms-too-large"
    title = "The CMS signature is too large"


class SignerCountError(EdsError):
    """Not exactly one SignerInfo: it would not be clear who signed."""

    code = "signer-count"
    title = "The CMS must have exactly one signer"


class StatementMismatchError(EdsError):
    """The attached content is not the statement that was to be signed."""

    code = "statement-mismatch"
    title = "Another text was signed"


class SignedAttributesError(EdsError):
    """A signed attribute is missing, doubled, or says something else than the rest of the CMS."""

    code = "signed-attributes"
    title = "The signed attributes do not fit the signature"


class DigestMismatchError(EdsError):
    """The message-digest attribute is not the digest of the statement."""

    code = "digest-mismatch"
    title = "The signature was made over other bytes"


class SigningTimeError(EdsError):
    """The time the signer claims lies in the future or before the certificate existed."""

    code = "signing-time"
    title = "The signing time is not possible"


class SignatureInvalidError(EdsError):
    """The signature value does not verify under the certificate's key."""

    code = "signature-invalid"
    title = "The signature does not verify"


class AlgorithmNotSupportedError(EdsError):
    """A key, digest or signature algorithm that is weak or unknown here."""

    code = "algorithm-not-supported"
    title = "The algorithm is not supported"


class CertificateMissingError(EdsError):
    """The CMS does not carry the certificate that its SignerInfo points to."""

    code = "certificate-missing"
    title = "The signer's certificate is not in the CMS"


class CertificateUntrustedError(EdsError):
    """No unbroken chain from the certificate to a pinned root."""

    code = "certificate-untrusted"
    title = "The certificate is not from a trusted authority"


class CertificateExpiredError(EdsError):
    """The certificate, or an authority above it, is past its last day."""

    code = "certificate-expired"
    title = "The certificate has expired"


class CertificateNotYetValidError(EdsError):
    """The certificate, or an authority above it, is not valid yet."""

    code = "certificate-not-yet-valid"
    title = "The certificate is not valid yet"


class CertificateUsageError(EdsError):
    """The certificate was issued for something else than a natural person's signature."""

    code = "certificate-usage"
    title = "The certificate is not for signing"


class CertificateAuthenticationOnlyError(CertificateUsageError):
    """The AUTH certificate: it opens doors, it does not sign."""

    code = "certificate-authentication-only"
    title = "This is an authentication certificate"


class CertificateNotAPersonError(CertificateUsageError):
    """A legal entity's certificate; only citizens sign."""

    code = "certificate-not-a-person"
    title = "This is a legal entity's certificate"


class CertificateOfSystemError(CertificateNotAPersonError):
    """An information system's certificate; only citizens sign."""

    code = "certificate-of-system"
    title = "This is an information system's certificate"


class PersonUnreadableError(EdsError):
    """The certificate's subject does not say who the person is."""

    code = "person-unreadable"
    title = "The certificate does not name a person"


class IinInvalidError(EdsError):
    """Not an individual identification number."""

    code = "iin-invalid"
    title = "The IIN is not valid"
