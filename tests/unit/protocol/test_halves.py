from __future__ import annotations

import json
import re
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.protocol.halves import spell, veil

# What could be mistaken for a mark, an escape or its rest stands beside halves of every kind.
pieces = st.sampled_from([
    r"\ud800", r"\uDBFF", r"\udc00", r"\uDfFf", r"\uD83D\uDE00", r"\\", r"\"", r"\n", "ud800", "d", "D", "d800", "a",
    *map(chr, range(0x7F, 0x8A)), *(rf"\u00{number:02x}" for number in range(0x80, 0x88)), r"\u0064", r"\u0044",
    "é", "\ue000", r"\ue000", "😀", "\uffff",
])  # fmt: skip
texts = st.lists(pieces, max_size=12).map(lambda parts: '"' + "".join(parts) + '"')


@given(texts)
def test_veiled_text_can_be_decoded_and_is_turned_back_exactly(text: str) -> None:
    data = text.encode()
    veiled = veil(data)
    plain = json.loads(text)
    if veiled is None:
        assert msgspec.json.decode(data) == plain
        return
    assert len(veiled.data) == len(data)
    assert veiled.bytes_of(veiled.data) == data
    assert veiled.text_of(msgspec.json.decode(veiled.data)) == plain


@given(st.lists(texts, min_size=1, max_size=4))
def test_every_piece_is_turned_back_by_itself(parts: list[str]) -> None:
    veiled = veil(("[" + ",".join(parts) + "]").encode())
    if veiled is not None:
        found = msgspec.json.decode(veiled.data, type=list[msgspec.Raw])
        assert [veiled.bytes_of(bytes(raw)) for raw in found] == [part.encode() for part in parts]


@pytest.mark.parametrize("escaped", [True, False])
def test_every_code_point_at_once_is_turned_back(escaped: bool) -> None:
    above = range(0x10000, 0x110000, 257)  # pairs with every first half, and with many a second one
    everything = "".join(map(chr, [*range(0x10000), *above]))
    written = json.dumps(everything, ensure_ascii=escaped).encode("utf-8", "replace")
    data = written[:-1] + rb"\udead" + b'"'
    veiled = veil(data)
    assert veiled is not None
    assert veiled.bytes_of(veiled.data) == data
    assert veiled.text_of(msgspec.json.decode(veiled.data)) == json.loads(data)


def test_text_that_uses_every_mark_before_a_d_gets_replacement_characters() -> None:
    hostile = "".join(f"{chr(number)}d800" for number in range(0x80, 0x100))
    veiled = veil(f'"{hostile}\\udead"'.encode())
    assert veiled is not None
    assert veiled.data == f'"{hostile}\\ufffd"'.encode()
    assert veiled.bytes_of(veiled.data) == veiled.data
    assert veiled.text_of(hostile) == hostile


@pytest.mark.parametrize("data", [b"", b"plain", rb'"\ud83d\ude00"', rb'"\\ud800"', rb'"\u0041\\\\uD800"', rb'"\ud8"'])
def test_data_without_a_lone_half_needs_no_veil(data: bytes) -> None:
    assert veil(data) is None


@pytest.mark.parametrize("unit", [b"\\\\", rb"\ud83d\ude00", rb"\n", b'"', rb"\ud8", b"\xc2\x80d", rb"\ud800"])
def test_time_for_a_large_text_is_bounded(unit: bytes) -> None:
    began = time.process_time()
    veil(unit * (1024 * 1024 // len(unit)) + rb"\ud800")
    assert time.process_time() - began < 2


@given(st.recursive(st.text(st.characters(categories=["Cs", "Ll"])) | st.integers() | st.none(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(categories=["Cs"])), inner)))
def test_spelled_values_are_what_they_were(value: object) -> None:
    made = spell(value, msgspec.json.encode)
    # Two halves that met become one character for every reader.
    assert json.dumps(json.loads(made)) == json.dumps(json.loads(json.dumps(value)))
    assert re.fullmatch(rb"[\x20-\x7e]*", made)
