from __future__ import annotations

from collections.abc import Mapping

import pytest

from metamcp.config.engine_address import EngineAddress
from metamcp.config.model import Allowance, Allowlist, ImageRule, ServerSpec
from metamcp.errors import CommandInvalid, RefusedByPolicy, SecretMissing
from metamcp.runtime.command.effective import Resolver, image_of
from metamcp.runtime.labels import Identity

DIGEST = "sha256:" + "a" * 64


def resolver(*rules: ImageRule, environ: Mapping[str, str] | None = None) -> Resolver:
    return Resolver(
        allowlist=Allowlist(rules),
        environ={"PATH": "/bin", "SECRET_OF_OURS": "do-not-pass", **(environ or {})},
        identity=Identity("instance", "generation"),
        engine=EngineAddress("unix:///run/test.sock", "a test"),
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


def test_refusal_names_nothing_that_came_out_of_a_variable() -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        resolver(environ={"I": "canary-image"}).resolve(server("run", "registry.example/${I}:1"))
    assert "canary-image" not in caught.value.text + repr(caught.value.data)
    assert caught.value.data["rule"] == "image-allowlist" and "***" in caught.value.text


def test_whoever_asks_first_what_a_variable_names_is_told_nothing_of_it_either() -> None:
    image = "registry.example/named-by-a-judges-secret:1"
    with pytest.raises(RefusedByPolicy) as refused:
        resolver(environ={"IMAGE": image}).judged(server("run", "${IMAGE}"), lambda *_: "")
    assert "judges-secret" not in str(refused.value) + str(refused.value.data)


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


MOUNTING = server("run", "-v", "/srv/data:/data", "alpine")


def licence(spec: ServerSpec, *rules: ImageRule, roots: tuple[str, ...] = (), **environ: str) -> object:
    return resolver(environ=environ).licence(spec, Allowlist(rules, roots))


def test_licence_stays_the_same_while_other_rules_come_and_go() -> None:
    spec = server("run", "alpine")
    before = licence(spec, ImageRule("alpine"))
    assert before is not None
    assert before == licence(spec, ImageRule("example/other"), ImageRule("alpine"), roots=("/srv",))


@pytest.mark.parametrize(
    "rule", [ImageRule("alpine", digest=DIGEST), ImageRule("alpine", allow=Allowance(writable=True)), ImageRule("*")]
)
def test_licence_is_another_one_with_another_rule_digest_or_allowance(rule: ImageRule) -> None:
    assert licence(server("run", "alpine"), ImageRule("alpine")) != licence(server("run", "alpine"), rule)


def test_bind_roots_count_for_a_server_that_mounts_something() -> None:
    assert licence(MOUNTING, ImageRule("alpine"), roots=("/srv",)) != licence(MOUNTING, ImageRule("alpine"))


def test_image_that_a_variable_names_has_its_licence() -> None:
    spec = server("run", "${IMAGE}")
    assert licence(spec, ImageRule("alpine"), IMAGE="alpine") == licence(server("run", "alpine"), ImageRule("alpine"))


def test_every_change_of_the_allowlist_counts_while_nobody_can_say_which_image_is_meant() -> None:
    spec = server("run", "${UNSET}")
    assert licence(spec, ImageRule("alpine")) == licence(spec, ImageRule("alpine")) != licence(spec)


@pytest.mark.parametrize(
    "spec", [server(command="python3"), server("run", "example/other"), server("run")]
)
def test_what_is_no_container_or_must_not_run_has_no_licence(spec: ServerSpec) -> None:
    assert licence(spec, ImageRule("alpine")) is None
