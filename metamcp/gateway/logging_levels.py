"""Log messages of servers and who asked for how much (MCP 2025-11-25, Logging; 2026-07-28: per request)."""

from __future__ import annotations

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.envelope import LOG_LEVELS


def reaches(params: bytes, level: str) -> bool:
    """Whether the message in ``params`` is severe enough for someone who asked for ``level``; "" asks for none."""
    try:
        said = jsonrpc.decode_string(jsonrpc.decode_object(params).get("level"), "level")
    except InvalidParams:
        return False
    return level in LOG_LEVELS and said in LOG_LEVELS and LOG_LEVELS.index(said) >= LOG_LEVELS.index(level)
