"""The variables of a WSGI environment, from the head of a request."""

from __future__ import annotations

from metamcp.protocol.http_head import HeadReader
from metamcp.web.environ import variables


def of(target: bytes, *fields: bytes) -> dict[str, str]:
    return variables(HeadReader().read(b"POST " + target + b" HTTP/1.1", fields))


def test_the_target_is_a_path_that_is_decoded_and_a_query_that_is_not() -> None:
    found = of(b"/metamcp/%c3%a4%2Fb/mcp?a=%20?&b")
    assert found["PATH_INFO"] == "/metamcp/\u00c3\u00a4/b/mcp"
    assert (found["QUERY_STRING"], found["SCRIPT_NAME"]) == ("a=%20?&b", "")
    assert found["RAW_URI"] == "/metamcp/%c3%a4%2Fb/mcp?a=%20?&b"


def test_fields_become_variables_and_repeated_ones_one() -> None:
    found = of(b"/", b"Content-Type: a/b", b"Content-Length: 3", b"accept: x", b"Accept: y", b"X-Text: \xe4")
    assert (found["CONTENT_TYPE"], found["CONTENT_LENGTH"]) == ("a/b", "3")
    assert (found["HTTP_ACCEPT"], found["HTTP_X_TEXT"]) == ("x,y", "\u00e4")


def test_a_name_that_would_look_like_another_one_is_left_out() -> None:
    assert "HTTP_X_API_KEY" not in of(b"/", b"X_API_Key: forged")
