"""What leaves together leaves in one write; what many get is encoded once."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from reflow.server.frames import Frame
from reflow.server.sync import SyncDoor, SyncSocket
from reflow.storage.memory import MemoryStorage
from reflow.testing.interleave import InterleavingStorage
from tests.support import arun
from tests.support.app_under_test import app
from tests.support.servers import Threaded
from tests.support.sync_client import SyncClient, added
from tests.support.tokens import NOBODY


class Recorder:
    """A transport that notes its writes."""

    def __init__(self) -> None:
        self.writes: list[list[Frame]] = []
        self.raw = None

    def ready(self) -> bool:
        return True

    def write_one(self, frame: Frame) -> None:
        self.writes.append([frame])

    def write(self, frames: Sequence[Frame]) -> None:
        self.writes.append(list(frames))

    def hold(self, stopped: bool) -> None:
        raise AssertionError("nothing is held here")

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {reason}")

    def types(self) -> list[list[str]]:
        return [[json.loads(frame.text)["type"] for frame in frames] for frames in self.writes]


def said(**message: Any) -> bytes:
    return json.dumps(message).encode()


def followed(door: SyncDoor, name: str) -> tuple[SyncSocket, Recorder]:
    recorder = Recorder()
    socket = SyncSocket(door, recorder)
    socket.text(said(type="Connect", sessionId=f"session {id(socket)}", connectionCount=0))
    modifications = [added(0, "lib/counters:valueOf", {"name": name})]
    socket.text(said(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=modifications))
    return socket, recorder


async def settled(recorders: Sequence[Recorder], writes: int) -> None:
    while any(len(recorder.writes) < writes for recorder in recorders):
        await asyncio.sleep(0)


def test_responses_and_their_transition_leave_in_one_write() -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            door = SyncDoor(backend.engine, NOBODY)
            door.start()
            socket, recorder = followed(door, "x")
            await settled([recorder], 1)
            for request in range(3):
                call = {"udfPath": "lib/counters:addOne", "args": [{"name": "x"}]}
                socket.text(said(type="Mutation", requestId=request, **call))
            await settled([recorder], 2)
            assert recorder.types() == [["Transition"], ["MutationResponse"] * 3 + ["Transition"]]
            socket.lost()
            await door.close()

    arun(main())


def test_what_many_get_is_encoded_once() -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            door = SyncDoor(backend.engine, NOBODY)
            door.start()
            clients = [followed(door, "x") for _ in range(10)]
            recorders = [recorder for _, recorder in clients]
            await settled(recorders, 1)
            await backend.mutation("lib/counters:addOne", name="x")
            await settled(recorders, 2)
            # one for whom the query was run, and one for all others
            assert len({id(recorder.writes[1][0]) for recorder in recorders}) <= 2
            for socket, _ in clients:
                socket.lost()
            await door.close()

    arun(main())


# Compression


@pytest.mark.parametrize(("size", "packed"), [(3_000, False), (5_000, True), (1 << 20, False)])
def test_only_frames_of_a_middle_size_are_compressed(server: Threaded, size: int, packed: bool) -> None:
    with SyncClient(server.url, compression="deflate") as client:
        (extension,) = client.socket.protocol.extensions
        assert "remote_no_context_takeover=True" in repr(extension)
        assert "local_no_context_takeover=True" in repr(extension)
        value = client.subscribe(0, "extra:large", {"name": "none", "size": size})["value"]
        assert value == "0:" + "x" * size
        # what the client sends compressed is understood too
        assert client.subscribe(1, "extra:echo", {"value": "y" * 10_000})["value"] == "y" * 10_000
    frame = Frame([json.dumps(value).encode()])
    limits = app.limits
    assert (limits.deflate_from_bytes <= len(frame) <= limits.deflate_to_bytes) is packed


def test_a_message_that_unpacks_to_too_much_is_refused(server: Threaded) -> None:
    with SyncClient(server.url, compression="deflate") as client:
        client.socket.send(" " * (18 << 20))
        closed = client.closed()
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1009


def test_a_compressed_frame_is_one_that_any_window_of_15_bits_reads() -> None:
    frame = Frame([b'"', b"ab" * 5_000, b'"'])
    packed = frame.deflated()
    assert packed is frame.deflated()
    assert packed[0] == 0xC1
    start = 2 if packed[1] < 126 else 4
    assert zlib.decompressobj(wbits=-15).decompress(packed[start:] + b"\x00\x00\xff\xff") == b'"' + b"ab" * 5_000 + b'"'


def test_what_does_not_shrink_stays_as_it_is() -> None:
    frame = Frame([bytes(range(33, 123)) * 1])
    assert frame.deflated() is frame.raw


def test_a_client_with_a_small_window_gets_plain_frames(server: Threaded) -> None:
    factory = ClientPerMessageDeflateFactory(server_max_window_bits=10, client_max_window_bits=True)
    with SyncClient(server.url, compression=None, extensions=[factory]) as client:
        assert len(client.subscribe(0, "extra:large", {"name": "none", "size": 9_000})["value"]) == 9_002


# Order


def test_mutations_of_a_socket_keep_their_order_where_the_storage_runs_them_side_by_side() -> None:
    async def main() -> None:
        engine = app.engine(InterleavingStorage(MemoryStorage(concurrent=True), seed=3))
        await engine.start()
        door = SyncDoor(engine, NOBODY)
        door.start()
        clients = [followed(door, f"counter {number}") for number in range(3)]
        for request in range(20):
            for number, (socket, _) in enumerate(clients):
                args = {"name": f"counter {(number + request) % 2}"}
                socket.text(said(type="Mutation", requestId=request, udfPath="lib/counters:addOne", args=[args]))
        while any(sum(types.count("MutationResponse") for types in each.types()) < 20 for _, each in clients):
            await asyncio.sleep(0)
        for socket, recorder in clients:
            messages = [json.loads(frame.text) for frames in recorder.writes for frame in frames]
            answers = [message for message in messages if message["type"] == "MutationResponse"]
            assert [answer["requestId"] for answer in answers] == list(range(20))
            assert [answer["result"] for answer in answers if not answer["success"]] == []
            socket.lost()
        await door.close()
        await engine.close()

    arun(main())
