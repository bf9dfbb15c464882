"""Which headers of a request go on to servers, and what never does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.access.policy import Door
from metamcp.errors import InvalidRequest
from metamcp.web.environ import variable
from metamcp.web.incoming import Incoming
from metamcp.web.passing import MOST, passed
from metamcp.web.request_ids import RequestIds

KEY = "mmcp_" + "k" * 43


def asked(door: Door | None = None, **headers: str) -> Incoming:
    state: Any = SimpleNamespace(request_ids=RequestIds())
    incoming = Incoming({variable(name.replace("_", "-")): value for name, value in headers.items()}, state, "", "dev")
    incoming.door = door or Door("none")
    return incoming


def test_only_what_is_named_goes_on() -> None:
    incoming = asked(X_Tenant="acme", X_Other="no", Cookie="a=b")
    assert passed(incoming, ("x-tenant", "x-missing")).headers == (("x-tenant", "acme"),)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-any", "cookie"])
def test_a_key_of_the_gateway_goes_nowhere(header: str) -> None:
    assert passed(asked(**{header: f"Bearer {KEY}"}), (header,)).headers == ()


def test_authorization_goes_on_where_it_does_not_open_the_gateway() -> None:
    theirs = {"authorization": "Bearer of-the-server"}
    for door in (Door("none"), Door("api-key")):
        assert passed(asked(door, **theirs), ("authorization",)).headers == (("authorization", "Bearer of-the-server"),)
    assert passed(asked(Door("oauth"), **theirs), ("authorization",)).headers == ()


@pytest.mark.parametrize(
    ("cookie", "left"),
    [("metamcp_console=1.x.y", ""), ("a=b; metamcp_console=1.x.y; c=d", "a=b; c=d"), ("metamcp_console=1;c=d", "c=d"),
     ("a=b", "a=b")],
)  # fmt: skip
def test_the_cookie_of_the_console_is_left_out(cookie: str, left: str) -> None:
    assert passed(asked(cookie=cookie), ("cookie",)).headers == ((("cookie", left),) if left else ())


@pytest.mark.parametrize("value", ["x" * (MOST + 1), "caf\xe9", "a\tb", "a\x7fb"])
def test_a_value_that_no_server_could_be_given_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        passed(asked(x_tenant=value), ("x-tenant",))
    assert value not in refused.value.text and "x-tenant" in refused.value.text


@given(st.text(st.characters(max_codepoint=0xFF), max_size=50))
def test_what_goes_on_is_as_it_was_sent(value: str) -> None:
    try:
        found = passed(asked(x_tenant=value), ("x-tenant",)).headers
    except InvalidRequest:
        assert any(not "\x20" <= char <= "\x7e" for char in value)
    else:
        assert found == ((("x-tenant", value),) if value else ())
        assert repr(passed(asked(x_tenant=value), ("x-tenant",))) == ("Passed(x-tenant)" if value else "Passed()")
