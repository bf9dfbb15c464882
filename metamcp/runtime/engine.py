"""The Docker Engine API, as far as the gateway needs it. With ``engine_client`` and ``pulling`` the one place that
knows the SDK.

Threads. The SDK does not promise that a client may be shared, so every call has a client of its own: making one
costs about half a millisecond, nothing stays open between calls, and an engine that restarts never leaves a dead
connection behind. An ``Engine`` itself may be used from every thread; its lock guards two fields and is never held
over I/O. Another one lets one thread at a time see to a network.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from docker import constants, errors
from docker.utils import version_lt

from metamcp.config.engine_address import EngineAddress
from metamcp.errors import EngineUnavailable
from metamcp.runtime import facts
from metamcp.runtime.diagnosis.advice import advice, plain_text
from metamcp.runtime.engine_client import EngineClient, json_object, release
from metamcp.runtime.events import EventStream
from metamcp.runtime.pulling import Pull, begun_pull

# Everything that the SDK raises: what requests raises is an OSError, what cannot be decoded a ValueError, and an
# answer of another shape (DOCKER_HOST names some other HTTP server) ends in one of the last three.
_FOREIGN = (errors.DockerException, OSError, ValueError, TypeError, AttributeError, KeyError)
SECONDS, SSH_SECONDS = 5.0, 15.0
NETWORK_SECONDS, INFO_SECONDS, PULL_SILENCE = 30.0, 30.0, 120.0
_KNOWS_HOST_GATEWAY = (4, 7)
_PODMAN_NETWORK = "podman"
_PODMAN_NAMES = {"die": ("died",), "delete": ("remove",), "load": ("loadfromarchive",)}  # of events
_GONE, _CONFLICT = 404, 409
_ONE_SHOT_SINCE = "1.41"


class Engine:
    """One engine at ``address``; a text is one without TLS.

    ``timeout`` is the deadline of each call in seconds; None: ``SECONDS``, or over ssh ``SSH_SECONDS``. It bounds
    connecting and each silence of the engine; only an engine that keeps sending bytes can take longer. Every method
    raises EngineUnavailable, with a hint, when the engine cannot be reached or refuses.
    """

    def __init__(self, address: EngineAddress | str, timeout: float | None = None) -> None:
        self.address = EngineAddress(address, "") if isinstance(address, str) else address
        self.timeout = timeout or (SSH_SECONDS if self.docker_host.startswith("ssh://") else SECONDS)
        self._api_version = ""  # found out by the first call, forgotten when the engine refuses it
        self._podman = ""  # its version; found out with that
        self._lock = threading.Lock()
        self._networks = threading.Lock()  # who starts several servers at once makes their network once
        self._streams: set[EventStream] = set()
        self._closed = False

    @property
    def docker_host(self) -> str:
        return self.address.host

    def api_version(self) -> str:
        """That both sides know, for requests of our own."""
        with self._client():
            return self._api_version

    def ping(self) -> None:
        with self._client() as client:
            client.ping()

    def version(self) -> facts.EngineVersion:
        """Works with an engine of any age: the one call without an API version in its path."""
        with self._client(negotiated=False) as client:
            podman, api_version = client.libpod()
            if podman:
                return facts.EngineVersion(podman, api_version, "linux", "")
            return facts.engine_version(json_object(client.version(api_version=False)))

    def info(self) -> facts.EngineInfo:
        """``INFO_SECONDS`` at most: Podman looks for the packages of its parts first."""
        with self._client(seconds=max(self.timeout, INFO_SECONDS)) as client:
            return facts.engine_info(json_object(client.info()))

    def image(self, reference: str) -> facts.ImageFacts | None:
        """None: the engine does not have it."""
        with self._client() as client:
            try:
                return facts.image_facts(json_object(client.inspect_image(reference)))
            except errors.NotFound:
                return None

    def history(self, image: str) -> list[str]:
        """The commands that its layers were made with, the newest first; empty: the engine does not have it."""
        with self._client() as client:
            try:
                return [str(layer.get("CreatedBy") or "") for layer in client.history(image)]
            except errors.NotFound:
                return []

    @contextmanager
    def pull(self, reference: str, platform: str = "") -> Iterator[Pull]:
        """``docker pull``, with the credentials that its configuration has. PULL_SILENCE bounds each silence. Raises
        EngineUnavailable, from following too."""
        with self._client(seconds=PULL_SILENCE) as client, begun_pull(client, reference, platform) as pull:
            yield pull

    @contextmanager
    def saved(self, image: str) -> Iterator[Saved]:
        """The image as ``docker save`` gives it, to be read as it comes. ``timeout`` bounds each silence; an engine
        may be silent for long before it begins. Raises EngineUnavailable, from reading too."""
        with self._client() as client:
            yield Saved(client.get_image(image))

    def containers(self, labels: Mapping[str, str], all: bool = True) -> list[facts.ContainerFacts]:
        """Those that carry every one of ``labels``; ``all=False`` leaves out what does not run."""
        with self._client() as client:
            found = client.containers(all=all, filters={"label": _label_filter(labels)})
            return [facts.container_facts(item) for item in found]

    def inspect(self, container_id: str) -> dict[str, Any] | None:
        """GET /containers/{id}/json as it is; None: no such container."""
        with self._client() as client:
            try:
                return json_object(client.inspect_container(container_id))
            except errors.NotFound:
                return None

    def remove(self, container_id: str) -> bool:
        """Kill and remove, with its anonymous volumes. True: gone, or already on its way; False: refused."""
        with self._client() as client:
            if self._podman:  # it would wait for an answer to SIGTERM first, longer than this call lasts
                with contextlib.suppress(errors.APIError):
                    client.kill(container_id)
            try:
                client.remove_container(container_id, v=True, force=True)
            except errors.APIError as error:
                return error.status_code == _GONE or (
                    error.status_code == _CONFLICT and "already in progress" in str(error.explanation)
                )
            return True

    def kill(self, container_id: str, signal: str = "KILL") -> bool:
        """True: the signal was sent; False: there is no such container, or it does not run."""
        with self._client() as client:
            try:
                client.kill(container_id, signal=signal)
            except errors.APIError as error:
                if error.status_code not in (_GONE, _CONFLICT):
                    raise
                return False
            return True

    def stats_memory(self, container_id: str) -> int | None:
        """Bytes in use without page cache; None: it does not run. Engines before API 1.41 take about 2 s for it."""
        with self._client() as client:
            one_shot = None if version_lt(client.api_version, _ONE_SHOT_SINCE) else True
            try:
                return facts.memory_in_use(json_object(client.stats(container_id, stream=False, one_shot=one_shot)))
            except errors.APIError as error:
                if error.status_code not in (_GONE, _CONFLICT):
                    raise
                return None

    def host_gateway(self) -> str:
        """The address of the engine's machine, for a Podman that does not know ``host-gateway``; else ""."""
        with self._client() as client:
            if not self._podman or release(self._podman) >= _KNOWS_HOST_GATEWAY:
                return ""
            pools = json_object(client.inspect_network(_PODMAN_NETWORK))["IPAM"]["Config"]
            return next((str(pool["Gateway"]) for pool in pools if ":" not in pool["Gateway"]), "")

    def ensure_internal_network(self, name: str) -> None:
        """Afterwards a bridge network ``name`` without a way out exists. One that has a way out is refused.

        ``NETWORK_SECONDS`` at most: an engine makes networks one after the other, each with its own firewall rules.
        """
        with self._networks, self._client(seconds=max(self.timeout, NETWORK_SECONDS)) as client:
            while (internal := _internal(client, name)) is None:  # until the client's deadline
                _create_internal(client, name)
            if not internal:
                raise EngineUnavailable(
                    f"network {name!r} is not an internal network",
                    f"Remove it with docker network rm {name}, or configure another name.",
                )

    def events(
        self,
        labels: Mapping[str, str],
        since: float | None = None,
        kinds: Collection[str] = ("container",),
        actions: Collection[str] = (),
    ) -> EventStream:
        """Events from ``since`` (Unix seconds; None: from now), subscribed when this returns. No ``actions``: all.

        The engine asks for ``labels`` of everything: with any, no event of an image comes that lacks them.
        The stream ends without an error when either side closes it.
        """
        with self._mapped():
            client = self._connected(negotiated=True)
            try:
                named = sorted({*actions, *(name for action in actions for name in _PODMAN_NAMES.get(action, ()))})
                filters = {"type": list(kinds), "event": named, "label": _label_filter(labels)}
                raw = client.events(since=since, filters=filters, decode=True)
                client._raise_for_status(raw._response)
                stream = EventStream(client, raw, self._forget)
            except BaseException:
                client.close()
                raise
        self._adopt(stream)
        return stream

    def close(self) -> None:
        """Ends every event stream. Calls under way end by their own deadline; later ones are refused."""
        with self._lock:
            self._closed, streams = True, tuple(self._streams)
        for stream in streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _client(self, negotiated: bool = True, seconds: float | None = None) -> Iterator[EngineClient]:
        with self._mapped(), contextlib.closing(self._connected(negotiated, seconds)) as client:
            yield client

    def _connected(self, negotiated: bool, seconds: float | None = None) -> EngineClient:
        if self._closed:
            raise EngineUnavailable("the engine's client is closed", "The gateway is shutting down.")
        version = self._api_version or constants.MINIMUM_DOCKER_API_VERSION
        client = EngineClient(self.address, seconds or self.timeout, version)
        try:
            if negotiated and not self._api_version:
                version = client.negotiate()
                self._podman, self._api_version = client.podman, version
        except BaseException:
            client.close()
            raise
        return client

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """The one seam where foreign exceptions become ours."""
        try:
            yield
        except _FOREIGN as error:
            self._api_version = ""
            text = f"Docker engine at {self.docker_host}: {plain_text(error)}"
            raise EngineUnavailable(text, advice(error, self.docker_host)) from error

    def _adopt(self, stream: EventStream) -> None:
        with self._lock:
            self._streams.add(stream)
            closed = self._closed
        if closed:
            stream.close()

    def _forget(self, stream: EventStream) -> None:
        with self._lock:
            self._streams.discard(stream)


