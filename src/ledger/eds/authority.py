"""A certificate authority made on the spot, with the profile of the Kazakh one.

For tests, the demo and benchmarks: its people are invented, its keys are unprotected files, and no
installation should pin its root for anything else. Keys for people come from a small pool, because
making an RSA key takes a thousand times as long as verifying with it.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import NameOID, ObjectIdentifier

from ledger.eds.certificates import TrustStore
from ledger.eds.people import MAX_INDEX, InventedPerson, invent_person
from ledger.eds.policy import (
    CLIENT_AUTHENTICATION,
    EMAIL_PROTECTION,
    FIRST_HEAD,
    INFORMATION_SYSTEM,
    LEGAL_ENTITY,
    NATURAL_PERSON,
)
from ledger.eds.signing import PrivateKey, sign_cms

Algorithm = Literal["rsa", "ecdsa"]

SIGNING = (EMAIL_PROTECTION, NATURAL_PERSON)
AUTHENTICATION = (CLIENT_AUTHENTICATION, NATURAL_PERSON)
COMPANY = (EMAIL_PROTECTION, LEGAL_ENTITY, FIRST_HEAD)
SYSTEM = (LEGAL_ENTITY, INFORMATION_SYSTEM)

_POLICY = ObjectIdentifier("1.2.398.3.3.2")
_YEAR = datetime.timedelta(days=365)


def make_key(algorithm: Algorithm = "rsa", *, bits: int = 2048) -> PrivateKey:
    """A new private key: RSA of ``bits``, or ECDSA on P-256."""
    if algorithm == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A certificate with its private key: somebody who can sign."""

    certificate: x509.Certificate
    key: PrivateKey

    def __repr__(self) -> str:
        return f"Identity(serial={self.certificate.serial_number:x})"

    def sign(
        self,
        content: bytes,
        *,
        attached: bool = True,
        signing_time: datetime.datetime | None = None,
        pss: bool = False,
    ) -> bytes:
        """CMS SignedData (DER) over ``content`` as a CAdES-BES signer makes it.

        ``signing_time`` (aware) defaults to now; ``pss`` asks an RSA key for RSASSA-PSS.
        """
        moment = signing_time or datetime.datetime.now(datetime.UTC)
        return sign_cms(content, self.certificate, self.key, attached=attached, signing_time=moment, pss=pss)


