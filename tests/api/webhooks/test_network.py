"""Nothing is sent inside the network, whatever a URL, a name server or a receiver says; and nothing hangs."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.webhooks import network
from api.webhooks.network import Client, Target, WebhookTargetError, checked_addresses, is_public
from tests.api.webhooks.receivers import in_turn, receiving, status

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def naming(*turns):
    """A resolver that gives these addresses in turn, the last for ever; it counts how often it was asked."""
    left = list(turns)

    async def resolve(host, port):
        resolve.asked += 1
        return left.pop(0) if len(left) > 1 else left[0]

    resolve.asked = 0
    return resolve


async def post(url, body=b"{}", **options):
    async with Client(**options) as client:
        return await client.post(url, {"webhook-id": "x"}, body)


# --- addresses --------------------------------------------------------------------------------------

REFUSED = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fec0::1"],
    "shared by carriers": ["100.64.0.1", "100.127.255.254"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104
    "broadcast and reserved": ["255.255.255.255", "240.0.0.1", "4000::1", "5f00::1"],
    "special": ["192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
                "2001:db8::1", "3fff::1", "100::1", "2001:2::1", "2001:10::1", "2001:20::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "6to4": ["2002:7f00:1::1", "2002:a00:1::1", "2002:808:808::1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8"],
    "no address": ["", "localhost", "1", "127.1", "0x7f.0.0.1", "8.8.8.8.8", "8.8.8.08"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [(kind, one) for kind, all_ in REFUSED.items() for one in all_])
def test_no_message_goes_to_an_address_that_is_not_public(kind, address):
    assert not is_public(address), kind


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "172.15.255.255", "192.167.255.255",
     "223.255.255.255", "198.17.255.255", "198.20.0.0", PUBLIC_6, "2a00:1450:4001:82a::200e", "2003::1",
     "64:ff9b::8.8.8.8"],
)  # fmt: skip
def test_messages_go_to_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "127.0.0.1"], [PUBLIC, PUBLIC_6, "::1"], ["10.0.0.1", PUBLIC], []],
)
def test_every_address_of_a_name_must_be_public(addresses):
    with pytest.raises(WebhookTargetError) as error:
        asyncio.run(checked_addresses("receiver.example", 443, resolve=naming(addresses)))
    assert "10.0" not in str(error.value)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1", "0"]
)
def test_the_systems_own_names_for_this_machine_are_refused(host):
    with pytest.raises(WebhookTargetError):
        asyncio.run(checked_addresses(host, 443))


def test_a_name_that_does_not_exist_and_a_slow_name_server_say_the_same_as_a_private_one(monkeypatch):
    monkeypatch.setattr(network, "CONNECT_SECONDS", 0.1)

    async def missing(host, port):
        raise OSError("no such name")

    async def slow(host, port):
        await asyncio.sleep(60)

    said = set()
    for resolve in (missing, slow, naming(["10.0.0.1"])):
        with pytest.raises(WebhookTargetError) as error:
            asyncio.run(checked_addresses("receiver.example", 443, resolve=resolve))
        said.add(str(error.value))
    assert len(said) == 1


# --- URLs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://receiver.example/", "https"),
        ("ftp://receiver.example/", "https"),
        ("file:///etc/passwd", "https"),
        ("//receiver.example/", "https"),
        ("receiver.example/hook", "https"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://receiver.example:8080/", "443 or 8443"),
        ("https://receiver.example:22/", "443 or 8443"),
        ("https://receiver.example:99999/", "URL"),
        ("https://user:word@receiver.example/", "no user"),
        ("https://user@receiver.example/", "no user"),
        ("https://@receiver.example/", "no user"),
        ("https://receiver.example#@evil.example/", "fragment"),
        ("https://receiver.example/#part", "fragment"),
        ("https://receiver.example./", "full stop"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://receiver.example\\@evil.example/", "visible"),
        ("https://receiver.example/a b", "visible"),
        ("https://receiver.example/\r\nHost: evil.example", "visible"),
        ("https://тест.қаз/", "xn--"),
        ("", "visible"),
        ("https://receiver.example/" + "a" * 2000, "2000"),
    ],
)
def test_a_url_that_is_no_plain_https_target_is_refused(url, why):
    with pytest.raises(WebhookTargetError, match=why):
        Target.parse(url)


def test_a_url_is_taken_apart_as_it_will_be_used():
    target = Target.parse("HTTPS://Receiver.Example:8443/a%20b/../c?x=1&y=%2F")
    assert (target.scheme, target.host, target.port) == ("https", "receiver.example", 8443)
    assert target.key == "receiver.example:8443"
    assert target.authority == "receiver.example:8443"
    assert target.path.endswith(b"?x=1&y=%2F")
    assert Target.parse(target.text) == target
    six = Target.parse("https://[2606:2800:21f::1]/")
    assert (six.host, six.port, six.authority) == ("2606:2800:21f::1", 443, "[2606:2800:21f::1]")


def test_private_targets_are_taken_where_the_setting_says_so():
    target = Target.parse("http://127.0.0.1:9000/hook", allow_private=True)
    assert (target.scheme, target.port) == ("http", 9000)
    with pytest.raises(WebhookTargetError, match="no user"):
        Target.parse("http://user@127.0.0.1:9000/hook", allow_private=True)


# --- connections --------------------------------------------------------------------------------------


def test_a_name_server_that_changes_its_answer_wins_nothing():
    async def story():
        async with receiving() as receiver:
            # Registered while it was public; then it leads to this machine, on a port that is allowed.
            names = naming([PUBLIC], ["127.0.0.1"])
            await checked_addresses("receiver.example", 443, resolve=names)
            network_ports = network.PORTS | {receiver.port}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(network, "PORTS", network_ports)
                answer = await post(f"https://receiver.example:{receiver.port}/", resolve=names)
            assert names.asked == 2
            assert (answer.status, receiver.connections) == (None, 0)
            assert "public addresses" in answer.error

    asyncio.run(story())


def test_the_name_is_asked_once_for_a_connection_and_the_checked_address_is_connected_to():
    async def story():
        async with receiving() as receiver:
            # No resolver on earth knows this name: only the address that was given to us leads there.
            names = naming(["127.0.0.1"], ["192.0.2.1"])
            url = f"http://receiver.invalid:{receiver.port}/hook?x=1"
            answer = await post(url, resolve=names, allow_private=True)
            assert (answer.ok, names.asked) == (True, 1)
            (got,) = receiver.got
            assert got.headers["host"] == f"receiver.invalid:{receiver.port}"
            assert got.path == "/hook?x=1"
            assert got.headers["content-type"] == "application/json"
            assert got.headers["user-agent"].startswith("aiqyn-webhooks/")

    asyncio.run(story())


def test_the_next_address_is_tried_where_one_does_not_answer():
    async def story():
        async with receiving() as receiver:
            url = f"http://receiver.invalid:{receiver.port}/"
            answer = await post(url, resolve=naming(["127.0.0.9", "127.0.0.1"]), allow_private=True)
            assert answer.ok

    asyncio.run(story())


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async def story():
        async with receiving() as receiver, receiving() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            assert (await post(receiver.url, allow_private=True)).ok
            assert (receiver.connections, proxy.connections) == (1, 0)

    asyncio.run(story())


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code):
    async def story():
        async with receiving() as inside, receiving() as receiver:
            receiver.plan = lambda got: status(code, f"Location: {inside.url}")
            answer = await post(receiver.url, allow_private=True)
            assert (answer.status, answer.ok, inside.connections) == (code, False, 0)
            assert "Redirects are not followed" in answer.error

    asyncio.run(story())


# --- TLS ------------------------------------------------------------------------------------------------


def authority(tmp_path, *names):
    """A certificate authority, and a server's context with its certificate for these names."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Invented authority")])
    now = datetime.now(UTC)

    def certificate(subject, public, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256())

    root = certificate(
        ca,
        ca_key.public_key(),
        (x509.BasicConstraints(True, None), True),
        (x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False),
        (
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            True,
        ),
    )
    leaf = certificate(
        x509.Name([]),
        key.public_key(),
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "root.pem").write_bytes(root.public_bytes(pem))
    (tmp_path / "leaf.pem").write_bytes(
        leaf.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "leaf.pem")
    return server, ssl.create_default_context(cafile=str(tmp_path / "root.pem"))


