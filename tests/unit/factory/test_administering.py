"""A change of the configuration from its request to what is in force, without a web tier."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeReactor
from wiring import Got

from metamcp.access import keyfile
from metamcp.concurrency.tasks import Share
from metamcp.config import writing
from metamcp.config.engine_address import locate
from metamcp.config.live import Live
from metamcp.config.loader import Loaded, load, stamp
from metamcp.config.plan import Plan
from metamcp.config.settings import Settings
from metamcp.factory import administering
from metamcp.factory.administering import MOST_WAITING, Administration
from metamcp.factory.key_keeping import keeping
from metamcp.factory.starting import build_resolver
from metamcp.gateway.interface import MAX_EDIT, Ask, Edit
from metamcp.gateway.reload import Reloader
from metamcp.runtime.labels import Identity

SERVERS = '{"mcpServers": {"a": {"command": "true", "env": {"TOKEN": "secret-in-clear"}}}}\n'
BOXED = {"command": "docker", "args": ["run", "-i", "example/tool:1"]}


class House:
    """With real files; ``applied`` are the plans that were taken over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "servers.json").write_text(SERVERS)
        (folder / "allowlist.json").write_text('{"images": []}')
        self.reactor = FakeReactor()
        self.jobs: list[Callable[[], None]] = []
        self.live = Live(load(folder), 0.0)
        self.applied: list[Plan] = []
        settings = Settings(config_dir=folder, state_dir=folder / "var")

        def resolver() -> Any:
            return build_resolver(settings, locate({}), self.live.loaded, Identity("a", "b"))

        def apply(loaded: Loaded, plan: Plan) -> None:
            self.live.replace(loaded, 1.0)
            self.applied.append(plan)

        reactor: Any = self.reactor
        reader: Any = self
        self.reloader = Reloader(reactor, reader, folder, self.live, stamp(folder), resolver().licence, apply)
        share = Share(reader, MOST_WAITING)
        changing = Administration(reactor, share, folder, self.live, resolver, lambda: self.reloader)
        self.operators = changing.operators() | keeping(reactor, share, folder / "var", self.live, lambda: 1000.0)

    def ask(self, subject: Any, of: Any, name: str = "", body: Any = None, how: Any = None, **more: Any) -> Got:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        told = how or (subject if subject in ("create", "replace", "delete") else "change")
        edit = Edit(of, name, told, data, **more)
        got = Got()
        self.operators[subject](got.reply, Ask(subject, name if of == "keys" else f"{of}/{name}", edit=edit))
        return got

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        return True

    def work(self) -> None:
        """Until there is nothing more to do: one job after the other, as its one thread does them."""
        self.reactor.turn()
        while self.jobs:
            self.jobs.pop(0)()
            self.reactor.turn()

    def does(self, *what: Any, status: int = 200, **more: Any) -> dict[str, Any]:
        got = self.ask(*what, **more)
        self.work()
        (item,) = got.items
        assert item.status == status, item.data
        return json.loads(item.data)  # type: ignore[no-any-return]

    @property
    def servers(self) -> str:
        return (self.folder / "servers.json").read_text()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_change_is_written_and_in_force_when_it_is_answered(house: House) -> None:
    told = house.does("create", "servers", "b", {"name": "b", "command": "true"}, status=201)
    assert told["done"] and told["changes"]["servers"] == {"added": ["b"], "changed": [], "removed": []}
    assert set(house.live.config.servers) == {"a", "b"} and len(house.applied) == 1
    assert json.loads(house.servers)["mcpServers"]["b"] == {"command": "true"}
    assert house.does("change", "servers", "b", {"idleSeconds": 5}, tags=(told["tag"],))["done"]
    assert house.live.config.servers["b"].idle_seconds == 5


def test_secrets_are_not_told(house: House) -> None:
    found = house.does("configured", "servers", "a")
    assert found["document"] == {"name": "a", "command": "true", "env": {"TOKEN": "***"}}
    assert house.does("replace", "servers", "a", found["document"])["done"]
    assert "secret-in-clear" in house.servers
    wrong = house.does("change", "servers", "a", {"env": {"TOKEN": 5}, "args": "secret-in-clear"}, status=422)
    assert "secret-in-clear" not in str(wrong) and {it["path"] for it in wrong["problems"]} == {
        "servers.json: mcpServers.a.env.TOKEN", "servers.json: mcpServers.a.args",
    }  # fmt: skip


