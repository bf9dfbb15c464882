"""The operator's command line: ``python -m metamcp …``."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO

import click

from metamcp import __version__, separation, supervision
from metamcp.commands import asking
from metamcp.commands import call as call_command
from metamcp.commands import doctor as doctor_command
from metamcp.commands import explain as explain_command
from metamcp.commands import export as export_command
from metamcp.commands import importing as import_command
from metamcp.commands import keys as key_commands
from metamcp.commands import pull as pull_command
from metamcp.commands import status as status_command
from metamcp.config.client_files import FORMATS
from metamcp.config.engine_address import locate
from metamcp.config.loader import load
from metamcp.config.model import ServerSpec
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid, MetaMCPError
from metamcp.factory import judging_images
from metamcp.factory.starting import build_resolver, resolve_remote
from metamcp.gateway.interface import Subject
from metamcp.runtime.command.effective import Resolver
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity
from metamcp.runtime.screening.ledger import Report
from metamcp.telemetry import logs


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the Settings, as the supervisor's user where root gives it; print every mistake of the
    configuration and exit 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            settings = Settings.from_env(os.environ)
            logs.configure(settings.log_level, settings.log_format)
            separation.become_supervisor(settings, os.environ)
            command(settings, *args, **kwargs)
        except ConfigInvalid as error:
            click.echo(error.report(), err=True)
            sys.exit(error.exit_status)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """MetaMCP, an MCP gateway for servers in Docker containers."""


@main.command()
@_with_settings
def supervisor(settings: Settings) -> None:
    """Run the process that owns the children and the Docker socket."""
    sys.exit(supervision.run(settings))


@main.command("check-config")
@_with_settings
def check_config(settings: Settings) -> None:
    """Read the configuration; print every mistake and exit 2, or a summary."""
    loaded = load(settings.config_dir)
    config = loaded.config
    click.echo(
        f"{settings.config_dir}: {len(config.servers)} servers, {len(config.namespaces)} namespaces, "
        f"{len(config.endpoints)} endpoints, {len(loaded.allowlist.rules)} allowlist rules: no mistakes"
    )
    resolver = build_resolver(settings, locate(os.environ), loaded, Identity("check", "check"))
    for spec in config.servers.values():
        if spec.enabled:
            try:
                _check(resolver, spec)
            except MetaMCPError as error:
                click.echo(f"warning: server {spec.name!r} would not start: {logs.redact(error.told)}")


def _check(resolver: Resolver, spec: ServerSpec) -> None:
    """Raises MetaMCPError when it would not start."""
    if spec.url:
        resolve_remote(spec)
        return
    verdict = resolver.resolve(spec).verdict
    if verdict is not None and verdict.would_deny:
        click.echo(f"warning: dry run: server {spec.name!r}: {verdict.would_deny}")


@main.command()
@click.argument("server")
@_with_settings
def explain(settings: Settings, server: str) -> None:
    """Show what would run for SERVER, secrets masked, and each policy decision with its rule."""
    sys.exit(explain_command.run(settings, server))


@main.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE ...", type=click.File("rb"))
@click.option("--force", is_flag=True, help="Replace a servers.json that is there.")
@_with_settings
def import_servers(settings: Settings, files: tuple[BinaryIO, ...], force: bool) -> None:
    """Make servers.json out of each FILE (- is standard input): an export of MetaMCP, the configuration of a client, or
    files of Docker's MCP toolkit. Tells what was changed and left out; exit 2 when nothing was written."""
    import_command.run(settings, files, force)


@main.command("export")
@click.option(
    "--format", "form", type=click.Choice([export_command.SERVERS, *FORMATS]), default=export_command.SERVERS,
    show_default=True, help="servers: servers.json with a variable for each secret; else the file of a client.",
)  # fmt: skip
@click.option("--endpoint", default="", metavar="NAME", help="For this endpoint alone; without: for all of them.")
@click.option("--url", default="", help="Of the gateway, as the client reaches it.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Instead of standard output.")
@click.option("--force", is_flag=True, help="Replace an output that is there.")
@_with_settings
def export(settings: Settings, form: str, endpoint: str, url: str, output: Path | None, force: bool) -> None:
    """Print the configuration without secrets, or a file that leads a client to this gateway. Which variables or keys
    are to be set is told on standard error."""
    export_command.run(settings, export_command.Wanted(form, endpoint, url, output, force))


@main.command("reload")
@_with_settings
def reload_configuration(settings: Settings) -> None:
    """Make the running gateway read its configuration again; print what changed, or every mistake and exit 2."""
    document = asking.ask(settings, asking.order_of("reload"))
    if "problems" in document:
        raise ConfigInvalid([(problem["path"], problem["text"]) for problem in document["problems"]])
    click.echo("\n".join(asking.changes(document["changes"])) or "nothing changed")


@main.command()
@click.option("--watch", is_flag=True, help="Print it again with each change, until it is interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the document of /api/status.")
@_with_settings
def status(settings: Settings, as_json: bool, watch: bool) -> None:
    """Show the servers, instances and sessions of the running gateway."""
    status_command.status(settings, as_json, watch)


@main.command("logs")
@click.argument("server")
@click.option("-f", "--follow", is_flag=True, help="Go on with each line that comes, until it is interrupted.")
@click.option("--tail", type=click.IntRange(0, 1000), default=100, show_default=True, help="So many lines at first.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as an object.")
@_with_settings
def stderr(settings: Settings, server: str, follow: bool, tail: int, as_json: bool) -> None:
    """Show what SERVER said on its standard error, secrets masked."""
    status_command.lines(settings, server, follow, tail, as_json)


