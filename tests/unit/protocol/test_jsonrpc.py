from __future__ import annotations

import json
from typing import Any

import pytest
from examples import share
from hypothesis import given
from hypothesis import strategies as st
from json_texts import ids, objects_of, values

from metamcp.errors import InvalidParams, InvalidRequest, ParseError
from metamcp.protocol import jsonrpc

fewer = share(0.4)  # deep values are slow to make


def message(**members: str) -> bytes:
    inside = "".join(f',"{name}":{text}' for name, text in members.items())
    return f'{{"jsonrpc":"2.0"{inside}}}'.encode()


@fewer
@given(objects_of(values), ids)
def test_params_and_id_of_a_request_are_emitted_byte_for_byte(params: str, identifier: bytes) -> None:
    sent = jsonrpc.request(identifier, "tools/call", params.encode())
    got = jsonrpc.parse(sent)
    assert (got.kind, got.method) == ("request", "tools/call")
    assert jsonrpc.request(bytes(got.id), got.method or "", bytes(got.params)) == sent


@fewer
@given(values)
def test_result_of_any_value_is_emitted_byte_for_byte(value: str) -> None:
    sent = jsonrpc.result_response(b"7", value.encode())
    got = jsonrpc.parse(sent)
    assert got.kind == "response"
    assert jsonrpc.result_response(bytes(got.id), bytes(got.result)) == sent


@fewer
@given(objects_of(values))
def test_error_of_a_server_is_emitted_byte_for_byte(error: str) -> None:
    sent = jsonrpc.error_response(b'"x"', error.encode())
    assert jsonrpc.error_response(b'"x"', bytes(jsonrpc.parse(sent).error)) == sent


@fewer
@given(st.dictionaries(st.text("abcé\u200d", max_size=4), values, max_size=4))
def test_decoded_object_keeps_order_and_the_bytes_of_its_members(members: dict[str, str]) -> None:
    text = "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
    decoded = jsonrpc.decode_object(text.encode())
    expected = [(name, value.encode()) for name, value in members.items()]
    assert [(name, bytes(raw)) for name, raw in decoded.items()] == expected
    again = jsonrpc.decode_object(jsonrpc.encode(decoded))
    assert [(name, bytes(raw)) for name, raw in again.items()] == expected


@fewer
@given(st.lists(values, max_size=4))
def test_decoded_array_keeps_the_bytes_of_its_members(items: list[str]) -> None:
    decoded = jsonrpc.decode_array(("[" + " , ".join(items) + "]").encode(), "tools")
    assert [bytes(raw) for raw in decoded] == [item.encode() for item in items]


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (b"latin \xe9", b"latin \xef\xbf\xbd"),
        ("cut 😀".encode()[:-1], b"cut \xef\xbf\xbd"),
        (b"\xed\xa0\x80", b"\xef\xbf\xbd" * 3),
    ],
)
def test_bytes_that_are_no_utf8_are_mended_and_their_message_kept(text: bytes, mended: bytes) -> None:
    sent = jsonrpc.result_response(b"1", b'{"text": "' + text + b'", "n": 1.0}')
    assert bytes(jsonrpc.parse(sent).result) == b'{"text": "' + mended + b'", "n": 1.0}'


@pytest.mark.parametrize(
    "text", [rb"\ud800", rb"cut \uD83D", rb"\ude00\ud83d", rb"\ud83d\ud83d\ude00", rb"\\\udfff \\ud800"]
)
def test_halves_of_surrogate_pairs_stay_as_they_were_written(text: bytes) -> None:
    sent = jsonrpc.request(b'"%s"' % text, "m", b'{"%s": ["%s"]}' % (text, text))
    got = jsonrpc.parse(sent)
    assert jsonrpc.request(bytes(got.id), got.method or "", bytes(got.params)) == sent


@given(st.text(st.characters(categories=["Cs", "L"]), max_size=20), st.booleans())
def test_string_with_halves_is_read_as_a_lenient_reader_reads_it(text: str, upper: bool) -> None:
    written = "".join(f"\\u{ord(char):04{'X' if upper else 'x'}}" if ord(char) < 0x10000 else char for char in text)
    lenient: str = json.loads(f'"{written}"')
    assert jsonrpc.decode_string(f'"{written}"'.encode(), "text") == lenient
    assert json.loads(jsonrpc.encode({"text": [lenient]})) == {"text": [lenient]}


