"""One HTTP response as the views of MCP make it, for a WSGI server and for Flask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Response

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Outgoing:
    """``body``: all of it, or an iterable that the server goes through and, if it can be, closes at its end."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes | Iterable[bytes] = b"", kind: str = "") -> None:
        self.status = status
        self.body = body
        self.headers: list[tuple[str, str]] = [("Content-Type", kind)] if kind else []

    def add(self, name: str, value: str) -> None:
        self.headers.append((name, value))

    def wsgi(self, start_response: StartResponse) -> Iterable[bytes]:
        body = self.body
        if isinstance(body, bytes):
            self.add("Content-Length", str(len(body)))
            body = (body,)
        start_response(_status_line(self.status), self.headers)
        return body

    def flask(self) -> Response:
        response = Response(self.body, self.status, direct_passthrough=not isinstance(self.body, bytes))
        response.headers.clear()
        response.headers.extend(self.headers)
        if isinstance(self.body, bytes):
            response.headers["Content-Length"] = str(len(self.body))
        return response


@cache
def _status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
