"""A file that somebody else has written: JSON, JSON with comments and trailing commas as editors take it, or YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from metamcp.config.document import DOCUMENT, Problem, read_json
from metamcp.errors import ConfigInvalid

MAX_FILE_BYTES = 16 * 1024 * 1024  # a client may keep much else beside its servers
MAX_DEPTH = 64
_HALF = re.compile(r"\\[uU][dD0]")
_AS_JSON = ("{", "[", '"', "/")
_STRING = r'("(?:\\.|[^"\\])*(?:"|\\?\Z))'  # or what is left without an end, so that nobody looks for it again
_LEFT_OUT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_COMMA_AT_END = re.compile(_STRING + r"|,(?=\s*[\]}])", re.DOTALL)


def read(content: bytes) -> tuple[Any, list[Problem]]:
    """The document, and its duplicate keys. Raises ConfigInvalid; no text of it repeats what stands in the file."""
    if len(content) > MAX_FILE_BYTES:
        raise _invalid(f"is larger than {MAX_FILE_BYTES // 1024**2} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid("not UTF-8") from None
    found = _json(text) if text.lstrip().startswith(_AS_JSON) else _yaml(text)
    if _HALF.search(text) and not _can_be_written(found[0]):
        raise _invalid("not UTF-8: half of a surrogate pair")
    return found


def _json(text: str) -> tuple[Any, list[Problem]]:
    try:
        found = read_json(text)
    except ConfigInvalid:
        found = read_json(_plain(text))
    if _too_deep(found[0]):
        raise _invalid(f"nested more than {MAX_DEPTH} deep")
    return found


def _yaml(text: str) -> tuple[Any, list[Problem]]:
    from metamcp.config.importing.yaml_text import read_yaml  # noqa: PLC0415  no other command needs the parser

    return read_yaml(text, MAX_DEPTH)


def _can_be_written(document: Any) -> bool:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep(document: Any) -> bool:
    """Level by level: whoever goes on with the document may use recursion."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [item for value in level if isinstance(value, (dict, list)) for item in _inner(value)]
    return any(isinstance(value, (dict, list)) for value in level)


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _plain(text: str) -> str:
    """Without comments and trailing commas; what stands behind them keeps its line and column."""
    bare = _LEFT_OUT.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
    return _COMMA_AT_END.sub(lambda found: found[1] or " ", bare)


def _invalid(text: str) -> ConfigInvalid:
    return ConfigInvalid([(DOCUMENT, text)])
