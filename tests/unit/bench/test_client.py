"""The generator's own HTTP, event streams and frames, however the bytes are cut."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest

from bench.client.events import SseParser
from bench.client.factory import make_factory
from bench.client.http1 import Headers, HttpConnection
from bench.client.over_pipes import DockerSession, StdioSession
from bench.client.session import CallError, Session, Settings, text_of


class Told:
    """A handler that keeps what it is told."""

    def __init__(self) -> None:
        self.status, self.body, self.ended, self.lost = 0, b"", 0, ""

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = status

    def on_data(self, data: bytes) -> None:
        self.body += data

    def on_end(self) -> None:
        self.ended += 1

    def on_lost(self, reason: str) -> None:
        self.lost = reason


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def received(answer: bytes, step: int) -> tuple[Told, HttpConnection]:
    connection, told = HttpConnection(), Told()
    connection.connection_made(Wire())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", told)
    for position in range(0, len(answer), step):
        connection.data_received(answer[position : position + step])
    return told, connection


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunks", "continue"],
)
def test_an_answer_is_read_however_it_is_cut_and_its_connection_is_kept(answer: bytes, step: int) -> None:
    told, connection = received(answer, step)
    assert (told.status, told.body, told.ended, told.lost) == (200, b"hello", 1, "")
    assert connection.idle and connection.received == len(answer)


def test_an_answer_without_length_lasts_until_the_connection_ends() -> None:
    told, connection = received(b"HTTP/1.1 200 OK\r\n\r\nhel", 4)
    connection.data_received(b"lo")
    assert (told.body, told.ended) == (b"hello", 0)
    connection.connection_lost(None)
    assert told.ended == 1 and not connection.idle


def test_a_connection_that_is_lost_in_an_answer_says_so_and_one_that_says_close_is_not_kept() -> None:
    told, connection = received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", 1000)
    connection.connection_lost(None)
    assert told.lost and not told.ended
    told, connection = received(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 1000)
    assert told.ended == 1 and not connection.idle


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_are_cut_out_of_a_stream(step: int, end: bytes) -> None:
    lines = [b": comment", b"", b"event: endpoint", b"data: /x", b"", b"data:a", b"data: b", b"id: 7", b"", b"data: c"]
    stream = end.join(lines)
    events: list[tuple[bytes, bytes]] = []
    parser = SseParser(lambda name, data: events.append((name, data)))
    for position in range(0, len(stream), step):
        parser.feed(stream[position : position + step])
    assert events == [(b"endpoint", b"/x"), (b"message", b"a\nb")]


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(data)) + data


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_frames_of_the_engine_become_lines_and_standard_error_none(step: int) -> None:
    session = DockerSession("image", [], {}, "/nowhere", Settings())
    seen: list[dict[str, Any]] = []
    session.watch(lambda _, message: seen.append(message))
    messages = [{"jsonrpc": "2.0", "method": f"n{number}"} for number in range(3)]
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    stream = frame(1, lines[:20]) + frame(2, b"noise\n") + frame(1, lines[20:])
    for position in range(0, len(stream), step):
        session.on_frames(stream[position : position + step])
    assert seen == messages and session.foreign == 0


def test_ids_of_sessions_differ_and_a_message_for_nobody_is_foreign() -> None:
    one, other = Session(Settings()), Session(Settings())
    assert next(one.ids) != next(other.ids)
    one.on_message(b'{"jsonrpc": "2.0", "id": 1, "result": {}}')
    one.on_message(b"no JSON")
    assert one.foreign == 2


def test_a_plain_process_is_called_and_one_that_ended_is_lost() -> None:
    async def tour() -> None:
        answer = 'import json, sys\nfor line in sys.stdin:\n m = json.loads(line)\n if "id" not in m: continue\n'
        answer += ' if m["method"] == "tools/call" and m["params"]["name"] == "p_end": sys.exit()\n'
        answer += ' r = {"protocolVersion": "2025-06-18", "content": [{"text": "hi"}]}\n'
        answer += ' print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)\n'
        session = StdioSession("python3 -c " + json.dumps(answer).replace("\\n", "\n").replace('\\"', "'"),
                               Settings(timeout=30, prefix="p_"))  # fmt: skip
        await session.open()
        try:
            took, result = await session.call("echo", {})
            assert text_of(result) == "hi" and took > 0
            with pytest.raises(CallError, match="stream-closed"):
                await session.call("end", {})
        finally:
            await session.close()

    asyncio.run(tour())


def test_a_transport_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="carrier-pigeon"):
        make_factory("carrier-pigeon", "x", Settings())
