from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.given import Given
from metamcp.config.model import ImageRule, ServerSpec
from metamcp.errors import RefusedByPolicy
from metamcp.runtime.command.grammar import parse
from metamcp.runtime.command.launch import LaunchPlan, masked, plan, process_plan
from metamcp.runtime.policy.decide import Decision, decide

ENGINE = {"PATH": "/bin", "HOME": "/home/gateway", "DOCKER_HOST": "unix:///x", "LANG": "C"}
_NAMES = ["A", "B_2", "HOME", "Path", "LANG", "https_proxy", "GOGC"]


def decided(args: Sequence[str], env: Mapping[str, str], **setting: Any) -> tuple[ServerSpec, Decision]:
    spec = ServerSpec("s", args=tuple(args), env=env)
    given_setting: dict[str, Any] = {"bind_roots": (), "realpath": str, "host_gateway": False, **setting}
    return spec, decide(parse("docker", args), spec, ImageRule("*"), **given_setting)


def launched(
    *options: str, env: Mapping[str, str] | None = None, secrets: Sequence[str] = (), host_gateway: bool = False
) -> LaunchPlan:
    spec, decision = decided(["run", *options, "image:1", "serve"], env or {}, host_gateway=host_gateway)
    return plan(
        spec, decision, env or {}, labels={"metamcp.server": "s", "b": "2"}, container_name="mcp-s-1",
        engine_env=ENGINE, secret_values=secrets,
    )  # fmt: skip


def refusal(*options: str, **env: str) -> RefusedByPolicy:
    with pytest.raises(RefusedByPolicy) as caught:
        launched(*options, env=env)
    return caught.value


# --- argv and environment ----------------------------------------------------------------------------------


def test_seed_configuration_becomes_a_named_and_labelled_container() -> None:
    spec, decision = decided(["run", "-i", "my-mcp-image:latest"], {})
    labels = {"metamcp.server": "s"}
    result = plan(spec, decision, {}, labels=labels, container_name="n", engine_env=ENGINE, secret_values=())
    again = parse(result.argv[0], result.argv[1:])
    assert (again.values("name"), again.values("label")) == (("n",), ("metamcp.server=s",))
    assert again.without("name", "label") == decision.run
    assert (result.image, result.container_name, result.labels) == ("my-mcp-image:latest", "n", labels)
    assert result.env == ENGINE


def test_values_travel_in_the_environment_and_not_on_argv() -> None:
    result = launched("-e", "A=from-args", "--env=B=other", env={"TOKEN": "hidden"})
    assert [word for word in result.argv if word.startswith("--env")] == ["--env=A", "--env=B", "--env=TOKEN"]
    assert result.env == {**ENGINE, "A": "from-args", "B": "other", "TOKEN": "hidden"}
    assert not any("hidden" in word or "from-args" in word for word in result.argv)


@pytest.mark.parametrize(
    ("options", "memory", "key"),
    [
        ((), 512 * 1024 * 1024, "limits.memory"),
        (("--memory", "64m"), 64 * 1024 * 1024, "--memory in the args"),
        (("--memory", "4g"), 512 * 1024 * 1024, "limits.memory"),
    ],
)
def test_the_plan_knows_its_memory_limit_and_what_sets_it(options: tuple[str, ...], memory: int, key: str) -> None:
    result = launched(*options)
    assert (result.memory, result.memory_key) == (memory, key)


def test_env_of_the_server_wins_over_the_arguments() -> None:
    assert launched("-e", "A=args", env={"A": "server"}).env["A"] == "server"


def test_name_alone_never_reaches_into_the_gateways_environment() -> None:
    result = launched("-e", "HOME", "-e", "LANG", "-e", "SECRET_OF_THE_GATEWAY")
    assert not [word for word in result.argv if word.startswith("--env")]


def test_value_may_hold_anything_a_process_can_be_given() -> None:
    value = "a=b, \"c\"\n$PATH ${X} é --privileged"
    assert launched(env={"A": value}).env["A"] == value


