"""Which algorithms a signature may use: tables keyed by object identifier.

Keys: RSA of 2048 to 4096 bits, ECDSA on P-256. Digests: SHA-256, SHA-384, SHA-512. Everything else
is refused by its absence, MD5 and SHA-1 with a word why. A further algorithm (GOST 34.10-2015) is
one more row in `KEYS`, `DIGESTS`, `SIGNATURES` and `CERTIFICATE_SIGNATURES`, and no change elsewhere.
"""

# No `from __future__ import annotations`: hazmat.asn1 reads the annotations.

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ObjectIdentifier

from ledger.eds.errors import AlgorithmNotSupportedError, SignatureInvalidError

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096

RSA_ENCRYPTION = ObjectIdentifier("1.2.840.113549.1.1.1")
RSASSA_PSS = ObjectIdentifier("1.2.840.113549.1.1.10")
MGF1 = ObjectIdentifier("1.2.840.113549.1.1.8")
EC_PUBLIC_KEY = ObjectIdentifier("1.2.840.10045.2.1")
RSA_SHA256 = ObjectIdentifier("1.2.840.113549.1.1.11")
RSA_SHA384 = ObjectIdentifier("1.2.840.113549.1.1.12")
RSA_SHA512 = ObjectIdentifier("1.2.840.113549.1.1.13")
ECDSA_SHA256 = ObjectIdentifier("1.2.840.10045.4.3.2")
SHA256 = ObjectIdentifier("2.16.840.1.101.3.4.2.1")
SHA384 = ObjectIdentifier("2.16.840.1.101.3.4.2.2")
SHA512 = ObjectIdentifier("2.16.840.1.101.3.4.2.3")

_TOO_WEAK = {
    ObjectIdentifier("1.2.840.113549.2.5"): "MD5",
    ObjectIdentifier("1.3.14.3.2.26"): "SHA-1",
    ObjectIdentifier("1.2.840.113549.1.1.4"): "RSA with MD5",
    ObjectIdentifier("1.2.840.113549.1.1.5"): "RSA with SHA-1",
    ObjectIdentifier("1.2.840.10045.4.1"): "ECDSA with SHA-1",
}


@asn1.sequence
class HashIdentifier:
    """AlgorithmIdentifier of a digest (RFC 5754 section 2): parameters absent or NULL."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class MaskGenIdentifier:
    """MaskGenAlgorithm (RFC 4055 section 2.2)."""

    algorithm: ObjectIdentifier
    hash: HashIdentifier


@asn1.sequence
class PssParameters:
    """RSASSA-PSS-params (RFC 4055 section 3.1); what is left out means SHA-1, so nothing may be."""

    hash: Annotated[HashIdentifier | None, asn1.Explicit(0)]
    mask: Annotated[MaskGenIdentifier | None, asn1.Explicit(1)]
    salt_length: Annotated[int | None, asn1.Explicit(2)]
    trailer: Annotated[int | None, asn1.Explicit(3)]


@asn1.sequence
class SignatureIdentifier:
    """AlgorithmIdentifier of a signature: parameters absent, NULL, or those of RSASSA-PSS."""

    algorithm: ObjectIdentifier
    parameters: asn1.Null | PssParameters | None


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest: its name, its size in bytes, and how to make one."""

    name: str
    size: int
    compute: Callable[[bytes], bytes]
    hash: hashes.HashAlgorithm


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """A way to verify. ``verify(certificate, signature, message)`` raises `SignatureInvalidError`."""

    name: str
    verify: Callable[[x509.Certificate, bytes, bytes], None]


DIGESTS: Mapping[ObjectIdentifier, Digest] = MappingProxyType(
    {
        SHA256: Digest("SHA256", 32, lambda data: hashlib.sha256(data).digest(), hashes.SHA256()),
        SHA384: Digest("SHA384", 48, lambda data: hashlib.sha384(data).digest(), hashes.SHA384()),
        SHA512: Digest("SHA512", 64, lambda data: hashlib.sha512(data).digest(), hashes.SHA512()),
    }
)


