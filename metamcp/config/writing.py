"""A file of the configuration in the place of another one: as a whole or not at all, and where it is changed over HTTP
with the former ones beside it.

Draft and backups have the owner and the mode of the file itself, for its secrets are in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with _drafted(path, content, found):
        if before is not None:
            _keep(path, before, found)
        if _content(path) != before:
            raise Overtaken


def put(path: Path, content: bytes) -> None:
    """Whatever stands there, and whether its folder does. A new file is for its owner alone, since secrets may stand in
    it; otherwise as ``replace``. Raises OSError. Blocks."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _drafted(path, content, _stat(path)):
        pass


def backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def writable(path: Path) -> bool:
    """As far as it can be known without trying: the folder decides, since the file is replaced."""
    folder = path.resolve().parent
    return os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


@contextmanager
def _drafted(path: Path, content: bytes, like: os.stat_result | None) -> Iterator[None]:
    """Beside ``path``, and at the end in its place, unless what is done meanwhile raises."""
    draft = path.with_name(f".{path.name}.new")
    try:
        _write(draft, content, like)
        yield
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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


def sync_folder(folder: Path) -> None:
    """A name that was changed in it is changed for good."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