def test_env_of_the_server_is_pointed_away_from_localhost_where_the_policy_says_so() -> None:
    env = {"DB": "http://localhost:1", "NO_PROXY": "localhost"}
    assert launched(env=env, host_gateway=True).env["DB"] == "http://host.docker.internal:1"
    assert "--env=NO_PROXY=localhost" in launched(env=env, host_gateway=True).argv
    assert launched(env=env).env["DB"] == "http://localhost:1"
    assert launched("--network=none", env=env, host_gateway=True).env["DB"] == "http://localhost:1"


# --- names that mean something to the CLI ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "BASH_ENV", "PYTHONPATH", "NODE_OPTIONS", "HTTP_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE",
     "TMPDIR", "XDG_CONFIG_HOME",
     "LANG", "GOGC"],
)  # fmt: skip
def test_public_name_goes_on_argv_and_leaves_the_cli_alone(name: str) -> None:
    for result in (launched(env={name: "http://p:1"}), launched(f"--env={name}=http://p:1")):
        assert f"--env={name}=http://p:1" in result.argv
        assert result.env == ENGINE


@pytest.mark.parametrize(
    "name",
    ["DOCKER_HOST", "docker_config", "DOCKER_AUTH_CONFIG", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GODEBUG",
     "BUILDKIT_HOST", "CONTAINER_HOST", "CONTAINERS_CONF", "GLIBC_TUNABLES", "COMPOSE_FILE"],
)  # fmt: skip
def test_name_that_steers_the_docker_command_is_refused(name: str) -> None:
    for error in (refusal(**{name: "hidden"}), refusal(f"-e{name}=hidden")):
        assert error.data["rule"] == "env-name-reserved"
        assert name in str(error)
        assert "hidden" not in str(error) + repr(error.data)


def test_resolved_name_is_checked_even_when_the_policy_never_saw_it() -> None:
    spec, decision = decided(["run", "image"], {})
    with pytest.raises(RefusedByPolicy) as caught:
        plan(spec, decision, {"LD_PRELOAD": "x"}, labels={}, container_name="n", engine_env=ENGINE, secret_values=())
    assert caught.value.data["rule"] == "env-name-reserved"


@pytest.mark.parametrize("given", [Given({"HOME": "hidden"}), Given({}, {"HTTP_PROXY": "hidden"})])
def test_what_belongs_to_one_client_is_not_put_on_argv(given: Given) -> None:
    spec, decision = decided(["run", "image"], {})
    spec = replace(spec, given=given)
    resolved = {**given.values, **given.templates}
    with pytest.raises(RefusedByPolicy) as caught:
        plan(spec, decision, resolved, labels={}, container_name="n", engine_env=ENGINE, secret_values=())
    assert caught.value.data["rule"] == "env-secret-on-argv"
    assert "hidden" not in str(caught.value) + repr(caught.value.data)


def test_what_a_client_sent_arrives_as_it_was_sent_and_is_masked() -> None:
    spec, decision = decided(["run", "image"], {}, host_gateway=True)
    url = "http://localhost:8000/x"
    spec = replace(spec, given=Given({"BACK": url}))
    resolved = {"BACK": url, "OWN": url}
    made = plan(spec, decision, resolved, labels={}, container_name="n", engine_env=ENGINE, secret_values=[url])
    assert made.env["BACK"] == url and made.env["OWN"] != url
    assert url in made.secret_values and url not in made.shown


def test_proxy_with_a_password_is_refused() -> None:
    error = refusal(HTTPS_PROXY="http://me:hidden@proxy:1")
    assert error.data["rule"] == "env-secret-on-argv"
    assert "hidden" not in str(error) + repr(error.data)


@pytest.mark.parametrize("value", ["hidden\0", "hidden\ud800"])
def test_value_that_no_process_can_be_given_is_refused_without_showing_it(value: str) -> None:
    error = refusal(A=value)
    assert error.data["rule"] == "env-value-invalid"
    assert "hidden" not in str(error)


