"""The signed attributes of a SignerInfo: what the signature is really made over (RFC 5652 section 5.4)."""

# No `from __future__ import annotations`: hazmat.asn1 reads the annotations.

import datetime
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from ledger.eds.algorithms import SHA256, Digest, HashIdentifier, digest_algorithm
from ledger.eds.cms import ID_DATA, Attribute, SignerInfo
from ledger.eds.errors import DigestMismatchError, SignedAttributesError, SigningTimeError

CONTENT_TYPE = ObjectIdentifier("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = ObjectIdentifier("1.2.840.113549.1.9.4")
SIGNING_TIME = ObjectIdentifier("1.2.840.113549.1.9.5")
SIGNING_CERTIFICATE = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_V2 = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")

T = TypeVar("T")

_SHA256 = HashIdentifier(algorithm=SHA256, parameters=None)

CLOCK_AHEAD = datetime.timedelta(minutes=5)
"""How far a signer's clock may run ahead of ours."""


@asn1.sequence
class IssuerSerial:
    """RFC 5035 section 4: GeneralNames and a serial number."""

    issuer: list[asn1.TLV]
    serial_number: int


@asn1.sequence
class EssCertIdV2:
    """RFC 5035 section 4; without a hash algorithm it is SHA-256."""

    hash_algorithm: HashIdentifier | None
    hash: bytes
    issuer_serial: IssuerSerial | None


@asn1.sequence
class SigningCertificateV2:
    """RFC 5035 section 3: the first certificate is the signer's."""

    certificates: list[EssCertIdV2]
    policies: list[asn1.TLV] | None


@dataclass(frozen=True, slots=True)
class SignedAttributes:
    """The attributes of one signer, each type at most once, by their one value."""

    values: dict[ObjectIdentifier, asn1.TLV]
    signed_bytes: bytes
    """The DER of the SET (tag 0x31), over which the signature is made.

    It is encoded from the very values that are checked; DER has one encoding of a value, so for an
    honest signer these are the bytes that were sent, under the tag that RFC 5652 section 5.4 asks for.
    """

    @classmethod
    def of(cls, signer: SignerInfo) -> "SignedAttributes":
        """Read them, or raise `SignedAttributesError` where they are absent or doubled."""
        if signer.signed_attributes is None:
            raise SignedAttributesError("The signature has no signed attributes; sign as CAdES-BES does.")
        values: dict[ObjectIdentifier, asn1.TLV] = {}
        for attribute in signer.signed_attributes.as_list():
            values[attribute.type] = _sole_value(attribute, seen=attribute.type in values)
        return cls(values, asn1.encode_der(signer.signed_attributes))

    def require_content(self, content: bytes, digest: Digest) -> None:
        """content-type is id-data, message-digest is the digest of ``content`` (sections 11.1, 11.2)."""
        if self._value(CONTENT_TYPE, ObjectIdentifier) != ID_DATA:
            raise SignedAttributesError("The content-type attribute is not that of the content (id-data).")
        if self._value(MESSAGE_DIGEST, bytes) != digest.compute(content):
            raise DigestMismatchError("The signature was made over other bytes than this statement.")

    def require_certificate(self, certificate: x509.Certificate, der: bytes) -> None:
        """signing-certificate-v2, where present, must name this certificate (RFC 5035 section 5).

        Its absence is accepted: signatures made by the CA's own library are met without it. What it
        guards against, a second certificate over the same key in another person's name, would have to
        come from the pinned authority itself. The older form, which rests on SHA-1, is refused.
        """
        if SIGNING_CERTIFICATE in self.values:
            raise SignedAttributesError("signing-certificate (SHA-1) is refused; use signing-certificate-v2.")
        if SIGNING_CERTIFICATE_V2 not in self.values:
            return
        named = self._value(SIGNING_CERTIFICATE_V2, SigningCertificateV2).certificates
        if not named:
            raise SignedAttributesError("signing-certificate-v2 names no certificate.")
        digest = digest_algorithm(named[0].hash_algorithm or _SHA256)
        if named[0].hash != digest.compute(der):
            raise SignedAttributesError("signing-certificate-v2 names another certificate than the signer's.")
        if named[0].issuer_serial is not None:
            self._require_issuer_serial(named[0].issuer_serial, certificate)

    def signed_at(
        self, *, at: datetime.datetime, not_before: datetime.datetime, not_after: datetime.datetime
    ) -> datetime.datetime | None:
        """The signer's own word on the time (UTC), or None; nothing is decided by it but its absurdity."""
        if SIGNING_TIME not in self.values:
            return None
        # RFC 5652 section 11.3: UTCTime through 2049, GeneralizedTime from 2050.
        if self.values[SIGNING_TIME].tag_bytes == b"\x17":
            claimed = self._value(SIGNING_TIME, asn1.UTCTime).as_datetime()
        else:
            claimed = self._value(SIGNING_TIME, asn1.GeneralizedTime).as_datetime()
        if claimed > at + CLOCK_AHEAD:
            raise SigningTimeError("The signing time lies in the future; check the clock of your device.")
        if not not_before <= claimed <= not_after:
            raise SigningTimeError("The signing time lies outside the validity of the certificate.")
        return claimed

    def _value(self, oid: ObjectIdentifier, kind: type[T]) -> T:
        if oid not in self.values:
            raise SignedAttributesError(f"The signed attribute {oid.dotted_string} is missing.")
        try:
            value: T = self.values[oid].parse(kind)
        except (ValueError, TypeError, OverflowError) as error:
            raise SignedAttributesError(f"Signed attribute {oid.dotted_string} cannot be read.") from error
        return value

    @staticmethod
    def _require_issuer_serial(named: IssuerSerial, certificate: x509.Certificate) -> None:
        issuer = certificate.issuer.public_bytes()
        # GeneralNames with one directoryName [4] EXPLICIT Name.
        names = [(name.tag_bytes, bytes(name.data)) for name in named.issuer]
        same = names == [(b"\xa4", issuer)]
        if not same or named.serial_number != certificate.serial_number:
            raise SignedAttributesError("signing-certificate-v2 names another issuer or serial number.")


def _sole_value(attribute: Attribute, *, seen: bool) -> asn1.TLV:
    values = attribute.values.as_list()
    if seen or len(values) != 1:
        raise SignedAttributesError(
            f"The signed attribute {attribute.type.dotted_string} must be there once, with one value."
        )
    return values[0]
