"""Whatever is sent to the routes of MCP: no internal error, no hang, a well-formed answer, and nothing left of it.

The real Flask application over the real router; servers, reactor and clock are fakes, so a wait costs no time.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fake_core import Core, WireClient
from fake_gateway import NO_KEYS, Open
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from hypothesis import example, given
from hypothesis import strategies as st
from json_texts import ids, objects_of, values
from werkzeug.test import Client as HttpClient
from werkzeug.test import TestResponse

from metamcp.config.model import ServerSpec
from metamcp.gateway.interface import Outbound, Reply, Request
from metamcp.gateway.local import QueuedExchange
from metamcp.protocol.sse import EventReader
from metamcp.web.application import create_app
from metamcp.web.state import WebState

HEARTBEAT, MOST_WAITS = 15.0, 100
"""The longest deadline of a call, 600 s, is well within so many waits; a request that waits longer hangs."""

META = "io.modelcontextprotocol/"
EVENTS, JSON, PROBLEM = "text/event-stream", "application/json", "application/problem+json"


class Server(ScriptedServer):
    """Answers each request at once, with an empty result where it knows no better."""

    def __call__(self, child: FakeChild, message: Json) -> None:
        known = ("server/discover", "initialize")
        if "id" in message and message["method"] not in known and not message["method"].endswith("/list"):
            child.result(message["id"], {"content": []})
        else:
            super().__call__(child, message)


class Turning:
    """An exchange whose waits move the fake clock instead of taking time."""

    def __init__(self, core: Core, request: Request) -> None:
        self._core = core
        self._waits = 0
        self.inner = QueuedExchange(lambda: self.reply.close())
        self.reply = Reply(lambda outbound: None if self.inner.put(outbound) else self.reply.close())
        core.router.open(request, self.reply)
        core.reactor.turn()

    def next(self, timeout: float) -> Outbound | None:
        self._core.reactor.turn()
        found = self.inner.next(0)
        if found is None:
            self._waits += 1
            assert self._waits < MOST_WAITS, "it hangs"
            self._core.reactor.advance(timeout)
            found = self.inner.next(0)
        return found

    def close(self) -> None:
        self.inner.close()
        self._core.reactor.turn()


class Site:
    """One gateway with a session; ``open`` are the exchanges that nobody has ended yet."""

    def __init__(self) -> None:
        self.core = Core({"s": ServerSpec("s")}, Server({"tools/list": [[tool("t")]], "prompts/list": [[]]}))
        self.session = WireClient(self.core, "http").identity.session
        self.exchanges: list[Turning] = []
        hosts = frozenset({"localhost"})
        state = WebState(self, hosts, hosts, NO_KEYS, Open(), heartbeat=HEARTBEAT)
        self.http = HttpClient(create_app(state), TestResponse)

    def exchange(self, request: Request) -> Turning:
        self.exchanges.append(Turning(self.core, request))
        return self.exchanges[-1]

    def ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> tuple[TestResponse, bytes]:
        """The answer, and of its body what comes first: a stream has no end."""
        named = [(name, value.replace("{session}", self.session)) for name, value in headers]
        whole = f"http://localhost{path}"  # of a path alone the test client takes what follows // for a host
        response = self.http.open(
            whole.replace("{session}", self.session), method=method, headers=named, data=body, buffered=False
        )
        pieces, chunks = [], iter(response.response)
        with suppress(StopIteration):
            while len(pieces) < 10:
                piece = next(chunks)
                pieces.append(piece if isinstance(piece, bytes) else piece.encode())
                if b"heartbeat" in pieces[-1]:
                    break
        response.close()
        return response, b"".join(pieces)

    def at_rest(self) -> None:
        """Nothing of the request is left but sessions, and those end."""
        assert all(exchange.reply.done for exchange in self.exchanges)
        self.core.registry.close_all("the test ends")
        self.core.reactor.advance(700)
        assert not self.core.registry.sessions


def well_formed(response: TestResponse, body: bytes, rest: bool = False) -> None:
    """``rest``: of a route whose clients do not speak JSON-RPC."""
    assert response.status_code != 500 and response.status_code < 600, body
    if response.status_code in (202, 204) or not body:
        assert body in (b"", b"Accepted")
        assert response.status_code < 300, "an error says something"
    elif response.mimetype == EVENTS:
        for event in EventReader(1 << 20).feed(body):
            if event.name == "message" and event.data:
                messages(json.loads(event.data))
    elif response.mimetype == PROBLEM:
        found = json.loads(body)
        assert rest and found["status"] == response.status_code >= 400 and found["detail"]
    else:
        assert response.mimetype == JSON
        read = json.loads(body)
        if not rest:
            messages(read)


def messages(found: Any) -> None:
    for message in found if isinstance(found, list) else [found]:
        assert message["jsonrpc"] == "2.0"
        if "method" not in message:
            assert "id" in message and ("result" in message) != ("error" in message)
        if "error" in message:
            assert isinstance(message["error"]["code"], int) and message["error"]["message"]


# --- what is sent ------------------------------------------------------------------------------------------

text = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=12)
revisions = st.sampled_from(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "2099-01-01"])
methods = st.sampled_from(
    ["initialize", "notifications/initialized", "ping", "tools/list", "tools/call", "prompts/list", "prompts/get",
     "resources/list", "resources/read", "resources/subscribe", "resources/templates/list", "completion/complete",
     "logging/setLevel", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
     "server/discover", "subscriptions/listen", "tasks/get", "", "nonsense", "$/x"]
)  # fmt: skip
names = st.sampled_from(["s__t", "t", "s__", "__", "nobody__t", "é", ""])
envelopes = st.fixed_dictionaries(
    {},
    optional={
        f"{META}protocolVersion": revisions | st.integers(),
        f"{META}clientCapabilities": st.just({}) | st.none() | st.lists(st.integers(), max_size=1),
        f"{META}logLevel": st.sampled_from(["debug", "loud", 7]),
        "progressToken": st.integers() | st.text(max_size=3) | st.none(),
    },
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "name": names | st.integers(), "arguments": st.just({}) | st.none() | st.just({"a": "b"}),
        "_meta": envelopes | st.none() | st.just(1), "uri": text, "cursor": text | st.integers(), "level": text,
        "protocolVersion": revisions | st.integers(), "capabilities": st.just({}) | st.none(),
        "requestId": st.integers(),
        "clientInfo": st.just({}) | st.none(), "ref": st.just({"type": "ref/prompt", "name": "s__t"}), "notifications":
        st.just({}) | st.just({"toolsListChanged": True}), "inputResponses": st.just({}) | st.just([1]),
        "requestState": text,
    },
).map(lambda found: json.dumps(found).encode())  # fmt: skip
params = likely | objects_of(values).map(str.encode) | values.map(str.encode)
requests = st.builds(
    lambda identifier, method, given: b'{"jsonrpc":"2.0","id":%s,"method":%s,"params":%s}'
    % (identifier, json.dumps(method).encode(), given),
    ids | values.map(str.encode), methods, params,
)  # fmt: skip
told = st.builds(
    lambda method, given: b'{"jsonrpc":"2.0","method":%s,"params":%s}' % (json.dumps(method).encode(), given),
    methods, params,
)  # fmt: skip
answers = st.builds(
    lambda identifier, kind, given: b'{"jsonrpc":"2.0","id":%s,"%s":%s}' % (identifier, kind, given),
    ids, st.sampled_from([b"result", b"error", b"params"]), values.map(str.encode),
)  # fmt: skip
one = requests | told | answers | values.map(str.encode)
bodies = st.one_of(
    one,
    st.lists(one, max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.tuples(one, st.integers(0, 40)).map(lambda cut: cut[0][: -cut[1] or None]),
    st.binary(max_size=20),
    st.sampled_from([b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\xef\xbb\xbf{}", b"0" * 5000, b""]),
)
HEADERS: dict[str, st.SearchStrategy[str]] = {
    "Accept": st.sampled_from([JSON, EVENTS, f"{JSON}, {EVENTS}", "*/*", "text/html", "", ";;,", "text/*;q=0"]),
    "Content-Type": st.sampled_from([JSON, f"{JSON}; charset=utf-8", "text/plain", "", "multipart/form-data"]),
    "Mcp-Session-Id": st.sampled_from(["{session}", "{session}x", "unique-0", "", "é"]),
    "MCP-Protocol-Version": revisions | text,
    "Last-Event-ID": st.sampled_from(["stream-1:0", "stream-1:1", ":", "x:y", "1:99999999999999999999", "a:-1"]) | text,
    "Mcp-Method": methods | text,
    "Mcp-Name": names | st.sampled_from(["=?base64?c19fdA==?=", "=?base64?!?="]) | text,
    "Mcp-Param-A": st.sampled_from(["b", "=?base64?Yg==?=", "=?base64?\xff?="]) | text,
    "Host": st.sampled_from(["localhost", "localhost:1", "evil.example", "", "[::1", "localhost:x"]) | text,
    "Origin": st.sampled_from(["http://localhost", "null", "http://evil.example", "", "://", "http://[", "http://l:x"]),
    "Authorization": text, "X-Api-Key": text, "Cookie": text, "Forwarded": text, "X-Forwarded-Host": text,
    "Access-Control-Request-Method": st.sampled_from(["POST", "", "x"]), "Access-Control-Request-Headers": text,
    "Content-Length": st.sampled_from(["0", "5", "-1", "x", "99999999999"]),
    "Transfer-Encoding": st.sampled_from(["chunked", "x"]), "Content-Encoding": st.sampled_from(["gzip", "br"]),
}  # fmt: skip
usual = {
    "Accept": st.just(f"{JSON}, {EVENTS}"), "Content-Type": st.just(JSON), "Mcp-Session-Id": st.just("{session}"),
    "Host": st.just("localhost"),
}  # fmt: skip
headers = st.one_of(
    st.fixed_dictionaries(usual),
    st.fixed_dictionaries(usual, optional={name: HEADERS[name] for name in HEADERS if name not in usual}),
    st.fixed_dictionaries({}, optional=HEADERS),
).map(lambda found: list(found.items()))
paths = st.sampled_from(
    ["/mcp", "/metamcp/dev/mcp", "/metamcp/dev/mcp/", "/metamcp/nowhere/mcp", "/metamcp/%00/mcp", "/metamcp/%ff/mcp",
     "/metamcp/dev/sse", "/metamcp/dev/message", "/metamcp/dev/message?sessionId={session}", "/message?session_id=x",
     "/metamcp/dev/message?sessionId=%ff", "/metamcp/dev/mcp?x=%", "//mcp", "/metamcp//mcp", "/metamcp/dev/api",
     "/metamcp/dev/api/openapi.json", "/metamcp/dev/api/s__t", "/metamcp/dev/api/%ff", "/metamcp/nowhere/api/t"]
)  # fmt: skip
http_methods = st.sampled_from(["POST"] * 6 + ["GET", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH", "X"])


@given(st.lists(st.tuples(http_methods, paths, headers, bodies), min_size=1, max_size=4))
@example([("POST", "/metamcp/dev/mcp", [("Host", "localhost"), ("Mcp-Session-Id", "{session}")], b'{"jsonrpc":"2.0"}')])
def test_whatever_is_sent_the_answer_is_well_formed_and_nothing_is_left(
    sent: list[tuple[str, str, list[tuple[str, str]], bytes]],
) -> None:
    site = Site()
    for method, path, named, body in sent:
        response, data = site.ask(method, path, named, body)
        if method != "HEAD":
            well_formed(response, data, "/api" in path)
    site.at_rest()


@given(st.lists(st.tuples(st.just("/metamcp/dev/mcp"), headers, requests | told), min_size=1, max_size=5))
def test_messages_in_a_session_are_each_answered_or_accepted(
    sent: list[tuple[str, list[tuple[str, str]], bytes]],
) -> None:
    """No field of a message stops the ones behind it."""
    site = Site()
    good = [("Host", "localhost"), ("Content-Type", JSON), ("Accept", JSON), ("Mcp-Session-Id", "{session}")]
    for path, named, body in sent:
        well_formed(*site.ask("POST", path, named, body))
        again, data = site.ask("POST", path, good, b'{"jsonrpc":"2.0","id":7,"method":"ping"}')
        assert (again.status_code, json.loads(data)["result"]) == (200, {})
    site.at_rest()
