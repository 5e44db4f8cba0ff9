"""The exact bytes that an applicant signs, in plain words.

Like the statements of :mod:`ledger.domain.wording`: UTF-8, lines ended by one line feed. Each has a *form*, a
UUID of its own: one signed form brings about one thing, so that nobody can send it in twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from ledger.domain.appeal import talon_number
from ledger.events import AppealKind, Category, Language, Region

Act = Literal["fix", "object", "withdraw", "complain"]
"""What an applicant does with an appeal that is under way."""

_FILING: dict[Language, str] = {"kk": "Мен осы өтінішті жолдаймын.", "ru": "Я подаю это обращение."}
_ACTS: dict[Language, dict[Act, str]] = {
    "kk": {
        "fix": "Мен өтінішімді толықтырып жолдаймын.",
        "object": "Мен алдын ала шешімге қарсылығымды білдіремін.",
        "withdraw": "Мен өтінішімді қайтарып алуды сұраймын.",
        "complain": "Мен осы өтініш бойынша шағым жасаймын.",
    },
    "ru": {
        "fix": "Я исправляю и дополняю своё обращение.",
        "object": "Я возражаю против предварительного решения.",
        "withdraw": "Я прошу отозвать моё обращение.",
        "complain": "Я подаю жалобу по этому обращению.",
    },
}
_CABINET: dict[Language, str] = {
    "kk": "Маған менің істерімді көрсетіңіз.",
    "ru": "Покажите мне мои дела.",
}
_LABELS: dict[Language, dict[str, str]] = {
    "kk": {
        "form": "Бланк", "number": "Өтініш нөмірі", "to": "Кімге", "kind": "Түрі", "category": "Санаты",
        "region": "Өңір", "contacts": "Байланыс", "file": "Файлдың SHA-256 хеші", "text": "Мәтіні",
        "lang": "Тіл", "at": "Уақыты",
    },
    "ru": {
        "form": "Бланк", "number": "Номер обращения", "to": "Кому", "kind": "Вид", "category": "Категория",
        "region": "Регион", "contacts": "Контакты", "file": "SHA-256 файла", "text": "Текст",
        "lang": "Язык", "at": "Время",
    },
}  # fmt: skip


def filing(
    form: str,
    body: str,
    kind: AppealKind,
    category: Category,
    region: Region | None,
    contacts: str,
    text: str,
    files: Sequence[str],
    lang: Language,
) -> bytes:
    """What the applicant signs to turn to ``body``; ``files`` are SHA-256 hashes, hex."""
    label = _LABELS[lang]
    return _lines(
        _FILING[lang],
        (label["form"], form),
        (label["to"], body),
        (label["kind"], kind),
        (label["category"], category),
        *([(label["region"], region)] if region else []),
        *([(label["contacts"], contacts)] if contacts else []),
        *((label["file"], file) for file in files),
        (label["lang"], lang),
        (label["text"], f"\n{text}"),
    )


def act(act: Act, form: str, stream: str, text: str, files: Sequence[str], lang: Language) -> bytes:
    """What the applicant signs for a further step."""
    label = _LABELS[lang]
    return _lines(
        _ACTS[lang][act],
        (label["form"], form),
        (label["number"], talon_number(stream)),
        *((label["file"], file) for file in files),
        (label["lang"], lang),
        (label["text"], f"\n{text}"),
    )


def cabinet(form: str, at: datetime, lang: Language) -> bytes:
    """What a person signs to see their own cases; good for some minutes after ``at``."""
    label = _LABELS[lang]
    moment = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return _lines(_CABINET[lang], (label["form"], form), (label["at"], moment), (label["lang"], lang))


def _lines(opening: str, *fields: tuple[str, str]) -> bytes:
    lines = [f"{label}:{value if value.startswith(chr(10)) else ' ' + value}" for label, value in fields]
    return ("\n".join([opening, *lines]) + "\n").encode()
