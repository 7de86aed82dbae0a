"""Asking addresses outside, where nobody on the way can change the answer, with an end to everything."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, TypeVar
from urllib.error import HTTPError
from urllib.parse import urljoin

from reflow.auth import is_safe_address
from reflow.errors import ProviderUnavailable
from reflow.limits import Limits

T = TypeVar("T")

_CHUNK = 1 << 16


class _Deadline:
    """Ends the connections of one question when its time is up: their own timeouts begin again with every byte."""

    def __init__(self, seconds: float) -> None:
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.passed = False
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connected: socket.socket) -> None:
        """Takes a connection in."""
        with self._lock:
            self._sockets.append(connected)
            if self.passed:
                self._end()

    def cancel(self) -> None:
        """The question is answered."""
        self._timer.cancel()

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            self._end()

    def _end(self) -> None:
        for connected in self._sockets:
            with suppress(OSError):  # it has ended already
                connected.shutdown(socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    """Connections that a deadline ends."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        deadline = self._deadline

        class Watched(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                deadline.watch(self.sock)

        return self.do_open(Watched, req)


class _Https(urllib.request.HTTPSHandler):
    """The same with TLS."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        deadline = self._deadline

        class Watched(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                deadline.watch(self.sock)

        return self.do_open(Watched, req)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not may_lead_to(req.full_url, urljoin(req.full_url, newurl)):
            fp.close()
            raise ProviderUnavailable(f"{req.full_url} leads to an address without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def may_lead_to(address: str, further: str) -> bool:
    """Whether an answer from `address` may send us to `further`: never from the world outside to this machine, where
    services listen that trust who reaches them."""
    return is_safe_address(further) and (further.startswith("https:") or not address.startswith("https:"))


def fetched(address: str, limits: Limits) -> bytes:
    """What an address answers, within limits.keys_bytes and limits.provider_seconds. Raises ProviderUnavailable."""
    deadline = _Deadline(limits.provider_seconds)
    opener = urllib.request.build_opener(_SafeRedirects, _Http(deadline), _Https(deadline))
    request = urllib.request.Request(address, headers={"accept": "application/json", "user-agent": "reflow"})
    body = bytearray()
    try:
        with opener.open(request, timeout=limits.provider_seconds) as response:
            while chunk := response.read1(_CHUNK):
                body += chunk
                if len(body) > limits.keys_bytes:
                    raise ProviderUnavailable(f"{address} answers more than limits.keys_bytes = {limits.keys_bytes}")
    except HTTPError as error:
        error.close()  # it holds the connection
        raise ProviderUnavailable(f"{address} answers {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        why = "it is too slow" if deadline.passed else error
        raise ProviderUnavailable(f"{address}: {why}") from None
    finally:
        deadline.cancel()
    if deadline.passed:
        raise ProviderUnavailable(f"{address} is too slow")
    return bytes(body)


async def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, run in a thread that nobody has to wait for: a process may end meanwhile."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, raised = None, None
        try:
            result = work()
        except BaseException as error:
            raised = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, raised)

    threading.Thread(target=run, name="reflow-fetch", daemon=True).start()
    return await done