def digest_algorithm(identifier: HashIdentifier) -> Digest:
    """The digest that an AlgorithmIdentifier names, or `AlgorithmNotSupportedError`."""
    digest = DIGESTS.get(identifier.algorithm)
    if digest is None:
        raise _not_supported(identifier.algorithm, "digest")
    return digest


def signature_algorithm(identifier: SignatureIdentifier, digest: Digest) -> SignatureAlgorithm:
    """The algorithm of a SignerInfo, whose ``digestAlgorithm`` is ``digest``.

    Where the signature algorithm names a digest of its own it must be the same one: two digests in
    one signature leave open which of them the signer relied on.
    """
    build = SIGNATURES.get(identifier.algorithm)
    if build is None:
        raise _not_supported(identifier.algorithm, "signature")
    return build(identifier, digest)


def require_strong_key(certificate: x509.Certificate) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """The certificate's public key, if its kind and size are good enough."""
    check = KEYS.get(certificate.public_key_algorithm_oid)
    if check is None:
        raise _not_supported(certificate.public_key_algorithm_oid, "key")
    return check(certificate)


def verify_certificate_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check that ``issuer`` is named by and signed ``certificate``; the issuer's key must be strong.

    Raises `AlgorithmNotSupportedError` or `SignatureInvalidError`. Says nothing about whether the
    issuer may issue, or is trusted.
    """
    require_supported_signature(certificate)
    require_strong_key(issuer)
    CERTIFICATE_SIGNATURES[certificate.signature_algorithm_oid](certificate, issuer)


def require_supported_signature(certificate: x509.Certificate) -> None:
    """Refuse a certificate whose own signature uses an algorithm that is unknown or weak here."""
    oid = certificate.signature_algorithm_oid
    if oid not in CERTIFICATE_SIGNATURES:
        raise _not_supported(oid, "certificate signature")


def _not_supported(oid: ObjectIdentifier, what: str) -> AlgorithmNotSupportedError:
    dotted = oid.dotted_string
    if oid in _TOO_WEAK:
        message = f"{_TOO_WEAK[oid]} is too weak for a signature; sign with SHA-256 or stronger."
    else:
        message = f"The {what} algorithm {dotted} is not supported; use RSA with SHA-256 or ECDSA on P-256."
    return AlgorithmNotSupportedError(message, oid=dotted)


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AlgorithmNotSupportedError("The certificate's public key cannot be read.") from error


def _rsa_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = _public_key(certificate)
    if not isinstance(key, rsa.RSAPublicKey):
        raise AlgorithmNotSupportedError("This algorithm wants an RSA key; the certificate has none.")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise AlgorithmNotSupportedError(
            f"An RSA key of {key.key_size} bits is refused; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted.",
            bits=key.key_size,
        )
    return key


def _p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = _public_key(certificate)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AlgorithmNotSupportedError("This algorithm wants an EC key; the certificate has none.")
    if not isinstance(key.curve, ec.SECP256R1):
        raise AlgorithmNotSupportedError(f"The curve {key.curve.name} is refused; P-256 is accepted.")
    return key


def _require_same_digest(named: Digest, digest: Digest) -> None:
    if named is not digest:
        raise AlgorithmNotSupportedError(
            f"The signature algorithm says {named.name}, the digest algorithm {digest.name}; they must agree."
        )


def _require_no_pss_parameters(identifier: SignatureIdentifier) -> None:
    if isinstance(identifier.parameters, PssParameters):
        raise AlgorithmNotSupportedError("This signature algorithm takes no parameters.")


def _pkcs1(named: ObjectIdentifier | None) -> Callable[[SignatureIdentifier, Digest], SignatureAlgorithm]:
    def build(identifier: SignatureIdentifier, digest: Digest) -> SignatureAlgorithm:
        _require_no_pss_parameters(identifier)
        if named is not None:
            _require_same_digest(DIGESTS[named], digest)
        return _rsa(f"RSA-{digest.name}", padding.PKCS1v15(), digest)

    return build


def _pss(identifier: SignatureIdentifier, digest: Digest) -> SignatureAlgorithm:
    given = identifier.parameters
    if not isinstance(given, PssParameters) or given.hash is None or given.mask is None:
        raise AlgorithmNotSupportedError(
            "RSASSA-PSS must name its hash and mask; what is left out means SHA-1."
        )
    _require_same_digest(digest_algorithm(given.hash), digest)
    if given.mask.algorithm != MGF1:
        raise _not_supported(given.mask.algorithm, "mask generation")
    _require_same_digest(digest_algorithm(given.mask.hash), digest)
    # RFC 4055 section 3.1 recommends a salt of the digest's length; a shorter one weakens the proof, and
    # a choice nobody needs is a choice an attacker may have.
    if given.salt_length != digest.size or given.trailer not in (None, 1):
        raise AlgorithmNotSupportedError(
            f"RSASSA-PSS with {digest.name} must have a salt of {digest.size} bytes and trailer field 1."
        )
    mask = padding.PSS(mgf=padding.MGF1(digest.hash), salt_length=digest.size)
    return _rsa(f"RSA-PSS-{digest.name}", mask, digest)


def _rsa(name: str, pad: padding.AsymmetricPadding, digest: Digest) -> SignatureAlgorithm:
    def verify(certificate: x509.Certificate, signature: bytes, message: bytes) -> None:
        key = _rsa_key(certificate)
        try:
            key.verify(signature, message, pad, digest.hash)
        except InvalidSignature as error:
            raise _does_not_verify() from error

    return SignatureAlgorithm(name, verify)


def _ecdsa(identifier: SignatureIdentifier, digest: Digest) -> SignatureAlgorithm:
    _require_no_pss_parameters(identifier)
    _require_same_digest(DIGESTS[SHA256], digest)

    def verify(certificate: x509.Certificate, signature: bytes, message: bytes) -> None:
        key = _p256_key(certificate)
        try:
            key.verify(signature, message, ec.ECDSA(digest.hash))
        except InvalidSignature as error:
            raise _does_not_verify() from error

    return SignatureAlgorithm(f"ECDSA-P256-{digest.name}", verify)


def _does_not_verify() -> SignatureInvalidError:
    return SignatureInvalidError("The signature does not verify under the key of the signer's certificate.")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    # It also compares the issuer's name and the inner with the outer algorithm (RFC 5280 4.1.1.2).
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise SignatureInvalidError("The certificate was not signed by the authority it names.") from error


def _issued_pss(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        used = certificate.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError) as error:
        raise AlgorithmNotSupportedError("The certificate's RSASSA-PSS parameters cannot be read.") from error
    if not isinstance(used, (hashes.SHA256, hashes.SHA384, hashes.SHA512)):
        raise AlgorithmNotSupportedError("The certificate is signed by RSASSA-PSS with a weak digest.")
    _issued(certificate, issuer)


KEYS: Mapping[
    ObjectIdentifier, Callable[[x509.Certificate], rsa.RSAPublicKey | ec.EllipticCurvePublicKey]
] = MappingProxyType({RSA_ENCRYPTION: _rsa_key, EC_PUBLIC_KEY: _p256_key})

SIGNATURES: Mapping[ObjectIdentifier, Callable[[SignatureIdentifier, Digest], SignatureAlgorithm]] = (
    MappingProxyType(
        {
            RSA_ENCRYPTION: _pkcs1(None),
            RSA_SHA256: _pkcs1(SHA256),
            RSA_SHA384: _pkcs1(SHA384),
            RSA_SHA512: _pkcs1(SHA512),
            RSASSA_PSS: _pss,
            ECDSA_SHA256: _ecdsa,
        }
    )
)

CERTIFICATE_SIGNATURES: Mapping[ObjectIdentifier, Callable[[x509.Certificate, x509.Certificate], None]] = (
    MappingProxyType(
        {
            RSA_SHA256: _issued,
            RSA_SHA384: _issued,
            RSA_SHA512: _issued,
            RSASSA_PSS: _issued_pss,
            ECDSA_SHA256: _issued,
        }
    )
)
