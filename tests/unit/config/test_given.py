"""What belongs to one client: what may be configured, and what its instance gets of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.access import policy
from metamcp.config import schema
from metamcp.config.given import NOTHING, Given
from metamcp.config.model import ServerSpec
from metamcp.config.secrets import resolve_server
from metamcp.errors import ConfigInvalid, SecretMissing

CRM = ServerSpec(
    "crm", command="crm", isolation="session", env={"TENANT": "nobody", "MODE": "x"},
    pass_headers={"X-Tenant": "TENANT"}, credentials={"alice": {"TOKEN": "${ALICE}"}},
)  # fmt: skip
FAR = ServerSpec(
    "far", transport="streamable-http", url="https://far.example/mcp", isolation="session",
    headers={"authorization": "Bearer everybody"}, pass_headers={"X-User-Token": "Authorization"},
)  # fmt: skip


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file", path)


def parsed(**keys: Any) -> ServerSpec:
    body = {"isolation": "session", **({} if "url" in keys else {"command": "crm"}), **keys}
    return schema.parse_servers(json.dumps({"mcpServers": {"crm": body}})).servers["crm"]


def mistakes(**keys: Any) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        parsed(**keys)
    return {path.removeprefix("mcpServers.crm."): text for path, text in caught.value.problems}


# --- configuration -----------------------------------------------------------------------------------------


def test_both_keys_arrive_in_the_record() -> None:
    made = parsed(passHeaders={"X-Tenant": "TENANT"}, credentials={"alice": {"TOKEN": "${ALICE}"}})
    assert made.pass_headers == {"X-Tenant": "TENANT"} and made.credentials == {"alice": {"TOKEN": "${ALICE}"}}


@pytest.mark.parametrize("keys", [{"passHeaders": {"X-T": "T"}}, {"credentials": {"alice": {"T": "x"}}}])
@pytest.mark.parametrize("isolation", ["shared", None])
def test_what_belongs_to_one_client_is_not_for_a_server_that_clients_share(keys: Any, isolation: str | None) -> None:
    (path,) = keys
    body = {"command": "crm", **keys, **({"isolation": isolation} if isolation else {})}
    with pytest.raises(ConfigInvalid) as caught:
        schema.parse_servers(json.dumps({"mcpServers": {"crm": body}}))
    ((where, text),) = caught.value.problems
    assert where == f"mcpServers.crm.{path}" and 'needs "isolation": "session" or "call"' in text


@pytest.mark.parametrize("header", ["Host", "connection", "Transfer-Encoding", "Content-Length", "Mcp-Session-Id"])
def test_headers_of_the_connection_cannot_be_passed_on(header: str) -> None:
    assert "belongs to the client's connection" in mistakes(passHeaders={header: "X"})[f"passHeaders.{header}"]


def test_a_target_is_a_variable_of_a_process_or_a_header_of_a_remote_server() -> None:
    assert "environment variable" in mistakes(passHeaders={"X-T": "not a name"})["passHeaders"]
    assert "HTTP header" in mistakes(url="https://a.example", passHeaders={"X-T": "no header"})["passHeaders"]
    assert "environment variable" in mistakes(credentials={"alice": {"not a name": "x"}})["credentials"]
    assert parsed(url="https://a.example", passHeaders={"X-T": "X-Tenant"}).pass_headers == {"X-T": "X-Tenant"}


def test_each_name_has_one_source() -> None:
    assert "two headers" in mistakes(passHeaders={"X-A": "T", "X-B": "T"})["passHeaders"]
    both = mistakes(passHeaders={"X-A": "T"}, credentials={"alice": {"T": "x"}})
    assert "comes from passHeaders already" in both["credentials"]


def test_mistakes_in_a_credential_do_not_repeat_it() -> None:
    (text,) = mistakes(credentials={"alice": {"T": "hunter2${"}}).values()
    assert "hunter2" not in text


def test_the_web_tier_learns_which_headers_are_wanted_where_and_nothing_else() -> None:
    document = {
        "mcpServers": {
            "crm": {"command": "crm", "isolation": "session", "passHeaders": {"X-Tenant": "TENANT"},
                    "credentials": {"alice": {"TOKEN": "s3cret-of-alice"}}},
            "time": {"command": "time"},
        },
        "namespaces": {"all": {"servers": ["crm", "time"]}, "some": {"servers": ["time"]}},
        "endpoints": {"all": {"namespace": "all"}, "some": {"namespace": "some"}},
    }  # fmt: skip
    doors = policy.doors(schema.parse_servers(json.dumps(document)))
    assert (doors["all"].passes, doors["some"].passes) == (("x-tenant",), ())
    assert b"alice" not in policy.encode(policy.Policy(doors))


# --- what an instance gets ---------------------------------------------------------------------------------


def test_values_of_the_client_count_before_those_for_everybody() -> None:
    whole = replace(CRM, given=CRM.given_to("alice", {"x-tenant": "acme", "x-other": "no"}))
    found = resolve_server(whole, {"ALICE": "alices-token"}, no_file)
    assert found.env == {"TENANT": "acme", "MODE": "x", "TOKEN": "alices-token"}
    assert (found.secrets, found.passing) == (("alices-token",), ("acme",))


def test_a_client_that_sends_nothing_and_has_nothing_gets_what_everybody_gets() -> None:
    assert not CRM.given_to("bob", {}) and CRM.given_to("bob", {"x-tenant": ""}) == Given()
    assert resolve_server(replace(CRM, given=CRM.given_to("bob", {})), {}, no_file).env == CRM.env
    assert ServerSpec("time").given_to("alice", {"x-tenant": "acme"}) is NOTHING


def test_a_header_takes_the_place_of_the_configured_one_however_that_is_written() -> None:
    found = resolve_server(replace(FAR, given=FAR.given_to("anonymous", {"x-user-token": "Bearer mine"})), {}, no_file)
    assert found.headers == {"Authorization": "Bearer mine"} and found.env == {}


def test_a_missing_credential_is_named_and_is_no_reason_for_others() -> None:
    with pytest.raises(SecretMissing, match="ALICE is not set"):
        resolve_server(replace(CRM, given=CRM.given_to("alice", {})), {}, no_file)


@given(value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60))
def test_nothing_in_a_value_of_a_client_is_ever_replaced(value: str) -> None:
    spec = replace(CRM, given=CRM.given_to("x", {"x-tenant": value}))
    assert resolve_server(spec, {"A": "secret", "ALICE": "secret"}, no_file).env["TENANT"] == value


SENT = st.dictionaries(st.text(max_size=5), st.text(max_size=5))


@given(one=SENT, other=SENT)
def test_marks_differ_exactly_where_values_do(one: dict[str, str], other: dict[str, str]) -> None:
    assert (Given(one).mark == Given(other).mark) == (one == other)


def test_what_is_given_shows_nowhere_and_makes_no_other_server_of_it() -> None:
    spec = replace(CRM, given=Given({"TENANT": "acme-canary"}, {"TOKEN": "${ALICE}"}))
    assert "acme-canary" not in repr(spec) and "acme-canary" not in repr(spec.given)
    assert "acme-canary" not in spec.given.mark and spec.fingerprint() == CRM.fingerprint()
