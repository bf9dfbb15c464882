"""``doctor``: what it takes, and whose containers it calls orphans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from metamcp.commands import doctor as doctor_command
from metamcp.config.settings import Settings
from metamcp.errors import EngineUnavailable
from metamcp.gateway.interface import Ask, Is, Outbound
from metamcp.runtime.diagnosis.outcomes import NotApplicableError
from metamcp.runtime.facts import ContainerFacts
from metamcp.runtime.labels import INSTANCE


@pytest.fixture(autouse=True)
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no")


def settings(folder: Path) -> Settings:
    return Settings(config_dir=folder, state_dir=folder, link=folder / "link.sock")


@pytest.mark.parametrize(
    ("url", "names", "option"),
    [("ftp://x", (), "--url"), ("mcp.example.com", (), "--url"), ("", ("nope",), "--only")],
)
def test_what_it_cannot_do_is_an_error_of_usage(tmp_path: Path, url: str, names: tuple[str, ...], option: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        doctor_command.run(settings(tmp_path), url, 0.0, names, as_json=False)
    assert caught.value.param_hint == option


def test_findings_are_printed_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_command.run(settings(tmp_path), "", 0.0, ("engine",), as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[::2]] == ["fail  socket", "skip  socket-permissions"]
    assert lines[0].startswith(f"fail  socket: {tmp_path}/no: No such file")
    assert lines[1].startswith("      There is no socket at")
    assert lines[3] == "skip  engine: needs socket-permissions"


# --- orphans -----------------------------------------------------------------------------------------------


class Engine:
    def __init__(self, *names: str) -> None:
        self.found = [ContainerFacts(name * 8, name, {}, "running", "i", 1.0) for name in names]
        self.asked: list[Any] = []

    def containers(self, labels: dict[str, str]) -> list[ContainerFacts]:
        self.asked.append(labels)
        return self.found


class Link:
    """A running gateway that answers ``item``."""

    item: Outbound | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        pass

    close = start

    def wait_connected(self, timeout: float) -> bool:
        return True

    def exchange(self, request: Ask) -> Link:
        assert request == Ask("docker-info")
        return self

    def next(self, timeout: float) -> Outbound | None:
        return self.item


def household(folder: Path, *names: str) -> Any:
    engine: Any = Engine(*names)
    return doctor_command._household(settings(folder), engine), engine


def test_without_a_running_gateway_every_container_is_an_orphan(tmp_path: Path) -> None:
    (tmp_path / "instance-id").write_text("abc\n")
    found, engine = household(tmp_path, "one", "two")
    assert (found.count, found.orphans) == (2, ("one", "two"))
    assert engine.asked == [{INSTANCE: "abc"}]


def test_where_no_gateway_has_run_there_is_nothing_to_look_for(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="no gateway has run"):
        household(tmp_path)


def test_a_running_gateway_says_which_containers_are_not_of_its_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_command, "LinkClient", Link)
    said = b'{"containers":[{"name":"old","id":"1","current":false},{"name":"new","id":"2","current":true}]}'
    monkeypatch.setattr(Link, "item", Outbound(Is.ANSWER, said))
    found, engine = household(tmp_path, "x")
    assert (found.count, found.orphans, engine.asked) == (2, ("old",), [])


@pytest.mark.parametrize("item", [None, Outbound(Is.ANSWER, b"{}", 503), Outbound(Is.FAILED, b"{}", 503)])
def test_a_running_gateway_that_does_not_say_makes_no_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: Outbound | None
) -> None:
    monkeypatch.setattr(doctor_command, "LinkClient", Link)
    monkeypatch.setattr(Link, "item", item)
    with pytest.raises(NotApplicableError, match="does not say"):
        household(tmp_path, "x")


def test_an_engine_that_is_away_is_no_household(tmp_path: Path) -> None:
    class Away(Engine):
        def containers(self, labels: dict[str, str]) -> list[ContainerFacts]:
            raise EngineUnavailable("away")

    (tmp_path / "instance-id").write_text("abc")
    engine: Any = Away()
    with pytest.raises(EngineUnavailable):
        doctor_command._household(settings(tmp_path), engine)
