"""The documents example in a real `reflow serve` process, with a chat model that this machine plays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support import ROOT
from tests.support.cli import running

APP = ROOT / "examples" / "playground" / "app.py"
PATIENCE_SECONDS = 60


class Documents:
    """The server, and its functions over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS)

    def query(self, path: str, **args: Any) -> Any:
        """The result of a query of the corpus: "sources:list"."""
        return self._call("query", path, args)

    def mutation(self, path: str, **args: Any) -> Any:
        """The result of a mutation of the corpus."""
        return self._call("mutation", path, args)

    def _call(self, kind: str, path: str, args: dict[str, Any]) -> Any:
        body = {"path": f"docs/{path}", "args": args, "format": "json"}
        answer = self._http.post(f"/api/{kind}", json=body).json()
        assert answer["status"] == "success", answer
        return answer["value"]

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()


@contextmanager
def running_documents(folder: Path, settings: Mapping[str, str] | None = None, port: int = 0) -> Iterator[Documents]:
    """Serves the example with its data in `folder` while the context is open."""
    with ExitStack() as stack:
        with _variables(settings or {}):
            process = stack.enter_context(running("serve", APP, "--port", str(port), "--data", folder, cwd=folder))
        documents = Documents(process.until(r"http://[\w.]+:\d+").group())
        stack.callback(documents.close)
        yield documents


@contextmanager
def _variables(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
