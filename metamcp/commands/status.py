"""``python -m metamcp status`` and ``logs``: what the running gateway says of itself and of its servers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from metamcp.commands import asking, display
from metamcp.commands.display import Table, printable
from metamcp.config.settings import Settings
from metamcp.gateway.interface import Ask, Lines

_MIB = 1024 * 1024
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def status(settings: Settings, as_json: bool, watch: bool) -> None:
    """Print it, once or with each change. Raises ClickException."""
    if watch:
        with suppress(KeyboardInterrupt):
            _watch(settings, as_json)
        return
    document = asking.ask(settings, Ask("status"))
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        display.show(_tables(document))


def lines(settings: Settings, server: str, follow: bool, tail: int, as_json: bool) -> None:
    """Print the last lines of a server's standard error. Raises ClickException."""
    with suppress(KeyboardInterrupt):
        for event in asking.follow(settings, Ask("stderr", server, lines=Lines(tail=tail, follow=follow))):
            said = json.loads(event.data)
            click.echo(json.dumps({"id": event.number, **said}) if as_json else _line(server, said))


def _line(server: str, said: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(said["time"], UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{at}Z {said['container'] or server} | {printable(said['line'])}"


def _watch(settings: Settings, as_json: bool) -> None:
    if not as_json:
        display.show_each(map(_tables, _watched(settings)))
        return
    for document in _watched(settings):
        click.echo(json.dumps(document))


def _watched(settings: Settings) -> Iterator[dict[str, Any]]:
    for event in asking.follow(settings, Ask("events")):
        name, _, document = event.data.partition(b" ")
        if name == b"status":
            yield json.loads(document)


# --- tables ------------------------------------------------------------------------------------------------


def _tables(status: dict[str, Any]) -> list[Table]:
    now = time.time()
    problems = status["configuration"]["problems"]
    mistakes = [Table(("MISTAKE", "TEXT"), [(item["path"], item["text"]) for item in problems], "")] if problems else []
    return [
        *mistakes,
        Table(
            ("SERVER", "STATE", "SINCE", "INSTANCES", "IMAGE", "WHY"),
            [_server(item, now) for item in status["servers"]],
            "no server is configured",
        ),
        Table(
            ("INSTANCE", "SERVER", "SESSION", "STATE", "SINCE", "MEMORY"),
            [_child(item, now) for item in status["children"]],
            "no instance runs",
        ),
        Table(
            ("SESSION", "ENDPOINT", "PRINCIPAL", "REVISION", "TRANSPORT", "SINCE", "LAST USED"),
            [_session(item, now) for item in status["sessions"]],
            "no client has a session",
        ),
    ]


def _server(item: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        item["name"], item["state"], _ago(item["since"], now), str(item["instances"]), item["image"] or "",
        _why(item, now),
    )  # fmt: skip


def _why(item: dict[str, Any], now: float) -> str:
    """What is wrong, when it is tried again and what to do; else what its last end was."""
    if item["reason"]:
        due = f"; next try in {_span(item['nextTryAt'] - now)}" if item["nextTryAt"] else ""
        advice = f"; try: {item['advice']}" if item["advice"] and item["advice"] not in item["reason"] else ""
        return f"{item['reason']}{due}{advice}"
    ended = item["lastExit"]
    return f"last end {_ago(ended['at'], now)} ago: {ended['reason']}" if ended else ""


def _child(item: dict[str, Any], now: float) -> tuple[str, ...]:
    memory = item["memoryBytes"]
    return (
        item["containerName"] or (f"process {item['pid']}" if item["pid"] else ""), item["server"],
        item["session"] or "", item["state"], _ago(item["since"], now),
        f"{memory / _MIB:.0f} MiB" if memory is not None else "",
    )  # fmt: skip


def _session(item: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        item["id"], item["endpoint"], item["principal"], item["revision"], item["transport"],
        _ago(item["since"], now), _ago(item["lastUsed"], now),
    )  # fmt: skip


def _ago(moment: float, now: float) -> str:
    return _span(now - moment)


def _span(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
