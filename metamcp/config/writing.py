"""A file of the configuration in the place of another one: as a whole or not at all, with the former ones beside it.

Draft and backups have the owner and the mode of the file itself, for its secrets are in them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

BACKUPS = 5
"""``servers.json.1`` is what stood there before the last change, ``.2`` before the one before it."""

_NEW_MODE = 0o600


class Overtaken(Exception):
    """Somebody else has written the file since it was read."""


def replace(path: Path, content: bytes, before: bytes | None) -> None:
    """``before``: what was read, None where there was no file. Whoever looks sees the old file or the new one, also
    after a loss of power. A symbolic link stays, what it leads to is replaced. Raises Overtaken and OSError, and has
    changed nothing then but the backups. Blocks."""
    path = path.resolve()
    found = _stat(path)
    draft = path.with_name(f".{path.name}.new")
    try:
        _write(draft, content, found)
        if before is not None:
            _keep(path, before, found)
        if _content(path) != before:
            raise Overtaken
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def writable(path: Path) -> bool:
    """As far as it can be known without trying: the folder decides, since the file is replaced."""
    folder = path.resolve().parent
    return os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _keep(path: Path, before: bytes, found: os.stat_result | None) -> None:
    newest = backup(path, 1)
    with suppress(FileNotFoundError):
        if newest.read_bytes() == before:  # an attempt that was overtaken
            return
    for number in range(BACKUPS - 1, 0, -1):
        with suppress(FileNotFoundError):
            backup(path, number).replace(backup(path, number + 1))
    draft = path.with_name(f".{path.name}.old")
    _write(draft, before, found)
    draft.replace(newest)


def _write(draft: Path, content: bytes, like: os.stat_result | None) -> None:
    draft.unlink(missing_ok=True)  # of a process that died over it
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, _NEW_MODE), "wb") as file:
        if like is not None:
            _make_alike(file.fileno(), like)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_alike(descriptor: int, like: os.stat_result) -> None:
    """Raises PermissionError rather than take the file from its owner."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o777)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