def test_what_the_policy_refuses_is_named_by_its_rule(house: House) -> None:
    refused = house.does("create", "servers", "b", BOXED, status=422)
    assert refused["rule"] == "image-allowlist"
    assert refused["problems"][0]["path"] == "servers.json: mcpServers.b"
    assert house.does("create", "servers", "b", {**BOXED, "enabled": False}, status=201)["warnings"] == []
    assert house.does("create", "images", "example/*", {}, status=201)["changes"]["images"]["added"] == ["example/*"]
    assert house.does("change", "servers", "b", {"enabled": True})["done"]
    gone = house.does("delete", "images", "example/*")
    assert gone["changes"]["servers"]["changed"] == ["b"] and "server 'b' would not start" in gone["warnings"][0]
    missing = house.does("change", "servers", "a", {"args": ["${NOBODY_SET_THIS}"]})
    assert "NOBODY_SET_THIS is not set" in missing["warnings"][0]


def test_a_file_that_became_another_one_is_left_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = house.does("configured", "servers")["tag"]
    theirs = SERVERS.replace("true", "false")
    (house.folder / "servers.json").write_text(theirs)
    refused = house.does("delete", "servers", "a", tags=(tag,), status=409)
    assert refused["tag"] != tag and house.servers == theirs

    def write_before(*args: Any) -> Any:
        (house.folder / "servers.json").write_text(SERVERS)
        return real(*args)

    real = writing.replace
    monkeypatch.setattr(administering.writing, "replace", write_before)
    assert "read it again" in house.does("change", "servers", "a", {}, status=409)["error"].lower()
    assert house.servers == SERVERS and house.applied == []


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [(errno.EROFS, 409, "where it comes from"), (errno.EACCES, 409, "where it comes from"),
     (errno.EBUSY, 409, "where it comes from"), (errno.ENOSPC, 503, "No space left")],
)  # fmt: skip
def test_a_file_that_cannot_be_written_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int, status: int, text: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(administering.writing, "replace", fail)
    monkeypatch.setattr(administering.writing, "writable", lambda _: False)
    assert text in house.does("delete", "servers", "a", status=status)["error"]
    planned = house.does("plan-change", "servers", "a", {"enabled": False})
    assert "cannot be written" in planned["warnings"][0] and planned["changes"]["servers"]["changed"] == ["a"]
    assert house.servers == SERVERS and house.applied == []


def test_what_was_written_and_not_taken_over_is_read_at_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.reloader, "request", lambda _by, _tell: None)
    got = house.ask("create", "servers", "b", {"command": "true"})
    house.work()
    assert not got.items and set(house.live.config.servers) == {"a"}
    assert set(load(house.folder).config.servers) == {"a", "b"}


def test_files_with_mistakes_and_files_that_are_gone(house: House) -> None:
    (house.folder / "allowlist.json").write_text("{")
    refused = house.does("change", "servers", "a", {"enabled": False}, status=409)
    assert refused["problems"][0]["path"] == "allowlist.json"
    (house.folder / "allowlist.json").unlink()
    assert house.does("create", "images", "a", {"pin": True}, status=201)["done"], "none was there that counted"
    assert (house.folder / "allowlist.json").stat().st_mode & 0o777 == 0o600
    (house.folder / "allowlist.json").unlink()
    assert "put it back" in house.does("create", "images", "b", {}, status=409)["error"]


def test_changes_come_one_after_the_other_and_not_too_many(house: House) -> None:
    gots = [house.ask("create", "servers", f"s{number}", {"command": "true"}) for number in range(MOST_WAITING + 1)]
    house.work()
    assert [got.items[0].status for got in gots] == [201] * MOST_WAITING + [503]
    assert len(house.live.config.servers) == MOST_WAITING + 1
    assert house.does("change", "servers", "a", b" " * (MAX_EDIT + 1), status=413)
    assert house.does("change", "servers", "a", {"enabled": True})["done"], "there is room again"


# --- keys --------------------------------------------------------------------------------------------------


def test_keys_are_made_listed_and_taken_back(house: House) -> None:
    path = keyfile.path_in(house.folder / "var")
    made = house.does("create-key", "keys", body={"name": "chief", "scopes": ["admin"]}, status=201)
    assert keyfile.read(path).find(made["key"]) is not None
    other = house.does("create-key", "keys", body={"name": "b", "scopes": ["x"], "expires": "5s"}, status=201)
    assert "'x'" in other["warnings"][0]
    listed = house.does("keys", "keys")["document"]
    assert [(it["name"], it["expires"], it["valid"]) for it in listed] == [("chief", None, True), ("b", 1005, True)]
    assert made["key"] not in str(listed)
    assert house.does("revoke-key", "keys", made["id"], status=409) and len(keyfile.read(path).records) == 2
    assert house.does("revoke-key", "keys", other["id"])["text"] == f"revoked: b {other['id']}"
    assert house.does("revoke-key", "keys", other["id"], status=404)
    for body in (b"{", b" " * (MAX_EDIT + 1), b'{"name": "a b", "scopes": ["x"]}'):
        assert house.does("create-key", "keys", body=body, status=422)["problems"]
    path.write_bytes(b"{")
    assert "cannot be used" in house.does("keys", "keys", status=503)["error"]
