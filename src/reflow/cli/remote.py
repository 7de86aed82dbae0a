"""Calls beside a running server: to the one that holds a data directory, or to any address."""

from __future__ import annotations

import http.client
import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from reflow.cli.output import UsageError
from reflow.errors import ApplicationError, CallFailed, DirectoryInUse, ReflowError
from reflow.server.environment import PATH as ENVIRONMENT_PATH
from reflow.server.environment import EnvironmentAnswer, EnvironmentCall
from reflow.storage import lock

_STARTING_SECONDS = 15.0
"""How long a process that holds the directory may take until it says where it listens."""

_TIMEOUT_SECONDS = 1800.0


class ServerGone(ReflowError):
    """A server that does not answer."""

    code = "ServerGone"


class Remote:
    """A server, by its address. `token`, on this machine, or `admin_key` opens the door for internal functions."""

    def __init__(self, url: str, token: str | None = None, admin_key: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no address of a server: write it like http://127.0.0.1:3210")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._parts = parts
        self._token = token
        self._admin_key = admin_key

    def call(self, path: str, args: dict[str, Any], identity: dict[str, Any] | None = None) -> Any:
        """The result of a function, called by `identity`. Raises CallFailed, ApplicationError, ServerGone."""
        body: dict[str, Any] = {"args": args, "format": "json"}
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["x-reflow-token"] = self._token
            return unpacked(self._posted("/api/local/run", {"path": path, "identity": identity, **body}, headers))
        if self._admin_key is not None:
            acting_as = "" if identity is None else ":" + b64encode(json.dumps(identity).encode()).decode()
            headers["authorization"] = f"Convex {self._admin_key}{acting_as}"
        return unpacked(self._posted(f"/api/run/{path.replace(':', '/')}", body, headers))

    def environment(self, request: EnvironmentCall) -> EnvironmentAnswer:
        """Asks or changes the deployment's variables. Raises CallFailed, ServerGone."""
        headers = {"content-type": "application/json", "x-reflow-token": self._token or ""}
        answer = self._posted(ENVIRONMENT_PATH, msgspec.to_builtins(request), headers)
        return msgspec.convert(unpacked(answer), EnvironmentAnswer)

    def _posted(self, door: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", self._parts.path.rstrip("/") + door, json.dumps(body), headers)
            answer = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerGone(f"{self.url} does not answer ({error}): is the server running?") from None
        finally:
            connection.close()
        try:
            return json.loads(answer)
        except ValueError:
            raise ServerGone(f"{self.url} is no reflow server: it answered {answer[:60]!r}") from None


def unpacked(answer: dict[str, Any]) -> Any:
    """The value in an answer. Raises ApplicationError or CallFailed with what the function said."""
    if answer.get("status") == "success":
        return answer.get("value")
    message = str(answer.get("errorMessage") or answer.get("message") or answer)
    if "errorData" in answer:
        raise ApplicationError(answer["errorData"])
    raise CallFailed(message)


def holder(data: Path) -> Remote | None:
    """The server that has a data directory; None where nobody has it.

    Waits for a process that is just starting. Raises DirectoryInUse for one that has it without serving.
    """
    deadline = time.monotonic() + _STARTING_SECONDS
    while (info := lock.read(data)) is not None:
        if info.url is not None:
            return Remote(info.url, info.token)
        if time.monotonic() > deadline:
            raise DirectoryInUse(
                f"The data directory {data} is in use by process {info.pid}, which serves nobody: "
                "wait until it ends, or choose another directory with --data"
            )
        time.sleep(0.1)
    return None