class Authority:
    """A root, an issuing authority below it, and a pool of keys for the people it certifies."""

    def __init__(self, root: Identity, issuing: Identity, pool: Sequence[PrivateKey]) -> None:
        self.root = root
        self.issuing = issuing
        self.pool = tuple(pool)
        self.trust = TrustStore([_pem(root.certificate)], [_pem(issuing.certificate)])
        self._keys = itertools.cycle(self.pool)
        self._nobody = itertools.count(MAX_INDEX, -1)

    @classmethod
    def create(
        cls,
        algorithm: Algorithm = "rsa",
        *,
        pool: int = 1,
        name: str = "AIQYN TEST",
        now: datetime.datetime | None = None,
    ) -> Authority:
        """Make root, issuing authority and ``pool`` people's keys; valid for ten years around ``now``."""
        now = now or datetime.datetime.now(datetime.UTC)
        validity = (now - 2 * _YEAR, now + 10 * _YEAR)
        root_name = _name(common=f"НЕГІЗГІ ОРТАЛЫҚ ({name})")
        issuing_name = _name(common=f"КУӘЛАНДЫРУШЫ ОРТАЛЫҚ ({name})")
        root_key, issuing_key = make_key(algorithm), make_key(algorithm)
        root = Identity(_authority(root_name, root_name, root_key, root_key, validity), root_key)
        issuing = Identity(_authority(issuing_name, root_name, issuing_key, root_key, validity), issuing_key)
        return cls(root, issuing, [make_key(algorithm) for _ in range(pool)])

    def person(
        self,
        invented: InventedPerson | None = None,
        *,
        iin: str | None = None,
        surname: str | None = None,
        first_name: str | None = None,
        patronymic: str | None = None,
        usage: Sequence[ObjectIdentifier] = SIGNING,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        key: PrivateKey | None = None,
    ) -> Identity:
        """A natural person: ``invented`` (by default a new one), with any part of it replaced."""
        who = invented or invent_person(next(self._nobody))
        surname = who.surname if surname is None else surname
        first_name = who.first_name if first_name is None else first_name
        subject = _name(
            common=f"{surname} {first_name}".strip(),
            surname=surname,
            serial="IIN" + (iin or who.iin),
            patronymic=who.patronymic if patronymic is None else patronymic,
        )
        return self.issue(subject, usage, not_before=not_before, not_after=not_after, key=key)

    def company(
        self,
        organisation: str = 'ЖШС "ОЙДАН"',
        *,
        bin_number: str = "000000000000",
        usage: Sequence[ObjectIdentifier] = COMPANY,
        key: PrivateKey | None = None,
    ) -> Identity:
        """A legal entity's first head; with ``usage=SYSTEM`` its information system, which has no IIN."""
        who = invent_person(next(self._nobody))
        system = INFORMATION_SYSTEM in usage
        subject = _name(
            common="АЖ" if system else f"{who.surname} {who.first_name}",
            surname="" if system else who.surname,
            serial="" if system else "IIN" + who.iin,
            organisation=organisation,
            unit="BIN" + bin_number,
        )
        return self.issue(subject, usage, key=key)

    def issue(
        self,
        subject: x509.Name,
        usage: Sequence[ObjectIdentifier],
        *,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        key: PrivateKey | None = None,
    ) -> Identity:
        """A certificate of the issuing authority for any subject and usage; a year from yesterday."""
        now = datetime.datetime.now(datetime.UTC)
        key = key or next(self._keys)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.issuing.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - datetime.timedelta(days=1))
            .not_valid_after(not_after or now + _YEAR)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.CertificatePolicies([x509.PolicyInformation(_POLICY, None)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return Identity(builder.sign(self.issuing.key, hashes.SHA256()), key)

    def save(self, folder: Path) -> None:
        """Write certificates and unprotected keys as PEM files into ``folder``, readable by the owner."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.write_trust(folder)
        for name, identity in (("root", self.root), ("issuing", self.issuing)):
            _write_key(folder / f"{name}.key", identity.key)
        for number, key in enumerate(self.pool):
            _write_key(folder / f"person-{number:04d}.key", key)

    def write_trust(self, folder: Path) -> None:
        """Write the two certificates, as a service pins them, into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, identity in (("root", self.root), ("issuing", self.issuing)):
            (folder / f"{name}.pem").write_bytes(_pem(identity.certificate))

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """The authority that `save` wrote."""
        root, issuing = (
            Identity(
                x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()),
                _read_key(folder / f"{name}.key"),
            )
            for name in ("root", "issuing")
        )
        return cls(root, issuing, [_read_key(path) for path in sorted(folder.glob("person-*.key"))])


def _name(
    *,
    common: str,
    surname: str = "",
    serial: str = "",
    patronymic: str = "",
    organisation: str = "",
    unit: str = "",
) -> x509.Name:
    """A subject in the order of the CA's certificates; empty parts are left out."""
    parts = (
        (NameOID.COMMON_NAME, common),
        (NameOID.SURNAME, surname),
        (NameOID.SERIAL_NUMBER, serial),
        (NameOID.COUNTRY_NAME, "KZ"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.GIVEN_NAME, patronymic),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


def _key_usage(*, signs: bool = False, issues: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=signs,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    issuer_key: PrivateKey,
    validity: tuple[datetime.datetime, datetime.datetime],
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(issues=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _write_key(path: Path, key: PrivateKey) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _read_key(path: Path) -> PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise ValueError(f"{path.name} is neither an RSA nor an EC key")
    return key
