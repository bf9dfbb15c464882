"""Values of WWW-Authenticate: what clients read out of them, and that nobody can write into them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from metamcp.access import challenge

PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
METADATA = "https://a.example/.well-known/oauth-protected-resource/metamcp/dev/mcp"


def test_without_any_word_it_asks_for_a_key() -> None:
    assert challenge.bearer() == 'Bearer realm="metamcp"'


def test_with_metadata_it_leads_there_and_names_the_scopes() -> None:
    assert challenge.bearer(scopes=("a", "b"), metadata=METADATA) == (
        f'Bearer resource_metadata="{METADATA}", scope="a b"'
    )


def test_a_wrong_token_and_a_lacking_scope_say_so() -> None:
    assert challenge.bearer("invalid_token", "it has expired", (), METADATA) == (
        f'Bearer resource_metadata="{METADATA}", error="invalid_token", error_description="it has expired"'
    )
    assert challenge.bearer("insufficient_scope", "no", ("dev",)) == (
        'Bearer realm="metamcp", error="insufficient_scope", error_description="no", scope="dev"'
    )


@given(st.text(), st.lists(st.text()), st.text())
def test_whatever_stands_in_it_is_one_header_with_the_parameters_that_were_meant(
    description: str, scopes: list[str], metadata: str
) -> None:
    value = challenge.bearer("invalid_token", description, tuple(scopes), metadata)
    assert value.isascii() and value.isprintable()
    assert ", ".join(found[0] for found in PARAMETER.finditer(value)) == value.removeprefix("Bearer ")
    names = [name for name, _ in PARAMETER.findall(value)]
    assert len(names) == len(set(names)) and set(names) <= {
        "resource_metadata", "realm", "error", "error_description", "scope",
    }  # fmt: skip
