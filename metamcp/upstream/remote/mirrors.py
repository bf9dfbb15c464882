"""Arguments that a tool wants to see as HTTP headers, too (2026-07-28, Custom Headers from Tool Parameters)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from metamcp.errors import InvalidParams, MetaMCPError
from metamcp.protocol import headers, jsonrpc
from metamcp.protocol.headers import ANNOTATION, Path
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.upstream.remote.message import Outgoing, read
from metamcp.upstream.remote.pending import Dialog, Pending

_HEADER_MISMATCH = -32020
_MAX_PAGES = 100
_OWN = b'"metamcp-tools-%d"'  # the id of a listing of our own; those of the conversation are integers


def refused_for_its_headers(out: Outgoing, line: bytes) -> bool:
    """Is ``line`` the answer of a server that misses a header of this call, or wants another value of it?"""
    if out.method != "tools/call" or not out.version or b"%d" % _HEADER_MISMATCH not in line:
        return False
    return jsonrpc.error_code(bytes(jsonrpc.parse(line).error)) == _HEADER_MISMATCH


class Mirrors:
    """What the tools of one server want mirrored, learned from every ``tools/list`` that passes."""

    def __init__(self) -> None:
        self._tools: dict[str, Mapping[str, Path]] = {}

    def learn(self, line: bytes) -> bytes:
        """From the answer to a ``tools/list``; the raw cursor of the next page, or empty. Raises InvalidParams."""
        result = jsonrpc.decode_object(jsonrpc.parse(line).result, "the result")
        for tool in jsonrpc.decode_array(result.get("tools", b"[]"), "tools"):
            with contextlib.suppress(MetaMCPError):  # of a tool with a wrong annotation, nothing is mirrored
                self._learn(jsonrpc.decode_object(tool, "a tool"))
        cursor = bytes(result.get("nextCursor", b"null"))
        return b"" if cursor == b"null" else cursor

    def _learn(self, tool: JsonObject) -> None:
        name = jsonrpc.decode_string(tool.get("name"), "name")
        schema = bytes(tool.get("inputSchema", b""))
        self._tools.pop(name, None)
        if ANNOTATION.encode() in schema:
            self._tools[name] = headers.mirrored(schema)

    def headers(self, out: Outgoing) -> dict[str, str]:
        """Of a ``tools/call``; empty for everything else, and for a tool that is not known."""
        if out.method != "tools/call" or not self._tools:
            return {}
        try:
            params = jsonrpc.decode_object(out.params)
            annotations = self._tools.get(jsonrpc.decode_string(params.get("name"), "name"), {})
            return headers.params_headers(annotations, bytes(params.get("arguments", b"")))
        except InvalidParams:
            return {}


class Relisting:
    """All pages of ``tools/list``, in the name of whoever sent ``call``; then ``done(well)``, once."""

    def __init__(self, dialog: Dialog, mirrors: Mirrors, call: Outgoing, done: Callable[[bool], None]) -> None:
        self._dialog = dialog
        self._mirrors = mirrors
        self._meta = jsonrpc.decode_object(call.params).get("_meta", Raw(b"{}"))
        self._done = done
        self._page(1, {})

    def _page(self, number: int, params: JsonObject) -> None:
        def answered(line: bytes) -> None:
            try:
                cursor = self._mirrors.learn(line)
            except InvalidParams:
                self._done(False)
                return
            if cursor and number < _MAX_PAGES:
                self._page(number + 1, {"cursor": Raw(cursor)})
            else:
                self._done(True)

        body = jsonrpc.request(_OWN % number, "tools/list", jsonrpc.encode(params | {"_meta": self._meta}))
        Pending(self._dialog, read(body), answered, lambda _error: self._done(False)).begin()
