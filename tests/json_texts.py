"""JSON as text, for hypothesis, so that every way of writing a value is met: spaces, escapes, halves of surrogate
pairs, numbers of any size, members that come twice."""

from __future__ import annotations

from hypothesis import strategies as st

spaces = st.sampled_from(["", " ", "\t", "  ", "\n", "\r\n "])
pieces = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=0x20),
    st.sampled_from(["\u200d", "\u00a0", "\u3000", "\u2028", "\ufeff", "😀", "e\u0301"]),
    st.sampled_from([r"\ud800", r"\uDfFf", r"\uD83d", r"\ude00", r"\\\udc00"]),
    st.sampled_from(["\x80", "\x81", r"\u0080", "d800", r"\u0064"]),
    st.sampled_from([r"\ud83d\ude00", r"\u200d", r"\u0000", r"\n", r"\/", r"\"", r"\\", r"\\ud800", r"\uFFFD"]),
)
strings = st.lists(pieces, max_size=6).map(lambda parts: '"' + "".join(parts) + '"')
numbers = st.sampled_from(["0", "-0", "1.50", "1e5", "1E+400", "-1e-999", "9" * 400, "-" + "12" * 200, "0.10000"])
scalars = st.one_of(strings, numbers, st.sampled_from(["null", "true", "false"]))


def listed(parts: list[tuple[str, str]], ends: str) -> str:
    return ends[0] + ",".join(space + part + space for space, part in parts) + ends[1]


def objects_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(strings, spaces, values).map(lambda parts: f"{parts[0]}:{parts[1]}{parts[2]}")
    return st.lists(st.tuples(spaces, member), max_size=3).map(lambda parts: listed(parts, "{}"))


def containers_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(st.tuples(spaces, values), max_size=3).map(lambda parts: listed(parts, "[]"))
    return arrays | objects_of(values)


values = st.recursive(scalars, containers_of, max_leaves=6)
ids = strings.map(str.encode) | st.integers().map(lambda number: b"%d" % number)


def on_one_line(text: bytes) -> bytes:
    """Line ends are white space between values, and one message is one line (stdio, server-sent events)."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ")
