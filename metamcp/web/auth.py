"""Who is calling, by a name that is ours (MCP, Transports, Security Warning), and whether they may enter.

A route that says nothing about itself is the operators': it needs a key with the scope ``admin`` once there are keys.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from flask import Flask, Response

from metamcp.access import challenge, keys, probing, signing_in
from metamcp.access.keys import ADMIN, Keys, KeysUnusable, Record
from metamcp.access.policy import Trust
from metamcp.access.principal import ANONYMOUS, of_token
from metamcp.config.settings import LOOPBACK_HOSTS
from metamcp.errors import AccessUndecided, EndpointUnknown, ScopeLacking, Unauthorized
from metamcp.gateway.interface import Exchange
from metamcp.protocol import http_rules
from metamcp.web import forms, resource
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming as present
from metamcp.web.revocable import Revocable

OPEN = frozenset(
    {"ops.health", "ops.ready", "well_known.metadata", "console.login", "console.sign_in", "console.static"}
)
"""Views for everybody; ``/ready`` says its reasons to operators alone."""

_MESSAGES, _PROBE = "sse.message", "probe.stream"


def register(app: Flask) -> None:
    """After the answer to preflights: a browser sends no key with its first question."""
    app.before_request(lambda: admit(present()))

    def challenge_all(response: Response) -> Response:
        asked = challenge_of(present(), response.status_code)
        if asked:
            response.headers["WWW-Authenticate"] = asked
        return response

    app.after_request(challenge_all)


def check_origin(incoming: Incoming) -> None:
    """Before every request. Raises RequestRefused (403), MisdirectedRequest (421), or AccessUndecided (503)."""
    state = incoming.state
    known = _known_keys(incoming)
    host = incoming.header("Host")
    if known is not None and not known.configured:
        http_rules.check_host_without_keys(host, state.allowed_hosts, LOOPBACK_HOSTS)
    else:
        http_rules.check_host(host, state.allowed_hosts)
    http_rules.check_origin(incoming.header("Origin"), state.allowed_origins)
    if known is None and incoming.operation != "ops.health":
        raise AccessUndecided("the gateway cannot read its API keys and refuses everybody; its log says why")


def admit(incoming: Incoming) -> None:
    """Before every view. Raises Unauthorized (401), ScopeLacking (403), EndpointUnknown (404), AccessUndecided or
    SupervisorAway (503)."""
    if not incoming.operation or incoming.operation in OPEN:
        return
    if incoming.endpoint is not None:
        incoming.principal = _enter(incoming, incoming.endpoint)
    elif _configured(incoming) and not _signed_in(incoming):
        incoming.principal = _require_key(incoming, ADMIN).name


def sign_in(incoming: Incoming, key: str) -> Record | None:
    """The record of a key that opens the operators' routes; None when it does not."""
    record = _keys(incoming).find(key)
    return record if record is not None and record.valid(time.time()) and ADMIN in record.scopes else None


def is_operator(incoming: Incoming) -> bool:
    """May the caller see what is inside? Everybody, as long as there are no keys."""
    if not _configured(incoming) or _signed_in(incoming):
        return True
    record = _holder(incoming, _keys(incoming))
    return record is not None and record.valid(time.time()) and ADMIN in record.scopes


def keys_are_made(incoming: Incoming) -> bool:
    """Has anybody ever made a key?"""
    return _configured(incoming)


def revocable(incoming: Incoming, exchange: Exchange) -> Exchange:
    """The exchange of a request, which ends when the key that it was begun with is revoked."""
    if incoming.record is None:
        return exchange
    return Revocable(exchange, incoming.state.keys, _keys(incoming), incoming.record)


def ticket(incoming: Incoming, session: str) -> str:
    """What the URL for messages needs besides its session: a client that put its key into the URL of the stream will
    not put it there."""
    if incoming.record is None:
        return ""
    by_query = keys.presented(incoming.header("Authorization"), incoming.header("X-API-Key"), None) is None
    return keys.ticket_of(incoming.record, session) if by_query else ""


# --- keys --------------------------------------------------------------------------------------------------


def _known_keys(incoming: Incoming) -> Keys | None:
    """As they are now, once for each request; None when they cannot be read."""
    if not incoming.keys_read:
        incoming.keys_read = True
        with suppress(KeysUnusable):
            incoming.keys = incoming.state.keys.keys()
    return incoming.keys


def _keys(incoming: Incoming) -> Keys:
    return _known_keys(incoming) or Keys(configured=True)


def _configured(incoming: Incoming) -> bool:
    return _keys(incoming).configured


def _require_key(incoming: Incoming, *scopes: str) -> Record:
    """A valid key with one of ``scopes``; what is said to others does not tell whether there is what they ask for."""
    record = _holder(incoming, _keys(incoming))
    if record is None and _presented(incoming) is None:
        text = "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        _refuse(incoming, Unauthorized(text), challenge.bearer())
    if record is None or not record.valid(time.time()):
        text = "the API key is not known, was revoked or has expired"
        _refuse(incoming, Unauthorized(text), challenge.bearer("invalid_token", text))
    if not set(scopes) & set(record.scopes):
        text = f"this API key has not the scope {scopes[0]!r}"
        _refuse(incoming, ScopeLacking(text), challenge.bearer("insufficient_scope", text, scopes[:1]))
    incoming.record = record
    return record


