from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from fake_engine import fake_engine
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import CommandInvalid
from metamcp.runtime.command.flags import GLOBAL, GLOBAL_FLAGS, RUN, RUN_FLAGS, FlagSet
from metamcp.runtime.command.grammar import DockerRun, emit, is_container_command, parse

# --- which commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["docker", "podman", "/usr/bin/docker", "docker.exe", "Docker.EXE", r"C:\Program Files\docker.exe"]
)
def test_container_command_is_recognised_by_its_basename(command: str) -> None:
    assert is_container_command(command)


@pytest.mark.parametrize("command", ["", "npx", "docker-compose", "mydocker", "docker/run.sh", "docker.sh", "/docker/"])
def test_other_command_is_not_taken_for_docker(command: str) -> None:
    assert not is_container_command(command)


def test_program_is_normalised() -> None:
    assert parse("/usr/bin/podman", ["run", "a"]).program == "podman"
    assert parse("DOCKER.exe", ["run", "a"]).program == "docker"


def test_another_program_is_refused() -> None:
    with pytest.raises(CommandInvalid):
        parse("npx", ["run", "a"])


# --- what pflag understands --------------------------------------------------------------------------------


def test_seed_configuration_is_understood() -> None:
    run = parse("docker", ["run", "-i", "my-mcp-image:latest"])
    assert run == DockerRun("docker", (), (("interactive", "true"),), "my-mcp-image:latest", ())


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["--env=K=V"], [("env", "K=V")]),
        (["--env", "K=V"], [("env", "K=V")]),
        (["-e", "K=V"], [("env", "K=V")]),
        (["-eK=V"], [("env", "K=V")]),
        (["-e=K=V"], [("env", "K=V")]),
        (["-e="], [("env", "=")]),
        (["-e", "-v"], [("env", "-v")]),
        (["--env", "--"], [("env", "--")]),
        (["--env="], [("env", "")]),
        (["-itv/a:/b"], [("interactive", "true"), ("tty", "true"), ("volume", "/a:/b")]),
        (["-itv", "/a:/b"], [("interactive", "true"), ("tty", "true"), ("volume", "/a:/b")]),
        (["-i=false"], [("interactive", "false")]),
        (["-ti=0"], [("tty", "true"), ("interactive", "false")]),
        (["--rm"], [("rm", "true")]),
        (["--rm=F"], [("rm", "false")]),
        (["--privileged=1"], [("privileged", "true")]),
        (["--net", "host"], [("network", "host")]),
        (["--net-alias=a"], [("network-alias", "a")]),
        (["--dns-opt=a"], [("dns-option", "a")]),
        (["-h", "me"], [("hostname", "me")]),
        (["-c", "5"], [("cpu-shares", "5")]),
        (["-v/a:/b", "-v", "/c:/d"], [("volume", "/a:/b"), ("volume", "/c:/d")]),
        (["--"], []),
        (["-i", "--"], [("interactive", "true")]),
    ],
)
def test_options_are_read_as_pflag_reads_them(args: list[str], options: list[tuple[str, str]]) -> None:
    run = parse("docker", ["run", *args, "image", "-x", "--rm"])
    assert (list(run.options), run.image, run.command) == (options, "image", ("-x", "--rm"))


def test_options_end_at_the_image() -> None:
    run = parse("docker", ["run", "image", "--privileged", "-v", "/:/host"])
    assert run.options == ()
    assert run.command == ("--privileged", "-v", "/:/host")


def test_container_run_is_the_same_verb() -> None:
    assert parse("docker", ["container", "run", "--rm", "a"]) == parse("docker", ["run", "--rm", "a"])


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["-H", "tcp://x"], [("host", "tcp://x")]),
        (["-Htcp://x"], [("host", "tcp://x")]),
        (["-c", "there"], [("context", "there")]),
        (["--context=there", "--tlsverify"], [("context", "there"), ("tlsverify", "true")]),
        (["-Dl", "debug"], [("debug", "true"), ("log-level", "debug")]),
        (["--config", "/x", "--tls=false"], [("config", "/x"), ("tls", "false")]),
    ],
)
def test_global_options_are_read_before_the_verb(args: list[str], options: list[tuple[str, str]]) -> None:
    run = parse("docker", [*args, "run", "-c", "5", "a"])
    assert (list(run.global_options), run.options) == (options, (("cpu-shares", "5"),))


