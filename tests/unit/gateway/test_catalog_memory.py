"""The file of what servers have: comes back byte for byte, and is never in the way."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_texts import objects_of, on_one_line, strings, values

from metamcp.gateway import catalog_memory
from metamcp.gateway.catalog_memory import FILE_NAME, Kept
from metamcp.gateway.listings import KINDS, Entry, Item, Kind
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw


def entry(server: str, *names: str, instructions: str = "") -> Entry:
    items = tuple(Item(name, {"name": Raw(json.dumps(name).encode()), "x": Raw(b"1E+400")}) for name in names)
    return Entry(server, {"tools": Raw(b'{ "listChanged" : true }')}, instructions, {"tools": items})


def by_fingerprint(*memory: Kept) -> dict[str, Kept]:
    return {kept.fingerprint: kept for kept in memory}


ONE, TWO = Kept("sha256:1 f1", 1.5, entry("one", "a", "b")), Kept("f2", 2.0, entry("two"))


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    catalog_memory.keep(tmp_path, [ONE, TWO])
    assert catalog_memory.recall(tmp_path) == {"f1": ONE, "f2": TWO}
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    catalog_memory.keep(tmp_path, [TWO])
    assert catalog_memory.recall(tmp_path) == {"f2": TWO}


def raw_bodies(kind: Kind) -> st.SearchStrategy[bytes]:
    """Objects in every way of writing them, whose identity is one of their members."""
    identified = st.tuples(objects_of(values), strings).map(
        lambda parts: (parts[0][:-1] + ("," if parts[0] != "{}" else "") + f'"{kind.identity}" : {parts[1]}' + "}")
    )
    return identified.map(str.encode)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """As ``Reading`` makes them of what a server wrote."""
    found = {}
    for kind in draw(st.lists(st.sampled_from(KINDS), unique=True)):
        bodies = [jsonrpc.decode_object(raw, "item") for raw in draw(st.lists(raw_bodies(kind), max_size=3))]
        found[kind.name] = tuple(Item(jsonrpc.decode_string(body[kind.identity], "id"), body) for body in bodies)
    capabilities = jsonrpc.decode_object(draw(objects_of(values)).encode(), "capabilities")
    return Entry(draw(st.text()), capabilities, jsonrpc.decode_string(draw(strings).encode(), "text"), found)


def raw_of(kept: Entry) -> tuple[object, ...]:
    """Every byte of it, in order."""
    items = [(name, [[(key, bytes(raw)) for key, raw in item.body.items()] for item in of]) for name, of in
             kept.items.items()]  # fmt: skip
    return (kept.server, [(key, bytes(raw)) for key, raw in kept.capabilities.items()], kept.instructions, items)


@settings(deadline=None)  # a disk is as slow as it is
@given(st.lists(entries(), max_size=3))
def test_any_listing_survives_byte_for_byte(listings: list[Entry]) -> None:
    memory = [Kept(f"sha256:{number} f{number}", float(number), listing) for number, listing in enumerate(listings)]
    with TemporaryDirectory() as folder:
        catalog_memory.keep(Path(folder), memory)
        recalled = catalog_memory.recall(Path(folder))
    assert recalled == by_fingerprint(*memory)
    assert [raw_of(kept.entry) for kept in recalled.values()] == [raw_of(listing) for listing in listings]


def test_a_member_as_deep_as_the_gateway_reads_survives(tmp_path: Path) -> None:
    deep = b"[" * 950 + b"]" * 950
    item = Item("t", {"name": Raw(b'"t"'), "inputSchema": Raw(deep)})
    kept = Kept("f", 1.0, Entry("s", {}, "", {"tools": (item,)}))
    catalog_memory.keep(tmp_path, [kept])
    assert catalog_memory.recall(tmp_path) == {"f": kept}


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    kept = Kept("f", 1.0, Entry("s", {"experimental": Raw(b'"\xff\xed\xa0\x80"')}, "", {}))
    catalog_memory.keep(tmp_path, [kept])
    assert bytes(catalog_memory.recall(tmp_path)["f"].entry.capabilities["experimental"]) == b'"\xff\xed\xa0\x80"'


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]\n", b"\xff\n", b"1", b"[" * 100_000, b"\0" * 100])
def test_a_file_that_cannot_be_used_is_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    assert catalog_memory.recall(tmp_path) == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"key": 5}, {"at": "noon"}, {"items": {"future": []}}, {"items": {"tools": [{"title": '"x"'}]}},
        {"items": {"tools": [{"name": "x"}]}}, {"capabilities": []}, {"server": None}, {"items": {"tools": [5]}},
        {"capabilities": {"tools": 5}},
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_costs_no_other_one(tmp_path: Path, broken: dict[str, object]) -> None:
    catalog_memory.keep(tmp_path, [ONE, TWO])
    path = tmp_path / FILE_NAME
    first, second = path.read_text().splitlines()
    path.write_text(json.dumps(json.loads(first) | broken) + "\n" + second + "\n")
    assert catalog_memory.recall(tmp_path) == {"f2": TWO}


def test_half_a_file_is_half_a_memory(tmp_path: Path) -> None:
    catalog_memory.keep(tmp_path, [ONE, TWO])
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert catalog_memory.recall(tmp_path) == {"f1": ONE}


def test_what_is_too_large_for_the_file_is_left_out_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_memory, "MOST_BYTES", 1000)
    large = Kept("f3", 1.0, entry("large", instructions="x" * 1000))
    catalog_memory.keep(tmp_path, [ONE, large, TWO])
    assert catalog_memory.recall(tmp_path) == {"f1": ONE, "f2": TWO}
    assert (tmp_path / FILE_NAME).stat().st_size <= 1000


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog_memory.keep(tmp_path, [ONE, TWO])
    monkeypatch.setattr(catalog_memory, "MOST_BYTES", 100)
    assert catalog_memory.recall(tmp_path) == {}


def test_a_state_directory_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    catalog_memory.keep(tmp_path / "missing", [ONE])
    assert not (tmp_path / "missing").exists()


def test_a_line_holds_no_line_end(tmp_path: Path) -> None:
    kept = Kept("f", 1.0, Entry("s", {"tools": Raw(b'{\r\n"a":\n1}')}, "one\ntwo\u2028three", {}))
    catalog_memory.keep(tmp_path, [kept])
    raw = (tmp_path / FILE_NAME).read_bytes()
    assert on_one_line(raw[:-1]) == raw[:-1]
    assert catalog_memory.recall(tmp_path) == {"f": kept}
