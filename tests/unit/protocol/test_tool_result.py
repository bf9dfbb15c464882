"""What a tool answers as one JSON value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from json_texts import objects_of, values

from metamcp.errors import InvalidParams
from metamcp.protocol import tool_result


def value(*content: Any, **more: Any) -> Any:
    read = tool_result.read(json.dumps({"content": list(content), **more}).encode())
    assert not (read.error or read.asks)
    return json.loads(read.value)


def text(written: str) -> dict[str, str]:
    return {"type": "text", "text": written}


IMAGE = {"type": "image", "mimeType": "image/png", "data": "aGk="}
LINK = {"type": "resource_link", "uri": "file:///a", "name": "a"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([text("Hello")], "Hello"),
        ([text('{"a": [1]}')], {"a": [1]}),
        ([text("42")], 42),
        ([text("007")], "007"),
        ([text("NaN")], "NaN"),
        ([text("")], ""),
        ([IMAGE], "data:image/png;base64,aGk="),
        ([IMAGE | {"type": "audio", "mimeType": "audio/wav"}], "data:audio/wav;base64,aGk="),
        ([LINK], LINK),
        ([{"type": "resource", "resource": {"uri": "a", "text": "b"}}],
         {"type": "resource", "resource": {"uri": "a", "text": "b"}}),
        ([text("a"), text("1"), IMAGE], ["a", 1, "data:image/png;base64,aGk="]),
        ([], []),
    ],
)  # fmt: skip
def test_content(content: list[Any], expected: Any) -> None:
    assert value(*content) == expected


def test_structured_content_is_the_answer() -> None:
    assert value(text("{}"), structuredContent={"a": 1}) == {"a": 1}
    assert value(text("b"), structuredContent=None) == "b"


def test_json_stays_byte_for_byte() -> None:
    big = f'{{"n": {"9" * 18}, "f": 1.50, "s": "\\u00e9"}}'
    assert tool_result.read(json.dumps({"content": [text(big)]}).encode()).value == big.encode()
    assert tool_result.read(b'{"structuredContent":{"n": %s}}' % (b"9" * 400)).value == b'{"n": %s}' % (b"9" * 400)


def test_text_with_half_a_character_stays_as_it_is() -> None:
    assert tool_result.read(b'{"content":[{"type":"text","text":"\\ud800"}]}').value == b'"\\ud800"'


def test_error_of_a_tool() -> None:
    found = tool_result.read(json.dumps({"isError": True, "content": [text("no"), IMAGE, text("way")]}).encode())
    assert found.error and found.text == "no\nway"
    assert json.loads(found.content)[1] == IMAGE and found.structured == b""


def test_question_to_the_client_is_no_answer() -> None:
    assert tool_result.read(b'{"resultType":"input_required","inputRequests":{}}').asks
    assert not tool_result.read(b'{"resultType":"complete"}').asks


@pytest.mark.parametrize("raw", [b"[]", b'{"content":7}', b'{"content":[7]}', b""])
def test_what_is_no_result(raw: bytes) -> None:
    if raw:
        with pytest.raises(InvalidParams):
            tool_result.read(raw)
    else:
        assert tool_result.read(raw).value == b"[]"


@given(objects_of(values))
def test_whatever_a_server_answers_becomes_json_or_is_refused(raw: str) -> None:
    for written in (raw, f'{{"content":[{raw}]}}', f'{{"structuredContent":{raw}}}'):
        try:
            answer = tool_result.read(written.encode())
        except InvalidParams:
            continue
        json.loads(answer.value, parse_int=str)
