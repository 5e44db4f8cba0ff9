"""What people sign looks the same to all of them, and means one act under one petition."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import wording
from ledger.domain.wording import (
    MAX_TEXT,
    MAX_TITLE,
    UnreadableTextError,
    check_text,
    filing,
    statement,
    text_hash,
)

PETITION = "0190a1b2-0000-4000-8000-000000000001"
TITLE = "Ауылға жаңа кітапхана"
TEXT = "Ауылымызда кітапхана жоқ.\nБалаларға оқитын орын керек."
HASH = hashlib.sha256((TITLE + "\n" + TEXT).encode()).hexdigest()


def test_the_text_hash_is_taken_over_title_line_feed_and_text():
    assert text_hash(TITLE, TEXT) == HASH


GOLDEN = {
    ("sign", "kk"): "Мен осы петицияны қолдаймын және оған қол қоямын.\n",
    ("sign", "ru"): "Я поддерживаю эту петицию и подписываю её.\n",
    ("withdraw-signature", "kk"): "Мен осы петицияға қойған қолымды қайтарып аламын.\n",
    ("withdraw-signature", "ru"): "Я отзываю свою подпись под этой петицией.\n",
    ("withdraw-petition", "kk"): "Мен, петиция авторы, осы петицияны қайтарып аламын.\n",
    ("withdraw-petition", "ru"): "Я, автор петиции, отзываю эту петицию.\n",
}
REST = {
    "kk": f"Петиция: {PETITION}\nАтауы: {TITLE}\nМәтіннің SHA-256 хеші: {HASH}\nТіл: kk\n",
    "ru": f"Петиция: {PETITION}\nНазвание: {TITLE}\nSHA-256 текста: {HASH}\nЯзык: ru\n",
}


@pytest.mark.parametrize(("act", "lang"), GOLDEN)
def test_the_bytes_to_sign_never_change(act, lang):
    assert statement(act, PETITION, TITLE, HASH, lang) == (GOLDEN[act, lang] + REST[lang]).encode()


def test_every_act_in_every_language_has_a_wording_of_its_own():
    assert {act for act, _ in GOLDEN} == set(get_args(wording.Act))
    said = {statement(act, PETITION, TITLE, HASH, lang) for act, lang in GOLDEN}
    said |= {filing(PETITION, "organisation/a", TITLE, TEXT, lang) for lang in ("kk", "ru")}
    assert len(said) == len(GOLDEN) + 2


def test_the_author_signs_the_whole_text_and_whom_it_is_addressed_to():
    assert filing(PETITION, "organisation/culture", TITLE, TEXT, "kk").decode() == (
        f"Мен осы петицияны ұсынамын.\nПетиция: {PETITION}\nКімге: organisation/culture\nАтауы: {TITLE}\n"
        f"Мәтіні:\n{TEXT}\nТіл: kk\n"
    )
    assert filing(PETITION, "organisation/culture", TITLE, TEXT, "ru").decode() == (
        f"Я подаю эту петицию.\nПетиция: {PETITION}\nКому: organisation/culture\nНазвание: {TITLE}\n"
        f"Текст:\n{TEXT}\nЯзык: ru\n"
    )


LINES = st.text(alphabet="аӘb :\n", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(LINES, LINES, LINES, LINES)
def test_two_petitions_never_share_a_hash_or_a_filing(title, text, other_title, other_text):
    for accepted in ((title, text), (other_title, other_text)):
        try:
            check_text(*accepted)
        except UnreadableTextError:
            return
    if (title, text) != (other_title, other_text):
        assert text_hash(title, text) != text_hash(other_title, other_text)
        assert filing(PETITION, "b", title, text, "kk") != filing(
            PETITION, "b", other_title, other_text, "kk"
        )


def test_ordinary_texts_of_any_language_are_accepted():
    check_text(TITLE, TEXT)
    check_text("№ 5 «Ё» — 100 %", "Бірінші\n\n— екінші 🌳 👍\n中文 עברית العربية")
    check_text("x" * MAX_TITLE, "y" * MAX_TEXT)


@pytest.mark.parametrize(
    ("title", "text", "field"),
    [
        ("", "y", "title"),
        ("x" * (MAX_TITLE + 1), "y", "title"),
        (" ", "y", "title"),
        (" x", "y", "title"),
        ("x\u00a0", "y", "title"),
        ("x\ny", "y", "title"),
        ("x", "", "text"),
        ("x", "\n", "text"),
        ("x", "y\n", "text"),
        ("x", "y" * (MAX_TEXT + 1), "text"),
    ],
)
def test_what_is_empty_too_long_or_has_spaces_at_its_ends_is_refused(title, text, field):
    with pytest.raises(UnreadableTextError) as error:
        check_text(title, text)
    assert error.value.details == {"field": field}


@pytest.mark.parametrize("name", ["title", "text"])
@pytest.mark.parametrize(
    "character",
    [
        *"\t\r\x00\x1b\x7f\x85",
        *"\u200b\u200d\u200e\u200f\u00ad\ufeff",  # no width
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c",  # direction of writing
        *"\u2028\u2029",  # lines without a line feed
        *"\ud800\ue000\uffff\U000e0041",  # half a character, private, none, tags
    ],
    ids=lambda c: f"U+{ord(c):04X}",
)
def test_a_character_that_does_not_show_is_refused(name, character):
    value = f"Ауыл{character}кітапхана"
    with pytest.raises(UnreadableTextError, match=r"U\+|NFC"):
        check_text(*(value, "y") if name == "title" else ("x", value))


@pytest.mark.parametrize("value", ["и\u0306", "\u212b"])
def test_only_the_form_nfc_is_accepted(value):
    assert unicodedata.normalize("NFC", value) != value
    with pytest.raises(UnreadableTextError, match="NFC"):
        check_text(value, "y")
    with pytest.raises(UnreadableTextError, match="NFC"):
        check_text("x", value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PETITION.upper(),
        PETITION + "\n",
        PETITION[:-1],
        PETITION.replace("-", ""),
        "{" + PETITION + "}",
        PETITION.replace("1", "١"),
    ],
)
def test_an_id_is_a_lower_case_uuid_and_nothing_else(text):
    assert wording.is_petition_id(PETITION)
    assert not wording.is_petition_id(text)
