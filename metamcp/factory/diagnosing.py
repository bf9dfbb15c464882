"""The checks of /docker-test/test and of ``doctor``, put together: what each of them is about, and who knows it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from metamcp.access import keyfile, probing
from metamcp.access.keys import KeysUnusable
from metamcp.config.images import Verdict
from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, ServerSpec
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid, MetaMCPError
from metamcp.runtime.command.effective import Resolver, image_of
from metamcp.runtime.command.environment import for_docker
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.bench import Bench
from metamcp.runtime.diagnosis.checks.containers import ContainerChecks, Household
from metamcp.runtime.diagnosis.checks.engine import EngineChecks
from metamcp.runtime.diagnosis.checks.images import ImageChecks, NoImageError, ServerImage
from metamcp.runtime.diagnosis.checks.networks import NetworkChecks
from metamcp.runtime.diagnosis.checks.proxies import Address, ProxyChecks
from metamcp.runtime.diagnosis.diagnostics import SECONDS, Themes
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, Deadline
from metamcp.runtime.diagnosis.own_container import own_container
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.diagnosis.reachability import Listening
from metamcp.runtime.diagnosis.stream_client import SUFFIX
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import INSTANCE, Identity
from metamcp.runtime.reaper import orphans

DEMO_IMAGE = "metamcp-demo:local"
_MAKE_IMAGE = Path(__file__).resolve().parents[2] / "demo" / "make_image.py"
_STREAMS = ("sse", "mcp")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Who asks. ``resolver`` and ``loaded`` raise ConfigInvalid where the configuration has mistakes; ``url``: of a
    stream through the proxy, "" for the one that METAMCP_PUBLIC_URL leads to; ``silence`` in seconds, 0 for none;
    ``credentials``: headers for that stream."""

    settings: Settings
    engine: Engine
    means: Means
    identity: Identity
    resolver: Callable[[], Resolver]
    loaded: Callable[[], Loaded]
    household: Callable[[], Household]
    cuts: Cuts
    url: str = ""
    silence: float = 0.0
    credentials: Callable[[], Mapping[str, str]] = dict


def themes(occasion: Occasion, clock: Callable[[], float] = time.monotonic) -> Themes:
    """All checks; their time begins now."""
    settings, engine = occasion.settings, occasion.engine
    deadline = Deadline(clock, clock() + SECONDS)
    bench = Bench(engine, occasion.means, occasion.identity, deadline)
    return Themes(
        EngineChecks(engine, engine.docker_host, deadline),
        ImageChecks(bench, settings.test_image, lambda seconds: choose(engine, seconds), lambda: images_of(occasion)),
        ContainerChecks(bench, occasion.household),
        NetworkChecks(
            bench, Listening.of(settings.bind), settings.transform_localhost, lambda: _wants_internal(occasion)
        ),
        ProxyChecks(engine, engine.docker_host, lambda: address(occasion), occasion.silence, occasion.cuts),
    )


def household(engine: Engine, identity: Identity) -> Household:
    """Of the gateway that ``identity`` is. Raises EngineUnavailable."""
    mine = engine.containers({INSTANCE: identity.instance})
    return Household(len(mine), tuple(item.name or item.id[:12] for item in orphans(mine, identity)))


# --- images ------------------------------------------------------------------------------------------------


def choose(engine: Engine, seconds: float) -> tuple[str, str]:
    """An image with a python3 that needs no registry: the gateway's own where it runs in a container, else that of the
    demo servers. Raises NoImageError and EngineUnavailable."""
    own = own_container(engine)
    if own is not None:
        return str(own["Image"]), "the gateway's own"
    if engine.image(DEMO_IMAGE) is None:
        _make(engine, seconds)
        return DEMO_IMAGE, "made of this machine's Python"
    return DEMO_IMAGE, "of the demo servers"


def _make(engine: Engine, seconds: float) -> None:
    if not _MAKE_IMAGE.is_file():
        raise NoImageError(f"{DEMO_IMAGE} is not on the engine, and this installation cannot make it")
    argv = [sys.executable, str(_MAKE_IMAGE), "--from-machine", "--tag", DEMO_IMAGE]
    try:
        environment = for_docker(os.environ, engine.address)
        done = subprocess.run(argv, capture_output=True, env=environment, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoImageError(f"{DEMO_IMAGE} could not be made: {error}") from error
    if done.returncode:
        raise NoImageError(done.stderr.decode("utf-8", "replace").strip())


def images_of(occasion: Occasion) -> Sequence[ServerImage]:
    """Of every enabled server in a container. Raises CheckFailedError for a configuration with mistakes."""
    try:
        resolver, servers = occasion.resolver(), occasion.loaded().config.servers
    except ConfigInvalid as error:
        hint = "python -m metamcp check-config names every mistake; mend them first."
        raise CheckFailedError(error.report().splitlines()[0], hint) from error
    return [_judged(resolver, spec) for spec in servers.values() if spec.enabled and image_of(spec)]


def _judged(resolver: Resolver, spec: ServerSpec) -> ServerImage:
    notes: list[str] = []

    def note(_spec: ServerSpec, _allowlist: Allowlist, verdict: Verdict, reference: str) -> str:
        notes.append(verdict.would_deny)
        return reference

    try:
        reference = resolver.judged(spec, note)
    except MetaMCPError as error:
        return ServerImage(spec.name, image_of(spec) or "", error.text)
    return ServerImage(spec.name, reference, note="".join(notes))


def _wants_internal(occasion: Occasion) -> bool:
    try:
        return any(spec.network == "internal" for spec in occasion.loaded().config.servers.values())
    except ConfigInvalid:
        return False


# --- the way to the gateway --------------------------------------------------------------------------------


def address(occasion: Occasion) -> Address | None:
    """Of the probe stream behind ``url``, or behind the public address of an endpoint."""
    url = occasion.url or _public(occasion)
    return Address(probe_url(url), occasion.credentials()) if url else None


def probe_url(url: str) -> str:
    """Beside the stream that ``url`` is; beside HTTP+SSE where it is the address of an endpoint, or of a gateway."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    path = path.removesuffix("/message") if path.endswith("/message") else path
    path = path if path.endswith(SUFFIX) else (path if path.endswith(_ends()) else f"{path}/sse") + SUFFIX
    return f"{parts.scheme}://{parts.netloc}{path}"


def _ends() -> tuple[str, ...]:
    return tuple(f"/{kind}" for kind in _STREAMS)


def _public(occasion: Occasion) -> str:
    """No other address is ever asked for a request over HTTP: whoever sends one must not choose where we connect."""
    base = occasion.settings.public_url
    try:
        names = sorted(occasion.loaded().config.endpoints)
    except ConfigInvalid:
        names = []
    if not base or not names:
        return ""
    return f"{base}/metamcp/{'default' if 'default' in names else names[0]}/sse"


def credentials(state_dir: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A ticket where the hashes of keys can be read, and for another gateway the operator's own key."""
    found = {}
    try:
        ticket = probing.ticket(keyfile.read(keyfile.path_in(state_dir)), time.time())
    except (KeysUnusable, OSError):
        ticket = ""
    if ticket:
        found[probing.HEADER] = ticket
    if key := environ.get("METAMCP_API_KEY", "").strip():
        found["Authorization"] = f"Bearer {key}"
    return found
