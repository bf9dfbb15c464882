"""A file is replaced as a whole or not at all, whatever fails on the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from metamcp.config import writing
from metamcp.config.writing import BACKUPS, Overtaken, backup, replace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "servers.json"
    found.write_bytes(b"old")
    found.chmod(0o640)
    return found


def beside(path: Path) -> set[str]:
    return {it.name for it in path.parent.iterdir()}


def test_the_new_one_has_the_mode_of_the_old_one_which_is_kept(path: Path) -> None:
    replace(path, b"new", b"old")
    assert path.read_bytes() == b"new" and backup(path, 1).read_bytes() == b"old"
    assert {it.stat().st_mode & 0o777 for it in (path, backup(path, 1))} == {0o640}
    assert beside(path) == {"servers.json", "servers.json.1"}


def test_a_file_that_was_not_there_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "allowlist.json"
    replace(path, b"new", None)
    assert path.stat().st_mode & 0o777 == 0o600 and beside(path) == {"allowlist.json"}


def test_there_are_so_many_backups_and_the_newest_is_the_first(path: Path) -> None:
    before = b"old"
    for number in range(BACKUPS + 3):
        content = b"%d" % number
        replace(path, content, before)
        before = content
    kept = [backup(path, number).read_bytes() for number in range(1, BACKUPS + 1)]
    assert kept == [b"6", b"5", b"4", b"3", b"2"] and len(beside(path)) == BACKUPS + 1


def test_what_somebody_else_wrote_meanwhile_stays(path: Path) -> None:
    path.write_bytes(b"theirs")
    for _ in range(2):
        with pytest.raises(Overtaken):
            replace(path, b"new", b"old")
    assert path.read_bytes() == b"theirs" and beside(path) == {"servers.json", "servers.json.1"}
    path.unlink()
    with pytest.raises(Overtaken):
        replace(path, b"new", b"old")
    path.write_bytes(b"theirs")
    with pytest.raises(Overtaken):
        replace(path, b"new", None)
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["fsync", "fchmod", "open"])
def test_whatever_fails_the_old_one_is_there_and_no_draft(path: Path, monkeypatch: Any, name: str) -> None:
    real, left = getattr(os, name), 0

    def fail(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **options)

    for number in (1, 2):  # the draft, the backup
        left = number
        with monkeypatch.context() as patched:
            patched.setattr(writing.os, name, fail)
            with pytest.raises(OSError, match="No space"):
                replace(path, b"new", b"old")
        assert path.read_bytes() == b"old" and ".servers.json.new" not in beside(path)
    replace(path, b"new", b"old")
    assert path.read_bytes() == b"new" and beside(path) == {"servers.json", "servers.json.1"}


def test_a_process_that_dies_before_or_after_leaves_a_whole_file(path: Path, monkeypatch: Any) -> None:
    """Its draft is in nobody's way."""
    for dies_at, expected in (("fsync", b"old"), ("sync_folder", b"new")):
        child = os.fork()
        if child == 0:
            target = writing.os if dies_at == "fsync" else writing
            monkeypatch.setattr(target, dies_at, lambda *_: os._exit(7))
            replace(path, b"new", b"old")
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert path.read_bytes() == expected
    replace(path, b"newer", b"new")
    assert path.read_bytes() == b"newer" and beside(path) == {"servers.json", "servers.json.1", "servers.json.2"}


def test_a_link_stays_and_what_it_leads_to_is_replaced(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "config" / "servers.json"
    link.parent.mkdir()
    link.symlink_to(path)
    replace(link, b"new", b"old")
    assert link.is_symlink() and path.read_bytes() == b"new" and beside(link) == {"servers.json"}


def test_an_owner_who_cannot_be_kept_keeps_the_file(path: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    real = os.fstat

    class Other:
        def __init__(self, found: os.stat_result) -> None:
            self.st_uid, self.st_gid = found.st_uid + 1, found.st_gid

    monkeypatch.setattr(writing.os, "fstat", lambda fd: Other(real(fd)))
    monkeypatch.setattr(writing.os, "fchown", refuse)
    with pytest.raises(PermissionError):
        replace(path, b"new", b"old")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and beside(path) == {"servers.json"}


def test_a_folder_that_can_be_written_is_told_from_one_that_is_mounted_read_only(path: Path, monkeypatch: Any) -> None:
    assert writing.writable(path)

    class Mounted:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(writing.os, "statvfs", lambda _: Mounted())
    assert not writing.writable(path)
