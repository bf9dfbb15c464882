"""The command line of the scenarios. Options are made from the fields of their plans."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from bench.client.factory import OVER_HTTP, TRANSPORTS
from bench.client.session import Json, Settings
from bench.scenarios.common import Target
from bench.scenarios.first import FirstPlan, first
from bench.scenarios.idle import IdlePlan, SessionsPlan, idle, sessions
from bench.scenarios.jobs import TOOLS
from bench.scenarios.large import PARTS, LargePlan, large
from bench.scenarios.lifecycle import CHECKS, LifecyclePlan, lifecycle
from bench.scenarios.load import LoadPlan, load
from bench.scenarios.steady import SteadyPlan, steady

MOST = {
    "concurrency": 256, "sessions": 500, "idle_clients": 5000, "clients": 5000, "others": 256, "count": 1000,
    "payload": 32_000_000, "sizes": 32_000_000, "notifications": 100_000, "per_second": 10_000, "retries": 10,
}  # fmt: skip
"""The largest value of an option; of seconds and others it is MOST_OF_OTHERS."""
MOST_OF_OTHERS = 100_000
CHOICES = {"tool": TOOLS, "parts": tuple(PARTS), "checks": tuple(CHECKS)}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Scenario:
    """``run`` takes a target and a plan, an instance of ``plan``."""

    plan: type[Any]
    run: Callable[[Target, Any], Coroutine[Any, Any, Json]]


SCENARIOS = {
    "load": Scenario(LoadPlan, load),
    "first": Scenario(FirstPlan, first),
    "idle": Scenario(IdlePlan, idle),
    "sessions": Scenario(SessionsPlan, sessions),
    "large": Scenario(LargePlan, large),
    "steady": Scenario(SteadyPlan, steady),
    "lifecycle": Scenario(LifecyclePlan, lifecycle),
}


def add_plan(parser: argparse.ArgumentParser, plan: type[Any]) -> None:
    """An option for each field of a plan: numbers and words, lists of them with commas."""
    kinds = get_type_hints(plan)
    for field in fields(plan):
        names = [f"--{field.name.replace('_', '-')}", *(["-c"] if field.name == "concurrency" else [])]
        parser.add_argument(*names, dest=field.name, type=_reader(field, kinds[field.name]), default=field.default)


def plan_of(options: argparse.Namespace, plan: type[Any]) -> Any:
    """The instance that the options describe."""
    return plan(**{field.name: getattr(options, field.name) for field in fields(plan)})


def _reader(field: Field[Any], kind: Any) -> Callable[[str], Any]:
    assert field.default is not MISSING
    if kind == Sequence[int]:
        return lambda text: [_bounded(field.name, int(part)) for part in text.split(",")]
    if kind == Sequence[str]:
        return lambda text: [_known(field.name, part) for part in text.split(",")]
    if kind is str:
        return lambda text: _known(field.name, text)
    return lambda text: _bounded(field.name, kind(text))


def _bounded(name: str, value: Any) -> Any:
    most = MOST.get(name, MOST_OF_OTHERS)
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is not within 0 and {most}")
    return value


def _known(name: str, text: str) -> str:
    if text not in CHOICES[name]:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CHOICES[name])}")
    return text


def add_target(parser: argparse.ArgumentParser) -> None:
    """Whom to measure."""
    numbers = Target.__dataclass_fields__["parallel"].default
    parser.add_argument("--transport", choices=TRANSPORTS, required=True)
    parser.add_argument("--url", required=True, help="on loopback; for stdio a command, for docker an image")
    parser.add_argument("--header", action="append", default=[], help="for each request: 'Name: value'")
    parser.add_argument("--tool-prefix", default="", help="what the gateway puts before names of tools")
    parser.add_argument("--protocol", default=Settings.version, help="MCP revision to ask for")
    parser.add_argument("--timeout", type=float, default=Settings.timeout, help="seconds for each call")
    parser.add_argument("--pid", type=pids, default=[], help="root processes of the gateway, for CPU and memory")
    parser.add_argument("--self", action="store_true", help="count the commands that --transport stdio starts")
    parser.add_argument("--engine", action="store_true", help="count the CPU of the engine and the containers, too")
    parser.add_argument("--label", action="append", default=[], help="name=value, of the gateway's containers")
    parser.add_argument("--open-parallel", type=int, default=numbers, help="sessions opened at the same time")


def pids(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def target_of(options: argparse.Namespace) -> Target:
    """Raises ValueError for a host that is not this machine's loopback: the loads are not for others."""
    if options.transport in OVER_HTTP and urlsplit(options.url).hostname not in LOOPBACK:
        raise ValueError(f"{options.url} is not on loopback")
    settings = Settings(options.protocol, options.timeout, options.tool_prefix)
    roots = [os.getpid()] if options.self else options.pid
    return Target(
        options.transport, options.url, settings, options.header, roots, options.engine, options.label,
        options.open_parallel,
    )  # fmt: skip
