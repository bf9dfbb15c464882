"""Which transport a name means."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.client.over_http import HttpSession, SseSession
from bench.client.over_pipes import DockerSession, StdioSession
from bench.client.session import Json, OnNotification, Session, Settings

TRANSPORTS = ("http", "http-listen", "sse", "stdio", "docker", "docker-shared")
OVER_HTTP = TRANSPORTS[:3]
ENGINE_SOCKET = "/var/run/docker.sock"

Factory = Callable[[], Session]


@dataclass
class _Group:
    """Users of one real session."""

    session: Session
    users: int = 0
    opening: asyncio.Future[None] | None = field(default=None)


class SharedSession(Session):
    """Looks like a session of its own, but all of one group use a single real one."""

    def __init__(self, group: _Group) -> None:
        super().__init__(group.session.settings)
        self._group = group

    async def open(self) -> None:
        if self._group.opening is None:
            self._group.opening = asyncio.ensure_future(self._group.session.open())
        self._group.users += 1
        await self._group.opening

    async def call(self, tool: str, arguments: Json) -> tuple[float, Json]:
        return await self._group.session.call(tool, arguments)

    async def request(self, method: str, params: Json | None = None) -> tuple[float, Json]:
        return await self._group.session.request(method, params)

    def watch(self, on_notification: OnNotification) -> None:
        self._group.session.watch(on_notification)

    async def close(self, graceful: bool = True) -> None:
        self._group.users -= 1
        if not self._group.users:
            await self._group.session.close(graceful)


def make_factory(
    transport: str,
    target: str,
    settings: Settings,
    *,
    headers: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
) -> Factory:
    """A function that makes a new session each time.

    ``target``: a URL; for ``stdio`` a command, for ``docker`` and ``docker-shared`` an image and its arguments. Raises
    ValueError for a transport that is not known.
    """
    if transport in {"http", "http-listen"}:
        listen = transport == "http-listen"
        return lambda: HttpSession(target, settings, headers, receive_buffer, listen)
    if transport == "sse":
        return lambda: SseSession(target, settings, headers, receive_buffer)
    if transport == "stdio":
        return lambda: StdioSession(target, settings)
    if transport == "docker":
        image, *arguments = shlex.split(target)
        path = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or ENGINE_SOCKET
        return lambda: DockerSession(image, arguments, labels or {}, path, settings)
    if transport == "docker-shared":
        group = _Group(make_factory("docker", target, settings, labels=labels)())
        return lambda: SharedSession(group)
    raise ValueError(f"unknown transport {transport!r}")
