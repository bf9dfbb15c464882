"""Values as a page shows them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.web.console.formats import bytes_of, look, seconds_of, shown

OPTIONS = [f"--option-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "", ""),
        (0, "", "0"),
        (1_800_000_000.9, "time", "2027-01-15 08:00:00 UTC"),
        (1023, "bytes", "1023 B"),
        (1536, "bytes", "1.5 KiB"),
        (5 * 2**30, "bytes", "5.0 GiB"),
        (0.00042, "seconds", "0.42 ms"),
        (0.25, "seconds", "250 ms"),
        (2.04, "seconds", "2.0 s"),
        (90, "seconds", "1.5 min"),
        (["a b", "c'd"], "command", """'a b' 'c'"'"'d'"""),
        (["run", *OPTIONS, "x"], "command", "run" + "".join(f" \\\n    {option}" for option in OPTIONS) + " x"),
        (["a", "b"], "lines", "a\nb"),
        (["a", "b"], "words", "a, b"),
        ({"a": "ü"}, "json", '{\n  "a": "ü"\n}'),
    ],
)
def test_each_form_is_what_a_person_reads(value: Any, form: str, text: str) -> None:
    assert shown(value, form) == text


def test_a_path_leads_through_records_or_nowhere() -> None:
    record = {"lastExit": {"reason": "it ended"}, "name": "x"}
    assert look(record, "lastExit.reason") == "it ended"
    assert look(record, "lastExit.stderr") is None
    assert look(record, "name.more") is None
    assert look({}, "a.b.c") is None


@given(st.floats(0, 1e15))
def test_every_amount_has_few_characters(amount: float) -> None:
    assert len(bytes_of(amount)) <= 10
    assert len(seconds_of(min(amount, 1e6))) <= 12
