"""The identity of this installation, kept in its state directory over restarts."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from metamcp.errors import ConfigInvalid

FILE_NAME = "instance-id"

_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def load_instance_id(state_dir: str | os.PathLike[str], new_id: Callable[[], str]) -> str:
    """The id in ``<state_dir>/instance-id``; made with ``new_id`` (mode 0600, complete or absent) at the first start.

    Raises ConfigInvalid when the directory cannot be used or the file does not hold an id.
    """
    path = Path(state_dir) / FILE_NAME
    try:
        if not path.exists():
            _create(path, new_id())
        return _checked(path, path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        advice = "the state directory must be writable for the gateway"
        raise ConfigInvalid([(str(path), f"cannot be used: {error}; {advice}")]) from error


def read_instance_id(state_dir: str | os.PathLike[str]) -> str:
    """The id, where a gateway has made one. Raises OSError where none has, and ConfigInvalid as above."""
    path = Path(state_dir) / FILE_NAME
    return _checked(path, path.read_text(encoding="ascii", errors="replace").strip())


def _create(path: Path, content: str) -> None:
    """Two processes that start at once end with one id: a hard link never replaces an existing file."""
    handle, draft = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(_checked(path, content) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _publish(draft: str, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:
        Path(draft).replace(path)  # a file system without hard links


def _checked(path: Path, content: str) -> str:
    if _VALID.fullmatch(content):
        return content
    raise ConfigInvalid([(str(path), "does not hold an instance id; delete the file to get a new one")])
