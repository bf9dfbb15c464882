"""Names that every known client takes, that stay, and that never meet."""

from __future__ import annotations

import re

from hypothesis import assume, example, given
from hypothesis import strategies as st

from metamcp.config.names import server_name
from metamcp.gateway.naming import exposed_name

VALID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
SERVERS = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True).filter(lambda name: server_name(name) is None)
NAMES = st.text(max_size=200) | st.text("ab_-. ", max_size=80)


@given(SERVERS, NAMES, st.booleans())
@example("s", "", False)
@example("s", "\ud800", False)
@example("s", "x" * 64, True)
@example("s", "a\n", False)
def test_name_is_valid_for_every_client(server: str, name: str, prefix: bool) -> None:
    assert VALID.fullmatch(exposed_name(server, name, prefix))


@given(SERVERS, NAMES, st.booleans())
def test_name_is_stable(server: str, name: str, prefix: bool) -> None:
    assert exposed_name(server, name, prefix) == exposed_name(server, name, prefix)


@given(SERVERS, NAMES, NAMES, st.booleans())
@example("s", "a.b", "a_b", True)
@example("s", "a.b", "a b", False)
@example("s", "x" * 70 + "1", "x" * 70 + "2", True)
@example("s", "x" * 61, "x" * 62, True)
@example("s", "é", "è", False)
def test_different_names_of_one_server_stay_different(server: str, one: str, other: str, prefix: bool) -> None:
    assume(one != other)
    assert exposed_name(server, one, prefix) != exposed_name(server, other, prefix)


@given(SERVERS, SERVERS, st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True))
def test_different_servers_never_share_a_prefixed_name(one: str, other: str, name: str) -> None:
    assume(one != other)
    assert exposed_name(one, name, True) != exposed_name(other, name, True)


def test_a_name_that_is_fine_is_left_alone() -> None:
    assert exposed_name("git", "status", True) == "git__status"
    assert exposed_name("git", "status", False) == "status"
    assert exposed_name("git", "x" * 64, False) == "x" * 64


def test_a_name_that_is_changed_stays_readable() -> None:
    assert exposed_name("git", "repo.status", True).startswith("git__repo_status_")
    assert exposed_name("git", "x" * 200, True).startswith("git__xxxx")
