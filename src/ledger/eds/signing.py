"""The other side of `ledger.eds.verify`: a CMS SignedData as a CAdES-BES signer writes it.

Built from the same declared structures that are read, so that what is written is DER by construction.
"""

from __future__ import annotations

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier

from ledger.eds import algorithms
from ledger.eds.algorithms import HashIdentifier, MaskGenIdentifier, PssParameters, SignatureIdentifier
from ledger.eds.attributes import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
    EssCertIdV2,
    SigningCertificateV2,
)
from ledger.eds.cms import (
    ID_DATA,
    ID_SIGNED_DATA,
    Attribute,
    ContentInfo,
    EncapsulatedContentInfo,
    IssuerAndSerialNumber,
    SignedData,
    SignerInfo,
)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_SHA256 = HashIdentifier(algorithm=algorithms.SHA256, parameters=None)


def sign_cms(
    content: bytes,
    certificate: x509.Certificate,
    key: PrivateKey,
    *,
    attached: bool,
    signing_time: datetime.datetime,
    pss: bool = False,
) -> bytes:
    """DER of a ContentInfo: SHA-256, the four attributes of CAdES-BES, the signer's certificate."""
    attributes = asn1.SetOf(signed_attributes(content, certificate, signing_time))
    identifier, signature = sign_bytes(key, asn1.encode_der(attributes), pss=pss)
    signer = SignerInfo(
        version=1,
        sid=IssuerAndSerialNumber(
            issuer=_any(certificate.issuer.public_bytes()), serial_number=certificate.serial_number
        ),
        digest_algorithm=_SHA256,
        signed_attributes=attributes,
        signature_algorithm=identifier,
        signature=signature,
        unsigned_attributes=None,
    )
    return wrap_cms([signer], content=content if attached else None, certificates=[certificate])


def signed_attributes(
    content: bytes, certificate: x509.Certificate, signing_time: datetime.datetime
) -> list[Attribute]:
    """content-type, message-digest, signing-time and signing-certificate-v2, each with its value."""
    moment = signing_time.astimezone(datetime.UTC).replace(microsecond=0)
    # RFC 5652 section 11.3: UTCTime through 2049.
    time = asn1.UTCTime(moment) if moment.year < 2050 else asn1.GeneralizedTime(moment)
    der = certificate.public_bytes(Encoding.DER)
    named = EssCertIdV2(hash_algorithm=None, hash=hashlib.sha256(der).digest(), issuer_serial=None)
    return [
        make_attribute(CONTENT_TYPE, ID_DATA),
        make_attribute(SIGNING_TIME, time),
        make_attribute(SIGNING_CERTIFICATE_V2, SigningCertificateV2(certificates=[named], policies=None)),
        make_attribute(MESSAGE_DIGEST, hashlib.sha256(content).digest()),
    ]


def make_attribute(oid: ObjectIdentifier, value: object) -> Attribute:
    """An attribute with one value: anything that ``asn1.encode_der`` takes."""
    return Attribute(type=oid, values=asn1.SetOf([_any(asn1.encode_der(value))]))


def sign_bytes(key: PrivateKey, message: bytes, *, pss: bool = False) -> tuple[SignatureIdentifier, bytes]:
    """Signature over ``message`` with SHA-256, and the identifier that says how it was made."""
    digest = hashes.SHA256()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        identifier = SignatureIdentifier(algorithm=algorithms.ECDSA_SHA256, parameters=None)
        return identifier, key.sign(message, ec.ECDSA(digest))
    if pss:
        identifier = SignatureIdentifier(
            algorithm=algorithms.RSASSA_PSS,
            parameters=PssParameters(
                hash=_SHA256,
                mask=MaskGenIdentifier(algorithm=algorithms.MGF1, hash=_SHA256),
                salt_length=digest.digest_size,
                trailer=None,
            ),
        )
        pad = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
        return identifier, key.sign(message, pad, digest)
    identifier = SignatureIdentifier(algorithm=algorithms.RSA_SHA256, parameters=asn1.Null())
    return identifier, key.sign(message, padding.PKCS1v15(), digest)


def wrap_cms(
    signers: list[SignerInfo], *, content: bytes | None, certificates: list[x509.Certificate]
) -> bytes:
    """ContentInfo around SignedData around ``signers``; without ``content`` it is detached."""
    listed = {signer.digest_algorithm.algorithm: signer.digest_algorithm for signer in signers}
    signed = SignedData(
        version=max((signer.version for signer in signers), default=1),
        digest_algorithms=asn1.SetOf(list(listed.values())),
        encapsulated=EncapsulatedContentInfo(content_type=ID_DATA, content=content),
        certificates=certificates,
        crls=None,
        signer_infos=asn1.SetOf(signers),
    )
    return asn1.encode_der(ContentInfo(content_type=ID_SIGNED_DATA, content=signed))


def _any(der: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, der)
