"""CMS SignedData (RFC 5652) as a signer sends it: text to DER, DER to values, strictly.

The reading is declarative (``cryptography.hazmat.asn1``) and takes DER only: one signature has one
form. A BER writer's indefinite lengths are refused; the CA's own library and NCALayer write DER.
Nothing here decides whether a signature is good, see `ledger.eds.verify`.
"""

# No `from __future__ import annotations`: hazmat.asn1 reads the annotations.

import base64
import binascii
import re
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from ledger.eds.algorithms import HashIdentifier, SignatureIdentifier
from ledger.eds.errors import CmsMalformedError, CmsTooLargeError, SignerCountError

MAX_CMS_BYTES = 64 * 1024
"""Upper bound of the DER. A citizen's CMS with its chain and a timestamp has 3 to 8 KiB."""

MAX_CERTIFICATES = 8
"""Upper bound of the certificates in one CMS: a leaf and any sensible chain."""

# base64 is 4/3 of the DER; lines of 64 with CRLF add 1/32; armour is two short lines.
_MAX_TEXT = MAX_CMS_BYTES * 4 // 3 * 33 // 32 + 128

ID_DATA = ObjectIdentifier("1.2.840.113549.1.7.1")
ID_SIGNED_DATA = ObjectIdentifier("1.2.840.113549.1.7.2")

_PEM = re.compile(rb"-----BEGIN (CMS|PKCS7)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----")


@asn1.sequence
class EncapsulatedContentInfo:
    """RFC 5652 section 5.2: what was signed, or nothing where the signature is detached."""

    content_type: ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class IssuerAndSerialNumber:
    """RFC 5652 section 10.2.4."""

    issuer: asn1.TLV
    serial_number: int


@asn1.sequence
class Attribute:
    """RFC 5652 section 5.3: a type and a SET of values."""

    type: ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class SignerInfo:
    """RFC 5652 section 5.3. Unsigned attributes (a timestamp token) are carried, not yet read."""

    version: int
    sid: IssuerAndSerialNumber | Annotated[bytes, asn1.Implicit(0)]
    digest_algorithm: HashIdentifier
    signed_attributes: Annotated[asn1.SetOf[Attribute] | None, asn1.Implicit(0)]
    signature_algorithm: SignatureIdentifier
    signature: bytes
    unsigned_attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class SignedData:
    """RFC 5652 section 5.1.

    Certificates and CRLs are SETs whose order nobody signs, and common writers keep the order they
    were given; so they are read as lists. The signed attributes are in strict DER order.
    """

    version: int
    digest_algorithms: asn1.SetOf[HashIdentifier]
    encapsulated: EncapsulatedContentInfo
    certificates: Annotated[list[x509.Certificate] | None, asn1.Implicit(0)]
    crls: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[SignerInfo]


@asn1.sequence
class ContentInfo:
    """RFC 5652 section 3, here always around a SignedData."""

    content_type: ObjectIdentifier
    content: Annotated[SignedData, asn1.Explicit(0)]


def decode(data: bytes | str) -> bytes:
    """DER of a CMS that came as DER, as PEM (``CMS`` or ``PKCS7``) or as base64 text.

    Size is checked first (`CmsTooLargeError`). Text must be exactly what an encoder writes: padded
    base64, lines ended by LF or CRLF, nothing around it but white space (`CmsMalformedError`).
    """
    if isinstance(data, bytes) and data[:1] == b"\x30":
        _require_size(len(data), MAX_CMS_BYTES)
        return data
    _require_size(len(data), _MAX_TEXT)
    der = _from_text(data)
    _require_size(len(der), MAX_CMS_BYTES)
    if der[:1] != b"\x30":
        raise CmsMalformedError("The CMS does not begin with a DER SEQUENCE.")
    return der


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise CmsTooLargeError(
            f"The CMS has {size} bytes; at most {limit} are read. Sign the statement alone, without files.",
            size=size,
            limit=limit,
        )


def _from_text(data: bytes | str) -> bytes:
    try:
        text = data.encode("ascii") if isinstance(data, str) else data
    except UnicodeEncodeError as error:
        raise CmsMalformedError("The CMS text must be ASCII: PEM or base64.") from error
    text = text.strip(b" \t\r\n").replace(b"\r\n", b"\n")
    if text.startswith(b"-----"):
        armoured = _PEM.fullmatch(text)
        if armoured is None:
            raise CmsMalformedError("The PEM must be one BEGIN CMS (or PKCS7) block and nothing else.")
        text = armoured[2]
    compact = text.replace(b"\n", b"")
    try:
        der = base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CmsMalformedError("The CMS is neither DER, nor PEM, nor base64.") from error
    if base64.b64encode(der) != compact:
        raise CmsMalformedError("The base64 of the CMS is not canonical.")
    return der


def read_signed_data(der: bytes) -> SignedData:
    """Read a ContentInfo with SignedData over id-data, or raise `CmsMalformedError`."""
    try:
        info = asn1.decode_der(ContentInfo, der)
    except (ValueError, TypeError, OverflowError, x509.InvalidVersion) as error:
        raise CmsMalformedError("The CMS is not a DER-encoded SignedData (RFC 5652).") from error
    signed = info.content
    if info.content_type != ID_SIGNED_DATA or signed.encapsulated.content_type != ID_DATA:
        raise CmsMalformedError("The CMS must be a SignedData over plain data (id-data).")
    if len(signed.certificates or ()) > MAX_CERTIFICATES:
        raise CmsMalformedError(f"The CMS carries more than {MAX_CERTIFICATES} certificates.")
    _require_readable(signed.certificates or [])
    return signed


def _require_readable(certificates: list[x509.Certificate]) -> None:
    """Certificates are parsed lazily: do it here, once, so that later steps meet no broken one."""
    try:
        for certificate in certificates:
            _ = certificate.subject, certificate.issuer, certificate.extensions
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CmsMalformedError("A certificate in the CMS cannot be read.") from error


def sole_signer(signed: SignedData) -> SignerInfo:
    """The one SignerInfo of the CMS; none or several is `SignerCountError`."""
    signers = signed.signer_infos.as_list()
    if len(signers) != 1:
        raise SignerCountError(
            f"The CMS has {len(signers)} signers; exactly one person signs.", signers=len(signers)
        )
    signer = signers[0]
    # RFC 5652 section 5.3: version 1 names the certificate by issuer and serial, 3 by key identifier.
    # Over plain data, SignedData has the version of its signer (section 5.1).
    if signer.version != (3 if isinstance(signer.sid, bytes) else 1) or signed.version != signer.version:
        raise CmsMalformedError("The CMS versions do not fit the way the signer's certificate is named.")
    listed = {identifier.algorithm for identifier in signed.digest_algorithms.as_list()}
    if signer.digest_algorithm.algorithm not in listed:
        raise CmsMalformedError("The signer's digest algorithm is not among those the CMS announces.")
    return signer
