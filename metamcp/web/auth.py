"""Who is calling, by a name that is ours (MCP, Transports, Security Warning), and whether they may enter.

A route that says nothing about itself is the operators': it needs a key with the scope ``admin`` once there are keys.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn, cast

from flask import Flask, Response, g, request

from metamcp.access import challenge, keys, probing
from metamcp.access.keys import ADMIN, Keys, KeysUnusable, Record
from metamcp.access.policy import Trust
from metamcp.access.principal import ANONYMOUS, of_token
from metamcp.config.settings import LOOPBACK_HOSTS
from metamcp.errors import AccessUndecided, EndpointUnknown, ScopeLacking, Unauthorized
from metamcp.gateway.interface import Exchange
from metamcp.protocol import http_rules
from metamcp.web import resource
from metamcp.web.revocable import Revocable
from metamcp.web.state import web_state

OPEN = frozenset({"ops.health", "ops.ready", "well_known.metadata"})
"""Views for everybody; ``/ready`` says its reasons to operators alone."""

_MESSAGES, _PROBE = "sse.message", "probe.stream"
_KEYS, _HOLDER, _CHALLENGE, _PRINCIPAL = "metamcp_keys", "metamcp_holder", "metamcp_challenge", "metamcp_principal"


def register(app: Flask) -> None:
    """After the answer to preflights: a browser sends no key with its first question."""
    app.before_request(admit)
    app.after_request(_challenge)


def check_origin() -> None:
    """Before every request. Raises RequestRefused (403), MisdirectedRequest (421), or AccessUndecided (503)."""
    state = web_state()
    known = _known_keys()
    host = request.headers.get("Host")
    if known is not None and not known.configured:
        http_rules.check_host_without_keys(host, state.allowed_hosts, LOOPBACK_HOSTS)
    else:
        http_rules.check_host(host, state.allowed_hosts)
    http_rules.check_origin(request.headers.get("Origin"), state.allowed_origins)
    if known is None and request.endpoint != "ops.health":
        raise AccessUndecided("the gateway cannot read its API keys and refuses everybody; its log says why")


def admit() -> None:
    """Before every view. Raises Unauthorized (401), ScopeLacking (403), EndpointUnknown (404), AccessUndecided or
    SupervisorAway (503)."""
    if request.url_rule is None or request.endpoint in OPEN:
        return
    endpoint = (request.view_args or {}).get("endpoint")
    if endpoint is not None:
        setattr(g, _PRINCIPAL, _enter(endpoint))
    elif _configured():
        _require_key(ADMIN)


def principal() -> str:
    """The name that sessions are bound to; nobody's, as long as it was not found out or the request was refused."""
    return cast("str", g.get(_PRINCIPAL, ANONYMOUS))


def is_operator() -> bool:
    """May the caller see what is inside? Everybody, as long as there are no keys."""
    if not _configured():
        return True
    record = _holder(_keys())
    return record is not None and record.valid(time.time()) and ADMIN in record.scopes


def revocable(exchange: Exchange) -> Exchange:
    """The exchange of the present request, which ends when the key that it was begun with is revoked."""
    record = cast("Record | None", getattr(g, _HOLDER, None))
    return exchange if record is None else Revocable(exchange, web_state().keys, _keys(), record)


def ticket(session: str) -> str:
    """What the URL for messages needs besides its session: a client that put its key into the URL of the stream will
    not put it there."""
    record = cast("Record | None", getattr(g, _HOLDER, None))
    by_query = keys.presented(request.headers.get("Authorization"), request.headers.get("X-API-Key"), None) is None
    return keys.ticket_of(record, session) if record is not None and by_query else ""


# --- keys --------------------------------------------------------------------------------------------------


def _known_keys() -> Keys | None:
    """As they are now, once for each request; None when they cannot be read."""
    if not hasattr(g, _KEYS):
        try:
            setattr(g, _KEYS, web_state().keys.keys())
        except KeysUnusable:
            setattr(g, _KEYS, None)
    return cast("Keys | None", getattr(g, _KEYS))


def _keys() -> Keys:
    return _known_keys() or Keys(configured=True)


def _configured() -> bool:
    return _keys().configured