class Saved:
    """A stream of chunks, to be read in other sizes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """``size`` bytes, fewer at the end."""
        parts, left = [self._rest], size - len(self._rest)
        while left > 0 and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            left -= len(chunk)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]


def _internal(client: EngineClient, name: str) -> bool | None:
    """Whether all networks of that name are internal; None: there is none."""
    found = _named(client, name)
    return all(item["Internal"] for item in found) if found else None


def _create_internal(client: EngineClient, name: str) -> None:
    """An engine makes several networks of one name when several ask at once (measured, 20.10), and such a name
    cannot be used. So whoever sees another one beside its own takes its own back: the first that sees none stays, as
    all later ones see it. Where all have seen each other, none is left, and they try again at different times."""
    try:
        made = client.create_network(name, driver="bridge", internal=True, check_duplicate=True)["Id"]
    except errors.APIError as error:
        if error.status_code != _CONFLICT:  # somebody else was first
            raise
        return
    if len(_named(client, name)) > 1:
        client.remove_network(made)
        time.sleep(random.random())  # noqa: S311  only that they differ


def _named(client: EngineClient, name: str) -> list[dict[str, Any]]:
    """The engine's own filter also finds names that only contain ``name``."""
    return [item for item in client.networks(names=[name]) if item["Name"] == name]


def _label_filter(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]
