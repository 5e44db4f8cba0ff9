"""The pinned root certificates: every file of one folder."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.eds.certificates import Chain, TrustStore, load_certificates
from ledger.eds.errors import CertificateUntrustedError
from ledger.errors import AiqynError

SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})


class TrustError(AiqynError):
    """The folder of trusted certificates is missing, or a file in it is no certificate."""

    code = "trust"
    title = "The trusted certificates cannot be read"


class TrustsNobody(TrustStore):
    """Before the operator has pinned a root: everything can be read, no signature is accepted."""

    def __init__(self) -> None:
        self.roots = ()
        self.intermediates = ()

    def verify_chain(
        self, leaf: x509.Certificate, extra: Sequence[x509.Certificate], at: datetime.datetime
    ) -> Chain:
        """Refuses every certificate."""
        raise CertificateUntrustedError(
            "This service trusts no certificate authority yet; tell its operator."
        )


def load_trust(folder: Path) -> TrustStore:
    """Self-issued certificates are roots; the others must chain to one of them.

    An empty or missing folder gives :class:`TrustsNobody`.
    """
    roots: list[bytes] = []
    intermediates: list[bytes] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            certificates = load_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            raise TrustError(f"{path} is no certificate in PEM or DER: remove it, or replace it.") from error
        for certificate in certificates:
            own = certificate.subject == certificate.issuer
            (roots if own else intermediates).append(_der(certificate))
    if not roots:
        return TrustsNobody()
    return TrustStore(roots, intermediates)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
