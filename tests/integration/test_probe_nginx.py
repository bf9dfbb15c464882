"""The probe streams through a real nginx, set up well and badly: what ``doctor`` and /docker-test/test say about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, free_port, process_server, running_gateway
from nginx import running_nginx

HELD = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
GZIP = "gzip on; gzip_min_length 0; gzip_proxied any; gzip_types text/event-stream;"
NGINX = {
    "held": f"proxy_http_version 1.0; {HELD}",  # of HTTP/1.1 it passes on each chunk
    "packed": f"proxy_http_version 1.1; {HELD} {GZIP}",
    "hasty": "proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 3s;",
}


@dataclass
class Site:
    gateway: GatewayProcess
    port: int
    key: str

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def doctor(self, *arguments: str, state: Path | None = None, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Its exit status and its findings, by name."""
        own = {
            "METAMCP_STATE_DIR": str(state or self.gateway.folder / "var"), "PYTHONPATH": str(ROOT),
            "METAMCP_CONFIG_DIR": str(self.gateway.folder / "config"),
        }  # fmt: skip
        argv = [sys.executable, "-m", "metamcp", "doctor", "--json", *arguments]
        done = subprocess.run(argv, cwd="/", env={**os.environ, **own, **env}, capture_output=True, timeout=60)
        assert done.stderr == b"", done.stderr.decode()
        document = json.loads(done.stdout)
        assert document["ok"] is (done.returncode == 0)
        for check in document["checks"]:
            assert check["hint"] or check["status"] != "fail", check
        return done.returncode, {check["name"]: check for check in document["checks"]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("probe")
    front = free_port()
    with running_gateway(
        folder, {"good": process_server("good")},
        namespaces={"all": {"servers": ["good"]}},
        endpoints={"open": {"namespace": "all", "auth": "none"}, "closed": {"namespace": "all", "auth": "api-key"}},
        env={"METAMCP_PUBLIC_URL": f"http://127.0.0.1:{front}", "DOCKER_HOST": f"unix://{folder}/nowhere.sock"},
        ready=False,
    ) as gateway:  # fmt: skip
        proxy = folder / "nginx"
        proxy.mkdir()
        port = int(gateway.url.rpartition(":")[2])
        with running_nginx(proxy, port, buffering=False, prefixes=NGINX, port=front):
            yield Site(gateway, front, key(folder / "var"))


def key(state: Path) -> str:
    """In force at once, so it is made when the gateway runs and was asked without."""
    argv = [sys.executable, "-m", "metamcp", "keys", "create", "ops", "--scope", "closed", "admin"]
    env = {**os.environ, "METAMCP_STATE_DIR": str(state)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


BOTH = ("--only", "proxy-buffering", "--only", "proxy-silence", "--silence", "2")


def test_a_proxy_that_lets_streams_through_passes(site: Site) -> None:
    status, found = site.doctor("--url", site.url("/metamcp/open/sse"), *BOTH)
    assert {name: check["status"] for name, check in found.items()} == {
        "proxy-buffering": "pass", "proxy-silence": "pass",
    }  # fmt: skip
    assert status == 0
    assert found["proxy-silence"]["seconds"] > 2 and "2 s of silence" in found["proxy-silence"]["detail"]


@pytest.mark.parametrize("name", ["held", "packed"])
def test_a_proxy_that_holds_events_back_is_noticed(site: Site, name: str) -> None:
    status, found = site.doctor("--url", site.url(f"/{name}/metamcp/open/sse"), "--only", "proxy-buffering")
    assert (status, found["proxy-buffering"]["status"]) == (1, "fail")
    assert "all at once" in found["proxy-buffering"]["detail"]
    assert "proxy_buffering off" in found["proxy-buffering"]["hint"]


def test_a_proxy_that_cuts_silence_is_noticed_with_its_seconds(site: Site) -> None:
    status, found = site.doctor("--url", site.url("/hasty/metamcp/open/mcp"), *BOTH[:4], "--silence", "5")
    assert status == 1 and found["proxy-buffering"]["status"] == "pass"
    assert found["proxy-silence"]["status"] == "fail"
    assert "the stream was cut after 3." in found["proxy-silence"]["detail"]
    assert "proxy_read_timeout" in found["proxy-silence"]["hint"]


def test_an_endpoint_with_keys_lets_the_gateways_own_doctor_in(site: Site, tmp_path: Path) -> None:
    path = ("--url", site.url("/metamcp/closed/sse"), "--only", "proxy-buffering")
    _, found = site.doctor(*path)
    assert found["proxy-buffering"]["status"] == "pass"
    _, found = site.doctor(*path, state=tmp_path)
    assert "answered 401" in found["proxy-buffering"]["detail"]
    assert "METAMCP_API_KEY" in found["proxy-buffering"]["hint"]
    _, found = site.doctor(*path, state=tmp_path, METAMCP_API_KEY=site.key)
    assert found["proxy-buffering"]["status"] == "pass"


def test_over_http_the_public_address_is_tried_and_no_other(site: Site) -> None:
    asked = f"{site.gateway.url}/docker-test/test?url={site.url('/held/sse')}&silence=2"
    answer = requests.get(asked, headers={"X-API-Key": site.key}, timeout=60)
    found = {check["name"]: check for check in answer.json()["checks"]}
    assert answer.status_code == 503 and found["socket"]["status"] == "fail"
    assert found["proxy-buffering"]["status"] == "pass", found["proxy-buffering"]
    assert found["proxy-silence"]["status"] == "skip" and "doctor --silence 65" in found["proxy-silence"]["detail"]
    log = (site.gateway.folder / "nginx" / "access.log").read_text()
    assert "/metamcp/closed/sse/probe" in log and "/held/sse" not in log
