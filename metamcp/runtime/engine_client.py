"""One client of the Docker SDK for one question to the engine, whatever way leads to it: a socket, TLS, or ssh."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import warnings
from collections.abc import Mapping
from typing import Any

import docker
from docker import constants, tls
from docker.transport import unixconn
from docker.utils import version_lt

from metamcp.config.engine_address import EngineAddress, TlsFiles
from metamcp.runtime.command.environment import for_ssh
from metamcp.runtime.diagnosis.advice import socket_path
from metamcp.runtime.ssh import SshConnection, SshFailed

# DOCKER_TLS without DOCKER_TLS_VERIFY asks for it, and the start of the gateway says so once.
warnings.filterwarnings("ignore", "Unverified HTTPS request")

_NO_HOST = "http+unix:///nowhere"  # the SDK is told of no other host where the connection is made here


class EngineClient(docker.APIClient):  # type: ignore[misc]  # the SDK has no types
    """``timeout`` in seconds from now on is the deadline of everything. Raises what the SDK and requests raise."""

    def __init__(self, address: EngineAddress, timeout: float, version: str) -> None:
        over_ssh = address.host.startswith("ssh://")
        super().__init__(
            base_url=_NO_HOST if over_ssh else address.host, version=version, timeout=timeout,
            tls=_tls_config(address.tls) if address.tls else False,
        )  # fmt: skip
        self.podman = ""  # its version
        self.trust_env = False  # HTTP_PROXY is not meant for the engine
        self._deadline = time.monotonic() + timeout
        path = socket_path(address.host)
        if path is not None:
            self.mount("http+docker://", _UnixAdapter(f"http+unix://{path}", timeout))
        if over_ssh:
            self.mount("http+docker://", _SshAdapter(address.host, timeout))

    def libpod(self) -> tuple[str, str]:
        """(version, API version) of a Podman; its other answers take some seconds, as it looks for packages. Empty
        for another engine."""
        ping = self._get(self._url("/_ping", versioned_api=False))
        self._raise_for_status(ping)
        return ping.headers.get("Libpod-Api-Version", ""), ping.headers.get("Api-Version", "")

    def negotiate(self) -> str:
        """The newest API version that both sides know; from now on in the path of every call."""
        self.podman, api_version = self.libpod()
        offered = {"ApiVersion": api_version} if self.podman else json_object(self.version(api_version=False))
        ours, theirs = constants.DEFAULT_DOCKER_API_VERSION, str(offered["ApiVersion"])
        self._version = theirs if version_lt(theirs, ours) else max(ours, _minimum(offered), key=_parts)
        return str(self._version)

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What is left of the call's deadline, also where the SDK asks for none (the headers of /events)."""
        kwargs["timeout"] = max(0.001, self._deadline - time.monotonic())
        return kwargs


class _UnixAdapter(unixconn.UnixHTTPAdapter):  # type: ignore[misc]
    """The SDK's, but a socket that cannot connect is closed at once and not left to the garbage collector."""

    def get_connection(self, url: str, proxies: object = None) -> Any:
        pool = self.pools.get(self.socket_path)
        if pool is None:
            pool = self.pools[self.socket_path] = _UnixPool(url, self.socket_path, self.timeout)
        return pool


class _UnixPool(unixconn.UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> _UnixConnection:
        return _UnixConnection(self.base_url, self.socket_path, self.timeout)


class _UnixConnection(unixconn.UnixHTTPConnection):  # type: ignore[misc]
    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.unix_socket)
        except OSError:
            sock.close()
            raise
        self.sock = sock


class _SshAdapter(unixconn.UnixHTTPAdapter):  # type: ignore[misc]
    """Closed with its client; then no ssh of it is left."""

    def __init__(self, docker_host: str, timeout: float) -> None:
        super().__init__(_NO_HOST, timeout)
        self.docker_host = docker_host
        self.connections: list[SshConnection] = []

    def get_connection(self, url: str, proxies: object = None) -> Any:
        pool = self.pools.get(self.docker_host)
        if pool is None:
            pool = self.pools[self.docker_host] = _SshPool(self, self.timeout)
        return pool

    def close(self) -> None:
        super().close()
        for connection in self.connections:
            connection.end()


class _SshPool(unixconn.UnixHTTPConnectionPool):  # type: ignore[misc]
    def __init__(self, adapter: _SshAdapter, timeout: float) -> None:
        super().__init__(_NO_HOST, "", timeout)
        self._adapter = adapter

    def _new_conn(self) -> _SshHTTPConnection:
        return _SshHTTPConnection(self._adapter, self.timeout)


class _SshHTTPConnection(unixconn.UnixHTTPConnection):  # type: ignore[misc]
    def __init__(self, adapter: _SshAdapter, timeout: float) -> None:
        super().__init__(_NO_HOST, "", timeout)
        self._adapter = adapter
        self._ssh: SshConnection | None = None

    def connect(self) -> None:
        self._ssh = SshConnection(self._adapter.docker_host, for_ssh(os.environ), float(self.timeout))
        self._adapter.connections.append(self._ssh)
        self.sock = self._ssh.socket

    def getresponse(self) -> Any:
        """Where the connection ends instead of an answer, ssh has said why."""
        try:
            return super().getresponse()
        except TimeoutError:
            raise
        except OSError as error:
            said = self._ssh.said() if self._ssh is not None else ""
            if not said:
                raise
            failed = SshFailed(error.errno, said)
        raise failed


def _tls_config(files: TlsFiles) -> tls.TLSConfig:
    return tls.TLSConfig(
        client_cert=(files.cert, files.key) if files.client else None, ca_cert=files.ca, verify=files.verify
    )


def json_object(answer: Any) -> dict[str, Any]:
    """Raises ValueError for what no engine answers."""
    if isinstance(answer, dict):
        return answer
    raise ValueError(f"the answer is not Docker's: {json.dumps(answer)[:80]}")


def release(version: str) -> tuple[int, int]:
    """"4.3.1" → (4, 3)."""
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _minimum(offered: Mapping[str, Any]) -> str:
    return str(offered.get("MinAPIVersion") or constants.MINIMUM_DOCKER_API_VERSION)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
