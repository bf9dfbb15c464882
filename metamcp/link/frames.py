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
_LENGTH_SIZE = _LENGTH.size


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
    data = _encoder.encode(frame)
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Bytes in, frames out. Holds at most one incomplete frame."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that ``chunk`` completes. Raises FrameInvalid."""
        if self._buffer:
            self._buffer += chunk
            frames, end = self._take(self._buffer)
            del self._buffer[:end]
        else:  # the usual case: whole frames, which are not copied first
            frames, end = self._take(chunk)
            self._buffer += memoryview(chunk)[end:]
        return frames

    def _take(self, data: bytes | bytearray) -> tuple[list[Frame], int]:
        """The whole frames at the beginning of ``data``, and where they end."""
        frames: list[Frame] = []
        start, size = 0, len(data)
        with memoryview(data) as view:
            while size - start >= _LENGTH_SIZE:
                (length,) = _LENGTH.unpack_from(data, start)
                if length > self._limit:
                    raise FrameInvalid(f"a frame of {length} bytes; the limit is {self._limit}")
                end = start + _LENGTH_SIZE + length
                if end > size:
                    break
                frames.append(_decode(view[start + _LENGTH_SIZE : end]))
                start = end
        return frames, start


def _decode(data: memoryview) -> Frame:
    try:
        frame: Frame = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameInvalid(f"not a frame: {error}") from error
    return frame
