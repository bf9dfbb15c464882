"""Documents as the pages read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.web.console.documents import read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_document_is_what_it_says(document: Any) -> None:
    assert read(json.dumps(document).encode()) == document


@pytest.mark.parametrize("half", [r"\ud83d", r"\udd27", r"x\ud83dy"])
def test_half_a_surrogate_pair_is_a_question_mark(half: str) -> None:
    found = read(b'{"a":"%s","%s":1}' % (half.encode(), half.encode()))
    assert "?" in found["a"] and json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_raises_what_is_said(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read(data)
