"""A tool called from its page: a form made of its schema, and what came of the call.

The call is one request of a client of MCP 2026-07-28 at the endpoint, with all that the gateway does for clients.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from flask import Response
from werkzeug.exceptions import NotFound

from metamcp import __version__
from metamcp.gateway.interface import Exchange, Is, Outbound, Stateless
from metamcp.protocol import envelope, headers, jsonrpc
from metamcp.protocol.headers import Headers
from metamcp.web import caller, forms, orders
from metamcp.web.auth import revocable
from metamcp.web.console import documents, entering, tool_form
from metamcp.web.console.pages import page
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming

SECONDS = 120.0
"""For one call; whoever needs longer has a client that shows progress."""

SHOWN = 200_000
"""Characters of one text of a result: a browser is not made for more."""

_CLIENT = jsonrpc.encode({"name": "metamcp-console", "version": __version__})
_ID = b'"console"'


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one call. ``verdict``: ``result``, ``tool-error``, ``error`` or ``silence``; ``text`` says it for people.
    ``content``: of each block of a result what it is, and its text; ``structured`` and ``raw`` are JSON for reading."""

    verdict: str
    text: str
    seconds: float
    content: tuple[tuple[str, str], ...] = ()
    structured: str = ""
    raw: str = ""


def form(name: str, tool: str) -> Response:
    described = _tool(name, tool)
    return _page(name, described, tool_form.Filled(tool_form.fields_of(described.get("inputSchema"))))


def call(name: str, tool: str) -> Response:
    asked, described = incoming(), _tool(name, tool)
    seen = entering.as_client(asked, name)
    schema = described.get("inputSchema")
    filled = tool_form.fill(tool_form.fields_of(schema), forms.fields(asked))
    if filled.arguments is None:
        return _page(name, described, filled, status=400)
    orders.give("try-tool", f"{name} {tool}")
    request = Stateless(
        caller.client(seen, name, "http", revision=envelope.REVISION), "tools/call", _ID,
        _params(tool, filled.arguments), _mirrored(schema, filled.arguments),
    )  # fmt: skip
    return _page(name, described, filled, _ask(asked, request))


def _page(
    name: str, described: dict[str, Any], filled: tool_form.Filled, outcome: Outcome | None = None, status: int = 200
) -> Response:
    may = entering.may(name)
    return page("try.html", status, endpoint=name, tool=described, filled=filled, outcome=outcome, may=may)


def _tool(name: str, tool: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = documents.asked("catalog", name).get("tools", [])
    described = next((it for it in found if it.get("name") == tool), None)
    if described is None:
        raise NotFound(f"there is no tool {tool!r} at this endpoint (any more)")
    return described


# --- the call ----------------------------------------------------------------------------------------------


def _params(tool: str, arguments: bytes) -> bytes:
    params = {"name": jsonrpc.Raw(jsonrpc.encode(tool)), "arguments": jsonrpc.Raw(arguments)}
    return jsonrpc.encode(envelope.wrap(params, b"{}", _CLIENT))


def _mirrored(schema: object, arguments: bytes) -> headers.Params:
    """What a client sends in headers beside such arguments."""
    annotations = headers.mirrored(jsonrpc.encode(schema))
    return Headers(headers.params_headers(annotations, arguments).items()).params()


def _ask(asked: Incoming, request: Stateless) -> Outcome:
    begun = time.monotonic()
    exchange = Watched(revocable(asked, asked.state.gateway.exchange(request)), asked.connection)
    try:
        final = _final(exchange, begun + SECONDS)
    finally:
        exchange.close()
    return outcome_of(final, time.monotonic() - begun)


def _final(exchange: Exchange, until: float) -> Outbound | None:
    """The answer; None when there was none in time. What tells of progress comes before it."""
    while (left := until - time.monotonic()) > 0:
        item = exchange.next(left)
        if item is None or item.final:
            return item
    return None


# --- what came of it ---------------------------------------------------------------------------------------


def outcome_of(final: Outbound | None, seconds: float) -> Outcome:
    """Of the last item of the call, ``seconds`` after its begin."""
    if final is None:
        return Outcome("silence", f"There was no answer within {SECONDS:g} s; the call was cancelled.", seconds)
    if final.kind == Is.ENDED:
        return Outcome("silence", "The supervisor gave the call up; try again.", seconds)
    try:
        document = documents.read(final.data)
        raw = _pretty(document)
    except (ValueError, RecursionError):
        text = "The answer cannot be shown as JSON."
        return Outcome("error", text, seconds, raw=_cut(final.data.decode("utf-8", "replace")))
    if "error" in document:
        error = document["error"]
        return Outcome("error", f"Error {error.get('code')}: {error.get('message')}", seconds, raw=raw)
    return _of_result(document.get("result"), seconds, raw)


def _of_result(result: Any, seconds: float, raw: str) -> Outcome:
    if not isinstance(result, dict) or result.get("resultType", "complete") != "complete":
        text = "The tool asks its client for something that this form cannot give."
        return Outcome("error", text, seconds, raw=raw)
    content = result.get("content")
    blocks = tuple(map(_block, content if isinstance(content, list) else []))
    structured = _pretty(result["structuredContent"]) if "structuredContent" in result else ""
    if result.get("isError") is True:
        return Outcome("tool-error", "The tool reports an error.", seconds, blocks, structured, raw)
    return Outcome("result", "The tool answered.", seconds, blocks, structured, raw)


def _block(block: Any) -> tuple[str, str]:
    """One block of content (2025-11-25, Tools, Tool Result): what it is, and its text."""
    found = block if isinstance(block, dict) else {}
    match found.get("type"):
        case "text":
            return "text", _cut(str(found.get("text", "")))
        case "image" | "audio" as kind:
            return f"{kind} ({found.get('mimeType')})", f"{len(str(found.get('data', '')))} characters of Base64"
        case "resource_link":
            return "link to a resource", str(found.get("uri", ""))
        case "resource" if isinstance(resource := found.get("resource"), dict):
            return f"resource {resource.get('uri', '')}", _cut(str(resource.get("text", "(binary)")))
        case _:
            return "other", _pretty(block)


def _pretty(document: Any) -> str:
    return _cut(json.dumps(document, indent=2, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n… and {len(text) - SHOWN} more characters"
