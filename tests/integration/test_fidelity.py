"""Bytes of payloads through real processes, both ways: HTTP body, link, pipe of a server, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from gateway_process import GatewayProcess, process_server, running_gateway

MIB = 1024 * 1024
HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}'
TYPE = {"Content-Type": "application/json"}

VALUES: dict[str, bytes] = {
    "joiners and spaces": '"\u200d \u00a0 \u3000 \u2028 \u2029 \x85 \ufeff \x7f"'.encode(),
    "the same, escaped": rb'"\u200d \u00A0 \u3000 \u2028 \u2029 \u0085 \uFEFF \u007f \u0000 \u001f"',
    "lone halves": rb'"\ud800 \uDFFF \uDc00\uD83D \ud83d\ud83d\ude00 \\ud800 \\\udead"',
    "lone half in a key": rb'{"\uD800":{"\udead":"\udead"}}',
    "beyond the first plane": '"😀 \U0001d518 🏳️\u200d🌈 \U0010ffff"'.encode(),
    "the same, escaped ": rb'"\ud83d\ude00 \uD835\uDD18 \uDBFF\uDFFF"',
    "combining marks": '"e\u0301 \u00e9 \u1100\u1161 \uac00"'.encode(),
    "ways to escape": rb'"\/ / \" \\ \b\f\n\r\t \u0041 A \u00e9"',
    "big integers": b"[9007199254740993,-9223372036854775809,18446744073709551616,%s]" % (b"1234567890" * 400),
    "numbers as written": b"[-0,-0.0,0.10,1.50,1e5,1E+5,1E400,-1e-999,1.7976931348623157e309,0e0]",
    "keys that come twice": b'{"a":1,"b":2,"a":3,"":4,"":5}',
    "keys out of order": b'{"z":1,"a":2,"__proto__":3,"10":4,"9":5}',
    "white space": b'{ "a" :\t[ 1 ,  2 ] , "b":{ } }',
    "null": b"null",
    "no object": b'"text"',
    "markup": b'"</script> data: x\\n\\nevent: y & %25 ${HOME} \\u003c"',
    "deep": b"[" * 700 + b"]" * 700,
    "many members": b"{%s}" % b",".join(b'"k%d":%d' % (number, number) for number in range(5000)),
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"whole": process_server("raw-echo"), "bits": process_server("raw-echo", "7")}
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, workers=2) as running:
        yield running


class Http:
    """Streamable HTTP. ``accept`` decides whether answers come as JSON or as events."""

    def __init__(self, gateway: GatewayProcess, accept: str) -> None:
        self._url = f"{gateway.url}/mcp"
        self._headers = TYPE | {"Accept": accept, "Mcp-Session-Id": gateway.open_session()}

    def ask(self, body: bytes, size: int) -> bytes:
        with requests.post(self._url, body, headers=self._headers, timeout=60, stream=True) as answer:
            assert answer.status_code == 200
            data = b"".join(answer.iter_content(size))
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            return data_of(data.removesuffix(b"\n\n"))
        return data


class Sse:
    """HTTP+SSE."""

    def __init__(self, gateway: GatewayProcess, stream: requests.Response) -> None:
        self._pieces = stream.iter_content(8191)
        self._buffer = bytearray()
        self._url = gateway.url + data_of(self._event()).decode()
        self.ask(b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":%s}' % HELLO, 1)

    def ask(self, body: bytes, size: int) -> bytes:
        assert requests.post(self._url, body, headers=TYPE, timeout=60).status_code == 202
        return data_of(self._event())

    def _event(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n\n", searched)) < 0:
            searched = max(0, len(self._buffer) - 1)
            self._buffer += next(self._pieces)
        event = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return event


def data_of(event: bytes) -> bytes:
    (data,) = [line for line in event.split(b"\n") if line.startswith(b"data: ")]
    return data[6:]


@contextmanager
def client(gateway: GatewayProcess, kind: str) -> Iterator[Http | Sse]:
    if kind == "sse":
        with requests.get(f"{gateway.url}/sse", stream=True, timeout=60) as stream:
            yield Sse(gateway, stream)
    else:
        yield Http(gateway, "application/json" if kind == "json" else "text/event-stream")


def call(server: str, arguments: bytes, identifier: bytes) -> tuple[bytes, bytes]:
    """A call, and the answer that it has to get."""
    asked = b'{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"%s__echo","arguments":%s}}' % (
        identifier, server.encode(), arguments,
    )  # fmt: skip
    return asked, b'{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":%s}}' % (identifier, arguments)


@pytest.mark.parametrize("kind", ["json", "events", "sse"])
@pytest.mark.parametrize("server", ["whole", "bits"])
def test_every_value_comes_back_byte_for_byte(gateway: GatewayProcess, kind: str, server: str) -> None:
    with client(gateway, kind) as one:
        for number, (name, value) in enumerate(VALUES.items()):
            asked, expected = call(server, value, b'"\\ud800 %d"' % number)
            assert one.ask(asked, 7) == expected, name


@pytest.mark.parametrize("kind", ["json", "events", "sse"])
def test_sixteen_mebibytes_come_back_byte_for_byte(gateway: GatewayProcess, kind: str) -> None:
    # Characters of one to four bytes, so that every boundary of a pipe, a socket or a frame falls inside one somewhere.
    text = "xü\u200d😀".encode() * (16 * MIB // 10)
    asked, expected = call("whole", b'"%s\\udead"' % text, b"1")
    with client(gateway, kind) as one:
        got = one.ask(asked, 65521)
    assert len(got) == len(expected) and got == expected


def test_body_that_comes_in_pieces_of_characters_is_whole(gateway: GatewayProcess) -> None:
    headers = TYPE | {"Accept": "application/json", "Mcp-Session-Id": gateway.open_session()}
    asked, expected = call("bits", '"ü\u200d😀"'.encode(), b"1")
    pieces = (asked[position : position + 1] for position in range(len(asked)))  # sent as chunks of one byte
    answer = requests.post(f"{gateway.url}/mcp", pieces, headers=headers, timeout=30)
    assert (answer.status_code, answer.content) == (200, expected)


@pytest.mark.parametrize("depth", [5_000, 1_000_000])
def test_value_nested_too_deeply_is_refused_and_the_session_goes_on(gateway: GatewayProcess, depth: int) -> None:
    session = gateway.open_session()
    headers = TYPE | {"Mcp-Session-Id": session}
    asked, _ = call("whole", b"[" * depth + b"]" * depth, b"1")
    answer = requests.post(f"{gateway.url}/mcp", asked, headers=headers, timeout=30)
    assert answer.status_code == 400
    assert json.loads(answer.content)["error"]["message"] == "the message is nested too deeply to be read"
    assert gateway.rpc("ping", session=session).json()["result"] == {}
