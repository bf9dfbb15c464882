"""What Podman has another spelling for, and what the engine's command line is told of its engine."""

from __future__ import annotations

from metamcp.config.engine_address import EngineAddress
from metamcp.config.model import Allowlist, ImageRule, ServerSpec
from metamcp.runtime.command.dialect import DOCKER, Dialect, podman
from metamcp.runtime.command.effective import Effective, Resolver
from metamcp.runtime.command.grammar import emit, parse
from metamcp.runtime.labels import Identity

HERE = EngineAddress("unix:///run/test.sock", "of the test")
RUN = parse("docker", ["run", "--add-host=a=1.2.3.4", "--add-host=host.docker.internal:host-gateway", "image", "x"])


def resolved(dialect: Dialect, command: str, **environ: str) -> Effective:
    resolver = Resolver(
        allowlist=Allowlist((ImageRule("*"),)), environ={"PATH": "/bin", **environ}, identity=Identity("i", "g"),
        engine=HERE, host_gateway=True, unique=lambda: "0123abcd", dialect=dialect,
    )  # fmt: skip
    return resolver.resolve(ServerSpec("git", command=command, args=("run", "alpine"), env={"TOKEN": "canary"}))


def test_docker_is_spoken_to_canonically() -> None:
    assert DOCKER.spell(RUN) == emit(RUN)
    assert DOCKER.environment({"PATH": "/bin", "TOKEN": "x"}, HERE) == {"PATH": "/bin", "DOCKER_HOST": HERE.host}


def test_podman_gets_an_address_where_it_does_not_know_the_keyword() -> None:
    argv = podman(lambda: "10.88.0.1", None).spell(RUN)
    assert argv[0] == "podman" and argv[-2:] == ["image", "x"]
    assert argv[2:4] == ["--add-host=a:1.2.3.4", "--add-host=host.docker.internal:10.88.0.1"]


def test_a_podman_that_knows_the_keyword_gets_it() -> None:
    assert "--add-host=host.docker.internal:host-gateway" in podman(lambda: "", None).spell(RUN)


def test_podman_is_not_asked_where_nothing_depends_on_it() -> None:
    def never() -> str:
        raise AssertionError("it was asked")

    assert podman(never, None).spell(parse("docker", ["run", "image"])) == ["podman", "run", "image"]


def test_read_only_means_the_same_as_for_docker() -> None:
    run = parse("docker", ["run", "--read-only", "--tmpfs=/tmp:size=1m", "image"])
    argv = ["podman", "run", "--read-only-tmpfs=false", "--read-only", "--tmpfs=/tmp:size=1m", "image"]
    assert podman(str, None).spell(run) == argv


def test_processes_are_bounded_where_the_gateway_itself_is_unless_the_arguments_say_it() -> None:
    assert "--ulimit=nproc=900:900" in podman(str, 900).spell(RUN)
    own = parse("docker", ["run", "--ulimit=nproc=5", "image"])
    assert podman(str, 900).spell(own) == ["podman", "run", "--ulimit=nproc=5", "image"]


def test_both_commands_are_the_runtimes_own_and_images_have_their_complete_names() -> None:
    for command in ("docker", "podman", "/usr/bin/podman"):
        for dialect in (DOCKER, podman(str, None)):
            plan = resolved(dialect, command).plan
            assert (plan.argv[0], plan.argv[-1]) == (dialect.program, "docker.io/library/alpine:latest")


def test_podman_is_told_its_engine_and_keeps_the_operators_configuration_of_it() -> None:
    plan = resolved(podman(str, None), "docker", CONTAINERS_CONF="/etc/mine.conf").plan
    assert plan.env["CONTAINER_HOST"] == "unix:///run/test.sock"
    assert plan.env["CONTAINERS_CONF"] == "/etc/mine.conf"
    assert "canary" not in " ".join(plan.argv) and plan.env["TOKEN"] == "canary"
