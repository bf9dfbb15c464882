"""Markdown tables of medians, from a folder of results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.client.session import Json

Rounds = Mapping[int, Json]
"""The documents of one peer by the number of their round."""
Peers = Mapping[str, Rounds]
NOTHING = "-"
LEVELS = (1, 8, 64)
BASELINES = ("direct-api", "direct-cli", "direct-stdio")
NAMES = ("load", "first", "idle", "sessions", "large", "steady", "lifecycle", "sigterm", "sigkill")


def report(folder: Path) -> str:
    """A table for each scenario of which there are results."""
    results = read(folder)
    tables: dict[str, Callable[[Peers], Iterable[str]]] = {
        "load": _loads, "first": _first, "idle": _idle, "sessions": _sessions, "large": _large,
        "steady": _steady,
    }  # fmt: skip
    lines = [line for name, make in tables.items() if name in results for line in make(results[name])]
    for name in ("lifecycle", "sigterm", "sigkill"):
        lines += _facts(name, results.get(name, {}))
    return "\n".join(lines)


def read(folder: Path) -> dict[str, dict[str, dict[int, Json]]]:
    """Scenario → peer → round → document, of the files ``SCENARIO-PEER-rNUMBER.json``."""
    found: dict[str, dict[str, dict[int, Json]]] = {}
    for path in sorted(folder.glob("*-r*.json")):
        name, _, rest = path.stem.partition("-")
        peer, _, number = rest.rpartition("-r")
        if name in NAMES:
            found.setdefault(name, {}).setdefault(peer, {})[int(number)] = json.loads(path.read_text())
    return found


def median(values: Iterable[float | None], digits: int = 1) -> str:
    """Of the values that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return NOTHING
    value = statistics.median(there)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}f}"


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"### {title}", "", _row(heads), "|---" + "|---:" * (len(heads) - 1) + "|"]
    return [*lines, *(_row(row) for row in rows), ""]


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _at(document: Any, *path: str) -> Any:
    """What is there by these names, or None."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


# --- load --------------------------------------------------------------------------------------------------


def _loads(peers: Peers) -> Iterable[str]:
    kinds = {_kind(stage) for rounds in peers.values() for one in rounds.values() for stage in one["stages"]}
    for kind in sorted(kinds):
        yield from _load(peers, kind)


def _kind(stage: Json) -> tuple[str, int]:
    return stage["tool"], stage["payload"]


class _Load:
    """The stages of one peer and kind."""

    def __init__(self, rounds: Rounds, kind: tuple[str, int]) -> None:
        self.by_round = {
            number: {stage["concurrency"]: stage for stage in one["stages"] if _kind(stage) == kind}
            for number, one in rounds.items()
        }

    def at(self, level: int, *path: str) -> list[Any]:
        return [_at(stages.get(level), *path) for stages in self.by_round.values()]

    def all(self) -> list[Json]:
        return [stage for stages in self.by_round.values() for stage in stages.values()]

    def top(self, *path: str) -> list[Any]:
        return [_at(stages[max(stages)], *path) for stages in self.by_round.values() if stages]

    def over(self, base: _Load) -> list[float]:
        """By how much the median latency of one client is more, in each round that both have."""
        pairs = [
            (_at(stages.get(1), "p50_ms"), _at(base.by_round.get(number, {}).get(1), "p50_ms"))
            for number, stages in self.by_round.items()
        ]
        return [own - other for own, other in pairs if own is not None and other is not None]


def _load(peers: Peers, kind: tuple[str, int]) -> list[str]:
    loads = {name: load for name, rounds in sorted(peers.items()) if (load := _Load(rounds, kind)).all()}
    base = next((name for name in BASELINES if name in loads), None)
    heads = [
        "peer", "p50 / p99 ms @1", f"added p50 over {base or 'nothing'}", "calls/s @8", "calls/s @64", "p99 ms @64",
        *(f"CPU ms/call @{level}" for level in LEVELS), *(f"quiet CPU @{level}" for level in LEVELS),
        "docker CLI CPU @8", "quiet", "engine+containers CPU @8", "quiet calls/s @8", "peak RSS MiB", "of it CLI",
        "containers", "failed calls", "paused %", "rounds",
    ]  # fmt: skip
    rows = [_load_row(name, load, loads.get(base or "")) for name, load in loads.items()]
    return table(f"Load, {kind[0]}, {kind[1]} bytes (medians over rounds)", heads, rows)


def _load_row(name: str, load: _Load, base: _Load | None) -> list[object]:
    around = [sum(_at(stage, "cpu_ms_per_call", part) or 0 for part in ("engine", "containers"))
              for stages in load.by_round.values() if (stage := stages.get(8)) is not None]  # fmt: skip
    failed = sum(sum(stage.get("failures", {}).values()) for stage in load.all())
    paused = [100 * stage["pauses"]["share"] for stage in load.all()]
    return [
        name,
        f"{median(load.at(1, 'p50_ms'), 2)} / {median(load.at(1, 'p99_ms'))}",
        median(load.over(base), 2) if base is not None else NOTHING,
        median(load.at(8, "calls_per_second")),
        median(load.at(64, "calls_per_second")),
        median(load.at(64, "p99_ms")),
        *(median(load.at(level, "cpu_ms_per_call", "peer"), 2) for level in LEVELS),
        *(median(load.at(level, "quiet_cpu_ms_per_call", "peer"), 2) for level in LEVELS),
        median(load.at(8, "cpu_ms_per_call", "docker-cli"), 2),
        median(load.at(8, "quiet_cpu_ms_per_call", "docker-cli"), 2),
        median(around, 2),
        median(load.at(8, "quiet_calls_per_second")),
        median(load.top("memory_mib", "all", "peak_rss")),
        median(load.top("memory_mib", "docker-cli", "peak_rss")),
        median(load.top("containers"), 0),
        failed,
        median(paused, 0),
        len(load.by_round),
    ]


# --- others ------------------------------------------------------------------------------------------------


def _first(peers: Peers) -> list[str]:
    rows = []
    for name, rounds in sorted(peers.items()):
        runs = [one["runs_ms"] for one in rounds.values() if one["runs_ms"]]
        warm = [row[1] for one in runs for row in one[1:]]
        rows.append([
            name, median((one.get("ready_seconds") for one in rounds.values()), 2), median(one[0][1] for one in runs),
            median(warm), f"{max(warm):.0f}" if warm else NOTHING,
            sum(len(one["failures"]) for one in rounds.values()), len(rounds),
        ])  # fmt: skip
    heads = ["peer", "gateway up after s", "cold ms", "warm ms", "slowest warm ms", "failed", "rounds"]
    return table("From a fresh connect to the first result of a tool", heads, rows)


def _idle(peers: Peers) -> list[str]:
    rows = []
    for name, rounds in sorted(peers.items()):
        for stages in zip(*(one["stages"] for one in rounds.values()), strict=False):
            rows.append([name, stages[0]["clients"], stages[0]["alive"], *_held(stages)])
    heads = ["peer", "clients", "alive", *_HELD]
    return table("Clients that only hold a stream", heads, rows)


def _sessions(peers: Peers) -> list[str]:
    rows = []
    for name, rounds in sorted(peers.items()):
        documents = list(rounds.values())
        left = median(_at(one, "after_close", "memory_mib", "all", "pss") for one in documents)
        rows.append([name, *_held(documents), left])
    return table("Sessions that called once", ["peer", *_HELD, "PSS MiB after all ended"], rows)


_HELD = (
    "connected", "opened in s", "RSS KiB each", "PSS KiB each", "RSS MiB in all", "CPU % while idle", "quiet",
    "containers",
)  # fmt: skip


def _held(stages: Sequence[Json]) -> list[str]:
    parts = ("peer", "docker-cli")
    burnt = [sum(_at(stage, "cpu_percent_while_idle", part) or 0 for part in parts) for stage in stages]
    quiet = [sum(stage["quiet_cpu_percent_while_idle"].values()) for stage in stages]
    return [
        median((stage["connected"] for stage in stages), 0),
        median(stage["open_seconds"] for stage in stages),
        median(stage["rss_kib_per_client"] for stage in stages),
        median(stage["pss_kib_per_client"] for stage in stages),
        median(_at(stage, "memory_mib", "all", "rss") for stage in stages),
        median(burnt, 2),
        median(quiet, 2),
        median((stage.get("containers") for stage in stages), 0),
    ]


def _large(peers: Peers) -> list[str]:
    answers, floods, slow = [], [], []
    for name, rounds in sorted(peers.items()):
        documents = list(rounds.values())
        for stages in zip(*(one.get("answers", []) for one in documents), strict=False):
            answers.append([
                name, stages[0]["bytes"], stages[0]["concurrency"], *_medians(stages, "megabytes_per_second", "p50_ms"),
                median(_at(stage, "cpu_ms_per_megabyte", "peer") for stage in stages),
                median(_at(stage, "memory_mib", "peer", "peak_rss") for stage in stages),
                sum(sum(stage.get("failures", {}).values()) for stage in stages),
            ])  # fmt: skip
        progress = [one["progress"] for one in documents if "per_second" in one.get("progress", {})]
        if progress:
            floods.append([
                name, *_medians(progress, "sent", "received", "per_second", "delay_p50_ms", "delay_p99_ms"),
                median((_at(one, "cpu_ms_per_notification", "peer") for one in progress), 3),
                median(_at(one, "memory_mib", "peer", "peak_rss") for one in progress),
            ])  # fmt: skip
        readers = [one["slow"] for one in documents if "during" in one.get("slow", {})]
        if readers:
            slow.append([
                name, *(median(_at(one, when, key) for one in readers)
                        for key in ("p50_ms", "p99_ms", "calls_per_second") for when in ("before", "during")),
                median(_at(one, "memory_before_mib", "peer", "rss") for one in readers),
                median(_at(one, "memory_mib", "peer", "peak_rss") for one in readers),
            ])  # fmt: skip
    heads = ["peer", "bytes", "at once", "MB/s", "p50 ms", "CPU ms/MB", "peak RSS MiB", "failed"]
    flood = ["peer", "sent", "received", "per second", "delay p50 ms", "delay p99 ms", "CPU ms each", "peak RSS MiB"]
    reader = ["peer", "p50 ms before", "during", "p99 ms before", "during", "calls/s before", "during",
              "RSS MiB before", "peak RSS MiB"]  # fmt: skip
    return [
        *table("Large answers", heads, answers),
        *table("Progress notifications", flood, floods),
        *table("Others' calls while one client reads a large answer slowly", reader, slow),
    ]


def _steady(peers: Peers) -> list[str]:
    rows = []
    for name, rounds in sorted(peers.items()):
        for one in rounds.values():
            rss = " ".join(f"{part['rss']:.0f}" for part in one["parts"])
            rows.append([
                name, one["seconds"], one["calls"], one["sessions_opened"], one["p50_ms"], one["p99_ms"],
                median([_at(one, "cpu_ms_per_call", "peer")], 2), _at(one, "base_memory_mib", "all", "rss"), rss,
                _at(one, "growth_mib", "rss"), sum(one.get("failures", {}).values()),
            ])  # fmt: skip
    heads = ["peer", "seconds", "calls", "sessions", "p50 ms", "p99 ms", "CPU ms/call", "RSS MiB before",
             "in each sixth", "growth", "failed"]  # fmt: skip
    return table("A steady load, each round by itself", heads, rows)


def _medians(stages: Sequence[Json], *names: str) -> list[str]:
    return [median(_at(stage, name) for stage in stages) for name in names]


def _facts(name: str, peers: Peers) -> list[str]:
    lines = [
        f"- {peer}, {check}: `{json.dumps(facts)}`"
        for peer, rounds in sorted(peers.items())
        for one in rounds.values()
        for check, facts in one.items()
        if isinstance(facts, Mapping)
    ]
    return [f"### Lifecycle: {name}", "", *lines, ""] if lines else []
