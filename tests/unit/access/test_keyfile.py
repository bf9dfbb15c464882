"""The file of keys: followed at once, written as a whole, and closed when it cannot be read."""

from __future__ import annotations

import logging
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import KEY_BYTES, Keys, KeysUnusable, Record


def made(name: str) -> Record:
    return Record(name, keys.hash_of(keys.mint(os.urandom(KEY_BYTES))), ("dev",), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return keyfile.path_in(tmp_path / "var")


def names(file: KeyFile) -> list[str]:
    return [record.name for record in file.keys().records]


def test_without_a_file_there_are_no_keys_and_never_were(path: Path) -> None:
    assert KeyFile(path).keys() == Keys() == keyfile.read(path)


def test_each_change_is_seen_with_the_next_question(path: Path) -> None:
    file = KeyFile(path)
    assert not file.keys().configured
    for number in range(20):
        keyfile.rewrite(path, lambda records, number=number: records.append(made(f"n{number}")))  # type: ignore[misc]
        assert names(file)[-1] == f"n{number}"
    keyfile.rewrite(path, lambda records: records.clear())
    assert file.keys() == Keys((), configured=True)


def test_a_file_that_has_not_changed_is_not_read_again(path: Path) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    file = KeyFile(path)
    assert file.keys() is file.keys()


def test_a_broken_file_gives_no_keys_until_it_is_mended(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    file, good = KeyFile(path), path.read_bytes()
    assert names(file) == ["a"]
    path.write_bytes(b"{ not json")
    with caplog.at_level(logging.ERROR, "metamcp"):
        logging.getLogger("metamcp").propagate = True
        for _ in range(3):
            with pytest.raises(KeysUnusable):
                file.keys()
    assert [record.message for record in caplog.records] == ["keys-unusable"], "said once"
    path.write_bytes(good)
    assert names(file) == ["a"]


def test_a_file_that_vanished_gives_no_keys_until_it_is_back(path: Path) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    file, aside = KeyFile(path), path.with_name("aside")
    assert names(file) == ["a"]
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(KeysUnusable, match="gone"):
            file.keys()
    aside.rename(path)
    assert names(file) == ["a"]


def test_a_path_that_cannot_be_looked_at_gives_no_keys(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_bytes(b"a file in the place of the folder")
    with pytest.raises(KeysUnusable):
        KeyFile(path).keys()


def test_a_path_that_holds_something_else_gives_no_keys(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(KeysUnusable):
        KeyFile(path).keys()


def test_the_group_of_the_folder_may_read_and_nobody_else(path: Path) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o007 == 0
    assert path.stat().st_gid == path.parent.stat().st_gid


def test_what_a_change_refuses_leaves_the_file_and_nothing_beside_it(path: Path) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    before = path.read_bytes()

    def refuse(records: list[Record]) -> None:
        records.clear()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        keyfile.rewrite(path, refuse)
    assert path.read_bytes() == before
    assert sorted(it.name for it in path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_a_file_that_cannot_be_read_is_not_written_over(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    with pytest.raises(KeysUnusable):
        keyfile.rewrite(path, lambda records: records.append(made("a")))
    assert path.read_bytes() == b"precious"


def _add(path: Path, name: str, times: int) -> None:
    for number in range(times):
        keyfile.rewrite(path, lambda records, number=number: records.append(made(f"{name}{number}")))  # type: ignore[misc]


def test_writers_lose_nothing_to_each_other_and_readers_never_see_half(path: Path) -> None:
    spawn, seen = multiprocessing.get_context("fork"), 0
    writers = [spawn.Process(target=_add, args=(path, f"w{number}-", 10)) for number in range(3)]
    for writer in writers:
        writer.start()
    file = KeyFile(path)
    while any(writer.is_alive() for writer in writers):
        found = len(file.keys().records)
        assert found >= seen
        seen = found
    for writer in writers:
        writer.join(10)
        assert writer.exitcode == 0
        writer.close()
    assert len(set(names(file))) == 30


def test_threads_share_one_reader(path: Path) -> None:
    keyfile.rewrite(path, lambda records: records.append(made("a")))
    file, found = KeyFile(path), []

    def ask() -> None:
        found.extend(names(file) for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [["a"]] * 800


def test_folder_that_was_closed_at_first_and_has_no_file_means_no_keys(tmp_path: Path) -> None:
    """As a web worker sees it that looks before the supervisor has opened the folder to it."""
    file = KeyFile(keyfile.path_in(tmp_path))
    file_in_its_way = keyfile.path_in(tmp_path).parent
    file_in_its_way.write_text("")
    with pytest.raises(KeysUnusable):
        file.keys()
    file_in_its_way.unlink()
    assert not file.keys().configured
