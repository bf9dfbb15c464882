"""The text of another document: what is the same stays as it is written."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.rewriting import rewritten

TEXT = """{
    "mcpServers": {
        "a": {"command":  "x", "args": [ "1","2" ]},
        "b": { "command":"\\u0079" }
    },

    "endpoints": {"default": {"namespace": "n"}}
}
"""


def changed(text: str, path: tuple[Any, ...], value: Any) -> str:
    document = json.loads(text)
    after = copy.deepcopy(document)
    place = after
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return rewritten(text, document, after)


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("mcpServers", "a", "command"), "z", '"x"', '"z"'),
        (("mcpServers", "a", "args"), ["1", "2", "3"], '"1","2" ]', '"1","2","3" ]'),
        (("mcpServers", "a", "enabled"), False, '"2" ]}', '"2" ], "enabled": false}'),
        (("mcpServers", "a"), None, '"a": {"command":  "x", "args": [ "1","2" ]},\n        ', ""),
        (("mcpServers", "b"), None, ',\n        "b": { "command":"\\u0079" }', ""),
        (("mcpServers", "c"), {}, '9" }', '9" },\n        "c": {}'),
        (("endpoints", "e"), {"namespace": "é"}, '"n"}', '"n"}, "e": {"namespace": "é"}'),
        (("mcpServers", "b", "command"), "y", "", ""),
    ],
)
def test_only_what_changed_changes(path: tuple[Any, ...], value: Any, old: str, new: str) -> None:
    assert changed(TEXT, path, value) == TEXT.replace(old, new, 1)


def test_what_is_new_is_indented_as_the_rest() -> None:
    found = changed(TEXT, ("mcpServers", "c"), {"command": "z", "args": ["1"]})
    lines = ("", '"c": {', '    "command": "z",', '    "args": [', '        "1"', "    ]", "}")
    new = "," + "\n        ".join(lines)
    assert found == TEXT.replace('9" }', '9" }' + new)


def test_a_new_file_ends_with_a_line() -> None:
    assert rewritten("{}\n", {}, {"images": ["a"]}) == '{\n  "images": [\n    "a"\n  ]\n}\n'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON, JSON, st.sampled_from([None, 2, "\t"]))
def test_it_is_always_the_text_of_the_other_document(before: Any, after: Any, indent: Any) -> None:
    text = json.dumps(before, indent=indent)
    assert json.loads(rewritten(text, before, after)) == after
    assert rewritten(text, before, copy.deepcopy(before)) == text
