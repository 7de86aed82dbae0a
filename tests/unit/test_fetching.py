from __future__ import annotations

import asyncio
import datetime
import gzip
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reflow.errors import FetchError, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading import guarded
from reflow.rag.reading.addresses import is_public, parse
from reflow.rag.reading.fetching import fetch
from tests.support import arun
from tests.support.web import Answer, answering, leading_to, silent, streaming, web

# Which addresses are public


@pytest.mark.parametrize(
    "number",
    """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8
    192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1
    64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2002:7f00:1::
    2002:808:808:: 3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
    localhost 127.1 2130706433 nonsense 1.2.3.4.5""".split(),
)
def test_addresses_that_are_not_public(number: str) -> None:
    assert not is_public(number)


@pytest.mark.parametrize(
    "number",
    "1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 ::ffff:8.8.8.8 64:ff9b::808:808 2606:4700::1111 2a00:1450::1".split(),
)
def test_addresses_that_are_public(number: str) -> None:
    assert is_public(number)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "only http"),
        ("ftp://x.test/a", "only http"),
        ("gopher://x.test/_GET", "only http"),
        ("javascript:alert(1)", "only http"),
        ("//x.test/a", "only http"),
        ("x.test/a", "only http"),
        ("http:///a", "no host"),
        ("http://", "no host"),
        ("http://user:secret@x.test/", "leave them out"),
        ("http://good.test@127.0.0.1/", "leave them out"),
        ("http://x.test\\@127.0.0.1/", "backslashes"),
        ("http://x.test/a b", "spaces"),
        ("http://x.test/\r\nHost: y", "control"),
        ("http://x.test:99999/", "port"),
        ("http://x.test:22/", "not for the web"),
        ("http://x.test:6379/", ""),
        ("http://[::1/", "can't be read"),
        ("http://" + "ü" * 300 + ".test/", "can't be read"),
        ("http://x.test/" + "a" * 5000, "address_length"),
    ],
)
def test_addresses_that_can_not_be_fetched(url: str, why: str) -> None:
    if not why:
        assert parse(url).port == 6379
        return
    with pytest.raises(FetchError, match=why) as caught:
        parse(url)
    assert not caught.value.retryable
    assert "secret" not in str(caught.value)


def test_an_address_is_taken_apart_once() -> None:
    address = parse("HTTPS://Bücher.Test.:8443/ä b".replace(" ", "%20") + "?q=ö#part")
    assert (address.scheme, address.host, address.port) == ("https", "xn--bcher-kva.test", 8443)
    assert address.target == "/%C3%A4%20b?q=%C3%B6"
    assert address.url == "https://xn--bcher-kva.test:8443/%C3%A4%20b?q=%C3%B6"
    assert parse("http://[2606:4700::1111]/").authority == "[2606:4700::1111]"


# Fetching


async def failing(url: str, *, limits: Limits | None = None, allow_private: bool = True) -> FetchError:
    """The error of fetching an address."""
    with pytest.raises(FetchError) as caught:
        await fetch(url, allow_private=allow_private, limits=limits or Limits())
    return caught.value


def test_a_page_is_fetched_with_its_type_and_where_it_was_in_the_end() -> None:
    async def main() -> None:
        answers: dict[str, Answer] = {
            "/": leading_to("/a b", 308),
            "/a%20b": leading_to("/b?x=ä", 301),
            "/b?x=%C3%A4": answering(
                gzip.compress(b"<p>page"), "content-type: text/html; charset=utf-8", "content-encoding: gzip"
            ),
        }
        async with web(answers) as server:
            found = await fetch(server.url("/"), allow_private=True)
            assert found.data == b"<p>page"
            assert found.content_type == "text/html; charset=utf-8"
            assert found.url == server.url("/b?x=%C3%A4")
            assert all(f"host: 127.0.0.1:{server.port}\r\n" in head.lower() for head in server.asked)

    arun(main())


@pytest.mark.parametrize(
    "host",
    """127.0.0.1 127.1 0 0x7f.0.0.1 2130706433 017700000001 localhost [::1] [::ffff:127.0.0.1] 127。0。0。1
    ①②⑦.0.0.1""".split(),
)
def test_private_addresses_are_refused_in_every_form_and_nobody_is_asked(host: str) -> None:
    async def main() -> None:
        async with web({"/": answering(b"secret")}) as server:
            error = await failing(server.url(host=host), allow_private=False)
            assert not error.retryable
            assert "no public address" in str(error) or "not known" in str(error)
            assert server.asked == []

    arun(main())


