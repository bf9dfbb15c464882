"""Forms of a browser, read: whatever is sent gives fields or a refusal."""

from __future__ import annotations

import io
from urllib.parse import urlencode

import pytest
from fake_gateway import FakeGateway, application
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import InvalidRequest
from metamcp.web.forms import MOST_FIELDS, fields
from metamcp.web.incoming import Incoming
from metamcp.web.state import web_state

FORM = "application/x-www-form-urlencoded"
STATE = web_state(application(FakeGateway()))


def sent(body: bytes, kind: str = FORM) -> Incoming:
    environ = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    return Incoming(environ, STATE, "console.act", None)


@given(st.dictionaries(st.text(), st.text().filter(lambda text: "\r" not in text), max_size=10))
def test_what_a_browser_sends_is_read_as_it_was_written(written: dict[str, str]) -> None:
    body = urlencode({name: value.replace("\n", "\r\n") for name, value in written.items()}).encode()
    assert fields(sent(body)) == written


@given(st.binary(max_size=300))
def test_any_bytes_are_fields_or_refused(body: bytes) -> None:
    try:
        found = fields(sent(body))
    except InvalidRequest:
        return
    assert all("\r\n" not in value for value in found.values())


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_what_is_no_form_has_no_fields(kind: str) -> None:
    assert fields(sent(b"csrf=1", kind)) == {}


def test_a_form_has_a_kind_in_any_letters_and_is_read_once() -> None:
    asked = sent(b"a=1&a=2&b=", f"{FORM.title()}; charset=utf-8")
    assert fields(asked) == {"a": "2", "b": ""}
    assert fields(asked) is fields(asked)


def test_too_many_fields_are_refused() -> None:
    body = b"&".join(b"a=1" for _ in range(MOST_FIELDS + 1))
    with pytest.raises(InvalidRequest, match="at most"):
        fields(sent(body))
