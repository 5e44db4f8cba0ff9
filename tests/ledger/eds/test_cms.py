"""Whatever bytes a stranger sends, the answer is a signer or an `EdsError`, and soon."""

import base64
import contextlib
import time

import pytest
from cryptography.hazmat import asn1
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.eds.cms import MAX_CMS_BYTES, decode, read_signed_data
from ledger.eds.errors import CmsMalformedError, CmsTooLargeError, EdsError
from ledger.eds.verify import verify


@pytest.fixture(scope="module", params=["rsa", "ecdsa"])
def signed(request, at):
    """An authority and a CMS of one of its people, without unsigned parts."""
    authority = request.getfixturevalue("authority" if request.param == "rsa" else "ecdsa")
    return authority, authority.person().sign(b"statement", signing_time=at)


def refused(cms, authority, at):
    with pytest.raises(EdsError) as caught:
        verify(cms, content=b"statement", trust=authority.trust, at=at)
    return caught.value


class TestDecode:
    def test_ten_megabytes_are_refused_before_any_work(self, authority, at):
        for head in (b"\x30\x84\x00\xa0\x00\x00", b"MIIB", b"-----BEGIN CMS-----\n"):
            body = head + b"A" * 10_000_000
            started = time.perf_counter()
            assert isinstance(refused(body, authority, at), CmsTooLargeError)
            assert time.perf_counter() - started < 0.01

    def test_the_limit_is_on_the_der_however_it_is_written(self):
        longest = b"\x30\x83\x00\xff\xfa" + b"\0" * (MAX_CMS_BYTES - 5)
        for form in (
            bytes,
            base64.b64encode,
            base64.encodebytes,
            lambda der: base64.encodebytes(der).replace(b"\n", b"\r\n"),
        ):
            assert decode(form(longest)) == longest
            with pytest.raises(CmsTooLargeError):
                decode(form(longest + b"\0"))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            b"",
            "   ",
            "нет",
            "MI?A",
            "MIIA=",
            "MII",
            "MIIB====",
            "MIIAMB==MIIA",
            "MIJ=",  # not canonical: bits set beyond the last byte
            "MI IA",
            "AAAA",  # base64, of something that is no SEQUENCE
            "-----BEGIN CMS-----\nMIIA\n-----END PKCS7-----",
            "-----BEGIN CERTIFICATE-----\nMIIA\n-----END CERTIFICATE-----",
            "-----BEGIN CMS-----MIIA-----END CMS-----",
            "-----BEGIN CMS-----\nMIIA\n-----END CMS-----\nand more",
            "-----BEGIN CMS-----\nMIIA\n-----END CMS-----\n-----BEGIN CMS-----\nMIIA\n-----END CMS-----",
            "-----BEGIN CMS-----\n\n-----END CMS-----",
        ],
    )
    def test_text_that_no_encoder_wrote_is_refused(self, text):
        with pytest.raises(CmsMalformedError):
            decode(text)

    @given(st.binary(max_size=200) | st.text(max_size=200))
    def test_any_input_gives_bytes_or_an_eds_error(self, data):
        with contextlib.suppress(EdsError):
            assert isinstance(decode(data), bytes)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
class TestStrictDer:
    def test_a_cms_cut_at_any_byte_is_refused(self, signed, at):
        authority, cms = signed
        for length in range(len(cms)):
            assert refused(cms[:length], authority, at).code == "cms-malformed"

    def test_a_cms_with_a_byte_more_is_refused(self, signed, at):
        authority, cms = signed
        assert refused(cms + b"\0", authority, at).code == "cms-malformed"

    def test_any_changed_byte_is_refused(self, signed, at):
        """A CMS without unsigned parts has no byte that does not matter."""
        authority, cms = signed
        for position in range(len(cms)):
            changed = bytearray(cms)
            changed[position] ^= 1 << position % 8
            refused(bytes(changed), authority, at)

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(data=st.data())
    def test_any_mutation_is_refused_by_an_eds_error(self, signed, at, data):
        authority, cms = signed
        start = data.draw(st.integers(0, len(cms) - 1))
        end = data.draw(st.integers(start, min(len(cms), start + 8)))
        changed = cms[:start] + data.draw(st.binary(max_size=8)) + cms[end:]
        if changed != cms:
            refused(changed, authority, at)

    @settings(max_examples=200)
    @given(st.binary(max_size=300).map(lambda tail: b"\x30" + tail))
    def test_random_bytes_are_refused_by_an_eds_error(self, der):
        with pytest.raises(CmsMalformedError):
            read_signed_data(der)

    def test_indefinite_lengths_are_refused(self, authority, ecdsa, at):
        cms = ecdsa.person().sign(b"statement", signing_time=at)
        assert cms[:2] == b"\x30\x82"
        indefinite = b"\x30\x80" + cms[4:] + b"\0\0"
        assert refused(indefinite, ecdsa, at).code == "cms-malformed"

    def test_a_length_in_more_bytes_than_needed_is_refused(self, ecdsa, at):
        cms = ecdsa.person().sign(b"statement", signing_time=at)
        assert refused(b"\x30\x83\0" + cms[2:], ecdsa, at).code == "cms-malformed"

    def test_a_length_field_of_fifty_megabytes_is_refused_at_once(self, ecdsa, at):
        cms = b"\x30\x84\x03\x20\x00\x00" + b"\x06\x09" * 20
        started = time.perf_counter()
        assert refused(cms, ecdsa, at).code == "cms-malformed"
        assert time.perf_counter() - started < 0.01

    @pytest.mark.parametrize("depth", [100, 20_000])
    def test_deep_nesting_is_refused(self, ecdsa, at, depth):
        nested = b""
        for _ in range(depth):
            size = len(nested)
            head = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
            nested = b"\x30" + (head if size < 128 or size > 255 else b"\x81" + bytes([size])) + nested
            if len(nested) > MAX_CMS_BYTES - 8:
                break
        assert refused(nested, ecdsa, at).code == "cms-malformed"


class TestUnsignedParts:
    """Nobody signs them and nothing is decided by them; they may stand there."""

    def test_unsigned_attributes_are_carried_and_not_read(self, craft, ecdsa, statement, at):
        anything = [asn1.decode_der(asn1.TLV, b"\x30\x03\x02\x01\x05")]
        cms = craft(ecdsa.person(), signer=lambda parts: parts | {"unsigned_attributes": anything})
        assert verify(cms, content=statement, trust=ecdsa.trust, at=at).person

    def test_further_certificates_may_come_in_any_order(self, craft, ecdsa, statement, at):
        person = ecdsa.person()
        chain = [person.certificate, ecdsa.issuing.certificate, ecdsa.root.certificate]
        for certificates in (chain, chain[::-1]):
            cms = craft(person, certificates=certificates)
            assert verify(cms, content=statement, trust=ecdsa.trust, at=at).person

    def test_more_certificates_than_any_chain_has_are_refused(self, craft, ecdsa, at):
        person = ecdsa.person()
        cms = craft(person, certificates=[person.certificate] + [ecdsa.root.certificate] * 8)
        assert refused(cms, ecdsa, at).code == "cms-malformed"
