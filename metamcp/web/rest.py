"""Tools as REST: a POST for each tool of an endpoint, and the OpenAPI document that describes them (docs/rest.md).

To what lies behind, a call is one request of a client of MCP 2026-07-28 that can do nothing but call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Blueprint, Response

from metamcp import __version__
from metamcp.access.policy import Door
from metamcp.errors import InvalidParams, InvalidRequest, MethodNotFound, SupervisorAway
from metamcp.gateway.interface import Is, Outbound, Stateless
from metamcp.protocol import envelope, http_rules, jsonrpc, openapi, tool_result
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.protocol.tool_result import Answer
from metamcp.web import caller, problems, resource, spans
from metamcp.web.auth import revocable
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import incoming as present
from metamcp.web.reading import read_body

blueprint = Blueprint("rest", __name__)

_CLIENT = jsonrpc.encode({"name": "metamcp-rest", "version": __version__})
_ID = b'"rest"'
_DOCUMENTS = 8
"""That a worker keeps; they are made of lists, which seldom change."""

_BEARER = {"type": "http", "scheme": "bearer"}
_KEY_SCHEMES = {"bearer": _BEARER, "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


class _Final(msgspec.Struct):
    """The answer of the supervisor."""

    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


_final = msgspec.json.Decoder(_Final)


def index(incoming: Incoming, endpoint: str) -> Outgoing:
    """What there is, for people and scripts."""
    found = _asked(incoming, endpoint, "tools/list", {})
    if isinstance(found, Outgoing):
        return found
    url = _url(incoming, endpoint)
    tools = [
        {"name": it.name, "title": it.title, "description": it.description, "url": url + openapi.path_of(it.name)}
        for it in openapi.tools_of(found)
    ]
    body = {"endpoint": endpoint, "openapi": f"{url}/openapi.json", "tools": tools}
    return Outgoing(200, jsonrpc.encode(body), http_rules.JSON)


def describe(incoming: Incoming, endpoint: str) -> Outgoing:
    """The OpenAPI document; 304 for who has it already."""
    found = _asked(incoming, endpoint, "tools/list", {})
    if isinstance(found, Outgoing):
        return found
    body, tag = _document(found, endpoint, _url(incoming, endpoint), incoming.door)
    known = [it.strip().removeprefix("W/") for it in (incoming.header("If-None-Match") or "").split(",")]
    outgoing = Outgoing(304) if tag in known or "*" in known else Outgoing(200, body, http_rules.JSON)
    outgoing.add("ETag", tag)
    outgoing.add("Cache-Control", "private, no-cache")
    return outgoing


def call(incoming: Incoming, endpoint: str, tool: str) -> Outgoing:
    """One call. The body is the object of arguments; nothing is one without any."""
    params: JsonObject = {"name": Raw(jsonrpc.encode(tool)), "arguments": Raw(_arguments(incoming))}
    found = _asked(incoming, endpoint, "tools/call", params)
    if not isinstance(found, Outgoing):
        return _answer(found)
    if found.status == 400 and not _is_listed(incoming, endpoint, tool):
        where = _url(incoming, endpoint)
        return problems.problem(404, f"there is no tool {tool!r} here; GET {where} lists those that there are")
    return found


# --- asking ------------------------------------------------------------------------------------------------


def _asked(incoming: Incoming, endpoint: str, method: str, params: JsonObject) -> bytes | Outgoing:
    """The raw result, or the problem that is the answer. A client that hangs up has cancelled it."""
    payload = jsonrpc.encode(envelope.wrap(params, b"{}", _CLIENT))
    if incoming.span is None:  # which is about what is asked first
        spans.begin(incoming, method, payload, None)
    client = caller.client(incoming, endpoint, "rest", revision=envelope.REVISION)
    exchange = incoming.state.gateway.exchange(Stateless(client, method, _ID, payload, {}))
    watched = Watched(revocable(incoming, exchange), incoming.connection)
    try:
        final = watched.next(incoming.state.heartbeat)
        while final is None or not final.final:  # the supervisor holds the deadlines of servers
            final = watched.next(incoming.state.heartbeat)
    finally:
        watched.close()
    return _result(final, method)


def _result(final: Outbound, method: str) -> bytes | Outgoing:
    if final.kind == Is.ENDED:
        raise SupervisorAway("the request was given up; try again", retryAfterMs=1000)
    if final.kind == Is.FAILED:
        return problems.of_response(final.data, final.status)
    response = _final.decode(final.data)
    if not bytes(response.error):
        return bytes(response.result)
    if method == "tools/list" and jsonrpc.error_code(bytes(response.error)) == MethodNotFound.code:
        return b"{}"  # no server of the endpoint has tools
    return problems.of_response(final.data)


def _arguments(incoming: Incoming) -> bytes:
    body = read_body(incoming)
    if not body.strip():
        return b"{}"
    http_rules.require_json(incoming.header("Content-Type"))
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not UTF-8") from error
    jsonrpc.decode_object(body, "the body, which holds the arguments,")
    return body


def _is_listed(incoming: Incoming, endpoint: str, tool: str) -> bool:
    """Also where that cannot be told."""
    found = _asked(incoming, endpoint, "tools/list", {})
    return isinstance(found, Outgoing) or any(it.name == tool for it in openapi.tools_of(found))


# --- answering ---------------------------------------------------------------------------------------------


def _answer(result: bytes) -> Outgoing:
    try:
        answer = tool_result.read(result)
    except InvalidParams as error:
        return problems.problem(502, f"the server's answer is no result of a tool: {error.text}")
    if answer.asks:
        text = "the tool asks its client for something that cannot be given here: call it with a client of MCP"
        return problems.problem(501, text)
    return _tool_error(answer) if answer.error else Outgoing(200, answer.value, http_rules.JSON)


def _tool_error(answer: Answer) -> Outgoing:
    said = {"content": answer.content, "structuredContent": answer.structured}
    members = {name: Raw(value) for name, value in said.items() if value}
    return problems.problem(openapi.TOOL_ERROR, answer.text or "the tool reports an error", **members)


@lru_cache(_DOCUMENTS)
def _document(result: bytes, endpoint: str, url: str, door: Door | None) -> tuple[bytes, str]:
    """With its entity tag."""
    tools = openapi.tools_of(result)
    body = openapi.document(tools, f"MetaMCP: {endpoint}", __version__, url, schemes(door))
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def schemes(door: Door | None) -> dict[str, Any]:
    """Security Scheme Objects of OpenAPI, by name: what an endpoint asks for."""
    if door is None or door.auth == "none":
        return {}
    if door.trust is None:
        return _KEY_SCHEMES
    needed = f", with {' '.join(door.trust.scopes)}" if door.trust.scopes else ""
    return {"token": _BEARER | {"bearerFormat": "JWT", "description": f"A token of {door.trust.issuer}{needed}"}}


def _url(incoming: Incoming, endpoint: str) -> str:
    return f"{resource.base_url(incoming)}/metamcp/{quote(endpoint, safe='')}/api"


# --- routes ------------------------------------------------------------------------------------------------


def _serve(method: str, rule: str, view: Callable[..., Outgoing]) -> None:
    def answer(endpoint: str, **named: str) -> Response:
        asked = present()
        return spans.over(asked, view(asked, endpoint, **named)).flask()

    blueprint.add_url_rule(f"/metamcp/<endpoint>/api{rule}", view.__name__, answer, methods=[method])


_serve("GET", "", index)
_serve("GET", "/openapi.json", describe)
_serve("POST", "/<path:tool>", call)
