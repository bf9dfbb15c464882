"""``python -m metamcp call``: one tool, called as any client of MCP calls it: over Streamable HTTP, with whatever the
endpoint asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import click
import requests

from metamcp import __version__
from metamcp.commands.display import paragraphs, printable
from metamcp.config.settings import Settings
from metamcp.errors import MetaMCPError
from metamcp.protocol import jsonrpc
from metamcp.protocol.sse import EventReader, EventTooLong

RESULT, TOOL_ERROR, GATEWAY_ERROR = 0, 1, 2
"""Exit status."""

_REVISION = "2025-11-25"
_CONNECT_SECONDS, _SILENCE_SECONDS = 5.0, 60.0  # the gateway sends heartbeats
_MOST_BYTES = 96 * 1024 * 1024
_OF_GATEWAY = range(-31100, -31000)  # codes of errors (docs/operations.md)
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


class GatewayFailed(Exception):
    """The gateway cannot be asked, or does not do it; the text says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """``url``: of the gateway, "" for the one of these settings; ``arguments``: JSON."""

    endpoint: str
    tool: str
    arguments: bytes
    url: str = ""
    key: str = field(default="", repr=False)


def run(settings: Settings, wanted: Wanted, as_json: bool) -> int:
    """Print what the tool says; the exit status. Raises ClickException for what is no call."""
    params = jsonrpc.encode({"name": wanted.tool, "arguments": jsonrpc.Raw(_checked(wanted.arguments))})
    address = f"{wanted.url.rstrip('/') or own_url(settings)}/metamcp/{quote(wanted.endpoint, safe='')}/mcp"
    try:
        with _client(address, wanted.key) as client, client.session():
            answer = client.ask("tools/call", params)
    except (GatewayFailed, MetaMCPError, EventTooLong) as failed:
        click.echo(f"Error: {printable(str(failed))}", err=True)
        return GATEWAY_ERROR
    except requests.RequestException as failed:
        click.echo(f"Error: the gateway cannot be asked at {address}: {printable(_cause(failed))}", err=True)
        return GATEWAY_ERROR
    return _tell(answer, as_json)


def _cause(error: BaseException) -> str:
    """In the words of the operating system, where it is the cause."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _checked(arguments: bytes) -> bytes:
    try:
        found = json.loads(arguments)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="JSON") from None
    if not isinstance(found, dict):
        raise click.BadParameter('must be an object, such as {"text": "hello"}', param_hint="JSON")
    return arguments


def own_url(settings: Settings) -> str:
    """Of the gateway that these settings are for, from its own machine."""
    host, _, port = settings.bind.rpartition(":")
    return f"http://{_ANYWHERE.get(host, host)}:{port}"


# --- the client --------------------------------------------------------------------------------------------


@contextmanager
def _client(address: str, key: str) -> Iterator[Client]:
    with requests.Session() as http:
        http.auth = _as_it_is  # no ~/.netrc instead of the key
        http.trust_env = not (urlsplit(address).hostname or "").startswith(("127.", "localhost", "::1"))
        http.headers["Accept"] = "application/json, text/event-stream"
        http.headers["Content-Type"] = "application/json"
        if key:
            http.headers["Authorization"] = f"Bearer {key}"
        yield Client(http, address)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Client:
    """One session of Streamable HTTP (MCP 2025-11-25, Transports)."""

    def __init__(self, http: requests.Session, address: str) -> None:
        self._http = http
        self._address = address

    @contextmanager
    def session(self) -> Iterator[None]:
        """Raises GatewayFailed and what requests raises, as all of it."""
        info = {"name": "metamcp call", "version": __version__}
        hello = {"protocolVersion": _REVISION, "capabilities": {}, "clientInfo": info}
        answer = self._take(self._post(jsonrpc.request(b"0", "initialize", jsonrpc.encode(hello))), b"0")
        if answer.failure:
            raise GatewayFailed(str(json.loads(answer.failure).get("message")))
        self._http.headers["MCP-Protocol-Version"] = _REVISION
        try:
            self._post(jsonrpc.notification("notifications/initialized", b"")).close()
            yield
        finally:
            with suppress(requests.RequestException):
                self._http.delete(self._address, timeout=_CONNECT_SECONDS, allow_redirects=False).close()

    def ask(self, method: str, params: bytes) -> jsonrpc.Message:
        return self._take(self._post(jsonrpc.request(b"1", method, params)), b"1")

    def _post(self, body: bytes) -> requests.Response:
        """A redirect would take the key elsewhere."""
        timeout = (_CONNECT_SECONDS, _SILENCE_SECONDS)
        response = self._http.post(self._address, body, timeout=timeout, stream=True, allow_redirects=False)
        if not response.ok or response.is_redirect:
            raise GatewayFailed(_refusal(response))
        if session := response.headers.get("Mcp-Session-Id"):
            self._http.headers["Mcp-Session-Id"] = session
        return response

    def _take(self, response: requests.Response, identifier: bytes) -> jsonrpc.Message:
        """The answer among all that comes before it."""
        with response:
            for message in _messages(response):
                if message.kind == "response" and bytes(message.id) == identifier:
                    return message
        raise GatewayFailed("the gateway ended the stream before the answer came")


def _messages(response: requests.Response) -> Iterator[jsonrpc.Message]:
    if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
        yield jsonrpc.parse(response.content)
        return
    reader = EventReader(_MOST_BYTES)
    for chunk in response.iter_content(None):
        yield from (jsonrpc.parse(event.data) for event in reader.feed(chunk) if event.data)


def _refusal(response: requests.Response) -> str:
    """What the gateway says; of something else in its place the status."""
    try:
        text = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = response.reason
    needs = ": put one into METAMCP_API_KEY, or --key" if response.status_code == 401 else ""
    return f"{text} (HTTP {response.status_code}){needs}"


# --- what it said ------------------------------------------------------------------------------------------


def _tell(answer: jsonrpc.Message, as_json: bool) -> int:
    error = answer.failure
    if as_json:
        click.echo(bytes(error or answer.result).decode("utf-8", "replace"))
    if error:
        found = json.loads(error)
        if not as_json:
            click.echo(f"Error: {paragraphs(str(found.get('message')))}", err=True)
        return GATEWAY_ERROR if found.get("code") in _OF_GATEWAY else TOOL_ERROR
    result = json.loads(bytes(answer.result))
    for line in () if as_json else _shown(result):
        click.echo(line)
    return TOOL_ERROR if result.get("isError") is True else RESULT


def _shown(result: dict[str, Any]) -> Iterator[str]:
    blocks = [block for block in result.get("content") or () if isinstance(block, dict)]
    yield from map(_block, blocks)
    if "structuredContent" in result and not any(block.get("type") == "text" for block in blocks):
        yield json.dumps(result["structuredContent"], indent=2)


def _block(block: dict[str, Any]) -> str:
    """One block of content (MCP, Tools, Tool Result)."""
    kind = str(block.get("type"))
    if kind == "text":
        return paragraphs(str(block.get("text")))
    if kind in ("image", "audio"):
        size = len(str(block.get("data"))) * 3 // 4
        return f"[{kind}: {printable(str(block.get('mimeType')))}, {size} bytes; --json prints it]"
    resource = block.get("resource") if kind == "resource" else block
    named = resource if isinstance(resource, dict) else {}
    head = f"[{printable(kind)}: {printable(str(named.get('uri')))}]"
    return f"{head}\n{paragraphs(str(named['text']))}" if "text" in named else head
