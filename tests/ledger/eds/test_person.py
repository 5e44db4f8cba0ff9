"""Who a certificate names, and how little of it is ever shown."""

import contextlib
import datetime

import pytest
from cryptography import x509
from cryptography.x509 import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ledger.eds.authority import SIGNING
from ledger.eds.errors import IinInvalidError, PersonUnreadableError
from ledger.eds.people import MAX_INDEX, invent_person
from ledger.eds.person import Person, birth_date, check_digit, parse_iin

IIN = "IIN123456789011"  # breaks the checksum, like the CA's own test certificates


@pytest.fixture
def person(ecdsa):
    def read(*, cn=None, sn=None, gn=None, serial=IIN, order=1, more=()):
        parts = [
            (NameOID.COMMON_NAME, cn),
            (NameOID.SURNAME, sn),
            (NameOID.SERIAL_NUMBER, serial),
            (NameOID.COUNTRY_NAME, "KZ"),
            (NameOID.GIVEN_NAME, gn),
            *more,
        ]
        attributes = [x509.NameAttribute(oid, text) for oid, text in parts if text is not None]
        return Person.of_certificate(ecdsa.issue(x509.Name(attributes[::order]), SIGNING).certificate)

    return read


@pytest.mark.parametrize(
    ("cn", "sn", "gn", "first_name", "masked", "full"),
    [
        ("ТЕСТОВ ТЕСТ", "ТЕСТОВ", "ТЕСТОВИЧ", "ТЕСТ", "ТЕСТ Т.", "ТЕСТОВ ТЕСТ ТЕСТОВИЧ"),
        ("ТЕСТ ТЕСТОВ", "ТЕСТОВ", None, "ТЕСТ", "ТЕСТ Т.", "ТЕСТОВ ТЕСТ"),
        ("ӘЛҒАУОВА ІҢКӘР", "ӘЛҒАУОВА", "ҚУАТҚЫЗЫ", "ІҢКӘР", "ІҢКӘР Ә.", "ӘЛҒАУОВА ІҢКӘР ҚУАТҚЫЗЫ"),
        ("САЯН ТАУ МАЙЯ", "САЯН ТАУ", None, "МАЙЯ", "МАЙЯ С.", "САЯН ТАУ МАЙЯ"),
        ("САЯНОВ АЙ НҰР", "САЯНОВ", None, "АЙ НҰР", "АЙ С.", "САЯНОВ АЙ НҰР"),
        ("ДАЛА-ТАУ МАЙЯ", "ДАЛА-ТАУ", "", "МАЙЯ", "МАЙЯ Д.", "ДАЛА-ТАУ МАЙЯ"),
        ("ТЕСТОВ ТЕСТ ТЕСТОВИЧ", "ТЕСТОВ", "ТЕСТОВИЧ", "ТЕСТ", "ТЕСТ Т.", "ТЕСТОВ ТЕСТ ТЕСТОВИЧ"),
        ("ТЕСТ ТЕСТ", "ТЕСТ", None, "ТЕСТ", "ТЕСТ Т.", "ТЕСТ ТЕСТ"),
        ("Testov  Test", "TESTOV", None, "Test", "Test T.", "TESTOV Test"),
        ("ТЕСТОВ", "ТЕСТОВ", None, "", "Т.", "ТЕСТОВ"),
        ("ТЕСТОВ", "ТЕСТОВ", "ТЕСТОВИЧ", "", "Т.", "ТЕСТОВ ТЕСТОВИЧ"),
        ("ОЙ\u0306ДАНОВ ТЕСТ", "ОЙДАНОВ", None, None, None, None),
        ("И\u0306ОД ТЕСТ", "ЙОД", None, "ТЕСТ", "ТЕСТ Й.", "ЙОД ТЕСТ"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_names_are_read_in_any_order(person, cn, sn, gn, first_name, masked, full, order):
    if first_name is None:
        with pytest.raises(PersonUnreadableError):
            person(cn=cn, sn=sn, gn=gn or None, order=order)
        return
    who = person(cn=cn, sn=sn, gn=gn or None, order=order)
    assert (who.first_name, who.masked_name, who.full_name) == (first_name, masked, full)
    assert who.iin == "123456789011"


@pytest.mark.parametrize(
    "subject",
    [
        {"cn": "ТЕСТОВ ТЕСТ"},  # which word is the surname?
        {"cn": "ТЕСТ", "sn": "ОЙДАНОВ"},
        {"cn": "ОЙДАНОВА ТЕСТ", "sn": "ОЙДАНОВ"},
        {"sn": "ОЙДАНОВ"},
        {"cn": "- ТЕСТ", "sn": "-"},
        {"cn": "ОЙДАНОВ Т\u202eЕСТ", "sn": "ОЙДАНОВ"},
        {"cn": "ОЙДАНОВ ТЕ\x00СТ", "sn": "ОЙДАНОВ"},
        {"cn": "ОЙДАНОВ ТЕСТ", "sn": "ОЙДАНОВ", "more": [(NameOID.SERIAL_NUMBER, "IIN000000000000")]},
        {"cn": "ОЙДАНОВ ТЕСТ", "sn": "ОЙДАНОВ", "more": [(NameOID.SURNAME, "ТЕСТ")]},
        *(
            {"cn": "ОЙДАНОВ ТЕСТ", "sn": "ОЙДАНОВ", "serial": serial}
            for serial in (
                None,
                "123456789011",
                "BIN123456789011",
                "IIN12345678901",
                "IIN1234567890112",
                "iin123456789011",
            )
        ),
    ],
)
def test_a_subject_that_does_not_say_who_it_is_is_refused_without_a_word_of_it(person, subject):
    with pytest.raises(PersonUnreadableError) as caught:
        person(**subject)
    assert "ОЙДАНОВ" not in str(caught.value)
    assert "123456" not in str(caught.value)


def test_repr_shows_the_masked_name_only(person):
    who = person(cn="ОЙДАНОВ ТЕСТ", sn="ОЙДАНОВ", gn="ӘКЕҰЛЫ")
    assert repr(who) == str(who) == "Person('ТЕСТ О.')"
    assert repr([who]) == "[Person('ТЕСТ О.')]"


class TestIin:
    def test_a_typed_iin_is_read(self):
        assert parse_iin(" 850101300124\n") == parse_iin("850101300124") == "850101300124"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "85010130012",
            "8501013001240",
            "850101300125",
            "851301300127",
            "850101900127",
            "８50101300127",
            "85 0101300124",
        ],
    )
    def test_a_mistyped_iin_is_refused_without_repeating_it(self, text):
        with pytest.raises(IinInvalidError) as caught:
            parse_iin(text)
        assert not text or text not in str(caught.value)

    def test_two_neighbouring_serial_digits_swapped_are_noticed(self):
        good = "850101300124"
        with pytest.raises(IinInvalidError):
            parse_iin(good[:8] + good[9] + good[8] + good[10:])

    def test_a_number_has_no_more_than_one_check_digit(self):
        good = invent_person(5).iin
        for digit in "0123456789":
            if digit != good[11]:
                with pytest.raises(IinInvalidError):
                    parse_iin(good[:11] + digit)

    @pytest.mark.parametrize(
        ("iin", "born"),
        [
            ("990228200000", datetime.date(1899, 2, 28)),
            ("850101300124", datetime.date(1985, 1, 1)),
            ("000229600000", datetime.date(2000, 2, 29)),
        ],
    )
    def test_the_seventh_digit_gives_the_century(self, iin, born):
        assert birth_date(iin) == born

    def test_some_numbers_are_never_issued(self):
        never = [n for n in range(10_000) if check_digit(f"8501013{n:04d}") is None]
        assert 0 < len(never) < 200

    @given(st.text(max_size=14))
    def test_any_text_gives_an_iin_or_an_error(self, text):
        with contextlib.suppress(IinInvalidError):
            assert parse_iin(text) == text.strip(" \t\r\n")


class TestInventedPeople:
    def test_the_same_index_is_the_same_person(self):
        assert invent_person(7) == invent_person(7)

    @given(st.integers(0, MAX_INDEX))
    def test_their_iins_are_well_formed_and_older_than_the_living(self, index):
        who = invent_person(index)
        assert parse_iin(who.iin) == who.iin
        assert birth_date(who.iin).year < 1900
        assert who.iin not in repr(who)
        assert who.surname not in repr(who)

    def test_no_two_share_an_iin(self):
        indices = [*range(20_000), *range(MAX_INDEX - 20_000, MAX_INDEX + 1)]
        assert len({invent_person(index).iin for index in indices}) == len(indices)

    @pytest.mark.parametrize("index", [-1, MAX_INDEX + 1])
    def test_there_is_a_first_and_a_last(self, index):
        with pytest.raises(ValueError, match="index"):
            invent_person(index)
