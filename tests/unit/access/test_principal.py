"""Principals: which kind of authentication a name can come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.access import keys
from metamcp.access.principal import ANONYMOUS, of_token, proves
from metamcp.config import names
from metamcp.config.model import Auth

ISSUER = "https://login.example.com/a"


@pytest.mark.parametrize(
    ("principal", "auth", "good"),
    [
        (ANONYMOUS, "none", True), (ANONYMOUS, "api-key", False), (ANONYMOUS, "oauth", False),
        ("laptop", "none", True), ("laptop", "api-key", True), ("laptop", "oauth", False),
        (f"alice@{ISSUER}", "api-key", False), (f"alice@{ISSUER}", "oauth", True),
        (f"a@b@{ISSUER}", "oauth", True), (f"@{ISSUER}", "oauth", False),
        ("alice@https://other.example", "oauth", False),
    ],
)  # fmt: skip
def test_an_endpoint_takes_only_what_its_own_kind_finds(principal: str, auth: Auth, good: bool) -> None:
    assert proves(principal, auth, ISSUER) is good


@given(st.text(min_size=1), st.text())
def test_no_token_makes_a_principal_that_is_a_keys_or_another_issuers(subject: str, name: str) -> None:
    principal = of_token(subject, ISSUER)
    assert proves(principal, "oauth", ISSUER)
    assert not proves(principal, "api-key", "")
    assert keys.name_problem(principal) is not None
    if names.issuer(other := f"https://{name}") is None and other != ISSUER:
        assert not proves(principal, "oauth", other)
