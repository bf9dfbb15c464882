"""What a browser sends with the operators' routes: its cookie, the fields of its forms, and where they came from."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import Flask
from werkzeug.http import parse_cookie

from metamcp.access import signing_in
from metamcp.errors import InvalidRequest, RequestRefused
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming as present
from metamcp.web.reading import read_body

TOKEN_FIELD, TOKEN_HEADER = "csrf", "X-CSRF-Token"
MOST_FIELDS = 1000

_KIND = "application/x-www-form-urlencoded"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def register(app: Flask) -> None:
    """After authentication, which finds out who has signed in."""
    app.before_request(lambda: check(present()))


def check(incoming: Incoming) -> None:
    """Of everything that operators do, not only read: a page of another origin, also of one that may ask the routes of
    MCP, must not do it in the name of the operator whose browser shows it. Raises RequestRefused."""
    if incoming.endpoint is not None or not incoming.operation or incoming.method in _READING:
        return
    origin = incoming.header("Origin")
    if origin and origin.lower().partition("://")[2] != (incoming.header("Host") or "").lower():
        raise RequestRefused(f"the operators' routes take nothing from pages of another origin ({origin!r})")
    if incoming.cookie and incoming.record is not None:
        shown = incoming.header(TOKEN_HEADER) or fields(incoming).get(TOKEN_FIELD, "")
        if not signing_in.is_form_token(incoming.record, incoming.cookie, shown):
            raise RequestRefused("this form is out of date: load its page anew, and send it again")


def token(incoming: Incoming) -> str:
    """For the forms of the page that answers this request; "" where nobody has signed in."""
    return signing_in.form_token(incoming.record, incoming.cookie) if incoming.cookie and incoming.record else ""


def cookie(incoming: Incoming) -> str:
    """As the browser sent it, whoever it is; "" for none."""
    return parse_cookie(incoming.environ).get(signing_in.COOKIE, "")


def fields(incoming: Incoming) -> dict[str, str]:
    """The fields of a form, of several with one name the last; none of what is no form. Read once. Raises
    InvalidRequest and what ``read_body`` raises."""
    if incoming.fields is None:
        kind = (incoming.header("Content-Type") or "").partition(";")[0].strip().lower()
        incoming.fields = _parsed(read_body(incoming)) if kind == _KIND else {}
    return incoming.fields


def _parsed(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="replace", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise InvalidRequest(f"a form must be {_KIND}, with at most {MOST_FIELDS} fields") from error
    # A browser writes every line end of a text as CR LF (WHATWG HTML, constructing the entry list).
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