@pytest.mark.parametrize("name", ["", "A B", "1A", "A*", "A\n", "--privileged"])
def test_name_that_is_no_name_is_refused(name: str) -> None:
    assert refusal(**{name: "x"}).data["rule"] == "env-name-invalid"


# --- showing a command -------------------------------------------------------------------------------------


def test_secret_is_masked_wherever_it_stands() -> None:
    assert masked(["a", "--url=http://u:pass-word@h/pass-word", "pass-word"], ["pass-word"]) == [
        "a", "--url=http://u:***@h/***", "***",
    ]  # fmt: skip


def test_longer_secret_is_masked_first() -> None:
    assert masked(["prefix-and-more"], ["prefix", "prefix-and-more"]) == ["***"]


@pytest.mark.parametrize("values", [[], [""], ["1"]])
def test_nothing_to_hide_changes_nothing(values: list[str]) -> None:
    assert masked(["--cpus=1", "a"], values) == ["--cpus=1", "a"]


def test_secret_argument_is_masked_also_after_it_was_pointed_away_from_localhost() -> None:
    secret = "http://me:hidden@localhost/x"
    spec, decision = decided(["run", "image", f"--db={secret}"], {}, host_gateway=True)
    result = plan(spec, decision, {}, labels={}, container_name="n", engine_env=ENGINE, secret_values=[secret])
    assert result.argv[-1] == "--db=http://me:hidden@host.docker.internal/x"
    assert masked(result.argv, result.secret_values)[-1] == "--db=***"
    assert "hidden" not in repr(result)


def test_long_literal_value_counts_as_a_secret() -> None:
    result = launched("-e", "KEY=abcdefgh", env={"LEVEL": "info", "TOKEN": "ijklmnopq"}, secrets=["resolved"])
    assert set(result.secret_values) == {"abcdefgh", "ijklmnopq", "resolved"}


def test_representation_shows_no_environment() -> None:
    assert "abcdefgh" not in repr(launched(env={"KEY": "abcdefgh"}))


# --- a plain process ---------------------------------------------------------------------------------------


def test_plain_process_runs_as_it_is_written() -> None:
    spec = ServerSpec("s", command="uvx", args=("tool", "--key=${KEY}"))
    result = process_plan(spec, ["tool", "--key=secret"], {"A": "1", "PATH": "/mine"}, {"PATH": "/bin"}, ["secret"])
    assert result.argv == ("uvx", "tool", "--key=secret")
    assert result.env == {"PATH": "/mine", "A": "1"}
    assert (result.image, result.container_name, result.labels) == ("", "", {})
    assert masked(result.argv, result.secret_values) == ["uvx", "tool", "--key=***"]


# --- whatever is configured --------------------------------------------------------------------------------

_VALUES = st.text(st.characters(exclude_characters="\0@", exclude_categories=["Cs"]), max_size=12)
_ENVS = st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=4)


@given(_ENVS, _ENVS)
def test_container_gets_exactly_what_is_configured(written: dict[str, str], server: dict[str, str]) -> None:
    result = launched(*(f"--env={name}={value}" for name, value in written.items()), env=server)
    again = parse(result.argv[0], result.argv[1:])
    given_to_it = {}
    for text in again.values("env"):
        name, equals, value = text.partition("=")
        given_to_it[name] = value if equals else result.env[name]
    assert given_to_it == {**written, **server}
    assert {name: result.env[name] for name in ENGINE} == ENGINE
    assert len(again.values("env")) == len(given_to_it)


def test_decision_is_not_changed_by_planning() -> None:
    spec, decision = decided(["run", "-e", "A=1", "image"], {})
    before = replace(decision)
    plan(spec, decision, {}, labels={}, container_name="n", engine_env=ENGINE, secret_values=())
    assert decision == before