def test_tls_verifies_the_name_of_the_url_not_the_address(tmp_path):
    async def story():
        server, trusted = authority(tmp_path, "receiver.example")
        options = {"allow_private": True, "resolve": naming(["127.0.0.1"])}
        async with receiving(tls=server) as receiver:
            url = f"https://receiver.example:{receiver.port}/hook"
            assert (await post(url, tls=trusted, **options)).ok
            wrong = await post(url.replace("receiver", "another"), tls=trusted, **options)
            assert wrong.status is None
            assert "certificate is not accepted: Hostname mismatch" in wrong.error
            unknown = await post(url, **options)
            assert unknown.status is None
            assert "certificate is not accepted" in unknown.error
            assert len(receiver.got) == 1

    asyncio.run(story())


def test_a_receiver_without_tls_is_told_from_one_that_says_nothing(monkeypatch):
    monkeypatch.setattr(network, "CONNECT_SECONDS", 0.3)

    async def story():
        async def speaks_plainly(reader, writer):
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async def says_nothing(reader, writer):
            await reader.read()

        for serve, said in (
            (speaks_plainly, "TLS could not be agreed"),
            (says_nothing, "no connection within"),
        ):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            assert said in (await post(f"https://127.0.0.1:{port}/", allow_private=True)).error
            server.close()

    asyncio.run(story())


