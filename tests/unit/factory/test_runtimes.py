"""Which runtime an operator gets."""

from __future__ import annotations

import pytest

from metamcp.config.engine_address import EngineAddress, TlsFiles
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory import runtimes
from metamcp.factory.runtimes import build_dialect, build_means, tells_memory
from metamcp.runtime.command.grammar import parse
from metamcp.runtime.engine import Engine
from metamcp.runtime.process.interface import ByKind
from metamcp.runtime.process.os_process import CommandLine

HERE = EngineAddress("unix:///nowhere.sock", "of the test")
TLS = EngineAddress("tcp://engine:2376", "of the test", TlsFiles("/certs", client=True, verify=True))


def settings(runtime: str) -> Settings:
    return Settings.from_env({"METAMCP_RUNTIME": runtime})


@pytest.mark.parametrize(
    ("runtime", "kind", "called"),
    [("docker-cli", CommandLine, ("docker",)), ("docker-api", ByKind, ()), ("podman", CommandLine, ("podman",))],
)
def test_each_runtime_has_its_way_to_start_and_its_command_line(
    runtime: str, kind: type, called: tuple[str, ...]
) -> None:
    means = build_means(settings(runtime), Engine(HERE), lambda _job: True)
    assert type(means.runtime) is kind and means.cli == called
    means.runtime.close()


@pytest.mark.parametrize("address", [TLS, EngineAddress("ssh://engine", "of the test")], ids=str)
def test_docker_api_says_at_the_start_which_engines_it_cannot_reach(address: EngineAddress) -> None:
    with pytest.raises(ConfigInvalid, match="docker-api needs an engine at unix:// or at tcp:// without TLS"):
        build_means(settings("docker-api"), Engine(address), lambda _job: True)


def test_a_podman_that_does_not_answer_costs_no_start_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_most_processes", lambda: None)
    argv = build_dialect(settings("podman"), HERE).spell(parse("docker", ["run", "--add-host=a:host-gateway", "image"]))
    assert argv == ["podman", "run", "--add-host=a:host-gateway", "image"]


def test_only_podman_does_not_tell_a_lack_of_memory() -> None:
    assert [tells_memory(settings(name)) for name in ("docker-cli", "docker-api", "podman")] == [True, True, False]
