"""The document that describes the tools of an endpoint: OpenAPI 3.1, whatever the tools are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples import share
from hypothesis import assume, given
from hypothesis import strategies as st
from json_schemas import roots, schemas
from json_texts import objects_of, values
from openapi_spec_validator import OpenAPIV31SpecValidator

from metamcp.errors import InvalidParams
from metamcp.protocol import openapi
from metamcp.protocol.openapi import Tool

URL = "https://gateway.example.com/metamcp/dev/api"
BEARER = {"type": "http", "scheme": "bearer"}


def document(*tools: Tool, **schemes: Any) -> dict[str, Any]:
    """Which is valid."""
    made: dict[str, Any] = json.loads(openapi.document(tools, "MetaMCP: dev", "1.0", URL, schemes))
    try:
        OpenAPIV31SpecValidator(made).validate()
    except RecursionError:  # it looks for properties behind references without end
        assume("allOf" not in json.dumps(made))
        raise
    return made


def operation(tool: Tool) -> dict[str, Any]:
    (path,) = document(tool)["paths"].values()
    found: dict[str, Any] = path["post"]
    return found


# --- whatever the tools are --------------------------------------------------------------------------------

names = st.text(max_size=8) | st.sampled_from(["a", "a.b", "a b", "a/b", "{a}", "x" * 90, "..", "_2", "a_b", "a_b_2"])
tools = st.builds(Tool, names, st.text(max_size=5), st.text(max_size=5), roots | schemas, roots | schemas)


@share(2)
@given(st.lists(tools, max_size=4))
def test_it_is_valid_and_every_name_is_there_once(listed: list[Tool]) -> None:
    made = document(*listed, key=BEARER)
    callable_ = {tool.name for tool in listed} - {"", ".", ".."}
    assert len(made["paths"]) == len(callable_)
    identifiers = [path["post"]["operationId"] for path in made["paths"].values()]
    assert len(set(identifiers)) == len(identifiers)
    assert all(1 <= len(it) <= 64 for it in identifiers)


@given(objects_of(values))
def test_whatever_a_server_writes_as_a_tool_is_readable_as_one(raw: str) -> None:
    written = f'{{"name":"t","inputSchema":{raw},"outputSchema":{raw},"description":"\\ud800"}}'
    read = openapi.tools_of(f'{{"tools":[7,{{"name":1}},{written}]}}'.encode())
    assert [tool.name for tool in read] == ["t"]
    document(*read)


# --- what it says ------------------------------------------------------------------------------------------


def test_tool_is_a_post_with_its_arguments_as_the_body() -> None:
    arguments = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    result = {"type": "object", "properties": {"greeting": {"type": "string"}}}
    made = document(Tool("hello__greet", "Greet", "Says hello.", arguments, result))
    assert made["openapi"] == "3.1.0" and made["servers"] == [{"url": URL}]
    assert "security" not in made
    greet = made["paths"]["/hello__greet"]["post"]
    assert (greet["operationId"], greet["summary"], greet["description"]) == ("hello__greet", "Greet", "Says hello.")
    body = {"schema": {"$ref": "#/components/schemas/hello__greet_input"}}
    assert greet["requestBody"] == {"required": True, "content": {"application/json": body}}
    answer = greet["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"$ref": "#/components/schemas/hello__greet_output"}}
    assert made["components"]["schemas"]["hello__greet_input"] == arguments
    assert made["components"]["schemas"]["hello__greet_output"] == result
    for status in ("422", "default"):
        assert list(greet["responses"][status]["content"]) == ["application/problem+json"]


def test_arguments_that_may_be_missing_need_no_body() -> None:
    assert operation(Tool("t", input={"type": "object", "properties": {"a": {}}}))["requestBody"]["required"] is False


@pytest.mark.parametrize(
    "schema", [{"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": False}, None]
)
def test_tool_without_arguments_has_no_body(schema: Any) -> None:
    assert "requestBody" not in operation(Tool("t", input=schema))
    assert "requestBody" in operation(Tool("t", input={"type": "object", "additionalProperties": True}))


def test_tool_without_a_schema_of_its_results_answers_anything() -> None:
    assert operation(Tool("t"))["responses"]["200"]["content"] == {"application/json": {"schema": {}}}


@pytest.mark.parametrize(
    ("name", "path"), [("a/b", "/a%2Fb"), ("{a}", "/%7Ba%7D"), ("a b?", "/a%20b%3F"), ("é", "/%C3%A9")]
)
def test_name_that_is_none_for_a_path_is_encoded_in_it(name: str, path: str) -> None:
    assert list(document(Tool(name))["paths"]) == [path]


def test_names_that_look_alike_get_ids_of_their_own_and_plain_ones_keep_theirs() -> None:
    made = document(Tool("a b"), Tool("a.b"), Tool("a_b"), Tool("a_b"))
    found = {name: path["post"]["operationId"] for name, path in made["paths"].items()}
    assert found == {"/a%20b": "a_b_2", "/a.b": "a_b_3", "/a_b": "a_b"}


def test_one_of_the_schemes_is_needed() -> None:
    made = document(Tool("t"), bearer=BEARER, header={"type": "apiKey", "in": "header", "name": "X-API-Key"})
    assert made["security"] == [{"bearer": []}, {"header": []}]
    assert set(made["components"]["securitySchemes"]) == {"bearer", "header"}


def test_references_within_a_tool_lead_to_its_own_schema() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    made = document(Tool("t", input=schema), Tool("u", input=schema))
    for name in ("t", "u"):
        found = made["components"]["schemas"][f"{name}_input"]["properties"]["a"]
        assert found == {"$ref": f"#/components/schemas/{name}_input/$defs/A"}


def test_schema_that_cannot_be_read_is_anything_and_the_others_stay() -> None:
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    raw = f'{{"tools":[{{"name":"t","inputSchema":{{"type":"object"}},"outputSchema":{deep}}}]}}'
    with pytest.raises(InvalidParams):
        openapi.tools_of(raw.encode())  # the whole cannot be read by anybody
    assert openapi.tools_of(b'{"tools":[{"name":"t","inputSchema":7,"title":7}]}') == [Tool("t", input=7)]


def test_numbers_that_no_float_can_hold_are_written_as_json() -> None:
    (tool,) = openapi.tools_of(b'{"tools":[{"name":"t","inputSchema":{"const":1e999,"enum":[%s]}}]}' % (b"9" * 5000))
    made = openapi.document([tool], "t", "1", URL)
    assert b"Infinity" not in made and json.loads(made)


@pytest.mark.parametrize("raw", [b"[]", b'{"tools":7}', b"nothing"])
def test_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidParams):
        openapi.tools_of(raw)
