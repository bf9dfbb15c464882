"""The file of API keys: read by every web worker, written by the command line alone.

It has a folder of its own, so that the web tier can be given this and nothing else of the state directory; a folder,
since the file is replaced as a whole, which a mount of the file alone would not see.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metamcp.access.keys import MAX_FILE_BYTES, Keys, KeysUnusable, Record, encode, parse
from metamcp.config.writing import sync_folder
from metamcp.telemetry import logs

FOLDER, FILE = "access", "keys.json"

Change = Callable[[list[Record]], None]

_Stamp = tuple[int, ...]
_UNREAD: _Stamp = ()
_log = logs.get("access.keyfile")


def path_in(state_dir: Path) -> Path:
    return state_dir / FOLDER / FILE


class KeyFile:
    """The keys as they are at the moment of each question, for any thread: one ``stat``, and a reading when that has
    changed. A file that cannot be used, or one that was there and is gone, gives no keys and no access either."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # one reading for all who wait for it
        self._read_stamp: _Stamp | None = None  # of what was read last; None: there was nothing
        self._seen = False
        self._keys = Keys()
        self._problem = ""

    def keys(self) -> Keys:
        """Raises KeysUnusable."""
        with self._lock:
            try:
                found = _stat(self._path)
                self._seen = self._seen or found is not None
                if not self._seen:  # it could not be looked for before, and is not there
                    self._read_stamp, self._problem = None, ""
                elif found != self._read_stamp:
                    self._read(found)
            except OSError as failed:
                self._read_stamp = _UNREAD
                self._refuse(failed.strerror or "it cannot be read")
            if self._problem:
                raise KeysUnusable(self._problem)
            return self._keys

    def _read(self, found: _Stamp | None) -> None:
        if found is None:
            self._read_stamp = _UNREAD
            self._refuse("it was there and is gone: put it back, or restart the web workers to do without keys")
            return
        with self._path.open("rb") as file:
            self._read_stamp = _stamp(os.fstat(file.fileno()))  # of what is read, whatever stands there by then
            content = file.read(MAX_FILE_BYTES + 1)
        try:
            self._keys, self._problem = parse(content), ""
            _log.info("keys-read", extra=logs.fields(keys=len(self._keys.records)))
        except KeysUnusable as broken:
            self._refuse(str(broken))

    def _refuse(self, problem: str) -> None:
        if problem != self._problem:
            _log.error("keys-unusable", extra=logs.fields(path=self._path, reason=problem, effect="all is refused"))
        self._problem = problem


def rewrite(path: Path, change: Change) -> tuple[Record, ...]:
    """What there is after ``change``, which alters the list of records in place. One writer at a time. Raises
    KeysUnusable rather than write over what it cannot read, OSError, and whatever ``change`` raises. Blocks."""
    _make_folder(path.parent)
    with _locked(path.with_suffix(".lock")):
        before = read(path).records
        records = list(before)
        change(records)
        if tuple(records) != before:
            _replace(path, encode(records))
        return tuple(records)


def read(path: Path) -> Keys:
    """What stands there now; no file is no keys. Raises KeysUnusable and OSError. Blocks."""
    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return Keys()


def open_to(state_dir: Path, group: int) -> None:
    """For a web tier that is another user: its group may read the keys, made before or after. Raises OSError."""
    path = path_in(state_dir)
    _make_folder(path.parent)
    for place in (path.parent, path):
        with suppress(FileNotFoundError):
            os.chown(place, -1, group)


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        folder.chmod(0o750)  # whatever the umask is
        _belong_to(folder, folder.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _belong_to(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """At once and for good: a reader sees the old file or the new one, also after a loss of power."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o640)
            _belong_to(file.fileno(), path.parent)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _belong_to(place: int | Path, folder: Path) -> None:
    """Whoever makes a key, root included, makes it for the folder's owner and group: by the group a web tier that is
    another user reads it."""
    found = folder.stat()
    if os.geteuid() == 0:
        os.chown(place, found.st_uid, found.st_gid)
    elif found.st_gid in (os.getegid(), *os.getgroups()):
        os.chown(place, -1, found.st_gid)


def _stat(path: Path) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))  # noqa: PTH116  for each request: without a detour
    except FileNotFoundError:
        return None


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
