"""The grammar of ``docker run``: an operator's argv in, a ``DockerRun`` out, and back in one canonical spelling.

Nothing is decided here (see ``policy``). The rules are those of pflag, which the CLI uses: a value follows
``=`` or is the next argument whatever it looks like, shorthands bundle, the first positional ends the options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from metamcp.errors import CommandInvalid
from metamcp.runtime.command.flags import GLOBAL, RUN, Flag, FlagSet

Program = Literal["docker", "podman"]
Options = tuple[tuple[str, str], ...]

# Go's strconv.ParseBool.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SHOWABLE_VERB = re.compile(r"[a-z][a-z-]{0,20}")


@dataclass(frozen=True, slots=True)
class DockerRun:
    """One ``docker run``. Options are (canonical long name without dashes, value) in order; a bool is "true" or
    "false". ``command`` is what follows the image."""

    program: Program
    global_options: Options
    options: Options
    image: str
    command: tuple[str, ...]

    def values(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.options if key == name)

    def flag(self, name: str) -> bool:
        """The value of a bool option: the last one wins, as in the CLI; False when it is absent."""
        return self.values(name)[-1:] == ("true",)

    def names(self) -> tuple[str, ...]:
        """Each option's name once, in order of first appearance."""
        return tuple(dict.fromkeys(key for key, _ in self.options))

    def with_option(self, name: str, value: str) -> DockerRun:
        return replace(self, options=(*self.options, (name, value)))

    def without(self, *names: str) -> DockerRun:
        return replace(self, options=tuple(pair for pair in self.options if pair[0] not in names))


def is_container_command(command: str) -> bool:
    """Whether ``command`` (a name or a path, of either slash) starts the Docker or the Podman CLI."""
    return _program(command) is not None


def parse(command: str, args: Sequence[str]) -> DockerRun:
    """Understand ``command`` and its ``args`` (already resolved) as ``run …`` or ``container run …``.

    Raises CommandInvalid, with ``data.flag`` where one is to blame; no text repeats a value.
    """
    program = _program(command)
    if program is None:
        raise CommandInvalid("the command is neither docker nor podman")
    _check_text(args)
    global_options, rest = _read_options(GLOBAL, args, "docker")
    options, positionals = _read_options(RUN, _after_verb(rest), "docker run")
    if not positionals or not positionals[0] or positionals[0].startswith("-"):
        raise CommandInvalid("docker run names no image; write it after the options")
    return DockerRun(program, global_options, options, positionals[0], tuple(positionals[1:]))


def emit(run: DockerRun) -> list[str]:
    """The canonical argv, program first. ``parse(argv[0], argv[1:])`` gives ``run`` again."""
    head = [run.program, *(_spell(GLOBAL, *pair) for pair in run.global_options), "run"]
    return [*head, *(_spell(RUN, *pair) for pair in run.options), run.image, *run.command]


def _program(command: str) -> Program | None:
    name = command.replace("\\", "/").rpartition("/")[2]
    if name.lower().endswith(".exe"):
        name = name[:-4].lower()  # Windows does not tell Docker.exe from docker.exe
    return cast(Program, name) if name in ("docker", "podman") else None


def _check_text(args: Sequence[str]) -> None:
    for number, arg in enumerate(args, start=1):
        if "\0" in arg or any("\ud800" <= char <= "\udfff" for char in arg):
            raise CommandInvalid(f"argument {number} holds a character that no process can be given")


def _after_verb(words: Sequence[str]) -> Sequence[str]:
    for verb in (("run",), ("container", "run")):
        if tuple(words[: len(verb)]) == verb:
            return words[len(verb) :]
    shown = words[0] if words and _SHOWABLE_VERB.fullmatch(words[0]) else "this"
    raise CommandInvalid(f"a server is started with 'docker run' or 'docker container run', not with {shown!r}")


def _read_options(known: FlagSet, args: Sequence[str], verb: str) -> tuple[Options, Sequence[str]]:
    found: list[tuple[str, str]] = []
    rest = list(args)
    while rest and len(rest[0]) > 1 and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        read = _read_long if word.startswith("--") else _read_shorts
        found.extend(read(known, word, rest, verb))
    return tuple(found), rest


def _read_long(known: FlagSet, word: str, rest: list[str], verb: str) -> list[tuple[str, str]]:
    name, equals, inline = word[2:].partition("=")
    flag = known.longs.get(name)
    if flag is None:
        raise CommandInvalid(f"{verb} has no flag --{name}", flag=f"--{name}")
    if equals:
        return [(flag.name, _checked(flag, inline, f"--{name}"))]
    return [(flag.name, "true" if flag.arity == "bool" else _next(rest, f"--{name}"))]


def _read_shorts(known: FlagSet, word: str, rest: list[str], verb: str) -> list[tuple[str, str]]:
    """A bundle: switches until one takes a value, which is the remainder of the word or else the next argument."""
    found: list[tuple[str, str]] = []
    letters = word[1:]
    while letters:
        shown, tail = f"-{letters[0]}", letters[1:]
        flag = known.shorts.get(letters[0])
        if flag is None:
            raise CommandInvalid(f"{verb} has no flag {shown}", flag=shown)
        value, letters = _short_value(flag, tail, rest, shown)
        found.append((flag.name, value))
    return found


def _short_value(flag: Flag, tail: str, rest: list[str], shown: str) -> tuple[str, str]:
    """(value, letters still to be read). A lone ``=`` is no separator: ``-e=`` sets the value "=", as in pflag."""
    if len(tail) > 1 and tail[0] == "=":
        return _checked(flag, tail[1:], shown), ""
    if flag.arity == "bool":
        return "true", tail
    return (tail or _next(rest, shown)), ""


def _next(rest: list[str], shown: str) -> str:
    if not rest:
        raise CommandInvalid(f"{shown} needs a value", flag=shown)
    return rest.pop(0)


def _checked(flag: Flag, value: str, shown: str) -> str:
    if flag.arity == "value":
        return value
    if value not in _TRUE | _FALSE:
        raise CommandInvalid(f"{shown} is either true or false", flag=shown)
    return "true" if value in _TRUE else "false"


def _spell(known: FlagSet, name: str, value: str) -> str:
    is_set_switch = known.longs[name].arity == "bool" and value == "true"
    return f"--{name}" if is_set_switch else f"--{name}={value}"
