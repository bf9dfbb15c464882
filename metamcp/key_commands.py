"""``python -m metamcp keys …``: API keys are made, listed and revoked here, and nowhere else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from metamcp.access import keyfile, keys
from metamcp.access.keys import ADMIN, KeysUnusable, Record
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid


def create(settings: Settings, name: str, scopes: Sequence[str], expires: str | None) -> None:
    """Make a key; print it, and nothing else, on standard output. Raises ClickException."""
    problems = [f"NAME {keys.name_problem(name)}"] if keys.name_problem(name) else []
    problems += [f"scope {scope!r} {problem}" for scope in scopes if (problem := keys.scope_problem(scope))]
    seconds = keys.seconds_of(expires) if expires is not None else None
    if expires is not None and seconds is None:
        problems.append("--expires must be such as 12h, 90d or 52w: a number of s, m, h, d or w, at most ten years")
    if problems:
        raise click.UsageError("; ".join(problems))
    _warn_of_unknown(settings, scopes)
    now = int(time.time())
    key = keys.mint(secrets.token_bytes(keys.KEY_BYTES))
    record = Record(name, keys.hash_of(key), tuple(dict.fromkeys(scopes)), now, now + seconds if seconds else None)
    _change(settings, lambda records: _add(records, record))
    click.echo(f"key {record.id} of {name}: keep it now, it is not shown again", err=True)
    click.echo(key)


def show(settings: Settings) -> None:
    """Everything but the keys, which nobody knows. Raises ClickException."""
    path = keyfile.path_in(settings.state_dir)
    try:
        known = keyfile.read(path)
    except (OSError, KeysUnusable) as error:
        raise _unusable(settings, error) from error
    now = time.time()
    rows = [("NAME", "ID", "SCOPES", "CREATED", "EXPIRES")]
    rows += [
        (it.name, it.id, ",".join(it.scopes), _date(it.created), _date(it.expires) + " (past)" * (not it.valid(now)))
        for it in known.records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def revoke(settings: Settings, name: str, identifier: str) -> None:
    """Every key of ``name``, or one of them. Raises ClickException where there is none."""
    revoked: list[Record] = []

    def remove(records: list[Record]) -> None:
        stay = keys.without(records, name, identifier)
        revoked.extend(record for record in records if record not in stay)
        records[:] = stay

    left = _change(settings, remove)
    if not revoked:
        which = f"key {identifier!r} of {name!r}" if identifier else f"key of {name!r}"
        raise click.ClickException(f"there is no {which}; python -m metamcp keys list shows all")
    click.echo(f"revoked: {', '.join(f'{record.name} {record.id}' for record in revoked)}")
    if not left:
        path = keyfile.path_in(settings.state_dir)
        click.echo(f"that was the last key: what needs one now admits nobody. To do without keys, delete {path} "
                   "and restart the web workers", err=True)  # fmt: skip


def _add(records: list[Record], record: Record) -> None:
    if len(records) >= keys.MAX_KEYS:
        raise click.ClickException(f"there are {keys.MAX_KEYS} keys, which is the most; revoke what is not in use")
    records.append(record)


def _change(settings: Settings, change: keyfile.Change) -> tuple[Record, ...]:
    path = keyfile.path_in(settings.state_dir)
    try:
        return keyfile.rewrite(path, change)
    except (OSError, KeysUnusable) as error:
        raise _unusable(settings, error) from error


def _unusable(settings: Settings, error: Exception) -> click.ClickException:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return click.ClickException(f"{keyfile.path_in(settings.state_dir)} cannot be used: {reason}")


def _warn_of_unknown(settings: Settings, scopes: Sequence[str]) -> None:
    """A key may be made before its endpoint, and where the configuration is not to be had."""
    try:
        endpoints = load(settings.config_dir).config.endpoints
    except ConfigInvalid:
        return
    for scope in scopes:
        if scope != ADMIN and scope not in endpoints:
            known = ", ".join(sorted(endpoints)) or "none"
            click.echo(f"warning: no endpoint is called {scope!r} yet; configured: {known}", err=True)


def _date(seconds: int | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
