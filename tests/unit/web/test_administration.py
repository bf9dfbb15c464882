"""The routes of administration: what they ask the supervisor, and who may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import AWAY, HEARTBEAT, SILENCE, FakeGateway, Open, application
from flask.testing import FlaskClient

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Record
from metamcp.gateway.interface import MAX_EDIT, ORDERS, Ask, Edit, Is, Outbound
from metamcp.web.application import create_app
from metamcp.web.state import WebState

KEY = keys.mint(b"k" * keys.KEY_BYTES)
HEADERS = {"X-API-Key": KEY}
BODY = b'{"command": "x"}'


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(Outbound(Is.ANSWER, b'{"done":true,"tag":"abc"}', 201))


@pytest.fixture
def http(gateway: FakeGateway, tmp_path: Path) -> FlaskClient:
    """Where there is a key of an operator, and one for an endpoint."""
    path = tmp_path / "access" / "keys.json"
    keyfile.rewrite(path, lambda records: records.append(Record("chief", keys.hash_of(KEY), ("admin",), 0)))
    hosts = frozenset({"localhost"})
    return create_app(WebState(gateway, hosts, hosts, KeyFile(path), Open(), heartbeat=HEARTBEAT)).test_client()


def sent(gateway: FakeGateway) -> Any:
    return gateway.requests[-1]


@pytest.mark.parametrize(
    ("method", "url", "subject", "edit"),
    [
        ("PUT", "/api/servers/git", "replace", Edit("servers", "git", "replace", BODY)),
        ("PATCH", "/api/namespaces/dev", "change", Edit("namespaces", "dev", "change", BODY)),
        ("DELETE", "/api/endpoints/dev", "delete", Edit("endpoints", "dev", "delete")),
        ("PUT", "/api/images/ghcr.io/a/*", "replace", Edit("images", "ghcr.io/a/*", "replace", BODY)),
        ("PATCH", "/api/servers/git?dry_run=true", "plan-change", Edit("servers", "git", "change", BODY)),
        ("PUT", "/api/images/a?before=b/*", "replace", Edit("images", "a", "replace", BODY, before="b/*")),
    ],
)
def test_a_change_goes_out_with_who_makes_it(
    http: FlaskClient, gateway: FakeGateway, method: str, url: str, subject: Any, edit: Edit
) -> None:
    answer = http.open(url, method=method, data=BODY, headers=HEADERS)
    assert (answer.status_code, answer.headers["ETag"], answer.headers["Cache-Control"]) == (201, '"abc"', "no-store")
    assert answer.json == {"done": True, "tag": "abc"}
    assert gateway.requests == [Ask(subject, f"{edit.of}/{edit.name}", "chief", "127.0.0.1", edit=edit)]
    assert (subject in ORDERS) == (subject != "plan-change")


@pytest.mark.parametrize(("of", "member"), [("servers", "name"), ("endpoints", "name"), ("images", "image")])
def test_what_is_new_has_its_name_in_the_body(http: FlaskClient, gateway: FakeGateway, of: Any, member: str) -> None:
    body = json.dumps({member: "new"}).encode()
    assert http.post(f"/api/{of}", data=body, headers=HEADERS).status_code == 201
    assert sent(gateway) == Ask("create", f"{of}/new", "chief", "127.0.0.1", edit=Edit(of, "new", "create", body))
    for broken in (b"", b"{}", b"[]", b'{"name": 5, "image": 5}', b"[" * 100_000, b"\xff"):
        assert http.post(f"/api/{of}", data=broken, headers=HEADERS).status_code == 400
    assert len(gateway.requests) == 1


def test_documents_leave_as_they_came(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (Outbound(Is.ANSWER, b'{"tag":"t","document":[{"name": "a"}]}'),)
    answer = http.get("/api/servers", headers=HEADERS)
    assert (answer.data, answer.headers["ETag"], answer.mimetype) == (b'[{"name": "a"}]', '"t"', "application/json")
    assert sent(gateway) == Ask("configured", "servers", edit=Edit("servers"))
    http.get("/api/images/a/b:1", headers=HEADERS)
    assert sent(gateway) == Ask("configured", "images/a/b:1", edit=Edit("images", "a/b:1"))
    gateway.items = (Outbound(Is.ANSWER, b'{"error":"x"}', 404),)
    answer = http.get("/api/servers/x", headers=HEADERS)
    assert (answer.status_code, answer.json, "ETag" in answer.headers) == (404, {"error": "x"}, False)


@pytest.mark.parametrize(
    ("header", "tags"),
    [('"a"', ("a",)), ('"b", W/"a"', ("b",)), ("*", ()), (None, ()), ("", None), ('W/"a"', None)],
)
def test_tags(http: FlaskClient, gateway: FakeGateway, header: Any, tags: Any) -> None:
    headers = HEADERS | ({} if header is None else {"If-Match": header})
    answer = http.delete("/api/servers/a", headers=headers)
    assert answer.status_code == (400 if tags is None else 201)
    if tags is not None:
        assert sent(gateway).edit.tags == tags


def test_a_body_is_bounded_whether_its_length_is_told_or_not(http: FlaskClient, gateway: FakeGateway) -> None:
    assert http.put("/api/servers/a", data=b" " * (MAX_EDIT + 1), headers=HEADERS).status_code == 413
    assert http.put("/api/servers/a", data=b" " * MAX_EDIT, headers=HEADERS).status_code == 201
    assert len(gateway.requests) == 1


def test_keys(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (Outbound(Is.ANSWER, b'{"document":[]}'),)
    assert http.get("/api/keys", headers=HEADERS).data == b"[]"
    wish = b'{"name": "laptop", "scopes": ["dev"]}'
    http.post("/api/keys", data=wish, headers=HEADERS)
    assert sent(gateway) == Ask("create-key", "laptop", "chief", "127.0.0.1", edit=Edit("keys", body=wish))
    http.delete("/api/keys/0badcafe", headers=HEADERS)
    assert sent(gateway) == Ask("revoke-key", "0badcafe", "chief", "127.0.0.1", edit=Edit("keys", "0badcafe"))


CHANGES = [
    ("POST", "/api/servers"), ("PUT", "/api/servers/a"), ("PATCH", "/api/namespaces/a"), ("DELETE", "/api/endpoints/a"),
    ("DELETE", "/api/images/a"), ("POST", "/api/keys"), ("DELETE", "/api/keys/a"),
    ("PUT", "/api/images/a?dry_run=true"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url"), CHANGES)
def test_without_any_key_nothing_is_changed(gateway: FakeGateway, method: str, url: str) -> None:
    answer = application(gateway).test_client().open(url, method=method, data=b'{"name":"a"}')
    assert answer.status_code == 403 and "keys create" in answer.json["error"]["message"]
    assert gateway.requests == []


@pytest.mark.parametrize(("method", "url"), [*CHANGES, ("GET", "/api/servers"), ("GET", "/api/keys")])
def test_whoever_has_no_key_or_comes_from_elsewhere_is_refused(
    http: FlaskClient, gateway: FakeGateway, method: str, url: str
) -> None:
    assert http.open(url, method=method, data=BODY).status_code == 401
    if method != "GET":
        foreign = {**HEADERS, "Origin": "https://evil.example"}
        assert http.open(url, method=method, data=BODY, headers=foreign).status_code == 403
    assert gateway.requests == []


def test_a_supervisor_that_is_away_or_silent_is_503(http: FlaskClient, gateway: FakeGateway) -> None:
    for item in (AWAY, SILENCE):
        gateway.items = (item,)
        assert http.get("/api/servers", headers=HEADERS).status_code == 503
        assert http.delete("/api/servers/a", headers=HEADERS).status_code == 503