# --- what it does not --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (["run", "--new-flag=secret", "a"], "--new-flag"),
        (["run", "-zsecret", "a"], "-z"),
        (["run", "-iz", "a"], "-z"),
        (["run", "-i=", "a"], "-="),
        (["run", "---rm", "a"], "---rm"),
        (["run", "--=x", "a"], "--"),
        (["run", "--RM", "a"], "--RM"),
        (["--nope", "run", "a"], "--nope"),
        (["run", "--env"], "--env"),
        (["run", "-ie"], "-e"),
        (["run", "--rm=maybe", "a"], "--rm"),
        (["run", "-i=secret", "a"], "-i"),
        (["run", "--rm=", "a"], "--rm"),
    ],
)
def test_bad_flag_is_refused_with_its_name_and_without_its_value(args: list[str], flag: str) -> None:
    with pytest.raises(CommandInvalid) as caught:
        parse("docker", args)
    assert caught.value.data["flag"] == flag
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("args", [[], ["-i"], ["--"], [""], ["-"], ["--", "-x"]])
def test_missing_image_is_refused(args: list[str]) -> None:
    with pytest.raises(CommandInvalid, match="image"):
        parse("docker", ["run", *args])


@pytest.mark.parametrize(
    "args", [[], ["exec", "a"], ["container"], ["container", "-D", "run", "a"], ["RUN", "a"], ["-D"]]
)
def test_other_verb_is_refused(args: list[str]) -> None:
    with pytest.raises(CommandInvalid, match="docker run"):
        parse("docker", args)


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_argument_that_no_process_can_be_given_is_refused(word: str) -> None:
    with pytest.raises(CommandInvalid, match="argument 3"):
        parse("docker", ["run", "image", word])


# --- asking and changing -----------------------------------------------------------------------------------


def test_last_switch_wins() -> None:
    assert not parse("docker", ["run", "--rm", "--rm=false", "a"]).flag("rm")
    assert parse("docker", ["run", "--rm=false", "--rm", "a"]).flag("rm")
    assert not parse("docker", ["run", "a"]).flag("rm")


def test_option_can_be_added_and_removed() -> None:
    run = parse("docker", ["run", "-e", "A=1", "--rm", "-e", "B=2", "a"])
    assert run.values("env") == ("A=1", "B=2")
    assert run.names() == ("env", "rm")
    assert run.without("env").with_option("name", "n").options == (("rm", "true"), ("name", "n"))


# --- back to argv ------------------------------------------------------------------------------------------


def test_canonical_argv_has_one_spelling() -> None:
    run = parse("docker.exe", ["-H", "x", "container", "run", "-ite", "K=V", "--rm=false", "--net", "none", "a", "-b"])
    assert emit(run) == [
        "docker", "--host=x", "run", "--interactive", "--tty", "--env=K=V", "--rm=false", "--network=none", "a", "-b",
    ]  # fmt: skip


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def _pairs(known: FlagSet) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    def pair(name: str) -> st.SearchStrategy[tuple[str, str]]:
        is_switch = known.longs[name].arity == "bool"
        return st.tuples(st.just(name), st.sampled_from(["true", "false"]) if is_switch else _TEXT)

    names = sorted({flag.name for flag in known.longs.values()})
    return st.lists(st.sampled_from(names).flatmap(pair), max_size=6).map(tuple)


_RUNS = st.builds(
    DockerRun,
    program=st.sampled_from(["docker", "podman"]),
    global_options=_pairs(GLOBAL),
    options=_pairs(RUN),
    image=_TEXT.filter(lambda text: text and not text.startswith("-")),
    command=st.lists(_TEXT, max_size=3).map(tuple),
)


@given(_RUNS)
def test_what_is_emitted_parses_to_the_same_run(run: DockerRun) -> None:
    argv = emit(run)
    assert parse(argv[0], argv[1:]) == run


@given(st.lists(st.one_of(_TEXT, st.sampled_from(["run", "-i", "-e", "--env", "--", "-it", "image"])), max_size=6))
def test_any_argv_is_understood_stably_or_refused(words: list[str]) -> None:
    try:
        run = parse("docker", ["run", *words])
    except CommandInvalid:
        return
    argv = emit(run)
    assert parse(argv[0], argv[1:]) == run