@main.command()
@click.argument("endpoint")
@click.argument("tool")
@click.argument("arguments", default="{}", metavar="[JSON]")
@click.option("--url", default="", help="Of the gateway, where it is not the one that these settings are for.")
@click.option(
    "--key", default="", envvar="METAMCP_API_KEY", show_envvar=True,
    help="Of the endpoint. Others may read a command line: the variable is the better place.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result, or the error, as it came.")
@_with_settings
def call(settings: Settings, endpoint: str, tool: str, arguments: str, url: str, key: str, as_json: bool) -> None:
    """Call TOOL at ENDPOINT with the arguments JSON (- is standard input), as a client does. Exit status 1: the tool
    reports an error; 2: the gateway does."""
    given = sys.stdin.buffer.read() if arguments == "-" else arguments.encode()
    sys.exit(call_command.run(settings, call_command.Wanted(endpoint, tool, given, url, key), as_json))


def _order(name: Subject, text: str) -> None:
    @main.command(name, help=text)
    @click.argument("server")
    @_with_settings
    def obey(settings: Settings, server: str) -> None:
        click.echo(asking.order(settings, name, server)["text"])


_order("restart", "End what runs of SERVER, calls in flight with it, and read anew what it has.")
_order("stop", "End what runs of SERVER; the next call starts it again.")
_order("wake", "Start SERVER now, and ask it what it has.")
_order("reset", "Make the running gateway forget the failures of SERVER, and ask it again at once.")


@main.group()
def images() -> None:
    """What is recorded of the images of servers."""


@images.command()
@click.argument("server")
@_with_settings
def accept(settings: Settings, server: str) -> None:
    """Take the image that the tag of SERVER names now for the one that it should name."""
    click.echo(asking.order(settings, "accept-image", server)["text"])


@images.command()
@click.argument("servers", nargs=-1, metavar="[SERVER ...]")
@_with_settings
def pull(settings: Settings, servers: tuple[str, ...]) -> None:
    """Fetch the images of each SERVER, or of all, that the engine does not have; exit 1 when one cannot be had."""
    sys.exit(pull_command.run(settings, servers))


@main.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@_with_settings
def scan(settings: Settings, target: str, as_json: bool) -> None:
    """Look into the image of the server TARGET, or into the image TARGET, now; exit 1 when that refuses it."""
    loaded = load(settings.config_dir)
    resolver = build_resolver(settings, locate(os.environ), loaded, Identity("scan", "scan"))
    try:
        with Engine(resolver.engine) as engine:
            report, objections = judging_images.scan(resolver, loaded.config.servers.get(target), engine, target)
    except MetaMCPError as error:
        raise click.ClickException(logs.redact(error.told)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report) | {"objections": objections}, indent=2))
    else:
        click.echo("\n".join(_scan_lines(report, objections)))
    sys.exit(1 if objections else 0)


def _scan_lines(report: Report, objections: list[str]) -> list[str]:
    lines = [f"{finding.severity:9} {finding.rule}: {finding.text}" for finding in report.findings]
    lines += [f"not scanned: {report.unscanned}"] if report.unscanned else []
    return (lines or ["nothing was found"]) + [f"refused: {text}" for text in objections]


@main.group("keys")
def keys_group() -> None:
    """API keys: only their hashes are kept; a change is in force at once."""


@keys_group.command("create", options_metavar="--scope SCOPE … [--expires 90d]")
@click.argument("name")
@click.argument("more_scopes", nargs=-1, metavar="")
@click.option("--scope", "scopes", multiple=True, required=True, help="An endpoint's name, or admin. May be repeated.")
@click.option("--expires", help="For how long it is good: 12h, 90d, 52w. Without: until it is revoked.")
@_with_settings
def create_key(
    settings: Settings, name: str, more_scopes: tuple[str, ...], scopes: tuple[str, ...], expires: str | None
) -> None:
    """Make a key of NAME and print it, once. NAME may have several, to replace one by the next."""
    key_commands.create(settings, name, (*scopes, *more_scopes), expires)


@keys_group.command("list")
@_with_settings
def list_keys(settings: Settings) -> None:
    """Names, ids and scopes; never a key."""
    key_commands.show(settings)


@keys_group.command("revoke")
@click.argument("name")
@click.option("--id", "identifier", default="", help="Only the key with this id; otherwise every key of NAME.")
@_with_settings
def revoke_key(settings: Settings, name: str, identifier: str) -> None:
    """Take the keys of NAME back, at once."""
    key_commands.revoke(settings, name, identifier)


@main.command()
@click.option("--url", default="", help="A stream of the gateway as clients reach it: probe what stands in front.")
@click.option(
    "--silence", type=click.FloatRange(0.1, doctor_command.MOST_SILENCE), metavar="SECONDS",
    help="How long streams have to survive without a byte; proxies often cut them after 60 s.",
)  # fmt: skip
@click.option("--only", multiple=True, metavar="CHECK", help="This check and what it needs. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the document of /docker-test/test.")
@_with_settings
def doctor(settings: Settings, url: str, silence: float | None, only: tuple[str, ...], as_json: bool) -> None:
    """Run the checks of /docker-test/test from here; exit 1 when one of them fails."""
    sys.exit(doctor_command.run(settings, url, silence or 0.0, only, as_json))


if __name__ == "__main__":
    main()
