"""From a person's certificate up to a pinned root (RFC 5280 section 6, the part that a CA of this kind uses).

The walk goes down from the roots: a key is used only after it is itself trusted, so that a stranger's
certificates cost at most a few signature checks under keys of real authorities. Authorities of the
trust store are verified once, when it is loaded; then a signature costs one check, the leaf's.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from ledger.eds.algorithms import (
    require_strong_key,
    require_supported_signature,
    verify_certificate_signature,
)
from ledger.eds.errors import (
    AlgorithmNotSupportedError,
    CertificateExpiredError,
    CertificateNotYetValidError,
    CertificateUntrustedError,
    SignatureInvalidError,
)

MAX_DEPTH = 4
"""Authorities above a person, root included. The Kazakh hierarchy has two."""

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified way from a certificate to a pinned root."""

    certificates: tuple[x509.Certificate, ...]
    """Leaf first, root last."""

    @property
    def leaf(self) -> x509.Certificate:
        """The signer's certificate."""
        return self.certificates[0]

    @property
    def issuer(self) -> x509.Certificate:
        """The authority that issued the leaf, whom a revocation check will ask."""
        return self.certificates[1]

    def valid(self, at: datetime.datetime) -> bool:
        """Whether every certificate is within its validity at ``at`` (aware)."""
        return all(one.not_valid_before_utc <= at <= one.not_valid_after_utc for one in self.certificates)


@dataclass(frozen=True, slots=True)
class _Authority:
    """An authority whose way to a pinned root is verified, but for the time."""

    path: tuple[x509.Certificate, ...]
    """Itself first, root last."""
    room: int
    """How many authorities may stand between it and a leaf: the tightest pathLenConstraint above."""

    @property
    def certificate(self) -> x509.Certificate:
        return self.path[0]


class TrustStore:
    """Pinned roots, and intermediate authorities that are known beforehand.

    ``roots`` and ``intermediates`` are files' contents: each one DER certificate or a PEM bundle.
    A root is trusted because these very bytes were given here; one with the same name and another
    key is a stranger. Raises `ValueError` for bytes that are no certificate, `CertificateUntrustedError`
    for a root that is no authority or an intermediate that hangs under no root, and
    `AlgorithmNotSupportedError` for a weak or unknown key: an installation should not start with these.
    """

    def __init__(self, roots: Iterable[bytes], intermediates: Iterable[bytes] = ()) -> None:
        self.roots = tuple(_load_all(roots))
        self.intermediates = tuple(_load_all(intermediates))
        if not self.roots:
            raise CertificateUntrustedError("A trust store needs at least one root certificate.")
        pinned = []
        for root in self.roots:
            require_strong_key(root)
            pinned.append(_Authority((root,), room=_require_authority(root, MAX_DEPTH - 1)))
        # Issuing authorities first: nearly every person hangs under one, hardly any under a root.
        self._authorities = _extend(pinned, self.intermediates)[::-1]
        reached = {authority.certificate for authority in self._authorities}
        for lost in self.intermediates:
            if lost not in reached:
                raise CertificateUntrustedError(
                    f"The intermediate certificate {lost.serial_number:x} does not chain to any of the roots."
                )

    def verify_chain(
        self, leaf: x509.Certificate, extra: Sequence[x509.Certificate], at: datetime.datetime
    ) -> Chain:
        """The chain of ``leaf``, valid at ``at`` (aware); ``extra`` may help to find it, never be its end.

        Raises `AlgorithmNotSupportedError`, `CertificateUntrustedError`, `CertificateExpiredError` or
        `CertificateNotYetValidError`.
        """
        require_supported_signature(leaf)
        require_strong_key(leaf)
        _require_end_entity(leaf)
        chain = self._find(leaf, self._authorities, at)
        if chain is None or not chain.valid(at):
            known = (leaf, *self.roots, *self.intermediates)
            helpers = [one for one in extra if one not in known]
            if helpers:
                chain = self._find(leaf, _extend(list(self._authorities), helpers), at)
        if chain is None:
            raise CertificateUntrustedError(
                "The certificate was not issued by an authority that is trusted here, or is forged."
            )
        for certificate in chain.certificates:
            _require_valid(certificate, at)
        return chain

    @staticmethod
    def _find(
        leaf: x509.Certificate, authorities: Sequence[_Authority], at: datetime.datetime
    ) -> Chain | None:
        """A chain that is valid at ``at``; else one that is not, so that the caller can say when it was."""
        found = None
        for authority in authorities:
            if _issued(leaf, authority.certificate):
                found = Chain((leaf, *authority.path))
                if found.valid(at):
                    break
        return found


