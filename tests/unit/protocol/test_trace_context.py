"""Trace context from headers and ``_meta``, and into ``_meta`` without touching anything else there."""

from __future__ import annotations

import json

import pytest
from examples import share
from hypothesis import given
from hypothesis import strategies as st
from json_texts import objects_of, values

from metamcp.protocol import jsonrpc, trace_context
from metamcp.protocol.trace_context import TraceContext, insert, joined, of_params, read

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{TRACE[::-1]}-{SPAN[::-1]}-00"
WHOLE = TraceContext(PARENT, "rojo=00f067aa0ba902b7,congo=t61", "user=alice,n=1")
objects = objects_of(values).map(str.encode)


def meta(**members: object) -> bytes:
    return json.dumps({"name": "t", "_meta": members}).encode()


def test_headers_and_meta_are_read_alike() -> None:
    assert read(WHOLE._asdict().get) == WHOLE
    assert of_params(meta(**WHOLE._asdict())) == WHOLE
    assert of_params(b'{"_meta":{"\\u0074raceparent":"%s"}}' % PARENT.encode()) == TraceContext(PARENT)


@pytest.mark.parametrize(
    "parent",
    ["", "x", PARENT.upper(), PARENT[:-1], f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
     f"00-{TRACE}-{'0' * 16}-01", f"{PARENT}\n", f"{PARENT}-{'x' * 300}"],
)  # fmt: skip
def test_traceparent_that_is_none_counts_as_absent_and_its_tracestate_with_it(parent: str) -> None:
    found = {"traceparent": parent, "tracestate": "a=b", "baggage": "c=d"}
    assert read(found.get) == TraceContext("", "", "c=d")
    assert of_params(meta(**found)) == TraceContext("", "", "c=d")


@pytest.mark.parametrize(
    ("name", "value"),
    [("tracestate", "x" * 513), ("tracestate", "a=ü"), ("baggage", "x" * 8193), ("baggage", "a=b\r\nX-Evil: 1")],
)
def test_what_no_header_may_carry_counts_as_absent(name: str, value: str) -> None:
    assert read({"traceparent": PARENT, name: value}.get) == TraceContext(PARENT)


@pytest.mark.parametrize("params", [b"", b"{}", b'{"_meta":null}', b'{"_meta":7}', b'{"_meta":{"traceparent":7}}', b"[",
                                    b'{"_meta":"traceparent"}', b'{"_meta":{"traceparent":null}}'])  # fmt: skip
def test_params_without_any_say_nothing(params: bytes) -> None:
    assert of_params(params) == TraceContext()


def test_first_one_wins_whole_and_baggage_by_itself() -> None:
    other = TraceContext(OTHER, "", "")
    assert joined(other, WHOLE) == TraceContext(OTHER, "", WHOLE.baggage)
    assert joined(WHOLE, other) == WHOLE
    assert joined(TraceContext(), WHOLE) == WHOLE


@share(0.6)
@given(objects, objects)
def test_insertion_keeps_every_other_byte(arguments: bytes, vendor: bytes) -> None:
    form = b'{"arguments":%s,"_meta":{"x":%s,"traceparent":"%s","y":1.50},"z":0}'
    params = jsonrpc.decode_object(form % (arguments, vendor, b"old"))
    made = jsonrpc.encode(insert(params, TraceContext(PARENT)))

    assert made == form % (arguments, vendor, PARENT.encode())


def test_insertion_makes_a_meta_where_there_is_none_and_leaves_what_is_no_object() -> None:
    assert jsonrpc.encode(insert({}, WHOLE)) == b'{"_meta":%s}' % json.dumps(
        WHOLE._asdict(), separators=(",", ":")
    ).encode()
    for raw in (b"null", b"7", b'"x"', b"[]"):
        params = {"_meta": jsonrpc.Raw(raw)}
        assert insert(params, WHOLE) is params


def test_insertion_takes_the_old_tracestate_away_and_leaves_its_clients_baggage() -> None:
    params = jsonrpc.decode_object(b'{"_meta":{"tracestate":"old=1","baggage":"mine=\\u0031"}}')
    made = jsonrpc.encode(insert(params, TraceContext(PARENT, "", "other=1")))
    assert made == b'{"_meta":{"baggage":"mine=\\u0031","traceparent":"%s"}}' % PARENT.encode()


def test_headers_repeat_the_meta_and_nothing_that_would_break_a_head() -> None:
    assert trace_context.headers(meta(**WHOLE._asdict())) == WHOLE._asdict()
    assert trace_context.headers(meta(traceparent=PARENT, baggage="a\r\nb: c")) == {"traceparent": PARENT}
    assert trace_context.headers(b"{}") == {}


@given(st.binary(max_size=200) | objects)
def test_any_bytes_have_a_context_or_none(params: bytes) -> None:
    assert isinstance(of_params(params), TraceContext)
