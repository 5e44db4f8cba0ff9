"""Invented people for tests, the demo and benchmarks: the same index gives the same person, always.

Their IINs are well-formed, yet nobody's: the dates of birth lie between 1880 and 1899, and the
numbers were introduced in the 1990s, for the living.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ledger.eds.person import check_digit

_FIRST_DAY = datetime.date(1880, 1, 1)
_DAYS = (datetime.date(1900, 1, 1) - _FIRST_DAY).days
_SERIALS_A_DAY = 5_000

MAX_INDEX = _DAYS * _SERIALS_A_DAY * 2 - 1
"""Largest index: 73 million people, more than the country has."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WOMEN = _words(
    "АЙГЕРІМ АЙША ӘСЕЛ БОТАГӨЗ ГҮЛНАР ДАНА ЖАНАР ЗАРИНА ІҢКӘР КӘМШАТ МАДИНА НАЗЫМ "
    "САЛТАНАТ ТОҒЖАН ҰЛЖАН ШОЛПАН АННА ДАРЬЯ ЕЛЕНА ИРИНА МАРИЯ НАТАЛЬЯ ОЛЬГА СВЕТЛАНА"
)
_MEN = _words(
    "АЗАМАТ АРМАН ӘЛІБЕК БАУЫРЖАН ДӘУРЕН ЕРЛАН ЖАНДОС ҚАЙРАТ МҰРАТ НҰРЛАН ОЛЖАС РУСЛАН "
    "САНЖАР ТИМУР ҰЛАН ШЫҢҒЫС АНДРЕЙ ВИКТОР ДМИТРИЙ ИВАН МИХАИЛ ПАВЕЛ СЕРГЕЙ ЮРИЙ"
)
# Made of plants, places and weather, so that they are nobody's; a man's adds ОВ, a woman's ОВА.
_STEMS = _words(
    "АҚБҰЛАҚ БАЙТЕРЕК БӘЙШЕШЕК ДАЛАЖОЛ ЕСКІТАС ЖҰЛДЫЗТАУ КӨКТӨБЕК ҚАРЛЫҒАШ ҚОҢЫРАУ МӨЛДІРСУ "
    "НАРҚЫЗЫЛ САРЫАРҚАН ТҰМАРТАС ҮКІТАЛ ШЕРТЕРКҮЙ ШҰҒЫЛАКҮН БЕРЕЗОПОЛ ВЕТРОГОР ЗОРЕСЛАВ "
    "ЛЕСОБЕРЕГ РЕЧЕСВЕТ СНЕГОПУТ ТИХОДОЛ"
)
_FATHERS = _words("АҚЫЛБЕК БЕЙБІТ ДӘУЛЕТ ЕРКІН ЖОМАРТ ҚУАТ МЕЙІР НАРТАЙ ОРАЗ СҰЛТАН ТАЛҒАТ ШАЛҚАР")


@dataclass(frozen=True, slots=True, repr=False)
class InventedPerson:
    """Somebody who does not exist, written as the CA writes: capitals, Kazakh and Russian letters."""

    iin: str
    surname: str
    first_name: str
    patronymic: str
    """Empty for every eighth person."""

    def __repr__(self) -> str:
        return f"InventedPerson({self.first_name!r})"


def invent_person(index: int) -> InventedPerson:
    """Person number ``index`` (0 … `MAX_INDEX`); different indices have different IINs."""
    if not 0 <= index <= MAX_INDEX:
        raise ValueError(f"index must be 0 to {MAX_INDEX}, not {index}")
    rest, woman = divmod(index, 2)
    # Steps coprime to the lengths, so that neighbours look unlike each other.
    first = (_WOMEN if woman else _MEN)[rest * 5 % len(_MEN)]
    stem = _STEMS[rest * 7 % len(_STEMS)]
    father = _FATHERS[(rest // 3) % len(_FATHERS)]
    patronymic = "" if rest % 8 == 7 else father + ("ҚЫЗЫ" if woman else "ҰЛЫ")
    return InventedPerson(_iin(rest, bool(woman)), stem + ("ОВА" if woman else "ОВ"), first, patronymic)


def _iin(rest: int, woman: bool) -> str:
    place, day = divmod(rest, _DAYS)
    born = _FIRST_DAY + datetime.timedelta(days=day)
    head = f"{born:%y%m%d}{2 if woman else 1}"
    digit = check_digit(f"{head}{place:04d}")
    if digit is None:
        # The number 5,000 higher always has one: its first sum is higher by 5 * 8, which is not 0 mod 11.
        place += _SERIALS_A_DAY
        digit = check_digit(f"{head}{place:04d}")
    return f"{head}{place:04d}{digit}"
