"""Every flag of ``docker run`` and every global option, as data: what the parser has to know and nothing more.

The reference is the CLI itself (``docker run --help`` plus its hidden flags); a differential test compares
this table with the CLI that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Arity = Literal["value", "bool"]


@dataclass(frozen=True, slots=True)
class Flag:
    """``name`` is canonical and has no dashes. ``repeats``: every occurrence counts; otherwise the last one does."""

    name: str
    short: str = ""
    arity: Arity = "value"
    repeats: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FlagSet:
    longs: Mapping[str, Flag]
    shorts: Mapping[str, Flag]


def _switches(names: str) -> list[Flag]:
    return [Flag(name, arity="bool") for name in names.split()]


def _singles(names: str) -> list[Flag]:
    return [Flag(name) for name in names.split()]


def _lists(names: str) -> list[Flag]:
    return [Flag(name, repeats=True) for name in names.split()]


RUN_FLAGS: tuple[Flag, ...] = (
    # With a shorthand or an alias.
    Flag("attach", "a", repeats=True),
    Flag("cpu-shares", "c"),
    Flag("detach", "d", "bool"),
    Flag("dns-option", repeats=True, aliases=("dns-opt",)),
    Flag("env", "e", repeats=True),
    Flag("hostname", "h"),
    Flag("interactive", "i", "bool"),
    Flag("label", "l", repeats=True),
    Flag("memory", "m"),
    Flag("network", repeats=True, aliases=("net",)),
    Flag("network-alias", repeats=True, aliases=("net-alias",)),
    Flag("publish", "p", repeats=True),
    Flag("publish-all", "P", "bool"),
    Flag("quiet", "q", "bool"),
    Flag("tty", "t", "bool"),
    Flag("user", "u"),
    Flag("volume", "v", repeats=True),
    Flag("workdir", "w"),
    *_switches(
        "disable-content-trust help init no-healthcheck oom-kill-disable privileged read-only rm sig-proxy"
        " use-api-socket"
    ),
    *_singles(
        "blkio-weight cgroup-parent cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period"
        " cpu-rt-runtime cpus cpuset-cpus cpuset-mems detach-keys domainname entrypoint health-cmd health-interval"
        " health-retries health-start-interval health-start-period health-timeout io-maxbandwidth io-maxiops ip ip6"
        " ipc isolation kernel-memory log-driver mac-address memory-reservation memory-swap memory-swappiness name"
        " oom-score-adj pid pids-limit platform pull restart runtime shm-size stop-signal stop-timeout userns uts"
        " volume-driver"
    ),
    *_lists(
        "add-host annotation blkio-weight-device cap-add cap-drop device device-cgroup-rule device-read-bps"
        " device-read-iops device-write-bps device-write-iops dns dns-search env-file expose gpus group-add"
        " label-file link link-local-ip log-opt mount security-opt storage-opt sysctl tmpfs ulimit volumes-from"
    ),
)

GLOBAL_FLAGS: tuple[Flag, ...] = (
    Flag("context", "c"),
    Flag("debug", "D", "bool"),
    Flag("host", "H", repeats=True),
    Flag("log-level", "l"),
    Flag("version", "v", "bool"),
    *_switches("help tls tlsverify"),
    *_singles("config tlscacert tlscert tlskey"),
)


def _index(flags: tuple[Flag, ...]) -> FlagSet:
    longs = {name: flag for flag in flags for name in (flag.name, *flag.aliases)}
    return FlagSet(longs, {flag.short: flag for flag in flags if flag.short})


RUN = _index(RUN_FLAGS)
GLOBAL = _index(GLOBAL_FLAGS)
