"""The operators' routes below /api: what they ask the supervisor, and how its answers leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_gateway import AWAY, HEARTBEAT, OPENED, SILENCE, FakeGateway, Open, answer, application, chunks
from flask.testing import FlaskClient

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Record
from metamcp.gateway.interface import Ask, Is, Lines, Outbound
from metamcp.web.application import create_app
from metamcp.web.state import WebState

ORDERS = ("restart", "stop", "wake", "reset", "accept-image")
DOCUMENTS = {
    "/api/calls": Ask("calls"), "/api/history": Ask("history"), "/api/endpoints": Ask("endpoints"),
    "/api/endpoints/dev/catalog": Ask("catalog", "dev"),
}  # fmt: skip
STREAMS = ("/api/events", "/api/servers/git/stderr")


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answer(b'{"done":true}'))


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


@pytest.mark.parametrize("url", DOCUMENTS)
def test_documents_are_the_supervisors(http: FlaskClient, gateway: FakeGateway, url: str) -> None:
    response = http.get(url)
    assert (response.status_code, response.mimetype, response.data) == (200, "application/json", b'{"done":true}')
    assert gateway.requests == [DOCUMENTS[url]] and gateway.exchanges[0].closed
    assert http.post(url).status_code == (403 if url == "/api/endpoints" else 405)


@pytest.mark.parametrize("order", ORDERS)
def test_orders_go_out_with_who_gives_them(http: FlaskClient, gateway: FakeGateway, order: str) -> None:
    url = f"/api/servers/git/{order}"
    assert http.post(url).json == {"done": True}
    assert gateway.requests == [Ask(order, "git", "anonymous", "127.0.0.1")]  # type: ignore[arg-type]
    assert http.get(url).status_code == 405, "what is only looked at changes nothing"


def test_a_reload_is_about_no_server(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (Outbound(Is.ANSWER, b'{"error":"x","problems":[]}', 422),)
    assert http.post("/api/reload").status_code == 422
    assert gateway.requests == [Ask("reload", "", "anonymous", "127.0.0.1")]


def test_orders_of_foreign_pages_are_refused(http: FlaskClient, gateway: FakeGateway) -> None:
    response = http.post("/api/servers/git/stop", headers={"Origin": "https://evil.example"})
    assert response.status_code == 403 and gateway.requests == []


def test_a_supervisor_that_is_away_is_503_everywhere(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (AWAY,)
    found = [http.get(url) for url in (*DOCUMENTS, *STREAMS)] + [http.post("/api/reload")]
    assert [response.status_code for response in found] == [503] * len(found)
    assert {response.json["error"]["message"] for response in found} == {"the supervisor is not reachable"}
    gateway.items = (SILENCE,)
    for url in STREAMS:
        response = http.get(url)
        assert response.status_code == 503 and "did not answer" in response.json["error"]["message"]
        assert gateway.exchanges[-1].closed


# --- streams -----------------------------------------------------------------------------------------------


def test_events_have_the_names_of_their_documents(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (OPENED, Outbound(Is.EVENT, b'status {"a":"b c"}'), SILENCE, Outbound(Is.EVENT, b"calls {}"))
    response = http.get("/api/events")
    assert response.mimetype == "text/event-stream" and response.headers["X-Accel-Buffering"] == "no"
    assert list(chunks(response)) == [
        b"retry: 1000\n\n", b'event: status\ndata: {"a":"b c"}\n\n', b": heartbeat\n\n", b"event: calls\ndata: {}\n\n",
    ]  # fmt: skip
    assert gateway.requests == [Ask("events")] and HEARTBEAT in gateway.exchanges[0].timeouts


def test_a_supervisor_that_is_lost_ends_the_stream_without_an_event(http: FlaskClient, gateway: FakeGateway) -> None:
    for url in STREAMS:
        gateway.items = (OPENED, AWAY)
        assert all(piece.startswith((b":", b"retry")) for piece in chunks(http.get(url)))


def test_lines_have_their_numbers(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (OPENED, Outbound(Is.EVENT, b'{"line":"one"}', number=17), Outbound(Is.ENDED))
    response = http.get("/api/servers/git/stderr")
    assert list(chunks(response))[1:] == [b'event: message\nid: 17\ndata: {"line":"one"}\n\n']
    assert gateway.requests == [Ask("stderr", "git", lines=Lines())]


@pytest.mark.parametrize(
    ("query", "last", "expected"),
    [
        ("", "17", Lines(after=17)),
        ("?tail=5", "", Lines(tail=5)),
        ("?tail=0&follow=false", "", Lines(tail=0, follow=False)),
        ("", "a-2:3", Lines()),
        ("", "-1", Lines()),
        ("", "9" * 400, Lines()),
    ],
)
def test_which_lines_are_wanted(
    http: FlaskClient, gateway: FakeGateway, query: str, last: str, expected: Lines
) -> None:
    gateway.items = (OPENED,)
    http.get(f"/api/servers/git/stderr{query}", headers={"Last-Event-ID": last} if last else {}).close()
    assert gateway.requests == [Ask("stderr", "git", lines=expected)]


@pytest.mark.parametrize("query", ["?tail=x", "?tail=-1", "?tail=1001", "?follow=maybe", "?tail=\u0663"])
def test_what_cannot_be_wanted_is_400(http: FlaskClient, gateway: FakeGateway, query: str) -> None:
    assert http.get(f"/api/servers/git/stderr{query}").status_code == 400
    assert gateway.requests == []


def test_a_server_that_there_is_not_is_the_supervisors_404(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (Outbound(Is.ANSWER, b'{"error":"there is no server"}', 404),)
    response = http.get("/api/servers/nobody/stderr")
    assert (response.status_code, response.json) == (404, {"error": "there is no server"})
    assert gateway.exchanges[0].closed


def test_head_of_a_stream_asks_nothing(http: FlaskClient, gateway: FakeGateway) -> None:
    for url in STREAMS:
        assert http.head(url).status_code == 200
    assert gateway.requests == []


# --- who may ------------------------------------------------------------------------------------------------

KEYS = {"operator": ("admin",), "laptop": ("dev",)}


def with_keys(gateway: FakeGateway, folder: Path) -> tuple[FlaskClient, dict[str, str]]:
    minted = {name: keys.mint(name.encode().ljust(32)) for name in KEYS}
    path = keyfile.path_in(folder)
    for name, scopes in KEYS.items():
        made = Record(name, keys.hash_of(minted[name]), scopes, 1)
        keyfile.rewrite(path, lambda records, made=made: records.append(made))  # type: ignore[misc]
    hosts = frozenset({"localhost"})
    app = create_app(WebState(gateway, hosts, hosts, KeyFile(path), Open(), heartbeat=HEARTBEAT))
    return app.test_client(), minted


def test_only_operators_may_ask_and_order_and_it_is_said_who(gateway: FakeGateway, tmp_path: Path) -> None:
    http, minted = with_keys(gateway, tmp_path)
    reads = [*DOCUMENTS, *STREAMS]
    writes = ["/api/reload", *(f"/api/servers/git/{order}" for order in ORDERS)]
    for key, expected in ((None, 401), (minted["laptop"], 403)):
        headers = {"X-API-Key": key} if key else {}
        found = [http.get(url, headers=headers) for url in reads] + [http.post(url, headers=headers) for url in writes]
        assert {response.status_code for response in found} == {expected}
    assert gateway.requests == []
    http.post("/api/servers/git/stop", headers={"X-API-Key": minted["operator"]})
    assert gateway.requests == [Ask("stop", "git", "operator", "127.0.0.1")]
    assert [json.loads(http.get(url, headers={"X-API-Key": minted["operator"]}).data) for url in DOCUMENTS]


def test_a_stream_ends_with_the_key_that_opened_it(gateway: FakeGateway, tmp_path: Path) -> None:
    http, minted = with_keys(gateway, tmp_path)
    gateway.items = (OPENED, *(Outbound(Is.EVENT, b'status {"n":1}') for _ in range(100)))
    pieces = chunks(http.get("/api/events", headers={"X-API-Key": minted["operator"]}))
    assert next(pieces).startswith(b"retry") and next(pieces).startswith(b"event: status")
    keyfile.rewrite(keyfile.path_in(tmp_path), lambda records: records.clear())
    assert list(pieces) == []
