"""``python -m metamcp keys …``: API keys are made, listed and revoked, as over HTTP (``factory/key_keeping.py``)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from metamcp.access import issuing, keyfile, keys
from metamcp.access.issuing import KeysRefused, Wish
from metamcp.access.keys import KeysUnusable, Record
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid

_AS_TYPED = {"name": "NAME", "scopes": "scope", "expires": "--expires"}


def create(settings: Settings, name: str, scopes: Sequence[str], expires: str | None) -> None:
    """Make a key; print it, and nothing else, on standard output. Raises ClickException."""
    wish = Wish(name, tuple(scopes), expires)
    if problems := wish.problems():
        raise click.UsageError("; ".join(f"{_AS_TYPED[member]} {text}" for member, text in problems))
    _warn_of_unknown(settings, wish)
    key, record = wish.issue(int(time.time()), secrets.token_bytes(keys.KEY_BYTES))
    _change(settings, lambda records: issuing.add(records, record))
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


def _change(settings: Settings, change: keyfile.Change) -> tuple[Record, ...]:
    path = keyfile.path_in(settings.state_dir)
    try:
        return keyfile.rewrite(path, change)
    except KeysRefused as refused:
        raise click.ClickException(str(refused)) from refused
    except (OSError, KeysUnusable) as error:
        raise _unusable(settings, error) from error


def _unusable(settings: Settings, error: Exception) -> click.ClickException:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return click.ClickException(f"{keyfile.path_in(settings.state_dir)} cannot be used: {reason}")


def _warn_of_unknown(settings: Settings, wish: Wish) -> None:
    """Where the configuration is to be had."""
    try:
        endpoints = load(settings.config_dir).config.endpoints
    except ConfigInvalid:
        return
    for warning in wish.unknown_scopes(tuple(endpoints)):
        click.echo(f"warning: {warning}", err=True)


def _date(seconds: int | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
