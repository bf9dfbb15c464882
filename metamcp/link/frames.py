"""What crosses the link: typed frames, each behind its length (4 bytes, big endian), as msgpack arrays.

``stream`` numbers one exchange; the web tier counts them up per connection.
"""

from __future__ import annotations

import struct

import msgspec

from metamcp.gateway.interface import Outbound, Request

MAX_FRAME = 96 * 1024 * 1024
"""Bytes; above the largest message that either side lets through."""

_LENGTH = struct.Struct(">I")


class Open(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Web to supervisor: a new exchange."""

    stream: int
    request: Request


class Close(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Web to supervisor: the exchange is given up."""

    stream: int


class Item(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Supervisor to web: the next item of an exchange."""

    stream: int
    outbound: Outbound


Frame = Open | Close | Item

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


class FrameInvalid(Exception):
    """The other side does not speak this protocol, or another version of it. The connection is ended."""


def encode(frame: Frame) -> bytes:
    buffer = bytearray(_LENGTH.size)
    _encoder.encode_into(frame, buffer, _LENGTH.size)
    _LENGTH.pack_into(buffer, 0, len(buffer) - _LENGTH.size)
    return bytes(buffer)


class FrameReader:
    """Bytes in, frames out. Holds at most one incomplete frame."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that ``chunk`` completes. Raises FrameInvalid."""
        buffer = self._buffer
        buffer += chunk
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._limit:
                raise FrameInvalid(f"a frame of {length} bytes; the limit is {self._limit}")
            end = start + _LENGTH.size + length
            if end > len(buffer):
                break
            frames.append(_decode(bytes(memoryview(buffer)[start + _LENGTH.size : end])))
            start = end
        del buffer[:start]
        return frames


def _decode(data: bytes) -> Frame:
    try:
        frame: Frame = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameInvalid(f"not a frame: {error}") from error
    return frame
