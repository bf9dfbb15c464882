"""One server of ``servers.json``. As ``schema`` is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import post_load, validates_schema

from metamcp.config import names
from metamcp.config.fields import Choice, Flag, Items, NamedMap, Number, Record, Size, Strict, Text, raise_all
from metamcp.config.model import MIB, MOST_INSTANCES, Limits, Timeouts

WEEK = 7 * 24 * 3600.0
LEAST_MEMORY = 6 * MIB  # the Docker engine refuses less
LEAST_CPUS = 0.01  # likewise

TRANSPORTS = ("stdio", "sse", "streamable-http")
TRANSPORT_ALIASES = {name: name for name in TRANSPORTS} | {"http": "streamable-http"}


class LimitsSchema(Strict):
    memory = Size(LEAST_MEMORY, '"6m"', doc="Memory, swap included: there is none.")
    cpus = Number(LEAST_CPUS, 4096, doc="Share of processors; `0.5` is half of one.")
    pids = Number(1, 2**22, whole=True, doc="Processes and threads.")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Limits:
        return Limits(**data)


class TimeoutsSchema(Strict):
    start = Number(
        0.001,
        WEEK,
        doc="From the start of the process until it has answered `initialize`; not more than `total`.",
    )
    call = Number(
        0.001,
        WEEK,
        doc="Silence within one call, where each progress notification starts it anew; not more than `total`.",
    )
    total = Number(0.001, WEEK, doc="One call, whatever its progress.")

    @validates_schema(skip_on_field_errors=False)
    def total_is_the_longest(self, data: Mapping[str, float], **_: Any) -> None:
        total = data.get("total", Timeouts().total)
        used = {key: data.get(key, getattr(Timeouts(), key)) for key in ("start", "call")}
        told = f"must not be more than total, which is {total:g} seconds"
        raise_all({key: [f"is {value:g} seconds and {told}"] for key, value in used.items() if value > total})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Timeouts:
        return Timeouts(**data)


class ServerSchema(Strict):
    command = Text(
        check=names.command,
        doc="The program to start: `docker`, whose `run` is understood and written anew, or any other one.",
    )
    args = Items(Text(template=True, empty=True), doc="Its arguments; only with `command`.")
    env = NamedMap(
        Text(template=True, empty=True),
        names.variable_name,
        doc="Environment variables of the server; only with `command`.",
    )
    url = Text(
        template=True,
        check=names.remote_url,
        shape="a URL",
        doc="Address of a [remote server](#remote-servers), `http://` or `https://`.",
    )
    headers = NamedMap(
        Text(template=True, empty=True, check=names.header_value),
        names.header_name,
        doc="HTTP headers for a remote server; only with `url`.",
    )
    transport = Choice(
        TRANSPORTS,
        TRANSPORT_ALIASES,
        unset="`stdio` with `command`, `streamable-http` with `url`",
        doc=(
            "How to talk to the server; `http`, `STREAMABLE_HTTP` and other spellings in upper case or with `_` are "
            "understood."
        ),
    )
    type = Choice(TRANSPORTS, TRANSPORT_ALIASES, doc="Another name for `transport`.")
    enabled = Flag(doc="`false`: the server is known, but never started.")
    isolation = Choice(
        ("session", "shared", "call"),
        unset="by era: `session`, or `shared` for a server of 2026-07-28",
        doc=(
            "Who shares a container: `session` one for each client session, `shared` all clients together, `call` a "
            "fresh one for every call."
        ),
    )
    warm = Number(
        0,
        1000,
        whole=True,
        doc=(
            "Spare containers that are kept started, so that a new session need not wait; not more than "
            "`maxInstances`, which counts them, too."
        ),
    )
    max_instances = Number(
        1,
        1000,
        whole=True,
        data_key="maxInstances",
        unset="`20`, but one for all where `isolation` is `shared`",
        doc="How many containers of this server may exist at once, spares among them.",
    )
    idle_seconds = Number(
        0.001,
        WEEK,
        data_key="idleSeconds",
        doc="Seconds without a call after which a container is stopped; the next call starts it again.",
    )
    network = Choice(
        ("none", "internal", "egress"),
        doc="`none`: no network; `internal`: a network without a way out; `egress`: a bridge with a way out.",
    )
    user = Text(
        check=names.container_user,
        shape="`USER` or `USER:GROUP`",
        unset="the image's",
        doc="Who the server is in its container, by number or name; counts instead of `--user` in `args`.",
    )
    limits = Record(LimitsSchema, unset="see there", doc="[Limits](#limits) of every container of this server.")
    timeouts = Record(TimeoutsSchema, unset="see there", doc="[How long to wait](#timeouts).")
    pass_headers = NamedMap(
        Text(),
        names.passed_header,
        data_key="passHeaders",
        doc=(
            "[Headers of the client's request](#what-belongs-to-one-client) that its own instance gets, each with the "
            "name of the environment variable, or of the remote server's header."
        ),
    )
    credentials = NamedMap(
        NamedMap(Text(template=True, empty=True)),
        doc=(
            "[Environment variables, or headers, for single principals](#what-belongs-to-one-client): by the name of "
            "a key, or `sub@issuer` of a token."
        ),
    )
    era = Choice(
        ("auto", "legacy", "modern"),
        doc=(
            "Which MCP revisions to speak with the server: `legacy` begins with a handshake (up to 2025-11-25), "
            "`modern` has none (2026-07-28), `auto` finds out ([protocol.md](protocol.md))."
        ),
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def keys_fit_together(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        if isinstance(original, Mapping):
            personal = _personal_problems(data, remote="url" in original)
            raise_all(_kind_problems(data, original) | _warm_problem(data) | personal)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        kind = data.pop("type", None)
        return {**data, "transport": _transport(data.get("transport"), kind, "url" in data)}


class ListedServerSchema(ServerSchema):
    name = Text(
        required=True,
        check=names.server_name,
        doc="The server's name; only in the list form, and needed there.",
    )


def _kind_problems(data: Mapping[str, Any], original: Mapping[str, Any]) -> dict[Any, list[str]]:
    """A server is a command or a URL; keys of the one kind make no sense for the other."""
    if "command" in original and "url" in original:
        return {"url": ["cannot stand beside command: a server is either started or reached by a URL"]}
    if "type" in data and "transport" in data and data["type"] != data["transport"]:
        return {"type": ["contradicts transport: keep one of them"]}
    if any(key in original and key not in data for key in ("transport", "type")):
        return {}
    if _transport(data.get("transport"), data.get("type"), "url" in original) == "stdio":
        return _foreign(original, "command", "url", ("headers",))
    return _foreign(original, "url", "command", ("args", "env"))


def _foreign(
    original: Mapping[str, Any], needed: str, wrong: str, without_use: tuple[str, ...]
) -> dict[Any, list[str]]:
    stdio = needed == "command"
    found = {key: [f"has no use without {wrong}: remove it"] for key in without_use if original.get(key)}
    if wrong in original:
        found[wrong] = [f"does not fit the transport, which needs {needed}"]
    elif needed not in original:
        also = ' (or "url" for a remote server)' if stdio else " for this transport"
        found[needed] = [f"is required{also}"]
    return found


def _warm_problem(data: Mapping[str, Any]) -> dict[Any, list[str]]:
    most = data.get("max_instances", MOST_INSTANCES)
    too_many = data.get("warm", 0) > most
    return {"warm": [f"must not be more than maxInstances, which is {most}"]} if too_many else {}


def _personal_problems(data: Mapping[str, Any], remote: bool) -> dict[Any, list[str]]:
    """What is one client's must not reach an instance that others use, and each name has one value."""
    passed, credentials = data.get("pass_headers", {}), data.get("credentials", {})
    named = {"passHeaders": [*passed.values()], "credentials": [name for held in credentials.values() for name in held]}
    found: dict[Any, list[str]] = {}
    check = names.header_name if remote else names.variable_name
    for key, targets in named.items():
        if key == "passHeaders" and len({name.lower() for name in targets}) < len(targets):
            found[key] = ["gives the same name to two headers"]
        if wrong := sorted({name for name in targets if check(name)}):
            found[key] = [f"{wrong[0]!r} {check(wrong[0])}"]
        elif targets and data.get("isolation") not in ("session", "call"):
            found[key] = ['needs "isolation": "session" or "call": what belongs to one client must not be shared']
    both = {name.lower() for name in named["passHeaders"]} & {name.lower() for name in named["credentials"]}
    if both and not found:
        found["credentials"] = [f"{sorted(both)[0]!r} comes from passHeaders already: keep one of them"]
    return found


def _transport(transport: str | None, kind: str | None, has_url: bool) -> str:
    return transport or kind or ("streamable-http" if has_url else "stdio")
