"""``python -m metamcp import``: reads what others have written, and writes ``servers.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from metamcp.commands.display import printable
from metamcp.config import images, loader, writing
from metamcp.config.allowlist_schema import parse_allowlist
from metamcp.config.importing.documents import import_documents
from metamcp.config.importing.outcome import Imported, Source
from metamcp.config.importing.reading import MAX_FILE_BYTES, read
from metamcp.config.model import Allowlist, ServerSpec
from metamcp.config.schema import servers_from
from metamcp.config.secrets import needed
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.runtime.command.effective import image_of

MOST_SHOWN = 400


def run(settings: Settings, files: Sequence[BinaryIO], force: bool) -> None:
    """Raises ConfigInvalid and ClickException; then nothing was written."""
    target = settings.config_dir / loader.SERVERS_FILE
    if target.exists() and not force:
        raise click.ClickException(f"{target} is there already: --force replaces it, METAMCP_CONFIG_DIR names another")
    imported = _imported([_source(file, alone=len(files) == 1) for file in files])
    servers = list(servers_from(imported.document).servers.values())
    text = json.dumps(imported.document, indent=2, ensure_ascii=False) + "\n"
    if len(text.encode()) > loader.MAX_FILE_BYTES:
        raise click.ClickException(f"{target} would be larger than {loader.MAX_FILE_BYTES // 1024**2} MiB")
    try:
        writing.put(target, text.encode())
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    click.echo("\n".join(_report(imported, servers, _allowlist(settings.config_dir))))
    click.echo(f"written: {target}; next: python -m metamcp check-config")


def _imported(sources: Sequence[Source]) -> Imported:
    try:
        return import_documents(sources)
    except ConfigInvalid as invalid:
        raise ConfigInvalid([(_shown(place), _shown(text)) for place, text in invalid.problems]) from None


def _source(file: BinaryIO, *, alone: bool) -> Source:
    """Raises ConfigInvalid, with the file's name."""
    try:
        document, twice = read(file.read(MAX_FILE_BYTES + 1))
    except ConfigInvalid as invalid:
        raise ConfigInvalid([(file.name, text) for _, text in invalid.problems]) from None
    return Source(document, "" if alone else file.name, twice)


def _report(imported: Imported, servers: Sequence[ServerSpec], allowlist: Allowlist) -> Iterator[str]:
    yield f"imported: {', '.join(server.name for server in servers)}"
    notes = imported.notes
    for kind, found in (("changed", notes.changed), ("left out", notes.left_out), ("secret", notes.secrets)):
        yield from (f"{kind}: {_shown(place)} {_shown(text)}" for place, text in found)
    if variables := sorted({name for server in servers for name in needed(server)}):
        yield f"variables that the gateway needs: {', '.join(variables)}"
    yield from _images(servers, allowlist)
    plain = [f"{server.name} ({server.command})" for server in servers if server.command and image_of(server) is None]
    if plain:
        yield f"plain processes, which run unconfined as the gateway's user: {', '.join(plain)}"


def _shown(text: str) -> str:
    """Names are what others have called their servers."""
    return printable(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…")


def _images(servers: Iterable[ServerSpec], allowlist: Allowlist) -> Iterator[str]:
    """What the allowlist lacks; whether an image may run is for the operator to say, so nothing is written there."""
    wanted = {image: None for server in servers if (image := image_of(server))}
    for image in wanted:
        verdict = images.decide(allowlist, image)
        if verdict.would_deny or not verdict.allowed:
            yield f"image: {image} is not allowed yet; {verdict.advice or verdict.would_deny}"


def _allowlist(folder: Path) -> Allowlist:
    """As far as it can be read: check-config tells its mistakes."""
    try:
        return parse_allowlist((folder / loader.ALLOWLIST_FILE).read_text("utf-8-sig"))
    except (OSError, ValueError, ConfigInvalid):
        return Allowlist()
