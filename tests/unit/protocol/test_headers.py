from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metamcp.errors import HeaderMismatch, ServerMisbehaved
from metamcp.protocol import headers, json_schema
from metamcp.protocol.headers import Headers

texts = st.text() | st.text(max_size=4).map("=?base64?{}?=".format)

# --- coding of values --------------------------------------------------------------------------------------

EXAMPLES = [  # of the specification
    ("us-west1", "us-west1"),
    ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
    (" padded ", "=?base64?IHBhZGRlZCA=?="),
    ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
    ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
]


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_the_examples_of_the_specification_are_coded_as_it_says(text: str, value: str) -> None:
    assert headers.encode(text) == value
    assert headers.decode(value) == text


@given(texts)
def test_any_text_survives_its_way_through_a_header(text: str) -> None:
    value = headers.encode(text)
    assert headers.decode(value) == text
    assert all(" " <= letter <= "~" for letter in value) and value == value.strip()


@pytest.mark.parametrize("text", ["", "a b", "=?BASE64?YQ==?=", "=?base64?YQ==", "a=?base64?YQ==?=", "=?utf-8?q?a?="])
def test_plain_text_goes_as_it_is(text: str) -> None:
    assert headers.encode(text) == text == headers.decode(text)


def test_blanks_around_a_value_do_not_count_but_those_within_its_base64_do() -> None:
    assert headers.decode(" \t name \t") == "name"
    assert headers.decode(" =?base64?IGEg?= ") == " a "


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?YQ?=",  # no padding
        "=?base64?YQ===?=",
        "=?base64?Y Q==?=",
        "=?base64?-_8=?=",  # another alphabet
        "=?base64?YR==?=",  # bits behind the end
        "=?base64?/w==?=",  # not UTF-8
        "caf\u00e9",
        "a\x00b",
        "a\nb",
        "\x7f",
    ],
)
def test_a_malformed_value_is_refused(value: str) -> None:
    with pytest.raises(HeaderMismatch) as caught:
        headers.decode(value)
    assert (caught.value.code, caught.value.http_status) == (-32020, 400)


# --- the headers of one request ----------------------------------------------------------------------------


def test_names_are_found_in_any_case_and_values_without_blanks() -> None:
    fields = Headers([("MCP-Method", " tools/list ")])
    assert fields.get("mcp-method") == fields.get("Mcp-Method") == "tools/list"
    assert fields.get("Mcp-Name") is None


def test_a_name_that_came_twice_in_two_cases_is_repeated() -> None:
    fields = Headers([("Mcp-Name", "a"), ("mcp-name", "a"), ("Accept", "x")])
    assert fields.repeated("MCP-NAME") and not fields.repeated("accept") and not fields.repeated("absent")
    assert fields.get("Mcp-Name") == "a"


def test_params_are_decoded_by_token_and_unreadable_ones_marked() -> None:
    fields = Headers(
        [
            ("Mcp-Param-Region", " =?base64?w6k=?= "),
            ("mcp-param-EMPTY", ""),
            ("Mcp-Param-Bad", "=?base64?YQ?="),
            ("Mcp-Param-Twice", "1"),
            ("Mcp-Param-twice", "1"),
            ("Mcp-Param-", "no token"),
            ("Mcp-Name", "x"),
        ]
    )
    assert fields.params() == {"region": "é", "empty": "", "bad": None, "twice": None}


# --- annotations -------------------------------------------------------------------------------------------


def schema(properties: Any, **others: Any) -> bytes:
    return json.dumps({"type": "object", "properties": properties} | others).encode()


def annotated(token: Any, kind: Any = "string") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": token}


def test_annotated_properties_are_found_in_their_order_however_deep() -> None:
    inner = {"type": "object", "properties": {"b": annotated("Inner", "integer"), "c": {"type": "string"}}}
    found = headers.mirrored(schema({"z": annotated("Zone"), "a": inner, "f": annotated("flag", "boolean")}))
    assert list(found.items()) == [("Zone", ("z",)), ("Inner", ("a", "b")), ("flag", ("f",))]


@pytest.mark.parametrize("raw", [b"true", b"null", b"{}", b'{"properties":[]}', b'{"properties":{"a":1}}'])
def test_a_schema_without_annotations_mirrors_nothing(raw: bytes) -> None:
    assert headers.mirrored(raw) == {}


def test_the_annotations_name_within_data_is_no_annotation() -> None:
    data = {"x-mcp-header": "not a token!"}
    part = {"type": "object", "default": data, "examples": [data], "const": data, "enum": [data]}
    assert headers.mirrored(schema({"x-mcp-header": part})) == {}


@pytest.mark.parametrize("token", ["", "a b", "a:b", "é", "a\n", "a\r", 1, None, ["a"], "a/b"])
def test_a_token_that_is_no_header_token_is_refused(token: Any) -> None:
    with pytest.raises(ServerMisbehaved, match="'p' is not a header token"):
        headers.mirrored(schema({"p": annotated(token)}))


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", None, ["string"], 1])
def test_only_strings_integers_and_booleans_may_be_mirrored(kind: Any) -> None:
    with pytest.raises(ServerMisbehaved, match="string, integer or boolean"):
        headers.mirrored(schema({"p": annotated("P", kind)}))


def test_a_token_that_differs_only_in_case_is_refused() -> None:
    with pytest.raises(ServerMisbehaved, match="more than one property"):
        headers.mirrored(schema({"a": annotated("Region"), "b": annotated("REGION")}))


