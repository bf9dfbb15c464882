"""Files of others as bytes: the three forms, and what hostile ones come to."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.importing.reading import MAX_DEPTH, MAX_FILE_BYTES, read
from metamcp.config.importing.yaml_text import MAX_ITEMS
from metamcp.errors import ConfigInvalid


def of(text: str) -> Any:
    return read(text.encode())[0]


def refusal(content: bytes) -> str:
    with pytest.raises(ConfigInvalid) as refused:
        read(content)
    [(_, text)] = refused.value.problems
    return text


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["x"]}',
        '// an editor\'s\n{"a": [/* one */ "x",], }',
        '\ufeff{"a": ["x",]}',
        "a:\n  - x\n",
        "# of Docker\na: [x]\n",
        '---\n"a":\n- "x"\n...\n',
    ],
)
def test_each_form_is_read(text: str) -> None:
    assert of(text) == {"a": ["x"]}


def test_surrogate_pair_is_one_character() -> None:
    assert of('{"a": "\\ud83d\\udd27"}') == {"a": "🔧"}


@pytest.mark.parametrize("text", ['{"a": "http://x//y", "b": "/* z */"}', '{"a": ",]", "b": "\\",}"}'])
def test_what_stands_in_quotes_is_no_comment(text: str) -> None:
    assert of(text) == json.loads(text)
    assert of(f"// first\n{text}") == json.loads(text)


def test_place_of_a_mistake_is_the_one_in_the_file() -> None:
    assert refusal(b'{"a": 1, // one\n /* two\n */ "b": oops}').startswith("line 3 column 10: not JSON")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("off", "off"), ("true", True), ("False", False), ("~", None), ("", None), ("12", 12),
        ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), ("0755", "0755"), ("2026-07-31", "2026-07-31"), ("1_000", "1_000"),
        ("12:30", "12:30"), (".inf", ".inf"), ("'12'", "12"), ('"true"', "true"), ("9" * 40, "9" * 40), ("=", "="),
    ],
)  # fmt: skip
def test_plain_values_of_yaml_are_those_of_json(text: str, value: Any) -> None:
    found = of(f"a: {text}\n")["a"]
    assert found == value and type(found) is type(value)


def test_keys_of_yaml_are_texts() -> None:
    assert of("1: a\ntrue: b\n~: c\n") == {"1": "a", "true": "b", "~": "c"}


@pytest.mark.parametrize("text", ['{"a": {"b": 1, "b": 2}}', "a:\n  b: 1\n  b: 2\n"])
def test_key_that_is_written_twice_is_told_with_its_path(text: str) -> None:
    document, twice = read(text.encode())
    assert document == {"a": {"b": 2}}
    assert [path for path, _ in twice] == [("a", "b")]


def test_path_of_a_second_key_leads_through_lists() -> None:
    assert [path for path, _ in read(b"a:\n- x: 1\n- x: 1\n  x: 2\n")[1]] == [("a", 1, "x")]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(20))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff", "not UTF-8"),
        (b"\x00", "not YAML"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\uDFFF": 1}', "half of a surrogate pair"),
        (b'a: "\\ud800"', "not"),
        (b"a: !!python/object/apply:os.system [canary]", "tags (!…) are not read"),
        (b"!<tag:yaml.org,2002:python/name:os.system> canary", "tags (!…) are not read"),
        (b"a: !!binary canary", "tags (!…) are not read"),
        (b"a: !secret canary", "tags (!…) are not read"),
        (BOMB.encode(), "anchors and aliases"),
        (b"a: &canary\n  b: *canary\n", "anchors and aliases"),
        (b"<<: *canary\n", "anchors and aliases"),
        (b"a: 1\n---\na: 2\n", "more than one document"),
        (b"? [a]\n: 1\n", "a key must be a text"),
        (b"a: [canary\n", "not YAML"),
        (b"a: b: canary\n", "not YAML"),
        (b"a: '\\xcanary", "not YAML"),
        (b"%TAG ! canary\n--- !x y\n", "tags (!…) are not read"),
        (b'{"a": NaN, "canary": 1}', "NaN"),
        (b'{"canary', "not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place_and_not_repeated(content: bytes, said: str) -> None:
    text = refusal(content)
    assert said in text and "canary" not in text


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"a: " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"".join(b" " * depth + b"a:\n" for depth in range(MAX_DEPTH + 2)),
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"- " * 50_000,
        b"a: " + b"{a: " * 50_000,
    ],
    ids=["open", "closed", "flow", "block", "json", "objects", "lists", "mappings"],
)
def test_depth_is_bounded(content: bytes) -> None:
    began = time.monotonic()
    assert "deep" in (said := refusal(content)) or "not" in said
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("part", ["/*", '\\"', "//", ",", "\\", ", "])
@pytest.mark.parametrize("begin", ["{", '{"', '{"a": /*'])
def test_comment_or_string_without_an_end_takes_no_longer_than_one_with(begin: str, part: str) -> None:
    began = time.monotonic()
    assert "not JSON" in refusal((begin + part * 100_000).encode())
    assert time.monotonic() - began < 10


def test_size_is_bounded() -> None:
    assert "larger than 16 MiB" in refusal(b"a" * (MAX_FILE_BYTES + 1))
    assert "more than" in refusal(b"a: [" + b"1," * (MAX_ITEMS + 1) + b"]")


LEAF = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=12)
VALUES = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@given(st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4))
def test_yaml_that_others_write_is_what_it_was(document: dict[str, Any]) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text = yaml.dump(document, Dumper=Plain, default_flow_style=False)
    if text.lstrip().startswith(("{", "[", '"', "/")):
        return
    assert of(text) == document


@given(st.binary(max_size=200) | st.text(alphabet="a1:-[]{}&*!|>'\"#, \n\t?%@`~", max_size=60).map(str.encode))
def test_whatever_stands_in_a_file_is_read_or_refused(content: bytes) -> None:
    try:
        document, _ = read(content)
    except ConfigInvalid:
        return
    json.dumps(document)
