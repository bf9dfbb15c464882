"""Measures peers in interleaved rounds, each in a fresh run of its own, and prints the tables of medians.

Options that are not listed here go to the scenario.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.options import SCENARIOS, add_plan
from bench.peers.catalog import chosen
from bench.peers.peer import DIRECT, RIVAL, Peer, Running
from bench.peers.rivals import HOME, generator, install
from bench.report import report
from bench.scenarios.lifecycle import ENDING
from bench.server.image import ensure_image

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
RUN_SECONDS = 1200.0
MOST_ROUNDS = 100


@dataclass(frozen=True)
class Round:
    """What one round needs. ``more``: options for the scenario. ``seconds``: how long one run may take."""

    scenario: str
    results: Path
    lock: Path
    image: str
    python: str
    more: Sequence[str]
    seconds: float


def add_options(parser: argparse.ArgumentParser) -> None:
    # Options of the scenarios must not be taken for abbreviations of these.
    parser.allow_abbrev = False
    parser.add_argument("--scenario", choices=SCENARIOS, default="load")
    parser.add_argument("--rounds", type=_rounds, default=3)
    parser.add_argument("--peers", type=_names, default=[], help="NAME or NAME*, with commas")
    parser.add_argument("--rivals", action="store_true", help="others' gateways, too; installs what is lacking")
    parser.add_argument("--results", type=Path, help="folder; further rounds are added to those that are there")
    parser.add_argument("--image", help="of the bench server, instead of the one that is made")
    parser.add_argument("--lock", type=Path, default=Path(tempfile.gettempdir()) / "metamcp-bench.lock")
    parser.add_argument("--list", action="store_true", help="only say which peers would be measured")


def _names(text: str) -> list[str]:
    return text.split(",")


def _rounds(text: str) -> int:
    if not 1 <= int(text) <= MOST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text} is not within 1 and {MOST_ROUNDS}")
    return int(text)


def run(options: argparse.Namespace, more: Sequence[str]) -> int:
    """The exit status: 1 if a peer could not be measured, 2 for options that nobody knows."""
    duration = _duration(options.scenario, more)
    try:
        peers = [peer for peer in chosen(options.peers, options.rivals) if options.scenario not in peer.without]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(peer.name for peer in peers))
        return 0
    if any(peer.kind == RIVAL for peer in peers):
        install(HOME)
    results = options.results or RESULTS / time.strftime("%Y%m%d-%H%M%S")
    (results / "logs").mkdir(parents=True, exist_ok=True)
    image = options.image or ensure_image()
    # As with Ctrl-C, what runs is ended and its containers are removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    one = Round(options.scenario, results, options.lock, image, generator(HOME), more, RUN_SECONDS + duration)
    failed = [name for number in _numbers(one, options.rounds) for name in _round(one, peers, number)]
    print(report(results))
    print(f"{results}: {len(failed)} runs failed {failed or ''}", file=sys.stderr)
    return 1 if failed else 0


def _duration(scenario: str, more: Sequence[str]) -> float:
    """The seconds that these options name. Ends the program where the scenario does not take them."""
    parser = argparse.ArgumentParser(prog=f"python -m bench run --scenario {scenario}")
    add_plan(parser, SCENARIOS[scenario].plan)
    return float(getattr(parser.parse_args(more), "duration", 0.0))


def _numbers(one: Round, rounds: int) -> range:
    there = [int(path.stem.rpartition("-r")[2]) for path in one.results.glob(f"{one.scenario}-*-r*.json")]
    first = max(there, default=0) + 1
    return range(first, first + rounds)


def _round(one: Round, peers: Sequence[Peer], number: int) -> list[str]:
    """Each peer once, in another order each time; the names of those that failed."""
    turn = number % len(peers) if peers else 0
    failed = []
    for peer in (*peers[turn:], *peers[:turn]):
        print(f"== round {number}: {one.scenario} {peer.name}", file=sys.stderr, flush=True)
        try:
            for name, extra in _parts(one, peer):
                out = one.results / f"{name}-{peer.name}-r{number}.json"
                with _locked(one.lock):
                    _measure(one, peer, out, extra)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            failed.append(peer.name)
    return failed


def _parts(one: Round, peer: Peer) -> Iterator[tuple[str, Sequence[str]]]:
    """(name of the result, further options) of each run. Checks that end the gateway have one of their own."""
    yield one.scenario, [*peer.options.get(one.scenario, ()), *one.more]
    if one.scenario == "lifecycle" and not one.more:
        for name in ENDING:
            yield name, ["--checks", name]


def _measure(one: Round, peer: Peer, out: Path, extra: Sequence[str]) -> None:
    log = one.results / "logs" / f"{out.stem}.log"
    # Cold times are those of the very first client, so nobody may call before.
    with Running(peer, HOME, one.image, log, probe=one.scenario != "first") as running:
        argv = [one.python, "-m", "bench", one.scenario, *_target(peer, running), "--out", str(out), *extra]
        subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=one.seconds, check=True)
        if running.ready_seconds is not None:
            found = json.loads(out.read_text())
            out.write_text(json.dumps(found | {"ready_seconds": running.ready_seconds}, indent=1) + "\n")


def _target(peer: Peer, running: Running) -> list[str]:
    argv = ["--transport", peer.transport, "--url", running.url, "--engine", f"--tool-prefix={peer.prefix}"]
    for label in running.labels:
        argv += ["--label", label]
    if running.pids:
        argv += ["--pid", ",".join(map(str, running.pids))]
    elif peer.kind == DIRECT and peer.transport == "stdio":
        argv += ["--self"]
    return argv


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Nobody who takes the same lock measures meanwhile."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
