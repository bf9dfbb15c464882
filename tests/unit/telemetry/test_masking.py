"""Addresses in logs: what opens a door is masked, the rest stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.telemetry.masking import mask_address, mask_query

KEY = "mmcp_" + "aB3_-" * 8 + "xyz"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("a=b", "a=b"),
        (f"api_key={KEY}", "api_key=***"),
        ("api%5Fkey=x&a=b", "api%5Fkey=***&a=b"),
        ("API_KEY=x", "API_KEY=***"),
        ("a=1&sessionId=abc&ticket=def", "a=1&sessionId=***&ticket=***"),
        ("access_token=x", "access_token=***"),
        ("my_api_key_name=x", "my_api_key_name=x"),
        ("api_key", "api_key"),
        ("api_key=", "api_key="),
    ],
)
def test_values_of_secret_parameters_are_masked_however_they_are_written(query: str, shown: str) -> None:
    assert mask_query(query) == shown


def test_a_query_within_a_text_and_a_key_anywhere_are_masked() -> None:
    assert mask_address("GET /mcp?a=b&api_key=secret HTTP/1.1") == "GET /mcp?a=b&api_key=*** HTTP/1.1"
    assert mask_address(f"Invalid: {KEY}, 'http://h/?ticket=x'") == "Invalid: ***, 'http://h/?ticket=***'"


@given(st.text(), st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&#\"'?")))
def test_no_value_of_a_key_survives(around: str, value: str) -> None:
    shown = mask_query(f"api_key=!{value}!&rest")
    assert shown == "api_key=***&rest"
    assert f"?api_key=!{value}!" not in mask_address(f"{around}?api_key=!{value}!")
