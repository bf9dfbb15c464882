"""What is fuzzed: each takes any bytes, and raises when something is not as it must be. Besides the declared refusals
nothing may be raised, and how the bytes are cut into chunks may make no difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metamcp.config.model import Allowance, ImageRule, ServerSpec
from metamcp.errors import CommandInvalid, MetaMCPError, RefusedByPolicy
from metamcp.link.frames import FrameInvalid, FrameReader, encode
from metamcp.protocol import jsonrpc
from metamcp.protocol.framing import LineSplitter, LineTooLong
from metamcp.protocol.halves import veil
from metamcp.protocol.sse import EventReader, EventTooLong
from metamcp.runtime.command.grammar import emit, parse
from metamcp.runtime.policy.check import obeys
from metamcp.runtime.policy.decide import decide

LIMIT = 64
"""Bytes of a line, an event or a frame: so small that it is met."""

ALLOWANCES = (
    Allowance(),
    Allowance(network=True, ports=True, gpus=True, writable=True, user=False),
    Allowance(cap_add=("NET_RAW",), devices=("/dev/dri",), binds=("/home/me",), shm_size=1 << 30),
)


def argv(data: bytes) -> None:
    """The first byte chooses what the image's rule allows; every line behind it is one argument. Either it is refused
    with its reason, or what comes out means what was decided, and obeys the policy."""
    allow = ALLOWANCES[data[0] % len(ALLOWANCES) if data else 0]
    words = [word.decode("utf-8", "surrogateescape") for word in data[1:].split(b"\n")]
    rule = ImageRule("*", allow=allow)
    setting: dict[str, Any] = {"bind_roots": ("/srv",), "realpath": lambda path: path, "host_gateway": True}
    try:
        decision = decide(parse("docker", words), ServerSpec("s"), rule, **setting)
    except (CommandInvalid, RefusedByPolicy) as refused:
        assert refused.text, "a refusal has its reason"
        return
    assert obeys(decision.run, ServerSpec("s"), rule, **setting), "it escapes the policy"
    written = emit(decision.run)
    assert parse(written[0], written[1:]) == decision.run, "it means something else once it is written"


def lines(data: bytes) -> None:
    """Standard output of a child."""
    _in_any_chunks(data, lambda: LineSplitter(LIMIT), LineTooLong)


def events(data: bytes) -> None:
    """Server-sent events of a remote server."""
    _in_any_chunks(data, lambda: EventReader(LIMIT), EventTooLong)


def frames(data: bytes) -> None:
    """What a web worker sends."""
    for frame in _in_any_chunks(data, lambda: FrameReader(LIMIT), FrameInvalid):
        assert FrameReader().feed(encode(frame)) == [frame]


def json(data: bytes) -> None:
    """A message of a client or a server, halves of surrogate pairs among it."""
    veiled = veil(data)
    if veiled is not None and veiled.mark:
        assert len(veiled.data) == len(data) and veiled.bytes_of(veiled.data) == data
    try:
        message = jsonrpc.parse(data)
    except MetaMCPError as refused:
        assert refused.fault == "client" and refused.text
        return
    for payload in map(bytes, (message.id, message.params, message.result, message.error)):
        assert payload in data or not data.isascii(), "a payload keeps its bytes"


def _in_any_chunks(data: bytes, reader: Callable[[], Any], refusal: type[Exception]) -> list[Any]:
    """What a reader finds when it gets all at once; it must find the same in pieces, unless it refuses: then it may
    have found less, but nothing else."""
    whole, refused = _read(reader(), [data], refusal)
    for size in (1, 2, 7):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        found, stopped = _read(reader(), pieces, refusal)
        assert stopped == refused
        assert found == whole if not refused else found[: len(whole)] == whole
    return whole


def _read(reader: Any, chunks: list[bytes], refusal: type[Exception]) -> tuple[list[Any], bool]:
    found: list[Any] = []
    try:
        for chunk in chunks:
            found += reader.feed(chunk)
    except refusal:
        return found, True
    return found, False


TARGETS: dict[str, Callable[[bytes], None]] = {
    "argv": argv, "lines": lines, "events": events, "frames": frames, "json": json,
}  # fmt: skip
