"""Tools as REST: a real gateway, called by hand, and by schemathesis as its own document says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway
from hypothesis import HealthCheck, given, settings
from metrics_page import Page
from openapi_spec_validator import OpenAPIV31SpecValidator
from operators import Operator
from schemathesis import GenerationMode, checks

SCHEMAS = {"command": sys.executable, "args": ["-I", "-S", str(ROOT / "tests" / "servers" / "schemas.py")]}
ENDPOINTS = {"default": {"namespace": "default"}, "closed": {"namespace": "default", "auth": "api-key"}}
SECONDS = 30.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    records = tmp_path_factory.mktemp("records") / "records"
    servers = {
        "s": SCHEMAS,
        "good": process_server("good", env={"MISBEHAVING_RECORDS": str(records)}),
        "falls": process_server("crash-on-call", "7"),
        "hangs": process_server("hang-on-call", timeouts={"start": 10, "call": 1, "total": 10}),
        "gone": process_server("exit-at-start", "4"),
    }
    with running_gateway(tmp_path_factory.mktemp("rest"), servers, ready=False, endpoints=ENDPOINTS) as running:
        names = {"s__sum", "good__echo", "falls__echo", "hangs__echo"}
        eventually(lambda: names <= {tool["name"] for tool in listed(running)}, "the servers are known", SECONDS)
        yield running


def listed(gateway: GatewayProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.get("/metamcp/default/api", timeout=SECONDS).json().get("tools", [])
    return found


def document(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/metamcp/default/api/openapi.json").json()
    return found


def call(gateway: GatewayProcess, tool: str, endpoint: str = "default", **options: Any) -> requests.Response:
    url = f"{gateway.url}/metamcp/{endpoint}/api/{tool}"
    return requests.post(url, timeout=options.pop("timeout", SECONDS), **options)


def problem(response: requests.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    found = response.json()
    assert found["status"] == response.status_code
    return found["status"], found["detail"]


# --- by hand -----------------------------------------------------------------------------------------------


def test_document_is_valid_and_its_addresses_work(gateway: GatewayProcess) -> None:
    made = document(gateway)
    OpenAPIV31SpecValidator(made).validate()
    (server,) = made["servers"]
    assert server["url"] == f"{gateway.url}/metamcp/default/api"
    (odd,) = [path for path in made["paths"] if "braces" in path]
    answer = requests.post(server["url"] + odd, timeout=SECONDS)
    assert (answer.status_code, answer.json()) == (200, "called")


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("s__sum", {"numbers": [1, 2]}, {"sum": 3}),
        ("s__tree", {"root": {"name": "é", "children": []}}, {"root": {"name": "é", "children": []}}),
        ("s__pair", {}, ["a", [1]]),
        ("s__picture", None, "data:image/png;base64,aGk="),
        ("good__echo", {"text": "Hello"}, "Hello"),
        ("good__progress", {"n": 2, "ms": 1}, "2 steps"),
    ],
)
def test_call_is_answered_with_what_the_tool_says(
    gateway: GatewayProcess, tool: str, arguments: Any, expected: Any
) -> None:
    answer = call(gateway, tool, json=arguments) if arguments is not None else call(gateway, tool)
    assert (answer.status_code, answer.json()) == (200, expected)


def test_error_of_a_tool_and_errors_of_others_differ(gateway: GatewayProcess) -> None:
    assert problem(call(gateway, "s__fails")) == (422, "it is broken\ntry later")
    status, detail = problem(call(gateway, "s__nothing"))
    assert status == 404 and "s__nothing" in detail
    status, detail = problem(call(gateway, "falls__echo", json={"text": "a"}))
    assert status == 502 and "7" in detail
    assert problem(call(gateway, "hangs__echo", json={"text": "a"}))[0] == 504
    assert problem(call(gateway, "gone__echo", json={"text": "a"}))[0] == 503
    assert problem(call(gateway, "good__echo", data=b"[]", headers={"Content-Type": "application/json"}))[0] == 400


def test_tool_that_asks_is_told_that_nobody_is_there(gateway: GatewayProcess) -> None:
    assert problem(call(gateway, "s__asks"))[0] == 501


def test_client_that_hangs_up_has_cancelled_its_call(gateway: GatewayProcess) -> None:
    with pytest.raises(requests.Timeout):
        call(gateway, "good__sleep", json={"ms": 20_000}, timeout=1)

    def told() -> bool:
        counted: dict[str, int] = call(gateway, "good__tally").json()
        return counted.get("cancelled", 0) > 0

    eventually(told, "the server was told")


def test_calls_are_audited_counted_and_named(gateway: GatewayProcess) -> None:
    answer = call(gateway, "good__echo", json={"text": "a"}, headers={"X-Request-ID": "rest-test-1"})
    assert answer.headers["X-Request-ID"] == "rest-test-1"
    audit = gateway.folder / "var" / "audit.jsonl"

    def lines() -> list[dict[str, Any]]:
        written = [json.loads(line) for line in audit.read_text().splitlines()]
        return [it for it in written if it.get("request") == "rest-test-1"]

    eventually(lambda: bool(lines()), "the line of the audit log")
    (line,) = lines()
    assert (line["transport"], line["server"], line["tool"], line["decision"]) == ("rest", "good", "echo", "allowed")
    page = gateway.get("/metrics").text
    assert Page(page).sum("metamcp_http_requests_total", route="rest", status="2xx") > 0


# --- as the document says ----------------------------------------------------------------------------------


def test_gateway_does_what_its_document_says(gateway: GatewayProcess) -> None:
    made = document(gateway)
    never = ("fails", "asks")  # whatever their arguments are
    made["paths"] = {
        path: it for path, it in made["paths"].items() if path.startswith("/s__") and not path.endswith(never)
    }
    assert len(made["paths"]) == 5
    schema = schemathesis.openapi.from_dict(made)
    schema.config.update(base_url=made["servers"][0]["url"])
    operations = [found.ok() for found in schema.get_all_operations()]
    right = [status for it in operations for status in statuses(it, GenerationMode.POSITIVE)]
    assert set(right) == {200} and len(right) > 15
    wrong = [status for it in operations if it.body for status in statuses(it, GenerationMode.NEGATIVE)]
    assert {400, 422} & set(wrong) and len(wrong) > 10


def statuses(operation: Any, mode: GenerationMode) -> list[int]:
    """Of some calls of one tool, with arguments that its schema allows, or with others. What the server thinks of
    those is its own affair: the gateway does not judge them."""
    excluded = [checks.negative_data_rejection] if mode is GenerationMode.NEGATIVE else []
    found: list[int] = []

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def hold(case: Any) -> None:
        found.append(case.call_and_validate(excluded_checks=excluded, timeout=SECONDS).status_code)

    hold()
    return found


# --- with keys, at the end: from here on there are some ----------------------------------------------------


def test_keys_open_what_they_open_for_mcp(gateway: GatewayProcess) -> None:
    operator = Operator(gateway)
    admin = operator.command("keys", "create", "chief", "--scope", "admin").strip()
    key = operator.command("keys", "create", "laptop", "--scope", "closed").strip()
    body = {"json": {"text": "Hello"}}
    assert problem(call(gateway, "good__echo", "closed", **body))[0] == 401
    assert problem(call(gateway, "good__echo", "closed", headers={"X-API-Key": admin}, **body))[0] == 403
    assert problem(call(gateway, "good__echo", "nowhere", headers={"X-API-Key": key}, **body))[0] == 403
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert call(gateway, "good__echo", "closed", headers=headers, **body).json() == "Hello"
    url = f"{gateway.url}/metamcp/closed/api/openapi.json"
    assert requests.get(url, timeout=SECONDS).status_code == 401
    made = requests.get(url, headers={"X-API-Key": key}, timeout=SECONDS).json()
    assert made["security"] == [{"bearer": []}, {"header": []}]
