"""Memory, CPUs, processes, shared memory and ulimits: an operator's own value counts where it is lower."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from types import MappingProxyType

from metamcp.config.model import Limits
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy.case import WIDEN, Case, Part, Step, effective, joined, part, refuse

OWNED = frozenset({"memory", "memory-swap", "cpus", "pids-limit", "shm-size", "ulimit"})

# Everything else of setrlimit(2) reaches beyond the container (real-time priority, locked memory, queues).
ULIMITS = frozenset({"core", "cpu", "data", "fsize", "nofile", "nproc", "stack"})

DEFAULT_FILES, MOST_FILES = 4096, 65536
"""Open files of a process: where nothing is written, and at most. Engines started by systemd would give a million:
programs that close every possible descriptor before they start another one then take seconds for it. An engine without
CAP_SYS_RESOURCE (rootless) cannot go above its own hard limit, and no Linux has a lower one than the default here."""

DEFAULT_SHM = 64 * 1024 * 1024  # bytes; the engine's own default

# go-units, RAMInBytes: binary units whatever the spelling.
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_EXPONENT: Mapping[str, int] = MappingProxyType({"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5})
_CPUS = re.compile(r"[0-9]{0,9}\.?[0-9]{1,9}")  # the engine counts in billionths
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # no 0100: Go would read it as octal
_ULIMIT = re.compile(r"([a-z]+)=-?[0-9]{1,18}(?::-?[0-9]{1,18})?")


def size_in_bytes(text: str) -> int | None:
    """"512m" → 536870912; None for what is no size."""
    match = _SIZE.fullmatch(text)
    return int(Decimal(match[1]) * 1024 ** _EXPONENT[match[2].lower()]) if match else None


def cpus_limit(limits: Limits) -> Decimal:
    return Decimal(repr(limits.cpus)).quantize(Decimal("1e-9"), ROUND_DOWN)


def rule_limits(case: Case, run: DockerRun) -> Part:
    limits = case.spec.limits
    memory = _limited(case, run, "memory", _size, Decimal(limits.memory))
    cpus = _limited(case, run, "cpus", _cpus, cpus_limit(limits))
    pids = _limited(case, run, "pids-limit", _whole, Decimal(limits.pids))
    return joined((memory, _swap(run, memory.options[0][1]), cpus, pids, _shm(case, run), _ulimits(case, run)))


def _limited(
    case: Case, run: DockerRun, name: str, read: Callable[[str], Decimal | None], limit: Decimal
) -> Part:  # fmt: skip
    values, steps = effective(run, name)
    rule = f"{name.removesuffix('-limit')}-limit"
    if not values:
        return part(name, (_spelled(limit),), Step("added", f"--{name}", rule, "the server's configured limit"))
    own = read(values[0])
    if own is None:
        refuse(case, "limit-syntax", f"the value of --{name} cannot be understood", "write it as in docker's manual")
    if 0 < own <= limit:
        return part(name, (_spelled(own),), *steps, Step("kept", f"--{name}", rule, "not above the configured limit"))
    note = f"unlimited, or above the server's configured limit of {_spelled(limit)}"
    return part(name, (_spelled(limit),), *steps, Step("rewritten", f"--{name}", rule, note))


def _swap(run: DockerRun, memory: str) -> Part:
    own = run.values("memory-swap")[-1:]
    if own and size_in_bytes(own[0]) == int(memory):
        return part("memory-swap", (memory,))
    note = "equal to --memory, so that there is no swap"
    action = Step("rewritten" if own else "added", "--memory-swap", "memory-limit", note)
    return part("memory-swap", (memory,), action)


def _shm(case: Case, run: DockerRun) -> Part:
    values, steps = effective(run, "shm-size")
    if not values:
        return Part()
    size = size_in_bytes(values[0])
    if not size:
        refuse(case, "limit-syntax", "the value of --shm-size cannot be understood", "write it like 64m")
    if size > shm_limit(case):
        refuse(case, "shm-size", f"--shm-size is above {shm_limit(case)} bytes", f"lower it, or {WIDEN}")
    return part("shm-size", (str(size),), *steps, Step("kept", "--shm-size", "shm-size", "not above what is allowed"))


def shm_limit(case: Case) -> int:
    """Bytes."""
    return max(DEFAULT_SHM, case.allow.shm_size or 0)


def _ulimits(case: Case, run: DockerRun) -> Part:
    chosen: dict[str, str] = {}
    for value in run.values("ulimit"):
        match = _ULIMIT.fullmatch(value)
        if match is None or match[1] not in ULIMITS:
            refuse(case, "ulimit", f"--ulimit={value} is refused", f"use one of {', '.join(sorted(ULIMITS))}")
        chosen[match[1]] = value
    files, cores = _files(chosen.pop("nofile", None)), _no_core(chosen.pop("core", None))
    return part("ulimit", chosen.values()) + files + cores


def _files(own: str | None) -> Part:
    numbers = [int(number) for number in own.partition("=")[2].split(":")] if own else []
    if own and all(0 <= number <= MOST_FILES for number in numbers):
        return part("ulimit", (own,))
    most = MOST_FILES if own else DEFAULT_FILES
    note = f"at most {most} open files"
    return part("ulimit", (f"nofile={most}",), Step("rewritten" if own else "added", "--ulimit", "nofile", note))


def _no_core(own: str | None) -> Part:
    """The kernel hands a core dump to a program of the host (core(5)), whatever process it is of."""
    if own in ("core=0", "core=0:0"):
        return part("ulimit", ("core=0",))
    note = "core=0: a core dump would leave the container"
    return part("ulimit", ("core=0",), Step("rewritten" if own else "added", "--ulimit", "no-core-dumps", note))


def _size(text: str) -> Decimal | None:
    size = size_in_bytes(text)
    if size is None:
        return Decimal(-1) if text == "-1" else None
    return Decimal(size)


def _cpus(text: str) -> Decimal | None:
    return Decimal(text) if _CPUS.fullmatch(text) else None


def _whole(text: str) -> Decimal | None:
    return Decimal(text) if _WHOLE.fullmatch(text) else None


def _spelled(number: Decimal) -> str:
    return format(number.normalize(), "f")
