"""The numbers that the operator publishes, read strictly and compared with nothing."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from audit.source import MAX_JSON_BYTES, NotServedError, Source, SourceError
from ledger.errors import AiqynError
from ledger.tlog.merkle import HASH_SIZE

_T = TypeVar("_T")

PAGE = 100
MAX_PAGES = 100_000

_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Position = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
_Name = Annotated[str, Meta(min_length=1, max_length=3000)]
"""The vkey of an ML-DSA-44 key has 1,800 characters."""


class MalformedAnswerError(AiqynError):
    """An answer under ``/v1`` is not what the interface promises."""

    code = "published-malformed"
    title = "The operator's answer is malformed"


class LogInfo(msgspec.Struct, frozen=True):
    """``/v1/log``: what the operator says about its own log."""

    origin: _Name
    vkey: _Name
    operator: _Name
    size: _Number
    root: str
    """Standard base64, as in a checkpoint, or hexadecimal."""
    more_keys: tuple[_Name, ...] = ()
    """Further keys that sign each checkpoint as well."""

    @property
    def root_hash(self) -> bytes:
        """32 bytes. Raises :class:`MalformedAnswerError`."""
        try:
            raw = (
                bytes.fromhex(self.root)
                if len(self.root) == 2 * HASH_SIZE
                else binascii.a2b_base64(self.root)
            )
        except ValueError:
            raw = b""
        if len(raw) != HASH_SIZE:
            raise MalformedAnswerError(f"/v1/log names a root that is no SHA-256 hash: {self.root[:100]!r}.")
        return raw


class Numbers(msgspec.Struct, frozen=True):
    """What is published about one petition; fields that an answer leaves out are not compared."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z")]
    as_of: _Position
    """Position of the last entry counted; -1 for none."""
    state: str
    count: _Number
    required: _Number | msgspec.UnsetType | None = msgspec.UNSET
    signed: _Number | msgspec.UnsetType = msgspec.UNSET
    withdrawn: _Number | msgspec.UnsetType = msgspec.UNSET
    voided: _Number | msgspec.UnsetType = msgspec.UNSET
    reached_at: _Number | msgspec.UnsetType | None = msgspec.UNSET
    by_region: dict[str, _Number] | msgspec.UnsetType = msgspec.UNSET


class _Item(msgspec.Struct):
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z")]
    state: str
    count: _Number
    required: _Number | msgspec.UnsetType | None = msgspec.UNSET


class _Page(msgspec.Struct):
    items: list[_Item]
    as_of: _Position
    next: str | int | None = None


def log_info(source: Source) -> LogInfo | None:
    """``/v1/log``; None where nothing of the kind is served."""
    try:
        data = source.read("v1/log", MAX_JSON_BYTES)
    except NotServedError:
        return None
    return _decode(data, LogInfo, "/v1/log")


class Listing(NamedTuple):
    """The public list of petitions."""

    numbers: list[Numbers]
    as_of: int
    """What was published up to here must be in it."""


def listed(source: Source) -> Listing | None:
    """Every petition of the public list, as the list shows it; None where there is no list."""
    try:
        pages = list(_pages(source))
    except NotServedError:
        return None
    numbers = [
        Numbers(item.id, page.as_of, item.state, item.count, item.required)
        for page in pages
        for item in page.items
    ]
    return Listing(numbers, min(page.as_of for page in pages))


def _pages(source: Source) -> Iterator[_Page]:
    cursor: str | int | None = None
    for _ in range(MAX_PAGES):
        asked = {"limit": PAGE} | ({} if cursor is None else {"cursor": cursor})
        path = f"v1/petitions?{urlencode(asked)}"
        page = _decode(source.read(path, MAX_JSON_BYTES), _Page, f"/{path}")
        yield page
        if page.next is None or page.next == cursor:
            return
        cursor = page.next
    raise SourceError(f"The list of petitions does not end after {MAX_PAGES} pages.")


def petitions(source: Source, ids: Iterable[str]) -> Iterator[tuple[str, Numbers | None]]:
    """Each petition's own page by its id; None for one that is not served."""
    for petition in ids:
        path = f"v1/petitions/{quote(petition, safe='')}"
        try:
            numbers = _decode(source.read(path, MAX_JSON_BYTES), Numbers, f"/{path}")
        except NotServedError:
            yield petition, None
            continue
        if numbers.id != petition:
            raise MalformedAnswerError(f"/{path} answers about another petition, {numbers.id}.")
        yield petition, numbers


def _decode(data: bytes, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedAnswerError(f"{where} is not as the interface promises: {error}.") from error
