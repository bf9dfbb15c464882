"""The configuration and the API keys over HTTP (docs/administration.md): routes. The supervisor judges and writes."""

from __future__ import annotations

from functools import partial
from typing import Literal

import msgspec
from flask import Blueprint, Response
from werkzeug.http import parse_etags

from metamcp.errors import InvalidRequest, ScopeLacking, TooLarge
from metamcp.gateway.interface import MAX_EDIT, Ask, Edit, Is, Outbound, Subject
from metamcp.protocol.http_rules import JSON
from metamcp.web import auth, caller
from metamcp.web.incoming import Incoming
from metamcp.web.operator import put
from metamcp.web.present import incoming
from metamcp.web.reading import read_body

_SECONDS = 30.0  # a file system may have to be asked, and others before

Of = Literal["servers", "namespaces", "endpoints", "images"]
How = Literal["create", "replace", "change", "delete"]

_HOW: dict[str, How] = {"POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}
_COLLECTIONS: tuple[Of, ...] = ("servers", "namespaces", "endpoints", "images")

blueprint = Blueprint("administration", __name__)


class _Told(msgspec.Struct):
    """An answer of the supervisor: the tag of the file, and what was asked for, where that is not all of it."""

    tag: str = ""
    document: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct):
    name: str = ""
    image: str = ""


_told = msgspec.json.Decoder(_Told)
_named = msgspec.json.Decoder(_Named)


def _all(of: Of) -> Response:
    """Each with its name, as it is written, secrets veiled."""
    return _answer(put(Ask("configured", of, edit=Edit(of)), _SECONDS))


def _one(of: Of, name: str) -> Response:
    return _answer(put(Ask("configured", f"{of}/{name}", edit=Edit(of, name)), _SECONDS))


def _create(of: Of) -> Response:
    asked = permitted()
    body = _body(asked)
    return _edit(asked, of, _name_in(body, "image" if of == "images" else "name"), body)


def _change(of: Of, name: str) -> Response:
    asked = permitted()
    return _edit(asked, of, name, b"" if asked.method == "DELETE" else _body(asked))


def _edit(asked: Incoming, of: Of, name: str, body: bytes) -> Response:
    how = _HOW[asked.method]
    edit = Edit(of, name, how, body, _tags(asked), asked.argument("before") or "")
    return _answer(give("plan-change" if _dry(asked) else how, f"{of}/{name}", edit))


for _of in _COLLECTIONS:
    _item = f"/api/{_of}/<{'path:' if _of == 'images' else ''}name>"
    if _of != "endpoints":  # with what clients find there: ops.endpoints
        blueprint.add_url_rule(f"/api/{_of}", _of, partial(_all, _of), methods=["GET"])
    blueprint.add_url_rule(f"/api/{_of}", f"{_of}_create", partial(_create, _of), methods=["POST"])
    blueprint.add_url_rule(_item, f"{_of}_one", partial(_one, _of), methods=["GET"])
    blueprint.add_url_rule(_item, f"{_of}_change", partial(_change, _of), methods=["PUT", "PATCH", "DELETE"])


# --- keys --------------------------------------------------------------------------------------------------


@blueprint.get("/api/keys")
def keys() -> Response:
    """Names, ids and scopes; never a key."""
    return _answer(put(Ask("keys"), _SECONDS))


@blueprint.post("/api/keys")
def create_key() -> Response:
    """The only answer that ever has the key."""
    body = _body(permitted())
    return _answer(give("create-key", _name_in(body, "name"), Edit("keys", body=body)))


@blueprint.delete("/api/keys/<identifier>")
def revoke_key(identifier: str) -> Response:
    permitted()
    return _answer(give("revoke-key", identifier, Edit("keys", identifier)))


# --- what they have in common ------------------------------------------------------------------------------


def permitted() -> Incoming:
    """Raises ScopeLacking. As long as there is no key, whoever reaches this machine's loopback is an operator: enough
    to look and to stop, and too little to have any program run as the gateway's user."""
    asked = incoming()
    if not auth.keys_are_made(asked):
        text = "a change needs a key with the scope 'admin', and there is none yet: python -m metamcp keys create"
        raise ScopeLacking(f"{text} NAME --scope admin")
    return asked


def give(subject: Subject, about: str, edit: Edit) -> Outbound:
    """The order, or the question what would come of it, in the name of whoever sends the present request, who must have
    been found ``permitted``."""
    client = caller.client(incoming(), "", "http")
    return put(Ask(subject, about, client.principal, client.address, edit=edit), _SECONDS)


def _answer(found: Outbound) -> Response:
    told = _told.decode(found.data) if found.kind == Is.ANSWER else _Told()
    response = Response(bytes(told.document) or found.data, found.status, mimetype=JSON)
    response.headers["Cache-Control"] = "no-store"
    if told.tag:
        response.set_etag(told.tag)
    return response


def _body(asked: Incoming) -> bytes:
    """Raises TooLarge, and what ``read_body`` raises."""
    length = asked.environ.get("CONTENT_LENGTH") or "0"
    body = read_body(asked) if not length.isdigit() or int(length) <= MAX_EDIT else b""
    if (not body and length != "0") or len(body) > MAX_EDIT:
        raise TooLarge(f"a change has at most {MAX_EDIT // 1024} KiB")
    return body


def _name_in(body: bytes, member: Literal["name", "image"]) -> str:
    """Raises InvalidRequest."""
    try:
        found = _named.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found = _Named()
    if not (name := found.image if member == "image" else found.name):
        raise InvalidRequest(f"the body must be a JSON object with the text {member!r}")
    return name


def _tags(asked: Incoming) -> tuple[str, ...]:
    """Of ``If-Match``; none where any file will do. Raises InvalidRequest."""
    header = asked.header("If-Match")
    if header is None:
        return ()
    found = parse_etags(header)
    if not found.star_tag and not found.as_set():
        raise InvalidRequest("If-Match must have the ETag of an answer, in quotes")
    return () if found.star_tag else tuple(sorted(found.as_set()))


def _dry(asked: Incoming) -> bool:
    """Raises InvalidRequest."""
    value = asked.argument("dry_run") or "false"
    if value not in ("true", "false"):
        raise InvalidRequest("the query parameter dry_run must be true or false")
    return value == "true"
