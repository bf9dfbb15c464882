"""Rates as operators write them."""

from __future__ import annotations

import pytest

from metamcp.config.rates import Rate, parse, rate_problem


@pytest.mark.parametrize(("text", "seconds"), [("5/second", 1), ("5/minute", 60), ("5/hour", 3600), ("5/day", 86400)])
def test_a_rate_is_a_number_and_a_window(text: str, seconds: int) -> None:
    assert rate_problem(text) is None
    assert parse(text) == Rate(5, seconds, text)


@pytest.mark.parametrize("text", ["", "0/minute", "5", "5/week", "5 / minute", "-1/day", "5/minutes", f"{10**9}/day"])
def test_everything_else_is_none(text: str) -> None:
    assert rate_problem(text) is not None
    with pytest.raises(ValueError, match="no rate"):
        parse(text)
