"""The probe stream: its events and its silence, and who may have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, chunks
from flask import Flask

from metamcp.access import keyfile, probing
from metamcp.access.keys import Record, hash_of, mint
from metamcp.access.policy import Door, Policy
from metamcp.web.application import create_app
from metamcp.web.state import MOST_PROBES, WebState, web_state

KEY = mint(b"p" * 32)


class Doors:
    def policy(self) -> Policy:
        return Policy({"default": Door("none"), "dev": Door("api-key")})

    def keys(self, source: str) -> None:
        raise AssertionError(source)

    renew = keys


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    path = keyfile.path_in(tmp_path)
    keyfile.rewrite(path, lambda records: records.append(Record("ops", hash_of(KEY), ("dev",), 1)))
    hosts = frozenset({"localhost"})
    return create_app(WebState(FakeGateway(), hosts, hosts, keyfile.KeyFile(path), Doors(), heartbeat=0.02))


@pytest.mark.parametrize("path", ["/sse/probe", "/mcp/probe", "/metamcp/default/sse/probe"])
def test_events_come_after_their_silence_and_nothing_in_between(app: Flask, path: str) -> None:
    begun = time.monotonic()
    response = app.test_client().get(f"{path}?events=3&every=0.1")
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert list(chunks(response)) == [b'event: probe\ndata: {"number":%d}\n\n' % number for number in range(3)]
    assert time.monotonic() - begun >= 0.2


def test_it_is_not_told_to_the_supervisor(app: Flask) -> None:
    app.test_client().get("/sse/probe?events=2&every=0.01").get_data()
    gateway = web_state(app).gateway
    assert isinstance(gateway, FakeGateway) and gateway.requests == []


@pytest.mark.parametrize(
    "query", ["", "events=3", "events=1&every=1", "events=11&every=1", "events=2&every=0", "events=2&every=901",
              "events=3&every=600", "events=2&every=nan", "events=x&every=1", "events=2&every=-1"],
)  # fmt: skip
def test_what_is_out_of_bounds_is_400(app: Flask, query: str) -> None:
    assert app.test_client().get(f"/sse/probe?{query}").status_code == 400


def test_only_so_many_at_once(app: Flask) -> None:
    http = app.test_client()
    streams = [http.get("/sse/probe?events=2&every=30") for _ in range(MOST_PROBES)]
    refused = http.get("/sse/probe?events=2&every=30")
    assert refused.status_code == 429 and refused.get_json()["error"]["data"]["limit"] == "probes"
    for stream in streams:
        stream.close()
        stream.close()
    assert http.get("/sse/probe?events=2&every=0.01").status_code == 200


def test_a_worker_that_ends_ends_its_probes(app: Flask) -> None:
    response = app.test_client().get("/sse/probe?events=2&every=60")
    body: Iterator[bytes] = chunks(response)
    next(body)
    threading.Timer(0.05, web_state(app).streams.drain).start()
    assert list(body) == []
    response.close()


def test_head_opens_nothing(app: Flask) -> None:
    http = app.test_client()
    for _ in range(MOST_PROBES + 1):
        assert http.head("/sse/probe?events=2&every=30").status_code == 200


def test_an_endpoint_asks_of_a_probe_what_it_asks_of_a_stream(app: Flask) -> None:
    http, path = app.test_client(), "/metamcp/dev/sse/probe?events=2&every=0.01"
    assert http.get(path).status_code == 401
    assert http.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert http.get("/metamcp/nope/sse/probe?events=2&every=0.01").status_code == 401


def test_a_ticket_opens_the_probe_and_nothing_else(app: Flask) -> None:
    http = app.test_client()
    headers = {probing.HEADER: probing.ticket(web_state(app).keys.keys(), time.time())}
    assert http.get("/metamcp/dev/sse/probe?events=2&every=0.01", headers=headers).status_code == 200
    assert http.get("/metamcp/nope/sse/probe?events=2&every=0.01", headers=headers).status_code == 401
    assert http.get("/metamcp/dev/sse", headers=headers).status_code == 401
    assert http.get("/docker-test/check", headers=headers).status_code == 401
    forged = {probing.HEADER: headers[probing.HEADER][:-1] + "x"}
    assert http.get("/metamcp/dev/sse/probe?events=2&every=0.01", headers=forged).status_code == 401
