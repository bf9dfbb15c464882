"""One HTTP request as the checks and the views of MCP read it: the WSGI environment (PEP 3333), without a framework.

Flask's own request object, with the context around it, costs several times what forwarding a call does; the routes
that carry calls do without (``web/direct.py``), and all others read the same through ``web/present.py``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast
from urllib.parse import parse_qsl

from werkzeug.datastructures import EnvironHeaders

from metamcp.access.keys import Keys, Record
from metamcp.access.policy import Door
from metamcp.access.principal import ANONYMOUS
from metamcp.protocol.trace_context import TraceContext
from metamcp.telemetry.spans import Span
from metamcp.web import request_ids
from metamcp.web.environ import CONNECTION, REQUEST, variable
from metamcp.web.hangup import Connection
from metamcp.web.state import WebState


class Incoming:
    """``operation``: what is asked for, as the routes are named (``streamable.post``), "" where there is no route.
    ``endpoint``: the endpoint of MCP that it is asked of, None for the operators' routes. What the checks find out is
    noted in the other attributes."""

    def __init__(self, environ: dict[str, Any], state: WebState, operation: str, endpoint: str | None) -> None:
        self.environ = environ
        self.state = state
        self.operation = operation
        self.endpoint = endpoint
        self.request_id: str = state.request_ids.of(self.header(request_ids.HEADER))
        environ[REQUEST] = self.request_id
        self.keys_read = False
        self.keys: Keys | None = None  # as they were at the first look; None when they could not be read
        self.door: Door | None = None  # of its endpoint
        self.principal = ANONYMOUS
        self.record: Record | None = None  # of the key that let it in
        self.challenge = ""  # what a refusal asks for (WWW-Authenticate)
        self.span: Span | None = None  # until its end is arranged; None where no traces are wanted
        self.trace: TraceContext | None = None  # for who works on it behind the link
        self.cookie = ""  # with which it came in, of who has signed in at the console
        self.fields: dict[str, str] | None = None  # of its form; None: not read yet

    @property
    def method(self) -> str:
        return cast("str", self.environ["REQUEST_METHOD"])

    @property
    def script_root(self) -> str:
        return _text(self.environ.get("SCRIPT_NAME", "")).rstrip("/")

    @property
    def path(self) -> str:
        return "/" + _text(self.environ.get("PATH_INFO", "")).lstrip("/")

    @property
    def scheme(self) -> str:
        return cast("str", self.environ["wsgi.url_scheme"])

    @property
    def remote_address(self) -> str:
        return self.environ.get("REMOTE_ADDR") or ""

    @property
    def connection(self) -> Connection | None:
        """Of the client; None where the WSGI server does not give it."""
        return self.environ.get(CONNECTION)

    def header(self, name: str) -> str | None:
        """Several fields of one name are one, with commas."""
        return self.environ.get(variable(name))

    @property
    def headers(self) -> EnvironHeaders:
        return EnvironHeaders(self.environ)

    def argument(self, name: str) -> str | None:
        """The first of this name in the query."""
        return self._arguments.get(name)

    @cached_property
    def _arguments(self) -> dict[str, str]:
        query = self.environ.get("QUERY_STRING")
        if not query:
            return {}
        pairs = parse_qsl(_text(query), keep_blank_values=True, errors="replace")
        return dict(reversed(pairs))


def _text(latin: str) -> str:
    """WSGI hands bytes over as latin-1."""
    return latin if latin.isascii() else latin.encode("latin-1").decode("utf-8", "replace")