def test_table_names_nothing_twice() -> None:
    for flags, known in ((RUN_FLAGS, RUN), (GLOBAL_FLAGS, GLOBAL)):
        assert len(known.longs) == sum(1 + len(flag.aliases) for flag in flags)
        assert len(known.shorts) == sum(bool(flag.short) for flag in flags)


# --- against the installed CLI -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cli() -> str:
    path = shutil.which("docker")
    if path is None and os.environ.get("REQUIRE_ENGINE") == "1":
        pytest.fail("REQUIRE_ENGINE=1, but there is no docker CLI")
    return path or pytest.skip("no docker CLI")


def _output(cli: str, *args: str) -> str:
    return _run([cli, *args], dict(os.environ))


def _run(argv: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False
    )  # fmt: skip
    return done.stdout + done.stderr


_HELP_LINE = re.compile(r"^ {2,6}(?:-(\w), )?--([\w-]+)(?: ([\w-]+))?(?:  |$)", re.MULTILINE)


def _documented(text: str) -> list[tuple[str, str, str]]:
    """(short, long, type of the value or "" for a switch) of each line of a help text."""
    return [(line[1] or "", line[2], line[3] or "") for line in _HELP_LINE.finditer(text)]


@pytest.mark.parametrize(("verb", "known", "least"), [(["run"], RUN, 90), ([], GLOBAL, 9)])
def test_every_flag_of_the_installed_cli_is_known(cli: str, verb: list[str], known: FlagSet, least: int) -> None:
    documented = _documented(_output(cli, *verb, "--help"))
    assert len(documented) >= least
    for short, name, kind in documented:
        flag = known.longs.get(name)
        assert flag is not None, f"--{name} is not in the table"
        assert flag.short == short, f"--{name}"
        assert flag.arity == ("value" if kind else "bool"), f"--{name}"
        assert not kind or flag.repeats == (kind in _REPEATING), f"--{name} {kind}"


_REPEATING = frozenset({"list", "map", "ulimit", "mount", "network", "gpu-request"})

# Hidden on this platform, or aliases: no help text shows them.
_HIDDEN = ["--dns-opt=a", "--net=a", "--net-alias=a", "--cpu-count=1", "--cpu-percent=1", "--io-maxbandwidth=1",
           "--io-maxiops=1", "--isolation=a", "--annotation=a=b", "--health-start-interval=1s"]  # fmt: skip


def test_hidden_flags_of_the_table_exist(cli: str) -> None:
    for spelled in _HIDDEN:
        assert "unknown flag" not in _output(cli, "run", spelled, "--help"), spelled
        assert spelled[2:].partition("=")[0] in RUN.longs


@pytest.fixture(scope="module")
def created_by(cli: str) -> Iterator[Callable[[list[str]], list[tuple[str, bytes]]]]:
    """Runs the real CLI against the fake engine and gives its one request to create a container."""

    def created(args: list[str]) -> list[tuple[str, bytes]]:
        found = engine.asked_by([cli, *args])
        assert len(found) == 1, engine.said
        return found

    with fake_engine() as engine:
        yield created


@pytest.mark.parametrize(
    "args",
    [
        ["run", "-i", "my-mcp-image:latest"],
        ["container", "run", "-iqv/a:/b", "-eK=V", "-l=A=B", "image", "-x", "--rm"],
        ["run", "-i=false", "--rm", "--rm=false", "--", "image", "-y"],
        ["run", "-e", "-v", "image", "sh"],
        ["run", "--mount", 'type=bind,"src=/a,b",dst=/c,ro', "--tmpfs", "/tmp:size=1m", "image"],
        ["run", "-v", "name:/x", "-v/anonymous", "-w/tmp", "-u", "1:2", "-hme", "-c5", "-m", "64m", "image"],
        ["run", "--net", "none", "--dns-opt=a", "--ulimit", "core=0", "--gpus", "all", "--sysctl", "net.a=b", "image"],
        ["run", "-dPp", "80:80", "--entrypoint=", "-l", "a=b", "--cap-add", "X", "--device", "/dev/null", "image", ""],
    ],
)
def test_installed_cli_reads_the_canonical_argv_like_the_original(
    created_by: Callable[[list[str]], list[tuple[str, bytes]]], args: list[str]
) -> None:
    original = created_by(args)
    assert created_by(emit(parse("docker", args))[1:]) == original
