"""However an option is spelled, it means the same, and the policy says the same about it.

The spellings are made from the table of flags, the meaning is known beforehand, so the parser is not its own judge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from examples import share
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import Allowance, ImageRule, ServerSpec
from metamcp.errors import MetaMCPError, RefusedByPolicy
from metamcp.runtime.command.flags import GLOBAL_FLAGS, RUN_FLAGS, Flag
from metamcp.runtime.command.grammar import DockerRun, emit, parse
from metamcp.runtime.policy.check import obeys
from metamcp.runtime.policy.decide import Decision, decide

TRUE, FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
SWITCHES = [flag for flag in RUN_FLAGS if flag.arity == "bool"]
VALUED = [flag for flag in RUN_FLAGS if flag.arity == "value"]

values = st.one_of(
    st.sampled_from(
        ["", "=", "==x", "-x", "--privileged", "x", "0", "host", "none", "private", "ALL", "64m", "/etc:/x", "/:/x:rw",
         "/srv/data/x:/x", "type=bind,src=/,dst=/x", '"type=bind","src=/",dst=/x', "type=volume,dst=/x", "A=b", "A=b=c",
         "/var/run/docker.sock:/s", "seccomp=unconfined", "container:x", "no-new-privileges=false", "a,b", "root:0",
         "/dev/sda:/dev/x:rwm", "../x:/x", "./x:/x", "~:/x", "\\x:/x", "C:\\x:/x", "cache:/x", "0.0.0.0:1:1", "always"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)  # fmt: skip


@dataclass(frozen=True)
class Spelled:
    """Words of a command line, and what they mean."""

    words: tuple[str, ...]
    means: tuple[tuple[str, str], ...]


def one(flag: Flag, value: str) -> st.SearchStrategy[Spelled]:
    means = ((flag.name, value),)
    return st.sampled_from([Spelled(words, means) for words in ways(flag, value)])


def ways(flag: Flag, value: str) -> list[tuple[str, ...]]:
    """Every spelling that pflag takes."""
    names = (flag.name, *flag.aliases)
    if flag.arity == "bool":
        words = TRUE if value == "true" else FALSE
        given = [(f"--{name}={word}",) for name in names for word in words]
        given += [(f"-{flag.short}={word}",) for word in words] if flag.short else []
        bare = [(f"--{name}",) for name in names] + ([(f"-{flag.short}",)] if flag.short else [])
        return given + (bare if value == "true" else [])
    found = [spelled for name in names for spelled in ((f"--{name}={value}",), (f"--{name}", value))]
    if flag.short:
        short = f"-{flag.short}"
        found.append((short, value))
        found += [(f"{short}={value}",), (f"-i{short[1:]}={value}",)] if value else []
        found += [(short + value,)] if value and not value.startswith("=") else []
    return found


@st.composite
def bundles(draw: st.DrawFn) -> Spelled:
    """Short switches in one word, at its end perhaps one that takes a value."""
    switches = draw(st.lists(st.sampled_from([flag for flag in SWITCHES if flag.short]), min_size=1, max_size=4))
    letters = "-" + "".join(flag.short for flag in switches)
    means = tuple((flag.name, "true") for flag in switches)
    if draw(st.booleans()):
        return Spelled((letters,), means)
    flag, value = draw(st.sampled_from([flag for flag in VALUED if flag.short])), draw(values)
    ends = [(letters + flag.short, value)]
    ends += [(f"{letters}{flag.short}={value}",)] if value else []
    ends += [(letters + flag.short + value,)] if value and not value.startswith("=") else []
    return Spelled(draw(st.sampled_from(ends)), (*means, (flag.name, value)))


options = st.one_of(
    st.sampled_from(VALUED).flatmap(lambda flag: values.flatmap(lambda value: one(flag, value))),
    st.sampled_from(SWITCHES).flatmap(lambda flag: st.sampled_from(["true", "false"]).flatmap(lambda v: one(flag, v))),
    bundles(),
)
# ``-i`` in front of a bundled value is a switch of its own.
lines = st.lists(options, max_size=5).map(
    lambda found: Spelled(
        tuple(word for part in found for word in part.words),
        tuple(pair for part in found for pair in (*_led(part), *part.means)),
    )
)
verbs = st.sampled_from([("run",), ("container", "run")])
ends = st.sampled_from([(), ("--",)])
commands = st.lists(st.sampled_from(["serve", "--privileged", "-v", "/:/x", "--", "", "run"]), max_size=3)
allowances = st.builds(
    Allowance, network=st.booleans(), cap_add=st.sampled_from([(), ("NET_RAW",)]), gpus=st.booleans(),
    devices=st.sampled_from([(), ("/dev/dri",)]), ports=st.booleans(), binds=st.sampled_from([(), ("/srv/data",)]),
    writable=st.booleans(), user=st.booleans(),
)  # fmt: skip


def _led(part: Spelled) -> tuple[tuple[str, str], ...]:
    led = len(part.means) == 1 and part.words[0].startswith("-i") and part.means[0][0] != "interactive"
    return (("interactive", "true"),) if led else ()


def judged(run: DockerRun, allow: Allowance) -> Decision:
    """A decision, held against the independent check; a refusal names its rule."""
    rule = ImageRule("*", allow=allow)
    try:
        decision = decide(run, ServerSpec("s"), rule, bind_roots=("/srv",), realpath=lambda p: p, host_gateway=True)
    except RefusedByPolicy as refused:
        assert refused.data["rule"] and refused.text
        raise
    assert obeys(decision.run, ServerSpec("s"), rule, bind_roots=("/srv",), realpath=lambda p: p, host_gateway=True)
    argv = emit(decision.run)
    assert parse(argv[0], argv[1:]) == decision.run
    return decision


def outcome(run: DockerRun, allow: Allowance) -> object:
    try:
        return judged(run, allow).run
    except MetaMCPError as error:
        return type(error), error.text


@share(2)
@given(verbs, lines, ends, commands)
def test_every_spelling_is_read_as_what_it_means(
    verb: tuple[str, ...], line: Spelled, end: tuple[str, ...], command: list[str]
) -> None:
    run = parse("docker", [*verb, *line.words, *end, "image", *command])
    assert (run.options, run.image, run.command) == (line.means, "image", tuple(command))


@share(2)
@given(lines, allowances, commands)
def test_policy_judges_the_meaning_and_never_the_spelling(line: Spelled, allow: Allowance, command: list[str]) -> None:
    written = parse("docker", ["run", *line.words, "image", *command])
    canonical = DockerRun("docker", (), line.means, "image", tuple(command))
    assert outcome(written, allow) == outcome(canonical, allow)


@pytest.mark.parametrize(
    ("name", "value"),
    [("privileged", "true"), ("volume", "/:/x"), ("network", "host"), ("pid", "host"), ("ipc", "host"),
     ("mount", "type=bind,src=/,dst=/x"), ("cap-add", "ALL"), ("device", "/dev/sda"), ("userns", "host"),
     ("security-opt", "seccomp=unconfined"), ("volumes-from", "x"), ("uts", "host"), ("cgroupns", "host"),
     ("env-file", "/etc/passwd"), ("publish", "1:1"), ("runtime", "x"), ("use-api-socket", "true")],
)  # fmt: skip
def test_what_is_refused_is_refused_in_every_spelling_and_place(name: str, value: str) -> None:
    (flag,) = (flag for flag in RUN_FLAGS if flag.name == name)
    for words in ways(flag, value):
        for before in ((), ("-it",), ("--rm", "-e", "A=b"), ("-e", "--"), ("--name", "--rm")):
            for after in ((), ("--read-only=false",), ("--",)):
                run = parse("docker", ["run", *before, *words, *after, "image"])
                with pytest.raises(RefusedByPolicy):
                    judged(run, Allowance())


@given(st.sampled_from([flag for flag in GLOBAL_FLAGS if flag.arity == "value"]), values, st.data())
def test_no_global_option_chooses_another_engine(flag: Flag, value: str, data: st.DataObject) -> None:
    words = data.draw(
        st.sampled_from([way for way in ways(replace(flag, aliases=()), value) if "-i" not in way[0][:2]])
    )
    run = parse("docker", [*words, "run", "image"])
    assert run.global_options == ((flag.name, value),)
    try:
        kept = judged(run, Allowance()).run.global_options
    except RefusedByPolicy:
        return
    assert not {"host", "context", "config", "tlscacert", "tlscert", "tlskey"} & {name for name, _ in kept}
