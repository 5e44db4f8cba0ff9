"""The one way out of the service: POST to an address that a stranger chose, and nowhere inside the network.

A URL is parsed once, here. Its name is resolved when it is registered and again for every connection; every
address found must be public, and the connection goes to an address that was checked, not to the name once
more, so that a name server that changes its answer wins nothing. TLS still verifies the name. There is no
redirect, no proxy, no cookie, no decompression; time and what is read of an answer are bounded.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Self

import certifi
import httpcore
import httpx

from ledger.errors import AiqynError

CONNECT_SECONDS = 5.0
"""For the name, the connection and TLS together."""
TOTAL_SECONDS = 15.0
DISCARD_SECONDS = 1.0
"""For the body of an answer, which nobody reads: it is only taken so that the connection serves again."""
MAX_RESPONSE_BYTES = 65_536
MAX_URL = 2000
PORTS = frozenset({443, 8443})
MAX_CONNECTIONS = 32
_IDLE_SECONDS = 2.0
"""Less than servers commonly wait: who closes at the moment that we send would look like a failure."""
_ADDRESSES_TRIED = 4

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port → addresses as text; raises :class:`OSError`."""


class WebhookTargetError(AiqynError):
    """The address cannot be a webhook's target: its form, its port, or where its name leads, is refused."""

    code = "webhook-target-refused"
    title = "This address cannot be a webhook's target"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart once and for all."""

    text: str
    scheme: str
    host: str
    """A name in ASCII, or an IP address without brackets."""
    port: int
    authority: str
    """What ``Host`` says."""
    path: bytes
    """With the query."""

    @property
    def key(self) -> str:
        """Host and port, for what is bounded by target."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> httpcore.URL:
        """For the connection pool, which takes nothing apart again."""
        return httpcore.URL(
            scheme=self.scheme.encode("ascii"),
            host=self.host.encode("ascii"),
            port=self.port,
            target=self.path,
        )

    @classmethod
    def parse(cls, text: str, *, allow_private: bool = False) -> Self:
        """Raises :class:`WebhookTargetError`. ``allow_private``: http and any port are taken too."""
        if not 1 <= len(text) <= MAX_URL or re.fullmatch(r"[!-~]+", text) is None or "\\" in text:
            raise WebhookTargetError(
                f"A webhook's URL has up to {MAX_URL} visible ASCII characters: write a name in other "
                "letters as xn--…, and anything else percent-encoded."
            )
        try:
            url = httpx.URL(text)
            port = url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
        except (httpx.InvalidURL, ValueError) as error:
            raise WebhookTargetError("This is no URL: write https://host/path.") from error
        if url.scheme != "https" and not (allow_private and url.scheme == "http"):
            raise WebhookTargetError("A webhook's URL begins with https://.")
        if "@" in re.split(r"[/?#]", text.partition("://")[2])[0]:
            raise WebhookTargetError("A webhook's URL has no user and no password: our signature proves us.")
        if "#" in text:
            raise WebhookTargetError("A webhook's URL has no fragment: nothing behind # would be sent.")
        host = url.raw_host.decode("ascii").lower()
        if not host or host.endswith(".") or "%" in host:
            raise WebhookTargetError("A webhook's URL names a host, without a full stop or zone at its end.")
        if port not in PORTS and not allow_private:
            raise WebhookTargetError("A webhook's URL has the port 443 or 8443.")
        return cls(str(url), url.scheme, host, port, url.netloc.decode("ascii"), url.raw_path)


# IANA's special-purpose registries (RFC 6890) as of 2025. Of IPv6, what is not known to be public is refused.
_REFUSED_4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo (2001::/32), benchmarking, ORCHID
        "2001:db8::/32", "3fff::/20",  # documentation
        "2002::/16",  # 6to4
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address may be connected to: a public host's, not one of a network behind us.

    A NAT64 address (RFC 6052) is what the IPv4 address in it is. IPv4-mapped, 6to4 and Teredo addresses, and
    addresses with a zone, are never public: no name server gives them for a host that others should reach.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in block for block in _REFUSED_4)
    if found.scope_id is not None:
        return False
    if found in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)))
    return found in _GLOBAL_6 and not any(found in block for block in _REFUSED_6)


