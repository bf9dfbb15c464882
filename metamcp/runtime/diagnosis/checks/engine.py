"""Is there an engine, may we use it, and do we speak the same language?"""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from metamcp.runtime.diagnosis.advice import advice, socket_group, socket_path
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, Deadline, NotApplicableError, Step
from metamcp.runtime.engine import Engine

_CONNECT_SECONDS = 2.0
_OLDEST_API = (1, 41)
"""Of Docker 20.10: the first with ``host-gateway``."""

_TOO_OLD = "Upgrade the engine: Docker 20.10 (API 1.41) is enough."


def connect_unix(path: str, seconds: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        sock.connect(path)


@dataclass(frozen=True, slots=True)
class EngineChecks:
    engine: Engine
    docker_host: str
    time: Deadline
    connect: Callable[[str, float], None] = connect_unix

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("socket", self._socket),
            Step("socket-permissions", self._permissions, ("socket",)),
            Step("engine", self._answers, ("socket-permissions",)),
            Step("api-version", self._version, ("engine",)),
        )

    def _socket(self) -> str:
        path = self._path()
        try:
            mode = Path(path).stat().st_mode
        except OSError as error:
            raise CheckFailedError(f"{path}: {error.strerror}", advice(error, self.docker_host)) from error
        if not stat.S_ISSOCK(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "a file"
            hint = (
                "Docker makes an empty directory where a mount's source is missing: remove it, mount the real socket."
                if stat.S_ISDIR(mode)
                else "Remove it and mount the real socket there, or set DOCKER_HOST to where the socket is."
            )
            raise CheckFailedError(f"{path} is {kind} and not a socket", hint)
        return path

    def _permissions(self) -> str:
        """Asked by connecting: mode bits say nothing about capabilities, user namespaces and security modules."""
        path = self._path()
        try:
            with suppress(ConnectionError, TimeoutError):  # not a matter of permission; the next check tells
                self.connect(path, min(_CONNECT_SECONDS, self.time.left()))
        except PermissionError as error:
            detail = f"{path} belongs to group {socket_group(path)} and may not be used by this process"
            raise CheckFailedError(detail, advice(error, self.docker_host)) from error
        except OSError as error:
            raise CheckFailedError(f"{path}: {error}", advice(error, self.docker_host)) from error
        return f"{path} may be used (group {socket_group(path)})"

    def _answers(self) -> str:
        self.engine.ping()
        return f"{self.docker_host} answers"

    def _version(self) -> str:
        version = self.engine.version()
        found = f"Docker {version.version}, API {version.api_version}, {version.os}/{version.arch}"
        if parts(version.api_version) < _OLDEST_API:
            raise CheckFailedError(f"{found}: too old", _TOO_OLD)
        self.engine.info()  # with a version in its path, which the engine has to accept
        return f"{found}; API {self.engine.api_version()} is spoken with it"

    def _path(self) -> str:
        path = socket_path(self.docker_host)
        if path is None:
            raise NotApplicableError(f"{self.docker_host} is not a Unix socket")
        return path


def parts(version: str) -> tuple[int, ...]:
    """``1.41`` as numbers; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
