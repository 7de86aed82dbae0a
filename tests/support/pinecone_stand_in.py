"""The part of Pinecone's wire format that the adapter's tests need, with an index that lags behind its writes.

What it answers follows the real service; the project's own server is tested elsewhere and is not used here, so that
the two do not share a misunderstanding.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

KEY = "pc-stand-in-key"
DIMS = 3


class StandIn:
    """An account with one index, `memories`, of three dimensions; all indexes share their records.

    `lag` is how many queries it takes for a write to be seen.
    """

    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Any]] = {"memories": {"dimension": DIMS, "metric": "cosine"}}
        self.generation = 1
        """Part of the address of every index; the old addresses answer 404."""
        self.spaces: dict[str, dict[str, dict[str, Any]]] = {}
        self.written = 0
        self.indexed = 0
        self.lag = 0
        self.tells_positions = True
        self.batches: list[int] = []
        """Records of each upsert, in order."""
        self.bytes: list[int] = []
        """Bytes of each upsert's body."""
        self.at_once = 0
        self.most_at_once = 0
        self.error: tuple[int, Any] | None = None
        """What data requests are answered with, if anything."""
        self.slow = 0.0
        """Seconds that every upsert takes."""

    def app(self) -> Starlette:
        """The ASGI application."""
        data = "/i/{generation:int}/{index}"
        return Starlette(
            routes=[
                Route("/indexes/{name}", self._describe),
                Route("/indexes", self._create, methods=["POST"]),
                Route(data + "/vectors/upsert", self._data(self._upsert), methods=["POST"]),
                Route(data + "/vectors/delete", self._data(self._delete), methods=["POST"]),
                Route(data + "/vectors/update", self._data(self._update), methods=["POST"]),
                Route(data + "/vectors/fetch", self._data(self._fetch)),
                Route(data + "/vectors/list", self._data(self._list)),
                Route(data + "/query", self._data(self._query), methods=["POST"]),
            ]
        )

    # Control plane

    def _model(self, name: str, request: Request) -> dict[str, Any]:
        kept = self.indexes[name]
        dense = {"_values": {"type": "dense_vector", **kept, "description": None}} if "dimension" in kept else {}
        return {
            "name": name,
            "host": f"http://{request.headers['host']}/i/{self.generation}/{name}",
            "status": {"ready": True, "state": "Ready"},
            "deletion_protection": "disabled",
            "tags": None,
            "schema": {"fields": {**dense, "_sparse_values": {"type": "sparse_vector", "description": None}}},
            "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
            "read_capacity": {"mode": "OnDemand", "status": {"state": "Ready"}},
            **kept,
            "vector_type": "dense" if dense else "sparse",
            "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}},
        }

    async def _describe(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.headers.get("api-key") != KEY:
            return PlainTextResponse(f"Invalid API Key: {request.headers.get('api-key')}", 401)
        if name not in self.indexes:
            message = {"code": "NOT_FOUND", "message": f"Resource {name} not found"}
            return JSONResponse({"status": 404, "error": message}, 404)
        return JSONResponse(self._model(name, request))

    async def _create(self, request: Request) -> Response:
        asked = msgspec.json.decode(await request.body())
        fields = asked.get("schema", {}).get("fields", {})
        shape = fields.get("_values") or ({"metric": "dotproduct"} if fields else asked)
        if asked["name"] in self.indexes:
            message = {"code": "ALREADY_EXISTS", "message": "Resource already exists"}
            return JSONResponse({"status": 409, "error": message}, 409)
        self.indexes[asked["name"]] = {key: shape[key] for key in ("dimension", "metric") if shape.get(key)}
        return JSONResponse(self._model(asked["name"], request), 201)

    # Data plane

    def _data(self, endpoint: Any) -> Any:
        async def answer(request: Request) -> Response:
            if request.path_params["generation"] != self.generation:
                return PlainTextResponse("not found", 404)
            if self.error is not None:
                status, body = self.error
                return JSONResponse(body, status) if isinstance(body, dict) else PlainTextResponse(body, status)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                body = await request.body()
                asked = msgspec.json.decode(body) if body else dict(request.query_params)
                if request.url.path.endswith("/upsert"):
                    self.bytes.append(len(body))
                    await asyncio.sleep(self.slow)
                return endpoint(asked, request)
            finally:
                self.at_once -= 1

        return answer

    def _space(self, asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return self.spaces.setdefault(asked.get("namespace") or "", {})

    def _wrote(self, body: dict[str, Any]) -> Response:
        self.written += 1
        headers = {"x-pinecone-request-lsn": str(self.written)} if self.tells_positions else {}
        return JSONResponse(body, headers=headers)

    def _upsert(self, asked: dict[str, Any], request: Request) -> Response:
        for vector in asked["vectors"]:
            dims = self.indexes[request.path_params["index"]]["dimension"]
            if len(vector["values"]) != dims:
                text = f"Vector dimension {len(vector['values'])} does not match the dimension of the index {dims}"
                return JSONResponse({"code": 3, "message": text, "details": []}, 400)
            self._space(asked)[vector["id"]] = vector
        self.batches.append(len(asked["vectors"]))
        return self._wrote({"upsertedCount": len(asked["vectors"])})

    def _delete(self, asked: dict[str, Any], request: Request) -> Response:
        if (asked.get("namespace") or "") not in self.spaces:
            return JSONResponse({"code": 5, "message": "Namespace not found", "details": []}, 404)
        for id in asked["ids"]:
            self._space(asked).pop(id, None)
        return self._wrote({})

    def _update(self, asked: dict[str, Any], request: Request) -> Response:
        found = self._space(asked).get(asked["id"])
        if found is not None:
            found["metadata"] = {**found.get("metadata", {}), **asked["setMetadata"]}
        return self._wrote({})

    def _fetch(self, asked: dict[str, Any], request: Request) -> Response:
        ids = request.query_params.getlist("ids")
        space = self._space(asked)
        found = {id: space[id] for id in ids if id in space}
        return JSONResponse({"vectors": found, "namespace": asked.get("namespace", ""), "usage": {"readUnits": 1}})

    def _list(self, asked: dict[str, Any], request: Request) -> Response:
        limit, after = int(asked.get("limit", 100)), asked.get("paginationToken", "")
        ids = sorted(id for id in self._space(asked) if id.startswith(asked.get("prefix", "")) and id > after)
        page: dict[str, Any] = {
            "vectors": [{"id": id} for id in ids[:limit]],
            "namespace": "",
            "usage": {"readUnits": 1},
        }
        if len(ids) > limit:
            page["pagination"] = {"next": ids[limit - 1]}
        return JSONResponse(page)

    def _query(self, asked: dict[str, Any], request: Request) -> Response:
        if self.lag:
            self.lag -= 1
        else:
            self.indexed = self.written
        space = self._space(asked)
        vector = space[asked["id"]]["values"] if asked.get("id") in space else asked.get("vector")
        hits = sorted(
            (sum(a * b for a, b in zip(vector, other["values"], strict=True)), other["id"])
            for other in space.values()
            if vector is not None
        )
        matches = [{"id": id, "score": score, "values": []} for score, id in reversed(hits)][: asked["topK"]]
        headers = {"x-pinecone-max-indexed-lsn": str(self.indexed)} if self.tells_positions else {}
        return JSONResponse({"matches": matches, "namespace": "", "usage": {"readUnits": 1}}, headers=headers)


@asynccontextmanager
async def listening(app: Any) -> AsyncGenerator[int, None]:
    """Serves an ASGI application on this event loop; gives the port."""
    config = uvicorn.Config(app, port=0, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
