"""The exact bytes that a person signs, in plain words.

A statement is UTF-8 text, lines ended by one line feed. It names the petition by id, title and hash,
so that a signature under one petition means nothing under another.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal

from ledger.domain.aggregate import NotAllowedError
from ledger.events import Language

MAX_TITLE = 300
MAX_TEXT = 20_000
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what does not show, or breaks a line without a line feed."""
Act = Literal["sign", "withdraw-signature", "withdraw-petition"]

_ACTS: dict[Language, dict[Act, str]] = {
    "kk": {
        "sign": "Мен осы петицияны қолдаймын және оған қол қоямын.",
        "withdraw-signature": "Мен осы петицияға қойған қолымды қайтарып аламын.",
        "withdraw-petition": "Мен, петиция авторы, осы петицияны қайтарып аламын.",
    },
    "ru": {
        "sign": "Я поддерживаю эту петицию и подписываю её.",
        "withdraw-signature": "Я отзываю свою подпись под этой петицией.",
        "withdraw-petition": "Я, автор петиции, отзываю эту петицию.",
    },
}
_LABELS: dict[Language, tuple[str, str, str, str]] = {
    "kk": ("Петиция", "Атауы", "Мәтіннің SHA-256 хеші", "Тіл"),
    "ru": ("Петиция", "Название", "SHA-256 текста", "Язык"),
}
_FILING: dict[Language, tuple[str, str, str, str]] = {
    "kk": ("Мен осы петицияны ұсынамын.", "Кімге", "Атауы", "Мәтіні"),
    "ru": ("Я подаю эту петицию.", "Кому", "Название", "Текст"),
}


class UnreadableTextError(NotAllowedError):
    """A title or text that cannot be shown to everybody in the same way."""

    code = "text-invalid"
    title = "The title or the text cannot be accepted"


def check_text(title: str, text: str) -> None:
    """Raises :class:`UnreadableTextError` for what is empty, too long, or not plain text in NFC form.

    A title is one line. Control characters and those that turn the direction of writing are refused:
    what people sign must look the same to all of them.
    """
    check_line("title", title)
    check_plain("text", text, MAX_TEXT)


def check_line(name: str, value: str) -> None:
    """The same for one line of up to :data:`MAX_TITLE` characters."""
    check_plain(name, value, MAX_TITLE, allowed="")


def check_plain(name: str, value: str, limit: int, *, allowed: str = "\n") -> None:
    """The same for any text of up to ``limit`` characters."""
    if not value.strip() or len(value) > limit:
        raise UnreadableTextError(f"The {name} must have 1 to {limit} characters.", field=name)
    if not unicodedata.is_normalized("NFC", value) or value != value.strip():
        raise UnreadableTextError(
            f"The {name} must be in Unicode form NFC, without spaces at its ends.", field=name
        )
    check_visible(name, value, allowed=allowed)


def check_visible(name: str, value: str, *, allowed: str = "\n") -> None:
    """Raises :class:`UnreadableTextError` for characters that do not show or turn the writing around."""
    for character in value:
        if character not in allowed and unicodedata.category(character) in _INVISIBLE:
            raise UnreadableTextError(
                f"The {name} holds the character U+{ord(character):04X}, which does not show.", field=name
            )


def text_hash(title: str, text: str) -> str:
    """SHA-256 over title, line feed, text, in UTF-8; hex."""
    return hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()


def statement(act: Act, petition: str, title: str, digest: str, lang: Language) -> bytes:
    """What a person signs to support a petition or to take something back."""
    label_id, label_title, label_hash, label_lang = _LABELS[lang]
    return (
        f"{_ACTS[lang][act]}\n"
        f"{label_id}: {petition}\n"
        f"{label_title}: {title}\n"
        f"{label_hash}: {digest}\n"
        f"{label_lang}: {lang}\n"
    ).encode()


def filing(petition: str, body: str, title: str, text: str, lang: Language) -> bytes:
    """What the author signs to file a petition: the whole text and whom it is addressed to."""
    opening, to, label_title, label_text = _FILING[lang]
    return (
        f"{opening}\n{_LABELS[lang][0]}: {petition}\n{to}: {body}\n{label_title}: {title}\n"
        f"{label_text}:\n{text}\n{_LABELS[lang][3]}: {lang}\n"
    ).encode()


def is_petition_id(text: str) -> bool:
    """Whether ``text`` is a lower-case UUID."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text, re.ASCII) is not None
