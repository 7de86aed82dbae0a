"""A server for one app: uvicorn on one port, with the fast socket, until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import gc
import secrets
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from reflow.backend import Backend
from reflow.errors import PortInUse, ReflowError
from reflow.limits import Limits
from reflow.server.fast_http import fast_http, look_after
from reflow.server.fast_socket import FastSocket

if TYPE_CHECKING:
    from reflow.app import App, Durability

_BACKLOG = 2048
_OWN_FILES = 256
"""Open files besides those of connections."""
_GC_THRESHOLD = (3_000, 2, 1_000)
"""Objects of requests and syntax trees die by reference counting; cycles are rare, and looking for them is not free.
The young are looked at in small groups, which takes milliseconds; all that is alive hardly ever, as that takes long."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Hosts that stand for all addresses of the machine, and one of these."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that listens. `backend` calls functions in its process; `stop()` ends it."""

    url: str
    token: str
    backend: Backend
    stop: Callable[[], None]


OnReady = Callable[[Serving], Awaitable[None] | None]


class _Server(uvicorn.Server):
    """uvicorn's server without its way with signals: they must not end the process before the engine is closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serving(
    app: App,
    host: str = "127.0.0.1",
    port: int = 3210,
    *,
    durability: Durability | None = None,
    data: str | Path | None = None,
    with_logs: bool = False,
) -> AsyncGenerator[Serving, None]:
    """Serves an app on the running event loop while the context is open. Port 0 chooses a free one.

    `with_logs` sends the functions' log lines to clients. Raises PortInUse before anything is opened, and whatever
    `App.open` raises.
    """
    listener = _bound(host, port)
    _bound_unread(listener, app.limits)
    app.doors.origins.listen_at(host)
    try:
        async with app.doors.running(data, durability, with_logs=with_logs) as opened:
            url = _url(host, listener.getsockname()[1])
            if host not in _EVERYWHERE:
                opened.engine.files.serve_at(url)
            server = _Server(_config(app, app.limits))
            task = asyncio.create_task(server.serve(sockets=[listener]), name="reflow-server")
            looking = asyncio.create_task(look_after(server.server_state.connections, app.limits))
            while not server.started and not task.done():
                await asyncio.sleep(0.005)
            token = secrets.token_urlsafe(32)
            app.doors.publish(opened, url, token)

            def stop() -> None:
                server.should_exit = True

            try:
                yield Serving(url=url, token=token, backend=Backend(opened.engine), stop=stop)
                if not server.should_exit:
                    stop()
            except BaseException:
                stop()
                raise
            finally:
                looking.cancel()
                await task
    finally:
        listener.close()


def serve(
    app: App,
    host: str = "127.0.0.1",
    port: int = 3210,
    *,
    durability: Durability | None = None,
    data: str | Path | None = None,
    with_logs: bool = False,
    on_ready: OnReady | None = None,
) -> None:
    """Serves an app until SIGINT or SIGTERM. Prints nothing; `on_ready` learns the address.

    What `on_ready` raises ends the server. Raises as `serving` does.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        _allow_files(app.limits)
        calm_collector()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        async with serving(app, host, port, durability=durability, data=data, with_logs=with_logs) as server:
            if on_ready is not None:
                said = on_ready(server)
                if said is not None:
                    await said
            await stopped.wait()

    run(main())


def calm_collector() -> None:
    """Has the garbage collector never hold the event loop for long. What is alive now it does not look at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)


def run(main: Any) -> None:
    """Runs a coroutine on the fastest event loop of the platform."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the address, so that a port in use shows before anything else is done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use by another program: stop it, or choose another port with --port"
            ) from None
        raise ReflowError(f"{host}:{port} can't be listened on: {error.strerror or error}") from None
    return listener


def _bound_unread(listener: socket.socket, limits: Limits) -> None:
    """Has the system drop clients that don't take what they were sent, on all connections of a listener."""
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limits.unread_seconds * 1000))


def _connections(limits: Limits) -> int:
    """How many connections there may be. The storage must always be able to open its own files."""
    if sys.platform == "win32":
        return limits.connections
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits.connections if files < 0 else min(limits.connections, max(files - _OWN_FILES, files // 2))


def _allow_files(limits: Limits) -> None:
    """Raises this process's bound of open files as far as the connections need it and the system lets it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + _OWN_FILES
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def _url(host: str, port: int) -> str:
    shown = _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _config(app: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=fast_http(limits, _connections(limits)),
        ws=FastSocket,
        lifespan="off",
        log_config=None,
        log_level="error",  # a client's mistake is no news
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=limits.message_bytes,
        ws_ping_interval=limits.pong_seconds / 3,
        ws_ping_timeout=limits.pong_seconds,
        timeout_graceful_shutdown=max(1, round(limits.shutdown_seconds)),
        backlog=_BACKLOG,
    )
