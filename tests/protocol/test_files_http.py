"""Files over HTTP: uploads by token, downloads with ranges and digests, and what must not be there."""

from __future__ import annotations

import base64
import gc
import hashlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import reflow as rf
from reflow.database import RangeRequest
from reflow.engine.files import Blob
from reflow.errors import ReflowError
from reflow.limits import Limits
from reflow.schema import spec_of
from reflow.server.serve import Serving
from tests.support.files_app import app, content
from tests.support.servers import ServerProcess, Threaded, in_process, in_thread

LIMITED = rf.App(
    modules=app.modules,
    limits=Limits(file_bytes=300_000, file_idle_seconds=3, uploads=1),
    origins=["https://app.example"],
)
PATIENCE = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(LIMITED, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture
def http(server: Threaded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def call(url: str, kind: str, path: str, **args: Any) -> Any:
    answer = httpx.post(f"{url}/api/{kind}", json={"path": f"files:{path}", "args": args}, timeout=PATIENCE).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def upload_url(server: Threaded | ServerProcess) -> str:
    found = call(server.url, "mutation", "generateUploadUrl")
    assert found.startswith(f"{server.url}/api/storage/upload?token=")
    return found


def upload(server: Threaded | ServerProcess, data: bytes, **headers: str) -> str:
    answer = httpx.post(upload_url(server), content=data, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"storageId"}
    return answer.json()["storageId"]


def address(server: Threaded | ServerProcess, file: str) -> str:
    return call(server.url, "query", "url", file=file)


def stored(server: Threaded | ServerProcess, data: bytes, **headers: str) -> str:
    """Uploads a file; its address."""
    return address(server, upload(server, data, **headers))


def failed(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text[:300]
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["message"]
    return answer.json()["code"]


def eventually(what: Any) -> None:
    """Waits until something holds: the server ends in its own time what a client has left."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def left(server: Threaded) -> tuple[int, int, int]:
    """Files, other rows of blobs, and files on the disk."""

    async def look(serving: Serving) -> tuple[int, int, int]:
        engine = serving.backend.engine
        async with engine.reading() as tx:
            files, blobs = [await tx.count(RangeRequest(table=spec_of(table), equal={})) for table in (rf.File, Blob)]
        store: Any = engine.files._blobs  # pyright: ignore[reportPrivateUsage]
        directory: Path = store._directory
        return files, blobs - files, len(list(directory.iterdir())) if directory.exists() else 0

    return server.call(look)


def settled(server: Threaded) -> tuple[int, int, int]:
    """The same once nothing is left of earlier tests."""
    server.call(lambda serving: serving.backend.engine.files.collect())
    found = left(server)
    assert found[1] == 0
    return found


# Up


def test_an_upload_and_its_row(server: Threaded) -> None:
    data = content(70_000)
    file = upload(server, data, **{"content-type": "image/png"})
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    row = call(server.url, "query", "metadata", file=file)
    assert isinstance(row.pop("_creationTime"), float)
    assert row == {"_id": file, "sha256": digest, "size": 70_000, "contentType": "image/png"}
    answer = httpx.get(address(server, file))
    assert answer.status_code == 200
    assert answer.content == data
    expected = {
        "content-type": "image/png",
        "content-length": "70000",
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=2592000",
        "digest": f"sha-256={digest}",
        "etag": f'"{hashlib.sha256(data).hexdigest()}"',
        "x-content-type-options": "nosniff",
        "vary": "origin",
    }
    assert expected.items() <= dict(answer.headers).items()


def test_an_upload_without_a_type_or_a_length(server: Threaded) -> None:
    def pieces() -> Iterator[bytes]:
        yield content(5)
        yield content(100_000)[5:]

    answer = httpx.post(upload_url(server), content=pieces())
    file = answer.json()["storageId"]
    assert "contentType" not in call(server.url, "query", "metadata", file=file)
    found = httpx.get(address(server, file))
    assert found.content == content(100_000)
    assert found.headers["content-type"] == "application/octet-stream"
    empty = stored(server, b"")
    assert httpx.get(empty).content == b""
    assert failed(httpx.get(empty, headers={"range": "bytes=0-"}), 416) == "RangeNotSatisfiable"


def test_an_upload_address_is_used_once(server: Threaded) -> None:
    url = upload_url(server)
    assert httpx.post(url, content=b"one").status_code == 200
    assert failed(httpx.post(url, content=b"two"), 401) == "StorageTokenInvalid"
    # Also where the body is large: its sender gets to read the answer.
    assert failed(httpx.post(url, content=bytes(8 << 20)), 401) == "StorageTokenInvalid"


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=abc", "?token=%00", "?token=%ff", "?other=1", "?" + "a&" * 50]
)
def test_other_tokens_are_refused(http: httpx.Client, query: str) -> None:
    assert failed(http.post(f"/api/storage/upload{query}", content=b"x"), 401) == "StorageTokenInvalid"


def test_a_digest_is_checked_before_anything_is_there(server: Threaded) -> None:
    before, url = settled(server), upload_url(server)
    right = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    wrong = base64.b64encode(bytes(32)).decode()
    for value in (f"sha-256={wrong}", "sha-256=!!", "sha-256=", f"sha-256={right[:-4]}", f"md5=x, SHA-256={wrong}"):
        assert failed(httpx.post(url, content=b"data", headers={"digest": value}), 400) == "InvalidValue"
    eventually(lambda: left(server) == before)
    assert httpx.post(url, content=b"data", headers={"digest": f"md5=x,SHA-256={right}"}).status_code == 200


@pytest.mark.parametrize("kind", ["nothing", "text/plain\tx", "a/" + "b" * 300, "text/ä"])
def test_a_content_type_must_be_one(server: Threaded, kind: str) -> None:
    answer = httpx.post(upload_url(server), content=b"x", headers=[(b"content-type", kind.encode())])
    assert failed(answer, 400) == "InvalidValue"


def test_an_upload_over_the_limit_leaves_nothing(limited: Threaded) -> None:
    before, url = settled(limited), upload_url(limited)
    for declared in (True, False):
        body = content(300_001)
        answer = httpx.post(url, content=body if declared else iter([body]))
        assert failed(answer, 413) == "LimitExceeded"
        assert "limits.file_bytes = 300000" in answer.json()["message"]
    eventually(lambda: left(limited) == before)
    assert httpx.post(url, content=content(300_000)).status_code == 200


def test_an_upload_that_is_cut_off_leaves_nothing(server: Threaded) -> None:
    before, url = settled(server), upload_url(server)
    for body in (b"", content(300_000), content(3_000_000)):
        with begun_upload(url, 4_000_000) as client:
            client.sendall(body)
            eventually(lambda: left(server) != before)
        eventually(lambda: left(server) == before)
    assert httpx.post(url, content=b"whole").status_code == 200


def test_an_upload_that_stands_still_is_given_up(limited: Threaded) -> None:
    before, url = settled(limited), upload_url(limited)
    with begun_upload(url, 1000) as client:
        client.sendall(b"half")
        client.settimeout(PATIENCE)
        answer = client.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"UploadTimeout" in answer + client.recv(10_000)
    eventually(lambda: left(limited) == before)


def test_more_uploads_at_once_are_refused(limited: Threaded) -> None:
    before, url = settled(limited), upload_url(limited)
    with begun_upload(url, 1000) as client:
        client.sendall(b"half")
        eventually(lambda: left(limited) != before)
        assert failed(httpx.post(upload_url(limited), content=b"x"), 503) == "TooManyConcurrentRequests"
    eventually(lambda: left(limited) == before)


def begun_upload(url: str, length: int) -> socket.socket:
    """A connection that has sent the head of an upload."""
    parts = httpx.URL(url)
    client = socket.create_connection((parts.host, parts.port or 80))
    target = parts.raw_path.decode()
    client.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    return client


# Down


@pytest.fixture(scope="module")
def file(server: Threaded) -> str:
    return stored(server, content(1000), **{"content-type": "text/plain"})


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 1000),
        ("bytes=10-19", 10, 20),
        ("bytes=990-5000", 990, 1000),
        ("bytes=-1", 999, 1000),
        ("bytes=-5000", 0, 1000),
        ("BYTES=1-2", 1, 3),
    ],
)
def test_a_range(file: str, asked: str, start: int, stop: int) -> None:
    answer = httpx.get(file, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == content(1000)[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1000"
    assert answer.headers["content-length"] == str(stop - start)
    assert "digest" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_beyond_the_end(file: str, asked: str) -> None:
    answer = httpx.get(file, headers={"range": asked})
    assert failed(answer, 416) == "RangeNotSatisfiable"
    assert answer.headers["content-range"] == "bytes */1000"


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=0-1,4-5", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "x", "bytes=0-" + "9" * 5000]
)
def test_what_is_no_single_range_gives_all(file: str, asked: str) -> None:
    answer = httpx.get(file, headers={"range": asked})
    assert answer.status_code == 200
    assert answer.content == content(1000)


def test_a_refused_request_leaves_nothing_to_the_collector_of_cycles(server: Threaded, file: str) -> None:
    gc.collect()
    gc.disable()
    try:
        assert httpx.get(file, headers={"range": "bytes=999999999-"}).status_code == 416
        assert httpx.post(f"{server.url}/api/storage/upload?token=x", content=b"x").status_code == 401
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [found for found in gc.garbage if isinstance(found, ReflowError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_what_a_client_has_is_not_sent_again(file: str) -> None:
    tag = httpx.head(file).headers["etag"]
    for has in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = httpx.get(file, headers={"if-none-match": has})
        assert answer.status_code == 304
        assert answer.content == b""
        assert answer.headers["etag"] == tag
    assert httpx.get(file, headers={"if-none-match": '"other"'}).status_code == 200
    assert httpx.get(file, headers={"range": "bytes=0-1", "if-range": tag}).status_code == 206
    assert httpx.get(file, headers={"range": "bytes=0-1", "if-range": '"other"'}).status_code == 200


def test_head_tells_the_same_without_the_bytes(file: str) -> None:
    whole, head = httpx.get(file), httpx.head(file, headers={"range": "bytes=0-1"})
    assert head.status_code == 200
    assert head.content == b""
    varying = ("date",)
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in whole.headers.items() if k not in varying
    }


def test_other_methods_are_refused(server: Threaded, file: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = httpx.request(method, file, content=b"x")
        assert failed(answer, 405) == "MethodNotAllowed"
        assert answer.headers["allow"] == "GET, HEAD"
    assert failed(httpx.get(upload_url(server)), 405) == "MethodNotAllowed"


def test_pages_of_welcome_origins_may_use_it(limited: Threaded) -> None:
    origin = {"origin": "https://app.example"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,digest"}
    file = stored(limited, content(1000))
    for url in (file, upload_url(limited)):
        answer = httpx.options(url, headers=origin | asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-headers"] == "content-type,digest"
        assert failed(httpx.request("POST", url, headers={"origin": "https://evil.example"}), 403)
    answer = httpx.post(upload_url(limited), content=b"x", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    answer = httpx.get(file, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "content-range" in answer.headers["access-control-expose-headers"]
    assert failed(httpx.get(file, headers={"origin": "https://evil.example"}), 403)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", True),
        ("text/plain; charset=utf-8", True),
        ("video/mp4", True),
        ("application/pdf", True),
        ("text/html", False),
        ("TEXT/HTML", False),
        ("image/svg+xml", False),
        ("Image/SVG+xml", False),
        ("application/xhtml+xml", False),
        ("text/xml", False),
        ("text/javascript", False),
        ("application/octet-stream", False),
    ],
)
def test_what_could_run_scripts_is_saved_and_not_shown(server: Threaded, kind: str, shown: bool) -> None:
    answer = httpx.get(stored(server, b"<script>alert(1)</script>", **{"content-type": kind}))
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("content-disposition" not in answer.headers) == shown
    assert ("content-security-policy" not in answer.headers) == shown


# Rule 8: an address is a capability


def test_rule_8_an_id_is_no_address(server: Threaded) -> None:
    file = upload(server, b"secret")
    for path in (file, f"upload/{file}", f"?id={file}", f"upload?id={file}"):
        assert httpx.get(f"{server.url}/api/storage/{path}").status_code in (404, 405)


@pytest.mark.parametrize(
    "trick",
    [
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cx",
        "%00",
        "{key}%00",
        "{key}.part",
        "{key}%2f..%2f{key}",
        "./{key}",
        "{key}/",
        "{upper}",
        "{bare}",
        "{key}%0d%0aX-Injected:%20x",
        "%c3%a9",
    ],
)
def test_rule_8_path_tricks_find_nothing(server: Threaded, trick: str) -> None:
    key = stored(server, b"secret").rpartition("/")[2]
    path = trick.format(key=key, upper=key.upper(), bare=key.replace("-", ""))
    parts = httpx.URL(server.url)
    with socket.create_connection((parts.host, parts.port or 80)) as client:  # which changes nothing of the path
        client.sendall(f"GET /api/storage/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while received := client.recv(10_000):
            answer += received
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"FileNotFound" in answer
    assert b"secret" not in answer
    assert b"x-injected:" not in answer.lower()


def test_rule_8_a_deleted_file_is_served_no_more(server: Threaded) -> None:
    file = upload(server, b"secret")
    url = address(server, file)
    tag = httpx.get(url).headers["etag"]
    call(server.url, "mutation", "delete", file=file)
    for headers in ({}, {"range": "bytes=0-1"}, {"if-none-match": tag}):
        answer = httpx.get(url, headers=headers)
        assert failed(answer, 404) == "FileNotFound"
        assert answer.headers["cache-control"] == "no-store"
    assert httpx.head(url).status_code == 404


def test_rule_8_also_not_to_whom_it_is_being_sent(server: Threaded, caplog: pytest.LogCaptureFixture) -> None:
    size = 64 << 20  # more than buffers on the way can hold
    file = upload(server, bytes(size))
    with httpx.stream("GET", address(server, file)) as answer:
        chunks = answer.iter_raw(1 << 16)
        sizes = [len(next(chunks))]
        call(server.url, "mutation", "delete", file=file)
        with pytest.raises(httpx.RemoteProtocolError):
            sizes.extend(map(len, chunks))
    assert sum(sizes) < size
    assert "was deleted while it was read" in caplog.text


# Large files


def test_a_client_that_leaves_or_takes_nothing_is_let_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    impatient = rf.App(modules=app.modules, limits=Limits(file_idle_seconds=1, downloads=1))
    with in_thread(impatient, tmp_path) as server:
        url = address(server, call(server.url, "action", "store", size=64 << 20))
        with httpx.stream("GET", url) as answer:  # it leaves
            chunks = answer.iter_raw(1 << 16)
            next(chunks)
            assert failed(httpx.get(url), 503) == "TooManyConcurrentRequests"
        eventually(lambda: httpx.head(url).is_success and httpx.get(url, headers={"range": "bytes=0-9"}).is_success)
        with httpx.stream("GET", url) as answer:  # it stays, and takes nothing
            chunks = answer.iter_raw(1 << 16)
            next(chunks)
            eventually(lambda: httpx.get(url, headers={"range": "bytes=0-9"}).is_success)
    assert "the client took nothing for too long" in caplog.text


def test_memory_stays_small_whatever_the_size(tmp_path: Path) -> None:
    size, seed = 192 << 20, random.Random(5).randbytes(1 << 20)

    def blocks() -> Iterator[bytes]:
        for number in range(size >> 20):
            yield number.to_bytes(8, "big") + seed[8:]

    with in_process(tmp_path, "tests.support.files_app") as server:
        stored(server, b"warm")
        before = peak(server.pid)
        answer = httpx.post(upload_url(server), content=blocks(), timeout=60)
        url = address(server, answer.json()["storageId"])
        wanted = blocks()
        with httpx.stream("GET", url, timeout=60) as answer:
            found = b""
            for chunk in answer.iter_raw(1 << 20):
                found += chunk
                while len(found) >= 1 << 20:
                    assert found[: 1 << 20] == next(wanted)
                    found = found[1 << 20 :]
        assert found == b""
        assert next(wanted, None) is None
        assert peak(server.pid) - before < 24 << 20


def peak(pid: int) -> int:
    """Bytes that a process had in memory at most."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
