"""``python -m metamcp export``: the configuration without its secrets, and files for clients of the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from metamcp.commands.call import own_url
from metamcp.commands.display import printable
from metamcp.config import writing
from metamcp.config.client_files import FORMATS, Reached
from metamcp.config.document import read_json
from metamcp.config.exporting import without_secrets
from metamcp.config.loader import SERVERS_FILE, load
from metamcp.config.model import EndpointSpec, GatewayConfig
from metamcp.config.settings import Settings

SERVERS = "servers"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``endpoint``: "" for all of them; ``url``: of the gateway, "" for the one of these settings; ``output``: None
    for standard output."""

    format: str = SERVERS
    endpoint: str = ""
    url: str = ""
    output: Path | None = None
    force: bool = False


def run(settings: Settings, wanted: Wanted) -> None:
    """The document on standard output or in a file, what is left to do on standard error. Raises ConfigInvalid and
    ClickException; then nothing was written."""
    config = load(settings.config_dir).config
    if wanted.format == SERVERS:
        document, notes = _servers(settings, wanted)
    else:
        document, notes = _client(settings, config, wanted)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if wanted.output is None:
        click.echo(text, nl=False)
    else:
        _write(wanted.output, text, wanted.force)
    for note in notes:
        click.echo(printable(note), err=True)


def _servers(settings: Settings, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    """It was read and is valid."""
    if wanted.endpoint or wanted.url:
        raise click.UsageError("--endpoint and --url are for the files of clients: say which --format")
    text = (settings.config_dir / SERVERS_FILE).read_text("utf-8-sig")
    exported = without_secrets(read_json(text)[0])
    variables = [f"set {variable.name}: {', '.join(variable.places)}" for variable in exported.variables]
    return exported.document, variables


def _client(settings: Settings, config: GatewayConfig, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    chosen = _endpoints(config, wanted.endpoint)
    base = (wanted.url or settings.public_url or own_url(settings)).rstrip("/")
    made = FORMATS[wanted.format]([_reached(base, endpoint) for endpoint in chosen])
    return made.document, [f"belongs into {made.where}", *_left_to_do(chosen, made.keys, wanted.format)]


def _left_to_do(chosen: list[EndpointSpec], keys: Any, form: str) -> Iterator[str]:
    for endpoint in chosen:
        if endpoint.name in keys:
            yield f"{endpoint.name}: {keys[endpoint.name]} (python -m metamcp keys create NAME --scope {endpoint.name})"
        elif endpoint.auth == "oauth":
            able = "mcp-proxy cannot sign in" if form == "mcp-proxy" else "the client signs in there"
            yield f"{endpoint.name}: takes tokens of its issuer; {able}"


def _endpoints(config: GatewayConfig, name: str) -> list[EndpointSpec]:
    if not name:
        return list(config.endpoints.values())
    if name not in config.endpoints:
        raise click.ClickException(f"there is no endpoint {name!r}; there are {', '.join(config.endpoints) or 'none'}")
    return [config.endpoints[name]]


def _reached(base: str, endpoint: EndpointSpec) -> Reached:
    url = f"{base}/metamcp/{quote(endpoint.name, safe='')}/mcp"
    return Reached(endpoint.name, url, endpoint.auth == "api-key")


def _write(path: Path, text: str, force: bool) -> None:
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already: --force replaces it")
    try:
        writing.put(path, text.encode())
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