# A resolver has no time limit of its own: slow names hold these threads, and nothing else.
_names = ThreadPoolExecutor(8, thread_name_prefix="webhook-names")


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the system's resolver, in a thread."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _names, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    )
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def checked_addresses(
    host: str, port: int, *, allow_private: bool = False, resolve: Resolve = resolve
) -> Sequence[str]:
    """Where a name leads, if every address may be connected to. Raises :class:`WebhookTargetError`.

    One sentence for all that can be wrong: it tells nobody which names exist inside the network.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await resolve(host, port)
    except (OSError, TimeoutError, UnicodeError):
        found = ()
    if not found or not (allow_private or all(is_public(address) for address in found)):
        raise WebhookTargetError("The URL's host does not lead to public addresses, and to these alone.")
    return found


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, whatever the name says a moment later."""

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first of the name's addresses that answers."""
        found = await checked_addresses(host, port, allow_private=self._allow_private, resolve=self._resolve)
        tried = found[:_ADDRESSES_TRIED]
        for left, address in zip(range(len(tried), 0, -1), tried, strict=True):
            try:
                return await self._inner.connect_tcp(
                    address, port, (timeout or CONNECT_SECONDS) / left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError("no address")  # unreachable: there is at least one


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int | None = None
    retry_after: float | None = None
    """Seconds, as the receiver asks."""
    error: str | None = None
    """Why there is no status, or why it is not enough: in our words, nothing of what was received."""

    @property
    def ok(self) -> bool:
        """2xx: the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    # Both: an operator adds a national authority to the system's roots; a container may have none.
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Client:
    """Sends messages. Belongs to one event loop; use it as a context."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``allow_private``: any address and port, and http; for tests and receivers on one's own machine."""
        self._allow_private = allow_private
        self._backend = _Guarded(resolve, allow_private=allow_private)
        self._tls = tls
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def __aenter__(self) -> Self:
        """Ready to send."""
        # Reading the roots takes tens of milliseconds.
        tls = self._tls or await asyncio.to_thread(_tls)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS // 2,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one message; whatever happens out there is an answer, not an exception."""
        answer = None
        try:
            target = Target.parse(url, allow_private=self._allow_private)
            async with asyncio.timeout(TOTAL_SECONDS), self._stream(target, headers, body) as response:
                answer = _read(response)
                await _discard(response)
        except WebhookTargetError as error:
            return Answer(error=str(error))
        except TimeoutError:
            return answer or Answer(error=f"There was no answer within {TOTAL_SECONDS:.0f} seconds.")
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return answer or Answer(error=_said(error))
        return answer

    def _stream(self, target: Target, headers: Mapping[str, str], body: bytes) -> Any:  # noqa: ANN401
        if self._pool is None:
            raise RuntimeError("the client is not open")
        sent = {
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": _user_agent(),
            **headers,
        }
        timeouts = {"connect": CONNECT_SECONDS, "read": TOTAL_SECONDS, "write": TOTAL_SECONDS}
        return self._pool.stream(
            "POST", target.url, headers=list(sent.items()), content=body,
            extensions={"timeout": timeouts | {"pool": TOTAL_SECONDS}},
        )  # fmt: skip


@lru_cache(maxsize=1)
def _user_agent() -> str:
    return f"aiqyn-webhooks/{version('aiqyn')}"


def _read(response: httpcore.Response) -> Answer:
    status = response.status
    after = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    error = None
    if 300 <= status < 400:
        error = "Redirects are not followed: register the address that it leads to."
    elif status == HTTPStatus.GONE:
        error = "The receiver wants no more messages (410 Gone)."
    return Answer(status, _seconds(after.decode("latin-1").strip()), error)


def _seconds(text: str) -> float | None:
    """``Retry-After`` (RFC 9110, section 10.2.3): seconds or a date; None for anything else."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


async def _parts(response: httpcore.Response) -> AsyncGenerator[bytes, None]:
    async for part in response.aiter_stream():
        yield part


async def _discard(response: httpcore.Response) -> None:
    """Read the rest where it is short and comes at once; else the connection is closed."""
    seen = 0
    try:
        async with asyncio.timeout(DISCARD_SECONDS), aclosing(_parts(response)) as parts:
            async for part in parts:
                seen += len(part)
                if seen >= MAX_RESPONSE_BYTES:
                    return
    except TimeoutError:
        return


def _said(error: Exception) -> str:
    """What went wrong, for the owner of the receiver."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The receiver's certificate is not accepted: {cause.verify_message.rstrip('.')}."
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError):
            return "TLS could not be agreed with the receiver."
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpcore.ConnectTimeout():
            return f"There was no connection within {CONNECT_SECONDS:.0f} seconds."
        case httpcore.TimeoutException():
            return f"There was no answer within {TOTAL_SECONDS:.0f} seconds."
        case httpcore.ConnectError():
            return "The receiver takes no connection."
        case httpcore.ProtocolError():
            return "The receiver closed the connection, or answered something else than HTTP."
        case _:
            return "The connection broke."