def test_half_in_a_name_of_a_member_is_the_same_name_when_it_is_emitted() -> None:
    decoded = jsonrpc.decode_object(rb'{"a\uD800": "\uDC0a", "b": 1.0}')
    assert list(decoded) == ["a\ud800", "b"]
    assert jsonrpc.encode(decoded) == rb'{"a\ud800":"\uDC0a","b":1.0}'


def test_half_in_a_method_is_replaced_so_that_every_later_reader_can_take_it() -> None:
    assert jsonrpc.parse(message(id="1", method=r'"no\ud800"')).method == "no?"


def test_byte_order_mark_before_a_message_is_ignored() -> None:
    assert jsonrpc.parse(b"\xef\xbb\xbf" + message(id="1", method='"m"')).method == "m"


def test_member_that_comes_twice_in_a_payload_stays_and_in_the_envelope_the_last_one_counts() -> None:
    twice = b'{"a":1,"a":2,"a":1}'
    got = jsonrpc.parse(message(id="1", result="0")[:-1] + b',"result":' + twice + b"}")
    assert bytes(got.result) == twice


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":%s}', b"7"),
        (b' { "jsonrpc" : "2.0" , "id" : 70 , "result":%s}', b"70"),
        (b'{"id":7,"jsonrpc":"2.0","result":%s}', b"7"),
        (b'{"result":%s,"jsonrpc":"2.0","id":7}', b"7"),
        (b'{"jsonrpc":"2.0","result":%s , "id": 7 , "jsonrpc":"2.0" } ', b"7"),
        (b'{"jsonrpc":"2.0","id":"7","result":%s}', b""),
        (b'{"jsonrpc":"2.0","result":%s}', b""),
        (b'{"result":[{"jsonrpc":"2.0","id":7,"x":%s}]}', b""),
        (b'{"method":"m","params":{"x":%s,"id":7}}', b""),
    ],
)
def test_id_of_an_answer_nested_too_deeply_is_found_at_its_ends(body: bytes, found: bytes) -> None:
    deep = body % (b"[" * 5000 + b"]" * 5000)
    with pytest.raises(jsonrpc.NestedTooDeeply):
        jsonrpc.parse(deep)
    assert jsonrpc.id_of_unreadable(deep) == found


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_payload_nested_too_deeply_is_refused_and_one_that_is_merely_deep_is_kept(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * 500 + b"1" + closing * 500
    assert bytes(jsonrpc.parse(jsonrpc.result_response(b"1", deep)).result) == deep
    with pytest.raises(ParseError, match="nested too deeply"):
        jsonrpc.parse(jsonrpc.result_response(b"1", opening * 100_000 + b"1" + closing * 100_000))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"Server started on port 3000",
        message(id="1", method='"m"') + b" {}",
        message(id="01", method='"m"'),
        message(id="1", result='"\x01"'),
        message(id="1", result=r'"\ud8"'),
        message(id="1", result=r'"\ud800'),
        message(id="1", result="NaN"),
        b"\xff\xfe" + message(id="1", method='"m"').decode().encode("utf-16-le"),
        message(id="1", method='"m"', params='{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        message(id="1", method='"m"', params='{"a":' + "[" * 1_000_000),
    ],
    ids=lambda body: body[:60],
)
def test_body_that_is_not_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ParseError):
        jsonrpc.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"{}",
        b'{"jsonrpc":"1.0","id":1,"method":"m"}',
        message(id="1"),
        message(result="{}"),
        message(id="1", method="5"),
        message(id="null", method='"m"'),
        message(id="1.5", method='"m"'),
        message(id="1e3", method='"m"'),
        message(id="true", method='"m"'),
        message(id="[1]", method='"m"'),
        message(id="1", method='"m"', params="[1]"),
        message(id="1", method='"m"', params="null"),
        message(id="1", method='"m"', params='"text"'),
    ],
)
def test_json_that_is_no_message_is_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        jsonrpc.parse(body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (message(id="1", method='"ping"'), "request"),
        (message(method='"notifications/initialized"'), "notification"),
        (message(id="1", result="null"), "response"),
        (message(id="null", error='{"code":-32700,"message":"?"}'), "response"),
        (message(id='"a"', method='"m"', extra="[1]"), "request"),
    ],
)
def test_members_decide_the_kind_of_a_message(body: bytes, kind: str) -> None:
    assert jsonrpc.parse(body).kind == kind


def test_absent_member_is_empty_and_null_is_not() -> None:
    got = jsonrpc.parse(message(id="1", result="null"))
    assert (bytes(got.result), bytes(got.error), bytes(got.params)) == (b"null", b"", b"")