def load_certificates(data: bytes) -> list[x509.Certificate]:
    """Certificates of one file: a PEM bundle or one DER certificate. Raises `ValueError`."""
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificates(data)
    return [x509.load_der_x509_certificate(data)]


def _load_all(files: Iterable[bytes]) -> Iterable[x509.Certificate]:
    for data in files:
        yield from load_certificates(data)


def _extend(trusted: list[_Authority], candidates: Sequence[x509.Certificate]) -> list[_Authority]:
    """``trusted`` and all candidates below them, level by level; what does not fit is left out.

    Each (authority, candidate) pair is tried once and a path holds no certificate twice, so the work
    is bounded by the number of certificates however they name each other.
    """
    found = list(trusted)
    waiting = list(candidates)
    for authority in found:  # grows while we walk it
        for candidate in list(waiting):
            if authority.room == 0:
                continue
            try:
                room = _require_authority(candidate, authority.room - 1)
                verify_certificate_signature(candidate, authority.certificate)
                require_strong_key(candidate)
            except (CertificateUntrustedError, SignatureInvalidError, AlgorithmNotSupportedError):
                continue
            waiting.remove(candidate)
            found.append(_Authority((candidate, *authority.path), room))
    return found


def _require_authority(certificate: x509.Certificate, room: int) -> int:
    """Check BasicConstraints and keyCertSign; how many authorities may stand below, at most ``room``."""
    extensions = _understood(certificate)
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise CertificateUntrustedError(
            "An issuing certificate lacks basic constraints or key usage, so it is no authority."
        ) from error
    if not (constraints.ca and usage.key_cert_sign):
        raise CertificateUntrustedError("A certificate that may not issue others was used as an issuer.")
    return room if constraints.path_length is None else min(room, constraints.path_length)


def _require_end_entity(certificate: x509.Certificate) -> None:
    for extension in _understood(certificate):
        value = extension.value
        if type(value) is x509.BasicConstraints and value.ca:
            raise CertificateUntrustedError("The certificate is an authority's own; authorities do not sign.")


def _understood(certificate: x509.Certificate) -> x509.Extensions:
    """The extensions, if every critical one is understood here (RFC 5280 section 4.2)."""
    try:
        extensions = certificate.extensions
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise CertificateUntrustedError("The certificate's extensions cannot be read.") from error
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise CertificateUntrustedError(
                f"The certificate has a critical extension unknown here: {extension.oid.dotted_string}."
            )
    return extensions


def _issued(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    # The names are compared first, so that an authority of another name costs no signature check.
    try:
        verify_certificate_signature(leaf, issuer)
    except SignatureInvalidError:
        return False
    return True


def _require_valid(certificate: x509.Certificate, at: datetime.datetime) -> None:
    if at < certificate.not_valid_before_utc:
        since = certificate.not_valid_before_utc
        raise CertificateNotYetValidError(
            f"The certificate, or one above it, is valid only from {since:%Y-%m-%d %H:%M} UTC.",
            not_before=since.isoformat(),
        )
    if at > certificate.not_valid_after_utc:
        until = certificate.not_valid_after_utc
        raise CertificateExpiredError(
            f"The certificate, or one above it, expired on {until:%Y-%m-%d %H:%M} UTC; get a new one.",
            not_after=until.isoformat(),
        )
