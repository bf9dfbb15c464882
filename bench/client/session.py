"""What all transports share: ids, waiting calls, and the handshake."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

NOW = time.perf_counter
CLIENT_INFO = {"name": "metamcp-bench", "version": "1"}
_SHOWN = 300
_SPREAD = 10_000_000

Json = dict[str, Any]
OnNotification = Callable[[float, Json], None]
"""Is told the time of arrival, by NOW, and the message."""


class CallError(Exception):
    """A call that did not end in a result; ``kind`` is a short name for tallies."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


FAILURES = (CallError, OSError, TimeoutError)
"""What open, call, request and close raise."""


@dataclass(frozen=True)
class Settings:
    """``version``: the MCP revision to ask for. ``timeout``: seconds for each call. ``prefix``: of tool names."""

    version: str = "2025-06-18"
    timeout: float = 60.0
    prefix: str = ""


class Session:
    """One MCP client. ``foreign`` counts messages that were not meant for it.

    Ids differ between sessions, so that a gateway which mixes sessions up shows by foreign messages. Who sets ``ids``
    to count from 0, as SDKs do, gets wrong answers from it instead.
    """

    _numbers = itertools.count(1)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ids: Iterator[int] = itertools.count(next(Session._numbers) * _SPREAD)
        self.foreign = 0
        self.lost: str | None = None
        self.server_info: Json | None = None
        self.version = settings.version
        self._on_notification: OnNotification | None = None
        self._waiting: dict[int, asyncio.Future[tuple[float, Json]]] = {}
        self._templates: dict[tuple[str, int], tuple[bytes, bytes, Json]] = {}

    # --- for the user --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and do the handshake. Raises CallError or OSError."""
        raise NotImplementedError

    async def close(self, graceful: bool = True) -> None:
        """End it, as a client that leaves properly does or as one that is gone."""
        raise NotImplementedError

    async def call(self, tool: str, arguments: Json) -> tuple[float, Json]:
        """(seconds until its answer came, result) of one tools/call. Raises CallError."""
        request_id = next(self.ids)
        before, after = self._template(tool, arguments)
        begun = NOW()
        arrived, answer = await self._exchange(b"%b%d%b" % (before, request_id, after), request_id)
        result = _result(answer)
        if result.get("isError"):
            raise CallError("tool-error", json.dumps(result)[:_SHOWN])
        return arrived - begun, result

    async def request(self, method: str, params: Json | None = None) -> tuple[float, Json]:
        """The same of any request."""
        request_id = next(self.ids)
        message: Json = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            message["params"] = params
        begun = NOW()
        arrived, answer = await self._exchange(json.dumps(message).encode(), request_id)
        return arrived - begun, _result(answer)

    def watch(self, on_notification: OnNotification) -> None:
        """Have it told each notification of the server from now on."""
        self._on_notification = on_notification

    def _template(self, tool: str, arguments: Json) -> tuple[bytes, bytes]:
        """The JSON of a call before and after its id: a load says the same again and again."""
        key = (tool, id(arguments))
        if key not in self._templates:
            params = {"name": self.settings.prefix + tool, "arguments": arguments}
            text = json.dumps({"jsonrpc": "2.0", "id": "@@", "method": "tools/call", "params": params})
            before, after = text.split('"@@"', 1)
            # The arguments are kept so that their id() stays theirs.
            self._templates[key] = (before.encode(), after.encode(), arguments)
        return self._templates[key][:2]

    # --- for the transports --------------------------------------------------------------------------------

    async def post(self, body: bytes, request_id: int | None) -> None:
        """Send one message. Raises CallError or OSError."""
        raise NotImplementedError

    def is_waiting_for(self, request_id: int | None) -> bool:
        future = self._waiting.get(request_id) if request_id is not None else None
        return future is not None and not future.done()

    def on_event(self, name: bytes, data: bytes) -> None:
        if name == b"message":
            self.on_message(data)

    def on_message(self, data: bytes) -> None:
        arrived = NOW()
        try:
            messages = json.loads(data)
        except ValueError:
            self.foreign += 1
            return
        for message in messages if isinstance(messages, list) else (messages,):
            self._dispatch(arrived, message)

    def fail_all(self, kind: str, detail: str = "") -> None:
        """The way to the server is gone."""
        self.lost = kind
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(CallError(kind, detail))
        self._waiting.clear()

    async def handshake(self) -> None:
        _, result = await self.request(
            "initialize", {"protocolVersion": self.version, "capabilities": {}, "clientInfo": CLIENT_INFO}
        )
        self.version = result["protocolVersion"]
        self.server_info = result.get("serverInfo", {})
        self.initialized()
        await self.post(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', None)

    def initialized(self) -> None:
        """The revision is known."""

    # --- within --------------------------------------------------------------------------------------------

    def _dispatch(self, arrived: float, message: Json) -> None:
        if "method" in message:
            if "id" in message:
                task = asyncio.ensure_future(self._reply(message))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
            elif self._on_notification is not None:
                self._on_notification(arrived, message)
            return
        future = self._waiting.pop(message.get("id", -1), None)
        if future is None:
            self.foreign += 1
        elif not future.done():
            future.set_result((arrived, message))

    async def _reply(self, message: Json) -> None:
        body: Json = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "ping":
            body["result"] = {}
        else:
            body["error"] = {"code": -32601, "message": "Method not found"}
        with suppress(*FAILURES):
            await self.post(json.dumps(body).encode(), None)

    async def _exchange(self, body: bytes, request_id: int) -> tuple[float, Json]:
        future: asyncio.Future[tuple[float, Json]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self.post(body, request_id)
                return await future
        except TimeoutError:
            raise CallError("timeout", f"{self.settings.timeout:g} s") from None
        except OSError as error:
            raise CallError("connection", str(error)) from None
        finally:
            self._waiting.pop(request_id, None)
            if future.done() and not future.cancelled():
                future.exception()


def _result(answer: Json) -> Json:
    if "error" in answer:
        raise CallError("rpc-error", json.dumps(answer["error"])[:_SHOWN])
    result: Json = answer["result"]
    return result


def why(error: BaseException) -> str:
    """One line about a failure."""
    return str(error) if isinstance(error, CallError) else f"{type(error).__name__}: {error}"


def text_of(result: Json) -> str:
    """The first text of a tool's result."""
    return str(result["content"][0]["text"])
