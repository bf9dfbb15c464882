"""Signing in at the console with a key, once; from then on the browser keeps a cookie that is not the key."""

from __future__ import annotations

import re
import secrets
import time

from flask import Response, request, url_for

from metamcp.access import signing_in
from metamcp.web import auth, errors, forms, orders, resource
from metamcp.web.console.pages import led_to, page
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming

_OWN = re.compile(r"/(?:console/[\w.~/%*:@-]*)?", re.ASCII)
"""Where one may be led after signing in: a page of the console."""


def login() -> Response:
    """The form; there is nothing to sign in to as long as there are no keys."""
    if auth.is_operator(incoming()):
        return _onward(request.args.get("next", ""))
    return page("login.html", next=request.args.get("next", ""))


def sign_in() -> Response:
    """The key, sent with the form."""
    asked = incoming()
    sent = forms.fields(asked)
    record = auth.sign_in(asked, sent.get("key", "").strip())
    if record is None:
        text = "this key is not known, was revoked, has expired, or has not the scope admin"
        errors.audit(asked, 401, "unauthorized")
        return page("login.html", 401, problem=text, next=sent.get("next", ""))
    asked.principal = record.name
    orders.give("sign-in")
    response = _onward(sent.get("next", ""))
    cookie = signing_in.cookie_of(record, time.time(), secrets.token_urlsafe(24))
    _set_cookie(asked, response, cookie, signing_in.SECONDS)
    return response


def sign_out() -> Response:
    response = led_to(url_for("console.login"))
    _set_cookie(incoming(), response, "", 0)
    return response


def _onward(path: str) -> Response:
    return led_to(path if _OWN.fullmatch(path) else url_for("console.servers"))


def _set_cookie(asked: Incoming, response: Response, value: str, seconds: int) -> None:
    secure = resource.used_url(asked).startswith("https:")
    response.set_cookie(signing_in.COOKIE, value, seconds, httponly=True, samesite="Strict", secure=secure, path="/")