def _signed_in(incoming: Incoming) -> bool:
    """Has this browser signed in at the console (``access/signing_in.py``)? A key that is presented counts before."""
    if _presented(incoming) is not None or not (shown := forms.cookie(incoming)):
        return False
    record = signing_in.holder(_keys(incoming), shown, time.time())
    if record is None or ADMIN not in record.scopes:
        return False
    incoming.principal, incoming.record, incoming.cookie = record.name, record, shown
    return True


def _holder(incoming: Incoming, known: Keys) -> Record | None:
    key = _presented(incoming)
    if key is not None:
        return known.find(key)
    if incoming.operation == _MESSAGES and (shown := incoming.argument("ticket")):
        return known.holder(shown, incoming.argument("sessionId") or "")
    return None


def _presented(incoming: Incoming) -> str | None:
    by_query = incoming.argument("api_key")
    return keys.presented(incoming.header("Authorization"), incoming.header("X-API-Key"), by_query)


# --- endpoints ---------------------------------------------------------------------------------------------


def _enter(incoming: Incoming, endpoint: str) -> str:
    """The principal."""
    door = incoming.state.doors.policy().endpoints.get(endpoint)
    if door is None:
        if _configured(incoming):
            _require_key(incoming, endpoint, ADMIN)
        raise EndpointUnknown("there is no such endpoint")
    incoming.door = door
    if door.auth == "none" or _own_probe(incoming):
        return ANONYMOUS
    if door.auth == "api-key" or door.trust is None:
        return _require_key(incoming, endpoint).name
    return _by_token(incoming, endpoint, door.trust)


def _own_probe(incoming: Incoming) -> bool:
    """A check of the gateway's own, which has no key; only to the stream that is made for it."""
    shown = incoming.header(probing.HEADER)
    return bool(shown) and incoming.operation == _PROBE and probing.opens(_keys(incoming), shown or "", time.time())


def _by_token(incoming: Incoming, endpoint: str, trust: Trust) -> str:
    metadata = resource.metadata_url(incoming, endpoint)
    token = keys.bearer(incoming.header("Authorization"))
    if token is None:
        text = "this endpoint needs an access token: Authorization: Bearer TOKEN"
        _refuse(incoming, Unauthorized(text), challenge.bearer(scopes=trust.scopes, metadata=metadata))
    audiences = trust.audiences or resource.audiences(incoming, endpoint)
    return of_token(_subject(incoming, token, trust, audiences, metadata), trust.issuer)


def _subject(incoming: Incoming, token: str, trust: Trust, audiences: Sequence[str], metadata: str) -> str:
    from metamcp.access import tokens  # noqa: PLC0415  20 MiB, for those alone who take tokens

    try:
        return _judged(incoming, token, trust, audiences)
    except tokens.TokenInvalid as invalid:
        text = str(invalid)
        _refuse(incoming, Unauthorized(text), challenge.bearer("invalid_token", text, trust.scopes, metadata))
    except tokens.KeyUnknown:
        text = "the token is signed with a key that its issuer does not publish"
        _refuse(incoming, Unauthorized(text), challenge.bearer("invalid_token", text, trust.scopes, metadata))
    except tokens.ScopeLacking:
        text = f"the token lacks a scope; needed: {' '.join(trust.scopes)}"
        _refuse(incoming, ScopeLacking(text), challenge.bearer("insufficient_scope", text, trust.scopes, metadata))


def _judged(incoming: Incoming, token: str, trust: Trust, audiences: Sequence[str]) -> str:
    """By the keys that are at hand; where the right one is not among them, once more by those that there are then."""
    from metamcp.access import tokens  # noqa: PLC0415  likewise

    doors = incoming.state.doors
    try:
        return tokens.subject(token, doors.keys(trust.source) or (), trust, audiences)
    except tokens.KeyUnknown:
        doors.renew(trust.source)
    known = doors.keys(trust.source)
    if known is None:
        raise AccessUndecided("tokens cannot be checked: the keys of their issuer cannot be had; the log says why")
    return tokens.subject(token, known, trust, audiences)


# --- refusals ----------------------------------------------------------------------------------------------


def _refuse(incoming: Incoming, error: Unauthorized | ScopeLacking, header: str) -> NoReturn:
    incoming.challenge = header
    raise error


def challenge_of(incoming: Incoming, status: int) -> str:
    """WWW-Authenticate of the answer; "" for none. A 401 always says what it asks for (RFC 9110, 15.5.2), also one
    that the supervisor decided on."""
    return incoming.challenge or (challenge.bearer() if status == 401 else "")
