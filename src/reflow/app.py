"""`App`: modules and tables together, as an ASGI application and as a backend inside a process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

from starlette.types import ASGIApp

from reflow.auth import Provider
from reflow.backend import Backend
from reflow.crons import Crons
from reflow.engine.catalog import Progress
from reflow.engine.commit import Clock
from reflow.engine.engine import Engine, Entropy
from reflow.errors import DefinitionError
from reflow.functions import Function, Module
from reflow.limits import DEFAULT, Limits
from reflow.migrations import Migration
from reflow.routes import H, Router
from reflow.schema import Collection, ObjectMeta, Table, TableSpec, Tabular, spec_of
from reflow.server.asgi import Doors, Opened
from reflow.server.http_api import Receive, Scope, Send
from reflow.server.pinecone.app import settings_of
from reflow.server.pinecone.inference import Embedder
from reflow.settings import Settings, SettingsMeta
from reflow.storage.base import Storage
from reflow.storage.blobs import Blobs, DirectoryBlobs
from reflow.storage.lock import DirectoryLock
from reflow.storage.memory import MemoryStorage
from reflow.storage.object_blobs import ObjectBlobs
from reflow.storage.sqlite import SqliteStorage
from reflow.system import SystemClock, SystemEntropy
from reflow.vectors import Vectors

Durability = Literal["full", "relaxed"]

DEFAULT_DATA = ".reflow"


class Component(Protocol):
    """Modules and tables that an app takes in together, such as a `reflow.rag.Corpus`."""

    @property
    def modules(self) -> Iterable[Module]: ...
    @property
    def tables(self) -> Iterable[Tabular | Vectors]: ...


class App:
    """An application: its functions and its tables.

    Tables, vector indexes and settings classes are found where the modules' functions are written; `tables` and
    `settings` add those that no function's module names. `components` bring modules and tables of their own, such as a
    `reflow.rag.Corpus`. `routes` are HTTP endpoints of the app's own; they are fixed when it starts.
    `crons` is the work that comes again and again.
    `data` is the directory of the database (default: the environment's REFLOW_DATA, else `.reflow`). `environment` is
    what `ctx.env` shows below the stored variables (default: the process's environment). `pages` is a folder with an
    index.html, served at "/".

    `auth` are the providers whose tokens say who calls: `rf.OIDC(...)`, `rf.JWT(...)`.
    `files` is where the bytes of files are: a directory, or an address such as "s3://bucket/prefix" (default: the
    environment's REFLOW_FILES_URL, else the folder `files` of the data directory). Their own addresses begin with the
    environment's REFLOW_URL, under which clients reach the app (default: the address where the server listens).

    `origins` are those whose pages may use the server from a browser, such as "https://example.org" (default: all, but
    for a server that listens on this machine's own address alone: see `reflow.server.origins`).

    An app is an ASGI application. Its engine runs between the server's start and stop; where it is mounted in another
    application, that one's lifespan must be the app's: `FastAPI(lifespan=app.lifespan)`.
    """

    def __init__(
        self,
        *,
        modules: Iterable[Module] = (),
        tables: Iterable[Tabular | Vectors] = (),
        components: Iterable[Component] = (),
        settings: Iterable[type[Settings]] = (),
        crons: Crons | None = None,
        data: str | Path | None = None,
        durability: Durability = "full",
        limits: Limits = DEFAULT,
        environment: Mapping[str, str] | None = None,
        pages: str | Path | None = None,
        routes: Iterable[Router] = (),
        auth: Iterable[Provider] = (),
        files: str | Path | None = None,
        origins: Iterable[str] | None = None,
    ) -> None:
        self.components = tuple(components)
        self.modules = (*modules, *(module for part in self.components for module in part.modules))
        self.limits = limits
        self.auth = tuple(auth)
        self.data = Path(data if data is not None else os.environ.get("REFLOW_DATA", DEFAULT_DATA))
        self.durability: Durability = durability
        self.environment = os.environ if environment is None else environment
        self.functions = _gathered(self.modules)
        known = list(_known_to(self.functions.values()))
        stored = [*filter(_is_stored, known), *tables, *(table for part in self.components for table in part.tables)]
        specs = [spec_of(item) for item in stored if not isinstance(item, Vectors)]
        specs += [function.table for function in self.functions.values() if isinstance(function, Migration)]
        found = {id(spec): spec for spec in specs}
        self.tables: tuple[TableSpec, ...] = tuple(found.values())
        self.indexes = tuple(dict.fromkeys(item for item in stored if isinstance(item, Vectors)))
        self.router = Router()
        """The app's own routes: those of `app.route` and `app.mount`."""
        self.routers = (*routes, self.router)
        self._settings = tuple(settings)
        self.crons = Crons() if crons is None else crons
        self.files = files or self.environment.get("REFLOW_FILES_URL")
        self.doors = Doors(
            self._opened,
            None if pages is None else Path(pages),
            auth=self.auth,
            environment=self.environment,
            pinecone=settings_of(self.environment, local_embedder),
            routers=self.routers,
            origins=origins,
        )

    @property
    def settings(self) -> tuple[type[Settings], ...]:
        """The settings classes that must be there before the app starts."""
        handlers = [route.function for router in self.routers for route in router]
        known = _known_to([*self.functions.values(), *handlers])
        return tuple(dict.fromkeys([*filter(_is_settings, known), *self._settings]))

    def route(self, path: str, *, methods: Iterable[str] = ("GET",)) -> Callable[[H], H]:
        """Registers an HTTP endpoint `async def f(ctx, request) -> Response`; see `rf.Router.route`."""
        return self.router.route(path, methods=methods)

    def mount(self, path: str, app: ASGIApp) -> None:
        """Gives all below `path` to another ASGI application; see `rf.Router.mount`."""
        self.router.mount(path, app)

    def engine(
        self,
        storage: Storage,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        log_errors: bool = True,
        blobs: Blobs | None = None,
    ) -> Engine:
        """The engine of this application over a storage, not started yet."""
        return Engine(
            self.functions.values(),
            self.tables,
            storage,
            clock=clock or SystemClock(),
            entropy=entropy or SystemEntropy(),
            environment=self.environment,
            limits=self.limits,
            log_errors=log_errors,
            indexes=self.indexes,
            settings=self.settings,
            crons=self.crons,
            blobs=blobs,
            origin=self.environment.get("REFLOW_URL", ""),
        )

    @asynccontextmanager
    async def open(
        self,
        data: str | Path | None = None,
        *,
        durability: Durability | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[Backend, None]:
        """Runs the application in this process over a data directory, which no other process may use meanwhile."""
        async with self._opened(data, durability, progress) as opened:
            yield Backend(opened.engine)

    @asynccontextmanager
    async def open_raw(self, data: str | Path | None = None) -> AsyncGenerator[Backend, None]:
        """Opens a data directory for migrations, whatever it holds: no schema is enforced, and nothing runs by itself.

        No other process may use it meanwhile.
        """
        directory = self.data if data is None else Path(data)
        with DirectoryLock(directory):
            engine = self.engine(SqliteStorage(directory, durability=self.durability, limits=self.limits))
            await engine.start_raw()
            try:
                yield Backend(engine)
            finally:
                await engine.close()

    @asynccontextmanager
    async def _opened(
        self, data: str | Path | None, durability: Durability | None, progress: Progress | None = None
    ) -> AsyncGenerator[Opened, None]:
        directory = self.data if data is None else Path(data)
        with DirectoryLock(directory) as lock:
            storage = SqliteStorage(directory, durability=durability or self.durability, limits=self.limits)
            engine = self.engine(storage, blobs=self._blobs(directory))
            await engine.start(progress)
            try:
                yield Opened(engine=engine, lock=lock)
            finally:
                await engine.close()

    def _blobs(self, directory: Path) -> Blobs:
        """Where the bytes of files are. Raises MissingExtra, DefinitionError."""
        if isinstance(self.files, str) and "://" in self.files:
            return ObjectBlobs(self.files, self.limits)
        return DirectoryBlobs(directory / "files" if self.files is None else self.files, self.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app as an ASGI application."""
        await self.doors(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _outer: object = None) -> AsyncGenerator[None, None]:
        """Runs the app's engine while an application around it runs."""
        async with self.doors.running():
            yield

    @asynccontextmanager
    async def in_memory(self) -> AsyncGenerator[Backend, None]:
        """Runs the application in this process without a disk; nothing is kept."""
        engine = self.engine(MemoryStorage(limits=self.limits))
        await engine.start()
        try:
            yield Backend(engine)
        finally:
            await engine.close()


def local_embedder() -> Embedder:
    """What embeds the texts of Pinecone's integrated indexes: the model on this machine."""
    from reflow.rag.embedders.local import LocalEmbedder

    return LocalEmbedder()


def _gathered(modules: Iterable[Module]) -> dict[str, Function[..., Any]]:
    functions: dict[str, Function[..., Any]] = {}
    for module in modules:
        for function in module:
            if function.path in functions:
                raise DefinitionError(f"two modules define {function.path}; give one of them another name")
            functions[function.path] = function
    return functions


def _known_to(functions: Iterable[Function[..., Any]]) -> Iterator[Any]:
    """What the Python modules of the functions know by some name."""
    seen: set[int] = set()
    for function in functions:
        names = (function.step if isinstance(function, Migration) else function.handler).__globals__
        if id(names) in seen:
            continue
        seen.add(id(names))
        yield from list(names.values())


def _is_stored(value: object) -> TypeGuard[Tabular | Vectors]:
    """Whether it is a table, a collection or a vector index."""
    return isinstance(value, Collection | Vectors) or (
        isinstance(value, ObjectMeta) and issubclass(value, Table) and "__spec__" in value.__dict__
    )


def _is_settings(value: object) -> TypeGuard[type[Settings]]:
    return isinstance(value, SettingsMeta)