@given(st.text(st.characters(categories=["Cs", "L", "Cc"]), max_size=6))
def test_ids_with_halves_have_one_key_for_all_spellings(text: str) -> None:
    units = [ord(char) for char in text if ord(char) < 0x10000]
    lower, upper = (b'"' + b"".join(b"\\u" + (form % unit) for unit in units) + b'"' for form in (b"%04x", b"%04X"))
    assert jsonrpc.id_key(lower) == jsonrpc.id_key(upper)
    assert json.loads(jsonrpc.id_key(lower)) == json.loads(lower)


@given(st.text(max_size=8))
def test_ids_with_the_same_text_have_the_same_key_however_they_are_escaped(text: str) -> None:
    ascii_only = json.dumps(text).encode()
    every_escape = '"' + "".join(f"\\u{unit:04x}" for unit in utf16(text)) + '"'
    plain = json.dumps(text, ensure_ascii=False).encode()
    assert len({jsonrpc.id_key(key) for key in (ascii_only, every_escape.encode(), plain)}) == 1


@given(st.text(max_size=8), st.text(max_size=8))
def test_ids_with_other_text_have_other_keys(one: str, other: str) -> None:
    keys = [jsonrpc.id_key(json.dumps(text).encode()) for text in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[place : place + 2]) for place in range(0, len(data), 2)]


@given(st.integers())
def test_number_and_string_of_the_same_digits_are_different_ids(number: int) -> None:
    assert jsonrpc.id_key(b"%d" % number) != jsonrpc.id_key(b'"%d"' % number)
    assert jsonrpc.valid_id(b"%d" % number)


def test_key_of_something_that_is_no_id_is_itself() -> None:
    nested = b"[" * 5000 + rb'"\n"' + b"]" * 5000
    assert jsonrpc.id_key(nested) == nested


@pytest.mark.parametrize("raw", [b"[]", b'"a"', b"null", b'{"a":', b"{" * 9, b'{"\xff":1}', b'{"a":' * 5000])
def test_decode_object_refuses_anything_else(raw: bytes) -> None:
    with pytest.raises(InvalidParams, match="arguments must be an object"):
        jsonrpc.decode_object(raw, "arguments")


def test_absent_object_is_empty() -> None:
    assert jsonrpc.decode_object(b"") == jsonrpc.decode_object(jsonrpc.Raw(b"")) == {}


@pytest.mark.parametrize("raw", [b"{}", b"", b"[1,", b"[" * 5000])
def test_decode_array_refuses_anything_else(raw: bytes) -> None:
    with pytest.raises(InvalidParams, match="tools must be an array"):
        jsonrpc.decode_array(raw, "tools")


@pytest.mark.parametrize(
    "raw", [None, b"", jsonrpc.Raw(b""), b"1", b"null", b'"\xff"', b'"a', rb'"\ud800', rb'["\ud800"]']
)
def test_decode_string_refuses_anything_else(raw: jsonrpc.Raw | bytes | None) -> None:
    with pytest.raises(InvalidParams, match="name must be a string"):
        jsonrpc.decode_string(raw, "name")


def test_messages_without_params_have_no_such_member() -> None:
    assert json.loads(jsonrpc.request(b"1", "ping", b"")) == {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert json.loads(jsonrpc.notification("n", b"")) == {"jsonrpc": "2.0", "method": "n"}
    assert json.loads(jsonrpc.notification("n", b'{"a":1}'))["params"] == {"a": 1}


def test_method_with_quotes_stays_one_string() -> None:
    for made in (jsonrpc.request(b"1", 'a"b\n', b""), jsonrpc.notification('a"b\n', b"")):
        assert json.loads(made)["method"] == 'a"b\n'


def test_error_without_a_known_id_has_the_id_null() -> None:
    error: dict[str, Any] = {"code": -32700, "message": "no"}
    assert json.loads(jsonrpc.error_response(b"", error)) == {"jsonrpc": "2.0", "id": None, "error": error}


@pytest.mark.parametrize(
    "member",
    [b'"id":"%s","method":"ping"' % (b"i" * 1100), b'"id":1,"method":"%s"' % (b"m" * 300)],
    ids=["id", "method"],
)
def test_an_id_or_a_method_without_measure_is_no_message(member: bytes) -> None:
    with pytest.raises(InvalidRequest, match="longer"):
        jsonrpc.parse(b'{"jsonrpc":"2.0",%s}' % member)
