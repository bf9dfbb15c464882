from __future__ import annotations

from collections.abc import Mapping

import pytest

from metamcp.config.model import Allowlist, ImageRule, ServerSpec
from metamcp.errors import CommandInvalid, RefusedByPolicy, SecretMissing
from metamcp.runtime.command.effective import Resolver, image_of
from metamcp.runtime.labels import Identity

DIGEST = "sha256:" + "a" * 64


def resolver(*rules: ImageRule, environ: Mapping[str, str] | None = None) -> Resolver:
    return Resolver(
        allowlist=Allowlist(rules),
        environ={"PATH": "/bin", "SECRET_OF_OURS": "do-not-pass", **(environ or {})},
        identity=Identity("instance", "generation"),
        docker_host="unix:///run/test.sock",
        host_gateway=True,
        unique=lambda: "0123abcd",
        realpath=lambda path: path,
    )


def server(*args: str, command: str = "docker", **env: str) -> ServerSpec:
    return ServerSpec("git", command=command, args=args, env=env)


def test_seed_command_becomes_the_canonical_one() -> None:
    plan = resolver(ImageRule("my-mcp-image:latest")).resolve(server("run", "-i", "my-mcp-image:latest")).plan
    assert plan.argv[:2] == ("docker", "run")
    assert {"--interactive", "--rm", "--init", "--add-host=host.docker.internal:host-gateway"} <= set(plan.argv)
    assert plan.argv[-1] == "docker.io/library/my-mcp-image:latest"
    assert plan.container_name == "metamcp-git-0123abcd"
    assert plan.labels["metamcp.instance"] == "instance"


def test_pinned_image_runs_by_its_digest() -> None:
    plan = resolver(ImageRule("alpine", digest=DIGEST)).resolve(server("run", "alpine")).plan
    assert plan.argv[-1] == f"docker.io/library/alpine@{DIGEST}"


def test_short_hexadecimal_name_cannot_become_an_image_id() -> None:
    plan = resolver(ImageRule("docker.io/library/*")).resolve(server("run", "deadbeef")).plan
    assert plan.argv[-1] == "docker.io/library/deadbeef:latest"


def test_image_off_the_allowlist_is_refused_with_the_line_that_would_allow_it() -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        resolver().resolve(server("run", "alpine"))
    assert caught.value.data["rule"] == "image-allowlist"
    assert caught.value.data["server"] == "git"
    assert "alpine" in caught.value.data["advice"]


def test_secret_is_in_the_environment_and_not_on_the_command_line() -> None:
    found = resolver(ImageRule("alpine"), environ={"T": "canary-value"}).resolve(server("run", "alpine", TOKEN="${T}"))
    assert "canary-value" not in " ".join(found.plan.argv)
    assert found.plan.env["TOKEN"] == "canary-value"


def test_gateways_own_environment_stays_its_own() -> None:
    for spec in (server("run", "alpine"), server("x", command="python3")):
        assert "SECRET_OF_OURS" not in resolver(ImageRule("alpine")).resolve(spec).plan.env


def test_missing_secret_names_the_variable_and_the_server() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolver(ImageRule("alpine")).resolve(server("run", "alpine", TOKEN="${NOT_SET}"))
    assert caught.value.data == {"name": "NOT_SET", "server": "git"}


def test_unreadable_command_is_refused() -> None:
    with pytest.raises(CommandInvalid):
        resolver(ImageRule("alpine")).resolve(server("run", "--no-such-flag", "alpine"))


def test_image_of_is_what_the_operator_wrote_or_nothing() -> None:
    assert image_of(server("run", "-i", "alpine:3.20", "sh")) == "alpine:3.20"
    assert image_of(server("run")) is None
    assert image_of(server("server.py", command="python3")) is None