def test_a_name_is_resolved_once_and_its_number_is_what_is_connected_to() -> None:
    """DNS rebinding: public when it is checked, this machine when it is used."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) > 1 else ["8.8.8.8"]

    async def main() -> None:
        async with web({"/": answering(b"secret")}) as server:
            with pytest.raises(FetchError):
                await fetch(server.url(host="rebind.test"), resolve=rebinding, limits=Limits(fetch_idle_seconds=0.2))
            assert asked == ["rebind.test"]
            assert server.asked == []

    arun(main())


def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    with pytest.raises(FetchError, match=r"at 127\.0\.0\.1, which is no public address"):
        arun(fetch("http://mixed.test/", resolve=mixed))


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "//[::1]/",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]:8080/",
        "file:///x",
        "http://[::1",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "is_public", lambda number: number == "127.0.0.1" or is_public(number))

    async def main() -> None:
        async with web({"/": leading_to(location), "/fine": answering(b"fine")}) as server:
            assert (await fetch(server.url("/fine"))).data == b"fine"
            error = await failing(server.url(), allow_private=False)
            assert not error.retryable
            assert any(why in str(error) for why in ("no public address", "only http", "no address: "))

    arun(main())


def test_redirects_are_bounded() -> None:
    async def main() -> None:
        answers: dict[str, Answer] = {f"/{n}": leading_to(f"/{n + 1}", 307) for n in range(9)}
        async with web({**answers, "/9": answering(b"end"), "/loop": leading_to("/loop")}) as server:
            assert (await fetch(server.url("/4"), allow_private=True)).data == b"end"
            for path in ("/3", "/loop"):
                error = await failing(server.url(path))
                assert "limits.fetch_redirects" in str(error)
                assert not error.retryable
            assert sum("/loop" in head for head in server.asked) == Limits().fetch_redirects + 1

    arun(main())


SMALL = Limits(source_bytes=100_000, fetch_seconds=1.0, fetch_idle_seconds=0.3)


@pytest.mark.parametrize(
    ("answer", "retryable", "why"),
    [
        (silent, True, "fetch_idle_seconds"),
        (streaming(b"x", 0.05), True, "fetch_seconds"),
        (streaming(b"1\r\nx\r\n", 0.05, "transfer-encoding: chunked"), True, "fetch_seconds"),
        (streaming(b"a: b\r\n", 0.05, "x: y\r\na: b"), True, ""),
        (b"", True, "disconnected"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort", True, "without sending"),
        (b"nonsense\r\n\r\n", True, ""),
        (b"HTTP/1.1 200 OK\r\n" + b"x-long: " + b"y" * 200_000 + b"\r\n\r\n", True, ""),
        (answering(b"not packed", "content-encoding: gzip"), True, "packed wrongly"),
        (answering(gzip.compress(b"x" * 500)[:20], "content-encoding: gzip"), True, "ends before"),
        (answering(b"x", "content-encoding: br"), False, "'br'"),
        (answering(b"", status=404), False, "404"),
        (answering(b"", status=304), False, "304"),
        (answering(b"", status=500), True, "500"),
    ],
)
def test_what_a_server_may_do_wrong(answer: Answer, retryable: bool, why: str) -> None:
    async def main() -> None:
        async with web({"/": answer}) as server:
            error = await failing(server.url(), limits=SMALL)
            assert error.retryable is retryable
            assert why in str(error)
            assert server.url() in str(error)

    arun(main())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answering(b"x" * 100_001), "too_large"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx", "too_large"),
        (streaming(b"x" * 50_000, 0.0), "too_large"),
        (answering(gzip.compress(b"\0" * 90_000_000), "content-encoding: gzip"), "too_large"),
        (streaming(gzip.compress(b"x") * 1000, 0.0, "content-encoding: gzip"), "too_large"),
        (answering(b"x", "content-type: video/mp4"), "unsupported"),
        (streaming(b"x", 0.0, "content-type: Audio/MPEG; a=b"), "unsupported"),
    ],
)
def test_what_is_too_large_or_no_text_is_refused(answer: Answer, reason: str) -> None:
    async def main() -> None:
        async with web({"/": answer}) as server:
            with pytest.raises(UnreadableSource) as caught:
                await fetch(server.url(), allow_private=True, limits=Limits(source_bytes=100_000))
            assert caught.value.reason == reason

    arun(main())


def test_how_long_to_wait_comes_with_the_error() -> None:
    async def main() -> None:
        async with web({"/": answering(b"", "retry-after: 7", status=429)}) as server:
            error = await failing(server.url())
            assert (error.retryable, error.retry_after) == (True, 7.0)

    arun(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        async with web({}) as server:
            url = server.url()
        error = await failing(url)
        assert error.retryable

    arun(main())


def test_a_cancelled_fetch_leaves_no_connection() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def until_gone(writer: asyncio.StreamWriter) -> None:
            try:
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            except ConnectionError:
                pass
            gone.set()

        async with web({"/": until_gone}) as server:
            task = asyncio.create_task(fetch(server.url(), allow_private=True))
            while not server.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 10)

    arun(main())


# TLS


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for a name, and the file that makes it trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, own = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    own.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, own)
    return context, trusted


def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    context, trusted = certificate(tmp_path, "pages.test")

    async def main() -> None:
        async with web({"/": answering(b"page"), "/down": leading_to("http://pages.test/")}, context) as server:
            url = server.url(host="pages.test", scheme="https")
            with pytest.raises(FetchError, match="certificate is not trusted") as caught:
                await fetch(url, allow_private=True, resolve=here)
            assert not caught.value.retryable
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            assert (await fetch(url, allow_private=True, resolve=here)).data == b"page"
            with pytest.raises(FetchError, match="certificate is not trusted"):
                await fetch(server.url(host="other.test", scheme="https"), allow_private=True, resolve=here)
            with pytest.raises(FetchError, match="anybody on the way"):
                await fetch(f"{url}down", allow_private=True, resolve=here)

    arun(main())