# --- bounds ---------------------------------------------------------------------------------------------


def test_an_endless_answer_is_not_read_to_its_end():
    async def story():
        sent = 0

        async def endless(writer):
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            for _ in range(10_000):
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        async with receiving(lambda got: endless) as receiver:
            started = time.perf_counter()
            answer = await post(receiver.url, allow_private=True)
            assert (answer.status, answer.ok) == (200, True)
            assert time.perf_counter() - started < 2
            # What the system's buffers took, and no more.
            assert sent < 20_000_000

    asyncio.run(story())


def test_a_body_that_never_comes_does_not_hold_up(monkeypatch):
    monkeypatch.setattr(network, "DISCARD_SECONDS", 0.2)

    async def story():
        async def dripping(writer):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.05)

        async with receiving(lambda got: dripping) as receiver:
            started = time.perf_counter()
            answer = await post(receiver.url, allow_private=True)
            assert (answer.ok, time.perf_counter() - started < 1) == (True, True)

    asyncio.run(story())


def test_a_status_that_never_comes_ends_with_the_time_for_the_whole(monkeypatch):
    monkeypatch.setattr(network, "TOTAL_SECONDS", 0.5)

    async def story():
        async def dripping(writer):
            # Always something new, so that no time limit of a single read would end it.
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(1000):
                writer.write(b"x-%d: y\r\n" % number)
                await writer.drain()
                await asyncio.sleep(0.05)

        async with receiving(lambda got: dripping) as receiver:
            started = time.perf_counter()
            answer = await post(receiver.url, allow_private=True)
            assert (answer.status, answer.ok) == (None, False)
            assert "no answer" in answer.error
            assert time.perf_counter() - started < 2

    asyncio.run(story())


def test_what_goes_wrong_is_said_in_our_words(unused_port):
    async def story():
        async with receiving() as receiver:
            receiver.plan = lambda got: "220 mail.example ESMTP <script>\r\n\r\n"
            nonsense = await post(receiver.url, allow_private=True)
            assert nonsense.status is None
            assert "something else than HTTP" in nonsense.error
            assert "ESMTP" not in nonsense.error

            async def hang_up(writer):
                writer.close()

            receiver.plan = lambda got: hang_up
            assert "closed the connection" in (await post(receiver.url, allow_private=True)).error
            refused = await post(f"http://127.0.0.1:{unused_port}/", allow_private=True)
            assert refused.error == "The receiver takes no connection."

    asyncio.run(story())


def test_a_connection_serves_several_messages():
    async def story():
        async with receiving() as receiver, Client(allow_private=True) as client:
            for _ in range(3):
                assert (await client.post(receiver.url, {}, b"{}")).ok
            assert (len(receiver.got), receiver.connections) == (3, 1)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("-1", None), ("1.5", None), ("soon", None), ("9" * 40, None), ("", None)],
)
def test_retry_after_is_read_strictly(value, seconds):
    async def story():
        async with receiving(in_turn(status(503, f"Retry-After: {value}"))) as receiver:
            assert (await post(receiver.url, allow_private=True)).retry_after == seconds

    asyncio.run(story())


def test_retry_after_may_be_a_date():
    async def story():
        at = datetime.now(UTC) + timedelta(minutes=10)
        plan = in_turn(
            status(503, f"Retry-After: {at:%a, %d %b %Y %H:%M:%S} GMT"),
            status(503, "Retry-After: Mon, 01 Jan 2024 00:00:00 GMT"),
        )
        async with receiving(plan) as receiver:
            assert 590 < (await post(receiver.url, allow_private=True)).retry_after <= 600
            assert (await post(receiver.url, allow_private=True)).retry_after == 0
            assert (await post(receiver.url, allow_private=True)).ok

    asyncio.run(story())