@pytest.mark.parametrize("keyword", sorted(json_schema.ONE))
def test_an_annotation_behind_another_keyword_is_refused(keyword: str) -> None:
    with pytest.raises(ServerMisbehaved, match="no chain of `properties`"):
        headers.mirrored(schema({"p": {keyword: {"properties": {"q": annotated("Q")}}}}))


@pytest.mark.parametrize("keyword", sorted(json_schema.LIST))
def test_an_annotation_in_a_list_of_schemas_is_refused(keyword: str) -> None:
    with pytest.raises(ServerMisbehaved, match="no chain of `properties`"):
        headers.mirrored(schema({}, **{keyword: [{}, {"properties": {"q": annotated("Q")}}]}))


@pytest.mark.parametrize("keyword", sorted(json_schema.MAP))
def test_an_annotation_in_a_map_of_schemas_is_refused(keyword: str) -> None:
    with pytest.raises(ServerMisbehaved, match="no chain of `properties`"):
        headers.mirrored(schema({}, **{keyword: {"one": annotated("Q")}}))


def test_an_annotation_of_the_whole_schema_is_refused() -> None:
    with pytest.raises(ServerMisbehaved, match="no chain of `properties`"):
        headers.mirrored(b'{"type":"string","x-mcp-header":"A"}')


@pytest.mark.parametrize("raw", [b"", b"{", b'{"properties":' * 100_000])
def test_a_schema_that_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(ServerMisbehaved, match="cannot be read"):
        headers.mirrored(raw)


# --- arguments and their headers ---------------------------------------------------------------------------

ANNOTATIONS = {"Region": ("region",), "Limit": ("options", "limit")}


def check(arguments: bytes, **sent: str) -> None:
    headers.check_params(ANNOTATIONS, arguments, sent)


def refused(arguments: bytes, **sent: str) -> str:
    with pytest.raises(HeaderMismatch) as caught:
        check(arguments, **sent)
    return caught.value.text


@pytest.mark.parametrize(
    "arguments",
    [b"", b"{}", b'{"region":null}', b'{"options":{}}', b'{"options":{"limit":null}}', b'{"options":7}', b"[]"],
)
def test_an_argument_without_value_needs_no_header_and_allows_none(arguments: bytes) -> None:
    assert headers.params_headers(ANNOTATIONS, arguments) == {}
    check(arguments)
    assert "has no value to mirror" in refused(arguments, limit="1")


@pytest.mark.parametrize("value", [b"[]", b"{}", b'["a"]'])
def test_a_value_that_cannot_be_mirrored_allows_no_header(value: bytes) -> None:
    arguments = b'{"region":' + value + b"}"
    assert headers.params_headers(ANNOTATIONS, arguments) == {}
    check(arguments)
    assert "has no value to mirror" in refused(arguments, region="a")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'"us-west1"', "us-west1"),
        (b'""', ""),
        (b'"a\\u00e9"', "aé"),
        (b'"42.0"', "42.0"),
        (b"true", "true"),
        (b"false", "false"),
        (b"42", "42"),
        (b"-7", "-7"),
        (b"-0", "0"),
        (b"42.0", "42"),
        (b"4.2e1", "42"),
        (b"4.5", "4.5"),
        (b"1e400", "1e400"),
        (b"9007199254740993", "9007199254740993"),
        (b"1" * 5000, "1" * 5000),
    ],
)
def test_a_value_goes_into_its_header_and_is_recognised_there(raw: bytes, text: str) -> None:
    arguments = b'{"region": ' + raw + b" }"
    assert headers.params_headers(ANNOTATIONS, arguments) == {"Mcp-Param-Region": headers.encode(text)}
    check(arguments, region=text)


def test_nested_arguments_are_read_at_their_own_path() -> None:
    arguments = b'{"limit":9,"options":{"region":"x","limit":5}}'
    assert headers.params_headers(ANNOTATIONS, arguments) == {"Mcp-Param-Limit": "5"}


@pytest.mark.parametrize("sent", ["42", "42.0", "042", "42.000"])
def test_integers_are_compared_as_numbers(sent: str) -> None:
    check(b'{"region":42}', region=sent)
    check(b'{"region":42.0}', region=sent)


@pytest.mark.parametrize("sent", ["43", "42.5", "4.2e1", "+42", "4_2", " 42", "", "-42", "0x2a", "42."])
def test_what_is_not_that_integer_is_refused(sent: str) -> None:
    assert "does not equal" in refused(b'{"region":42}', region=sent)


def test_strings_and_booleans_are_compared_as_they_are() -> None:
    assert "does not equal" in refused(b'{"region":"42"}', region="42.0")
    assert "does not equal" in refused(b'{"region":"A"}', region="a")
    assert "does not equal" in refused(b'{"region":true}', region="True")
    assert "does not equal" in refused(b'{"region":true}', region="1")


def test_a_missing_header_is_refused_with_its_name_and_no_value() -> None:
    text = refused(b'{"region":"hidden","options":{"limit":1}}', limit="1")
    assert "Mcp-Param-Region is missing" in text and "'region'" in text and "hidden" not in text


def test_a_header_that_was_unreadable_is_refused_only_where_it_is_recognised() -> None:
    assert "malformed or was sent more than once" in refused(b"{}", region=None)
    check(b"{}", unknown=None)


@given(st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers() | texts))
@example({"a": "\0unreadable"})
def test_what_a_client_sends_always_passes_the_check(arguments: dict[str, Any]) -> None:
    annotations = {name.upper(): (name,) for name in "abc"}
    raw = json.dumps(arguments).encode()
    sent = Headers(headers.params_headers(annotations, raw).items())
    headers.check_params(annotations, raw, sent.params())
    assert len(sent.params()) == len([value for value in arguments.values() if value is not None])
