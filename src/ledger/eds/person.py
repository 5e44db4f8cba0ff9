"""The person whom a certificate names.

Subject of a Kazakh certificate: CN is surname and first name, SN (2.5.4.4) the surname, GIVENNAME
(2.5.4.42) the *patronymic*, serialNumber (2.5.4.5) ``IIN`` and 12 digits. The parts come in any order.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509 import NameOID

from ledger.eds.errors import IinInvalidError, PersonUnreadableError

_IIN = re.compile(r"[0-9]{12}", re.ASCII)
_SERIAL = re.compile(r"IIN([0-9]{12})", re.ASCII)
_WEIGHTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
_WEIGHTS_AGAIN = (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2)
_CENTURIES = {"1": 1800, "2": 1800, "3": 1900, "4": 1900, "5": 2000, "6": 2000}


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """A natural person as their certificate has it, letters and case unchanged.

    Only ``masked_name`` is for the public. ``repr`` shows nothing else, so that a person in a log
    line or a traceback stays masked.
    """

    iin: str
    """12 digits. A certificate's IIN is *not* checked by its checksum: the CA's test ones break it."""
    full_name: str
    """Surname, first name and, where there is one, patronymic."""
    surname: str
    first_name: str
    """May be empty: some people have one name only."""
    masked_name: str
    """First name (its first word), space, first letter of the surname, full stop."""

    def __repr__(self) -> str:
        return f"Person({self.masked_name!r})"

    @classmethod
    def of_certificate(cls, certificate: x509.Certificate) -> Person:
        """Read the subject, or raise `PersonUnreadableError`.

        Without a surname of its own the subject is refused: guessing which word of the common name
        it is might put a full surname on the public list.
        """
        subject = _subject(certificate)
        serial = _attribute(subject, NameOID.SERIAL_NUMBER)
        match = _SERIAL.fullmatch(serial)
        if match is None:
            raise PersonUnreadableError("The certificate's serialNumber is not IIN and 12 digits.")
        surname = _attribute(subject, NameOID.SURNAME)
        common = _attribute(subject, NameOID.COMMON_NAME)
        patronymic = _attribute(subject, NameOID.GIVEN_NAME, required=False)
        first_name = _first_name(common.split(" "), surname.split(" "), patronymic.split(" "))
        return cls(
            iin=match[1],
            full_name=" ".join(part for part in (surname, first_name, patronymic) if part),
            surname=surname,
            first_name=first_name,
            masked_name=mask(first_name.partition(" ")[0], surname),
        )


def mask(first_name: str, surname: str) -> str:
    """``АЙША`` and ``СЕРІКОВА`` give ``АЙША С.``; without a first name only the letter is left."""
    letter = next((char for char in surname if char.isalpha()), "")
    if not letter:
        raise PersonUnreadableError("The certificate's surname has no letters.")
    return f"{first_name} {letter}.".lstrip(" ")


def _subject(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, list[str | bytes]]:
    values: dict[x509.ObjectIdentifier, list[str | bytes]] = {}
    try:
        for attribute in certificate.subject:
            values.setdefault(attribute.oid, []).append(attribute.value)
    except ValueError as error:
        raise PersonUnreadableError("The certificate's subject cannot be read.") from error
    return values


def _attribute(
    subject: dict[x509.ObjectIdentifier, list[str | bytes]],
    oid: x509.ObjectIdentifier,
    *,
    required: bool = True,
) -> str:
    """The one value of an attribute: NFC, single spaces, printable; or empty where not required."""
    found = subject.get(oid, [])
    if not found and not required:
        return ""
    if len(found) != 1 or not isinstance(found[0], str):
        raise PersonUnreadableError(
            f"The certificate's subject must have {oid.dotted_string} once, it has it {len(found)} times."
        )
    text = " ".join(unicodedata.normalize("NFC", found[0]).split())
    if not text.isprintable() or (required and not text):
        raise PersonUnreadableError(f"The certificate's subject attribute {oid.dotted_string} is not text.")
    return text


def _first_name(common: list[str], surname: list[str], patronymic: list[str]) -> str:
    """The common name without the surname, which stands before or after, and without the patronymic."""
    folded = [word.casefold() for word in common]
    wanted = [word.casefold() for word in surname]
    size = len(wanted)
    if folded[:size] == wanted:
        rest = common[size:]
    elif folded[-size:] == wanted:
        rest = common[:-size]
    else:
        raise PersonUnreadableError("The certificate's common name does not contain the surname.")
    middle = [word.casefold() for word in patronymic]
    tail = [word.casefold() for word in rest[-len(middle) :]]
    if len(rest) > len(middle) and tail == middle:
        rest = rest[: -len(middle)]
    if len(rest) > 1:  # however the rest is ordered, a surname or a patronymic in it is not published
        rest = [word for word in rest if word.casefold() not in {*wanted, *middle}]
    return " ".join(rest)


def parse_iin(text: str) -> str:
    """The IIN that a person typed, checked: 12 digits, a date of birth, the check digit.

    Not for certificates, whose IIN the CA vouches for. Raises `IinInvalidError`.
    """
    iin = text.strip(" \t\r\n")
    if not _IIN.fullmatch(iin):
        raise IinInvalidError("An IIN has exactly 12 digits.")
    birth_date(iin)
    if check_digit(iin[:11]) != int(iin[11]):
        raise IinInvalidError("The check digit of the IIN is wrong; look for a mistyped digit.")
    return iin


def birth_date(iin: str) -> datetime.date:
    """Date of birth: YYMMDD, the century from the 7th digit (1, 2: 1800s; 3, 4: 1900s; 5, 6: 2000s)."""
    if not _IIN.fullmatch(iin):
        raise IinInvalidError("An IIN has exactly 12 digits.")
    century = _CENTURIES.get(iin[6])
    try:
        if century is not None:
            return datetime.date(century + int(iin[:2]), int(iin[2:4]), int(iin[4:6]))
    except ValueError:
        pass
    raise IinInvalidError("The first seven digits of the IIN are not a date of birth.")


def check_digit(first11: str) -> int | None:
    """Check digit of an IIN's first 11 digits; None where no such IIN is issued."""
    for weights in (_WEIGHTS, _WEIGHTS_AGAIN):
        digit = sum(int(figure) * weight for figure, weight in zip(first11, weights, strict=True)) % 11
        if digit < 10:
            return digit
    return None
