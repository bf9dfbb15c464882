"""The command line: ``python -m bench COMMAND``. README.md says what each command is for.

Scenarios print one JSON document to standard output, and what they have just found to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from bench import runs
from bench.client.session import Json
from bench.options import SCENARIOS, add_plan, add_target, plan_of, target_of
from bench.peers.rivals import HOME, install
from bench.report import report
from bench.scenarios.load import LoadPlan
from bench.scenarios.selftest import selftest
from bench.server.image import ensure_image

try:
    import uvloop
except ImportError:
    uvloop = None

Runner = Callable[[Coroutine[Any, Any, Json]], Json]


def runner() -> tuple[Runner, str]:
    """What runs a coroutine, and its name."""
    if uvloop is None:
        return asyncio.run, "asyncio"
    return uvloop.run, f"uvloop {uvloop.__version__}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures MCP gateways.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, scenario in SCENARIOS.items():
        one = commands.add_parser(name, description=scenario.plan.__doc__)
        add_target(one)
        add_plan(one, scenario.plan)
        one.add_argument("--out", type=Path, help="write the JSON to this file, too")
    one = commands.add_parser("selftest", description=selftest.__doc__)
    add_plan(one, LoadPlan)
    one.add_argument("--out", type=Path)
    one = commands.add_parser("run", description=runs.__doc__, usage="%(prog)s [OPTIONS] [OPTIONS OF THE SCENARIO]")
    runs.add_options(one)
    one = commands.add_parser("report", description=report.__doc__)
    one.add_argument("folder", type=Path)
    commands.add_parser("install", description=install.__doc__)
    commands.add_parser("image", description=ensure_image.__doc__)
    return parser


def measure(options: argparse.Namespace) -> Json:
    """The document of a scenario."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run, loop = runner()
    if options.command == "selftest":
        result, whom = run(selftest(plan_of(options, LoadPlan))), {}
    else:
        scenario = SCENARIOS[options.command]
        whom = {"transport": options.transport, "url": options.url}
        result = run(scenario.run(target_of(options), plan_of(options, scenario.plan)))
    about = {
        "command": options.command, **whom, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "loop": loop, "python": platform.python_version(), "cpus": os.cpu_count(),
    }  # fmt: skip
    return about | result


def main(argv: Sequence[str]) -> int:
    options, more = arguments().parse_known_args(argv)
    if more and options.command != "run":
        arguments().error(f"unrecognized arguments: {' '.join(more)}")
    if options.command == "run":
        return runs.run(options, more)
    if options.command == "report":
        print(report(options.folder))
    elif options.command == "install":
        install(HOME)
    elif options.command == "image":
        print(ensure_image())
    else:
        text = json.dumps(measure(options), indent=1)
        print(text)
        if options.out:
            options.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