def _require_key(*scopes: str) -> Record:
    """A valid key with one of ``scopes``; what is said to others does not tell whether there is what they ask for."""
    record = _holder(_keys())
    if record is None and _presented() is None:
        _refuse(Unauthorized("an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"), challenge.bearer())
    if record is None or not record.valid(time.time()):
        text = "the API key is not known, was revoked or has expired"
        _refuse(Unauthorized(text), challenge.bearer("invalid_token", text))
    if not set(scopes) & set(record.scopes):
        text = f"this API key has not the scope {scopes[0]!r}"
        _refuse(ScopeLacking(text), challenge.bearer("insufficient_scope", text, scopes[:1]))
    setattr(g, _HOLDER, record)
    return record


def _holder(known: Keys) -> Record | None:
    key = _presented()
    if key is not None:
        return known.find(key)
    if request.endpoint == _MESSAGES and (shown := request.args.get("ticket")):
        return known.holder(shown, request.args.get("sessionId", ""))
    return None


def _presented() -> str | None:
    headers = request.headers
    return keys.presented(headers.get("Authorization"), headers.get("X-API-Key"), request.args.get("api_key"))


# --- endpoints ---------------------------------------------------------------------------------------------


def _enter(endpoint: str) -> str:
    """The principal."""
    door = web_state().doors.policy().endpoints.get(endpoint)
    if door is None:
        if _configured():
            _require_key(endpoint, ADMIN)
        raise EndpointUnknown("there is no such endpoint")
    if door.auth == "none" or _own_probe():
        return ANONYMOUS
    if door.auth == "api-key" or door.trust is None:
        return _require_key(endpoint).name
    return _by_token(endpoint, door.trust)


def _own_probe() -> bool:
    """A check of the gateway's own, which has no key; only to the stream that is made for it."""
    shown = request.headers.get(probing.HEADER)
    return bool(shown) and request.endpoint == _PROBE and probing.opens(_keys(), shown or "", time.time())


def _by_token(endpoint: str, trust: Trust) -> str:
    metadata = resource.metadata_url(endpoint)
    token = keys.bearer(request.headers.get("Authorization"))
    if token is None:
        text = "this endpoint needs an access token: Authorization: Bearer TOKEN"
        _refuse(Unauthorized(text), challenge.bearer(scopes=trust.scopes, metadata=metadata))
    subject = _subject(token, trust, trust.audiences or resource.audiences(endpoint), metadata)
    return of_token(subject, trust.issuer)


def _subject(token: str, trust: Trust, audiences: Sequence[str], metadata: str) -> str:
    from metamcp.access import tokens  # noqa: PLC0415  20 MiB, for those alone who take tokens

    try:
        return _judged(token, trust, audiences)
    except tokens.TokenInvalid as invalid:
        text = str(invalid)
        _refuse(Unauthorized(text), challenge.bearer("invalid_token", text, trust.scopes, metadata))
    except tokens.KeyUnknown:
        text = "the token is signed with a key that its issuer does not publish"
        _refuse(Unauthorized(text), challenge.bearer("invalid_token", text, trust.scopes, metadata))
    except tokens.ScopeLacking:
        text = f"the token lacks a scope; needed: {' '.join(trust.scopes)}"
        _refuse(ScopeLacking(text), challenge.bearer("insufficient_scope", text, trust.scopes, metadata))


def _judged(token: str, trust: Trust, audiences: Sequence[str]) -> str:
    """By the keys that are at hand; where the right one is not among them, once more by those that there are then."""
    from metamcp.access import tokens  # noqa: PLC0415  likewise

    doors = web_state().doors
    try:
        return tokens.subject(token, doors.keys(trust.source) or (), trust, audiences)
    except tokens.KeyUnknown:
        doors.renew(trust.source)
    known = doors.keys(trust.source)
    if known is None:
        raise AccessUndecided("tokens cannot be checked: the keys of their issuer cannot be had; the log says why")
    return tokens.subject(token, known, trust, audiences)


# --- refusals ----------------------------------------------------------------------------------------------


def _refuse(error: Unauthorized | ScopeLacking, header: str) -> NoReturn:
    setattr(g, _CHALLENGE, header)
    raise error


def _challenge(response: Response) -> Response:
    """A 401 always says what it asks for (RFC 9110, 15.5.2), also one that the supervisor decided on."""
    known = getattr(g, _CHALLENGE, "")
    if known or response.status_code == 401:
        response.headers["WWW-Authenticate"] = known or challenge.bearer()
    return response
