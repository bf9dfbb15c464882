"""The configuration directory, read at once: ``servers.json`` and ``allowlist.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from metamcp.config.allowlist_schema import parse_allowlist
from metamcp.config.document import DOCUMENT
from metamcp.config.model import Allowlist, GatewayConfig
from metamcp.config.schema import parse_servers
from metamcp.errors import ConfigInvalid

SERVERS_FILE = "servers.json"
ALLOWLIST_FILE = "allowlist.json"
MAX_FILE_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    config: GatewayConfig
    allowlist: Allowlist


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is another one than before: its stat, or None for a file that is not there."""

    servers: tuple[int, ...] | None
    allowlist: tuple[int, ...] | None


def stamp(config_dir: Path) -> Stamp:
    """Symbolic links are followed: what they lead to may be replaced. Blocks."""
    return Stamp(_stat(config_dir / SERVERS_FILE), _stat(config_dir / ALLOWLIST_FILE))


def load(config_dir: Path, *, expects_allowlist: bool = False, instead: Mapping[str, str] | None = None) -> Loaded:
    """Both files of ``config_dir``. Raises ConfigInvalid with the problems of both; paths begin with the file's
    name. Without ``allowlist.json`` no image may run, unless it is expected, because it was there before; without
    ``servers.json`` there is nothing to serve. ``instead``: what counts in the place of a file, by its name. Blocks."""
    problems: list[tuple[str, str]] = []
    texts = instead or {}
    config = _read(config_dir / SERVERS_FILE, parse_servers, problems, texts)
    usual = None if expects_allowlist else Allowlist()
    allowed = _read(config_dir / ALLOWLIST_FILE, parse_allowlist, problems, texts, usual)
    if problems or config is None or allowed is None:
        raise ConfigInvalid(problems)
    return Loaded(config, allowed)


def read_content(path: Path) -> bytes:
    """Of one of the files. Raises ConfigInvalid for one that is too large, and OSError. Blocks."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    _check_size(len(content))
    return content


def text_of(content: bytes) -> str:
    """Raises ConfigInvalid."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content.count(b"\n", 0, broken.start) + 1
        raise ConfigInvalid([(DOCUMENT, f"line {line}: not UTF-8")]) from None


def _read(
    path: Path,
    parse: Callable[[str], T],
    problems: list[tuple[str, str]],
    instead: Mapping[str, str],
    if_missing: T | None = None,
) -> T | None:
    """What ``parse`` makes of the file; adds to ``problems`` instead of raising."""
    try:
        return parse(_checked(instead[path.name]) if path.name in instead else text_of(read_content(path)))
    except FileNotFoundError:
        if if_missing is None:
            problems.append((path.name, _missing(path)))
        return if_missing
    except OSError as failed:
        problems.append((path.name, f"cannot be read: {failed.strerror or 'unknown reason'}"))
    except ConfigInvalid as invalid:
        problems += [(in_file(path.name, place), text) for place, text in invalid.problems]
    return None


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _checked(text: str) -> str:
    _check_size(len(text.encode("utf-8", "surrogatepass")))
    return text


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ConfigInvalid([(DOCUMENT, f"is larger than {MAX_FILE_BYTES // 1024**2} MiB")])


def in_file(name: str, place: str) -> str:
    return name if place == DOCUMENT else f"{name}: {place}"


def _missing(path: Path) -> str:
    if path.name == ALLOWLIST_FILE:
        return f"was in {path.parent} before and is gone: put it back, or write {{}} into it if no image may run"
    return (
        f"there is no such file in {path.parent}: create it (docs/configuration.md describes it), "
        "or set METAMCP_CONFIG_DIR to the directory that has it"
    )
